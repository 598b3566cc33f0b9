//! A run of FasterCache: what [`super::faster_cache`] decides, carried out on tensors.
//!
//! Attention: `newer + (newer - older) * weight` (diffusers 0.42.1 hooks/faster_cache.py:405).
//! The unconditional half: [`super::frequency`].

use super::callbacks::{Asker, StepCallback};
use super::faster_cache::FasterCache;
use super::frequency::FrequencyDelta;
use super::kept::{KeptOutputs, Task};
use super::schedule::{At, Window};
use super::technique::RunContext;
use super::{Attention, Branches, LayerCache, RunCache, Step};
use crate::{Error, Result};
use tch::Tensor;

/// One run.
pub(super) struct Extrapolation {
    settings: FasterCache,
    kept: KeptOutputs,
    context: RunContext,
    halves: bool,
    step: Option<(Step, At)>,
    delta: Option<FrequencyDelta>,
}

impl Extrapolation {
    /// `halves`: the batch has an unconditional half that may be skipped.
    pub fn new(
        settings: FasterCache,
        kept: KeptOutputs,
        context: RunContext,
        halves: bool,
    ) -> Extrapolation {
        Extrapolation { settings, kept, context, halves, step: None, delta: None }
    }

    fn step(&self) -> Result<(Step, At)> {
        self.step.ok_or_else(|| Error::Internal("cache: no step has begun".into()))
    }

    fn asker(&self) -> &Asker {
        &self.context.asker
    }

    fn attention_weight(&self, layer: usize) -> Result<f64> {
        match &self.settings.attention_weight_callback {
            None => Ok(self.settings.attention_weight),
            Some(callback) => {
                let name = self.context.layers.get(layer).map_or("", String::as_str);
                self.asker().layer_weight(callback, layer, name, self.step()?.0)
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
        let (step, at) = self.step()?;
        match callback {
            Some(callback) => self.asker().step_weight(name, callback, step),
            None if window.contains(&at) => Ok(alpha),
            None => Ok(1.0),
        }
    }

    /// The output of both halves from that of the conditional one.
    fn rebuild(&mut self, conditional: Tensor) -> Result<Tensor> {
        let low = self.band_weight(
            "low_frequency_weight_callback",
            self.settings.low_frequency_weight_callback.as_ref(),
            self.settings.low_frequency_weight_update_timestep_range,
            self.settings.alpha_low_frequency,
        )?;
        let high = self.band_weight(
            "high_frequency_weight_callback",
            self.settings.high_frequency_weight_callback.as_ref(),
            self.settings.high_frequency_weight_update_timestep_range,
            self.settings.alpha_high_frequency,
        )?;
        let delta = self.delta.as_mut().ok_or_else(|| {
            Error::Internal("cache: nothing to rebuild the unconditional half from".into())
        })?;
        let unconditional = delta.rebuild(&conditional, low, high)?;
        if !self.kept.rebuild_follows() {
            self.delta = None;
        }
        Ok(Tensor::f_cat(&[unconditional, conditional], 0)?)
    }
}

impl LayerCache for Extrapolation {
    fn attention(&mut self, layer: usize) -> Result<Attention> {
        if let Task::Compute { keep } = self.kept.task(layer)? {
            return Ok(Attention::Compute { keep });
        }
        let weight = self.attention_weight(layer)?;
        let (older, newer) = self.kept.pair(layer, 0)?;
        // newer + (newer - older) * weight, in one pass over memory.
        let output = older.f_lerp(&newer, 1.0 + weight)?;
        let unconditional = if self.kept.both_halves() {
            let (_, difference) = self.kept.pair(layer, 1)?;
            Some(output.f_add(&difference)?)
        } else {
            None
        };
        drop((older, newer));
        self.kept.release(layer);
        self.kept.keep_reused(layer, 0, &output)?;
        Ok(Attention::Reuse(match unconditional {
            Some(unconditional) => Tensor::f_cat(&[unconditional, output], 0)?,
            None => output,
        }))
    }

    fn computed(&mut self, layer: usize, output: &Tensor) -> Result<()> {
        self.kept.keep(layer, output)
    }
}

impl RunCache for Extrapolation {
    fn begin_step(&mut self, step: Step) -> Result<Branches> {
        let (branches, at) = self.kept.begin(step)?;
        self.step = Some((step, at));
        Ok(branches)
    }

    fn end_step(&mut self, output: Tensor) -> Result<Tensor> {
        if !self.halves {
            return Ok(output);
        }
        if self.kept.branches() == Branches::ConditionalOnly {
            return self.rebuild(output);
        }
        // The old bands go first, so that two deltas are never there together.
        self.delta = None;
        if self.kept.rebuild_follows() {
            let half = output.size().first().copied().unwrap_or(0) / 2;
            let unconditional = output.f_narrow(0, 0, half)?;
            let conditional = output.f_narrow(0, half, half)?;
            self.delta =
                Some(FrequencyDelta::split(&unconditional, &conditional, &self.context.ledger)?);
        }
        Ok(output)
    }
}
