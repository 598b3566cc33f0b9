//! The three networks of a pipeline. Each file names the reference it ports.

pub mod t5;
pub mod transformer;
pub mod vae;
