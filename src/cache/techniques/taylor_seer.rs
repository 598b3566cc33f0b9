//! TaylorSeer: outputs are predicted by a Taylor series from those of the steps that computed them
//! (arXiv 2503.06923; diffusers 0.42.1 hooks/taylorseer_cache.py).
//!
//! The first steps compute, then every `cache_interval`th, then those from
//! `disable_cache_after_step` on (taylorseer_cache.py:231). Each computed step gives the series its
//! next derivatives, as differences over the steps since the last (line 144); a step that does not
//! compute evaluates it (line 178).
//!
//! In lite mode the series is that of the model's output, and nothing of the model runs on
//! predicted steps. Otherwise identifiers name the modules whose outputs are predicted: attention
//! (`transformer_blocks.N.attn1`) and feed-forward (`transformer_blocks.N.ff`); those that
//! `skip_predict_identifiers` names give zeros on predicted steps. An identifier is a regular
//! expression that matches a name from end to end. diffusers' own default identifiers match
//! nothing in CogVideoX, and its cache then computes everything without a word; here that is an
//! error, and lite mode the default.

use crate::cache::fields::{Field, Slot};
use crate::cache::forward::{ForwardCache, Module, RunCache, StepAction, Substitute};
use crate::cache::report::{Forecast, Foresight, LayerState};
use crate::cache::run_info::{RunInfo, Sizes, Step};
use crate::cache::storage_options::StorageOptions;
use crate::cache::store::{bytes_of, CachedTensor, MemoryCounter};
use crate::cache::technique::{RunContext, Technique};
use crate::guidance::Branches;
use crate::{Error, Result};
use fancy_regex::Regex;
use std::collections::BTreeMap;
use tch::{Kind, Tensor};

const DTYPES: [&str; 4] = ["auto", "f32", "f16", "bf16"];
const ATTENTION_AND_FEED_FORWARD: &str = r"transformer_blocks\.\d+\.(attn1|ff)";
/// More terms than a series of this kind gains from.
const MOST_ORDERS: u32 = 8;

/// The fields of diffusers' `TaylorSeerCacheConfig`.
#[derive(Debug, Clone)]
pub(super) struct TaylorSeer {
    cache_interval: u32,
    disable_cache_before_step: u32,
    disable_cache_after_step: Option<u32>,
    max_order: u32,
    /// What derivatives are kept in; "auto" is the model's dtype.
    taylor_factors_dtype: &'static str,
    skip_predict_identifiers: Vec<String>,
    cache_identifiers: Vec<String>,
    use_lite_mode: bool,
}

/// What becomes of a module on predicted steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Predict,
    Zero,
}

type Targets = BTreeMap<(usize, bool), Target>;

/// A module as a key of [`Targets`].
fn key(block: usize, module: Module) -> (usize, bool) {
    (block, module == Module::FeedForward)
}

