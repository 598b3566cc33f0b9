//! What a technique is told of a run before it starts, and of each step.

use crate::checkpoint::config::Family;
use crate::guidance::{Branches, GuidanceBatch};
use crate::parallel::Half;
use crate::{Error, Result};
use tch::{Device, Kind};

/// A run as a cache needs to know it.
#[derive(Debug, Clone, PartialEq)]
pub struct RunInfo {
    /// The attention modules in the order of their blocks, one a block, by their checkpoint names.
    pub layers: Vec<String>,
    /// The pipeline's timesteps, in the order of the steps.
    pub timesteps: Vec<i64>,
    /// The scheduler's; timesteps lie in `[0, num_train_timesteps)`.
    pub num_train_timesteps: i64,
    /// The rows of the model's output.
    pub batch: GuidanceBatch,
    /// Which of them this rank's tokens are of.
    pub half: Half,
    /// For each step which halves run when the model does, where a technique of guidance has
    /// settled that; empty: all of them in every step.
    pub branches: Vec<Branches>,
    /// `None` for a preview without a model.
    pub family: Option<Family>,
    /// `None` for a preview without a model.
    pub sizes: Option<Sizes>,
    /// For each step how much the time embedding differs from that of the step before: mean
    /// absolute difference over mean absolute value of the one before; 0 for step 0. `None` for
    /// a preview without a model.
    pub time_embedding_changes: Option<Vec<f64>>,
}

/// How large the tensors of a run are, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Sizes {
    /// Text tokens of one sequence. Where ranks share it: of the rank that has most, so that all
    /// ranks forecast the same.
    pub text_tokens: i64,
    /// Text and video tokens of one sequence; likewise.
    pub tokens: i64,
    /// Text tokens that this rank has.
    pub own_text_tokens: i64,
    /// Values per token.
    pub hidden_size: i64,
    /// The dtype of the model's tensors.
    pub dtype: Kind,
    /// Where they are.
    pub device: Device,
    /// The transformer's output for one half of the guidance batch: `(videos, frames, channels,
    /// height, width)`.
    pub output: Vec<i64>,
}

impl RunInfo {
    /// A run of a published CogVideoX model: its layers' names, and 1000 training timesteps with
    /// "trailing" spacing (diffusers 0.42.1 schedulers/scheduling_ddim_cogvideox.py:319), which
    /// rounds halves to even.
    pub fn of_published_models(layers: usize, steps: usize, guided: bool) -> RunInfo {
        const TRAIN: i64 = 1000;
        let spacing = TRAIN as f64 / steps.max(1) as f64;
        let timestep = |i| (TRAIN as f64 - i as f64 * spacing).round_ties_even() as i64 - 1;
        RunInfo {
            layers: (0..layers).map(|i| format!("transformer_blocks.{i}.attn1")).collect(),
            timesteps: (0..steps).map(timestep).collect(),
            num_train_timesteps: TRAIN,
            batch: GuidanceBatch { videos: 1, guided },
            half: Half::Both,
            branches: Vec::new(),
            family: None,
            sizes: None,
            time_embedding_changes: None,
        }
    }

    /// The rows of this rank's tokens in a step that runs these halves.
    pub fn token_rows(&self, branches: Branches) -> i64 {
        match self.half {
            Half::Both => self.batch.rows(branches),
            Half::Conditional | Half::Unconditional => self.batch.videos,
        }
    }

    /// The sizes of a run that starts.
    pub(super) fn sizes(&self) -> Result<&Sizes> {
        self.sizes.as_ref().ok_or_else(|| Error::Internal("cache: a run without sizes".into()))
    }

    /// The steps with the pipeline's own timesteps.
    pub fn steps(&self) -> impl Iterator<Item = Step> + '_ {
        let total = self.timesteps.len();
        self.timesteps.iter().enumerate().map(move |(index, &timestep)| Step {
            index,
            total,
            timestep: timestep as f64,
            branches: self.branches.get(index).copied().unwrap_or(Branches::All),
        })
    }
}

/// One denoising step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// 0-based.
    pub index: usize,
    /// How many there are.
    pub total: usize,
    /// In `[0, num_train_timesteps)`: the pipeline's own, or what the host's current timestep
    /// callback returned where a technique has one.
    pub timestep: f64,
    /// The halves that run if the model does, as far as the caller has settled that.
    pub branches: Branches,
}
