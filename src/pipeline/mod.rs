//! The pipeline: load, encode the prompt, prepare latents, denoise, decode.

mod generate;
mod load;
mod options;

pub use load::{LoadOptions, Residency};
pub use options::{GenerateOptions, Output};

use crate::checkpoint::PipelineFolder;
use crate::runtime::{Control, Placement};
use crate::video::Video;
use crate::{Error, Result};
use std::path::Path;

/// A loaded pipeline. Clones share the weights and have a cache and a run of their own.
pub struct Pipeline {
    folder: PipelineFolder,
    placement: Placement,
}

impl Pipeline {
    /// Loads a diffusers pipeline folder.
    pub fn load(folder: &Path, options: &LoadOptions, control: &Control) -> Result<Pipeline> {
        load::load(folder, options, control)
    }

    /// Generates; [`Error::Busy`] while this pipeline is generating already.
    pub fn generate(&self, options: &GenerateOptions, control: &Control) -> Result<Video> {
        generate::generate(self, options, control)
    }

    pub fn folder(&self) -> &PipelineFolder {
        &self.folder
    }

    pub fn placement(&self) -> Placement {
        self.placement
    }

    /// Same weights, own cache and run state.
    pub fn share(&self) -> Result<Pipeline> {
        Err(Error::Internal("share".into()))
    }
}
