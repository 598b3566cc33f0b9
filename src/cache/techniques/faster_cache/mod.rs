//! FasterCache: attention outputs are extrapolated from the last two, and the unconditional
//! half of the guidance batch is skipped and rebuilt from the conditional one
//! (arXiv 2410.19355; diffusers 0.42.1 hooks/faster_cache.py).
//!
//! Steps count from 0. The unconditional half is skipped after step 0, while `low < timestep <
//! high`, unless the step is a multiple of `unconditional_batch_skip_range`
//! (faster_cache.py:276). On those steps, attention is extrapolated while its own window holds,
//! unless the step is a multiple of its block skip range (faster_cache.py:422-435):
//! `newer + (newer - older) * weight`, from the conditional halves of the last two outputs, and
//! the result is remembered like a computed output.
//!
//! Without guidance, or for a guidance-distilled model, there is no unconditional half to skip,
//! and attention is extrapolated for the whole batch on every step that its window and its skip
//! range allow; step 0 always computes. (diffusers raises in both cases.)
//!
//! diffusers' private `_unconditional_conditional_input_kwargs_identifiers` has no counterpart:
//! it names the Python arguments to halve, and here the pipeline halves its own batch.

mod frequency;
mod run;
mod unconditional;

use super::pyramid_attention_broadcast::no_such_attention;
use crate::cache::callbacks::{LayerCallback, StepCallback};
use crate::cache::fields::{any_number, Field, Slot};
use crate::cache::forward::RunCache;
use crate::cache::report::{Forecast, LayerState};
use crate::cache::run_info::{RunInfo, Step};
use crate::cache::schedule::{
    select, AttentionGroup, AttentionPlan, AttentionSchedule, HistoryRule, Remembered, StepPlan,
    Window,
};
use crate::cache::storage_options::StorageOptions;
use crate::cache::technique::{RunContext, Technique};
use crate::guidance::Branches;
use crate::Result;
use run::Extrapolation;
pub(super) use unconditional::{Unconditional, UnconditionalSettings};

/// diffusers 0.42.1 hooks/faster_cache.py:33.
const SPATIAL: [&str; 3] =
    ["^blocks.*attn", "^transformer_blocks.*attn", "^single_transformer_blocks.*attn"];
const TEMPORAL: [&str; 1] = ["^temporal_transformer_blocks.*attn"];

const TENSOR_FORMATS: [&str; 3] = ["BCFHW", "BFCHW", "BCHW"];

/// The fields of diffusers' `FasterCacheConfig`, and after them those that other schedules of
/// the same technique need.
#[derive(Debug, Clone)]
pub(in crate::cache) struct FasterCache {
    spatial_attention_block_skip_range: u32,
    temporal_attention_block_skip_range: Option<u32>,
    spatial_attention_timestep_skip_range: Window,
    temporal_attention_timestep_skip_range: Window,
    unconditional: UnconditionalSettings,
    spatial_attention_block_identifiers: Vec<String>,
    temporal_attention_block_identifiers: Vec<String>,
    attention_weight_callback: Option<LayerCallback>,
    /// Accepted and checked; see [`frequency`] for why it changes nothing.
    tensor_format: &'static str,
    is_guidance_distilled: bool,
    current_timestep_callback: Option<StepCallback>,

    /// The weight where there is no callback: 0.5 in diffusers (faster_cache.py:532).
    attention_weight: f64,
    /// Extrapolate attention on steps that run both halves too. The unconditional half is then
    /// the extrapolated conditional one plus what it was more on the last step that computed
    /// both: a history of its own would lag behind by as many steps as it was skipped, and
    /// guidance amplifies the lag. Half again the bytes.
    reuse_attention_on_full_guidance_steps: bool,
    /// Extrapolated outputs enter the history.
    remember_extrapolated: bool,
}

