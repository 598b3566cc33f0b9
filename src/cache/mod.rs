//! Training-free caching: the cache decides, the model asks.
//!
//! The transformer asks once per layer whether to compute attention or to take what the
//! cache hands it ([`LayerCache`]); the denoising loop asks once per step whether the
//! unconditional half of the guidance batch must run ([`RunCache`]). No technique's name
//! appears outside this folder.

use crate::Result;
use tch::Tensor;

/// What a layer does about its attention module in this step.
pub enum Attention {
    /// Run it, and hand the output to [`LayerCache::computed`] if `keep`.
    Compute { keep: bool },
    /// Use this as the module's output; nothing that only feeds the module need run.
    Reuse(Tensor),
}

/// What the transformer sees of a cache. Outputs are those of the whole attention module
/// (after its output projection, before the gate): shape `(batch, text + video tokens, width)`,
/// where `batch` is the batch of this call.
pub trait LayerCache {
    /// Asked once per layer and call, in the order of the layers.
    fn attention(&mut self, layer: usize) -> Result<Attention>;
    /// Told what `layer` computed, if it was asked to keep it.
    fn computed(&mut self, layer: usize, output: &Tensor) -> Result<()>;
}

/// Which halves of the guidance batch `[unconditional; conditional]` the transformer runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Branches {
    /// The whole batch (also: guidance is off and there is only one half).
    All,
    /// The conditional half alone; [`RunCache::end_step`] rebuilds the other.
    ConditionalOnly,
}

/// One denoising step as a cache sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// 0-based, and how many there are.
    pub index: usize,
    pub total: usize,
    /// The pipeline's own timestep, in `[0, num_train_timesteps)`.
    pub timestep: i64,
}

/// A cache during one run. It is made when the run starts and dropped when it ends, however
/// it ends, so nothing of one run can reach another.
pub trait RunCache: LayerCache {
    /// Called before the transformer runs; decides the whole step in host integers.
    fn begin_step(&mut self, step: Step) -> Result<Branches>;
    /// Called with the transformer's output `(batch, frames, channels, height, width)` of the
    /// branches that ran; answers the output of all branches.
    fn end_step(&mut self, output: Tensor) -> Result<Tensor>;
}

/// No caching: every layer computes, both halves run.
pub struct Uncached;

impl LayerCache for Uncached {
    fn attention(&mut self, _layer: usize) -> Result<Attention> {
        Ok(Attention::Compute { keep: false })
    }
    fn computed(&mut self, _layer: usize, _output: &Tensor) -> Result<()> {
        Ok(())
    }
}

impl RunCache for Uncached {
    fn begin_step(&mut self, _step: Step) -> Result<Branches> {
        Ok(Branches::All)
    }
    fn end_step(&mut self, output: Tensor) -> Result<Tensor> {
        Ok(output)
    }
}
