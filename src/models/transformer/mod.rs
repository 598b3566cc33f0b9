//! CogVideoXTransformer3DModel (diffusers 0.42.1
//! models/transformers/cogvideox_transformer_3d.py:160).
//!
//! Text and video tokens live in one buffer `(batch, text + video tokens, width)`, text first,
//! from the patch embedding to the last block; the blocks work on it in place. The timestep is
//! the same for the whole batch, so everything that comes from it is computed once per call.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `patch_embed` | latents and text to tokens, tokens to latents |
//! | `positions`, `rotary` | sine-cosine positions (2b), rotary positions (5b, 1.5) |
//! | `time` | the embedding of the timestep and of the offset |
//! | `block`, `attention`, `modulation` | a block and its parts |
//! | `adapters` | the modules that adapters may change, and the model changed by them |

mod adapters;
mod attention;
mod block;
mod conditioning;
mod modulation;
mod patch_embed;
mod positions;
mod rotary;
mod time;

pub use adapters::{linear_modules, LinearModule};
pub use conditioning::Conditioning;

use crate::cache::{BlockAction, ForwardCache};
use crate::checkpoint::config::TransformerConfig;
use crate::checkpoint::Weights;
use crate::models::layers::{Blocks, LayerNorm, Linear};
use crate::runtime::{dim, pieces, Control, Placement, ReadOnly};
use crate::{Error, Result};
use block::{Block, BlockInput};
use patch_embed::{PatchEmbed, Patches};
use tch::{Device, Kind, Tensor};
use time::TimeEmbedding;

/// The denoiser. It is not changed by use: one may serve several runs at once.
pub struct Transformer {
    pub config: TransformerConfig,
    placement: Placement,
    patch_embed: PatchEmbed,
    /// `patch_embed.pos_embedding` `(text + video tokens, width)` of a model with learned
    /// positions.
    learned_positions: Option<Tensor>,
    time_embedding: TimeEmbedding,
    blocks: Blocks<Block>,
    norm_final: LayerNorm,
    norm_out: LayerNorm,
    norm_out_linear: Linear,
    proj_out: Linear,
}

/// What the model is told of one timestep: see [`Transformer::time_embeddings`].
pub struct TimeInput(Tensor);

// SAFETY: the networks are built once and then only read: their forward passes take `&self` and
// write to tensors of their own.
unsafe impl ReadOnly for Transformer {}

impl Transformer {
    /// Reads the weights of the model that `config` describes; `weights` is the root of the
    /// component. Errors: [`Error::UnsupportedModel`] for a config this code can't run, and
    /// those of [`Weights::tensor`].
    pub fn load(config: &TransformerConfig, weights: &Weights) -> Result<Transformer> {
        let width = config.num_attention_heads * config.attention_head_dim;
        let norm = |place: Weights| {
            LayerNorm::load(&place, width, config.norm_eps, config.norm_elementwise_affine)
        };
        let learned_positions = conditioning::load_learned_positions(config, weights)?;
        let of_block = config.clone();
        let place = weights.at("transformer_blocks").quantizable();
        let blocks = Blocks::load(&place, config.num_layers, move |weights| {
            Block::load(&of_block, weights)
        })?;
        let features = Patches::new(config, config.out_channels).features();
        Ok(Transformer {
            config: config.clone(),
            placement: weights.placement(),
            patch_embed: PatchEmbed::load(config, &weights.at("patch_embed"))?,
            learned_positions,
            time_embedding: TimeEmbedding::load(config, weights)?,
            blocks,
            norm_final: norm(weights.at("norm_final"))?,
            norm_out: norm(weights.at("norm_out.norm"))?,
            norm_out_linear: Linear::load_for_a_row(
                &weights.at("norm_out.linear"),
                config.time_embed_dim,
                2 * width,
            )?,
            proj_out: Linear::load(&weights.at("proj_out"), width, features, true)?,
        })
    }

    /// Where it is.
    pub fn device(&self) -> Device {
        self.placement.device
    }

