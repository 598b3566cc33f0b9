//! A run of FasterCache: what [`super::FasterCache`] decides, carried out on tensors.
//!
//! Attention: `newer + (newer - older) * weight` (diffusers 0.42.1 hooks/faster_cache.py:405).
//! The unconditional half: [`super::frequency`].

use super::frequency::{Disc, FrequencyDelta};
use super::FasterCacheSchedule;
use crate::cache::callbacks::{HostCallbacks, StepCallback};
use crate::cache::forward::{ForwardCache, Module, RunCache, StepAction, Substitute};
use crate::cache::report::LayerState;
use crate::cache::run_info::Step;
use crate::cache::schedule::{AttentionPlan, AttentionSchedule, Window};
use crate::cache::store::{AttentionHistory, MemoryCounter};
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
    memory: MemoryCounter,
    now: Option<Now>,
    delta: Option<FrequencyDelta>,
    /// Made at the first full step.
    disc: Option<Disc>,
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
        Extrapolation {
            schedule,
            rebuild_follows,
            history: AttentionHistory::new(plan, context.memory.clone()),
            layers: context.run.layers.clone(),
            batch: context.run.batch,
            callbacks: context.callbacks,
            memory: context.memory,
            now: None,
            delta: None,
            disc: None,
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

    /// The gain of one band in this step (diffusers 0.42.1 hooks/faster_cache.py:539, 554).
    fn band_weight(
        &self,
        name: &str,
        callback: Option<&StepCallback>,
        window: Window,
        alpha: f64,
    ) -> Result<f64> {
        let now = self.now()?;
        match callback {
            Some(callback) => self.callbacks.step_weight(name, callback, &now.own),
            None if window.contains(&now.step) => Ok(alpha),
            None => Ok(1.0),
        }
    }

    /// The output of both halves from that of the conditional one.
    fn rebuild(&mut self, conditional: Tensor) -> Result<Tensor> {
        let settings = &self.schedule.settings;
        let low = self.band_weight(
            "low_frequency_weight_callback",
            settings.low_frequency_weight_callback.as_ref(),
            settings.low_frequency_weight_update_timestep_range,
            settings.alpha_low_frequency,
        )?;
        let high = self.band_weight(
            "high_frequency_weight_callback",
            settings.high_frequency_weight_callback.as_ref(),
            settings.high_frequency_weight_update_timestep_range,
            settings.alpha_high_frequency,
        )?;
        let delta = self.delta.as_mut().ok_or_else(|| {
            Error::Internal("cache: nothing to rebuild the unconditional half from".into())
        })?;
        let unconditional = delta.rebuild(&conditional, low, high)?;
        if !self.rebuild_follows()? {
            self.delta = None;
        }
        self.batch.join(&unconditional, &conditional)
    }
}

impl ForwardCache for Extrapolation {
    fn module(&mut self, block: usize, module: Module) -> Result<Option<Substitute>> {
        if module != Module::Attention {
            return Ok(None);
        }
        let Some(past) = self.history.past(block)? else { return Ok(None) };
        let weight = self.attention_weight(block)?;
        // newer + (newer - older) * weight, in one pass over memory.
        let output = past.older.f_lerp(&past.newer, 1.0 + weight)?;
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
        if self.now()?.branches == Branches::ConditionalOnly {
            return self.rebuild(output);
        }
        // The old bands go first, so that two deltas are never there together.
        self.delta = None;
        if self.rebuild_follows()? {
            let (unconditional, conditional) = self.batch.split(&output)?;
            let disc = match self.disc.take() {
                Some(disc) => disc,
                None => Disc::of(&conditional)?,
            };
            let disc = self.disc.insert(disc);
            self.delta =
                Some(FrequencyDelta::split(&unconditional, &conditional, disc, &self.memory)?);
        }
        Ok(output)
    }
}
