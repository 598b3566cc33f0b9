//! FirstBlockCache: the first blocks run in every step, and if what they add is much the same as
//! in the last step that was computed, the blocks after them add what they added then
//! (diffusers 0.42.1 hooks/first_block_cache.py; ParaAttention's first block cache).
//!
//! More than one first block, and last blocks that run in any case, are DBCache's split (CacheDiT).
//! With one first block and no last one it is the reference's.

use crate::cache::fields::{Field, Slot};
use crate::cache::forward::{BlockAction, ForwardCache, RunCache, StepAction, Substitute};
use crate::cache::report::{Forecast, Foresight, LayerState};
use crate::cache::run_info::{RunInfo, Step};
use crate::cache::storage_options::StorageOptions;
use crate::cache::store::{bytes_of, CachedTensor, MemoryCounter, Store};
use crate::cache::technique::{RunContext, Technique};
use crate::guidance::{Branches, GuidanceBatch};
use crate::parallel::{Among, Team};
use crate::runtime::dim;
use crate::{Error, Result};
use std::sync::Arc;
use tch::{Kind, Tensor};

const MOST_BLOCKS: u32 = 1000;

/// The field of diffusers' `FirstBlockCacheConfig`, and after it those of DBCache's split.
#[derive(Debug, Clone)]
pub(super) struct FirstBlockCache {
    /// The most that what the first blocks add to the video tokens may differ from what they added
    /// in the last computed step: mean absolute difference over mean absolute value.
    threshold: f64,
    /// Blocks at the front that run in every step, and decide.
    num_first_blocks: u32,
    /// Blocks at the end that run in every step.
    num_last_blocks: u32,
}

impl FirstBlockCache {
    pub const PRESETS: &'static [&'static str] = &["diffusers"];

    /// `diffusers`: the defaults of `FirstBlockCacheConfig`.
    pub fn preset(name: &str) -> Option<Self> {
        (name == "diffusers").then_some(FirstBlockCache {
            threshold: 0.05,
            num_first_blocks: 1,
            num_last_blocks: 0,
        })
    }

    fn first(&self) -> usize {
        self.num_first_blocks as usize
    }

    fn last(&self) -> usize {
        self.num_last_blocks as usize
    }

    /// The most bytes at a time: what the first blocks added in the last computed step and in
    /// this one, and what the middle ones added.
    fn bytes(&self, run: &RunInfo, storage: &StorageOptions) -> Result<Option<u64>> {
        let Some(sizes) = &run.sizes else { return Ok(None) };
        let rows = run.token_rows(Branches::All);
        let video = sizes.tokens - sizes.text_tokens;
        let part = |tokens, kind| bytes_of(&[rows, tokens, sizes.hidden_size], kind);
        let (store, model) = (storage.store(run), Store::from(sizes.dtype));
        let middle = if self.last() > 0 { sizes.tokens } else { video };
        let kept = part(video, store)?.saturating_add(part(middle, store)?);
        let deciding = kept.saturating_add(part(video, model)?);
        // While the middle blocks run, the tokens before them are kept; the old residual is gone.
        // The new one takes their place, but for another dtype, in which it is a copy of them.
        let running = part(middle, model)?.saturating_add(part(video, store)?);
        let copied = if store == model { 0 } else { part(middle, store)? };
        Ok(Some(deciding.max(running.saturating_add(copied))))
    }

    fn fits(&self, run: &RunInfo, storage: &StorageOptions) -> Result<bool> {
        Ok(self.bytes(run, storage)?.is_none_or(|bytes| bytes <= storage.budget()))
    }
}

