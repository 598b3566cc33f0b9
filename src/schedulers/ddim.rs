//! CogVideoXDDIMScheduler (diffusers 0.42.1 schedulers/scheduling_ddim_cogvideox.py).

use super::betas::AlphasCumprod;
use super::prediction::{at, check_finite, numbers, OriginalSample};
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
}

impl Ddim {
    pub fn new(config: &SchedulerConfig, steps: &Steps) -> Result<Ddim> {
        let alphas_cumprod = AlphasCumprod::new(config)?;
        let Timesteps { timesteps, previous } = Timesteps::new(config, steps)?;
        let alpha = alphas_cumprod.at(timesteps.iter().copied().map(Some))?;
        let alpha_previous = alphas_cumprod.at(previous.into_iter())?;
        let original = OriginalSample::new(config, &alpha, &timesteps)?;

        // scheduling_ddim_cogvideox.py:410
        let a = alpha_previous.f_rsub_scalar(1.0)?.f_div(&alpha.f_rsub_scalar(1.0)?)?.f_sqrt()?;
        let b = alpha_previous.f_sqrt()?.f_sub(&alpha.f_sqrt()?.f_mul(&a)?)?;
        let (a, b) = (numbers(&a)?, numbers(&b)?);
        check_finite("a_t", &a, &timesteps)?;
        check_finite("b_t", &b, &timesteps)?;
        Ok(Ddim { timesteps, original, a, b })
    }
}

impl Scheduler for Ddim {
    fn timesteps(&self) -> &[i64] {
        &self.timesteps
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
