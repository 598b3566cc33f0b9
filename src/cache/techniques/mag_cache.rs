//! MagCache: whole steps are skipped while the magnitudes of what the blocks add change little
//! (arXiv 2506.09045; diffusers 0.42.1 hooks/mag_cache.py).
//!
//! For each step a ratio is known: how much larger what the blocks add is than in the step before.
//! The product of the ratios since the last computed step says how far off it is to add the same
//! again; the distances of those products from 1, summed up, must stay within the threshold.
//! Ratios belong to a model, a scheduler and a guidance; a calibration run measures them.

use crate::cache::fields::{Field, Slot};
use crate::cache::forward::{BlockAction, ForwardCache, RunCache};
use crate::cache::report::Forecast;
use crate::cache::run_info::RunInfo;
use crate::cache::schedule::WholeSteps;
use crate::cache::storage_options::StorageOptions;
use crate::cache::store::{BlocksResidual, CachedTensor, MemoryCounter};
use crate::cache::technique::{RunContext, Technique};
use crate::parallel::{Among, Team};
use crate::runtime::number::Short;
use crate::{Error, Result};
use serde_json::json;
use std::sync::Arc;
use tch::{Kind, Tensor};

/// diffusers' `MagCacheConfig`, but for `num_inference_steps`: it is the run's own.
#[derive(Debug, Clone)]
pub(super) struct MagCache {
    /// The most that the summed distances from 1 may be.
    threshold: f64,
    /// The most steps in a row that are skipped.
    max_skip_steps: u32,
    /// This part of the steps, from the first on, is computed.
    retention_ratio: f64,
    /// One ratio a step; other numbers of steps take the nearest.
    mag_ratios: Vec<f64>,
    /// Compute every step and measure the ratios.
    calibrate: bool,
}

impl MagCache {
    pub const PRESETS: &'static [&'static str] = &["diffusers", "calibrate"];

    /// - `diffusers`: the defaults of `MagCacheConfig`. `mag_ratios` has none: it must be set.
    /// - `calibrate`: a run that computes everything and measures the ratios.
    pub fn preset(name: &str) -> Option<Self> {
        let calibrate = match name {
            "diffusers" => false,
            "calibrate" => true,
            _ => return None,
        };
        Some(MagCache {
            threshold: 0.06,
            max_skip_steps: 3,
            retention_ratio: 0.2,
            mag_ratios: Vec::new(),
            calibrate,
        })
    }

    /// The ratio of each of `steps` steps: the nearest of those there are, the first for the first
    /// and the last for the last (mag_cache.py:67). In float32, as there, where halves are rounded
    /// to even.
    fn ratios(&self, steps: usize) -> Vec<f32> {
        let (last, found) = (self.mag_ratios.len().saturating_sub(1), self.mag_ratios.len());
        let place = |step: usize| {
            if found == steps {
                step
            } else if steps == 1 {
                last
            } else {
                let scale = last as f64 / (steps - 1) as f64;
                (step as f32 * scale as f32).round_ties_even() as usize
            }
        };
        (0..steps)
            .map(|step| self.mag_ratios.get(place(step)).map_or(1.0, |&ratio| ratio as f32))
            .collect()
    }

    /// What each step of a run does (mag_cache.py:196). Errors: [`Error::InvalidArgument`] if
    /// every step would be computed.
    fn schedule(&self, run: &RunInfo) -> Result<WholeSteps> {
        let steps = run.timesteps.len();
        if self.calibrate {
            return Ok(WholeSteps::new(steps, |_| true));
        }
        let ratios = self.ratios(steps);
        let retained = (self.retention_ratio * steps as f64 + 0.5) as usize;
        let (mut product, mut error, mut skipped) = (1f32, 0f32, 0);
        let schedule = WholeSteps::new(steps, |step| {
            if step < retained {
                return true;
            }
            product *= ratios.get(step).copied().unwrap_or(1.0);
            error += (1.0 - product).abs();
            skipped += 1;
            let skips = error <= self.threshold as f32 && skipped <= self.max_skip_steps;
            if !skips {
                (product, error, skipped) = (1.0, 0.0, 0);
            }
            !skips
        });
        if schedule.skips_any() {
            return Ok(schedule);
        }
        Err(Error::InvalidArgument(format!(
            "MagCache: expected settings that skip a step, found none of {steps} steps skipped \
             with threshold {}, max_skip_steps {}, retention_ratio {} and these mag_ratios",
            self.threshold, self.max_skip_steps, self.retention_ratio
        )))
    }
}

