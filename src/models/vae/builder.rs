//! What the layers of the VAE need to know while they are loaded.

use super::norm::{GroupNorm, Norm};
use super::spatial_norm::SpatialNorm;
use crate::backend::Backend;
use crate::checkpoint::config::VaeConfig;
use crate::checkpoint::Weights;
use crate::Result;

/// Passed down while a network is loaded, layer by layer in the order of its forward pass.
pub(super) struct Builder {
    pub backend: Backend,
    /// The network is for videos of one frame.
    pub still: bool,
    norms: Norms,
    groups: i64,
    caches: usize,
}

/// The norms of a network's resnets.
enum Norms {
    Group { epsilon: f64 },
    Spatial { latent_channels: i64 },
}

impl Builder {
    pub fn for_decoder(config: &VaeConfig, backend: Backend) -> Builder {
        let norms = Norms::Spatial { latent_channels: config.latent_channels };
        Builder { backend, still: false, norms, groups: config.norm_num_groups, caches: 0 }
    }

    pub fn for_encoder(config: &VaeConfig, still: bool, backend: Backend) -> Builder {
        let norms = Norms::Group { epsilon: config.norm_eps };
        Builder { backend, still, norms, groups: config.norm_num_groups, caches: 0 }
    }

    /// The place of a causal convolution among the caches of a stream.
    pub fn next_cache(&mut self) -> usize {
        self.caches += 1;
        self.caches - 1
    }

    /// How many places were given out.
    pub fn caches(&self) -> usize {
        self.caches
    }

    /// The norm of a resnet.
    pub fn norm(&self, weights: &Weights, channels: i64) -> Result<Norm> {
        let (groups, backend) = (self.groups, self.backend.clone());
        Ok(match self.norms {
            Norms::Group { epsilon } => self.group_norm(weights, channels, epsilon)?,
            Norms::Spatial { latent_channels: latents } => {
                Norm::Spatial(SpatialNorm::load(weights, channels, latents, groups, backend)?)
            }
        })
    }

    pub fn group_norm(&self, weights: &Weights, channels: i64, epsilon: f64) -> Result<Norm> {
        let norm = GroupNorm::load(weights, channels, self.groups, epsilon)?;
        Ok(Norm::Group(norm, self.backend.clone()))
    }
}
