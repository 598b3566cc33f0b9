//! A schedule carried out on tensors.

use super::{Action, Block};
use crate::cache::extrapolation::lagrange;
use crate::cache::forward::{BlockAction, ForwardCache, Module, RunCache, StepAction, Substitute};
use crate::cache::report::LayerState;
use crate::cache::run_info::Step;
use crate::cache::store::{CachedTensor, MemoryCounter, Store};
use crate::cache::technique::RunContext;
use crate::guidance::{Branches, GuidanceBatch};
use crate::{Error, Result};
use std::collections::VecDeque;
use std::ops::Range;
use tch::{Kind, Tensor};

/// What later steps read of each step: known from the schedule alone.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    /// Blocks that are skipped in the same steps are skipped as one: their common ranges.
    ranges: Vec<Range<usize>>,
    /// By range and step: what it adds is read by a later step, before it is computed again.
    residuals: Vec<Vec<bool>>,
    /// By block and step: the same for its attention's output.
    attention: Vec<Vec<bool>>,
    /// By step: a later one is predicted, wholly or by half.
    conditional: Vec<bool>,
    difference: Vec<bool>,
    /// How many outputs a prediction reads.
    depth: usize,
}

/// For each step: what it `makes` is read by one that `reads` before it is made again.
fn read_later(
    actions: &[Action],
    makes: impl Fn(&Action) -> bool,
    reads: impl Fn(&Action) -> bool,
) -> Vec<bool> {
    let mut needed = false;
    let mut result: Vec<bool> = actions
        .iter()
        .rev()
        .map(|action| {
            let kept = needed && makes(action);
            if makes(action) {
                needed = false;
            }
            needed = needed || reads(action);
            kept
        })
        .collect();
    result.reverse();
    result
}

/// For each step whether a later one `reads`.
fn any_later(actions: &[Action], reads: impl Fn(&Action) -> bool) -> Vec<bool> {
    let last = actions.iter().rposition(reads);
    (0..actions.len()).map(|step| last.is_some_and(|last| step < last)).collect()
}

impl Kept {
    pub fn new(actions: &[Action], layers: usize, order: usize) -> Kept {
        let skipped = |block: usize| -> Vec<bool> {
            actions.iter().map(|action| action.block(block) == Block::Skip).collect()
        };
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for block in 0..layers {
            match ranges.last_mut() {
                Some(range) if skipped(range.start) == skipped(block) => range.end = block + 1,
                _ => ranges.push(block..block + 1),
            }
        }
        let both = Action::runs_all_halves;
        let residuals = ranges
            .iter()
            .map(|range| {
                let is_skipped = |action: &Action| action.block(range.start) == Block::Skip;
                read_later(actions, |a| both(a) && !is_skipped(a), is_skipped)
            })
            .collect();
        let attention = (0..layers)
            .map(|block| {
                let is = |action: &Action, what| both(action) && action.block(block) == what;
                read_later(
                    actions,
                    |action| is(action, Block::Compute),
                    |action| is(action, Block::ReuseAttention),
                )
            })
            .collect();
        let predicts = |action: &Action| *action == Action::Predict;
        let halves = |action: &Action| matches!(action, Action::Predict | Action::Conditional);
        Kept {
            ranges,
            residuals,
            attention,
            conditional: any_later(actions, predicts),
            difference: any_later(actions, halves),
            depth: order + 1,
        }
    }

    /// The most bytes that are kept at a time: `tokens` for the tokens of the whole batch, `output`
    /// for the model's output of one half.
    pub fn bytes(&self, actions: &[Action], tokens: u64, output: u64, guided: bool) -> u64 {
        let mut most = 0;
        let (mut residuals, mut attention) =
            (vec![false; self.residuals.len()], vec![false; self.attention.len()]);
        let (mut conditional, mut difference) = (0usize, 0usize);
        let at = |rows: &[bool], step: usize| rows.get(step).copied().unwrap_or(false);
        for (step, action) in actions.iter().enumerate() {
            let both = action.runs_all_halves();
            // While a range runs, what it began with is kept beside what others added; an old
            // residual goes before.
            for (range, held) in residuals.iter_mut().enumerate() {
                let blocks = self.ranges.get(range).map_or(0, |range| range.start);
                if both && action.block(blocks) != Block::Skip {
                    *held = self.residuals.get(range).is_some_and(|rows| at(rows, step));
                }
            }
            for (block, held) in attention.iter_mut().enumerate() {
                if both && action.block(block) == Block::Compute {
                    *held = self.attention.get(block).is_some_and(|rows| at(rows, step));
                }
            }
            let ran = *action != Action::Predict;
            if ran && at(&self.conditional, step) {
                conditional = (conditional + 1).min(self.depth);
            }
            if guided && both && at(&self.difference, step) {
                difference = (difference + 1).min(self.depth);
            }
            let held = residuals.iter().chain(&attention).filter(|held| **held).count() as u64;
            let outputs = (conditional + difference) as u64;
            most = most.max(held.saturating_mul(tokens).saturating_add(outputs * output));
        }
        most
    }

