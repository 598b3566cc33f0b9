//! What every layer did in every step, and a grid of it that a person can read.

use super::cost::Units;
use crate::guidance::Branches;
use serde::{Serialize, Serializer};
use std::fmt;

/// What became of a layer, a block with its attention module, in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LayerState {
    Computed,
    /// Its attention took a kept output as it was; the rest of the block ran.
    Reused,
    /// Its attention took an output extrapolated from kept ones; the rest of the block ran.
    Approximated,
    /// The block did not run: what it added in an earlier step was added again.
    Skipped,
    /// Its attention was computed, and its feed-forward layer's output extrapolated from kept ones.
    FeedForwardPredicted,
    /// Neither attention nor feed-forward ran: what they would have given, or what the whole model
    /// would, was extrapolated from kept outputs.
    Predicted,
}

impl LayerState {
    /// Its sign in grids and in JSON.
    pub fn symbol(self) -> char {
        match self {
            LayerState::Computed => '#',
            LayerState::Reused => '=',
            LayerState::Approximated => '~',
            LayerState::Skipped => '-',
            LayerState::FeedForwardPredicted => '+',
            LayerState::Predicted => '^',
        }
    }

    /// Its attention module was computed.
    pub fn computes_attention(self) -> bool {
        matches!(self, LayerState::Computed | LayerState::FeedForwardPredicted)
    }

    /// Everything but its attention module was computed.
    pub fn computes_rest(self) -> bool {
        matches!(self, LayerState::Computed | LayerState::Reused | LayerState::Approximated)
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
    /// Neither half ran: the step's output was predicted.
    Predicted,
}

impl Unconditional {
    pub(in crate::cache) fn of(guided: bool, branches: Branches) -> Unconditional {
        match (guided, branches) {
            (false, _) => Unconditional::Absent,
            (true, Branches::All) => Unconditional::Ran,
            (true, Branches::ConditionalOnly) => Unconditional::Rebuilt,
        }
    }

    pub(in crate::cache) fn predicted(guided: bool) -> Unconditional {
        if guided {
            Unconditional::Predicted
        } else {
            Unconditional::Absent
        }
    }

    pub(in crate::cache) fn symbol(self) -> char {
        match self {
            Unconditional::Ran => '#',
            Unconditional::Rebuilt => '~',
            Unconditional::Absent => ' ',
            Unconditional::Predicted => '^',
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
    /// Some steps run the conditional half of the guidance alone.
    pub fn halves_apart(&self) -> bool {
        self.steps.iter().any(|step| step.unconditional == Unconditional::Rebuilt)
    }

    /// In how many steps `layer` was what.
    pub fn counts(&self, layer: usize) -> LayerCounts {
        let mut counts = LayerCounts::default();
        for step in &self.steps {
            match step.layers.get(layer).copied().flatten() {
                Some(LayerState::Computed) => counts.computed += 1,
                Some(LayerState::Reused) => counts.reused += 1,
                Some(LayerState::Approximated) => counts.approximated += 1,
                Some(LayerState::Skipped) => counts.skipped += 1,
                Some(LayerState::FeedForwardPredicted) => counts.feed_forward_predicted += 1,
                Some(LayerState::Predicted) => counts.predicted += 1,
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
                Unconditional::Predicted => (0.0, 2.0),
                Unconditional::Absent => (1.0, 1.0),
            };
            let states = || step.layers.iter().flatten();
            let computed = states().filter(|state| state.computes_attention()).count() as f64;
            // Layers that were not reached count as ones that would have run.
            let saved = states().filter(|state| !state.computes_rest()).count() as f64;
            units.attention += ran * computed / layers;
            units.rest += ran * (1.0 - saved / layers);
            units.total += total;
        }
        units
    }

    /// Layers that follow each other and did the same, as one: the first of them, and the last.
    fn rows(&self) -> Vec<(usize, usize)> {
        let mut differs = vec![false; self.layers.len()];
        for step in &self.steps {
            let state = |layer| step.layers.get(layer).copied().flatten();
            for (layer, differs) in differs.iter_mut().enumerate().skip(1) {
                *differs |= state(layer) != state(layer - 1);
            }
        }
        let mut rows: Vec<(usize, usize)> = Vec::new();
        for (layer, differs) in differs.into_iter().enumerate() {
            match rows.last_mut() {
                Some((_, last)) if !differs => *last = layer,
                _ => rows.push((layer, layer)),
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
    pub skipped: usize,
    pub feed_forward_predicted: usize,
    pub predicted: usize,
}

/// How many steps stand in one line of the grid.
const STEPS_PER_LINE: usize = 100;

/// A grid: one column per step, one row per run of layers that did the same.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows();
        let guided = self.steps.iter().any(|s| s.unconditional != Unconditional::Absent);
        for (index, steps) in self.steps.chunks(STEPS_PER_LINE).enumerate() {
            let start = index * STEPS_PER_LINE;
            let ruler: String = (start..start + steps.len())
                .map(|step| if step % 10 == 0 { format!("{step:<10}") } else { String::new() })
                .collect();
            writeln!(f, "{:<14} {}", "step", ruler.trim_end())?;
            for &(first, last) in &rows {
                let name = if first == last {
                    format!("layer {first}")
                } else {
                    format!("layers {first}-{last}")
                };
                let state = |step: &StepTrace| step.layers.get(first).copied().flatten();
                let part: String = steps.iter().map(|step| symbol(state(step))).collect();
                writeln!(f, "{name:<14} {part}")?;
            }
            if guided {
                let part: String = steps.iter().map(|step| step.unconditional.symbol()).collect();
                writeln!(f, "{:<14} {part}", "unconditional")?;
            }
        }
        let blocks = self.steps.iter().flat_map(|step| step.layers.iter().flatten());
        if blocks.into_iter().any(|state| !state.computes_rest()) {
            writeln!(
                f,
                "# computed   = reused   ~ approximated   - skipped   + feed-forward predicted   \
                 ^ predicted   . not reached"
            )
        } else {
            writeln!(f, "# computed   = reused   ~ approximated   . not reached")
        }
    }
}
