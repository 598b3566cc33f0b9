//! The pipeline folder: `model_index.json` and the folders of the components.

use super::config::{SchedulerConfig, T5Config, TransformerConfig, VaeConfig};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// A pipeline folder whose index and configs have been read and checked.
#[derive(Debug, Clone)]
pub struct PipelineFolder {
    pub root: PathBuf,
    pub transformer: TransformerConfig,
    pub vae: VaeConfig,
    pub text_encoder: T5Config,
    pub scheduler: SchedulerConfig,
}

impl PipelineFolder {
    pub fn open(root: &Path) -> Result<PipelineFolder> {
        Err(Error::NotFound(root.display().to_string()))
    }
}
