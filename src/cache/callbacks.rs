//! What a host may answer while a run goes on, and what its answers must be.
//!
//! Every callback runs on the thread that generates. It is asked as rarely as the technique
//! allows: the timestep and the frequency weights once per step, the attention weight once per
//! layer that is approximated. An answer that can't be used ends the run with
//! [`Error::CallbackFailed`]; a cancel token that the callback has cancelled ends it with
//! [`Error::Cancelled`], whatever it answered.

use super::Step;
use crate::runtime::Control;
use crate::{Error, Result};
use serde::{Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

/// What a callback that is asked once per step is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepInfo {
    /// 0-based.
    pub step: usize,
    /// How many steps the run has.
    pub steps: usize,
    /// The pipeline's own timestep of this step: what `pipe.current_timestep` is in diffusers.
    pub timestep: i64,
}

/// What the attention weight callback is told. diffusers hands its callback the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerInfo<'a> {
    /// 0-based position of the layer in the transformer.
    pub layer: usize,
    /// Its checkpoint name, such as `transformer_blocks.0.attn1`.
    pub name: &'a str,
    pub step: StepInfo,
}

type StepFn = dyn Fn(&StepInfo) -> f64 + Send + Sync;
type LayerFn = dyn Fn(&LayerInfo<'_>) -> f64 + Send + Sync;

/// A callback that is asked once per step: the current timestep, or a frequency's weight.
#[derive(Clone)]
pub struct StepCallback(Arc<StepFn>);

/// A callback that is asked once per approximated layer: the attention weight.
#[derive(Clone)]
pub struct LayerCallback(Arc<LayerFn>);

impl StepCallback {
    pub fn new(answer: impl Fn(&StepInfo) -> f64 + Send + Sync + 'static) -> StepCallback {
        StepCallback(Arc::new(answer))
    }
}

impl LayerCallback {
    pub fn new(answer: impl Fn(&LayerInfo<'_>) -> f64 + Send + Sync + 'static) -> LayerCallback {
        LayerCallback(Arc::new(answer))
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

impl Serialize for StepCallback {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str("callback")
    }
}

impl Serialize for LayerCallback {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str("callback")
    }
}

/// How a run puts its questions: what the answers are checked against.
#[derive(Clone)]
pub(super) struct Asker {
    pub control: Control,
    /// The scheduler's `num_train_timesteps`; timesteps lie in `[0, num_train_timesteps)`.
    pub num_train_timesteps: i64,
}

impl Asker {
    /// The host's timestep of `step`; the pipeline's own where there is no callback.
    pub fn timestep(&self, callback: Option<&StepCallback>, step: Step) -> Result<f64> {
        let Some(callback) = callback else { return Ok(step.timestep as f64) };
        let answer = (callback.0)(&info(step));
        self.control.check()?;
        if !answer.is_finite() || answer < 0.0 || answer >= self.num_train_timesteps as f64 {
            return Err(Error::CallbackFailed(format!(
                "current_timestep_callback at step {} of {}: expected a timestep in [0, {}), \
                 found {answer}",
                step.index, step.total, self.num_train_timesteps
            )));
        }
        Ok(answer)
    }

    /// A weight of a whole step; `name` is the field that holds the callback.
    pub fn step_weight(&self, name: &str, callback: &StepCallback, step: Step) -> Result<f64> {
        let answer = (callback.0)(&info(step));
        self.control.check()?;
        if !answer.is_finite() {
            return Err(Error::CallbackFailed(format!(
                "{name} at step {} of {}: expected a finite weight, found {answer}",
                step.index, step.total
            )));
        }
        Ok(answer)
    }

    /// The attention weight of one layer.
    pub fn layer_weight(
        &self,
        callback: &LayerCallback,
        layer: usize,
        name: &str,
        step: Step,
    ) -> Result<f64> {
        let answer = (callback.0)(&LayerInfo { layer, name, step: info(step) });
        self.control.check()?;
        if !answer.is_finite() {
            return Err(Error::CallbackFailed(format!(
                "attention_weight_callback for layer {layer} ({name}) at step {} of {}: expected \
                 a finite weight, found {answer}",
                step.index, step.total
            )));
        }
        Ok(answer)
    }
}

fn info(step: Step) -> StepInfo {
    StepInfo { step: step.index, steps: step.total, timestep: step.timestep }
}
