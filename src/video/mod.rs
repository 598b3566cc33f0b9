//! A generated video: latents or frames, and the files it can be written to.

pub mod contact_sheet;
pub mod encode;
pub mod frames;
mod gif;
mod h264;
pub mod in_place;
mod mp4;
pub mod pixels;
mod png;
pub mod save;
mod yuv;

use crate::runtime::device::{Ready, StreamHandle};
use crate::runtime::device_threads;
use crate::{Error, Result};
use std::path::Path;
use tch::Tensor;

/// The result of a run.
#[derive(Debug)]
pub struct Video {
    /// `(videos, frames, channels, height, width)`, as the pipeline ends with; with
    /// `output latents` including the padding frames of the 1.5 family, as diffusers returns.
    pub latents: Option<Tensor>,
    /// `(videos, frames, height, width, 3)` float32 in `[0, 1]`, densely packed, in host memory
    /// or on the device of the pipeline.
    pub frames: Option<Tensor>,
    /// What the frames were made on.
    pub stream: StreamHandle,
    /// What is to be waited for before they are read on another stream; `None` where the run waited.
    pub ready: Option<Ready>,
    /// What computed it ([`crate::backend::Kernels`]).
    pub kernels: String,
}

impl Video {
    /// Waits until frames and latents are there; for nothing else that their device does.
    pub fn wait(&self) -> Result<()> {
        self.ready.as_ref().map_or(Ok(()), Ready::wait)
    }

    /// Video `index` as bytes.
    pub fn clip(&self, index: usize) -> Result<Clip> {
        let frames = self.frames.as_ref().ok_or_else(|| {
            Error::InvalidArgument("the video has no frames: its run ended with latents".into())
        })?;
        let (videos, count, height, width) = frames::size(frames)?;
        let index = i64::try_from(index).unwrap_or(i64::MAX);
        if index >= videos {
            return Err(Error::InvalidArgument(format!(
                "there are {videos} videos, counted from 0; found index {index}"
            )));
        }
        let rgb8 = device_threads::on(frames.device(), || frames::rgb8(&frames.f_get(index)?))?;
        Clip::new(width as usize, height as usize, count as usize, rgb8)
    }

    /// Writes video `index` to `path`, see [`Clip::save`].
    pub fn save(&self, index: usize, path: &Path, fps: f64) -> Result<()> {
        self.clip(index)?.save(path, fps)
    }
}

/// One video as 8-bit RGB on the host.
#[derive(Debug, Clone)]
pub struct Clip {
    width: usize,
    height: usize,
    frames: usize,
    rgb8: Vec<u8>,
}

impl Clip {
    /// `rgb8` holds `frames × height` rows of `width` pixels, densely packed.
    pub fn new(width: usize, height: usize, frames: usize, rgb8: Vec<u8>) -> Result<Clip> {
        let expected =
            [height, frames, 3].iter().try_fold(width, |product, &side| product.checked_mul(side));
        if expected != Some(rgb8.len()) || rgb8.is_empty() {
            return Err(Error::Internal(format!(
                "{width}x{height}, {frames} frames, must be as many bytes, found {}",
                rgb8.len()
            )));
        }
        Ok(Clip { width, height, frames, rgb8 })
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn height(&self) -> usize {
        self.height
    }

    /// All frames, one after another.
    pub fn rgb8(&self) -> &[u8] {
        &self.rgb8
    }

    /// The frames by themselves, in order.
    pub fn frames(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.rgb8.chunks_exact(self.rgb8.len() / self.frames)
    }
}
