//! CogVideoXDPMScheduler (diffusers 0.42.1 schedulers/scheduling_dpm_cogvideox.py).

use super::betas::AlphasCumprod;
use super::prediction::{at, check_finite, numbers, OriginalSample};
use super::timesteps::Timesteps;
use super::{Scheduler, Steps};
use crate::checkpoint::config::SchedulerConfig;
use crate::runtime::rng::Generator;
use crate::{Error, Result};
use tch::{Device, Tensor};

/// SDE-DPM-Solver++(2M) (Lu et al., arXiv 2211.01095): a second-order step from the clean
/// samples predicted now and one step ago, with fresh noise in each.
pub(super) struct Dpm {
    timesteps: Vec<i64>,
    original: OriginalSample,
    multipliers: Vec<Multipliers>,
    /// The clean sample predicted one step ago, float32.
    old_original: Option<Tensor>,
}

/// What a step multiplies its tensors by; the names are those of `get_mult` and `step`.
#[derive(Debug, Clone, Copy)]
struct Multipliers {
    /// `mult[0]` of the sample, `mult[1]` of the clean sample, `mult_noise` of the noise.
    sample: f64,
    original: f64,
    noise: f64,
    /// `mult[2]` and `mult[3]`, of the clean samples of this step and of the one before;
    /// `None` where the step is of first order.
    second_order: Option<(f64, f64)>,
}

impl Dpm {
    pub fn new(config: &SchedulerConfig, steps: &Steps) -> Result<Dpm> {
        let alphas_cumprod = AlphasCumprod::new(config)?;
        let Timesteps { timesteps, previous } = Timesteps::new(config, steps)?;
        let alpha = alphas_cumprod.at(timesteps.iter().copied().map(Some))?;
        let original = OriginalSample::new(config, &alpha, &timesteps)?;
        let multipliers = multipliers(&alphas_cumprod, &alpha, &timesteps, &previous)?;
        Ok(Dpm { timesteps, original, multipliers, old_original: None })
    }
}

/// `get_variables` and `get_mult` for all steps at once (scheduling_dpm_cogvideox.py:332). Where
/// ᾱ is 0 or 1 the logarithms are infinite and the multipliers 0 or 1, as in diffusers.
fn multipliers(
    alphas_cumprod: &AlphasCumprod,
    alpha: &Tensor,
    timesteps: &[i64],
    previous: &[Option<i64>],
) -> Result<Vec<Multipliers>> {
    let alpha_previous = alphas_cumprod.at(previous.iter().copied())?;
    // The first step looks back to nothing; its own timestep keeps its place.
    let back = timesteps.first().into_iter().chain(timesteps).copied().map(Some);
    let alpha_back = alphas_cumprod.at(back.take(timesteps.len()))?;

    let lambda = |alpha: &Tensor| alpha.f_div(&alpha.f_rsub_scalar(1.0)?)?.f_sqrt()?.f_log();
    let h = lambda(&alpha_previous)?.f_sub(&lambda(alpha)?)?;
    let h_last = lambda(alpha)?.f_sub(&lambda(&alpha_back)?)?;
    let r = h_last.f_div(&h)?;

    let beta = alpha.f_rsub_scalar(1.0)?;
    let beta_previous = alpha_previous.f_rsub_scalar(1.0)?;
    let sample = beta_previous.f_div(&beta)?.f_sqrt()?.f_mul(&h.f_neg()?.f_exp()?)?;
    let minus_2h = h.f_mul_scalar(-2.0)?;
    let original = minus_2h.f_expm1()?.f_mul(&alpha_previous.f_sqrt()?)?;
    let noise = beta_previous.f_sqrt()?.f_mul(&minus_2h.f_exp()?.f_rsub_scalar(1.0)?.f_sqrt()?)?;
    let old = r.f_mul_scalar(2.0)?.f_reciprocal()?;

    let (sample, original, noise) = (numbers(&sample)?, numbers(&original)?, numbers(&noise)?);
    let (new, old) = (numbers(&old.f_add_scalar(1.0)?)?, numbers(&old)?);
    for (what, values) in [("mult1", &sample), ("mult2", &original), ("mult_noise", &noise)] {
        check_finite(what, values, timesteps)?;
    }
    let mut all = Vec::with_capacity(timesteps.len());
    for (i, previous) in previous.iter().enumerate() {
        // First order at the start, and on the step to the clean sample
        // (scheduling_dpm_cogvideox.py:471).
        let second_order = match i > 0 && previous.is_some() {
            true => Some((at(&new, i)?, at(&old, i)?)),
            false => None,
        };
        if let Some((new, old)) = second_order {
            let timestep = [at(timesteps, i)?];
            check_finite("mult3", &[new], &timestep)?;
            check_finite("mult4", &[old], &timestep)?;
        }
        all.push(Multipliers {
            sample: at(&sample, i)?,
            original: at(&original, i)?,
            noise: at(&noise, i)?,
            second_order,
        });
    }
    Ok(all)
}

impl Scheduler for Dpm {
    fn timesteps(&self) -> &[i64] {
        &self.timesteps
    }

    fn step(
        &mut self,
        index: usize,
        model_output: &Tensor,
        sample: &Tensor,
        generator: &mut Generator,
    ) -> Result<Tensor> {
        let multipliers = at(&self.multipliers, index)?;
        let original = self.original.predict(index, model_output, sample)?;
        let (shape, kind, device) = (sample.size(), sample.f_kind()?, sample.device());

        let denoised = match multipliers.second_order {
            None => original.f_mul_scalar(multipliers.original)?,
            Some((new, old)) => {
                let old_original = self.old_original.as_ref().ok_or_else(|| {
                    Error::Internal(format!("DPM step {index} without the step before it"))
                })?;
                // diffusers draws for the first-order step too and throws it away; the stream
                // must move on as far.
                let _first_order = generator.randn(&shape, kind, Device::Cpu)?;
                let denoised =
                    original.f_mul_scalar(new)?.f_sub(&old_original.f_mul_scalar(old)?)?;
                denoised.f_mul_scalar(multipliers.original)?
            }
        };
        let noise = generator.randn(&shape, kind, device)?;
        let next = sample
            .f_mul_scalar(multipliers.sample)?
            .f_sub(&denoised)?
            .f_add(&noise.f_mul_scalar(multipliers.noise)?)?;
        self.old_original = Some(original);
        Ok(next)
    }
}