    /// What the model is told of each of `timesteps`, for [`Transformer::forward_at`]: nothing else
    /// goes into it, so a run makes all of them before its first step, where their copies to the
    /// device wait for no step and no step for them. Each is made by itself: a product of several
    /// rows at once has other last bits.
    pub fn time_embeddings(&self, timesteps: &[i64]) -> Result<Vec<TimeInput>> {
        timesteps.iter().map(|&t| Ok(TimeInput(self.time_embedding.forward(t)?))).collect()
    }

    /// One call: the model's prediction for `latents` at `timestep`.
    pub fn forward(
        &self,
        latents: &Tensor,
        conditioning: &Conditioning,
        timestep: i64,
        cache: &mut dyn ForwardCache,
        control: &Control,
    ) -> Result<Tensor> {
        let time = TimeInput(self.time_embedding.forward(timestep)?);
        self.forward_at(latents, conditioning, &time, cache, control)
    }

    /// One call: the model's prediction for `latents` at a timestep that is embedded already.
    ///
    /// `latents` is `(n, frames, channels, height, width)` of the size the conditioning was
    /// made for, in any dtype and on any device. The conditioning's batch is a multiple of n:
    /// its row `i` goes with latents `i mod n`, so latents that both guidance halves share are
    /// given, and embedded, once. Returns `(conditioning batch, frames, out_channels, height,
    /// width)` in the model's dtype.
    ///
    /// The cache is asked before each block and each of its modules, in their order. Cancelling
    /// is noticed before each block.
    pub fn forward_at(
        &self,
        latents: &Tensor,
        conditioning: &Conditioning,
        TimeInput(time): &TimeInput,
        cache: &mut dyn ForwardCache,
        control: &Control,
    ) -> Result<Tensor> {
        let text = conditioning.text_tokens()?;
        let x = self.tokens(latents, conditioning)?;
        let (rotary, shard) = (conditioning.rotary.as_ref(), conditioning.shard.as_deref());
        let input = BlockInput { time, text, rotary, shard, control };
        let video_tokens = conditioning.video_tokens();
        let mut index = 0;
        let mut pass = self.blocks.pass(control)?;
        while index < self.blocks.count() {
            control.begin_layer(self.placement.device)?;
            match cache.block(index, &x)? {
                BlockAction::Compute => {
                    pass.block(index)?.forward(&x, &input, index, cache)?;
                    cache.block_computed(index, &x)?;
                    index += 1;
                }
                BlockAction::Skip { to, residual } => {
                    self.skip(&x, video_tokens, index..to, &residual.value)?;
                    index = to;
                }
            }
        }
        drop(pass);

        let video = x.f_narrow(1, text, video_tokens)?;
        let width = dim(&x, 2)?;
        let cost = 2 * width * pieces::ELEMENT;
        let video = pieces::map_rows(&video, cost, control, |x| self.norm_final.forward(x))?;
        drop(x);
        // AdaLayerNorm with chunk_dim 1: shift first (normalization.py:72).
        let modulation = self.norm_out_linear.forward(time)?.f_view([2, -1])?;
        let (shift, scale) = (modulation.f_select(0, 0)?, modulation.f_select(0, 1)?);
        let video = pieces::map_rows(&video, cost, control, |x| {
            self.norm_out.forward_modulated(x, &shift, &scale)
        })?;
        let patches = self.proj_out.forward_in_pieces(&video, control)?;
        self.output(Some(patches), conditioning)
    }

    /// The model's prediction of a call in which this rank has no part: what the other ranks made.
    pub fn forward_elsewhere(&self, conditioning: &Conditioning) -> Result<Tensor> {
        self.output(None, conditioning)
    }

    /// What the ranks' patches `(batch, own video tokens, features)` are together, as latents.
    fn output(&self, own: Option<Tensor>, conditioning: &Conditioning) -> Result<Tensor> {
        let out = Patches::new(&self.config, self.config.out_channels);
        let patches = match (&conditioning.shard, own) {
            (None, Some(own)) => own,
            (Some(shard), own) => {
                let Placement { device, dtype } = self.placement;
                let rows = dim(&conditioning.text, 0)?;
                shard.gather(own, [rows, out.features()], (dtype.kind(), device))?
            }
            (None, None) => {
                return Err(Error::Internal("transformer: a rank alone without a part".into()))
            }
        };
        out.unpatchify(&patches, conditioning.grid)
    }

