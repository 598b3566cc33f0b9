//! What a run will be.

use super::cost::{AttentionShare, Units};
use super::trace::{LayerState, StepTrace, Trace, Unconditional};
use crate::cache::run_info::{RunInfo, Step};
use serde::Serialize;

/// How much of a run is known before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Foresight {
    /// The run does exactly what the preview shows.
    Exact,
    /// The host's timestep callback decides during the run; shown is what the pipeline's own
    /// timesteps would give.
    HostDecides,
    /// What the run computes decides; shown is a run in which nothing is saved.
    DataDecides,
}

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

/// What a technique says of a run.
#[derive(Debug, Clone)]
pub(in crate::cache) struct Forecast {
    pub foresight: Foresight,
    pub steps: Vec<StepTrace>,
    /// The most bytes that will be kept; `None` where the sizes aren't known.
    pub bytes: Option<u64>,
    /// Layers that are computed on every step for want of bytes.
    pub over_budget: Vec<usize>,
}

impl Forecast {
    /// A forecast by step and layer; `whole` are the steps whose output is predicted as a whole.
    /// All halves run in the others; nothing is kept.
    pub fn of_steps(
        foresight: Foresight,
        run: &RunInfo,
        whole: impl Fn(&Step) -> bool,
        state: impl Fn(&Step, usize) -> LayerState,
    ) -> Forecast {
        let guided = run.batch.guided;
        let trace = |step: Step| StepTrace {
            timestep: run.timesteps.get(step.index).copied().unwrap_or_default(),
            unconditional: match whole(&step) {
                true => Unconditional::predicted(guided),
                false => Unconditional::of(guided, step.branches),
            },
            layers: (0..run.layers.len()).map(|layer| Some(state(&step, layer))).collect(),
        };
        Forecast {
            foresight,
            steps: run.steps().map(trace).collect(),
            bytes: None,
            over_budget: Vec::new(),
        }
    }

    /// The names of the layers that are computed for want of bytes.
    pub fn names_over_budget(&self, run: &RunInfo) -> Vec<String> {
        self.over_budget.iter().filter_map(|&layer| run.layers.get(layer).cloned()).collect()
    }
}

/// What a run will be.
#[derive(Debug, Clone, Serialize)]
pub struct Preview {
    pub technique: &'static str,
    pub settings: serde_json::Value,
    pub trace: Trace,
    pub foresight: Foresight,
    /// The host's timestep callback decides during the run; this is what the pipeline's own
    /// timesteps would give.
    pub callback_decides: bool,
    /// What will be kept at peak, where the sizes are known.
    pub bytes_peak: Option<u64>,
    pub layers_over_budget: Vec<String>,
    pub units: Units,
    pub attention_share: Option<AttentionShare>,
    pub predicted_speed_up: Option<f64>,
    /// Where a calibration was given.
    pub estimate: Option<Estimate>,
}

impl Preview {
    /// `share` is attention's part of a full step where a run has measured it; without it, it is
    /// estimated where the sizes are known.
    pub(in crate::cache) fn new(
        technique: &'static str,
        settings: serde_json::Value,
        forecast: Forecast,
        run: &RunInfo,
        share: Option<AttentionShare>,
    ) -> Preview {
        let layers_over_budget = forecast.names_over_budget(run);
        let trace = Trace {
            layers: run.layers.clone(),
            total_steps: run.timesteps.len(),
            steps: forecast.steps,
        };
        let units = trace.units();
        let estimate = || AttentionShare::estimate_of(run.sizes.as_ref()?);
        let share = share.or_else(estimate);
        Preview {
            technique,
            settings,
            trace,
            foresight: forecast.foresight,
            callback_decides: forecast.foresight == Foresight::HostDecides,
            bytes_peak: forecast.bytes,
            layers_over_budget,
            units,
            attention_share: share,
            predicted_speed_up: share.map(|s| units.speed_up(s.share)),
            estimate: None,
        }
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}
