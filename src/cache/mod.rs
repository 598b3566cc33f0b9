//! Training-free caching: the cache decides, the model asks.
//!
//! The transformer asks once per layer whether to compute attention or to take what the
//! cache hands it ([`LayerCache`]); the denoising loop asks once per step whether the
//! unconditional half of the guidance batch must run ([`RunCache`]). No technique's name
//! appears outside this folder and the setters of `capi`.
//!
//! # How it fits together
//!
//! A [`CacheConfig`] is a technique with its settings. When a run starts, the settings meet the
//! run's layers, timesteps and sizes and become a plan (`plan`): which layers are selected
//! (`layer_selection`), what each step does (`schedule`), how long each output is needed, and
//! how many bytes that takes. [`start`] makes the run's cache from it: a technique's own object,
//! which keeps outputs through `kept` and `storage`, inside a `recorder` that writes the
//! statistics. The run's cache dies with the run, however the run ends, so nothing of one run
//! can reach another. [`CacheConfig::preview`] makes the same plan and prints it.
//!
//! # Adding a technique
//!
//! 1. One new file here, with a struct of its settings that implements
//!    `technique::Technique`: its fields by name (`set`), which modules it selects (`kinds`),
//!    what each step does (`decide`, a pure function of step, timestep and settings), what it
//!    remembers of a layer (`history`), and an object for a run that implements [`RunCache`].
//!    That object gets a `KeptOutputs`, which already knows the schedule and what to keep:
//!    `pyramid_attention_broadcast` needs nothing else.
//! 2. One entry in `technique::TECHNIQUES`: its id and its presets.
//! 3. Setters in `capi::cache_fields` for fields whose names are new, and a constructor beside
//!    those of `capi::cache_config` if it should have one of its own.

mod callbacks;
mod config;
mod cost;
mod extrapolation;
mod faster_cache;
mod field;
mod frequency;
mod kept;
mod layer_selection;
mod plan;
mod pyramid_attention_broadcast;
mod recorder;
mod schedule;
mod stats;
mod storage;
mod technique;
#[cfg(test)]
mod testing;
mod trace;

pub use callbacks::{LayerCallback, LayerInfo, StepCallback, StepInfo};
pub use config::{start, CacheConfig, Run, StorageOptions};
pub use cost::{AttentionShare, ShareSource, Units};
pub use field::Value;
pub use stats::{CacheStats, Preview, SharedStats};
pub use trace::{LayerCounts, LayerState, StepTrace, Trace, Unconditional};

use crate::Result;
use tch::{Device, Kind, Tensor};

/// The steps and layers of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// The attention modules in the order in which the model asks, by their checkpoint names.
    pub layers: Vec<String>,
    /// The pipeline's timesteps, in the order of the steps.
    pub timesteps: Vec<i64>,
    /// Classifier-free guidance is on: the transformer's batch is
    /// `[unconditional; conditional]`.
    pub guided: bool,
}

impl Course {
    /// A run of a published CogVideoX model: its layers' names, and 1000 training timesteps with
    /// "trailing" spacing (diffusers 0.42.1 schedulers/scheduling_ddim_cogvideox.py:319), which
    /// rounds halves to even.
    pub fn of_published_models(layers: usize, steps: usize, guided: bool) -> Course {
        const TRAIN: f64 = 1000.0;
        let spacing = TRAIN / steps.max(1) as f64;
        let timestep = |i| (TRAIN - i as f64 * spacing).round_ties_even() as i64 - 1;
        Course {
            layers: (0..layers).map(|i| format!("transformer_blocks.{i}.attn1")).collect(),
            timesteps: (0..steps).map(timestep).collect(),
            guided,
        }
    }
}

/// A run as a cache needs to know it.
#[derive(Debug, Clone, PartialEq)]
pub struct RunShape {
    pub course: Course,
    /// Videos per call: the transformer's batch is this, or twice this with guidance.
    pub videos: i64,
    /// Text and video tokens of one sequence.
    pub tokens: i64,
    /// Values per token.
    pub width: i64,
    /// The dtype of the attention modules' outputs.
    pub dtype: Kind,
    /// Where they are.
    pub device: Device,
    /// The transformer's output without guidance:
    /// `(videos, frames, channels, height, width)`.
    pub output: Vec<i64>,
    /// The scheduler's; timesteps lie in `[0, num_train_timesteps)`.
    pub num_train_timesteps: i64,
}

/// What a layer does about its attention module in this step.
pub enum Attention {
    /// Run it, and hand the output to [`LayerCache::computed`] if `keep`.
    Compute { keep: bool },
    /// Use this as the module's output; nothing that only feeds the module need run. The
    /// cache may hold the same storage: it must not be written to.
    Reuse(Tensor),
}

/// What the transformer sees of a cache. Outputs are those of the whole attention module
/// (after its output projection, before the gate): shape `(batch, text + video tokens, width)`,
/// where `batch` is the batch of this call.
pub trait LayerCache {
    /// Asked once per layer and call, in the order of the layers.
    fn attention(&mut self, layer: usize) -> Result<Attention>;
    /// Told what `layer` computed, if it was asked to keep it.
    fn computed(&mut self, layer: usize, output: &Tensor) -> Result<()>;
}

/// Which halves of the guidance batch `[unconditional; conditional]` the transformer runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Branches {
    /// The whole batch (also: guidance is off and there is only one half).
    All,
    /// The conditional half alone; [`RunCache::end_step`] rebuilds the other.
    ConditionalOnly,
}

/// One denoising step as a cache sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// 0-based, and how many there are.
    pub index: usize,
    pub total: usize,
    /// The pipeline's own timestep, in `[0, num_train_timesteps)`.
    pub timestep: i64,
}

/// A cache during one run. It is made when the run starts and dropped when it ends, however
/// it ends, so nothing of one run can reach another.
pub trait RunCache: LayerCache {
    /// Called before the transformer runs; decides the whole step in host integers.
    fn begin_step(&mut self, step: Step) -> Result<Branches>;
    /// Called with the transformer's output `(batch, frames, channels, height, width)` of the
    /// branches that ran; answers the output of all branches.
    fn end_step(&mut self, output: Tensor) -> Result<Tensor>;
}
