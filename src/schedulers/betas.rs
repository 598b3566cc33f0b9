//! The noise schedule: betas and the cumulative product of alphas that a config describes.

use super::precision::Precision;
use crate::checkpoint::config::{BetaSchedule, SchedulerConfig};
use crate::{Error, Result};
use std::f64::consts::FRAC_PI_2;

/// More training timesteps than any model has, and few enough to allocate without a thought.
const MAX_TRAIN_TIMESTEPS: i64 = 1_000_000;

/// ᾱ over the training timesteps, and what follows the last step.
pub(super) struct AlphasCumprod {
    /// ᾱ of each of the `num_train_timesteps` timesteps.
    table: Vec<f64>,
    /// `final_alpha_cumprod`: ᾱ of the clean sample.
    last: f64,
    pub precision: Precision,
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
        let (betas, precision) = betas(config)?;
        let round = |value| precision.round(value);
        let scale = round(config.snr_shift_scale);
        let slope = round(1.0 - config.snr_shift_scale);
        // libtorch multiplies on in float64 whatever it keeps (`cumprod_cpu_kernel`).
        let mut product = 1.0;
        let shifted = betas.into_iter().map(|beta| {
            product *= precision.one_minus(beta);
            let alpha = round(product);
            round(alpha / round(round(slope * alpha) + scale))
        });
        let mut table: Vec<f64> = shifted.collect();
        if config.rescale_betas_zero_snr {
            rescale_zero_terminal_snr(&mut table, precision);
        }
        check(&table)?;
        let last = match config.set_alpha_to_one {
            true => 1.0,
            false => table.first().copied().unwrap_or(1.0),
        };
        Ok(AlphasCumprod { table, last, precision })
    }

    /// ᾱ of each of `timesteps`; of the clean sample where there is none.
    pub fn at(&self, timesteps: impl Iterator<Item = Option<i64>>) -> Result<Vec<f64>> {
        let alpha = |timestep: Option<i64>| {
            let Some(timestep) = timestep else { return Ok(self.last) };
            let found = usize::try_from(timestep).ok().and_then(|t| self.table.get(t));
            found.copied().ok_or_else(|| {
                Error::Internal(format!("timestep {timestep} of {}", self.table.len()))
            })
        };
        timesteps.map(alpha).collect()
    }
}

/// The betas of a config, `num_train_timesteps` of them, and the type in which diffusers keeps
/// them.
fn betas(config: &SchedulerConfig) -> Result<(Vec<f64>, Precision)> {
    let n = config.num_train_timesteps;
    let single = |betas: Vec<f64>| {
        (betas.into_iter().map(|b| Precision::Single.round(b)).collect(), Precision::Single)
    };
    if let Some(betas) = &config.trained_betas {
        if i64::try_from(betas.len()) != Ok(n) {
            return Err(Error::InvalidCheckpoint(format!(
                "scheduler config: trained_betas has {} values, num_train_timesteps is {n}",
                betas.len()
            )));
        }
        return Ok(single(betas.clone()));
    }
    let (start, end) = (config.beta_start, config.beta_end);
    Ok(match config.beta_schedule {
        BetaSchedule::Linear => single(Precision::Single.linspace(start, end, n as usize)),
        BetaSchedule::ScaledLinear => {
            let roots = Precision::Double.linspace(start.sqrt(), end.sqrt(), n as usize);
            (roots.into_iter().map(|root| root * root).collect(), Precision::Double)
        }
        BetaSchedule::SquaredcosCapV2 => single((0..n).map(|i| squaredcos_beta(i, n)).collect()),
    })
}

/// Beta `i` of `n` of the cosine schedule, at most 0.999 (`betas_for_alpha_bar`,
/// scheduling_ddim_cogvideox.py:47; Nichol & Dhariwal, arXiv 2102.09672, equation 17).
fn squaredcos_beta(i: i64, n: i64) -> f64 {
    let alpha_bar = |t: f64| {
        let cos = libm::cos((t + 0.008) / 1.008 * FRAC_PI_2);
        cos * cos
    };
    let (from, to) = (i as f64 / n as f64, (i + 1) as f64 / n as f64);
    (1.0 - alpha_bar(to) / alpha_bar(from)).min(0.999)
}

/// Shifts and scales √ᾱ so that the last one is 0 and the first stays
/// (Lin et al., arXiv 2305.08891, algorithm 1; scheduling_ddim_cogvideox.py:96).
fn rescale_zero_terminal_snr(alphas_cumprod: &mut [f64], precision: Precision) {
    let (Some(&first), Some(&last)) = (alphas_cumprod.first(), alphas_cumprod.last()) else {
        return;
    };
    let round = |value| precision.round(value);
    let (first, last) = (precision.sqrt(first), precision.sqrt(last));
    let scale = round(first / round(first - last));
    for alpha in alphas_cumprod {
        let root = round(round(precision.sqrt(*alpha) - last) * scale);
        *alpha = round(root * root);
    }
}

/// ᾱ must be a share: betas outside [0, 1] or a wild SNR shift would only show as NaN frames.
fn check(table: &[f64]) -> Result<()> {
    match table.iter().enumerate().find(|(_, a)| !(0.0..=1.0).contains(*a)) {
        None => Ok(()),
        Some((t, alpha)) => Err(Error::InvalidCheckpoint(format!(
            "scheduler config: the betas and snr_shift_scale give alphas_cumprod[{t}] = {alpha}, \
             which must be in [0, 1]"
        ))),
    }
}

#[cfg(test)]
impl AlphasCumprod {
    /// ᾱ of the training timesteps.
    pub fn table(&self) -> &[f64] {
        &self.table
    }
}
