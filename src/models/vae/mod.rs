//! AutoencoderKLCogVideoX (diffusers 0.42.1 models/autoencoders/autoencoder_kl_cogvideox.py).
//!
//! The decoder takes latents as the pipeline has them; frames come out group by group, so that a
//! host can have the first ones while the next are computed. The encoder makes the distribution of
//! the latents of an image or a video. Inside, features are dense with channels
//! innermost (frames × height × width × channels): the layout in which convolutions run
//! fastest on CPU and GPU, and in which one frame after another is one stretch of memory.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `encode` | frames to the distribution of their latents |
//! | `batches` | which frames go through a network together |
//! | `tiling` | cutting into tiles and blending them |
//! | `run` | videos and tiles, one after another, through a network |
//! | `decoder` | a network: conv_in, mid block, up blocks, conv_out |
//! | `encoder` | a network: conv_in, down blocks, mid block, conv_out |
//! | `builder` | what layers need to know while they are loaded |
//! | `resnet`, `upsample`, `downsample`, `norm`, `spatial_norm`, `causal_conv` | their layers |
//! | `estimate`, `ledger` | what decoding takes: about, on the CPU; counted, on CUDA |
//! | `features`, `stream` | what layers pass on: features, caches, working memory |

mod batches;
mod builder;
mod causal_conv;
mod decoder;
mod downsample;
mod encode;
mod encoder;
mod estimate;
mod features;
mod ledger;
mod norm;
mod resnet;
mod run;
mod spatial_norm;
mod stream;
mod tiling;
mod upsample;

#[cfg(test)]
mod tests;

pub use encode::{Content, Posterior, VaeEncoder};

use crate::backend::Backend;
use crate::checkpoint::config::VaeConfig;
use crate::checkpoint::Weights;
use crate::models::layers::Linear;
use crate::parallel::Team;
use crate::runtime::{dim, Control, LogLevel, Placement, ReadOnly, Stage};
use crate::{Error, Result};
use batches::{Batch, Batches};
use decoder::Decoder;
use run::Run;
use stream::{Limits, Workspace};
use tch::Tensor;

/// Tensors of the folder that decoding does not need, for `WeightStore::finish`.
pub const UNUSED_PREFIXES: &[&str] = &["encoder", "quant_conv"];

/// The parts of the checkpoint that an encoder alone doesn't use.
pub const ENCODER_UNUSED_PREFIXES: &[&str] = &["decoder", "post_quant_conv"];

/// Tiling with diffusers' parameters (`enable_tiling`, autoencoder_kl_cogvideox.py:1089).
/// `None` and zero take diffusers' defaults.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tiling {
    /// Height of a tile in pixels, and the height above which videos are tiled. Default: half
    /// the config's `sample_height`.
    pub tile_sample_min_height: Option<i64>,
    /// Likewise for the width.
    pub tile_sample_min_width: Option<i64>,
    /// The part of a tile's height that it shares with the next, in [0, 1). Default 1/6.
    pub tile_overlap_factor_height: Option<f64>,
    /// Likewise for the width. Default 1/5.
    pub tile_overlap_factor_width: Option<f64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DecodeOptions {
    /// Decode in tiles that overlap and are blended: less memory, slightly other frames. The
    /// frames are those of diffusers wherever its tiles add up to the size of the video; where
    /// they don't, the blended part is adjusted so that they do.
    pub tiling: Option<Tiling>,
    /// Decode the videos of a batch one after another. That is always done: it takes less
    /// memory, no more time, and gives the same frames.
    pub slicing: bool,
}

/// The halves of the VAE that a pipeline uses.
pub struct Vae {
    pub decoder: VaeDecoder,
    /// Where something is encoded.
    pub encoder: Option<VaeEncoder>,
}

// SAFETY: both halves are.
unsafe impl ReadOnly for Vae {}