impl FasterCache {
    pub const PRESETS: &'static [&'static str] =
        &["diffusers", "diffusers-docs", "official", "aggressive"];

    /// - `diffusers`: the defaults of `FasterCacheConfig`.
    /// - `diffusers-docs`: the snippet of diffusers' caching guide: weight 0.3, and the
    ///   unconditional half skipped in (-1, 781).
    /// - `official`: the authors' CogVideoX script (FasterCache
    ///   scripts/cogvideox/fastercache_sample_cogvideox.py:369-484), which counts 50 steps from
    ///   1: from the 18th on the unconditional half runs every 5th step only, and attention in
    ///   the others every 3rd; weight 0.3 between the last two computed outputs; gains 1.1, low
    ///   frequencies up to the 40th step and high ones from the 30th. Other numbers of steps
    ///   take these counts as fractions of 50. The script runs the first half of its batch and
    ///   calls it conditional, but its guider puts the unconditional half first; here the
    ///   conditional half runs, as the paper describes.
    /// - `aggressive`: `diffusers-docs` with attention extrapolated on full-guidance steps too.
    pub fn preset(name: &str) -> Option<Self> {
        let diffusers = FasterCache {
            spatial_attention_block_skip_range: 2,
            temporal_attention_block_skip_range: None,
            spatial_attention_timestep_skip_range: Window::Timesteps { low: -1, high: 681 },
            temporal_attention_timestep_skip_range: Window::Timesteps { low: -1, high: 681 },
            unconditional: UnconditionalSettings::of_diffusers(),
            spatial_attention_block_identifiers: SPATIAL.map(String::from).to_vec(),
            temporal_attention_block_identifiers: TEMPORAL.map(String::from).to_vec(),
            attention_weight_callback: None,
            tensor_format: "BCFHW",
            is_guidance_distilled: false,
            current_timestep_callback: None,
            attention_weight: 0.5,
            reuse_attention_on_full_guidance_steps: false,
            remember_extrapolated: true,
        };
        let docs = FasterCache {
            unconditional: UnconditionalSettings::of_diffusers_docs(),
            attention_weight: 0.3,
            tensor_format: "BFCHW",
            ..diffusers.clone()
        };
        let from_18 = Window::Steps { from: 18, to: 50, of: 50 };
        match name {
            "diffusers" => Some(diffusers),
            "diffusers-docs" => Some(docs),
            "official" => Some(FasterCache {
                spatial_attention_block_skip_range: 3,
                spatial_attention_timestep_skip_range: from_18,
                unconditional: UnconditionalSettings::official(),
                tensor_format: "BFCHW",
                attention_weight: 0.3,
                remember_extrapolated: false,
                ..diffusers
            }),
            "aggressive" => {
                Some(FasterCache { reuse_attention_on_full_guidance_steps: true, ..docs })
            }
            _ => None,
        }
    }

    fn groups(&self) -> Vec<AttentionGroup<'_>> {
        let spatial = &self.spatial_attention_block_identifiers;
        let temporal = &self.temporal_attention_block_identifiers;
        vec![
            AttentionGroup {
                field: "spatial_attention_block_identifiers",
                identifiers: spatial,
                enabled: true,
                default_identifiers: *spatial == SPATIAL,
            },
            AttentionGroup {
                field: "temporal_attention_block_identifiers",
                identifiers: temporal,
                enabled: self.temporal_attention_block_skip_range.is_some(),
                default_identifiers: *temporal == TEMPORAL,
            },
        ]
    }

    /// What a run does, and what it keeps.
    fn schedule(
        &self,
        run: &RunInfo,
        storage: &StorageOptions,
    ) -> Result<(FasterCacheSchedule, AttentionPlan)> {
        let halves = run.batch.guided && !self.is_guidance_distilled;
        let bands = if halves { UnconditionalSettings::bytes(run)? } else { 0 };
        let schedule = FasterCacheSchedule {
            settings: self.clone(),
            halves,
            rebuilds: bands <= storage.budget(),
        };
        let mut plan = AttentionPlan::new(&schedule, run, storage)?;
        if let Some(sizes) = &run.sizes {
            let skips = plan.steps.iter().any(|step| step.branches == Branches::ConditionalOnly);
            let keeps_bands = schedule.rebuilds && (skips || !plan.foreseen);
            plan.fit(sizes, storage.budget(), if keeps_bands { bands } else { 0 })?;
        }
        Ok((schedule, plan))
    }
}

