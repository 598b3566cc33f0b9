//! The unconditional half of the guidance: when it is skipped, and how it is rebuilt from the
//! conditional one. FasterCache does this beside its attention; CFG-Cache does nothing else.

use super::frequency::{Disc, FrequencyDelta};
use crate::cache::callbacks::{HostCallbacks, StepCallback};
use crate::cache::run_info::{RunInfo, Step};
use crate::cache::schedule::Window;
use crate::cache::store::{bytes_of, MemoryCounter};
use crate::guidance::GuidanceBatch;
use crate::{Error, Result};
use tch::{Kind, Tensor};

/// The fields of diffusers' `FasterCacheConfig` that speak of the unconditional half.
#[derive(Debug, Clone)]
pub(in crate::cache::techniques) struct UnconditionalSettings {
    pub unconditional_batch_skip_range: u32,
    pub unconditional_batch_timestep_skip_range: Window,
    pub low_frequency_weight_update_timestep_range: Window,
    pub high_frequency_weight_update_timestep_range: Window,
    pub alpha_low_frequency: f64,
    pub alpha_high_frequency: f64,
    pub low_frequency_weight_callback: Option<StepCallback>,
    pub high_frequency_weight_callback: Option<StepCallback>,
    /// What the first step counts as where a step's number is divided by a skip range.
    pub first_step_number: u32,
}

impl UnconditionalSettings {
    /// The defaults of `FasterCacheConfig`.
    pub fn of_diffusers() -> UnconditionalSettings {
        UnconditionalSettings {
            unconditional_batch_skip_range: 5,
            unconditional_batch_timestep_skip_range: Window::Timesteps { low: -1, high: 641 },
            low_frequency_weight_update_timestep_range: Window::Timesteps { low: 99, high: 901 },
            high_frequency_weight_update_timestep_range: Window::Timesteps { low: -1, high: 301 },
            alpha_low_frequency: 1.1,
            alpha_high_frequency: 1.1,
            low_frequency_weight_callback: None,
            high_frequency_weight_callback: None,
            first_step_number: 0,
        }
    }

    /// Those of diffusers' caching guide.
    pub fn of_diffusers_docs() -> UnconditionalSettings {
        UnconditionalSettings {
            unconditional_batch_timestep_skip_range: Window::Timesteps { low: -1, high: 781 },
            ..UnconditionalSettings::of_diffusers()
        }
    }

    /// Those of the authors' script, which counts its steps from 1.
    pub fn official() -> UnconditionalSettings {
        let steps = |from, to| Window::Steps { from, to, of: 50 };
        UnconditionalSettings {
            unconditional_batch_timestep_skip_range: steps(18, 50),
            low_frequency_weight_update_timestep_range: steps(1, 40),
            high_frequency_weight_update_timestep_range: steps(30, 50),
            first_step_number: 1,
            ..UnconditionalSettings::of_diffusers()
        }
    }

    /// The step is due to be computed by its number.
    pub fn due(&self, step: &Step, skip_range: u32) -> bool {
        (step.index as u64 + u64::from(self.first_step_number)).is_multiple_of(skip_range.into())
    }

    /// The step runs the conditional half alone (diffusers 0.42.1 hooks/faster_cache.py:276).
    pub fn skips(&self, step: &Step) -> bool {
        step.index > 0
            && self.unconditional_batch_timestep_skip_range.contains(step)
            && !self.due(step, self.unconditional_batch_skip_range)
    }

    /// What rebuilding keeps: two float32 bands of the model's output. 0 without sizes.
    pub fn bytes(run: &RunInfo) -> Result<u64> {
        match &run.sizes {
            Some(sizes) => Ok(bytes_of(&sizes.output, Kind::Float)?.saturating_mul(2)),
            None => Ok(0),
        }
    }
}

/// The unconditional half during a run.
pub(in crate::cache::techniques) struct Unconditional {
    settings: UnconditionalSettings,
    batch: GuidanceBatch,
    callbacks: HostCallbacks,
    memory: MemoryCounter,
    delta: Option<FrequencyDelta>,
    /// Made at the first step that it is needed in.
    disc: Option<Disc>,
}

impl Unconditional {
    pub fn new(
        settings: UnconditionalSettings,
        batch: GuidanceBatch,
        callbacks: HostCallbacks,
        memory: MemoryCounter,
    ) -> Unconditional {
        Unconditional { settings, batch, callbacks, memory, delta: None, disc: None }
    }

    /// Both halves ran and gave `output`; `keep` says whether a later step rebuilds from it.
    pub fn computed(&mut self, output: &Tensor, keep: bool) -> Result<()> {
        // The old bands go first, so that two deltas are never there together.
        self.delta = None;
        if keep {
            let (unconditional, conditional) = self.batch.split(output)?;
            let disc = match self.disc.take() {
                Some(disc) => disc,
                None => Disc::of(&conditional)?,
            };
            let disc = self.disc.insert(disc);
            self.delta =
                Some(FrequencyDelta::split(&unconditional, &conditional, disc, &self.memory)?);
        }
        Ok(())
    }

    /// The output of both halves from that of the conditional one, in a step that is `own` by
    /// the pipeline's timestep and `step` by the one that decides; `keep` as above.
    pub fn rebuild(
        &mut self,
        conditional: &Tensor,
        own: &Step,
        step: &Step,
        keep: bool,
    ) -> Result<Tensor> {
        let settings = &self.settings;
        // The gain of one band in this step (diffusers 0.42.1 hooks/faster_cache.py:539, 554).
        let gain = |name: &str, callback: &Option<StepCallback>, window: Window, alpha: f64| {
            match callback {
                Some(callback) => self.callbacks.step_weight(name, callback, own),
                None if window.contains(step) => Ok(alpha),
                None => Ok(1.0),
            }
        };
        let low = gain(
            "low_frequency_weight_callback",
            &settings.low_frequency_weight_callback,
            settings.low_frequency_weight_update_timestep_range,
            settings.alpha_low_frequency,
        )?;
        let high = gain(
            "high_frequency_weight_callback",
            &settings.high_frequency_weight_callback,
            settings.high_frequency_weight_update_timestep_range,
            settings.alpha_high_frequency,
        )?;
        let delta = self.delta.as_mut().ok_or_else(|| {
            Error::Internal("cache: nothing to rebuild the unconditional half from".into())
        })?;
        let unconditional = delta.rebuild(conditional, low, high)?;
        if !keep {
            self.delta = None;
        }
        self.batch.join(&unconditional, conditional)
    }
}