impl Vae {
    /// Loads the decoder and, if something `encodes`, the encoder, from the root of the VAE's
    /// weights.
    pub fn load(config: &VaeConfig, weights: &Weights, encodes: Option<Content>) -> Result<Vae> {
        let decoder = VaeDecoder::load(config, weights)?;
        let load = |content| VaeEncoder::load(config, weights, content);
        Ok(Vae { decoder, encoder: encodes.map(load).transpose()? })
    }

    /// Tensors of the folder that are not needed then, for `WeightStore::finish`.
    pub fn unused_prefixes(encodes: Option<Content>) -> &'static [&'static str] {
        match encodes {
            Some(_) => &[],
            None => UNUSED_PREFIXES,
        }
    }
}

/// A finished group of frames.
#[derive(Debug)]
pub struct FrameChunk {
    /// Which video of the batch.
    pub video: i64,
    /// Which of its frames is the first one here.
    pub first_frame: i64,
    /// `(1, 3, frames, height, width)` in about `[-1, 1]`, in the decoder's dtype and on its
    /// device; a view of frames × height × width × 3 in dense order.
    pub frames: Tensor,
}

/// The decoder. It is only read while decoding; several threads may decode at once, each with
/// working memory of its own.
pub struct VaeDecoder {
    pub config: VaeConfig,
    placement: Placement,
    limits: Limits,
    /// `post_quant_conv`, where the config asks for it.
    post_quant_conv: Option<Linear>,
    decoder: Decoder,
}

// SAFETY: the networks are built once and then only read: their forward passes take `&self` and
// write to tensors of their own.
unsafe impl ReadOnly for VaeDecoder {}

impl VaeDecoder {
    /// Loads `decoder` and, where used, `post_quant_conv` from the root of the VAE's weights.
    /// The other tensors are below [`UNUSED_PREFIXES`].
    pub fn load(config: &VaeConfig, weights: &Weights) -> Result<VaeDecoder> {
        VaeDecoder::load_for(config, weights, weights.backend())
    }

    fn load_for(config: &VaeConfig, weights: &Weights, backend: Backend) -> Result<VaeDecoder> {
        let _no_grad = tch::no_grad_guard();
        check(config)?;
        let post_quant_conv = if config.use_post_quant_conv {
            let channels = config.out_channels;
            Some(Linear::load_pointwise(&weights.at("post_quant_conv"), channels, channels)?)
        } else {
            None
        };
        Ok(VaeDecoder {
            config: config.clone(),
            placement: weights.placement(),
            limits: Limits::of(weights.placement().device),
            post_quant_conv,
            decoder: Decoder::load(config, &weights.at("decoder"), backend)?,
        })
    }

    /// How many frames `latent_frames` decode to: twice as many per doubling of the config, but
    /// where their number is odd, the first becomes one frame. `None` where there are none or
    /// too many to count.
    pub fn decoded_frames(config: &VaeConfig, latent_frames: i64) -> Option<i64> {
        Some(Batches::new(latent_frames, doublings(config))?.frames())
    }

    /// Whether latents of this height and width can be cut as the options say: the error that
    /// decoding would begin with.
    pub fn check_tiles(
        config: &VaeConfig,
        options: &DecodeOptions,
        height: i64,
        width: i64,
    ) -> Result<()> {
        match &options.tiling {
            Some(tiling) => tiling::grid(config, tiling, height, width).map(|_| ()),
            None => Ok(()),
        }
    }

    /// About how many bytes decoding takes at its peak beside the finished video, from latents of
    /// `[frames, height, width]`, with elements of `element` bytes: the working memory of
    /// [`stream::Workspace`], what convolutions keep from group to group, and a group on its way out.
    pub fn estimated_bytes(
        config: &VaeConfig,
        options: &DecodeOptions,
        [frames, height, width]: [i64; 3],
        element: i64,
    ) -> u64 {
        estimate::bytes(config, options, [frames, height, width], element)
    }

