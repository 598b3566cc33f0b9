//! Pyramid Attention Broadcast: an attention module's output is used again for the next steps
//! (arXiv 2408.12588; diffusers 0.42.1 hooks/pyramid_attention_broadcast.py:156-174).
//!
//! Per layer, counting its calls from 0: compute at call 0, outside `low < timestep < high`,
//! and at every `skip_range`th call; otherwise use what was computed last. What is kept is the
//! output of the whole module, text and video tokens, for the whole guidance batch.

use crate::cache::callbacks::{HostCallbacks, StepCallback};
use crate::cache::fields::{Field, Slot};
use crate::cache::forward::{ForwardCache, Module, RunCache, StepAction, Substitute};
use crate::cache::report::{Forecast, LayerState};
use crate::cache::run_info::{RunInfo, Step};
use crate::cache::schedule::{
    select, AttentionGroup, AttentionPlan, AttentionSchedule, HistoryRule, Remembered, StepPlan,
    Window,
};
use crate::cache::storage_options::StorageOptions;
use crate::cache::store::{AttentionHistory, Past};
use crate::cache::technique::{RunContext, Technique};
use crate::guidance::GuidanceBatch;
use crate::Result;
use tch::Tensor;

/// diffusers 0.42.1 hooks/_common.py:24.
const SPATIAL: [&str; 5] = [
    "blocks",
    "transformer_blocks",
    "single_transformer_blocks",
    "layers",
    "visual_transformer_blocks",
];
const TEMPORAL: [&str; 1] = ["temporal_transformer_blocks"];
const CROSS: [&str; 3] = ["blocks", "transformer_blocks", "layers"];

/// The fields of diffusers' `PyramidAttentionBroadcastConfig`.
#[derive(Debug, Clone)]
pub(in crate::cache) struct PyramidAttentionBroadcast {
    spatial_attention_block_skip_range: Option<u32>,
    temporal_attention_block_skip_range: Option<u32>,
    cross_attention_block_skip_range: Option<u32>,
    spatial_attention_timestep_skip_range: Window,
    temporal_attention_timestep_skip_range: Window,
    cross_attention_timestep_skip_range: Window,
    spatial_attention_block_identifiers: Vec<String>,
    temporal_attention_block_identifiers: Vec<String>,
    cross_attention_block_identifiers: Vec<String>,
    current_timestep_callback: Option<StepCallback>,
}

impl PyramidAttentionBroadcast {
    pub const PRESETS: &'static [&'static str] = &["diffusers", "diffusers-docs", "videosys"];

    /// - `diffusers`: the defaults of `PyramidAttentionBroadcastConfig`: window (100, 800), and
    ///   no skip range set, which acts as 2 for spatial attention.
    /// - `diffusers-docs`: the snippet of diffusers' caching guide: spatial skip range 2 in
    ///   (100, 800). The same schedule, spelt out.
    /// - `videosys`: what the authors' own code does for CogVideoX: range 2 in (100, 850)
    ///   (VideoSys videosys/pipelines/cogvideox/pipeline_cogvideox.py, `CogVideoXPABConfig`).
    pub fn preset(name: &str) -> Option<Self> {
        let window = Window::Timesteps { low: 100, high: 800 };
        let diffusers = PyramidAttentionBroadcast {
            spatial_attention_block_skip_range: None,
            temporal_attention_block_skip_range: None,
            cross_attention_block_skip_range: None,
            spatial_attention_timestep_skip_range: window,
            temporal_attention_timestep_skip_range: window,
            cross_attention_timestep_skip_range: window,
            spatial_attention_block_identifiers: SPATIAL.map(String::from).to_vec(),
            temporal_attention_block_identifiers: TEMPORAL.map(String::from).to_vec(),
            cross_attention_block_identifiers: CROSS.map(String::from).to_vec(),
            current_timestep_callback: None,
        };
        match name {
            "diffusers" => Some(diffusers),
            "diffusers-docs" => Some(PyramidAttentionBroadcast {
                spatial_attention_block_skip_range: Some(2),
                ..diffusers
            }),
            "videosys" => Some(PyramidAttentionBroadcast {
                spatial_attention_block_skip_range: Some(2),
                spatial_attention_timestep_skip_range: Window::Timesteps { low: 100, high: 850 },
                ..diffusers
            }),
            _ => None,
        }
    }

    /// The skip range of spatial attention: 2 where none of the three is set
    /// (pyramid_attention_broadcast.py:221).
    fn spatial_skip_range(&self) -> Option<u32> {
        self.spatial_attention_block_skip_range.or_else(|| {
            let none = self.temporal_attention_block_skip_range.is_none()
                && self.cross_attention_block_skip_range.is_none();
            none.then_some(2)
        })
    }

    fn planned(&self, run: &RunInfo, storage: &StorageOptions) -> Result<AttentionPlan> {
        let mut plan = AttentionPlan::new(self, run, storage)?;
        if let Some(sizes) = &run.sizes {
            plan.fit(sizes, storage.budget(), 0)?;
        }
        Ok(plan)
    }
}