impl TaylorSeer {
    pub const PRESETS: &'static [&'static str] = &["lite", "attention-and-feed-forward"];

    /// Both with diffusers' defaults for all but what is predicted:
    /// - `lite`: the model's output;
    /// - `attention-and-feed-forward`: the outputs of both modules of every block.
    pub fn preset(name: &str) -> Option<Self> {
        let lite = TaylorSeer {
            cache_interval: 5,
            disable_cache_before_step: 3,
            disable_cache_after_step: None,
            max_order: 1,
            taylor_factors_dtype: "bf16",
            skip_predict_identifiers: Vec::new(),
            cache_identifiers: Vec::new(),
            use_lite_mode: true,
        };
        match name {
            "lite" => Some(lite),
            "attention-and-feed-forward" => Some(TaylorSeer {
                use_lite_mode: false,
                cache_identifiers: vec![ATTENTION_AND_FEED_FORWARD.to_string()],
                ..lite
            }),
            _ => None,
        }
    }

    /// The step runs the model, counted from 0 (taylorseer_cache.py:231).
    fn computes(&self, step: usize) -> bool {
        let before = self.disable_cache_before_step as usize;
        step < before
            || (step + self.cache_interval as usize - before % self.cache_interval as usize - 1)
                .is_multiple_of(self.cache_interval as usize)
            || self.disable_cache_after_step.is_some_and(|after| step >= after as usize)
    }

    /// The last step that is predicted.
    fn last_predicted(&self, steps: usize) -> Option<usize> {
        (0..steps).rev().find(|&step| !self.computes(step))
    }

    /// The dtype of kept derivatives.
    fn kind(&self, model: Kind) -> Kind {
        match self.taylor_factors_dtype {
            "f32" => Kind::Float,
            "f16" => Kind::Half,
            "bf16" => Kind::BFloat16,
            _ => model,
        }
    }

    /// The modules that identifiers name. Errors: [`Error::InvalidArgument`] for an identifier
    /// that names none.
    fn targets(&self, layers: &[String]) -> Result<Targets> {
        let mut targets = Targets::new();
        for (field, identifiers, target) in [
            ("cache_identifiers", &self.cache_identifiers, Target::Predict),
            ("skip_predict_identifiers", &self.skip_predict_identifiers, Target::Zero),
        ] {
            for identifier in identifiers {
                let pattern = compile(field, identifier)?;
                let mut matched = false;
                for block in 0..layers.len() {
                    for module in [Module::Attention, Module::FeedForward] {
                        let name = format!("transformer_blocks.{block}.{}", module.name());
                        // A pattern that backtracks without end is stopped by the engine's limit.
                        let found = pattern.is_match(&name).map_err(|error| {
                            Error::InvalidArgument(format!("{field}: {identifier:?}: {error}"))
                        })?;
                        if found {
                            matched = true;
                            targets.insert(key(block, module), target);
                        }
                    }
                }
                if !matched {
                    return Err(Error::InvalidArgument(format!(
                        "{field}: {identifier:?} matches no module that can be predicted, of \
                         transformer_blocks.0.attn1, transformer_blocks.0.ff … \
                         transformer_blocks.{}.ff from end to end; use_lite_mode predicts the \
                         model's output",
                        layers.len().saturating_sub(1)
                    )));
                }
            }
        }
        Ok(targets)
    }

    /// The most bytes of one series of outputs of this size.
    fn series_bytes(&self, size: &[i64], run: &RunInfo, model: Kind) -> Result<u64> {
        let last = self.last_predicted(run.timesteps.len()).unwrap_or(0);
        let computed = (0..last).filter(|&step| self.computes(step)).count();
        let terms = computed.min(self.max_order as usize + 1) as u64;
        Ok(bytes_of(size, self.kind(model))?.saturating_mul(terms))
    }

    /// What a run predicts, within its budget, and the bytes for it.
    fn plan(&self, run: &RunInfo, storage: &StorageOptions) -> Result<Plan> {
        let steps = run.timesteps.len();
        if self.last_predicted(steps).is_none() {
            return Err(Error::InvalidArgument(format!(
                "TaylorSeer: expected settings that predict a step, found none of {steps} steps \
                 predicted with cache_interval {}, disable_cache_before_step {} and \
                 disable_cache_after_step {:?}",
                self.cache_interval, self.disable_cache_before_step, self.disable_cache_after_step
            )));
        }
        let mut plan = Plan { whole: self.use_lite_mode, ..Plan::default() };
        if self.use_lite_mode {
            if let Some(sizes) = &run.sizes {
                let size = [&[run.batch.rows(Branches::All)], sizes.output.get(1..).unwrap_or(&[])];
                let bytes = self.series_bytes(&size.concat(), run, sizes.dtype)?;
                plan.whole = bytes <= storage.budget();
                plan.bytes = Some(if plan.whole { bytes } else { 0 });
                if !plan.whole {
                    plan.over_budget = (0..run.layers.len()).collect();
                }
            }
            return Ok(plan);
        }
        plan.targets = self.targets(&run.layers)?;
        if let Some(sizes) = &run.sizes {
            self.fit(&mut plan, sizes, run, storage.budget())?;
        }
        Ok(plan)
    }

    /// Gives bytes to the blocks in their order, as far as the budget goes.
    fn fit(&self, plan: &mut Plan, sizes: &Sizes, run: &RunInfo, budget: u64) -> Result<()> {
        let size = [run.token_rows(Branches::All), sizes.tokens, sizes.hidden_size];
        let one = self.series_bytes(&size, run, sizes.dtype)?;
        let mut total = 0u64;
        for block in 0..run.layers.len() {
            let predicted = [Module::Attention, Module::FeedForward]
                .iter()
                .filter(|m| plan.targets.get(&key(block, **m)) == Some(&Target::Predict))
                .count();
            let bytes = one.saturating_mul(predicted as u64);
            match total.checked_add(bytes).filter(|sum| *sum <= budget) {
                Some(sum) => total = sum,
                None => {
                    plan.targets.retain(|(of, _), _| *of != block);
                    plan.over_budget.push(block);
                }
            }
        }
        plan.bytes = Some(total);
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Plan {
    /// The model's output is predicted.
    whole: bool,
    /// Empty in lite mode.
    targets: Targets,
    over_budget: Vec<usize>,
    bytes: Option<u64>,
}

impl Plan {
    /// What a layer is on a predicted step, if the model runs.
    fn state(&self, block: usize) -> LayerState {
        let has = |module| self.targets.contains_key(&key(block, module));
        match (has(Module::Attention), has(Module::FeedForward)) {
            (true, true) => LayerState::Predicted,
            (true, false) => LayerState::Approximated,
            (false, true) => LayerState::FeedForwardPredicted,
            (false, false) => LayerState::Computed,
        }
    }
}

/// `re.fullmatch`.
fn compile(field: &str, identifier: &str) -> Result<Regex> {
    Regex::new(&format!("^(?:{identifier})$")).map_err(|error| {
        Error::InvalidArgument(format!(
            "{field}: expected a regular expression, found {identifier:?}: {error}"
        ))
    })
}

impl Technique for TaylorSeer {
    fn name(&self) -> &'static str {
        "TaylorSeer"
    }

    fn fields(&mut self) -> Vec<Field<'_>> {
        let field = |name, slot| Field { name, slot };
        vec![
            field("cache_interval", Slot::Count(&mut self.cache_interval, 2, 100_000)),
            field(
                "disable_cache_before_step",
                Slot::Count(&mut self.disable_cache_before_step, 1, 100_000),
            ),
            field(
                "disable_cache_after_step",
                Slot::OptionalCount(&mut self.disable_cache_after_step, 1, 100_000),
            ),
            field("max_order", Slot::Count(&mut self.max_order, 0, MOST_ORDERS)),
            field("taylor_factors_dtype", Slot::Choice(&mut self.taylor_factors_dtype, &DTYPES)),
            field(
                "skip_predict_identifiers",
                Slot::Identifiers(&mut self.skip_predict_identifiers),
            ),
            field("cache_identifiers", Slot::Identifiers(&mut self.cache_identifiers)),
            field("use_lite_mode", Slot::Flag(&mut self.use_lite_mode)),
        ]
    }

    fn boxed(&self) -> Box<dyn Technique> {
        Box::new(self.clone())
    }

    fn validate(&self, layers: &[String]) -> Result<()> {
        if !self.use_lite_mode && self.targets(layers)?.is_empty() {
            return Err(Error::InvalidArgument(
                "TaylorSeer: expected use_lite_mode, cache_identifiers or \
                 skip_predict_identifiers, found none: nothing would be predicted"
                    .into(),
            ));
        }
        Ok(())
    }

    /// The model's output is whole however it came about; modules' outputs are not.
    fn takes_conditional_steps(&self) -> Result<()> {
        if self.use_lite_mode {
            return Ok(());
        }
        Err(Error::InvalidArgument(
            "TaylorSeer: expected use_lite_mode with a technique that runs one half of the \
             guidance, found false"
                .into(),
        ))
    }

    fn remarks(&self) -> Vec<String> {
        let ignored = self.use_lite_mode
            && !(self.cache_identifiers.is_empty() && self.skip_predict_identifiers.is_empty());
        ignored
            .then(|| "TaylorSeer: use_lite_mode is set, so identifiers select nothing".to_string())
            .into_iter()
            .collect()
    }

    fn prediction_order(&self) -> usize {
        self.max_order as usize
    }

    fn takes_any_storage(&self) -> Result<()> {
        Err(Error::InvalidArgument(
            "TaylorSeer keeps its terms on the device, in taylor_factors_dtype: expected a technique \
             that repeats what it keeps, such as Pyramid Attention Broadcast or FasterCache"
                .into(),
        ))
    }

    fn forecast(&self, run: &RunInfo, storage: &StorageOptions) -> Result<Forecast> {
        let plan = self.plan(run, storage)?;
        let state = |step: &Step, layer| match self.computes(step.index) {
            true => LayerState::Computed,
            false if plan.whole => LayerState::Predicted,
            false => plan.state(layer),
        };
        let whole = |step: &Step| plan.whole && !self.computes(step.index);
        let mut forecast = Forecast::of_steps(Foresight::Exact, run, whole, state);
        (forecast.bytes, forecast.over_budget) = (plan.bytes, plan.over_budget);
        Ok(forecast)
    }

    fn start(&self, context: RunContext<'_>) -> Result<Box<dyn RunCache>> {
        let plan = self.plan(context.run, &context.storage)?;
        let sizes = context.run.sizes()?;
        Ok(Box::new(TaylorRun {
            last_predicted: self.last_predicted(context.run.timesteps.len()).unwrap_or(0),
            kind: self.kind(sizes.dtype),
            settings: self.clone(),
            whole: plan.whole,
            targets: plan.targets,
            memory: context.memory,
            series: BTreeMap::new(),
            output: Series::default(),
            step: 0,
        }))
    }
}

