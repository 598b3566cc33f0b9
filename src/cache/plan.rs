//! A technique's settings meet a run: which layers, which steps, how many bytes.

use super::schedule::{last_reads, most_alive, At, Circumstances, Decision, HistoryRule, Lanes};
use super::storage::bytes_of;
use super::technique::Technique;
use super::{layer_selection, Branches, Course, RunShape, StorageOptions};
use crate::Result;
use tch::Kind;

/// Everything about a run that is known before it.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub circumstances: Circumstances,
    /// One per step. With a timestep callback these are what the pipeline's own timesteps
    /// would give.
    pub decisions: Vec<Decision>,
    /// No callback decides, so the run does exactly this.
    pub foreseen: bool,
    /// For each layer its kind of attention; `None` for layers that aren't selected.
    pub kinds: Vec<Option<usize>>,
    /// For each layer whether its outputs are kept: selected, and within the budget.
    pub cached: Vec<bool>,
    /// Layers that are selected and computed for want of bytes.
    pub over_budget: Vec<usize>,
    pub rule: HistoryRule,
    /// The dtype in which outputs are kept.
    pub store: Kind,
    /// What will be kept at peak; `None` where the sizes aren't known.
    pub bytes: Option<u64>,
}

impl Plan {
    /// `shape` is needed for bytes and for the budget alone.
    pub fn new(
        technique: &dyn Technique,
        course: &Course,
        shape: Option<&RunShape>,
        options: StorageOptions,
    ) -> Result<Plan> {
        let kinds = layer_selection::select(&technique.kinds(), &course.layers)?;
        let rule = technique.history(course.guided);
        let budget = options.max_cache_bytes.unwrap_or(u64::MAX);
        let other = match shape {
            Some(shape) if course.guided => technique.other_bytes(shape)?,
            _ => 0,
        };
        let circumstances =
            Circumstances { guided: course.guided, room_to_rebuild: other <= budget };
        let decisions = decide(technique, course, circumstances);
        let mut plan = Plan {
            circumstances,
            foreseen: technique.timestep_callback().is_none(),
            cached: kinds.iter().map(Option::is_some).collect(),
            over_budget: Vec::new(),
            rule,
            store: match (options.cache_dtype, shape) {
                (Some(dtype), _) => dtype.kind(),
                (None, Some(shape)) => shape.dtype,
                (None, None) => Kind::Float,
            },
            bytes: None,
            decisions,
            kinds,
        };
        if let Some(shape) = shape {
            plan.fit(technique, shape, budget, other)?;
        }
        Ok(plan)
    }

    /// Gives bytes to the layers in their order, as far as the budget goes.
    fn fit(
        &mut self,
        technique: &dyn Technique,
        shape: &RunShape,
        budget: u64,
        other: u64,
    ) -> Result<()> {
        let per_layer = (0..technique.kinds().len())
            .map(|kind| self.layer_bytes(kind, shape))
            .collect::<Result<Vec<u64>>>()?;
        let skips = self.decisions.iter().any(|d| d.branches == Branches::ConditionalOnly);
        let mut total = if skips || !self.foreseen { other.min(budget) } else { 0 };
        let mut held = total;
        for (layer, kind) in self.kinds.iter().enumerate() {
            let Some(kind) = kind else { continue };
            let bytes = per_layer.get(*kind).copied().unwrap_or(0);
            match held.checked_add(bytes).filter(|sum| *sum <= budget) {
                Some(sum) => {
                    held = sum;
                    total = sum;
                }
                None => {
                    if let Some(cached) = self.cached.get_mut(layer) {
                        *cached = false;
                    }
                    self.over_budget.push(layer);
                }
            }
        }
        self.bytes = Some(total);
        Ok(())
    }

    /// The most bytes that one layer of `kind` keeps at a time.
    fn layer_bytes(&self, kind: usize, shape: &RunShape) -> Result<u64> {
        let outputs: usize = (0..self.rule.lanes.count())
            .map(|lane| {
                if self.foreseen {
                    most_alive(&last_reads(&self.decisions, self.rule, kind, lane))
                } else {
                    self.rule.of_lane(lane).depth
                }
            })
            .sum();
        let batch = match self.rule.lanes {
            Lanes::Whole if self.circumstances.guided => shape.videos.saturating_mul(2),
            _ => shape.videos,
        };
        let one = bytes_of(&[batch, shape.tokens, shape.width], self.store)?;
        Ok(one.saturating_mul(outputs as u64))
    }

    /// What a layer does in a step: `true` if it takes kept output.
    pub fn reuses(&self, decision: &Decision, layer: usize) -> bool {
        let kind = self.kinds.get(layer).copied().flatten();
        let cached = self.cached.get(layer).copied().unwrap_or(false);
        cached && kind.is_some_and(|kind| decision.reuse.get(kind).copied().unwrap_or(false))
    }
}

fn decide(
    technique: &dyn Technique,
    course: &Course,
    circumstances: Circumstances,
) -> Vec<Decision> {
    let total = course.timesteps.len();
    course
        .timesteps
        .iter()
        .enumerate()
        .map(|(index, &timestep)| {
            technique.decide(&At { index, total, timestep: timestep as f64 }, circumstances)
        })
        .collect()
}
