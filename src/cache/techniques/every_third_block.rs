//! A technique that only tests have: on every other step, every third block adds what it added on
//! the step before. It proves that a technique is one file and one entry of the list, and shows
//! how little one needs to say.

use crate::cache::fields::{Field, Slot};
use crate::cache::forward::{BlockAction, ForwardCache, RunCache, StepAction, Substitute};
use crate::cache::report::{Forecast, Foresight, LayerState};
use crate::cache::run_info::{RunInfo, Step};
use crate::cache::storage_options::StorageOptions;
use crate::cache::store::{bytes_of, CachedTensor, MemoryCounter, Store};
use crate::cache::technique::{RunContext, Technique};
use crate::guidance::Branches;
use crate::{Error, Result};
use std::collections::BTreeMap;
use tch::Tensor;

/// The settings: every so many blocks one is skipped.
#[derive(Debug, Clone)]
pub(super) struct EveryThirdBlock {
    blocks: u32,
}

impl EveryThirdBlock {
    pub const PRESETS: &'static [&'static str] = &["third"];

    pub fn preset(name: &str) -> Option<Self> {
        (name == "third").then_some(EveryThirdBlock { blocks: 3 })
    }

    /// The block is one of those that are skipped.
    fn selects(&self, block: usize) -> bool {
        (block + 1).is_multiple_of(self.blocks as usize)
    }

    fn skips(step: usize) -> bool {
        step % 2 == 1
    }
}

impl Technique for EveryThirdBlock {
    fn name(&self) -> &'static str {
        "EveryThirdBlock"
    }

    fn fields(&mut self) -> Vec<Field<'_>> {
        vec![Field { name: "blocks", slot: Slot::Count(&mut self.blocks, 2, 100) }]
    }

    fn boxed(&self) -> Box<dyn Technique> {
        Box::new(self.clone())
    }

    fn validate(&self, layers: &[String]) -> Result<()> {
        if (0..layers.len()).any(|block| self.selects(block)) {
            return Ok(());
        }
        Err(Error::InvalidArgument(format!(
            "blocks: expected a number up to {}, the model's blocks, found {}",
            layers.len(),
            self.blocks
        )))
    }

    fn forecast(&self, run: &RunInfo, storage: &StorageOptions) -> Result<Forecast> {
        let state = |step: &Step, block| match EveryThirdBlock::skips(step.index) {
            true if self.selects(block) => LayerState::Skipped,
            _ => LayerState::Computed,
        };
        let mut forecast = Forecast::of_steps(Foresight::Exact, run, |_| false, state);
        if let Some(sizes) = &run.sizes {
            let shape = [run.token_rows(Branches::All), sizes.tokens, sizes.hidden_size];
            let selected = (0..run.layers.len()).filter(|&block| self.selects(block)).count();
            let one = bytes_of(&shape, storage.store(run))?;
            forecast.bytes = Some(one.saturating_mul(selected as u64));
        }
        Ok(forecast)
    }

    fn start(&self, context: RunContext<'_>) -> Result<Box<dyn RunCache>> {
        Ok(Box::new(EveryThirdRun {
            technique: self.clone(),
            store: context.storage.store(context.run),
            memory: context.memory,
            skipping: false,
            entered: None,
            added: BTreeMap::new(),
        }))
    }
}

/// One run.
struct EveryThirdRun {
    technique: EveryThirdBlock,
    store: Store,
    memory: MemoryCounter,
    skipping: bool,
    /// The tokens that entered the selected block under way.
    entered: Option<CachedTensor>,
    /// By block, what it added on the step before.
    added: BTreeMap<usize, CachedTensor>,
}

impl ForwardCache for EveryThirdRun {
    fn block(&mut self, block: usize, x: &Tensor) -> Result<BlockAction> {
        if !self.technique.selects(block) {
            return Ok(BlockAction::Compute);
        }
        let kept = self.added.remove(&block).filter(|_| self.skipping);
        if let Some(added) = kept {
            let residual = Substitute { value: added.read()?, state: LayerState::Skipped };
            return Ok(BlockAction::Skip { to: block + 1, residual });
        }
        self.entered = Some(CachedTensor::copy(x, x.f_kind()?, &self.memory)?);
        Ok(BlockAction::Compute)
    }

    fn block_computed(&mut self, block: usize, x: &Tensor) -> Result<()> {
        if let Some(entered) = self.entered.take() {
            let added = x.f_sub(&entered.read()?)?;
            drop(entered);
            let added = CachedTensor::share(&added, self.store, &self.memory)?;
            self.added.insert(block, added);
        }
        Ok(())
    }
}

impl RunCache for EveryThirdRun {
    fn begin_step(&mut self, step: &Step) -> Result<StepAction> {
        self.skipping = EveryThirdBlock::skips(step.index);
        Ok(StepAction::Run(Branches::All))
    }
}

#[cfg(test)]
mod tests {
    use crate::cache::{CacheConfig, LayerCounts, LayerState, Value};
    use crate::pipeline::{GenerateOptions, LoadOptions, Output, Pipeline};
    use crate::runtime::Control;
    use crate::Result;
    use std::path::Path;

    fn pipeline() -> Result<Pipeline> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model/pipeline");
        let options = LoadOptions { device: "cpu".into(), ..LoadOptions::default() };
        Pipeline::load(&folder, &options, &Control::default())
    }

    #[test]
    fn one_file_and_one_entry_make_a_technique() -> Result<()> {
        let pipeline = pipeline()?;
        let options = GenerateOptions {
            prompt: "a red circle moves right".into(),
            num_inference_steps: 4,
            output: Output::Latents,
            seed: 1,
            ..GenerateOptions::default()
        };
        let latents = |config: Option<&CacheConfig>| -> Result<tch::Tensor> {
            match config {
                Some(config) => pipeline.enable_cache(config)?,
                None => pipeline.disable_cache()?,
            }
            let video = pipeline.generate(&options, &Control::default())?;
            video.latents.ok_or_else(|| crate::Error::Internal("no latents".into()))
        };
        let uncached = latents(None)?;
        let mut config = CacheConfig::new("every_third_block", None)?;
        let cached = latents(Some(&config))?;
        assert!(!cached.f_equal(&uncached)?);
        let stats = pipeline.cache_stats().expect("a run");
        let blocks = stats.trace.layers.len();
        for block in 0..blocks {
            let skipped = if block % 3 == 2 { 2 } else { 0 };
            let expected = LayerCounts { computed: 4 - skipped, skipped, ..Default::default() };
            assert_eq!(stats.trace.counts(block), expected, "block {block}");
        }
        let preview = pipeline.preview_cache(&config, &options)?;
        assert_eq!(preview.trace.steps, stats.trace.steps);
        assert_eq!((stats.bytes_now, Some(stats.bytes_peak)), (0, preview.bytes_peak));
        assert!(stats.to_string().contains(LayerState::Skipped.symbol()));

        // Its field has a name and JSON, and one that would skip nothing is refused.
        let json = config.to_json()?;
        assert_eq!(CacheConfig::from_json(&json)?.to_json()?, json);
        config.set("blocks", Value::Number(100.0))?;
        let error = latents(Some(&config)).expect_err("nothing to skip").to_string();
        assert!(error.contains("blocks: expected a number up to"), "{error}");
        assert!(latents(None)?.f_equal(&uncached)?);
        Ok(())
    }
}