    /// The range that starts at `block`.
    fn range_at(&self, block: usize) -> Option<(usize, &Range<usize>)> {
        self.ranges.iter().enumerate().find(|(_, range)| range.start == block)
    }

    /// The range whose last block is `block`.
    fn range_ending(&self, block: usize) -> Option<usize> {
        self.ranges.iter().position(|range| range.end == block + 1)
    }
}

/// The last values of something that is predicted, oldest first, by the steps that computed them.
#[derive(Debug, Default)]
struct Outputs(VecDeque<(usize, CachedTensor)>);

impl Outputs {
    /// Keeps a value; `depth` are enough.
    fn push(
        &mut self,
        step: usize,
        value: &Tensor,
        depth: usize,
        store: Store,
        memory: &MemoryCounter,
    ) -> Result<()> {
        // The oldest goes first, so that there is never one too many.
        while self.0.len() >= depth {
            self.0.pop_front();
        }
        self.0.push_back((step, CachedTensor::copy(value, store, memory)?));
        Ok(())
    }

    /// The value at `step`, summed up in float32.
    fn predict(&self, step: usize) -> Result<Tensor> {
        let nodes: Vec<f64> = self.0.iter().map(|(step, _)| *step as f64).collect();
        let mut sum: Option<Tensor> = None;
        for ((_, value), weight) in self.0.iter().zip(lagrange(&nodes, step as f64)) {
            let term = value.stored()?.f_to_kind(Kind::Float)?.f_mul_scalar(weight)?;
            sum = Some(match sum {
                None => term,
                Some(mut sum) => sum.f_add_(&term)?,
            });
        }
        sum.ok_or_else(|| Error::Internal("cache: nothing to predict from".into()))
    }
}

/// One run.
pub(super) struct ScheduledRun {
    actions: Vec<Action>,
    kept: Kept,
    batch: GuidanceBatch,
    /// How tensors are kept.
    store: Store,
    /// That of the model's.
    model: Kind,
    memory: MemoryCounter,
    step: usize,
    /// By range: what it added last, or while it runs, the tokens that it began with.
    residuals: Vec<Option<CachedTensor>>,
    /// By block.
    attention: Vec<Option<CachedTensor>>,
    conditional: Outputs,
    difference: Outputs,
}

impl ScheduledRun {
    pub fn new(actions: Vec<Action>, kept: Kept, context: RunContext<'_>) -> ScheduledRun {
        ScheduledRun {
            residuals: kept.ranges.iter().map(|_| None).collect(),
            attention: kept.attention.iter().map(|_| None).collect(),
            actions,
            kept,
            batch: context.run.batch,
            store: context.storage.store(context.run),
            model: context.run.sizes.as_ref().map_or(Kind::Float, |sizes| sizes.dtype),
            memory: context.memory,
            step: 0,
            conditional: Outputs::default(),
            difference: Outputs::default(),
        }
    }

    fn action(&self) -> &Action {
        self.actions.get(self.step).unwrap_or(&Action::Compute)
    }

    fn block_action(&self, block: usize) -> Block {
        self.action().block(block)
    }

    /// What is read later of this step.
    fn reads(rows: &[bool], step: usize) -> bool {
        rows.get(step).copied().unwrap_or(false)
    }

    fn keeps_residual(&self, range: usize) -> bool {
        self.kept.residuals.get(range).is_some_and(|rows| Self::reads(rows, self.step))
    }

    /// The unconditional half by the predicted difference, and both joined; in the model's dtype.
    fn whole(&self, conditional: &Tensor) -> Result<Tensor> {
        if !self.batch.guided {
            return Ok(conditional.f_to_kind(self.model)?);
        }
        let difference = self.difference.predict(self.step)?;
        let unconditional = conditional.f_to_kind(Kind::Float)?.f_add(&difference)?;
        self.batch.join(&unconditional.f_to_kind(self.model)?, &conditional.f_to_kind(self.model)?)
    }

    /// Drops what no later step reads.
    fn release(&mut self) {
        if !Self::reads(&self.kept.conditional, self.step) {
            self.conditional = Outputs::default();
        }
        if !Self::reads(&self.kept.difference, self.step) {
            self.difference = Outputs::default();
        }
    }
}

