//! What the layers of the VAE need to know while they are loaded.

use super::spatial_norm::SpatialNorm;
use crate::backend::Backend;
use crate::checkpoint::config::VaeConfig;
use crate::checkpoint::Weights;
use crate::Result;

/// Passed down while a network is loaded, layer by layer in the order of its forward pass.
pub(super) struct Builder {
    pub backend: Backend,
    latent_channels: i64,
    groups: i64,
    caches: usize,
}

impl Builder {
    pub fn new(config: &VaeConfig, backend: Backend) -> Builder {
        Builder {
            backend,
            latent_channels: config.latent_channels,
            groups: config.norm_num_groups,
            caches: 0,
        }
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

    pub fn norm(&self, weights: &Weights, channels: i64) -> Result<SpatialNorm> {
        SpatialNorm::load(weights, channels, self.latent_channels, self.groups, self.backend)
    }
}
