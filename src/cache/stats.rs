//! What is told about a run: while it goes on, and after it, however it ended.

use super::cost::{AttentionShare, Units};
use super::plan::Plan;
use super::storage::Ledger;
use super::technique::Technique;
use super::trace::Trace;
use super::{Course, RunShape};
use parking_lot::Mutex;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;

pub use super::trace::LayerState;

/// The statistics of one run.
#[derive(Debug, Clone, Serialize)]
pub struct CacheStats {
    /// `None` where nothing was cached.
    pub technique: Option<&'static str>,
    /// The technique's fields.
    pub settings: serde_json::Value,
    pub trace: Trace,
    /// Bytes of kept tensors now; 0 once the run is over.
    pub bytes_now: u64,
    /// The most at any time of the run.
    pub bytes_peak: u64,
    /// Layers that were selected and computed all the same, because `max_cache_bytes` had no
    /// room for them.
    pub layers_over_budget: Vec<String>,
    pub units: Units,
    pub attention_share: Option<AttentionShare>,
    /// Uncached time over this run's, by the cost model.
    pub predicted_speed_up: Option<f64>,
}

impl CacheStats {
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    fn predict(&mut self) {
        self.units = self.trace.units();
        self.predicted_speed_up = self.attention_share.map(|s| self.units.speed_up(s.share));
    }
}

/// What a run will be.
#[derive(Debug, Clone, Serialize)]
pub struct Preview {
    pub technique: &'static str,
    pub settings: serde_json::Value,
    pub trace: Trace,
    /// The host's timestep callback decides during the run; this is what the pipeline's own
    /// timesteps would give.
    pub callback_decides: bool,
    /// What will be kept at peak, where the sizes are known.
    pub bytes_peak: Option<u64>,
    pub layers_over_budget: Vec<String>,
    pub units: Units,
    pub attention_share: Option<AttentionShare>,
    pub predicted_speed_up: Option<f64>,
}

impl Preview {
    pub(super) fn new(
        technique: &dyn Technique,
        plan: &Plan,
        course: &Course,
        shape: Option<&RunShape>,
        share: Option<AttentionShare>,
    ) -> Preview {
        let trace = Trace::of_plan(technique, plan, &course.layers, &course.timesteps);
        let units = trace.units();
        let share = share.or_else(|| shape.map(|s| AttentionShare::estimate(s.tokens, s.width)));
        Preview {
            technique: technique.name(),
            settings: technique.settings(),
            trace,
            callback_decides: !plan.foreseen,
            bytes_peak: plan.bytes,
            layers_over_budget: over_budget(plan, &course.layers),
            units,
            attention_share: share,
            predicted_speed_up: share.map(|s| units.speed_up(s.share)),
        }
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

fn over_budget(plan: &Plan, layers: &[String]) -> Vec<String> {
    plan.over_budget.iter().filter_map(|&layer| layers.get(layer).cloned()).collect()
}

/// The statistics of a run that may still be going on; clones see the same run.
#[derive(Debug, Clone)]
pub struct SharedStats {
    stats: Arc<Mutex<CacheStats>>,
    ledger: Ledger,
}

impl SharedStats {
    pub(super) fn new(
        planned: Option<(&dyn Technique, &Plan)>,
        shape: &RunShape,
        ledger: Ledger,
    ) -> SharedStats {
        let stats = CacheStats {
            technique: planned.map(|(technique, _)| technique.name()),
            settings: planned.map(|(technique, _)| technique.settings()).unwrap_or_default(),
            trace: Trace {
                layers: shape.course.layers.clone(),
                total_steps: shape.course.timesteps.len(),
                steps: Vec::with_capacity(shape.course.timesteps.len()),
            },
            bytes_now: 0,
            bytes_peak: 0,
            layers_over_budget: planned
                .map(|(_, plan)| over_budget(plan, &shape.course.layers))
                .unwrap_or_default(),
            units: Units::default(),
            attention_share: Some(AttentionShare::estimate(shape.tokens, shape.width)),
            predicted_speed_up: None,
        };
        SharedStats { stats: Arc::new(Mutex::new(stats)), ledger }
    }

    pub(super) fn edit(&self, change: impl FnOnce(&mut CacheStats)) {
        change(&mut self.stats.lock());
    }

    /// The statistics as they are now.
    pub fn snapshot(&self) -> CacheStats {
        let mut stats = self.stats.lock().clone();
        stats.bytes_now = self.ledger.now();
        stats.bytes_peak = self.ledger.peak();
        stats.predict();
        stats
    }
}

impl fmt::Display for CacheStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (done, total) = (self.trace.steps.len(), self.trace.total_steps);
        write!(f, "{}: ", self.technique.unwrap_or("No cache"))?;
        if done == total {
            write!(f, "{total} steps")?;
        } else {
            write!(f, "{done} of {total} steps")?;
        }
        writeln!(f, ", {} layers", self.trace.layers.len())?;
        write!(f, "{}", self.trace)?;
        summary(f, &self.units, self.attention_share, self.predicted_speed_up)?;
        writeln!(f, "kept: {} now, {} at peak", Bytes(self.bytes_now), Bytes(self.bytes_peak))?;
        left_out(f, &self.layers_over_budget)
    }
}

impl fmt::Display for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (steps, layers) = (self.trace.total_steps, self.trace.layers.len());
        writeln!(f, "{}: {steps} steps, {layers} layers", self.technique)?;
        write!(f, "{}", self.trace)?;
        summary(f, &self.units, self.attention_share, self.predicted_speed_up)?;
        if let Some(bytes) = self.bytes_peak {
            writeln!(f, "kept: {} at peak", Bytes(bytes))?;
        }
        if self.callback_decides {
            writeln!(f, "current_timestep_callback will decide; shown is the pipeline's own")?;
        }
        left_out(f, &self.layers_over_budget)
    }
}

fn summary(
    f: &mut fmt::Formatter<'_>,
    units: &Units,
    share: Option<AttentionShare>,
    speed_up: Option<f64>,
) -> fmt::Result {
    writeln!(
        f,
        "computed: attention {} of {}, the rest {} of {}",
        round(units.attention),
        units.total,
        units.rest,
        units.total
    )?;
    if let (Some(share), Some(speed_up)) = (share, speed_up) {
        let source = match share.source {
            super::cost::ShareSource::Measured => "measured",
            super::cost::ShareSource::Estimated => "estimated",
        };
        writeln!(
            f,
            "predicted speed-up: {speed_up:.2} (attention {:.0} % of a step, {source})",
            100.0 * share.share
        )?;
    }
    Ok(())
}

fn left_out(f: &mut fmt::Formatter<'_>, layers: &[String]) -> fmt::Result {
    match layers {
        [] => Ok(()),
        [only] => writeln!(f, "over budget: {only}"),
        [first, .., last] => {
            writeln!(f, "over budget: {} layers, {first} to {last}", layers.len())
        }
    }
}

fn round(units: f64) -> f64 {
    (units * 10.0).round() / 10.0
}

struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["bytes", "KiB", "MiB", "GiB"];
        let mut value = self.0 as f64;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        let digits = usize::from(unit > 0);
        write!(f, "{value:.digits$} {}", UNITS.get(unit).copied().unwrap_or(""))
    }
}
