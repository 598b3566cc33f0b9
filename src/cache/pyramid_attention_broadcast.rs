//! Pyramid Attention Broadcast: an attention module's output is used again for the next steps
//! (arXiv 2408.12588; diffusers 0.42.1 hooks/pyramid_attention_broadcast.py:156-174).
//!
//! Per layer, counting its calls from 0: compute at call 0, outside `low < timestep < high`,
//! and at every `skip_range`th call; otherwise use what was computed last. What is kept is the
//! output of the whole module, text and video tokens, for the whole guidance batch.

use super::callbacks::StepCallback;
use super::field::Value;
use super::kept::{KeptOutputs, Task};
use super::layer_selection::Kind;
use super::schedule::{At, Circumstances, Decision, HistoryRule, Lanes, Window};
use super::stats::LayerState;
use super::technique::{RunContext, Technique};
use super::{Attention, Branches, LayerCache, RunCache, RunShape, Step};
use crate::Result;
use serde::Serialize;
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
#[derive(Debug, Clone, Serialize)]
pub(super) struct PyramidAttentionBroadcast {
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
}

impl Technique for PyramidAttentionBroadcast {
    fn name(&self) -> &'static str {
        "Pyramid Attention Broadcast"
    }

    fn set(&mut self, field: &str, value: Value) -> Result<bool> {
        match field {
            "spatial_attention_block_skip_range" => {
                self.spatial_attention_block_skip_range = Some(value.skip_range(field)?);
            }
            "temporal_attention_block_skip_range" => {
                self.temporal_attention_block_skip_range = Some(value.skip_range(field)?);
            }
            "cross_attention_block_skip_range" => {
                self.cross_attention_block_skip_range = Some(value.skip_range(field)?);
            }
            "spatial_attention_timestep_skip_range" => {
                self.spatial_attention_timestep_skip_range = value.timestep_range(field)?;
            }
            "temporal_attention_timestep_skip_range" => {
                self.temporal_attention_timestep_skip_range = value.timestep_range(field)?;
            }
            "cross_attention_timestep_skip_range" => {
                self.cross_attention_timestep_skip_range = value.timestep_range(field)?;
            }
            "spatial_attention_block_identifiers" => {
                self.spatial_attention_block_identifiers = value.identifiers(field)?;
            }
            "temporal_attention_block_identifiers" => {
                self.temporal_attention_block_identifiers = value.identifiers(field)?;
            }
            "cross_attention_block_identifiers" => {
                self.cross_attention_block_identifiers = value.identifiers(field)?;
            }
            "current_timestep_callback" => {
                self.current_timestep_callback = value.step_callback(field)?;
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
                enabled: self.spatial_skip_range().is_some(),
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

    fn timestep_callback(&self) -> Option<&StepCallback> {
        self.current_timestep_callback.as_ref()
    }

    fn decide(&self, at: &At, _circumstances: Circumstances) -> Decision {
        let reuses = |skip_range: Option<u32>, window: Window| {
            skip_range.is_some_and(|n| {
                at.index > 0 && window.contains(at) && !(at.index as u64).is_multiple_of(n.into())
            })
        };
        Decision {
            branches: Branches::All,
            reuse: vec![
                reuses(self.spatial_skip_range(), self.spatial_attention_timestep_skip_range),
                reuses(
                    self.temporal_attention_block_skip_range,
                    self.temporal_attention_timestep_skip_range,
                ),
            ],
        }
    }

    fn history(&self, _guided: bool) -> HistoryRule {
        HistoryRule { depth: 1, remembers_reused: false, lanes: Lanes::Whole }
    }

    fn reuse_state(&self) -> LayerState {
        LayerState::Reused
    }

    fn other_bytes(&self, _shape: &RunShape) -> Result<u64> {
        Ok(0)
    }

    fn start(&self, kept: KeptOutputs, _context: RunContext) -> Box<dyn RunCache> {
        Box::new(Broadcast { kept })
    }
}

/// Said of settings for attention that CogVideoX does not have.
pub(super) fn no_such_attention(field: &str) -> String {
    format!(
        "{field}: CogVideoX has joint spatial and temporal self-attention only, which the \
         spatial settings select; this one selects no layer"
    )
}

struct Broadcast {
    kept: KeptOutputs,
}

impl LayerCache for Broadcast {
    fn attention(&mut self, layer: usize) -> Result<Attention> {
        match self.kept.task(layer)? {
            Task::Compute { keep } => Ok(Attention::Compute { keep }),
            Task::Reuse => {
                let (_, last) = self.kept.pair(layer, 0)?;
                self.kept.release(layer);
                Ok(Attention::Reuse(last))
            }
        }
    }

    fn computed(&mut self, layer: usize, output: &Tensor) -> Result<()> {
        self.kept.keep(layer, output)
    }
}

impl RunCache for Broadcast {
    fn begin_step(&mut self, step: Step) -> Result<Branches> {
        Ok(self.kept.begin(step)?.0)
    }

    fn end_step(&mut self, output: Tensor) -> Result<Tensor> {
        Ok(output)
    }
}
