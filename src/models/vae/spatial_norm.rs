//! `CogVideoXSpatialNorm3D` (arXiv 2209.09002; diffusers 0.42.1
//! models/autoencoders/autoencoder_kl_cogvideox.py:147) and the SiLU that always follows it.
//!
//! The reference upsamples the latents z to the size of the features f, then computes
//! `group_norm(f) · conv_y(z) + conv_b(z)` there. A 1×1×1 convolution and nearest-neighbour
//! upsampling commute, and a group norm is one affine map per channel once its statistics are
//! known. So one matrix product at latent size gives a scale and a shift per latent pixel and
//! channel, and the features are gone through once.

use super::batches::latent_frame;
use super::features::Features;
use super::norm::GroupNorm;
use crate::backend::{video, Backend};
use crate::checkpoint::Weights;
use crate::runtime::{dim, pieces, Control};
use crate::{Error, Result};
use tch::{Kind, Tensor};

/// Of every spatial norm, whatever the config's `norm_eps` (autoencoder_kl_cogvideox.py:170).
const EPSILON: f64 = 1e-6;

/// The latents that a group of frames is decoded from.
pub(super) struct Latents {
    /// Latent frames × height × width × latent channels, dense, in the decoder's dtype.
    pub z: Tensor,
    /// The same in float32, one pixel per row.
    rows: Tensor,
    frames: i64,
    height: i64,
    width: i64,
}

impl Latents {
    pub fn new(z: Tensor) -> Result<Latents> {
        let &[frames, height, width, channels] = z.size().as_slice() else {
            return Err(Error::Internal(format!("VAE decoder: latents of {:?}", z.size())));
        };
        let rows = z.f_to_kind(Kind::Float)?.f_view([-1, channels])?;
        Ok(Latents { z, rows, frames, height, width })
    }
}

pub(super) struct SpatialNorm {
    norm_layer: GroupNorm,
    /// Of `conv_y` and `conv_b`: channels × latent channels, and channels; float32.
    weight_y: Tensor,
    bias_y: Tensor,
    weight_b: Tensor,
    bias_b: Tensor,
    backend: Backend,
}

impl SpatialNorm {
    pub fn load(
        weights: &Weights,
        channels: i64,
        latent_channels: i64,
        groups: i64,
        backend: Backend,
    ) -> Result<SpatialNorm> {
        let float =
            |at: &Weights, name: &str, shape: &[i64]| at.tensor_as(name, shape, Kind::Float);
        let pointwise = |name: &str| -> Result<(Tensor, Tensor)> {
            let conv = weights.at(name).at("conv");
            let weight = float(&conv, "weight", &[channels, latent_channels, 1, 1, 1])?;
            Ok((weight.f_view([channels, latent_channels])?, float(&conv, "bias", &[channels])?))
        };
        let (weight_y, bias_y) = pointwise("conv_y")?;
        let (weight_b, bias_b) = pointwise("conv_b")?;
        Ok(SpatialNorm {
            norm_layer: GroupNorm::load(&weights.at("norm_layer"), channels, groups, EPSILON)?,
            weight_y,
            bias_y,
            weight_b,
            bias_b,
            backend,
        })
    }

    /// What the norm does to `features`, whose statistics it takes now.
    ///
    /// With a = γ / σ and b = β - μ a per channel, the norm is
    /// `f · (a · y) + (b · y + conv_b(z))` where `y = conv_y(z)`.
    pub fn modulation(&self, features: &Features, latents: &Latents) -> Result<Modulation> {
        let (a, b) = self.norm_layer.scale_and_shift(features)?;
        let scale = self.weight_y.f_mul(&a.f_unsqueeze(1)?)?;
        let shift = self.weight_y.f_mul(&b.f_unsqueeze(1)?)?.f_add(&self.weight_b)?;
        let bias_scale = self.bias_y.f_mul(&a)?;
        let bias_shift = self.bias_y.f_mul(&b)?.f_add(&self.bias_b)?;
        let weight = Tensor::f_cat(&[scale, shift], 0)?;
        let bias = Tensor::f_cat(&[bias_scale, bias_shift], 0)?;
        let table = bias.f_addmm(&latents.rows, &weight.f_tr()?)?.f_view([
            latents.frames,
            latents.height,
            latents.width,
            2 * self.norm_layer.channels,
        ])?;
        Modulation::new(table, features, self.backend.clone())
    }
}

/// A norm whose statistics are known.
pub(super) struct Modulation {
    /// Latent frames × height × width × (scales, then shifts), float32; of a group norm one of
    /// each.
    table: Tensor,
    /// Frames that the features are held in.
    frames: i64,
    backend: Backend,
}

impl Modulation {
    pub fn new(table: Tensor, features: &Features, backend: Backend) -> Result<Modulation> {
        Ok(Modulation { table, frames: features.size()?[0], backend })
    }

    /// Writes the SiLU of the norm of held frames `start…` of `features` to `out`.
    pub fn apply(
        &self,
        features: &Features,
        out: &mut Tensor,
        start: i64,
        control: &Control,
    ) -> Result<()> {
        let (latent_frames, count) = (dim(&self.table, 0)?, dim(out, 0)?);
        let from: Vec<i64> = match latent_frames {
            1 => vec![0; usize::try_from(count).unwrap_or(0)],
            _ => (start..start + count)
                .map(|f| latent_frame(f, self.frames, latent_frames))
                .collect(),
        };
        let x = features.part(start, count)?;
        // Lines of latent pixels, each of which serves some rows.
        let lines = dim(&self.table, 1)?;
        let cost = x.numel() as i64 / (count * lines).max(1) * 2 * pieces::ELEMENT;
        if pieces::rows_of_a_piece(x.device(), count * lines, cost).is_none() {
            pieces::begin(x.device(), control)?;
            return video::modulate_silu(&self.backend, &x, out, &self.table, &from);
        }
        let rows = dim(&x, 1)? / lines.max(1);
        for (frame, &latent) in (0..count).zip(&from) {
            pieces::each(x.device(), lines, cost, control, |first, lines| {
                let part =
                    |t: &Tensor| t.f_narrow(0, frame, 1)?.f_narrow(1, first * rows, lines * rows);
                let table = self.table.f_narrow(0, latent, 1)?.f_narrow(1, first, lines)?;
                video::modulate_silu(&self.backend, &part(&x)?, &mut part(out)?, &table, &[0])
            })?;
        }
        Ok(())
    }
}