impl Technique for MagCache {
    fn name(&self) -> &'static str {
        "MagCache"
    }

    fn fields(&mut self) -> Vec<Field<'_>> {
        let field = |name, slot| Field { name, slot };
        vec![
            field("threshold", Slot::Number(&mut self.threshold, 0.0, f64::from(f32::MAX))),
            field("max_skip_steps", Slot::Count(&mut self.max_skip_steps, 1, u32::MAX)),
            field("retention_ratio", Slot::Number(&mut self.retention_ratio, 0.0, 1.0)),
            field("mag_ratios", Slot::Numbers(&mut self.mag_ratios)),
            field("calibrate", Slot::Flag(&mut self.calibrate)),
        ]
    }

    fn boxed(&self) -> Box<dyn Technique> {
        Box::new(self.clone())
    }

    fn validate(&self, _layers: &[String]) -> Result<()> {
        if self.calibrate {
            return Ok(());
        }
        if self.mag_ratios.is_empty() {
            return Err(Error::InvalidArgument(
                "mag_ratios: expected the ratios that a run with calibrate measures, found none"
                    .into(),
            ));
        }
        match self.mag_ratios.iter().position(|&ratio| ratio <= 0.0) {
            None => Ok(()),
            Some(step) => Err(Error::InvalidArgument(format!(
                "mag_ratios: expected positive numbers, found {} at {step}",
                Short(self.mag_ratios.get(step).copied().unwrap_or_default())
            ))),
        }
    }

    fn forecast(&self, run: &RunInfo, storage: &StorageOptions) -> Result<Forecast> {
        let mut forecast = self.schedule(run)?.forecast(run, storage)?;
        if let Some(sizes) = run.sizes.as_ref().filter(|_| self.calibrate) {
            // What the blocks added in this step and in the one before.
            let bytes = BlocksResidual::bytes(run, sizes, sizes.dtype)?.saturating_mul(2);
            if bytes > storage.budget() {
                return Err(Error::InvalidArgument(format!(
                    "max_cache_bytes: expected at least {bytes} to calibrate, found {}",
                    storage.budget()
                )));
            }
            forecast.bytes = Some(bytes);
        }
        Ok(forecast)
    }

    fn start(&self, context: RunContext<'_>) -> Result<Box<dyn RunCache>> {
        if self.calibrate {
            return Ok(Box::new(Calibration {
                last_block: context.run.layers.len().saturating_sub(1),
                residual: BlocksResidual::new(context.run)?,
                memory: context.memory,
                team: context.team,
                before: None,
                ratios: Vec::with_capacity(context.run.timesteps.len()),
            }));
        }
        self.schedule(context.run)?.start(&context)
    }
}

/// Measures the ratios (mag_cache.py:380).
struct Calibration {
    last_block: usize,
    residual: BlocksResidual,
    memory: MemoryCounter,
    team: Arc<Team>,
    before: Option<CachedTensor>,
    ratios: Vec<f64>,
}

impl ForwardCache for Calibration {
    fn block(&mut self, block: usize, x: &Tensor) -> Result<BlockAction> {
        if block == 0 {
            self.residual.begin(x, &self.memory)?;
        }
        Ok(BlockAction::Compute)
    }

    fn block_computed(&mut self, block: usize, x: &Tensor) -> Result<()> {
        if block == self.last_block {
            let residual = self.residual.end(x, x.f_kind()?.into(), &self.memory)?;
            let ratio = match &self.before {
                None => 1.0,
                Some(before) => mean_ratio(&residual.read()?, &before.read()?, &self.team)?,
            };
            self.ratios.push(ratio);
            self.before = Some(residual);
        }
        Ok(())
    }
}

impl RunCache for Calibration {
    fn measured(&self) -> Option<serde_json::Value> {
        Some(json!({ "mag_ratios": self.ratios }))
    }
}