    /// For each step how much the time embedding differs from that of the step before: mean
    /// absolute difference over mean absolute value of the one before, in float32; 0 for step 0.
    /// It stands for the change of the modulated input (arXiv 2411.19108), which for CogVideoX depends
    /// on nothing but the timestep.
    pub fn time_embedding_changes(&self, timesteps: &[i64]) -> Result<Vec<f64>> {
        let mean = |x: &Tensor| Ok::<_, Error>(x.f_abs()?.f_mean(Kind::Float)?);
        // For each step but the first, the two means.
        let mut means = Vec::with_capacity(2 * timesteps.len());
        let mut previous: Option<Tensor> = None;
        for &timestep in timesteps {
            let embedding = self.time_embedding.embedding(timestep)?.f_to_kind(Kind::Float)?;
            if let Some(previous) = &previous {
                means.extend([mean(&embedding.f_sub(previous)?)?, mean(previous)?]);
            }
            previous = Some(embedding);
        }
        let first = previous.map(|_| 0.0);
        if means.is_empty() {
            return Ok(first.into_iter().collect());
        }
        // Read together: a device is waited for once.
        let means = Vec::<f32>::try_from(Tensor::f_stack(&means, 0)?)?;
        let change = |pair: &[f32]| match pair {
            [change, of] => f64::from(*change) / f64::from(*of),
            _ => 0.0,
        };
        Ok(first.into_iter().chain(means.chunks(2).map(change)).collect())
    }

    /// Adds to the tokens `x`, of which the last `video_tokens` are the video's, what blocks would
    /// have added. After the last block, only the video's tokens matter.
    fn skip(
        &self,
        x: &Tensor,
        video_tokens: i64,
        blocks: std::ops::Range<usize>,
        residual: &Tensor,
    ) -> Result<()> {
        let (found, tokens) = (residual.size(), x.size3()?.1);
        let target = if found == x.size() {
            x.shallow_clone()
        } else {
            x.f_narrow(1, tokens - video_tokens, video_tokens)?
        };
        let beyond = blocks.end > self.blocks.count() || blocks.is_empty();
        let partial = target.size() != x.size() && blocks.end != self.blocks.count();
        if beyond || partial || target.size() != found {
            return Err(Error::Internal(format!(
                "cache of transformer_blocks {blocks:?} of {}: expected a residual of shape {:?}, \
                 found {found:?}",
                self.blocks.count(),
                x.size()
            )));
        }
        let _ = target.shallow_clone().f_add_(residual)?;
        Ok(())
    }

    /// The sequence buffer `(batch, text + video tokens, width)` that the blocks start from.
    fn tokens(&self, latents: &Tensor, conditioning: &Conditioning) -> Result<Tensor> {
        let (batch, text, width) = conditioning.text.size3()?;
        let found = latents.size();
        let n = dim(latents, 0)?;
        let expected = [&[n], conditioning.latent_size.as_slice()].concat();
        if found != expected || n < 1 || batch % n != 0 {
            return Err(Error::InvalidArgument(format!(
                "latents: expected shape (n, {}) with n a divisor of the batch {batch}, \
                 found {found:?}",
                conditioning.latent_size.map(|size| size.to_string()).join(", ")
            )));
        }
        let latents =
            latents.f_to_device(self.placement.device)?.f_to_kind(self.placement.dtype.kind())?;
        let only = conditioning.shard.as_ref().map(|shard| shard.video());
        let mut video = self.patch_embed.video(&latents, only)?;
        if let Some(positions) = &conditioning.positions {
            video = video.f_add_(positions)?;
        }

        let options = (self.placement.dtype.kind(), self.placement.device);
        let tokens = conditioning.video_tokens();
        let x = Tensor::f_empty([batch, text + tokens, width], options)?;
        x.f_narrow(1, 0, text)?.f_copy_(&conditioning.text)?;
        x.f_unflatten(0, [-1, n])?.f_narrow(2, text, tokens)?.f_copy_(&video.f_unsqueeze(0)?)?;
        Ok(x)
    }
}

/// The checkpoint name of the attention module of layer `layer`, under which a cache selects
/// it.
pub fn attention_name(layer: i64) -> String {
    format!("transformer_blocks.{layer}.attn1")
}
