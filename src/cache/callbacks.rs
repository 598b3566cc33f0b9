//! The host's say while a run goes on, and what its callbacks may return.
//!
//! Every callback runs on the thread that generates. It is called as rarely as the technique
//! allows: the timestep and the frequency weights once per step, the attention weight once per
//! layer that is approximated. A value that can't be used ends the run with
//! [`Error::CallbackFailed`]; a cancel token that the callback has cancelled ends it with
//! [`Error::Cancelled`], whatever it returned.

use super::run_info::Step;
use crate::parallel::{Among, Team};
use crate::runtime::number::Short;
use crate::runtime::Control;
use crate::{Error, Result};
use std::fmt;
use std::sync::Arc;

/// What the attention weight callback is told. diffusers hands its callback the module.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerInfo<'a> {
    /// 0-based position of the layer in the transformer.
    pub layer: usize,
    /// Its checkpoint name, such as `transformer_blocks.0.attn1`.
    pub name: &'a str,
    /// With the pipeline's own timestep.
    pub step: Step,
}

type StepFn = dyn Fn(&Step) -> Result<f64> + Send + Sync;
type LayerFn = dyn Fn(&LayerInfo<'_>) -> Result<f64> + Send + Sync;

/// A callback that is called once per step, with the pipeline's own timestep (what
/// `pipe.current_timestep` is in diffusers): the current timestep, or a frequency's weight.
#[derive(Clone)]
pub struct StepCallback(Arc<StepFn>);

/// A callback that is called once per approximated layer: the attention weight.
#[derive(Clone)]
pub struct LayerCallback(Arc<LayerFn>);

impl StepCallback {
    pub fn new(callback: impl Fn(&Step) -> f64 + Send + Sync + 'static) -> StepCallback {
        StepCallback::fallible(move |step| Ok(callback(step)))
    }

    /// A callback whose error ends the run.
    pub fn fallible(
        callback: impl Fn(&Step) -> Result<f64> + Send + Sync + 'static,
    ) -> StepCallback {
        StepCallback(Arc::new(callback))
    }
}

impl LayerCallback {
    pub fn new(callback: impl Fn(&LayerInfo<'_>) -> f64 + Send + Sync + 'static) -> LayerCallback {
        LayerCallback::fallible(move |layer| Ok(callback(layer)))
    }

    /// A callback whose error ends the run.
    pub fn fallible(
        callback: impl Fn(&LayerInfo<'_>) -> Result<f64> + Send + Sync + 'static,
    ) -> LayerCallback {
        LayerCallback(Arc::new(callback))
    }
}

impl fmt::Debug for StepCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("callback")
    }
}

impl fmt::Debug for LayerCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("callback")
    }
}

/// Calls the host's callbacks during a run and checks what they return.
#[derive(Clone)]
pub(super) struct HostCallbacks {
    pub control: Control,
    /// The scheduler's `num_train_timesteps`; timesteps lie in `[0, num_train_timesteps)`.
    pub num_train_timesteps: i64,
    /// The host is asked on one rank, for all.
    pub team: Arc<Team>,
}

impl HostCallbacks {
    /// `step` with the host's timestep; as it is where there is no callback.
    pub fn timestep(&self, callback: Option<&StepCallback>, step: &Step) -> Result<Step> {
        let Some(callback) = callback else { return Ok(*step) };
        let ask = || (callback.0)(step).map_err(|error| error.context("current_timestep_callback"));
        let timestep = self.team.told_by_first(Among::All, ask)?;
        self.control.check()?;
        if !timestep.is_finite() || timestep < 0.0 || timestep >= self.num_train_timesteps as f64 {
            return Err(Error::CallbackFailed(format!(
                "current_timestep_callback at step {} of {}: expected a timestep in [0, {}), \
                 found {}",
                step.index,
                step.total,
                self.num_train_timesteps,
                Short(timestep)
            )));
        }
        Ok(Step { timestep, ..*step })
    }

    /// A weight of a whole step; `name` is the field that holds the callback.
    pub fn step_weight(&self, name: &str, callback: &StepCallback, step: &Step) -> Result<f64> {
        let ask = || (callback.0)(step).map_err(|error| error.context(name));
        let weight = self.team.told_by_first(Among::All, ask)?;
        self.control.check()?;
        usable(weight, || format!("{name} at step {} of {}", step.index, step.total))
    }

    /// The attention weight of one layer.
    pub fn layer_weight(
        &self,
        callback: &LayerCallback,
        layer: usize,
        name: &str,
        step: &Step,
    ) -> Result<f64> {
        let ask = || {
            (callback.0)(&LayerInfo { layer, name, step: *step })
                .map_err(|error| error.context("attention_weight_callback"))
        };
        let weight = self.team.told_by_first(Among::Running, ask)?;
        self.control.check()?;
        usable(weight, || {
            format!(
                "attention_weight_callback for layer {layer} ({name}) at step {} of {}",
                step.index, step.total
            )
        })
    }
}

/// Weights meet tensors in float32, where larger numbers are infinite.
fn usable(weight: f64, place: impl FnOnce() -> String) -> Result<f64> {
    if (weight as f32).is_finite() {
        return Ok(weight);
    }
    Err(Error::CallbackFailed(format!(
        "{}: expected a finite weight (at most {:e}), found {weight:?}",
        place(),
        f32::MAX
    )))
}