impl Technique for FirstBlockCache {
    fn name(&self) -> &'static str {
        "FirstBlockCache"
    }

    fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            // 0 would only skip where nothing changes at all.
            Field { name: "threshold", slot: Slot::Number(&mut self.threshold, 1e-6, 1e6) },
            Field {
                name: "num_first_blocks",
                slot: Slot::Count(&mut self.num_first_blocks, 1, MOST_BLOCKS),
            },
            Field {
                name: "num_last_blocks",
                slot: Slot::Count(&mut self.num_last_blocks, 0, MOST_BLOCKS),
            },
        ]
    }

    fn boxed(&self) -> Box<dyn Technique> {
        Box::new(self.clone())
    }

    fn validate(&self, layers: &[String]) -> Result<()> {
        if self.first() + self.last() < layers.len() {
            return Ok(());
        }
        Err(Error::InvalidArgument(format!(
            "FirstBlockCache: expected num_first_blocks and num_last_blocks to leave a block \
             between them, found {} and {} of {}: nothing would be skipped",
            self.num_first_blocks,
            self.num_last_blocks,
            layers.len()
        )))
    }

    fn takes_conditional_steps(&self) -> Result<()> {
        Ok(())
    }

    fn forecast(&self, run: &RunInfo, storage: &StorageOptions) -> Result<Forecast> {
        let fits = self.fits(run, storage)?;
        let foresight = if fits { Foresight::DataDecides } else { Foresight::Exact };
        let mut forecast =
            Forecast::of_steps(foresight, run, |_| false, |_, _| LayerState::Computed);
        forecast.bytes = if fits { self.bytes(run, storage)? } else { Some(0) };
        if !fits {
            forecast.over_budget = (self.first()..run.layers.len() - self.last()).collect();
        }
        Ok(forecast)
    }

    fn start(&self, context: RunContext<'_>) -> Result<Box<dyn RunCache>> {
        if !self.fits(context.run, &context.storage)? {
            return Ok(Box::new(crate::cache::forward::ComputeAll));
        }
        let sizes = context.run.sizes()?;
        Ok(Box::new(FirstBlockRun {
            threshold: self.threshold,
            middle: self.first()..context.run.layers.len().saturating_sub(self.last()),
            batch: context.run.batch,
            team: context.team,
            text_tokens: sizes.own_text_tokens,
            whole_sequence: self.last() > 0,
            store: context.storage.store(context.run),
            memory: context.memory,
            last_step: false,
            branches: Branches::All,
            before: None,
            first: None,
            kept_of: Branches::All,
            residual: None,
        }))
    }
}

/// One run.
struct FirstBlockRun {
    threshold: f64,
    /// The blocks that are skipped or computed together.
    middle: std::ops::Range<usize>,
    batch: GuidanceBatch,
    /// All of its running ranks decide as one.
    team: Arc<Team>,
    text_tokens: i64,
    /// Blocks come after the middle ones, so that text tokens matter too.
    whole_sequence: bool,
    store: Store,
    memory: MemoryCounter,
    /// No step will read what this one adds.
    last_step: bool,
    /// The halves that this step runs.
    branches: Branches,
    /// The tokens before the blocks that are running, of the first ones or of the middle.
    before: Option<CachedTensor>,
    /// What the first blocks added to the video tokens in the last computed step.
    first: Option<CachedTensor>,
    /// The halves that the last computed step ran.
    kept_of: Branches,
    /// What the middle blocks added then.
    residual: Option<CachedTensor>,
}

impl FirstBlockRun {
    fn video(&self, x: &Tensor) -> Result<Tensor> {
        let tokens = x.size3()?.1;
        Ok(x.f_narrow(1, self.text_tokens, tokens - self.text_tokens)?)
    }

    /// The tokens that the middle blocks' residual is of.
    fn kept_part(&self, x: &Tensor) -> Result<Tensor> {
        if self.whole_sequence {
            Ok(x.shallow_clone())
        } else {
            self.video(x)
        }
    }

    fn begin(&mut self, part: &Tensor) -> Result<()> {
        self.before = Some(CachedTensor::copy(part, part.f_kind()?, &self.memory)?);
        Ok(())
    }

    /// What was added since [`FirstBlockRun::begin`], in the same memory.
    fn added(&mut self, part: &Tensor) -> Result<CachedTensor> {
        let mut added = self
            .before
            .take()
            .ok_or_else(|| Error::Internal("cache: blocks ended that had not begun".into()))?;
        let _ = added.tensor_mut()?.f_neg_()?.f_add_(part)?;
        Ok(added)
    }

    fn stored(&self, value: CachedTensor) -> Result<CachedTensor> {
        let tensor = value.read()?;
        if self.store == tensor.f_kind()?.into() {
            return Ok(value);
        }
        CachedTensor::copy(&tensor, self.store, &self.memory)
    }

