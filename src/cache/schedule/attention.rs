//! A schedule of attention reuse meets a run: which layers, which steps, how many bytes.

use super::lifetimes::{last_reads, most_alive, HistoryRule, Remembered};
use super::selection::{select, AttentionGroup};
use super::step_plan::StepPlan;
use crate::cache::callbacks::StepCallback;
use crate::cache::report::{Forecast, Foresight, LayerState, StepTrace, Unconditional};
use crate::cache::run_info::{RunInfo, Sizes, Step};
use crate::cache::storage_options::StorageOptions;
use crate::cache::store::{bytes_of, Store};
use crate::guidance::{Branches, GuidanceBatch};
use crate::parallel::Half;
use crate::Result;

/// What a technique that reuses attention outputs does in each step of a run.
pub(in crate::cache) trait AttentionSchedule: Send + Sync {
    /// The groups of attention modules that it tells apart. A group's place in this list is its
    /// place in [`StepPlan::reuse`].
    fn groups(&self) -> Vec<AttentionGroup<'_>>;

    /// What one step does. Pure, so that a run can be told before it is run.
    fn plan(&self, step: &Step) -> StepPlan;

    /// Which outputs of a layer are remembered.
    fn history(&self) -> HistoryRule;

    /// The host's own timestep, asked for once per step instead of taking the pipeline's.
    fn timestep_callback(&self) -> Option<&StepCallback>;
}

/// Everything about a run's reuse of attention that is known before it.
#[derive(Debug, Clone)]
pub(in crate::cache) struct AttentionPlan {
    pub batch: GuidanceBatch,
    /// Which of its halves this rank's tokens are of.
    pub half: Half,
    /// One per step. With a timestep callback these are what the pipeline's own timesteps would
    /// give.
    pub steps: Vec<StepPlan>,
    /// No callback decides, so the run does exactly this.
    pub foreseen: bool,
    /// For each layer its group; `None` for layers that aren't selected.
    groups: Vec<Option<usize>>,
    /// How many groups there are.
    pub num_groups: usize,
    /// For each layer whether its outputs are kept: selected, and within the budget.
    cached: Vec<bool>,
    /// Layers that are selected and computed for want of bytes.
    over_budget: Vec<usize>,
    pub rule: HistoryRule,
    /// How outputs are kept.
    pub store: Store,
    /// What will be kept at peak; `None` where the sizes aren't known.
    bytes: Option<u64>,
}

impl AttentionPlan {
    /// Every selected layer is kept until [`AttentionPlan::fit`] says otherwise.
    pub fn new(
        schedule: &dyn AttentionSchedule,
        run: &RunInfo,
        storage: &StorageOptions,
    ) -> Result<AttentionPlan> {
        let named = schedule.groups();
        let mut rule = schedule.history();
        // Halves that don't always run together are remembered apart.
        if rule.remembered == Remembered::Whole && run.branches.contains(&Branches::ConditionalOnly)
        {
            rule.remembered = Remembered::ConditionalAndDifference;
        }
        let groups = select(&named, &run.layers)?;
        Ok(AttentionPlan {
            batch: run.batch,
            half: run.half,
            steps: run.steps().map(|step| schedule.plan(&step)).collect(),
            foreseen: schedule.timestep_callback().is_none(),
            num_groups: named.len(),
            cached: groups.iter().map(Option::is_some).collect(),
            groups,
            over_budget: Vec::new(),
            rule,
            store: storage.store(run),
            bytes: None,
        })
    }

    /// Gives bytes to the layers in their order, as far as the budget goes. `reserved` are taken
    /// by other things of the same run.
    pub fn fit(&mut self, sizes: &Sizes, budget: u64, reserved: u64) -> Result<()> {
        let per_layer = (0..self.num_groups)
            .map(|group| self.layer_bytes(group, sizes))
            .collect::<Result<Vec<u64>>>()?;
        let mut total = reserved;
        for (layer, group) in self.groups.iter().enumerate() {
            let Some(bytes) = group.and_then(|group| per_layer.get(group)) else { continue };
            match total.checked_add(*bytes).filter(|sum| *sum <= budget) {
                Some(sum) => total = sum,
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

    /// The most bytes that one layer of `group` keeps at a time.
    fn layer_bytes(&self, group: usize, sizes: &Sizes) -> Result<u64> {
        let outputs: usize = (0..self.rule.remembered.count())
            .map(|slot| {
                if self.foreseen {
                    most_alive(&last_reads(&self.steps, self.rule, group, slot))
                } else {
                    self.rule.of_slot(slot).depth
                }
            })
            .sum();
        let rows = match self.rule.remembered {
            Remembered::Whole if self.half == Half::Both => self.batch.rows(Branches::All),
            _ => self.batch.rows(Branches::ConditionalOnly),
        };
        let one = bytes_of(&[rows, sizes.tokens, sizes.hidden_size], self.store)?;
        Ok(one.saturating_mul(outputs as u64))
    }

    /// How many layers the run has.
    pub fn num_layers(&self) -> usize {
        self.groups.len()
    }

    /// The group of a layer whose outputs are kept.
    pub fn cached_group(&self, layer: usize) -> Option<usize> {
        let cached = self.cached.get(layer).copied().unwrap_or(false);
        self.groups.get(layer).copied().flatten().filter(|_| cached)
    }

    /// In a step of this plan, `layer` takes kept output.
    pub fn reuses(&self, plan: &StepPlan, layer: usize) -> bool {
        self.cached_group(layer)
            .is_some_and(|group| plan.reuse.get(group).copied().unwrap_or(false))
    }

    /// As a host sees it; `reused` is what a layer is said to be that takes kept output.
    pub fn forecast(&self, run: &RunInfo, reused: LayerState) -> Forecast {
        let state = |plan: &StepPlan, layer: usize| {
            Some(if self.reuses(plan, layer) { reused } else { LayerState::Computed })
        };
        let steps = run
            .timesteps
            .iter()
            .zip(&self.steps)
            .map(|(&timestep, plan)| StepTrace {
                timestep,
                unconditional: Unconditional::of(run.batch.guided, plan.branches),
                layers: (0..self.num_layers()).map(|layer| state(plan, layer)).collect(),
            })
            .collect();
        Forecast {
            foresight: if self.foreseen { Foresight::Exact } else { Foresight::HostDecides },
            steps,
            bytes: self.bytes,
            over_budget: self.over_budget.clone(),
        }
    }
}
