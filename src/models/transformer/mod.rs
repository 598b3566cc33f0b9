//! CogVideoXTransformer3DModel.

use crate::cache::LayerCache;
use crate::checkpoint::config::TransformerConfig;
use crate::checkpoint::Weights;
use crate::runtime::Control;
use crate::{Error, Result};
use tch::Tensor;

pub struct Transformer {
    pub config: TransformerConfig,
}

/// What does not change between the steps of a run: projected text, positions, rotary tables.
pub struct Conditioning {}

impl Conditioning {
    /// Of a guidance batch `[unconditional; conditional]`, the conditional half.
    pub fn conditional_half(&self) -> Result<Conditioning> {
        Err(Error::Internal("transformer".into()))
    }
}

impl Transformer {
    pub fn load(_config: &TransformerConfig, _weights: &Weights) -> Result<Transformer> {
        Err(Error::Internal("transformer".into()))
    }

    /// Prepares a run. `prompt_embeds` `(batch, length, text_embed_dim)`; `height` and `width`
    /// are the latent's, `frames` its (padded) frames.
    pub fn condition(
        &self,
        _prompt_embeds: &Tensor,
        _frames: i64,
        _height: i64,
        _width: i64,
    ) -> Result<Conditioning> {
        Err(Error::Internal("transformer".into()))
    }

    /// One call. `latents` `(n, frames, channels, height, width)`, where the conditioning's
    /// batch is a multiple of n: latents shared by both guidance halves are embedded once.
    /// Answers `(conditioning batch, frames, channels, height, width)`.
    pub fn forward(
        &self,
        _latents: &Tensor,
        _conditioning: &Conditioning,
        _timestep: i64,
        _cache: &mut dyn LayerCache,
        _control: &Control,
    ) -> Result<Tensor> {
        Err(Error::Internal("transformer".into()))
    }
}

/// The checkpoint name of the attention module of layer `layer`, under which a cache selects
/// it.
pub fn attention_name(layer: i64) -> String {
    format!("transformer_blocks.{layer}.attn1")
}