    /// Mean absolute difference over mean absolute value (first_block_cache.py:139), in float32; of
    /// the tokens of all ranks. `None` if a rank has nothing to compare with.
    fn distance(&self, now: &Tensor, then: Option<&Tensor>) -> Result<Option<f64>> {
        if !self.team.is_alone() {
            return self.distance_of_all(now, then);
        }
        let Some(then) = then else { return Ok(None) };
        let mean = |x: Tensor| x.f_abs()?.f_mean(Kind::Float);
        let ratio = mean(now.f_sub(then)?)?.f_div(&mean(then.shallow_clone())?)?;
        Ok(Some(ratio.f_double_value(&[])?))
    }

    fn distance_of_all(&self, now: &Tensor, then: Option<&Tensor>) -> Result<Option<f64>> {
        let sum = |x: &Tensor| x.f_abs()?.f_sum(Kind::Float)?.f_double_value(&[]);
        let own = match then {
            Some(then) => [1.0, sum(&now.f_sub(then)?)?, sum(then)?],
            None => [0.0; 3],
        };
        let ranks = self.team.each(Among::Running, own)?;
        if ranks.iter().any(|[has, ..]| *has == 0.0) {
            return Ok(None);
        }
        let total = |of: fn(&[f64; 3]) -> f64| ranks.iter().map(of).sum::<f64>();
        Ok(Some(total(|[_, difference, _]| *difference) / total(|[.., then]| *then)))
    }

    /// What was kept, for the halves that `x` has; `None` if a half was not computed then.
    fn of_rows(&self, kept: &Option<CachedTensor>, x: &Tensor) -> Result<Option<Tensor>> {
        let Some(kept) = kept else { return Ok(None) };
        if self.kept_of == Branches::ConditionalOnly && self.branches == Branches::All {
            return Ok(None);
        }
        let (kept, rows) = (kept.read()?, dim(x, 0)?);
        match dim(&kept, 0)? {
            found if found == rows => Ok(Some(kept)),
            found if found > rows => Ok(Some(self.batch.conditional(&kept)?)),
            _ => Ok(None),
        }
    }

    /// The middle blocks are about to run or to be skipped.
    fn decide(&mut self, x: &Tensor) -> Result<BlockAction> {
        let now = self.added(&self.video(x)?)?;
        let residual = self.of_rows(&self.residual, x)?;
        let then = self.of_rows(&self.first, x)?.filter(|_| residual.is_some());
        let distance = self.distance(now.tensor()?, then.as_ref())?;
        // Not a number compares as the reference does: it is no reason to compute.
        let differs = distance.is_none_or(|distance| distance > self.threshold);
        if let Some(value) = residual.filter(|_| !differs) {
            let residual = Substitute { value, state: LayerState::Skipped };
            return Ok(BlockAction::Skip { to: self.middle.end, residual });
        }
        drop(then);
        (self.first, self.residual) = (None, None);
        self.kept_of = self.branches;
        if !self.last_step {
            self.first = Some(self.stored(now)?);
            let part = self.kept_part(x)?;
            self.begin(&part)?;
        }
        Ok(BlockAction::Compute)
    }
}

impl ForwardCache for FirstBlockRun {
    fn block(&mut self, block: usize, x: &Tensor) -> Result<BlockAction> {
        if block == 0 {
            let video = self.video(x)?;
            self.begin(&video)?;
        }
        if block == self.middle.start {
            return self.decide(x);
        }
        Ok(BlockAction::Compute)
    }

    fn block_computed(&mut self, block: usize, x: &Tensor) -> Result<()> {
        if block + 1 == self.middle.end && !self.last_step {
            let part = self.kept_part(x)?;
            let added = self.added(&part)?;
            self.residual = Some(self.stored(added)?);
        }
        Ok(())
    }
}

impl RunCache for FirstBlockRun {
    fn begin_step(&mut self, step: &Step) -> Result<StepAction> {
        self.last_step = step.index + 1 == step.total;
        self.branches = step.branches;
        Ok(StepAction::Run(Branches::All))
    }

    fn end_step(&mut self, output: Tensor) -> Result<Tensor> {
        if self.last_step {
            (self.first, self.residual, self.before) = (None, None, None);
        }
        Ok(output)
    }
}
