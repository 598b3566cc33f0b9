//! The norms of both halves of the VAE, each with the SiLU that always follows it: group norms in
//! the encoder, spatial norms in the decoder.

use super::features::Features;
use super::spatial_norm::{Latents, Modulation, SpatialNorm};
use crate::backend::Backend;
use crate::checkpoint::Weights;
use crate::{Error, Result};
use tch::{Kind, Tensor};

/// A group norm over the channels of a group of frames (arXiv 1803.08494). Once its statistics
/// are known, it is one affine map per channel.
pub(super) struct GroupNorm {
    /// γ and β, float32.
    gamma: Tensor,
    beta: Tensor,
    pub channels: i64,
    groups: i64,
    epsilon: f64,
}

impl GroupNorm {
    /// `channels` is a multiple of `groups`.
    pub fn load(weights: &Weights, channels: i64, groups: i64, epsilon: f64) -> Result<GroupNorm> {
        Ok(GroupNorm {
            gamma: weights.tensor_as("weight", &[channels], Kind::Float)?,
            beta: weights.tensor_as("bias", &[channels], Kind::Float)?,
            channels,
            groups,
            epsilon,
        })
    }

    /// γ / σ and β - μ γ / σ per channel, with the statistics of `features`: what they are
    /// multiplied with, and what is added to them then.
    pub fn scale_and_shift(&self, features: &Features) -> Result<(Tensor, Tensor)> {
        let (mean, inverse_deviation) = features.statistics(self.groups, self.epsilon)?;
        let per_channel = |of_groups: &Tensor| {
            let width = self.channels / self.groups;
            of_groups.f_unsqueeze(1)?.f_expand([self.groups, width], false)?.f_reshape([-1])
        };
        let scale = self.gamma.f_mul(&per_channel(&inverse_deviation)?)?;
        let shift = self.beta.f_sub(&per_channel(&mean)?.f_mul(&scale)?)?;
        Ok((scale, shift))
    }
}

/// The norm of a resnet.
pub(super) enum Norm {
    /// Of the encoder.
    Group(GroupNorm, Backend),
    /// Of the decoder.
    Spatial(SpatialNorm),
}

impl Norm {
    /// What the norm does to `features`, whose statistics it takes now. Spatial norms need the
    /// latents that the features are decoded from.
    pub fn modulation(&self, features: &Features, latents: Option<&Latents>) -> Result<Modulation> {
        match (self, latents) {
            (Norm::Group(norm, backend), _) => {
                let (scale, shift) = norm.scale_and_shift(features)?;
                let table = Tensor::f_cat(&[scale, shift], 0)?;
                let table = table.f_view([1, 1, 1, 2 * norm.channels])?;
                Modulation::new(table, features, backend.clone())
            }
            (Norm::Spatial(norm), Some(latents)) => norm.modulation(features, latents),
            (Norm::Spatial(_), None) => {
                Err(Error::Internal("VAE: a spatial norm without latents".into()))
            }
        }
    }
}