/// The mean over all tokens, also those of other ranks, of the quotients of their lengths.
fn mean_ratio(now: &Tensor, before: &Tensor, team: &Team) -> Result<f64> {
    let length = |x: &Tensor| -> Result<Tensor> {
        Ok(x.f_norm_scalaropt_dim_dtype(2.0, [-1i64], false, Kind::Float)?)
    };
    let ratios = length(now)?.f_div(&length(before)?.f_add_scalar(1e-8)?)?;
    if !team.is_alone() {
        let own = [ratios.f_sum(Kind::Float)?.f_double_value(&[])?, ratios.numel() as f64];
        let [sum, count] = team.sum(Among::Running, own)?;
        return Ok(sum / count);
    }
    Ok(ratios.f_mean(Kind::Float)?.f_double_value(&[])?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::report::LayerState;

    fn with_ratios(mag_ratios: &[f64]) -> MagCache {
        let preset = MagCache::preset("diffusers").expect("a preset");
        MagCache { mag_ratios: mag_ratios.to_vec(), ..preset }
    }

    fn run(steps: usize) -> RunInfo {
        RunInfo::of_published_models(4, steps, true)
    }

    /// `nearest_interp` of mag_cache.py:67, which rounds halves to even.
    #[test]
    fn other_numbers_of_steps_take_the_nearest_ratio() {
        let cache = with_ratios(&[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(cache.ratios(4), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(cache.ratios(7), [1.0, 1.0, 2.0, 3.0, 3.0, 3.0, 4.0]);
        assert_eq!(cache.ratios(2), [1.0, 4.0]);
        assert_eq!(cache.ratios(1), [4.0]);
    }

    #[test]
    fn skips_end_at_their_number_and_at_the_threshold() -> Result<()> {
        let computed = |cache: &MagCache, steps: usize| -> Result<Vec<usize>> {
            let forecast = cache.forecast(&run(steps), &StorageOptions::default())?;
            let states = forecast.steps.iter().map(|step| step.layers.first().copied().flatten());
            let computed = states.map(|state| state == Some(LayerState::Computed));
            Ok(computed.enumerate().filter(|(_, computed)| *computed).map(|(i, _)| i).collect())
        };
        // 2 of 10 steps are retained, then 3 are skipped for each that is computed.
        assert_eq!(computed(&with_ratios(&[1.0; 10]), 10)?, [0, 1, 5, 9]);
        // Products 0.98 and 0.9604 are off by 0.02 and 0.0396: together more than 0.05.
        let cache = MagCache { threshold: 0.05, ..with_ratios(&[0.98; 10]) };
        assert_eq!(computed(&cache, 10)?, [0, 1, 3, 5, 7, 9]);
        // The first step is computed whatever is retained.
        let cache = MagCache { retention_ratio: 0.0, ..with_ratios(&[1.0; 4]) };
        assert_eq!(computed(&cache, 4)?, [0]);
        Ok(())
    }

    #[test]
    fn what_would_do_nothing_is_refused() {
        let message = |cache: &MagCache| {
            let storage = StorageOptions::default();
            let refused = cache
                .validate(&[])
                .and_then(|()| cache.forecast(&run(10), &storage).map(drop))
                .expect_err("refused");
            refused.to_string()
        };
        assert!(message(&with_ratios(&[])).contains("mag_ratios: expected the ratios"));
        assert!(message(&with_ratios(&[1.0, -1.0])).contains("found -1 at 1"));
        let none = "found none of 10 steps skipped";
        assert!(message(&with_ratios(&[2.0; 10])).contains(none));
        let retained = MagCache { retention_ratio: 1.0, ..with_ratios(&[1.0; 10]) };
        assert!(message(&retained).contains(none));
    }

    #[test]
    fn the_ratio_is_the_mean_over_tokens_of_the_quotients_of_lengths() -> Result<()> {
        let now = Tensor::f_from_slice(&[3f32, 4.0, 0.0, 8.0])?.f_view([1, 2, 2])?;
        let before = Tensor::f_from_slice(&[0f32, 5.0, 2.0, 0.0])?.f_view([1, 2, 2])?;
        assert!((mean_ratio(&now, &before, &Team::alone())? - 2.5).abs() < 1e-6);
        Ok(())
    }
}
