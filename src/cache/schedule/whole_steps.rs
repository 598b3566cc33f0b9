//! Schedules of whole steps: the blocks run, or what all of them added to the video tokens when
//! they last ran is added again.
//!
//! Patch embedding, timestep embedding and the output layers run in every step. Text tokens are
//! not kept: nothing reads them after the last block
//! (diffusers 0.42.1 models/transformers/cogvideox_transformer_3d.py:448).

use crate::cache::forward::{BlockAction, ForwardCache, RunCache, StepAction, Substitute};
use crate::cache::report::{Forecast, Foresight, LayerState};
use crate::cache::run_info::{RunInfo, Sizes, Step};
use crate::cache::storage_options::StorageOptions;
use crate::cache::store::{BlocksResidual, CachedTensor, MemoryCounter, Store};
use crate::cache::technique::RunContext;
use crate::guidance::Branches;
use crate::Result;
use tch::Tensor;

/// For each step of a run whether its blocks run. The first step's always do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cache) struct WholeSteps {
    computed: Vec<bool>,
}

impl WholeSteps {
    /// `computed` is asked for each step but the first, in their order.
    pub fn new(steps: usize, mut computed: impl FnMut(usize) -> bool) -> WholeSteps {
        WholeSteps { computed: (0..steps).map(|step| step == 0 || computed(step)).collect() }
    }

    fn computes(&self, step: usize) -> bool {
        self.computed.get(step).copied().unwrap_or(true)
    }

    /// A step skips its blocks.
    pub fn skips_any(&self) -> bool {
        self.computed.contains(&false)
    }

    /// The most bytes that a run keeps at a time.
    fn bytes(&self, run: &RunInfo, sizes: &Sizes, store: Store) -> Result<u64> {
        if !self.skips_any() {
            return Ok(0);
        }
        // The tokens before the blocks become the residual in place.
        let before = BlocksResidual::bytes(run, sizes, sizes.dtype)?;
        if store == sizes.dtype.into() {
            return Ok(before);
        }
        Ok(before.saturating_add(BlocksResidual::bytes(run, sizes, store)?))
    }

    /// With every step computed if there is no room for the residual.
    fn within(&self, run: &RunInfo, storage: &StorageOptions) -> Result<(WholeSteps, Option<u64>)> {
        let Some(sizes) = &run.sizes else { return Ok((self.clone(), None)) };
        let bytes = self.bytes(run, sizes, storage.store(run))?;
        if bytes > storage.budget() {
            let all = WholeSteps { computed: vec![true; self.computed.len()] };
            return Ok((all, Some(0)));
        }
        Ok((self.clone(), Some(bytes)))
    }

    /// As a host sees it.
    pub fn forecast(&self, run: &RunInfo, storage: &StorageOptions) -> Result<Forecast> {
        let (fitting, bytes) = self.within(run, storage)?;
        let state = |step: &Step, _| match fitting.computes(step.index) {
            true => LayerState::Computed,
            false => LayerState::Skipped,
        };
        let mut forecast = Forecast::of_steps(Foresight::Exact, run, |_| false, state);
        forecast.bytes = bytes;
        if fitting != *self {
            forecast.over_budget = (0..run.layers.len()).collect();
        }
        Ok(forecast)
    }

    /// Starts a run that does this.
    pub fn start(&self, context: &RunContext<'_>) -> Result<Box<dyn RunCache>> {
        let (steps, _) = self.within(context.run, &context.storage)?;
        Ok(Box::new(WholeStepsRun {
            steps,
            last_block: context.run.layers.len().saturating_sub(1),
            residual: BlocksResidual::new(context.run)?,
            store: context.storage.store(context.run),
            memory: context.memory.clone(),
            step: 0,
            kept: None,
        }))
    }
}

struct WholeStepsRun {
    steps: WholeSteps,
    last_block: usize,
    residual: BlocksResidual,
    store: Store,
    memory: MemoryCounter,
    step: usize,
    kept: Option<CachedTensor>,
}

impl WholeStepsRun {
    /// This step computes and the next one reads what its blocks add.
    fn keeps(&self) -> bool {
        self.steps.computes(self.step) && !self.steps.computes(self.step + 1)
    }
}

impl ForwardCache for WholeStepsRun {
    fn block(&mut self, block: usize, x: &Tensor) -> Result<BlockAction> {
        if block > 0 {
            return Ok(BlockAction::Compute);
        }
        if let Some(kept) = self.kept.as_ref().filter(|_| !self.steps.computes(self.step)) {
            let residual = Substitute { value: kept.read()?, state: LayerState::Skipped };
            return Ok(BlockAction::Skip { to: self.last_block + 1, residual });
        }
        if self.keeps() {
            self.residual.begin(x, &self.memory)?;
        }
        Ok(BlockAction::Compute)
    }

    fn block_computed(&mut self, block: usize, x: &Tensor) -> Result<()> {
        if block == self.last_block && self.keeps() {
            self.kept = Some(self.residual.end(x, self.store, &self.memory)?);
        }
        Ok(())
    }
}

impl RunCache for WholeStepsRun {
    fn begin_step(&mut self, step: &Step) -> Result<StepAction> {
        self.step = step.index;
        if self.steps.computes(step.index) {
            self.kept = None;
        }
        Ok(StepAction::Run(Branches::All))
    }

    fn end_step(&mut self, output: Tensor) -> Result<Tensor> {
        // Nothing reads it after the last of the steps that skip.
        if self.steps.computes(self.step + 1) {
            self.kept = None;
        }
        Ok(output)
    }
}
