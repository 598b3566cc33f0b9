//! CFG-Cache: FasterCache's unconditional half by itself, and above it any technique that can
//! work on half a batch (arXiv 2410.19355 section 3.3; [`super::faster_cache`]).
//!
//! Guidance is settled first: its schedule says which steps run the conditional half alone, and
//! the technique in `with` is told so with every step ([`Step::branches`]). A step that the
//! latter predicts as a whole runs neither half, whatever the guidance's schedule has for it, and
//! the difference between the halves is then the one of the last step that computed both.

use super::faster_cache::{Unconditional, UnconditionalSettings};
use crate::cache::callbacks::StepCallback;
use crate::cache::config::CacheConfig;
use crate::cache::fields::{any_number, Field, Slot};
use crate::cache::forward::{
    BlockAction, ComputeAll, ForwardCache, Module, RunCache, StepAction, Substitute,
};
use crate::cache::report::{Forecast, Foresight, LayerState};
use crate::cache::run_info::{RunInfo, Step};
use crate::cache::storage_options::{CacheLocation, StorageOptions};
use crate::cache::technique::{RunContext, Technique};
use crate::guidance::Branches;
use crate::{Error, Result};
use tch::Tensor;

/// The settings.
#[derive(Debug, Clone)]
pub(super) struct CfgCache {
    settings: UnconditionalSettings,
    current_timestep_callback: Option<StepCallback>,
    with: Option<CacheConfig>,
}

impl CfgCache {
    pub const PRESETS: &'static [&'static str] = &["diffusers", "diffusers-docs", "official"];

    /// What the presets of FasterCache that have these names do to the unconditional half; `with`
    /// is none.
    pub fn preset(name: &str) -> Option<Self> {
        let settings = match name {
            "diffusers" => UnconditionalSettings::of_diffusers(),
            "diffusers-docs" => UnconditionalSettings::of_diffusers_docs(),
            "official" => UnconditionalSettings::official(),
            _ => return None,
        };
        Some(CfgCache { settings, current_timestep_callback: None, with: None })
    }

    fn foreseen(&self) -> bool {
        self.current_timestep_callback.is_none()
    }

    /// The run as the technique in `with` sees it. Errors: [`Error::InvalidArgument`] for a run
    /// that has no half to skip, or in which none would be.
    fn run_below(&self, run: &RunInfo, rebuilds: bool) -> Result<RunInfo> {
        if !run.batch.guided {
            return Err(Error::InvalidArgument(
                "CFG-Cache: expected a guidance scale above 1, found a run without guidance: it \
                 has no unconditional half to skip"
                    .into(),
            ));
        }
        let branches: Vec<Branches> = run
            .steps()
            .map(|step| match rebuilds && self.settings.skips(&step) {
                true => Branches::ConditionalOnly,
                false => Branches::All,
            })
            .collect();
        if rebuilds && self.foreseen() && !branches.contains(&Branches::ConditionalOnly) {
            return Err(Error::InvalidArgument(format!(
                "CFG-Cache: expected settings that skip the unconditional half in a step, found \
                 none of {} steps with unconditional_batch_skip_range {} and \
                 unconditional_batch_timestep_skip_range {}",
                branches.len(),
                self.settings.unconditional_batch_skip_range,
                self.settings.unconditional_batch_timestep_skip_range.to_json(),
            )));
        }
        Ok(RunInfo { branches, ..run.clone() })
    }

    fn plan(&self, run: &RunInfo, storage: &StorageOptions) -> Result<Plan> {
        let bands = UnconditionalSettings::bytes(run)?;
        let rebuilds = bands <= storage.budget();
        let bands = if rebuilds { bands } else { 0 };
        let below = self.run_below(run, rebuilds)?;
        let own = self.with.as_ref().map(|with| with.storage).unwrap_or_default();
        let left = storage.max_cache_bytes.map(|bytes| bytes.saturating_sub(bands));
        let storage = StorageOptions {
            max_cache_bytes: left.into_iter().chain(own.max_cache_bytes).min(),
            cache_dtype: own.cache_dtype.or(storage.cache_dtype),
            cache_location: match own.cache_location {
                CacheLocation::Device => storage.cache_location,
                own => own,
            },
        };
        Ok(Plan { rebuilds, bands, below, storage })
    }
}

