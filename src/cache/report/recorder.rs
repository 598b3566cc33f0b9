//! Stands between the model and a technique and writes down what happens; a run without a
//! technique is one that computes everything.

use super::clock::Clock;
use super::stats::SharedStats;
use super::trace::{LayerState, StepTrace, Unconditional};
use crate::cache::forward::{BlockAction, ForwardCache, Module, RunCache, StepAction, Substitute};
use crate::cache::run_info::{RunInfo, Step};
use crate::guidance::Branches;
use crate::{Error, Result};
use tch::{Device, Tensor};

pub(in crate::cache) struct Recorder {
    technique: Box<dyn RunCache>,
    guided: bool,
    layers: usize,
    /// The pipeline's own timesteps.
    timesteps: Vec<i64>,
    stats: SharedStats,
    clock: Clock,
}

impl Recorder {
    pub fn new(
        technique: Box<dyn RunCache>,
        run: &RunInfo,
        device: Device,
        stats: SharedStats,
    ) -> Recorder {
        Recorder {
            technique,
            guided: run.batch.guided,
            layers: run.layers.len(),
            timesteps: run.timesteps.clone(),
            stats,
            clock: Clock::new(device),
        }
    }

    /// Writes down what `layers` of this step were.
    fn note(&self, layers: std::ops::Range<usize>, state: LayerState) {
        self.stats.edit(|stats| {
            let step = stats.trace.steps.last_mut();
            if let Some(states) = step.and_then(|step| step.layers.get_mut(layers)) {
                states.fill(Some(state));
            }
        });
    }

    /// The feed-forward layer of a block that runs was not computed.
    fn feed_forward_saved(&self, block: usize) {
        self.stats.edit(|stats| {
            let step = stats.trace.steps.last_mut();
            if let Some(state) = step.and_then(|step| step.layers.get_mut(block)) {
                *state = Some(match state {
                    Some(LayerState::Computed) => LayerState::FeedForwardPredicted,
                    _ => LayerState::Predicted,
                });
            }
        });
    }

    fn begin(&self, step: &Step, unconditional: Unconditional, layers: Option<LayerState>) {
        let timestep = self.timesteps.get(step.index).copied().unwrap_or_default();
        self.stats.edit(|stats| {
            let layers = vec![layers; self.layers];
            stats.trace.steps.push(StepTrace { timestep, unconditional, layers });
        });
    }
}

impl ForwardCache for Recorder {
    fn block(&mut self, block: usize, x: &Tensor) -> Result<BlockAction> {
        let action = self.technique.block(block, x)?;
        if let BlockAction::Skip { to, residual } = &action {
            if *to <= block || *to > self.layers {
                return Err(Error::Internal(format!(
                    "cache: skip from block {block} to {to}, of {}",
                    self.layers
                )));
            }
            self.note(block..*to, residual.state);
            self.clock.not_computed();
        }
        Ok(action)
    }

    fn block_computed(&mut self, block: usize, x: &Tensor) -> Result<()> {
        self.technique.block_computed(block, x)
    }

    fn module(&mut self, block: usize, module: Module) -> Result<Option<Substitute>> {
        let found = self.technique.module(block, module)?;
        match (&found, module) {
            (Some(substitute), Module::Attention) => {
                self.note(block..block + 1, substitute.state);
                self.clock.not_computed();
            }
            (None, Module::Attention) => {
                self.note(block..block + 1, LayerState::Computed);
                self.clock.attention_starts()?;
            }
            (Some(_), Module::FeedForward) => {
                self.feed_forward_saved(block);
                self.clock.not_computed();
            }
            (None, Module::FeedForward) => {}
        }
        Ok(found)
    }

    fn module_computed(&mut self, block: usize, module: Module, output: &Tensor) -> Result<()> {
        if module == Module::Attention {
            self.clock.attention_ends()?;
        }
        self.technique.module_computed(block, module, output)
    }
}

impl RunCache for Recorder {
    fn begin_step(&mut self, step: &Step) -> Result<StepAction> {
        let action = self.technique.begin_step(step)?;
        match &action {
            StepAction::Run(branches) => {
                self.begin(step, Unconditional::of(self.guided, *branches), None);
                self.clock.step_starts(step.index, *branches == Branches::All)?;
            }
            StepAction::Predicted(_) => {
                let unconditional = Unconditional::predicted(self.guided);
                self.begin(step, unconditional, Some(LayerState::Predicted));
                self.clock.not_computed();
            }
        }
        Ok(action)
    }

    fn end_step(&mut self, output: Tensor) -> Result<Tensor> {
        if let Some(share) = self.clock.step_ends()? {
            self.stats.edit(|stats| stats.attention_share = Some(share));
        }
        let output = self.technique.end_step(output)?;
        if let Some(measured) = self.technique.measured() {
            self.stats.edit(|stats| stats.measured = measured);
        }
        Ok(output)
    }
}
