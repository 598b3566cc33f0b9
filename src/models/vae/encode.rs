//! From frames to latents (`AutoencoderKLCogVideoX.encode`, diffusers 0.42.1
//! models/autoencoders/autoencoder_kl_cogvideox.py:1144).

use super::batches::{sample_batches, Batch};
use super::encoder::Encoder;
use super::run::Run;
use super::stream::{Limits, Workspace};
use super::{tiling, Tiling};
use crate::backend::Backend;
use crate::checkpoint::config::VaeConfig;
use crate::checkpoint::Weights;
use crate::models::layers::Linear;
use crate::parallel::Team;
use crate::runtime::rng::Generator;
use crate::runtime::{Control, LogLevel, Placement, ReadOnly, Stage};
use crate::{Error, Result};
use tch::Tensor;

/// What an encoder is loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Videos of one frame: a third of the weights, and of the work.
    Images,
    /// Videos of any length.
    Videos,
}

/// The encoder. It is only read while encoding; several threads may encode at once, each with
/// working memory of its own.
pub struct VaeEncoder {
    pub config: VaeConfig,
    content: Content,
    placement: Placement,
    pub(super) limits: Limits,
    /// `quant_conv`, where the config asks for it.
    quant_conv: Option<Linear>,
    encoder: Encoder,
}

// SAFETY: the networks are built once and then only read: their forward passes take `&self` and
// write to tensors of their own.
unsafe impl ReadOnly for VaeEncoder {}

impl VaeEncoder {
    /// Loads `encoder` and, where used, `quant_conv` from the root of the VAE's weights.
    pub fn load(config: &VaeConfig, weights: &Weights, content: Content) -> Result<VaeEncoder> {
        VaeEncoder::load_for(config, weights, content, weights.backend())
    }

    pub(super) fn load_for(
        config: &VaeConfig,
        weights: &Weights,
        content: Content,
        backend: Backend,
    ) -> Result<VaeEncoder> {
        let _no_grad = tch::no_grad_guard();
        super::check(config)?;
        check(config)?;
        let channels = 2 * config.latent_channels;
        let quant_conv = if config.use_quant_conv {
            Some(Linear::load_pointwise(&weights.at("quant_conv"), channels, channels)?)
        } else {
            None
        };
        Ok(VaeEncoder {
            config: config.clone(),
            content,
            placement: weights.placement(),
            limits: Limits::of(weights.placement().device),
            quant_conv,
            encoder: Encoder::load(
                config,
                &weights.at("encoder"),
                content == Content::Images,
                backend,
            )?,
        })
    }

    /// Whether frames of this height and width can be cut as `tiling` says: the error that
    /// encoding would begin with.
    pub fn check_tiles(config: &VaeConfig, tiling: &Tiling, height: i64, width: i64) -> Result<()> {
        tiling::sample_grid(config, tiling, height, width).map(|_| ())
    }

    /// About how many bytes encoding frames of `[frames, height, width]` takes at its peak beside the
    /// frames, with elements of `element` bytes.
    pub fn estimated_bytes(
        config: &VaeConfig,
        tiling: Option<&Tiling>,
        [frames, height, width]: [i64; 3],
        element: i64,
    ) -> u64 {
        super::estimate::encoder_bytes(config, tiling, [frames, height, width], element)
    }

