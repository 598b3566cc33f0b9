//! TeaCache: whole steps are skipped while the timestep embedding changes little
//! (arXiv 2411.19108, as its authors' TeaCache4CogVideoX1.5 has it).
//!
//! A polynomial that was fitted for each published model turns the change of the timestep
//! embedding from step to step, relative to its size, into the expected change of the model's
//! output. The expected changes since the last computed step are summed up; a step is computed
//! when the sum reaches the threshold, and the first and the last step always are. The
//! embedding depends on nothing but timestep and weights, so all of this is known before a run.

use crate::cache::fields::{Field, Slot};
use crate::cache::forward::RunCache;
use crate::cache::report::{Forecast, Foresight};
use crate::cache::run_info::RunInfo;
use crate::cache::schedule::WholeSteps;
use crate::cache::storage_options::StorageOptions;
use crate::cache::technique::{RunContext, Technique};
use crate::checkpoint::config::Family;
use crate::{Error, Result};

/// What the authors fitted, highest power first (CogVideoX-5b-I2V has those of CogVideoX-5b).
const COGVIDEOX_2B: [f64; 5] =
    [-3.10658903e1, 2.54732368e1, -5.92380459, 1.75769064, -3.61568434e-3];
const COGVIDEOX_5B: [f64; 5] =
    [-1.53880483e3, 8.43202495e2, -1.34363087e2, 7.97131516, -5.23162339e-2];
const COGVIDEOX_1_5_5B: [f64; 5] =
    [2.50210439e2, -1.65061612e2, 3.57804877e1, -7.81551492e-1, 3.58559703e-2];
const COGVIDEOX_1_5_5B_I2V: [f64; 5] =
    [1.22842302e2, -1.04088754e2, 2.62981677e1, -3.06009921e-1, 3.71213220e-2];

/// What the authors' program can be told.
#[derive(Debug, Clone)]
pub(super) struct TeaCache {
    /// The sum of expected changes at which a step is computed.
    rel_l1_thresh: f64,
    /// The polynomial, highest power first; empty for the published one of the run's model.
    coefficients: Vec<f64>,
}

impl TeaCache {
    pub const PRESETS: &'static [&'static str] = &["authors", "cogvideox-1.5-5b-i2v"];

    /// - `authors`: threshold 0.2, which the authors say makes CogVideoX 1.5 1.8 times as fast
    ///   (0.1: 1.3 times, 0.3: 2.1 times), with the coefficients of the run's model.
    /// - `cogvideox-1.5-5b-i2v`: the same with that model's coefficients.
    pub fn preset(name: &str) -> Option<Self> {
        let coefficients = match name {
            "authors" => Vec::new(),
            "cogvideox-1.5-5b-i2v" => COGVIDEOX_1_5_5B_I2V.to_vec(),
            _ => return None,
        };
        Some(TeaCache { rel_l1_thresh: 0.2, coefficients })
    }

    /// The expected change of the output for a change of the embedding.
    fn expected_change(&self, family: Family, change: f64) -> f64 {
        let published: &[f64] = match family {
            Family::CogVideoX2b => &COGVIDEOX_2B,
            Family::CogVideoX5b => &COGVIDEOX_5B,
            Family::CogVideoX1_5 => &COGVIDEOX_1_5_5B,
            Family::CogVideoX1_5ImageToVideo => &COGVIDEOX_1_5_5B_I2V,
        };
        let polynomial: &[f64] =
            if self.coefficients.is_empty() { published } else { &self.coefficients };
        polynomial.iter().fold(0.0, |sum, coefficient| sum * change + coefficient)
    }

    /// What each step of a run does; `None` without the changes of its embeddings. Errors:
    /// [`Error::InvalidArgument`] if every step would be computed.
    fn schedule(&self, run: &RunInfo) -> Result<Option<WholeSteps>> {
        let (Some(changes), Some(family)) = (&run.time_embedding_changes, run.family) else {
            return Ok(None);
        };
        let steps = run.timesteps.len();
        let mut sum = 0.0;
        let schedule = WholeSteps::new(steps, |step| {
            sum += self.expected_change(family, changes.get(step).copied().unwrap_or(0.0));
            let computes = sum >= self.rel_l1_thresh || step + 1 == steps;
            if computes {
                sum = 0.0;
            }
            computes
        });
        if schedule.skips_any() {
            return Ok(Some(schedule));
        }
        Err(Error::InvalidArgument(format!(
            "TeaCache: expected settings that skip a step, found none of {steps} steps skipped with \
             rel_l1_thresh {}",
            self.rel_l1_thresh
        )))
    }
}