struct Plan {
    /// There is room to keep what rebuilding needs.
    rebuilds: bool,
    bands: u64,
    /// The run, and the storage, of the technique in `with`.
    below: RunInfo,
    storage: StorageOptions,
}

impl Technique for CfgCache {
    fn name(&self) -> &'static str {
        "CFG-Cache"
    }

    fn fields(&mut self) -> Vec<Field<'_>> {
        let field = |name, slot| Field { name, slot };
        let settings = &mut self.settings;
        vec![
            field(
                "unconditional_batch_skip_range",
                Slot::SkipRange(&mut settings.unconditional_batch_skip_range),
            ),
            field(
                "unconditional_batch_timestep_skip_range",
                Slot::TimestepRange(&mut settings.unconditional_batch_timestep_skip_range),
            ),
            field(
                "low_frequency_weight_update_timestep_range",
                Slot::TimestepRange(&mut settings.low_frequency_weight_update_timestep_range),
            ),
            field(
                "high_frequency_weight_update_timestep_range",
                Slot::TimestepRange(&mut settings.high_frequency_weight_update_timestep_range),
            ),
            field("alpha_low_frequency", any_number(&mut settings.alpha_low_frequency)),
            field("alpha_high_frequency", any_number(&mut settings.alpha_high_frequency)),
            field(
                "low_frequency_weight_callback",
                Slot::StepCallback(&mut settings.low_frequency_weight_callback),
            ),
            field(
                "high_frequency_weight_callback",
                Slot::StepCallback(&mut settings.high_frequency_weight_callback),
            ),
            field(
                "current_timestep_callback",
                Slot::StepCallback(&mut self.current_timestep_callback),
            ),
            field("first_step_number", Slot::Count(&mut settings.first_step_number, 0, 1)),
            field("with", Slot::Written(&mut self.with)),
        ]
    }

    fn boxed(&self) -> Box<dyn Technique> {
        Box::new(self.clone())
    }

    fn validate(&self, layers: &[String]) -> Result<()> {
        let Some(with) = &self.with else { return Ok(()) };
        with.technique.takes_conditional_steps()?;
        if !self.foreseen() {
            return Err(Error::InvalidArgument(format!(
                "CFG-Cache: expected no current_timestep_callback beside {}, which has to know \
                 ahead which steps run both halves",
                with.technique_name()
            )));
        }
        with.validate(layers)
    }

    fn remarks(&self) -> Vec<String> {
        self.with.as_ref().map(|with| with.technique.remarks()).unwrap_or_default()
    }

    fn needs_time_embeddings(&self) -> bool {
        self.with.as_ref().is_some_and(CacheConfig::needs_time_embeddings)
    }

    fn takes_any_storage(&self) -> Result<()> {
        let none = || {
            Error::InvalidArgument(
                "CFG-Cache alone keeps a little, in float32 on the device: expected a technique in \
                 \"with\", whose outputs are kept so"
                    .into(),
            )
        };
        self.with.as_ref().ok_or_else(none)?.technique.takes_any_storage()
    }

    fn prediction_order(&self) -> usize {
        self.with.as_ref().map_or(0, |with| with.technique.prediction_order())
    }

    fn forecast(&self, run: &RunInfo, storage: &StorageOptions) -> Result<Forecast> {
        let plan = self.plan(run, storage)?;
        let mut forecast = match &self.with {
            Some(with) => with.technique.forecast(&plan.below, &plan.storage)?,
            None => {
                let foresight =
                    if self.foreseen() { Foresight::Exact } else { Foresight::HostDecides };
                let mut alone = Forecast::of_steps(
                    foresight,
                    &plan.below,
                    |_| false,
                    |_, _| LayerState::Computed,
                );
                alone.bytes = run.sizes.as_ref().map(|_| 0);
                alone
            }
        };
        forecast.bytes = forecast.bytes.map(|bytes| bytes.saturating_add(plan.bands));
        Ok(forecast)
    }

    fn start(&self, context: RunContext<'_>) -> Result<Box<dyn RunCache>> {
        let plan = self.plan(context.run, &context.storage)?;
        let unconditional = Unconditional::new(
            self.settings.clone(),
            context.run.batch,
            context.callbacks.clone(),
            context.memory.clone(),
        );
        let rebuild_later = (0..plan.below.branches.len())
            .map(|step| {
                let later = plan.below.branches.iter().skip(step + 1);
                !self.foreseen() || later.into_iter().any(|b| *b == Branches::ConditionalOnly)
            })
            .collect();
        let callbacks = context.callbacks.clone();
        let context = RunContext { run: &plan.below, storage: plan.storage, ..context };
        let with: Box<dyn RunCache> = match &self.with {
            Some(with) => with.technique.start(context)?,
            None => Box::new(ComputeAll),
        };
        Ok(Box::new(GuidanceRun {
            technique: self.clone(),
            rebuilds: plan.rebuilds,
            rebuild_later,
            callbacks,
            unconditional,
            with,
            now: None,
        }))
    }
}