/// One run.
struct TaylorRun {
    settings: TaylorSeer,
    /// The model's output is predicted.
    whole: bool,
    targets: Targets,
    /// The dtype of kept derivatives.
    kind: Kind,
    memory: MemoryCounter,
    last_predicted: usize,
    step: usize,
    series: BTreeMap<(usize, bool), Series>,
    /// That of the model's output, in lite mode.
    output: Series,
}

impl TaylorRun {
    fn computes(&self) -> bool {
        self.settings.computes(self.step)
    }

    /// A later step reads what this one computes.
    fn read_later(&self) -> bool {
        self.step < self.last_predicted
    }
}

impl ForwardCache for TaylorRun {
    fn module(&mut self, block: usize, module: Module) -> Result<Option<Substitute>> {
        let place = key(block, module);
        let Some(target) = self.targets.get(&place).filter(|_| !self.computes()) else {
            return Ok(None);
        };
        // What is known only now is the size: zeros take that of the last output.
        let series = self.series.entry(place).or_default();
        let value = match target {
            Target::Predict => series.evaluate(self.step)?,
            Target::Zero => series.zeros()?,
        };
        if self.step >= self.last_predicted {
            series.terms.clear();
        }
        Ok(Some(Substitute { value, state: LayerState::Approximated }))
    }

