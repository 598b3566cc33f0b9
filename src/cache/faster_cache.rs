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

use super::callbacks::{LayerCallback, StepCallback};
use super::extrapolation::Extrapolation;
use super::field::Value;
use super::kept::KeptOutputs;
use super::layer_selection::Kind;
use super::pyramid_attention_broadcast::no_such_attention;
use super::schedule::{At, Circumstances, Decision, HistoryRule, Lanes, Window};
use super::stats::LayerState;
use super::storage::bytes_of;
use super::technique::{RunContext, Technique};
use super::{Branches, RunCache, RunShape};
use crate::Result;
use serde::Serialize;

/// diffusers 0.42.1 hooks/faster_cache.py:33.
const SPATIAL: [&str; 3] =
    ["^blocks.*attn", "^transformer_blocks.*attn", "^single_transformer_blocks.*attn"];
const TEMPORAL: [&str; 1] = ["^temporal_transformer_blocks.*attn"];

const TENSOR_FORMATS: [&str; 3] = ["BCFHW", "BFCHW", "BCHW"];

/// The fields of diffusers' `FasterCacheConfig`, and after them those that other schedules of
/// the same technique need.
#[derive(Debug, Clone, Serialize)]
pub(super) struct FasterCache {
    spatial_attention_block_skip_range: u32,
    temporal_attention_block_skip_range: Option<u32>,
    spatial_attention_timestep_skip_range: Window,
    temporal_attention_timestep_skip_range: Window,
    pub(super) low_frequency_weight_update_timestep_range: Window,
    pub(super) high_frequency_weight_update_timestep_range: Window,
    pub(super) alpha_low_frequency: f64,
    pub(super) alpha_high_frequency: f64,
    unconditional_batch_skip_range: u32,
    unconditional_batch_timestep_skip_range: Window,
    spatial_attention_block_identifiers: Vec<String>,
    temporal_attention_block_identifiers: Vec<String>,
    pub(super) attention_weight_callback: Option<LayerCallback>,
    pub(super) low_frequency_weight_callback: Option<StepCallback>,
    pub(super) high_frequency_weight_callback: Option<StepCallback>,
    /// Accepted and checked; see [`super::frequency`] for why it changes nothing.
    tensor_format: &'static str,
    is_guidance_distilled: bool,
    current_timestep_callback: Option<StepCallback>,

    /// The weight where there is no callback: 0.5 in diffusers (faster_cache.py:532).
    pub(super) attention_weight: f64,
    /// Extrapolate attention on steps that run both halves too. The unconditional half is then
    /// the extrapolated conditional one plus what it was more on the last step that computed
    /// both: a history of its own would lag behind by as many steps as it was skipped, and
    /// guidance amplifies the lag. Half again the bytes.
    reuse_attention_on_full_guidance_steps: bool,
    /// What the first step counts as where a step's number is divided by a skip range.
    first_step_number: u32,
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
            low_frequency_weight_update_timestep_range: Window::Timesteps { low: 99, high: 901 },
            high_frequency_weight_update_timestep_range: Window::Timesteps { low: -1, high: 301 },
            alpha_low_frequency: 1.1,
            alpha_high_frequency: 1.1,
            unconditional_batch_skip_range: 5,
            unconditional_batch_timestep_skip_range: Window::Timesteps { low: -1, high: 641 },
            spatial_attention_block_identifiers: SPATIAL.map(String::from).to_vec(),
            temporal_attention_block_identifiers: TEMPORAL.map(String::from).to_vec(),
            attention_weight_callback: None,
            low_frequency_weight_callback: None,
            high_frequency_weight_callback: None,
            tensor_format: "BCFHW",
            is_guidance_distilled: false,
            current_timestep_callback: None,
            attention_weight: 0.5,
            reuse_attention_on_full_guidance_steps: false,
            first_step_number: 0,
            remember_extrapolated: true,
        };
        let docs = FasterCache {
            unconditional_batch_timestep_skip_range: Window::Timesteps { low: -1, high: 781 },
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
                low_frequency_weight_update_timestep_range: Window::Steps {
                    from: 1,
                    to: 40,
                    of: 50,
                },
                high_frequency_weight_update_timestep_range: Window::Steps {
                    from: 30,
                    to: 50,
                    of: 50,
                },
                unconditional_batch_timestep_skip_range: from_18,
                tensor_format: "BFCHW",
                attention_weight: 0.3,
                first_step_number: 1,
                remember_extrapolated: false,
                ..diffusers
            }),
            "aggressive" => {
                Some(FasterCache { reuse_attention_on_full_guidance_steps: true, ..docs })
            }
            _ => None,
        }
    }

    /// Both halves are in the batch and told apart.
    fn tells_halves_apart(&self, guided: bool) -> bool {
        guided && !self.is_guidance_distilled
    }

    /// The step is due to be computed by its number.
    fn due(&self, at: &At, skip_range: u32) -> bool {
        (at.index as u64 + u64::from(self.first_step_number)).is_multiple_of(skip_range.into())
    }
}