/// One run.
struct GuidanceRun {
    technique: CfgCache,
    rebuilds: bool,
    /// For each step whether a later one may rebuild.
    rebuild_later: Vec<bool>,
    callbacks: crate::cache::callbacks::HostCallbacks,
    unconditional: Unconditional,
    with: Box<dyn RunCache>,
    now: Option<Now>,
}

/// The step under way.
struct Now {
    /// With the pipeline's own timestep, for the host's callbacks.
    own: Step,
    /// With the timestep that decides.
    step: Step,
}

impl ForwardCache for GuidanceRun {
    fn block(&mut self, block: usize, x: &Tensor) -> Result<BlockAction> {
        self.with.block(block, x)
    }

    fn block_computed(&mut self, block: usize, x: &Tensor) -> Result<()> {
        self.with.block_computed(block, x)
    }

    fn module(&mut self, block: usize, module: Module) -> Result<Option<Substitute>> {
        self.with.module(block, module)
    }

    fn module_computed(&mut self, block: usize, module: Module, output: &Tensor) -> Result<()> {
        self.with.module_computed(block, module, output)
    }
}

impl RunCache for GuidanceRun {
    fn begin_step(&mut self, own: &Step) -> Result<StepAction> {
        let callback = self.technique.current_timestep_callback.as_ref();
        let mut step = self.callbacks.timestep(callback, own)?;
        if self.rebuilds && self.technique.settings.skips(&step) {
            step.branches = Branches::ConditionalOnly;
        }
        let below = Step { branches: step.branches, ..*own };
        let branches = step.branches;
        self.now = Some(Now { own: *own, step });
        match self.with.begin_step(&below)? {
            StepAction::Run(_) => Ok(StepAction::Run(branches)),
            predicted => Ok(predicted),
        }
    }

    fn end_step(&mut self, output: Tensor) -> Result<Tensor> {
        let now =
            self.now.as_ref().ok_or_else(|| Error::Internal("cache: no step has begun".into()))?;
        let keep =
            self.rebuilds && self.rebuild_later.get(now.step.index).copied().unwrap_or(false);
        let whole = match now.step.branches {
            Branches::ConditionalOnly => {
                self.unconditional.rebuild(&output, &now.own, &now.step, keep)?
            }
            Branches::All => {
                self.unconditional.computed(&output, keep)?;
                output
            }
        };
        self.with.end_step(whole)
    }

    fn measured(&self) -> Option<serde_json::Value> {
        self.with.measured()
    }
}