    /// Frames `(batch, 3, frames, height, width)` in [-1, 1], in any dtype and on any device, to
    /// the distribution of their latents. Height and width must be at least the spatial
    /// compression; what is left over of a multiple of it is cut off. Of frames, the groups of
    /// eight, the first with what is left over, become a quarter each, rounded up. With `tiling`,
    /// frames larger than a tile are encoded in tiles that are blended.
    ///
    /// Progress ([`Stage::EncodeImage`]) is reported per group and tile.
    ///
    /// Errors: frames of another form, tiling parameters out of range, out of memory, cancelled.
    pub fn encode(
        &self,
        frames: &Tensor,
        tiling: Option<&Tiling>,
        control: &Control,
    ) -> Result<Posterior> {
        let _no_grad = tch::no_grad_guard();
        let ratio = self.config.spatial_compression_ratio();
        let found = frames.size();
        let (batch, count, height, width) = match found[..] {
            [batch, 3, count, height, width]
                if batch > 0 && count > 0 && height >= ratio && width >= ratio =>
            {
                (batch, count, height, width)
            }
            _ => {
                return Err(Error::InvalidArgument(format!(
                    "VAE frames: expected (batch, 3 channels, frames, height, width) with at \
                     least one frame of at least {ratio} × {ratio}, found {found:?}"
                )))
            }
        };
        if self.content == Content::Images && count != 1 {
            return Err(Error::InvalidArgument(format!(
                "VAE frames: expected one, since the encoder was loaded for images, found {count}"
            )));
        }
        let grid = match tiling {
            Some(tiling) => tiling::sample_grid(&self.config, tiling, height, width)?,
            None => None,
        };
        if grid.iter().flatten().any(|axis| axis.mended) {
            control.log(
                LogLevel::Info,
                "VAE tiles: diffusers would return latents of another size with these tiles; \
                 where they start was adjusted",
            );
        }
        let groups = sample_batches(count, super::doublings(&self.config));
        let tiles =
            grid.as_ref().map_or(1, |grid| grid.iter().map(|axis| axis.tiles.len()).product());
        let workspace = Workspace::new(self.placement, self.limits);
        let pieces = [batch as u64, tiles as u64];
        let (encoder, stage) = (&self.encoder, (control, Stage::EncodeImage));
        let mut run = Run::new(encoder, &groups, pieces, workspace, stage);
        let mut videos = Vec::new();
        for video in 0..batch {
            let x = frames
                .f_select(0, video)?
                .f_permute([1, 2, 3, 0])?
                .f_to_device(self.placement.device)?
                .f_to_kind(self.placement.dtype.kind())?
                .f_contiguous()?;
            let mut parts = Vec::new();
            let mut keep = |_: &Batch, part: Tensor| {
                parts.push(part);
                Ok(())
            };
            match &grid {
                None => run.whole(&x, &mut keep)?,
                Some(grid) => run.tiled(&x, grid, &Team::alone(), &mut keep)?,
            }
            videos.push(Tensor::f_cat(&parts, 0)?);
        }
        let mut parameters = Tensor::f_stack(&videos, 0)?;
        if let Some(conv) = &self.quant_conv {
            parameters = conv.forward(&parameters)?;
        }
        Posterior::new(&parameters.f_permute([0, 4, 1, 2, 3])?)
    }
}

/// The distribution of the latents of frames: normal, each number by itself
/// (`DiagonalGaussianDistribution`, diffusers 0.42.1 models/autoencoders/vae.py:690).
#[derive(Debug)]
pub struct Posterior {
    /// `(batch, latent channels, latent frames, height, width)`, in the encoder's dtype.
    pub mean: Tensor,
    /// The standard deviation, likewise.
    pub std: Tensor,
}

impl Posterior {
    /// From means and then logarithms of variances, side by side along the channels.
    fn new(parameters: &Tensor) -> Result<Posterior> {
        let [mean, variance]: [Tensor; 2] = parameters
            .f_chunk(2, 1)?
            .try_into()
            .map_err(|_| Error::Internal("VAE encoder: not two halves".into()))?;
        let std = variance.f_clamp(-30.0, 20.0)?.f_mul_scalar_(0.5)?.f_exp_()?;
        Ok(Posterior { mean: mean.f_contiguous()?, std: std.f_contiguous()? })
    }

    /// A sample for one of a run's videos, counted from 0: one draw of the mean's shape and dtype from
    /// `generator`.
    pub fn sample(&self, generator: &mut Generator, video: usize) -> Result<Tensor> {
        let (shape, kind) = (self.mean.size(), self.mean.f_kind()?);
        let noise = generator.randn_of(video, &shape, kind, self.mean.device())?;
        Ok(self.mean.f_add(&self.std.f_mul(&noise)?)?)
    }
}

/// What only the encoder needs of a config.
fn check(config: &VaeConfig) -> Result<()> {
    if config.in_channels != 3 {
        return Err(Error::UnsupportedModel(format!(
            "VAE config: in_channels: expected 3 (red, green, blue), found {}",
            config.in_channels
        )));
    }
    if config.use_quant_conv && config.latent_channels != config.out_channels {
        return Err(Error::InvalidCheckpoint(format!(
            "VAE config: use_quant_conv: expected as many latent_channels as out_channels, found \
             {} and {}",
            config.latent_channels, config.out_channels
        )));
    }
    Ok(())
}
