//! What a run with a cache is expected to take and to be like, told from a calibration.

use super::calibration::Calibration;
use super::path::{Event, Halves, Path};
use crate::cache::report::{Foresight, LayerState, Preview, StepTrace, Unconditional};
use serde::Serialize;

/// What is expected of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// From the prompt to the frames.
    pub seconds: f64,
    /// Of the denoising steps alone.
    pub denoise_seconds: f64,
    /// Against the uncached video, in decibels; `None` where what the run computes decides.
    /// Infinite, `null` in JSON, where nothing is left out.
    pub psnr: Option<f64>,
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
