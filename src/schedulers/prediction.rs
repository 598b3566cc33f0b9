//! What the model's output stands for, and the clean sample it implies.

use super::precision::Precision;
use crate::checkpoint::config::{PredictionType, SchedulerConfig};
use crate::runtime::number::Short;
use crate::{Error, Result};
use tch::{Kind, Tensor};

/// How the clean sample follows at each step of a run.
pub(super) struct OriginalSample {
    prediction: PredictionType,
    /// √ᾱ and √(1−ᾱ) of each step.
    sqrt_alpha: Vec<f64>,
    sqrt_beta: Vec<f64>,
}

impl OriginalSample {
    /// `alpha` is ᾱ of each step of the run, at `timesteps`.
    pub fn new(
        config: &SchedulerConfig,
        alpha: &[f64],
        precision: Precision,
        timesteps: &[i64],
    ) -> Result<OriginalSample> {
        let prediction = config.prediction_type;
        let sqrt_alpha: Vec<f64> = alpha.iter().map(|&a| precision.sqrt(a)).collect();
        let sqrt_beta = alpha.iter().map(|&a| precision.sqrt(precision.one_minus(a))).collect();
        if prediction == PredictionType::Epsilon {
            // diffusers divides by zero here and returns NaN frames.
            if let Some((_, t)) = sqrt_alpha.iter().zip(timesteps).find(|(a, _)| **a == 0.0) {
                return Err(Error::UnsupportedModel(format!(
                    "scheduler config: prediction_type epsilon says nothing about the sample at \
                     timestep {t}, where alphas_cumprod is 0 (rescale_betas_zero_snr)"
                )));
            }
        }
        Ok(OriginalSample { prediction, sqrt_alpha, sqrt_beta })
    }

    /// The clean sample that `model_output` implies at step `index`, float32. Formula 12 of
    /// Song et al., arXiv 2010.02502, in the order of operations of diffusers 0.42.1
    /// schedulers/scheduling_ddim_cogvideox.py:395.
    pub fn predict(&self, index: usize, model_output: &Tensor, sample: &Tensor) -> Result<Tensor> {
        let (alpha, beta) = (at(&self.sqrt_alpha, index)?, at(&self.sqrt_beta, index)?);
        let model_output = model_output.f_to_kind(Kind::Float)?;
        Ok(match self.prediction {
            PredictionType::Sample => model_output,
            PredictionType::Epsilon => {
                sample.f_sub(&model_output.f_mul_scalar(beta)?)?.f_div_scalar_(alpha)?
            }
            PredictionType::VPrediction => {
                sample.f_mul_scalar(alpha)?.f_sub(&model_output.f_mul_scalar(beta)?)?
            }
        })
    }
}

pub(super) fn at<T: Copy>(values: &[T], index: usize) -> Result<T> {
    values
        .get(index)
        .copied()
        .ok_or_else(|| Error::Internal(format!("step {index} of a run of {} steps", values.len())))
}

/// Errors unless every number of `values`, one for each of `timesteps`, is finite.
pub(super) fn check_finite(what: &str, values: &[f64], timesteps: &[i64]) -> Result<()> {
    match values.iter().zip(timesteps).find(|(value, _)| !value.is_finite()) {
        None => Ok(()),
        Some((value, t)) => Err(Error::InvalidCheckpoint(format!(
            "scheduler config: {what} at timestep {t} is {}, so its betas make no schedule",
            Short(value)
        ))),
    }
}

#[cfg(test)]
impl OriginalSample {
    /// Every number that a run multiplies by.
    pub fn multipliers(&self) -> Vec<f64> {
        [self.sqrt_alpha.as_slice(), &self.sqrt_beta].concat()
    }
}
