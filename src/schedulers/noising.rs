//! Clean latents made as noisy as a timestep is: `q(x_t | x_0)` of Ho et al., arXiv 2006.11239,
//! equation 4.

use super::prediction::at;
use crate::Result;
use tch::{Kind, Tensor};

/// ᾱ of the timestep at which a run begins.
pub(super) struct Noising {
    alpha: f64,
}

impl Noising {
    /// `alpha` is ᾱ of each step of a run.
    pub fn at(alpha: &[f64]) -> Result<Noising> {
        Ok(Noising { alpha: at(alpha, 0)? })
    }

    /// `√ᾱ original + √(1 - ᾱ) noise`. The roots are taken in the dtype of `original`, as in the
    /// reference (diffusers 0.42.1 schedulers/scheduling_ddim_cogvideox.py:454).
    pub fn add(&self, original: &Tensor, noise: &Tensor) -> Result<Tensor> {
        let alpha = Tensor::f_from_slice(&[self.alpha])?.f_to_kind(original.f_kind()?)?;
        let root = |share: Tensor| -> Result<f64> {
            // Of numbers on the CPU, each the same in float64.
            Ok(share.f_sqrt()?.f_to_kind(Kind::Double)?.f_double_value(&[0])?)
        };
        let (clean, noisy) =
            (root(alpha.shallow_clone())?, root(alpha.f_neg()?.f_add_scalar(1.0)?)?);
        Ok(original.f_mul_scalar(clean)?.f_add(&noise.f_mul_scalar(noisy)?)?)
    }
}