impl Technique for TeaCache {
    fn name(&self) -> &'static str {
        "TeaCache"
    }

    fn fields(&mut self) -> Vec<Field<'_>> {
        let field = |name, slot| Field { name, slot };
        vec![
            field("rel_l1_thresh", Slot::Number(&mut self.rel_l1_thresh, 0.0, f64::from(f32::MAX))),
            field("coefficients", Slot::Numbers(&mut self.coefficients)),
        ]
    }

    fn boxed(&self) -> Box<dyn Technique> {
        Box::new(self.clone())
    }

    fn validate(&self, _layers: &[String]) -> Result<()> {
        Ok(())
    }

    fn needs_time_embeddings(&self) -> bool {
        true
    }

    fn forecast(&self, run: &RunInfo, storage: &StorageOptions) -> Result<Forecast> {
        match self.schedule(run)? {
            Some(schedule) => schedule.forecast(run, storage),
            None => {
                let all = WholeSteps::new(run.timesteps.len(), |_| true);
                Ok(Forecast { foresight: Foresight::DataDecides, ..all.forecast(run, storage)? })
            }
        }
    }

    fn start(&self, context: RunContext<'_>) -> Result<Box<dyn RunCache>> {
        let schedule = self.schedule(context.run)?.ok_or_else(|| {
            Error::Internal("cache: a run without the changes of its time embeddings".into())
        })?;
        schedule.start(&context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::report::LayerState;

    fn run(family: Family, changes: &[f64]) -> RunInfo {
        RunInfo {
            family: Some(family),
            time_embedding_changes: Some(changes.to_vec()),
            ..RunInfo::of_published_models(2, changes.len(), true)
        }
    }

    fn computed(cache: &TeaCache, run: &RunInfo) -> Result<Vec<bool>> {
        let forecast = cache.forecast(run, &StorageOptions::default())?;
        let states = forecast.steps.iter().map(|step| step.layers.first().copied().flatten());
        Ok(states.map(|state| state == Some(LayerState::Computed)).collect())
    }

    #[test]
    fn each_family_has_the_polynomial_that_was_fitted_for_it() {
        let cache = TeaCache::preset("authors").expect("a preset");
        // numpy: np.poly1d(coefficients)(0.1)
        for (family, expected) in [
            (Family::CogVideoX2b, 0.13528198153),
            (Family::CogVideoX5b, 0.0905064241),
            (Family::CogVideoX1_5, 0.17546513),
            (Family::CogVideoX1_5ImageToVideo, 0.1776974831),
        ] {
            let found = cache.expected_change(family, 0.1);
            assert!((found - expected).abs() < 1e-9, "{family:?}: {found}");
        }
    }

    #[test]
    fn the_sum_starts_anew_at_each_computed_step_and_both_ends_compute() -> Result<()> {
        let cache = TeaCache { rel_l1_thresh: 1.0, coefficients: vec![1.0, 0.0] };
        let run = run(Family::CogVideoX2b, &[0.0, 0.6, 0.5, 0.9, 0.1, 0.1, 0.1]);
        assert_eq!(computed(&cache, &run)?, [true, false, true, false, true, false, true]);
        Ok(())
    }

    #[test]
    fn settings_that_skip_no_step_are_refused() {
        let cache = TeaCache { rel_l1_thresh: 0.0, coefficients: vec![1.0, 0.0] };
        let refused = computed(&cache, &run(Family::CogVideoX5b, &[0.0, 0.5, 0.5]));
        let message = refused.expect_err("refused").to_string();
        assert!(message.contains("none of 3 steps skipped with rel_l1_thresh 0"), "{message}");
    }

    #[test]
    fn a_preview_without_a_model_says_that_it_can_not_tell() -> Result<()> {
        let cache = TeaCache::preset("authors").expect("a preset");
        let unknown = RunInfo::of_published_models(30, 50, true);
        let forecast = cache.forecast(&unknown, &StorageOptions::default())?;
        assert_eq!(forecast.foresight, Foresight::DataDecides);
        assert_eq!(computed(&cache, &unknown)?, [true; 50]);
        Ok(())
    }
}