    /// The same on a CUDA device, as its allocator counts it, and how many multiplications decoding
    /// makes.
    pub fn device_bytes(
        config: &VaeConfig,
        options: &DecodeOptions,
        [frames, height, width]: [i64; 3],
        element: i64,
    ) -> (u64, f64) {
        ledger::decoder(config, options, [frames, height, width], element)
    }

    /// What the VAE's weights take on a CUDA device, with elements of `element` bytes; with the
    /// encoder, if something `encodes`.
    pub fn weight_bytes(config: &VaeConfig, element: i64, encodes: Option<Content>) -> u64 {
        ledger::weights(config, element, encodes)
    }

    /// The shape of the frames of latents of `shape` `(batch, latent channels, latent frames,
    /// height, width)`: `(batch, 3, frames, height, width)`. An error where `shape` is not of
    /// that form or the frames are too many to count.
    pub fn output_shape(&self, shape: &[i64]) -> Result<[i64; 5]> {
        let channels = self.config.latent_channels;
        let &[batch, found, latent_frames, height, width] = shape else {
            return Err(wrong_latents(channels, shape));
        };
        if found != channels || shape.iter().any(|&side| side < 1) {
            return Err(wrong_latents(channels, shape));
        }
        let ratio = self.config.spatial_compression_ratio();
        let too_large = || Error::InvalidArgument(format!("latents {shape:?}: too large"));
        let frames = self.batches(latent_frames).ok_or_else(too_large)?.frames();
        let height = height.checked_mul(ratio).ok_or_else(too_large)?;
        let width = width.checked_mul(ratio).ok_or_else(too_large)?;
        let shape = [batch, self.config.out_channels, frames, height, width];
        stream::elements(&shape)?;
        Ok(shape)
    }

    /// Latents `(batch, latent channels, latent frames, height, width)`, already divided by
    /// the scaling factor, to frames `(batch, 3, frames, height, width)` in about `[-1, 1]`,
    /// on the decoder's device and in its dtype. The result is a view of batch × frames ×
    /// height × width × 3 in dense order.
    ///
    /// Errors: latents of another form, tiling parameters out of range, out of memory,
    /// cancelled.
    pub fn decode(
        &self,
        latents: &Tensor,
        options: &DecodeOptions,
        control: &Control,
    ) -> Result<Tensor> {
        let [batch, channels, frames, height, width] = self.output_shape(&latents.size())?;
        let (kind, device) = (self.placement.dtype.kind(), self.placement.device);
        let out = Tensor::f_empty([batch, frames, height, width, channels], (kind, device))?
            .f_permute([0, 4, 1, 2, 3])?;
        self.decode_chunks(latents, options, control, &mut |chunk| {
            let count = dim(&chunk.frames, 2)?;
            let mut target =
                out.f_narrow(0, chunk.video, 1)?.f_narrow(2, chunk.first_frame, count)?;
            Ok(target.f_copy_(&chunk.frames)?)
        })?;
        Ok(out)
    }

    /// As [`VaeDecoder::decode`], handing each group of frames to `on_chunk` as soon as it is
    /// finished and keeping nothing of it: video by video, and in each from the first frame to
    /// the last. In tiles, the groups of a video come when all of its tiles are done. An error
    /// of `on_chunk` ends the work and is returned.
    ///
    /// Progress is reported per group and tile, of a total that is known from the start.
    pub fn decode_chunks(
        &self,
        latents: &Tensor,
        options: &DecodeOptions,
        control: &Control,
        on_chunk: &mut dyn FnMut(&FrameChunk) -> Result<()>,
    ) -> Result<()> {
        self.decode_chunks_with(&Team::alone(), latents, options, control, on_chunk)
    }

