//! The three networks of a pipeline, and the layers they share. Each file names the reference it
//! ports.

pub mod layers;
pub mod t5;
pub mod tiny_decoder;
pub mod transformer;
pub mod vae;