    fn module_computed(&mut self, block: usize, module: Module, output: &Tensor) -> Result<()> {
        let place = key(block, module);
        let Some(target) = self.targets.get(&place) else { return Ok(()) };
        let series = self.series.entry(place).or_default();
        if self.step >= self.last_predicted {
            series.terms.clear();
            return Ok(());
        }
        match target {
            Target::Zero => {
                series.like = Some((output.size(), output.f_kind()?, output.device()));
                Ok(())
            }
            Target::Predict => series.update(
                output,
                self.step,
                self.settings.max_order as usize,
                self.kind,
                &self.memory,
            ),
        }
    }
}

impl RunCache for TaylorRun {
    fn begin_step(&mut self, step: &Step) -> Result<StepAction> {
        self.step = step.index;
        if self.whole && !self.computes() {
            let output = self.output.evaluate(self.step)?;
            if self.step >= self.last_predicted {
                self.output.terms.clear();
            }
            return Ok(StepAction::Predicted(output));
        }
        Ok(StepAction::Run(Branches::All))
    }

    fn end_step(&mut self, output: Tensor) -> Result<Tensor> {
        if self.whole && self.computes() && self.read_later() {
            let order = self.settings.max_order as usize;
            self.output.update(&output, self.step, order, self.kind, &self.memory)?;
        }
        Ok(output)
    }
}

/// The Taylor series of one output around the last step that computed it.
#[derive(Debug, Default)]
struct Series {
    /// The output and its derivatives, lowest order first, in the dtype that they are kept in.
    terms: Vec<CachedTensor>,
    last_update: usize,
    /// Size, dtype and device of the output.
    like: Option<(Vec<i64>, Kind, tch::Device)>,
}

