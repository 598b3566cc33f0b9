//! A run's cache.

use super::callbacks::HostCallbacks;
use super::config::CacheConfig;
use super::forward::{ComputeAll, RunCache};
use super::report::{Recorder, SharedStats};
use super::run_info::RunInfo;
use super::store::MemoryCounter;
use super::technique::RunContext;
use crate::parallel::Team;
use crate::runtime::{Control, LogLevel};
use crate::Result;
use std::sync::Arc;

/// A run's cache, and its statistics, which outlive it.
pub struct Run {
    /// Everything the run keeps; dropping it releases all of it.
    pub cache: Box<dyn RunCache>,
    pub stats: SharedStats,
}

/// Starts a run of `team`, whose sizes are known, with the cache that `config` describes, or with
/// none.
pub fn start(
    config: Option<&CacheConfig>,
    run: &RunInfo,
    team: &Arc<Team>,
    control: &Control,
) -> Result<Run> {
    let sizes = run.sizes()?;
    let memory = MemoryCounter::default();
    let (technique, cached): (Box<dyn RunCache>, _) = match config {
        None => (Box::new(ComputeAll), None),
        Some(config) => {
            let technique = config.technique.as_ref();
            let forecast = technique.forecast(run, &config.storage)?;
            for remark in technique.remarks() {
                control.log(LogLevel::Info, remark);
            }
            let over_budget = forecast.names_over_budget(run);
            if !over_budget.is_empty() {
                control.log(
                    LogLevel::Info,
                    format!(
                        "max_cache_bytes: {} of {} layers fit; the others compute",
                        run.layers.len() - over_budget.len(),
                        run.layers.len()
                    ),
                );
            }
            let context = RunContext {
                run,
                storage: config.storage,
                callbacks: HostCallbacks {
                    control: control.clone(),
                    num_train_timesteps: run.num_train_timesteps,
                    team: Arc::clone(team),
                },
                memory: memory.clone(),
                team: Arc::clone(team),
            };
            let cached = (technique.name(), config.settings(), over_budget);
            (technique.start(context)?, Some(cached))
        }
    };
    let stats = SharedStats::new(cached, run, memory.counts());
    let cache = Recorder::new(technique, run, sizes.device, stats.clone());
    Ok(Run { cache: Box::new(cache), stats })
}
