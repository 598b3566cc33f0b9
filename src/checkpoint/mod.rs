//! Pipeline folders as diffusers saves them: the index, the configs, the weights.

pub mod config;
pub mod folder;
pub mod weights;

pub use folder::PipelineFolder;
pub use weights::{WeightStore, Weights};
