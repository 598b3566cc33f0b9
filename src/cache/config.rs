//! What a host configures and enables.

use super::callbacks::Asker;
use super::cost::AttentionShare;
use super::field::Value;
use super::kept::KeptOutputs;
use super::plan::Plan;
use super::recorder::Recorder;
use super::stats::{Preview, SharedStats};
use super::storage::Ledger;
use super::technique::{Registered, RunContext, Technique, TECHNIQUES};
use super::{layer_selection, Course, RunCache, RunShape};
use crate::runtime::{Control, DType, LogLevel};
use crate::{Error, Result};

/// How outputs are kept, whatever the technique.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StorageOptions {
    /// The most bytes that a run may keep; layers that don't fit compute. Default: no limit.
    pub max_cache_bytes: Option<u64>,
    /// The dtype of kept outputs. Default: what the model computes in. float16 halves float32's
    /// bytes; its values end at 65504, where bfloat16 keeps float32's range.
    pub cache_dtype: Option<DType>,
}

/// A caching technique with its settings. Cheap to clone; callbacks are shared.
#[derive(Debug)]
pub struct CacheConfig {
    technique: Box<dyn Technique>,
    pub storage: StorageOptions,
}

impl Clone for CacheConfig {
    fn clone(&self) -> Self {
        CacheConfig { technique: self.technique.boxed(), storage: self.storage }
    }
}

impl CacheConfig {
    /// `technique`: "pab" or "faster_cache", with the settings of one of its presets
    /// ([`CacheConfig::presets`]); no preset means "diffusers", the defaults of diffusers 0.42.1.
    pub fn new(technique: &str, preset: Option<&str>) -> Result<CacheConfig> {
        let registered = find(technique)?;
        let preset = preset.or(registered.presets.first().copied()).unwrap_or("");
        let technique = (registered.preset)(preset).ok_or_else(|| {
            Error::InvalidArgument(format!(
                "preset: expected one of {:?} for {technique}, found {preset:?}",
                registered.presets
            ))
        })?;
        Ok(CacheConfig { technique, storage: StorageOptions::default() })
    }

    /// The techniques there are.
    pub fn techniques() -> Vec<&'static str> {
        TECHNIQUES.iter().map(|registered| registered.id).collect()
    }

    /// The presets of a technique, the default first.
    pub fn presets(technique: &str) -> Result<&'static [&'static str]> {
        Ok(find(technique)?.presets)
    }

    pub fn technique_name(&self) -> &'static str {
        self.technique.name()
    }

    /// Sets a field by its name in diffusers' config of the technique.
    pub fn set(&mut self, field: &str, value: Value) -> Result<()> {
        if self.technique.set(field, value)? {
            return Ok(());
        }
        Err(Error::InvalidArgument(format!("{} has no field {field}", self.technique.name())))
    }

    /// The technique's fields and their values.
    pub fn settings(&self) -> serde_json::Value {
        self.technique.settings()
    }

    /// Checks the settings against a model's attention modules: [`Error::InvalidArgument`] if
    /// identifiers select none of them.
    pub fn validate(&self, layers: &[String]) -> Result<()> {
        layer_selection::select(&self.technique.kinds(), layers).map(drop)
    }

    /// What a run will be, by the code that runs it. With `shape` also the bytes, and the
    /// budget's effect. `share` is attention's part of a full step, from an earlier run's
    /// statistics; without it, it is estimated where `shape` is known.
    pub fn preview(
        &self,
        course: &Course,
        shape: Option<&RunShape>,
        share: Option<AttentionShare>,
    ) -> Result<Preview> {
        let technique = self.technique.as_ref();
        let plan = Plan::new(technique, course, shape, self.storage)?;
        Ok(Preview::new(technique, &plan, course, shape, share))
    }
}

fn find(technique: &str) -> Result<&'static Registered> {
    TECHNIQUES.iter().find(|registered| registered.id == technique).ok_or_else(|| {
        Error::InvalidArgument(format!(
            "cache technique: expected one of {:?}, found {technique:?}",
            CacheConfig::techniques()
        ))
    })
}

/// A run's cache, and its statistics, which outlive it.
pub struct Run {
    /// Everything the run keeps; dropping it releases all of it.
    pub cache: Box<dyn RunCache>,
    pub stats: SharedStats,
}

/// Starts a run with the cache that `config` describes, or with none.
pub fn start(config: Option<&CacheConfig>, shape: &RunShape, control: &Control) -> Result<Run> {
    let course = &shape.course;
    let ledger = Ledger::default();
    let recorder = |technique, stats: &SharedStats| {
        Recorder::new(technique, course.guided, course.layers.len(), shape.device, stats.clone())
    };
    let Some(config) = config else {
        let stats = SharedStats::new(None, shape, ledger);
        return Ok(Run { cache: Box::new(recorder(None, &stats)?), stats });
    };
    let technique = config.technique.as_ref();
    let plan = Plan::new(technique, course, Some(shape), config.storage)?;
    for remark in technique.remarks() {
        control.log(LogLevel::Info, remark);
    }
    if !plan.over_budget.is_empty() {
        control.log(
            LogLevel::Info,
            format!(
                "max_cache_bytes: {} of {} layers fit; the others compute",
                plan.cached.iter().filter(|cached| **cached).count(),
                course.layers.len()
            ),
        );
    }
    let stats = SharedStats::new(Some((technique, &plan)), shape, ledger.clone());
    let asker = Asker { control: control.clone(), num_train_timesteps: shape.num_train_timesteps };
    let context = RunContext {
        layers: course.layers.clone(),
        guided: course.guided,
        asker: asker.clone(),
        ledger: ledger.clone(),
    };
    let kept = KeptOutputs::new(technique.boxed(), plan, asker, ledger);
    let run = technique.start(kept, context);
    let cache = recorder(Some((run, technique.reuse_state())), &stats)?;
    Ok(Run { cache: Box::new(cache), stats })
}
