//! Loading a pipeline folder.

use super::Pipeline;
use crate::runtime::Control;
use crate::{Error, Result};
use std::path::Path;

/// Which components stay in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Residency {
    /// All, from load to the pipeline's end.
    #[default]
    All,
    /// The text encoder is loaded when a prompt is encoded and released before the
    /// transformer is loaded, so that the two are never there together.
    TextEncoderOnDemand,
}

#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// "cpu", "cuda", "cuda:N" or "auto".
    pub device: String,
    /// "auto", "f32", "f16" or "bf16".
    pub dtype: String,
    /// The `variant` of the weight files, as in `model.fp16.safetensors`.
    pub variant: Option<String>,
    pub residency: Residency,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions {
            device: "auto".into(),
            dtype: "auto".into(),
            variant: None,
            residency: Residency::All,
        }
    }
}

pub(super) fn load(_folder: &Path, _options: &LoadOptions, _control: &Control) -> Result<Pipeline> {
    Err(Error::Internal("load".into()))
}
