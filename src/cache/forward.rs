//! The questions that the denoising loop and the transformer ask, and what is returned for them.
//! Every question has a default that computes.

use super::report::LayerState;
use super::run_info::Step;
use crate::guidance::Branches;
use crate::Result;
use tch::Tensor;

/// A module of a block whose output can be taken from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Module {
    /// Joint self-attention with its projections: `transformer_blocks.N.attn1`.
    Attention,
    /// `transformer_blocks.N.ff`.
    FeedForward,
}

impl Module {
    /// Its checkpoint name within a block.
    pub fn name(self) -> &'static str {
        match self {
            Module::Attention => "attn1",
            Module::FeedForward => "ff",
        }
    }
}

/// What is used instead of a computed value.
#[derive(Debug)]
pub struct Substitute {
    /// The cache may hold the same storage: it must not be written to.
    pub value: Tensor,
    /// How it came about, as statistics show it: anything but [`LayerState::Computed`].
    pub state: LayerState,
}

/// What happens at a block.
#[derive(Debug)]
pub enum BlockAction {
    /// Run it; the cache is told its result.
    Compute,
    /// Run none of the blocks from this one up to, not including, `to` (which is beyond this one
    /// and at most the number of blocks): add `residual` to the tokens and go on at `to`.
    /// The residual has the shape of the tokens; where `to` is the number of blocks it may have
    /// the video tokens alone, since the text tokens end there.
    Skip { to: usize, residual: Substitute },
}

/// What the transformer asks during one call. Tokens `x` are `(batch, text + video tokens, hidden
/// size)`, text first, where `batch` is the batch of this call, and both are this rank's where ranks
/// share a run; they are worked on in place, so
/// whoever keeps them copies them. Outputs of modules have the same shape and are those of the
/// whole module (after its last projection, before the gate).
pub trait ForwardCache {
    /// Asked before each block that is reached, in their order.
    fn block(&mut self, _block: usize, _x: &Tensor) -> Result<BlockAction> {
        Ok(BlockAction::Compute)
    }

    /// Told the tokens after each block that ran.
    fn block_computed(&mut self, _block: usize, _x: &Tensor) -> Result<()> {
        Ok(())
    }

    /// Asked for both modules of each block that runs, attention first. `Some` is used as the
    /// module's output; nothing that only feeds the module runs.
    fn module(&mut self, _block: usize, _module: Module) -> Result<Option<Substitute>> {
        Ok(None)
    }

    /// Told the output of each module that ran.
    fn module_computed(&mut self, _block: usize, _module: Module, _output: &Tensor) -> Result<()> {
        Ok(())
    }
}

/// What a step does.
#[derive(Debug)]
pub enum StepAction {
    /// The model runs, for these halves of the guidance batch.
    Run(Branches),
    /// The model does not run: this is its output, `(whole batch, frames, channels, height,
    /// width)`.
    Predicted(Tensor),
}

/// A cache during one run. It is made when the run starts and dropped when it ends, however it
/// ends, so nothing of one run can reach another.
pub trait RunCache: ForwardCache {
    /// Asked before each step, in their order.
    fn begin_step(&mut self, _step: &Step) -> Result<StepAction> {
        Ok(StepAction::Run(Branches::All))
    }

    /// Told the model's output `(batch, frames, channels, height, width)` of the halves that ran;
    /// returns that of the whole batch. Not called for a step that was predicted.
    fn end_step(&mut self, output: Tensor) -> Result<Tensor> {
        Ok(output)
    }

    /// What the run has measured so far, an object by the names of the fields that can be set to
    /// it: statistics show it. Asked after each step.
    fn measured(&self) -> Option<serde_json::Value> {
        None
    }
}

/// Computes everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct ComputeAll;

impl ForwardCache for ComputeAll {}

impl RunCache for ComputeAll {}