impl ForwardCache for ScheduledRun {
    fn block(&mut self, block: usize, x: &Tensor) -> Result<BlockAction> {
        let Some((first, range)) = self.kept.range_at(block) else {
            return Ok(BlockAction::Compute);
        };
        if self.block_action(block) != Block::Skip {
            if self.action().runs_all_halves() {
                if let Some(place) = self.residuals.get_mut(first) {
                    *place = None;
                }
                if self.keeps_residual(first) {
                    let before = CachedTensor::copy(x, x.f_kind()?, &self.memory)?;
                    if let Some(place) = self.residuals.get_mut(first) {
                        *place = Some(before);
                    }
                }
            }
            return Ok(BlockAction::Compute);
        }
        // Ranges that follow one another are skipped at once.
        let mut to = range.end;
        let mut sum: Option<Tensor> = None;
        for (index, range) in self.kept.ranges.iter().enumerate().skip(first) {
            if range.start > to || self.block_action(range.start) != Block::Skip {
                break;
            }
            to = range.end;
            let kept = self.residuals.get(index).and_then(Option::as_ref).ok_or_else(|| {
                Error::Internal(format!("cache: blocks {range:?} have nothing to add"))
            })?;
            let residual = kept.read()?;
            sum = Some(match sum {
                None => residual,
                Some(sum) => sum.f_add(&residual)?,
            });
        }
        let value =
            sum.ok_or_else(|| Error::Internal(format!("cache: no range at block {block}")))?;
        let residual = Substitute { value, state: LayerState::Skipped };
        Ok(BlockAction::Skip { to, residual })
    }

    fn block_computed(&mut self, block: usize, x: &Tensor) -> Result<()> {
        let Some(range) = self.kept.range_ending(block) else { return Ok(()) };
        if !self.action().runs_all_halves() || !self.keeps_residual(range) {
            return Ok(());
        }
        let Some(mut residual) = self.residuals.get_mut(range).and_then(Option::take) else {
            return Err(Error::Internal(format!("cache: block {block} had no beginning")));
        };
        let _ = residual.tensor_mut()?.f_neg_()?.f_add_(x)?;
        if self.store != x.f_kind()?.into() {
            residual = CachedTensor::copy(&residual.read()?, self.store, &self.memory)?;
        }
        if let Some(place) = self.residuals.get_mut(range) {
            *place = Some(residual);
        }
        Ok(())
    }

    fn module(&mut self, block: usize, module: Module) -> Result<Option<Substitute>> {
        if module != Module::Attention || self.block_action(block) != Block::ReuseAttention {
            return Ok(None);
        }
        let kept = self.attention.get(block).and_then(Option::as_ref).ok_or_else(|| {
            Error::Internal(format!("cache: attention {block} has nothing to reuse"))
        })?;
        Ok(Some(Substitute { value: kept.read()?, state: LayerState::Reused }))
    }

    fn module_computed(&mut self, block: usize, module: Module, output: &Tensor) -> Result<()> {
        if module != Module::Attention || !self.action().runs_all_halves() {
            return Ok(());
        }
        let keeps = self.kept.attention.get(block).is_some_and(|r| Self::reads(r, self.step));
        if let Some(place) = self.attention.get_mut(block) {
            *place = None;
            if keeps {
                *place = Some(CachedTensor::copy(output, self.store, &self.memory)?);
            }
        }
        Ok(())
    }
}

impl RunCache for ScheduledRun {
    fn begin_step(&mut self, step: &Step) -> Result<StepAction> {
        self.step = step.index;
        match self.action() {
            Action::Conditional => Ok(StepAction::Run(Branches::ConditionalOnly)),
            Action::Compute | Action::Blocks(_) => Ok(StepAction::Run(Branches::All)),
            Action::Predict => {
                let conditional = self.conditional.predict(self.step)?;
                let output = self.whole(&conditional)?;
                self.release();
                Ok(StepAction::Predicted(output))
            }
        }
    }

    fn end_step(&mut self, output: Tensor) -> Result<Tensor> {
        let (step, depth, store) = (self.step, self.kept.depth, self.store);
        let halves = self.batch.guided && self.action().runs_all_halves();
        if Self::reads(&self.kept.conditional, step) {
            let conditional =
                if halves { self.batch.conditional(&output)? } else { output.shallow_clone() };
            self.conditional.push(step, &conditional, depth, store, &self.memory)?;
        }
        if halves && Self::reads(&self.kept.difference, step) {
            let (unconditional, conditional) = self.batch.split(&output)?;
            let difference = unconditional
                .f_to_kind(Kind::Float)?
                .f_sub(&conditional.f_to_kind(Kind::Float)?)?;
            self.difference.push(step, &difference, depth, store, &self.memory)?;
        }
        let whole = match self.action() {
            Action::Conditional => self.whole(&output)?,
            _ => output,
        };
        self.release();
        Ok(whole)
    }
}
