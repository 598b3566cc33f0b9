//! CogVideoXDPMScheduler (diffusers 0.42.1 schedulers/scheduling_dpm_cogvideox.py).

use super::betas::AlphasCumprod;
use super::noising::Noising;
use super::precision::Precision;
use super::prediction::{at, check_finite, OriginalSample};
use super::timesteps::Timesteps;
use super::{Scheduler, Steps};
use crate::checkpoint::config::SchedulerConfig;
use crate::runtime::rng::Generator;
use crate::{Error, Result};
use tch::{Device, Tensor};

/// What [`Dpm::old_original`] is called elsewhere, as in the reference's `step`
/// (`old_pred_original_sample`).
const OLD_ORIGINAL: &str = "old_pred_original_sample";

/// SDE-DPM-Solver++(2M) (Lu et al., arXiv 2211.01095): a second-order step from the clean
/// samples predicted now and one step ago, with fresh noise in each.
pub(super) struct Dpm {
    timesteps: Vec<i64>,
    original: OriginalSample,
    multipliers: Vec<Multipliers>,
    /// The clean sample predicted one step ago, float32.
    old_original: Option<Tensor>,
    noising: Noising,
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
    pub fn new(config: &SchedulerConfig, steps: &Steps, skipped: usize) -> Result<Dpm> {
        let alphas_cumprod = AlphasCumprod::new(config)?;
        let Timesteps { timesteps, previous } = Timesteps::new(config, steps, skipped)?;
        let alpha = alphas_cumprod.at(timesteps.iter().copied().map(Some))?;
        let original = OriginalSample::new(config, &alpha, alphas_cumprod.precision, &timesteps)?;
        let multipliers = multipliers(&alphas_cumprod, &alpha, &timesteps, &previous)?;
        let noising = Noising::at(&alpha)?;
        Ok(Dpm { timesteps, original, multipliers, old_original: None, noising })
    }
}

/// `get_variables` and `get_mult` for all steps at once (scheduling_dpm_cogvideox.py:332). Where
/// ᾱ is 0 or 1 the logarithms are infinite and the multipliers 0 or 1, as in diffusers.
fn multipliers(
    alphas_cumprod: &AlphasCumprod,
    alpha: &[f64],
    timesteps: &[i64],
    previous: &[Option<i64>],
) -> Result<Vec<Multipliers>> {
    let alpha_previous = alphas_cumprod.at(previous.iter().copied())?;
    // The first step looks back to nothing; its own timestep keeps its place.
    let back = timesteps.first().into_iter().chain(timesteps).copied().map(Some);
    let alpha_back = alphas_cumprod.at(back.take(timesteps.len()))?;

    let mut all = Vec::with_capacity(timesteps.len());
    for (i, &previous) in previous.iter().enumerate() {
        let step = StepAlphas {
            precision: alphas_cumprod.precision,
            now: at(alpha, i)?,
            next: at(&alpha_previous, i)?,
            back: at(&alpha_back, i)?,
        };
        // First order at the start, and on the step to the clean sample
        // (scheduling_dpm_cogvideox.py:471).
        let multipliers = step.multipliers(i > 0 && previous.is_some());
        multipliers.check_finite(at(timesteps, i)?)?;
        all.push(multipliers);
    }
    Ok(all)
}

/// ᾱ at a step, where it leads, and one step ago.
struct StepAlphas {
    precision: Precision,
    now: f64,
    next: f64,
    back: f64,
}

impl StepAlphas {
    fn multipliers(&self, second_order: bool) -> Multipliers {
        let (precision, now, next) = (self.precision, self.now, self.next);
        let round = |value| precision.round(value);
        let lambda = |alpha: f64| {
            let ratio = precision.sqrt(round(alpha / precision.one_minus(alpha)));
            round(libm::log(ratio))
        };
        let h = round(lambda(next) - lambda(now));
        let minus_2h = round(-2.0 * h);
        let (beta, beta_next) = (precision.one_minus(now), precision.one_minus(next));
        let ratio = precision.sqrt(round(beta_next / beta));
        let spread = precision.sqrt(precision.one_minus(round(libm::exp(minus_2h))));
        let second_order = second_order.then(|| {
            let r = round(round(lambda(now) - lambda(self.back)) / h);
            let old = round(1.0 / round(2.0 * r));
            (round(1.0 + old), old)
        });
        Multipliers {
            sample: round(ratio * round(libm::exp(-h))),
            original: round(round(libm::expm1(minus_2h)) * precision.sqrt(next)),
            noise: round(precision.sqrt(beta_next) * spread),
            second_order,
        }
    }
}

impl Multipliers {
    fn check_finite(&self, timestep: i64) -> Result<()> {
        let (new, old) = self.second_order.unwrap_or_default();
        let values = [
            ("mult1", self.sample),
            ("mult2", self.original),
            ("mult_noise", self.noise),
            ("mult3", new),
            ("mult4", old),
        ];
        values.into_iter().try_for_each(|(what, v)| check_finite(what, &[v], &[timestep]))
    }
}

impl Scheduler for Dpm {
    fn timesteps(&self) -> &[i64] {
        &self.timesteps
    }

    fn add_noise(&self, original: &Tensor, noise: &Tensor) -> Result<Tensor> {
        self.noising.add(original, noise)
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

    fn keeps(&self) -> &'static [&'static str] {
        &[OLD_ORIGINAL]
    }

    fn state(&self) -> Vec<(&'static str, Tensor)> {
        let kept = |tensor: &Tensor| (OLD_ORIGINAL, tensor.shallow_clone());
        self.old_original.iter().map(kept).collect()
    }

    fn restore(&mut self, name: &str, value: Tensor) -> Result<()> {
        if name != OLD_ORIGINAL {
            return Err(Error::Internal(format!("DPM keeps no {name}")));
        }
        self.old_original = Some(value);
        Ok(())
    }
}

#[cfg(test)]
impl Dpm {
    /// Every number that a run multiplies by.
    pub fn multipliers(&self) -> Vec<f64> {
        let step = |m: &Multipliers| {
            let (new, old) = m.second_order.unwrap_or_default();
            [m.sample, m.original, m.noise, new, old]
        };
        let steps = self.multipliers.iter().flat_map(step);
        self.original.multipliers().into_iter().chain(steps).collect()
    }
}
