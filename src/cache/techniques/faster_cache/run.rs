//! A run of FasterCache: what [`super::FasterCache`] decides, carried out on tensors.
//!
//! Attention: `newer + (newer - older) * weight` (diffusers 0.42.1 hooks/faster_cache.py:405).
//! The unconditional half: [`super::frequency`].

use super::unconditional::Unconditional;
use super::FasterCacheSchedule;
use crate::cache::callbacks::HostCallbacks;
use crate::cache::forward::{ForwardCache, Module, RunCache, StepAction, Substitute};
use crate::cache::report::LayerState;
use crate::cache::run_info::Step;
use crate::cache::schedule::{AttentionPlan, AttentionSchedule};
use crate::cache::store::{AttentionHistory, Past};
use crate::cache::technique::RunContext;
use crate::guidance::{Branches, GuidanceBatch};
use crate::{Error, Result};
use tch::Tensor;

/// One run.
pub(super) struct Extrapolation {
    schedule: FasterCacheSchedule,
    /// For each step whether its successor runs the conditional half alone; where the host
    /// decides, whether there is a successor.
    rebuild_follows: Vec<bool>,
    history: AttentionHistory,
    layers: Vec<String>,
    batch: GuidanceBatch,
    callbacks: HostCallbacks,
    unconditional: Unconditional,
    now: Option<Now>,
}

/// The step under way.
#[derive(Clone, Copy)]
struct Now {
    /// With the pipeline's own timestep, for the host's callbacks.
    own: Step,
    /// With the timestep that decides.
    step: Step,
    branches: Branches,
}

impl Extrapolation {
    pub fn new(
        schedule: FasterCacheSchedule,
        plan: AttentionPlan,
        context: RunContext<'_>,
    ) -> Extrapolation {
        let later = plan.steps.iter().skip(1);
        let rebuild_follows = later
            .map(|next| !plan.foreseen || next.branches == Branches::ConditionalOnly)
            .chain([false])
            .collect();
        let unconditional = Unconditional::new(
            schedule.settings.unconditional.clone(),
            context.run.batch,
            context.callbacks.clone(),
            context.memory.clone(),
        );
        Extrapolation {
            schedule,
            rebuild_follows,
            history: AttentionHistory::new(plan, context.memory, context.team),
            layers: context.run.layers.clone(),
            batch: context.run.batch,
            callbacks: context.callbacks,
            unconditional,
            now: None,
        }
    }

    fn now(&self) -> Result<Now> {
        self.now.ok_or_else(|| Error::Internal("cache: no step has begun".into()))
    }

    /// The next step may run the conditional half alone.
    fn rebuild_follows(&self) -> Result<bool> {
        let index = self.now()?.step.index;
        Ok(self.rebuild_follows.get(index).copied().unwrap_or(false))
    }

    fn attention_weight(&self, layer: usize) -> Result<f64> {
        let settings = &self.schedule.settings;
        match &settings.attention_weight_callback {
            None => Ok(settings.attention_weight),
            Some(callback) => {
                let name = self.layers.get(layer).map_or("", String::as_str);
                self.callbacks.layer_weight(callback, layer, name, &self.now()?.own)
            }
        }
    }
}

impl ForwardCache for Extrapolation {
    fn module(&mut self, block: usize, module: Module) -> Result<Option<Substitute>> {
        if module != Module::Attention {
            return Ok(None);
        }
        if !self.history.reuses(block) {
            // Also what it kept and nobody needs goes then.
            self.history.past(block)?;
            return Ok(None);
        }
        let weight = self.attention_weight(block)?;
        // newer + (newer - older) * weight, in one pass over memory.
        let extrapolated = |past: &Past| Ok(past.older.f_lerp(&past.newer, 1.0 + weight)?);
        if let Some(value) = self.history.apart(block, false, extrapolated)? {
            return Ok(Some(Substitute { value, state: LayerState::Approximated }));
        }
        let Some(past) = self.history.past(block)? else { return Ok(None) };
        let output = extrapolated(&past)?;
        let unconditional = match &past.difference {
            Some(difference) => Some(output.f_add(difference)?),
            None => None,
        };
        drop(past);
        self.history.reused(block, &output)?;
        let value = match unconditional {
            Some(unconditional) => self.batch.join(&unconditional, &output)?,
            None => output,
        };
        Ok(Some(Substitute { value, state: LayerState::Approximated }))
    }

    fn module_computed(&mut self, block: usize, module: Module, output: &Tensor) -> Result<()> {
        match module {
            Module::Attention => self.history.computed(block, output),
            Module::FeedForward => Ok(()),
        }
    }
}

impl RunCache for Extrapolation {
    fn begin_step(&mut self, own: &Step) -> Result<StepAction> {
        let step = self.callbacks.timestep(self.schedule.timestep_callback(), own)?;
        let plan = self.schedule.plan(&step);
        let branches = plan.branches;
        self.history.begin(&step, plan)?;
        self.now = Some(Now { own: *own, step, branches });
        Ok(StepAction::Run(branches))
    }

    fn end_step(&mut self, output: Tensor) -> Result<Tensor> {
        if !self.schedule.halves {
            return Ok(output);
        }
        let (now, keep) = (self.now()?, self.rebuild_follows()?);
        if now.branches == Branches::ConditionalOnly {
            return self.unconditional.rebuild(&output, &now.own, &now.step, keep);
        }
        self.unconditional.computed(&output, keep)?;
        Ok(output)
    }
}