    /// As [`VaeDecoder::decode_chunks`], with tiles shared among the ranks of `team`, all of which
    /// call this: rank 0 puts the tiles together, so the frames are those of a rank alone, and only
    /// there `on_chunk` is called. What is not cut into tiles is decoded by rank 0.
    pub fn decode_chunks_with(
        &self,
        team: &Team,
        latents: &Tensor,
        options: &DecodeOptions,
        control: &Control,
        on_chunk: &mut dyn FnMut(&FrameChunk) -> Result<()>,
    ) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        let shape = latents.size();
        let [batch, ..] = self.output_shape(&shape)?;
        let &[_, _, latent_frames, height, width] = shape.as_slice() else {
            return Err(wrong_latents(self.config.latent_channels, &shape));
        };
        let grid = match &options.tiling {
            Some(tiling) => tiling::grid(&self.config, tiling, height, width)?,
            None => None,
        };
        if grid.iter().flatten().any(|axis| axis.mended) {
            control.log(
                LogLevel::Info,
                "VAE tiles: diffusers would return frames of another size with these tiles; the \
                 blended part was adjusted",
            );
        }
        let groups: Vec<Batch> = self
            .batches(latent_frames)
            .ok_or_else(|| wrong_latents(self.config.latent_channels, &shape))?
            .iter()
            .collect();
        let tiles =
            grid.as_ref().map_or(1, |grid| grid.iter().map(|axis| axis.tiles.len()).product());
        let workspace = Workspace::new(self.placement, self.limits);
        let pieces = [batch as u64, tiles as u64];
        let (decoder, stage) = (&self.decoder, (control, Stage::Decode));
        let mut run = Run::new(decoder, &groups, pieces, workspace, stage);
        for video in 0..batch {
            let z = self.latents_of(latents, video)?;
            let mut deliver = |group: &Batch, frames: Tensor| {
                let frames = frames.f_permute([3, 0, 1, 2])?.f_unsqueeze(0)?;
                on_chunk(&FrameChunk { video, first_frame: group.out_start, frames })
            };
            match &grid {
                None if team.rank() > 0 => {}
                None => run.whole(&z, &mut deliver)?,
                Some(grid) => run.tiled(&z, grid, team, &mut deliver)?,
            }
        }
        Ok(())
    }

    fn batches(&self, latent_frames: i64) -> Option<Batches> {
        Batches::new(latent_frames, doublings(&self.config))
    }

    /// One video's latents as the decoder takes them: frames × height × width × channels.
    fn latents_of(&self, latents: &Tensor, video: i64) -> Result<Tensor> {
        let z = latents
            .f_select(0, video)?
            .f_permute([1, 2, 3, 0])?
            .f_to_device(self.placement.device)?
            .f_to_kind(self.placement.dtype.kind())?
            .f_contiguous()?;
        match &self.post_quant_conv {
            Some(conv) => conv.forward(&z),
            None => Ok(z),
        }
    }
}

/// How often frames are doubled, and halved in the encoder: once per block that upsamples, up to the compression ratio
/// (`temporal_compress_level`, autoencoder_kl_cogvideox.py:861).
fn doublings(config: &VaeConfig) -> usize {
    let levels = config.temporal_compression_ratio.max(1).ilog2() as usize;
    levels.min(config.block_out_channels.len().saturating_sub(1))
}

/// What the layers below divide by; the folder's reader checks more.
fn check(config: &VaeConfig) -> Result<()> {
    let groups = config.norm_num_groups;
    let blocks = &config.block_out_channels;
    if groups < 1 || blocks.is_empty() || blocks.iter().any(|&c| c < 1 || c % groups != 0) {
        return Err(Error::InvalidCheckpoint(format!(
            "VAE config: block_out_channels: expected multiples of norm_num_groups {groups}, found \
             {blocks:?}"
        )));
    }
    if config.use_post_quant_conv && config.latent_channels != config.out_channels {
        return Err(Error::InvalidCheckpoint(format!(
            "VAE config: use_post_quant_conv: expected as many latent_channels as out_channels, \
             found {} and {}",
            config.latent_channels, config.out_channels
        )));
    }
    Ok(())
}

fn wrong_latents(channels: i64, found: &[i64]) -> Error {
    Error::InvalidArgument(format!(
        "VAE latents: expected (batch, {channels} channels, frames, height, width) with no side \
         of 0, found {found:?}"
    ))
}
