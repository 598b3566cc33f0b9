//! What a run with a cache is expected to take and to be like, told from a calibration.

use super::calibration::Calibration;
use super::path::{Event, Halves, Path};
use crate::cache::config::CacheConfig;
use crate::cache::report::{
    AttentionShare, Estimate, Foresight, LayerState, Preview, ShareSource, StepTrace, Unconditional,
};
use crate::cache::run_info::RunInfo;
use crate::Result;

impl CacheConfig {
    /// [`CacheConfig::preview`] with what `calibration` says of such a run: seconds, and the PSNR
    /// that is expected. Errors: [`Error::InvalidArgument`] also for a calibration of another
    /// model, another number of steps, or of runs with guidance for one without.
    pub fn estimate(&self, run: &RunInfo, calibration: &Calibration) -> Result<Preview> {
        calibration.check(run.timesteps.len(), run.layers.len(), run.batch.guided)?;
        let share = calibration.attention_share;
        let share = Some(AttentionShare { share, source: ShareSource::Measured });
        let mut preview = self.preview(run, share)?;
        let order = self.technique.prediction_order();
        preview.estimate = Some(calibration.estimate(&preview, order));
        Ok(preview)
    }
}

impl Calibration {
    /// What is expected of the run that `preview` shows, whose predictions are polynomials of
    /// degree `order`.
    pub fn estimate(&self, preview: &Preview, order: usize) -> Estimate {
        let denoise = self.seconds.denoise / preview.units.speed_up(self.attention_share);
        let known = preview.foresight != Foresight::DataDecides;
        Estimate {
            seconds: self.seconds.encode + denoise + self.seconds.decode,
            denoise_seconds: denoise,
            psnr: known.then(|| self.psnr(self.expected_error(&preview.trace.steps, order))),
        }
    }

    fn expected_error(&self, steps: &[StepTrace], order: usize) -> f64 {
        let mut path = Path::new(order);
        for (step, trace) in steps.iter().enumerate().skip(1) {
            path.pass(self, &self.typical, step, event(trace));
        }
        path.cost().sqrt()
    }
}

fn event(step: &StepTrace) -> Event {
    let layers = step.layers.len().max(1) as f64;
    let part = |of: &dyn Fn(LayerState) -> bool| {
        step.layers.iter().flatten().filter(|state| of(**state)).count() as f64 / layers
    };
    let predicted = part(&|state| state == LayerState::Predicted);
    let halves = match step.unconditional {
        Unconditional::Predicted => Halves::Neither,
        // Without guidance the layers tell it; predicted modules of all blocks come to the same.
        _ if predicted == 1.0 => Halves::Neither,
        Unconditional::Rebuilt => Halves::Conditional,
        Unconditional::Ran | Unconditional::Absent => Halves::Both,
    };
    let attention = |state| matches!(state, LayerState::Reused | LayerState::Approximated);
    Event {
        halves,
        attention: part(&attention),
        blocks: part(&|state| !attention(state) && state != LayerState::Computed),
    }
}

#[cfg(test)]
mod tests {
    use super::super::calibration::{Effects, Omission, OutputErrors, Seconds};
    use super::*;
    use crate::cache::fields::Value;
    use crate::cache::testing::noise;
    use crate::guidance::GuidanceBatch;
    use serde_json::json;
    use tch::Kind;

    /// Of three steps and two blocks; effects that are told apart by their numbers.
    fn calibration() -> Result<Calibration> {
        let outputs =
            (0..3).map(|s| noise(&[2, 60], s, Kind::Float)).collect::<Result<Vec<_>>>()?;
        let batch = GuidanceBatch { videos: 1, guided: true };
        let errors = OutputErrors::of_run(&outputs, batch, vec![6.0; 3])?;
        let mut calibration = Calibration::new(errors, &[], true);
        calibration.layers = 2;
        calibration.psnr_of_one = 20.0;
        calibration.seconds = Seconds { encode: 1.0, denoise: 6.0, decode: 2.0 };
        calibration.typical = Effects {
            attention: Omission::new(3, &[(1, 0.01)]),
            blocks: Omission::new(3, &[(1, 0.05)]),
            ..Effects::new(3, &[(1, 0.5)])
        };
        Ok(calibration)
    }

    fn estimate(calibration: &Calibration, word: &str) -> Result<Estimate> {
        let mut config = CacheConfig::new("schedule", None)?;
        config.set("order", Value::Number(0.0))?;
        config.set("steps", Value::Json(json!(["compute", word, "compute"])))?;
        let preview = config.estimate(&RunInfo::of_published_models(2, 3, true), calibration)?;
        preview.estimate.ok_or_else(|| crate::Error::Internal("no estimate".into()))
    }

    #[test]
    fn each_way_to_save_a_step_has_the_error_that_was_seen_of_it() -> Result<()> {
        let calibration = calibration()?;
        let repeated = Some(&[(0, 1.0)][..]);
        let predicted = 0.5 * calibration.errors.error(1, repeated, repeated);
        let rebuilt = 0.5 * calibration.errors.error(1, None, repeated);
        for (word, error) in
            [("predict", predicted), ("conditional", rebuilt), ("==", 0.01), ("--", 0.05)]
        {
            let expected = 20.0 - 20.0 * f64::log10(error);
            let found = estimate(&calibration, word)?.psnr.expect("a number");
            assert!((found - expected).abs() < 1e-9, "{word}: {found}, expected {expected}");
        }
        // Half of the blocks, half of the error.
        let found = estimate(&calibration, "#-")?.psnr.expect("a number");
        assert!((found - (20.0 - 20.0 * f64::log10(0.025))).abs() < 1e-9, "{found}");
        Ok(())
    }

    #[test]
    fn seconds_are_those_of_the_parts_that_are_left() -> Result<()> {
        let found = estimate(&calibration()?, "predict")?;
        assert!((found.denoise_seconds - 4.0).abs() < 1e-9, "{found:?}");
        assert!((found.seconds - 7.0).abs() < 1e-9, "{found:?}");
        Ok(())
    }
}
