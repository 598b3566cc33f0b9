//! CogVideoXDDIMScheduler (diffusers 0.42.1 schedulers/scheduling_ddim_cogvideox.py).

use super::betas::AlphasCumprod;
use super::noising::Noising;
use super::prediction::{at, check_finite, OriginalSample};
use super::timesteps::Timesteps;
use super::{Scheduler, Steps};
use crate::checkpoint::config::SchedulerConfig;
use crate::runtime::rng::Generator;
use crate::Result;
use tch::Tensor;

/// DDIM without noise (η = 0): formula 12 of Song et al., arXiv 2010.02502.
pub(super) struct Ddim {
    timesteps: Vec<i64>,
    original: OriginalSample,
    /// `a_t` and `b_t`, the shares of the sample and of the clean sample in the next one.
    a: Vec<f64>,
    b: Vec<f64>,
    noising: Noising,
}

impl Ddim {
    pub fn new(config: &SchedulerConfig, steps: &Steps, skipped: usize) -> Result<Ddim> {
        let alphas_cumprod = AlphasCumprod::new(config)?;
        let Timesteps { timesteps, previous } = Timesteps::new(config, steps, skipped)?;
        let alpha = alphas_cumprod.at(timesteps.iter().copied().map(Some))?;
        let alpha_previous = alphas_cumprod.at(previous.into_iter())?;
        let precision = alphas_cumprod.precision;
        let original = OriginalSample::new(config, &alpha, precision, &timesteps)?;

        // scheduling_ddim_cogvideox.py:410
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for (&alpha, &alpha_previous) in alpha.iter().zip(&alpha_previous) {
            let (beta, beta_previous) =
                (precision.one_minus(alpha), precision.one_minus(alpha_previous));
            let a_t = precision.sqrt(precision.round(beta_previous / beta));
            let share = precision.round(precision.sqrt(alpha) * a_t);
            a.push(a_t);
            b.push(precision.round(precision.sqrt(alpha_previous) - share));
        }
        check_finite("a_t", &a, &timesteps)?;
        check_finite("b_t", &b, &timesteps)?;
        let noising = Noising::at(&alpha)?;
        Ok(Ddim { timesteps, original, a, b, noising })
    }
}

impl Scheduler for Ddim {
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
        _generator: &mut Generator,
    ) -> Result<Tensor> {
        let (a, b) = (at(&self.a, index)?, at(&self.b, index)?);
        let original = self.original.predict(index, model_output, sample)?;
        // Not in place: the model may have predicted `original`, which is the caller's then.
        Ok(original.f_mul_scalar(b)?.f_add_(&sample.f_mul_scalar(a)?)?)
    }
}

#[cfg(test)]
impl Ddim {
    /// Every number that a run multiplies by.
    pub fn multipliers(&self) -> Vec<f64> {
        [self.original.multipliers(), self.a.clone(), self.b.clone()].concat()
    }
}
