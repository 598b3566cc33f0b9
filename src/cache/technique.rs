//! What a caching technique is to the rest of the library, and the list of those there are.

use super::callbacks::{Asker, StepCallback};
use super::faster_cache::FasterCache;
use super::field::Value;
use super::kept::KeptOutputs;
use super::layer_selection::Kind;
use super::pyramid_attention_broadcast::PyramidAttentionBroadcast;
use super::schedule::{At, Circumstances, Decision, HistoryRule};
use super::stats::LayerState;
use super::storage::Ledger;
use super::{RunCache, RunShape};
use crate::Result;
use std::fmt::Debug;

/// A technique with its settings.
pub(super) trait Technique: Debug + Send + Sync {
    /// What messages and statistics call it.
    fn name(&self) -> &'static str;

    /// Sets a field by diffusers' name for it; `Ok(false)` if the technique has no such field.
    fn set(&mut self, field: &str, value: Value) -> Result<bool>;

    /// Its fields and their values.
    fn settings(&self) -> serde_json::Value;

    fn boxed(&self) -> Box<dyn Technique>;

    /// The kinds of attention it tells apart. A kind's place in this list is its place in
    /// [`Decision::reuse`].
    fn kinds(&self) -> Vec<Kind<'_>>;

    /// What a host should know of its settings: said once per run through the log.
    fn remarks(&self) -> Vec<String>;

    /// The host's own timestep, asked for once per step instead of taking the pipeline's.
    fn timestep_callback(&self) -> Option<&StepCallback>;

    /// What a step does. Pure, so that a run can be told before it is run.
    fn decide(&self, at: &At, circumstances: Circumstances) -> Decision;

    /// Which outputs of a layer are remembered.
    fn history(&self, guided: bool) -> HistoryRule;

    /// What a layer is said to have been that was not computed.
    fn reuse_state(&self) -> LayerState;

    /// Bytes that it keeps per run beside the layers' outputs.
    fn other_bytes(&self, shape: &RunShape) -> Result<u64>;

    /// Starts a run. What is decided and kept is in `kept`.
    fn start(&self, kept: KeptOutputs, context: RunContext) -> Box<dyn RunCache>;
}

/// What a technique's run has at hand beside the outputs kept.
#[derive(Clone)]
pub(super) struct RunContext {
    pub layers: Vec<String>,
    pub guided: bool,
    pub asker: Asker,
    pub ledger: Ledger,
}

/// One entry of the list of techniques.
pub(super) struct Registered {
    /// What `--cache` and presets call it.
    pub id: &'static str,
    /// Makes it with the settings of one of `presets`; the first is the default.
    pub preset: fn(&str) -> Option<Box<dyn Technique>>,
    pub presets: &'static [&'static str],
}

/// Every technique there is.
pub(super) const TECHNIQUES: [Registered; 2] = [
    Registered {
        id: "pab",
        preset: |name| Some(Box::new(PyramidAttentionBroadcast::preset(name)?)),
        presets: PyramidAttentionBroadcast::PRESETS,
    },
    Registered {
        id: "faster_cache",
        preset: |name| Some(Box::new(FasterCache::preset(name)?)),
        presets: FasterCache::PRESETS,
    },
];
