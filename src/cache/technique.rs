//! What a caching technique is to the rest of the library.

use super::callbacks::HostCallbacks;
use super::fields::Field;
use super::forward::RunCache;
use super::report::Forecast;
use super::run_info::RunInfo;
use super::storage_options::StorageOptions;
use super::store::MemoryCounter;
use crate::parallel::Team;
use crate::{Error, Result};
use std::fmt::Debug;
use std::sync::Arc;

/// A technique with its settings.
pub(super) trait Technique: Debug + Send + Sync {
    /// What messages and statistics call it.
    fn name(&self) -> &'static str;

    /// Its fields, by diffusers' names where diffusers has them: the one table that setters,
    /// JSON and statistics work from. One field is one line.
    fn fields(&mut self) -> Vec<Field<'_>>;

    fn boxed(&self) -> Box<dyn Technique>;

    /// Refuses settings that a model with these attention modules can't honour, and those that
    /// would do nothing: a host that enables a cache means something by it.
    fn validate(&self, layers: &[String]) -> Result<()>;

    /// What a host should know of its settings: said once per run through the log.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }

    /// It decides by [`RunInfo::time_embedding_changes`], which take weights to know.
    fn needs_time_embeddings(&self) -> bool {
        false
    }

    /// It can work below a technique of guidance: in steps in which the conditional half alone
    /// runs ([`super::run_info::Step::branches`]), and in those after them that run both. Errors:
    /// [`Error::InvalidArgument`] if these settings can't.
    fn takes_conditional_steps(&self) -> Result<()> {
        Err(Error::InvalidArgument(format!(
            "{} keeps what both halves of the guidance give together, so it can't be used with \
             a technique that runs one of them: expected Pyramid Attention Broadcast, \
             FirstBlockCache or TaylorSeer with use_lite_mode",
            self.name()
        )))
    }

    /// Its outputs are kept as [`StorageOptions`] say, in float8 and in host memory too. Errors:
    /// [`Error::InvalidArgument`] if it keeps them its own way.
    fn takes_any_storage(&self) -> Result<()> {
        Ok(())
    }

    /// The degree of the polynomials that it predicts with; 0: it repeats.
    fn prediction_order(&self) -> usize {
        0
    }

    /// What a run will be, as far as that can be told.
    fn forecast(&self, run: &RunInfo, storage: &StorageOptions) -> Result<Forecast>;

    /// Starts a run, whose sizes are known.
    fn start(&self, context: RunContext<'_>) -> Result<Box<dyn RunCache>>;
}

/// What a technique's run has at hand.
#[derive(Clone)]
pub(super) struct RunContext<'a> {
    pub run: &'a RunInfo,
    pub storage: StorageOptions,
    pub callbacks: HostCallbacks,
    pub memory: MemoryCounter,
    /// The ranks of the run. What is decided by data is decided by all of them.
    pub team: Arc<Team>,
}

/// One entry of the list of techniques.
pub(super) struct Registered {
    /// What configs and presets call it.
    pub id: &'static str,
    /// Makes it with the settings of one of `presets`; the first is the default.
    pub preset: fn(&str) -> Option<Box<dyn Technique>>,
    pub presets: &'static [&'static str],
}