impl Technique for PyramidAttentionBroadcast {
    fn name(&self) -> &'static str {
        "Pyramid Attention Broadcast"
    }

    fn fields(&mut self) -> Vec<Field<'_>> {
        let field = |name, slot| Field { name, slot };
        vec![
            field(
                "spatial_attention_block_skip_range",
                Slot::OptionalSkipRange(&mut self.spatial_attention_block_skip_range),
            ),
            field(
                "temporal_attention_block_skip_range",
                Slot::OptionalSkipRange(&mut self.temporal_attention_block_skip_range),
            ),
            field(
                "cross_attention_block_skip_range",
                Slot::OptionalSkipRange(&mut self.cross_attention_block_skip_range),
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
                "cross_attention_timestep_skip_range",
                Slot::TimestepRange(&mut self.cross_attention_timestep_skip_range),
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
                "cross_attention_block_identifiers",
                Slot::Identifiers(&mut self.cross_attention_block_identifiers),
            ),
            field(
                "current_timestep_callback",
                Slot::StepCallback(&mut self.current_timestep_callback),
            ),
        ]
    }

    fn boxed(&self) -> Box<dyn Technique> {
        Box::new(self.clone())
    }

    fn validate(&self, layers: &[String]) -> Result<()> {
        select(&self.groups(), layers).map(drop)
    }

    fn takes_conditional_steps(&self) -> Result<()> {
        Ok(())
    }

    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.spatial_attention_block_skip_range.is_none() && self.spatial_skip_range().is_some()
        {
            remarks.push(
                "Pyramid Attention Broadcast: no skip range is set, so \
                 spatial_attention_block_skip_range is 2"
                    .to_string(),
            );
        }
        if self.temporal_attention_block_skip_range.is_some()
            && self.temporal_attention_block_identifiers == TEMPORAL
        {
            remarks.push(no_such_attention("temporal_attention_block_skip_range"));
        }
        if self.cross_attention_block_skip_range.is_some() {
            remarks.push(no_such_attention("cross_attention_block_skip_range"));
        }
        remarks
    }

    fn forecast(&self, run: &RunInfo, storage: &StorageOptions) -> Result<Forecast> {
        Ok(self.planned(run, storage)?.forecast(run, LayerState::Reused))
    }

    fn start(&self, context: RunContext<'_>) -> Result<Box<dyn RunCache>> {
        let plan = self.planned(context.run, &context.storage)?;
        Ok(Box::new(Broadcast {
            settings: self.clone(),
            batch: context.run.batch,
            history: AttentionHistory::new(plan, context.memory, context.team),
            callbacks: context.callbacks,
        }))
    }
}

impl AttentionSchedule for PyramidAttentionBroadcast {
    fn groups(&self) -> Vec<AttentionGroup<'_>> {
        let spatial = &self.spatial_attention_block_identifiers;
        let temporal = &self.temporal_attention_block_identifiers;
        vec![
            AttentionGroup {
                field: "spatial_attention_block_identifiers",
                identifiers: spatial,
                enabled: self.spatial_skip_range().is_some(),
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

    fn plan(&self, step: &Step) -> StepPlan {
        let reuses = |skip_range: Option<u32>, window: Window| {
            skip_range.is_some_and(|n| {
                step.index > 0
                    && window.contains(step)
                    && !(step.index as u64).is_multiple_of(n.into())
            })
        };
        StepPlan {
            branches: step.branches,
            reuse: vec![
                reuses(self.spatial_skip_range(), self.spatial_attention_timestep_skip_range),
                reuses(
                    self.temporal_attention_block_skip_range,
                    self.temporal_attention_timestep_skip_range,
                ),
            ],
        }
    }

    fn history(&self) -> HistoryRule {
        HistoryRule { depth: 1, remembers_reused: false, remembered: Remembered::Whole }
    }

    fn timestep_callback(&self) -> Option<&StepCallback> {
        self.current_timestep_callback.as_ref()
    }
}

/// Said of settings for attention that CogVideoX does not have.
pub(super) fn no_such_attention(field: &str) -> String {
    format!(
        "{field}: CogVideoX has joint spatial and temporal self-attention only, which the \
         spatial settings select; this one selects no layer"
    )
}

/// One run.
struct Broadcast {
    settings: PyramidAttentionBroadcast,
    batch: GuidanceBatch,
    history: AttentionHistory,
    callbacks: HostCallbacks,
}

impl ForwardCache for Broadcast {
    fn module(&mut self, block: usize, module: Module) -> Result<Option<Substitute>> {
        if module != Module::Attention {
            return Ok(None);
        }
        let newer = |past: &Past| Ok(past.newer.shallow_clone());
        if let Some(value) = self.history.apart(block, true, newer)? {
            return Ok(Some(Substitute { value, state: LayerState::Reused }));
        }
        let Some(past) = self.history.past(block)? else { return Ok(None) };
        let value = match &past.difference {
            None => past.newer,
            Some(difference) => self.batch.join(&past.newer.f_add(difference)?, &past.newer)?,
        };
        self.history.reused(block, &value)?;
        Ok(Some(Substitute { value, state: LayerState::Reused }))
    }

    fn module_computed(&mut self, block: usize, module: Module, output: &Tensor) -> Result<()> {
        match module {
            Module::Attention => self.history.computed(block, output),
            Module::FeedForward => Ok(()),
        }
    }
}

impl RunCache for Broadcast {
    fn begin_step(&mut self, step: &Step) -> Result<StepAction> {
        let step = self.callbacks.timestep(self.settings.timestep_callback(), step)?;
        let plan = self.settings.plan(&step);
        let branches = plan.branches;
        self.history.begin(&step, plan)?;
        Ok(StepAction::Run(branches))
    }
}
