//! A generated video: latents or frames, and the files it can be written to.

use crate::{Error, Result};
use std::path::Path;
use tch::Tensor;

/// The result of a run. Frames and latents stay where they were computed until asked for.
#[derive(Debug)]
pub struct Video {
    /// `(videos, frames, channels, height, width)`, as the pipeline ends with; with
    /// `output latents` including the padding frames of the 1.5 family, as diffusers answers.
    pub latents: Option<Tensor>,
    /// `(videos, frames, height, width, 3)` float32 in `[0, 1]`.
    pub frames: Option<Tensor>,
}

impl Video {
    /// Writes video `index` to `path`: `.mp4`, `.gif`, or a `.png` sequence.
    pub fn save(&self, _index: usize, _path: &Path, _fps: f64) -> Result<()> {
        Err(Error::Internal("video".into()))
    }
}