impl Technique for FasterCache {
    fn name(&self) -> &'static str {
        "FasterCache"
    }

    fn set(&mut self, field: &str, value: Value) -> Result<bool> {
        match field {
            "spatial_attention_block_skip_range" => {
                self.spatial_attention_block_skip_range = value.skip_range(field)?;
            }
            "temporal_attention_block_skip_range" => {
                self.temporal_attention_block_skip_range = Some(value.skip_range(field)?);
            }
            "spatial_attention_timestep_skip_range" => {
                self.spatial_attention_timestep_skip_range = value.timestep_range(field)?;
            }
            "temporal_attention_timestep_skip_range" => {
                self.temporal_attention_timestep_skip_range = value.timestep_range(field)?;
            }
            "low_frequency_weight_update_timestep_range" => {
                self.low_frequency_weight_update_timestep_range = value.timestep_range(field)?;
            }
            "high_frequency_weight_update_timestep_range" => {
                self.high_frequency_weight_update_timestep_range = value.timestep_range(field)?;
            }
            "alpha_low_frequency" => self.alpha_low_frequency = value.number(field)?,
            "alpha_high_frequency" => self.alpha_high_frequency = value.number(field)?,
            "unconditional_batch_skip_range" => {
                self.unconditional_batch_skip_range = value.skip_range(field)?;
            }
            "unconditional_batch_timestep_skip_range" => {
                self.unconditional_batch_timestep_skip_range = value.timestep_range(field)?;
            }
            "spatial_attention_block_identifiers" => {
                self.spatial_attention_block_identifiers = value.identifiers(field)?;
            }
            "temporal_attention_block_identifiers" => {
                self.temporal_attention_block_identifiers = value.identifiers(field)?;
            }
            "attention_weight_callback" => {
                self.attention_weight_callback = value.layer_callback(field)?;
            }
            "low_frequency_weight_callback" => {
                self.low_frequency_weight_callback = value.step_callback(field)?;
            }
            "high_frequency_weight_callback" => {
                self.high_frequency_weight_callback = value.step_callback(field)?;
            }
            "tensor_format" => self.tensor_format = value.choice(field, &TENSOR_FORMATS)?,
            "is_guidance_distilled" => self.is_guidance_distilled = value.flag(field)?,
            "current_timestep_callback" => {
                self.current_timestep_callback = value.step_callback(field)?;
            }
            "attention_weight" => self.attention_weight = value.number(field)?,
            "reuse_attention_on_full_guidance_steps" => {
                self.reuse_attention_on_full_guidance_steps = value.flag(field)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    fn boxed(&self) -> Box<dyn Technique> {
        Box::new(self.clone())
    }

    fn kinds(&self) -> Vec<Kind<'_>> {
        let spatial = &self.spatial_attention_block_identifiers;
        let temporal = &self.temporal_attention_block_identifiers;
        vec![
            Kind {
                field: "spatial_attention_block_identifiers",
                identifiers: spatial,
                enabled: true,
                default_identifiers: *spatial == SPATIAL,
            },
            Kind {
                field: "temporal_attention_block_identifiers",
                identifiers: temporal,
                enabled: self.temporal_attention_block_skip_range.is_some(),
                default_identifiers: *temporal == TEMPORAL,
            },
        ]
    }

    fn remarks(&self) -> Vec<String> {
        let unused = self.temporal_attention_block_skip_range.is_some()
            && self.temporal_attention_block_identifiers == TEMPORAL;
        unused
            .then(|| no_such_attention("temporal_attention_block_skip_range"))
            .into_iter()
            .collect()
    }

    fn timestep_callback(&self) -> Option<&StepCallback> {
        self.current_timestep_callback.as_ref()
    }

    fn decide(&self, at: &At, circumstances: Circumstances) -> Decision {
        let halves = self.tells_halves_apart(circumstances.guided);
        let skips_unconditional = halves
            && circumstances.room_to_rebuild
            && at.index > 0
            && self.unconditional_batch_timestep_skip_range.contains(at)
            && !self.due(at, self.unconditional_batch_skip_range);
        let may_reuse =
            !halves || skips_unconditional || self.reuse_attention_on_full_guidance_steps;
        let reuses = |skip_range: u32, window: Window| {
            may_reuse && at.index > 0 && window.contains(at) && !self.due(at, skip_range)
        };
        Decision {
            branches: if skips_unconditional { Branches::ConditionalOnly } else { Branches::All },
            reuse: vec![
                reuses(
                    self.spatial_attention_block_skip_range,
                    self.spatial_attention_timestep_skip_range,
                ),
                self.temporal_attention_block_skip_range
                    .is_some_and(|n| reuses(n, self.temporal_attention_timestep_skip_range)),
            ],
        }
    }

    fn history(&self, guided: bool) -> HistoryRule {
        let lanes =
            match (self.tells_halves_apart(guided), self.reuse_attention_on_full_guidance_steps) {
                (false, _) => Lanes::Whole,
                (true, false) => Lanes::Conditional,
                (true, true) => Lanes::ConditionalAndDifference,
            };
        HistoryRule { depth: 2, remembers_reused: self.remember_extrapolated, lanes }
    }

    fn reuse_state(&self) -> LayerState {
        LayerState::Approximated
    }

    /// Two float32 bands of the model's output.
    fn other_bytes(&self, shape: &RunShape) -> Result<u64> {
        if self.is_guidance_distilled {
            return Ok(0);
        }
        Ok(bytes_of(&shape.output, tch::Kind::Float)?.saturating_mul(2))
    }

    fn start(&self, kept: KeptOutputs, context: RunContext) -> Box<dyn RunCache> {
        let halves = self.tells_halves_apart(context.guided);
        Box::new(Extrapolation::new(self.clone(), kept, context, halves))
    }
}
