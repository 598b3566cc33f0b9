//! The decoder of AutoencoderKLCogVideoX.

use crate::checkpoint::config::VaeConfig;
use crate::checkpoint::Weights;
use crate::runtime::Control;
use crate::{Error, Result};
use tch::Tensor;

/// Tiling with diffusers' parameters (`enable_tiling`); `None` fields take diffusers' defaults.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tiling {
    pub tile_sample_min_height: Option<i64>,
    pub tile_sample_min_width: Option<i64>,
    pub tile_overlap_factor_height: Option<f64>,
    pub tile_overlap_factor_width: Option<f64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DecodeOptions {
    /// Decode in tiles that overlap and are blended.
    pub tiling: Option<Tiling>,
    /// Decode the videos of a batch one after another.
    pub slicing: bool,
}

pub struct VaeDecoder {
    pub config: VaeConfig,
}

impl VaeDecoder {
    pub fn load(_config: &VaeConfig, _weights: &Weights) -> Result<VaeDecoder> {
        Err(Error::Internal("vae".into()))
    }

    /// Latents `(batch, channels, frames, height, width)`, already divided by the scaling
    /// factor, to frames `(batch, 3, frames, height, width)` in about `[-1, 1]`.
    ///
    /// `on_chunk(first_frame, frames)` is called with each finished group of frames, before
    /// the next is decoded.
    pub fn decode(
        &self,
        _latents: &Tensor,
        _options: &DecodeOptions,
        _control: &Control,
    ) -> Result<Tensor> {
        Err(Error::Internal("vae".into()))
    }
}