impl Technique for FasterCache {
    fn name(&self) -> &'static str {
        "FasterCache"
    }

    fn fields(&mut self) -> Vec<Field<'_>> {
        let field = |name, slot| Field { name, slot };
        vec![
            field(
                "spatial_attention_block_skip_range",
                Slot::SkipRange(&mut self.spatial_attention_block_skip_range),
            ),
            field(
                "temporal_attention_block_skip_range",
                Slot::OptionalSkipRange(&mut self.temporal_attention_block_skip_range),
            ),
            field(
                "spatial_attention_timestep_skip_range",
                Slot::TimestepRange(&mut self.spatial_attention_timestep_skip_range),
            ),
            field(
                "temporal_attention_timestep_skip_range",
                Slot::TimestepRange(&mut self.temporal_attention_timestep_skip_range),
            ),
            field(
                "low_frequency_weight_update_timestep_range",
                Slot::TimestepRange(
                    &mut self.unconditional.low_frequency_weight_update_timestep_range,
                ),
            ),
            field(
                "high_frequency_weight_update_timestep_range",
                Slot::TimestepRange(
                    &mut self.unconditional.high_frequency_weight_update_timestep_range,
                ),
            ),
            field("alpha_low_frequency", any_number(&mut self.unconditional.alpha_low_frequency)),
            field("alpha_high_frequency", any_number(&mut self.unconditional.alpha_high_frequency)),
            field(
                "unconditional_batch_skip_range",
                Slot::SkipRange(&mut self.unconditional.unconditional_batch_skip_range),
            ),
            field(
                "unconditional_batch_timestep_skip_range",
                Slot::TimestepRange(
                    &mut self.unconditional.unconditional_batch_timestep_skip_range,
                ),
            ),
            field(
                "spatial_attention_block_identifiers",
                Slot::Identifiers(&mut self.spatial_attention_block_identifiers),
            ),
            field(
                "temporal_attention_block_identifiers",
                Slot::Identifiers(&mut self.temporal_attention_block_identifiers),
            ),
            field(
                "attention_weight_callback",
                Slot::LayerCallback(&mut self.attention_weight_callback),
            ),
            field(
                "low_frequency_weight_callback",
                Slot::StepCallback(&mut self.unconditional.low_frequency_weight_callback),
            ),
            field(
                "high_frequency_weight_callback",
                Slot::StepCallback(&mut self.unconditional.high_frequency_weight_callback),
            ),
            field("tensor_format", Slot::Choice(&mut self.tensor_format, &TENSOR_FORMATS)),
            field("is_guidance_distilled", Slot::Flag(&mut self.is_guidance_distilled)),
            field(
                "current_timestep_callback",
                Slot::StepCallback(&mut self.current_timestep_callback),
            ),
            field("attention_weight", any_number(&mut self.attention_weight)),
            field(
                "reuse_attention_on_full_guidance_steps",
                Slot::Flag(&mut self.reuse_attention_on_full_guidance_steps),
            ),
            field(
                "first_step_number",
                Slot::Count(&mut self.unconditional.first_step_number, 0, 1),
            ),
            field("remember_extrapolated", Slot::Flag(&mut self.remember_extrapolated)),
        ]
    }

    fn boxed(&self) -> Box<dyn Technique> {
        Box::new(self.clone())
    }

    fn validate(&self, layers: &[String]) -> Result<()> {
        select(&self.groups(), layers).map(drop)
    }

    fn remarks(&self) -> Vec<String> {
        let unused = self.temporal_attention_block_skip_range.is_some()
            && self.temporal_attention_block_identifiers == TEMPORAL;
        unused
            .then(|| no_such_attention("temporal_attention_block_skip_range"))
            .into_iter()
            .collect()
    }

    fn forecast(&self, run: &RunInfo, storage: &StorageOptions) -> Result<Forecast> {
        let (_, plan) = self.schedule(run, storage)?;
        Ok(plan.forecast(run, LayerState::Approximated))
    }

    fn start(&self, context: RunContext<'_>) -> Result<Box<dyn RunCache>> {
        let (schedule, plan) = self.schedule(context.run, &context.storage)?;
        Ok(Box::new(Extrapolation::new(schedule, plan, context)))
    }
}

/// The settings in one run.
struct FasterCacheSchedule {
    settings: FasterCache,
    /// Both halves are in the batch and told apart.
    halves: bool,
    /// There is room to keep what rebuilding the unconditional half needs.
    rebuilds: bool,
}

impl AttentionSchedule for FasterCacheSchedule {
    fn groups(&self) -> Vec<AttentionGroup<'_>> {
        self.settings.groups()
    }

    fn plan(&self, step: &Step) -> StepPlan {
        let settings = &self.settings;
        let skips_unconditional =
            self.halves && self.rebuilds && settings.unconditional.skips(step);
        let may_reuse =
            !self.halves || skips_unconditional || settings.reuse_attention_on_full_guidance_steps;
        let reuses = |skip_range: u32, window: Window| {
            may_reuse
                && step.index > 0
                && window.contains(step)
                && !settings.unconditional.due(step, skip_range)
        };
        StepPlan {
            branches: if skips_unconditional { Branches::ConditionalOnly } else { Branches::All },
            reuse: vec![
                reuses(
                    settings.spatial_attention_block_skip_range,
                    settings.spatial_attention_timestep_skip_range,
                ),
                settings
                    .temporal_attention_block_skip_range
                    .is_some_and(|n| reuses(n, settings.temporal_attention_timestep_skip_range)),
            ],
        }
    }

    fn history(&self) -> HistoryRule {
        let settings = &self.settings;
        let remembered = match (self.halves, settings.reuse_attention_on_full_guidance_steps) {
            (false, _) => Remembered::Whole,
            (true, false) => Remembered::Conditional,
            (true, true) => Remembered::ConditionalAndDifference,
        };
        HistoryRule { depth: 2, remembers_reused: settings.remember_extrapolated, remembered }
    }

    fn timestep_callback(&self) -> Option<&StepCallback> {
        self.settings.current_timestep_callback.as_ref()
    }
}
