//! What every layer did in every step, and a grid of it that a person can read.

use super::cost::Units;
use super::plan::Plan;
use super::schedule::Decision;
use super::technique::Technique;
use super::Branches;
use serde::{Serialize, Serializer};
use std::fmt;

/// What a layer did about its attention module in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LayerState {
    Computed,
    /// Took a kept output as it was.
    Reused,
    /// Took an output extrapolated from kept ones.
    Approximated,
}

impl LayerState {
    /// Its sign in grids and in JSON.
    pub fn symbol(self) -> char {
        match self {
            LayerState::Computed => '#',
            LayerState::Reused => '=',
            LayerState::Approximated => '~',
        }
    }
}

/// What became of the unconditional half of the guidance batch in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unconditional {
    Ran,
    /// Rebuilt from the conditional half.
    Rebuilt,
    /// Guidance is off: there is none.
    Absent,
}

impl Unconditional {
    pub(super) fn of(guided: bool, branches: Branches) -> Unconditional {
        match (guided, branches) {
            (false, _) => Unconditional::Absent,
            (true, Branches::All) => Unconditional::Ran,
            (true, Branches::ConditionalOnly) => Unconditional::Rebuilt,
        }
    }

    fn symbol(self) -> char {
        match self {
            Unconditional::Ran => '#',
            Unconditional::Rebuilt => '~',
            Unconditional::Absent => ' ',
        }
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepTrace {
    pub timestep: i64,
    pub unconditional: Unconditional,
    /// By layer; `None` for layers that a run which ended early did not reach.
    #[serde(serialize_with = "symbols")]
    pub layers: Vec<Option<LayerState>>,
}

fn symbols<S: Serializer>(layers: &[Option<LayerState>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&layers.iter().map(|state| symbol(*state)).collect::<String>())
}

fn symbol(state: Option<LayerState>) -> char {
    state.map_or('.', LayerState::symbol)
}

/// A run, or the part of it that was run.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Trace {
    /// The attention modules by their checkpoint names.
    pub layers: Vec<String>,
    /// How many steps the run has in all.
    pub total_steps: usize,
    /// The steps that have begun.
    pub steps: Vec<StepTrace>,
}

impl Trace {
    /// What the plan says the run will be.
    pub(super) fn of_plan(
        technique: &dyn Technique,
        plan: &Plan,
        layers: &[String],
        timesteps: &[i64],
    ) -> Trace {
        let state = |decision: &Decision, layer: usize| {
            Some(if plan.reuses(decision, layer) {
                technique.reuse_state()
            } else {
                LayerState::Computed
            })
        };
        Trace {
            layers: layers.to_vec(),
            total_steps: timesteps.len(),
            steps: timesteps
                .iter()
                .zip(&plan.decisions)
                .map(|(&timestep, decision)| StepTrace {
                    timestep,
                    unconditional: Unconditional::of(plan.circumstances.guided, decision.branches),
                    layers: (0..layers.len()).map(|layer| state(decision, layer)).collect(),
                })
                .collect(),
        }
    }

    /// How many steps `layer` computed, reused and approximated.
    pub fn counts(&self, layer: usize) -> LayerCounts {
        let mut counts = LayerCounts::default();
        for step in &self.steps {
            match step.layers.get(layer).copied().flatten() {
                Some(LayerState::Computed) => counts.computed += 1,
                Some(LayerState::Reused) => counts.reused += 1,
                Some(LayerState::Approximated) => counts.approximated += 1,
                None => {}
            }
        }
        counts
    }

    /// The units of [`Units`], of the steps that have begun.
    pub fn units(&self) -> Units {
        let mut units = Units::default();
        let layers = self.layers.len().max(1) as f64;
        for step in &self.steps {
            let (ran, total) = match step.unconditional {
                Unconditional::Ran => (2.0, 2.0),
                Unconditional::Rebuilt => (1.0, 2.0),
                Unconditional::Absent => (1.0, 1.0),
            };
            let computed =
                step.layers.iter().filter(|s| **s == Some(LayerState::Computed)).count() as f64;
            units.attention += ran * computed / layers;
            units.rest += ran;
            units.total += total;
        }
        units
    }

    /// Rows of equal layers as one: first layer, last layer, their row.
    fn rows(&self) -> Vec<(usize, usize, String)> {
        let mut rows: Vec<(usize, usize, String)> = Vec::new();
        for layer in 0..self.layers.len() {
            let row: String = self
                .steps
                .iter()
                .map(|step| symbol(step.layers.get(layer).copied().flatten()))
                .collect();
            match rows.last_mut() {
                Some((_, last, same)) if *same == row => *last = layer,
                _ => rows.push((layer, layer, row)),
            }
        }
        rows
    }
}

/// How often a layer was what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct LayerCounts {
    pub computed: usize,
    pub reused: usize,
    pub approximated: usize,
}

/// How many steps stand in one line of the grid.
const STEPS_PER_LINE: usize = 100;

/// A grid: one column per step, one row per run of layers that did the same.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows();
        let guided = self.steps.iter().any(|s| s.unconditional != Unconditional::Absent);
        let halves: String = self.steps.iter().map(|s| s.unconditional.symbol()).collect();
        let mut start = 0;
        while start < self.steps.len() {
            let end = (start + STEPS_PER_LINE).min(self.steps.len());
            let ruler: String = (start..end)
                .map(|step| if step % 10 == 0 { format!("{step:<10}") } else { String::new() })
                .collect();
            writeln!(f, "{:<14} {}", "step", ruler.trim_end())?;
            for (first, last, row) in &rows {
                let name = if first == last {
                    format!("layer {first}")
                } else {
                    format!("layers {first}-{last}")
                };
                let part: String = row.chars().skip(start).take(end - start).collect();
                writeln!(f, "{name:<14} {part}")?;
            }
            if guided {
                let part: String = halves.chars().skip(start).take(end - start).collect();
                writeln!(f, "{:<14} {part}", "unconditional")?;
            }
            start = end;
        }
        writeln!(f, "# computed   = reused   ~ approximated   . not reached")
    }
}
