//! The noise schedule: betas and the cumulative product of alphas that a config describes.

use crate::checkpoint::config::SchedulerConfig;
use crate::{Error, Result};
use std::f64::consts::FRAC_PI_2;
use tch::{Device, Kind, Tensor};

/// More training timesteps than any model has, and few enough to allocate without a thought.
const MAX_TRAIN_TIMESTEPS: i64 = 1_000_000;

/// ᾱ over the training timesteps, and what follows the last step.
pub(super) struct AlphasCumprod {
    /// `(num_train_timesteps + 1)` on the CPU, float64 or float32: ᾱ of each timestep, and in
    /// the last place the `final_alpha_cumprod` of the step to the clean sample.
    table: Tensor,
    num_train_timesteps: i64,
}

impl AlphasCumprod {
    /// Ports `CogVideoXDDIMScheduler.__init__`, which the DPM class repeats
    /// (diffusers 0.42.1 schedulers/scheduling_ddim_cogvideox.py:184).
    pub fn new(config: &SchedulerConfig) -> Result<AlphasCumprod> {
        let n = config.num_train_timesteps;
        if !(1..=MAX_TRAIN_TIMESTEPS).contains(&n) {
            return Err(Error::InvalidCheckpoint(format!(
                "scheduler config: num_train_timesteps must be in [1, {MAX_TRAIN_TIMESTEPS}], \
                 found {n}"
            )));
        }
        let alphas = betas(config)?.f_rsub_scalar(1.0)?;
        let cumprod = alphas.f_cumprod(0, None::<Kind>)?;
        let scale = config.snr_shift_scale;
        let mut table = cumprod.f_div(&cumprod.f_mul_scalar(1.0 - scale)?.f_add_scalar(scale)?)?;
        if config.rescale_betas_zero_snr {
            table = rescale_zero_terminal_snr(&table)?;
        }
        check(&table)?;
        let last = match config.set_alpha_to_one {
            true => Tensor::f_ones([1], (table.kind(), Device::Cpu))?,
            false => table.f_narrow(0, 0, 1)?,
        };
        let table = Tensor::f_cat(&[table, last], 0)?;
        Ok(AlphasCumprod { table, num_train_timesteps: n })
    }

    /// ᾱ of each of `timesteps`; of the clean sample where there is none.
    pub fn at(&self, timesteps: impl Iterator<Item = Option<i64>>) -> Result<Tensor> {
        let indices: Vec<i64> = timesteps.map(|t| t.unwrap_or(self.num_train_timesteps)).collect();
        Ok(self.table.f_index_select(0, &Tensor::f_from_slice(&indices)?)?)
    }
}

/// The betas of a config, `(num_train_timesteps)`, in the dtype in which diffusers keeps them.
fn betas(config: &SchedulerConfig) -> Result<Tensor> {
    let n = config.num_train_timesteps;
    if let Some(betas) = &config.trained_betas {
        if i64::try_from(betas.len()) != Ok(n) {
            return Err(Error::InvalidCheckpoint(format!(
                "scheduler config: trained_betas has {} values, num_train_timesteps is {n}",
                betas.len()
            )));
        }
        return Ok(Tensor::f_from_slice(betas)?.f_to_kind(Kind::Float)?);
    }
    let (start, end) = (config.beta_start, config.beta_end);
    match config.beta_schedule.as_str() {
        "linear" => Ok(Tensor::f_linspace(start, end, n, (Kind::Float, Device::Cpu))?),
        "scaled_linear" => {
            let options = (Kind::Double, Device::Cpu);
            Ok(Tensor::f_linspace(start.sqrt(), end.sqrt(), n, options)?.f_square()?)
        }
        "squaredcos_cap_v2" => {
            let betas: Vec<f64> = (0..n).map(|i| squaredcos_beta(i, n)).collect();
            Ok(Tensor::f_from_slice(&betas)?.f_to_kind(Kind::Float)?)
        }
        other => Err(Error::UnsupportedModel(format!(
            "scheduler config: beta_schedule must be linear, scaled_linear or \
             squaredcos_cap_v2, found {other:?}"
        ))),
    }
}

/// Beta `i` of `n` of the cosine schedule, at most 0.999 (`betas_for_alpha_bar`,
/// scheduling_ddim_cogvideox.py:47; Nichol & Dhariwal, arXiv 2102.09672, equation 17).
fn squaredcos_beta(i: i64, n: i64) -> f64 {
    let alpha_bar = |t: f64| {
        let cos = ((t + 0.008) / 1.008 * FRAC_PI_2).cos();
        cos * cos
    };
    let (from, to) = (i as f64 / n as f64, (i + 1) as f64 / n as f64);
    (1.0 - alpha_bar(to) / alpha_bar(from)).min(0.999)
}

/// Shifts and scales √ᾱ so that the last one is 0 and the first stays
/// (Lin et al., arXiv 2305.08891, algorithm 1; scheduling_ddim_cogvideox.py:96).
fn rescale_zero_terminal_snr(alphas_cumprod: &Tensor) -> Result<Tensor> {
    let sqrt = alphas_cumprod.f_sqrt()?;
    let (first, last) = (sqrt.f_select(0, 0)?, sqrt.f_select(0, -1)?);
    let scale = first.f_div(&first.f_sub(&last)?)?;
    Ok(sqrt.f_sub(&last)?.f_mul(&scale)?.f_square()?)
}

/// ᾱ must be a share: betas outside [0, 1] or a wild SNR shift would only show as NaN frames.
fn check(table: &Tensor) -> Result<()> {
    let values = Vec::<f64>::try_from(table.f_to_kind(Kind::Double)?)?;
    match values.iter().position(|a| !(0.0..=1.0).contains(a)) {
        None => Ok(()),
        Some(t) => Err(Error::InvalidCheckpoint(format!(
            "scheduler config: the betas and snr_shift_scale give alphas_cumprod[{t}] = {}, \
             which must be in [0, 1]",
            values.get(t).copied().unwrap_or(f64::NAN)
        ))),
    }
}

#[cfg(test)]
impl AlphasCumprod {
    /// ᾱ of the training timesteps, without the last place.
    pub fn table(&self) -> Tensor {
        self.table.f_narrow(0, 0, self.num_train_timesteps).unwrap()
    }
}