impl Series {
    /// `output` was computed at `step` (taylorseer_cache.py:144). Differences are taken in the
    /// output's dtype and rounded when they are kept.
    fn update(
        &mut self,
        output: &Tensor,
        step: usize,
        max_order: usize,
        kind: Kind,
        memory: &MemoryCounter,
    ) -> Result<()> {
        let model = output.f_kind()?;
        self.like = Some((output.size(), model, output.device()));
        let distance = step.saturating_sub(self.last_update).max(1) as f64;
        let old = std::mem::take(&mut self.terms);
        let mut new = output.shallow_clone();
        // Each old term goes as soon as it has given the next derivative.
        for term in old {
            if self.terms.len() >= max_order {
                break;
            }
            let next = new.f_sub(&term.stored()?.f_to_kind(model)?)?.f_div_scalar_(distance)?;
            drop(term);
            self.terms.push(CachedTensor::copy(&new, kind, memory)?);
            new = next;
        }
        self.terms.push(CachedTensor::copy(&new, kind, memory)?);
        self.last_update = step;
        Ok(())
    }

    /// The series at `step` (taylorseer_cache.py:178).
    fn evaluate(&self, step: usize) -> Result<Tensor> {
        let (_, model, _) = self.like()?;
        let offset = step.saturating_sub(self.last_update) as f64;
        let mut sum: Option<Tensor> = None;
        let mut factor = 1.0;
        for (order, term) in self.terms.iter().enumerate() {
            if order > 0 {
                factor *= offset / order as f64;
            }
            // A copy: the first becomes the sum, which is added to in place.
            let term = term.stored()?.f_to_dtype(*model, false, true)?.f_mul_scalar_(factor)?;
            sum = Some(match sum {
                None => term,
                Some(mut sum) => sum.f_add_(&term)?,
            });
        }
        sum.ok_or_else(|| Error::Internal("cache: a series without terms".into()))
    }

    fn zeros(&self) -> Result<Tensor> {
        let (size, kind, device) = self.like()?;
        Ok(Tensor::f_zeros(size.as_slice(), (*kind, *device))?)
    }

    fn like(&self) -> Result<&(Vec<i64>, Kind, tch::Device)> {
        self.like
            .as_ref()
            .ok_or_else(|| Error::Internal("cache: a series before its first output".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    /// By hand from the conditions of taylorseer_cache.py:231, with Python's modulo.
    #[test]
    fn the_schedule_is_the_references() {
        let computed = |settings: &TaylorSeer, steps: usize| -> Vec<usize> {
            (0..steps).filter(|&step| settings.computes(step)).collect()
        };
        let mut settings = TaylorSeer::preset("lite").expect("lite");
        assert_eq!(computed(&settings, 20), [0, 1, 2, 4, 9, 14, 19]);
        settings.disable_cache_after_step = Some(16);
        assert_eq!(computed(&settings, 20), [0, 1, 2, 4, 9, 14, 16, 17, 18, 19]);
        settings = TaylorSeer { cache_interval: 3, disable_cache_before_step: 1, ..settings };
        settings.disable_cache_after_step = None;
        // (s - 1 - 1) mod 3 == 0: 2, 5, 8; step 0 comes before.
        assert_eq!(computed(&settings, 10), [0, 2, 5, 8]);
        assert_eq!(settings.last_predicted(10), Some(9));
        assert_eq!(settings.last_predicted(1), None);
    }

    #[test]
    fn a_polynomial_of_its_order_is_continued_exactly() -> Result<()> {
        let value = |step: f64| {
            Tensor::f_from_slice(&[3.0 + 2.0 * step, 1.0]).map(|x| x.to_kind(Kind::Double))
        };
        let memory = MemoryCounter::default();
        let mut series = Series::default();
        for step in [0usize, 2, 5] {
            series.update(&value(step as f64)?, step, 1, Kind::Double, &memory)?;
        }
        let found = Vec::<f64>::try_from(series.evaluate(9)?)?;
        assert_eq!(found, [21.0, 1.0]);
        assert_eq!(memory.now(), 2 * 2 * 8);
        drop(series);
        assert_eq!(memory.now(), 0);
        Ok(())
    }

    #[test]
    fn zeros_are_shaped_as_what_they_stand_for() -> Result<()> {
        let series =
            Series { like: Some((vec![2, 3], Kind::Half, Device::Cpu)), ..Series::default() };
        let zeros = series.zeros()?;
        assert_eq!((zeros.size(), zeros.f_kind()?), (vec![2, 3], Kind::Half));
        assert!(Series::default().zeros().is_err());
        Ok(())
    }
}
