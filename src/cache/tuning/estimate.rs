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
