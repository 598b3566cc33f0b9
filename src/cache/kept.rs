//! The outputs that a run keeps, and what each layer is told to do with them.

use super::callbacks::Asker;
use super::plan::Plan;
use super::schedule::{last_reads, At, Decision, History, Lanes, Reads};
use super::storage::{Kept, Ledger, Store};
use super::technique::Technique;
use super::{Branches, Step};
use crate::{Error, Result};
use tch::Tensor;

/// What a technique does about one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    Compute { keep: bool },
    Reuse,
}

/// Walks through a run's schedule, keeping what later steps read and nothing else.
pub(super) struct KeptOutputs {
    technique: Box<dyn Technique>,
    plan: Plan,
    asker: Asker,
    ledger: Ledger,
    store: Store,
    /// By kind and lane.
    lanes: Vec<Vec<Lane>>,
    step: usize,
    total: usize,
    decision: Decision,
}

#[derive(Debug, Default)]
struct Lane {
    history: History,
    /// What this step reads if it reuses.
    reads: Option<Reads>,
    /// For each step the last one that reads its output, where the future is known.
    last_reads: Vec<Option<usize>>,
}

impl KeptOutputs {
    pub fn new(technique: Box<dyn Technique>, plan: Plan, asker: Asker, ledger: Ledger) -> Self {
        let lanes = (0..technique.kinds().len())
            .map(|kind| {
                (0..plan.rule.lanes.count())
                    .map(|lane| Lane {
                        last_reads: last_reads(&plan.decisions, plan.rule, kind, lane),
                        ..Lane::default()
                    })
                    .collect()
            })
            .collect();
        KeptOutputs {
            store: Store::new(plan.kinds.len()),
            total: plan.decisions.len(),
            technique,
            plan,
            asker,
            ledger,
            lanes,
            step: 0,
            decision: Decision { branches: Branches::All, reuse: Vec::new() },
        }
    }

    /// Decides `step`. Answers the branches to run and the step as the decision saw it.
    pub fn begin(&mut self, step: Step) -> Result<(Branches, At)> {
        if step.total != self.total || step.index >= self.total {
            return Err(Error::Internal(format!(
                "cache: step {} of {} in a run of {} steps",
                step.index, step.total, self.total
            )));
        }
        let timestep = self.asker.timestep(self.technique.timestep_callback(), step)?;
        let at = At { index: step.index, total: step.total, timestep };
        self.decision = self.technique.decide(&at, self.plan.circumstances);
        self.step = step.index;
        let rule = self.plan.rule;
        for (kind, lanes) in self.lanes.iter_mut().enumerate() {
            let reuse = self.decision.reuse.get(kind).copied().unwrap_or(false);
            for (number, lane) in lanes.iter_mut().enumerate() {
                lane.reads =
                    lane.history.pass(rule, number, step.index, self.decision.branches, reuse);
            }
        }
        Ok((self.decision.branches, at))
    }

    pub fn branches(&self) -> Branches {
        self.decision.branches
    }

    /// Some later step may run the conditional half alone before the next full one.
    pub fn rebuild_follows(&self) -> bool {
        let next = self.plan.decisions.get(self.step + 1);
        match next {
            None => false,
            Some(_) if !self.plan.foreseen => true,
            Some(next) => next.branches == Branches::ConditionalOnly,
        }
    }

    /// What `layer` does in this step. What it kept and nobody needs any more is released
    /// before it computes.
    pub fn task(&mut self, layer: usize) -> Result<Task> {
        if self.plan.kinds.len() <= layer {
            return Err(Error::Internal(format!(
                "cache: asked about layer {layer} of {}",
                self.plan.kinds.len()
            )));
        }
        if self.plan.reuses(&self.decision, layer) {
            return Ok(Task::Reuse);
        }
        self.release(layer);
        let cached = self.plan.cached.get(layer).copied().unwrap_or(false);
        let keep = cached && (0..self.lanes_of(layer).len()).any(|lane| self.kept(layer, lane));
        Ok(Task::Compute { keep })
    }

    /// Keeps what `layer` computed, lane by lane.
    pub fn keep(&mut self, layer: usize, output: &Tensor) -> Result<()> {
        for lane in 0..self.lanes_of(layer).len() {
            if self.kept(layer, lane) {
                let kept = self.part(output, lane)?;
                self.store.put(layer, lane, self.step, kept)?;
            }
        }
        Ok(())
    }

    /// The conditional half is reused on a step that runs both halves.
    pub fn both_halves(&self) -> bool {
        self.plan.rule.lanes == Lanes::ConditionalAndDifference
            && self.decision.branches == Branches::All
    }

    /// The last two outputs of a lane: older, newer.
    pub fn pair(&self, layer: usize, lane: usize) -> Result<(Tensor, Tensor)> {
        let reads =
            self.lanes_of(layer).get(lane).and_then(|lane| lane.reads).ok_or_else(|| {
                Error::Internal(format!("cache: layer {layer} has nothing to reuse (lane {lane})"))
            })?;
        let older = self.store.get(layer, lane, reads.older)?.read()?;
        let newer = self.store.get(layer, lane, reads.newer)?.read()?;
        Ok((older, newer))
    }

    /// Keeps an output that was made from kept ones, if the technique remembers those. The
    /// tensor is shared with the model, which only reads it.
    pub fn keep_reused(&mut self, layer: usize, lane: usize, output: &Tensor) -> Result<()> {
        if self.plan.rule.remembers_reused && self.kept(layer, lane) {
            let kept = Kept::share(output, self.plan.store, &self.ledger)?;
            self.store.put(layer, lane, self.step, kept)?;
        }
        Ok(())
    }

    /// Drops what no later step reads.
    pub fn release(&mut self, layer: usize) {
        let KeptOutputs { store, lanes, plan, step, total, .. } = self;
        let Some(kind) = plan.kinds.get(layer).copied().flatten() else { return };
        let Some(lanes) = lanes.get(kind) else { return };
        store.retain(layer, |lane, produced| {
            lanes.get(lane).is_some_and(|lane| lane.needs(produced, *step, *total, plan.foreseen))
        });
    }

    fn lanes_of(&self, layer: usize) -> &[Lane] {
        let kind = self.plan.kinds.get(layer).copied().flatten();
        kind.and_then(|kind| self.lanes.get(kind)).map_or(&[], Vec::as_slice)
    }

    /// This step's output of `layer` is read by a later step.
    fn kept(&self, layer: usize, lane: usize) -> bool {
        self.lanes_of(layer)
            .get(lane)
            .is_some_and(|lane| lane.needs(self.step, self.step, self.total, self.plan.foreseen))
    }

    /// What a lane keeps of an output.
    fn part(&self, output: &Tensor, lane: usize) -> Result<Kept> {
        let (store, ledger) = (self.plan.store, &self.ledger);
        let halves = self.plan.rule.lanes != Lanes::Whole
            && self.plan.circumstances.guided
            && self.decision.branches == Branches::All;
        if !halves {
            return Kept::copy(output, store, ledger);
        }
        let half = output.size().first().copied().unwrap_or(0) / 2;
        let conditional = output.f_narrow(0, half, half)?;
        if lane == 0 {
            return Kept::copy(&conditional, store, ledger);
        }
        Kept::share(&output.f_narrow(0, 0, half)?.f_sub(&conditional)?, store, ledger)
    }
}

impl Lane {
    fn needs(&self, produced: usize, step: usize, total: usize, foreseen: bool) -> bool {
        if foreseen {
            self.last_reads.get(produced).copied().flatten().is_some_and(|last| last > step)
        } else {
            step + 1 < total && self.history.contains(produced)
        }
    }
}
