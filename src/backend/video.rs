//! What lies between the convolutions of the VAE: moments, modulation with SiLU, pixel shuffle.
//!
//! Videos are dense: frames × height × width × channels. Each function has a kernel of its own
//! with [`Backend::Fused`], some have one with [`Backend::Cuda`], and is composed of libtorch's
//! operators with [`Backend::Aten`].

use super::cpu::video as fused;
use super::{aten, Backend};
use crate::Result;
use tch::Tensor;

/// Adds the sums over `x` to `sums`: of the values per channel, then of their squares per
/// channel. With `copy`, also copies x there. Without `sums` nothing is summed.
pub fn moments(x: &Tensor, copy: Option<&mut Tensor>, sums: Option<&mut [f64]>) -> Result<()> {
    match (sums, copy) {
        (Some(sums), copy) => fused::moments(x, copy, sums),
        (None, Some(copy)) => Ok(copy.f_copy_(x)?),
        (None, None) => Ok(()),
    }
}

/// `out = silu(x · scale + shift)`. Frame i of `x` reads frame `frames[i]` of `modulation`
/// (latent frames × latent height × latent width × 2 channels, float32: scales, then shifts),
/// spread over the pixels of x as nearest-neighbour upsampling does.
pub fn modulate_silu(
    backend: &Backend,
    x: &Tensor,
    out: &mut Tensor,
    modulation: &Tensor,
    frames: &[i64],
) -> Result<()> {
    match backend {
        Backend::Fused => fused::modulate_silu(x, out, modulation, frames),
        Backend::Cuda(kernels) if kernels.modulate_silu(x, out, modulation, frames)? => Ok(()),
        Backend::Cuda(_) | Backend::Aten => aten::modulate_silu(x, out, modulation, frames),
    }
}

/// Mean and variance of each of `groups` groups of channels of `x`, gone through here: float32, on the
/// device of x.
pub fn statistics(backend: &Backend, x: &Tensor, groups: i64) -> Result<(Tensor, Tensor)> {
    if let Backend::Cuda(kernels) = backend {
        if let Some(found) = kernels.statistics(x, groups)? {
            return Ok(found);
        }
    }
    aten::statistics(x, groups)
}

/// Pixel shuffle of the four phases of an upsampled video, each (frames × height + 1 × width + 1
/// × channels), into `out` (frames × 2 height × 2 width × channels): pixel (2h + p, 2w + q) is
/// pixel (h + p, w + q) of `phases[2p + q]`. With `sums`, adds the moments of `out` to them.
pub fn pixel_shuffle(
    phases: &[Tensor; 4],
    out: &mut Tensor,
    sums: Option<&mut [f64]>,
) -> Result<()> {
    match sums {
        Some(sums) => fused::pixel_shuffle(phases, out, sums),
        None => aten::pixel_shuffle(phases, out),
    }
}
