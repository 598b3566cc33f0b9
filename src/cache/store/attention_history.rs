//! The attention outputs of past steps, as a schedule reads them.
//!
//! Two calls do all of it: "what does this layer use?" ([`AttentionHistory::past`]) and "this is
//! what it used" ([`AttentionHistory::computed`], [`AttentionHistory::reused`]). Between them the
//! history keeps what a later step reads, and drops it with its last reader.

use super::cached_tensor::{CachedTensor, MemoryCounter};
use crate::cache::run_info::Step;
use crate::cache::schedule::{
    last_reads, AttentionPlan, ReadableSteps, Reads, Remembered, StepPlan,
};
use crate::guidance::Branches;
use crate::parallel::{Half, Team};
use crate::{Error, Result};
use std::sync::Arc;
use tch::Tensor;

/// What a layer's attention output is made from in a step that does not compute it.
#[derive(Debug)]
pub(in crate::cache) struct Past {
    /// The output before the last, or the last where there is only one.
    pub older: Tensor,
    /// The last output.
    pub newer: Tensor,
    /// What the unconditional half is more than the conditional one, where those two are the
    /// conditional half alone and this step runs both.
    pub difference: Option<Tensor>,
}

/// Walks through a run's schedule.
pub(in crate::cache) struct AttentionHistory {
    plan: AttentionPlan,
    memory: MemoryCounter,
    team: Arc<Team>,
    /// By group and slot.
    slots: Vec<Vec<Slot>>,
    /// By layer.
    outputs: Vec<Vec<Output>>,
    step: usize,
    now: StepPlan,
}

#[derive(Debug, Default)]
struct Slot {
    readable: ReadableSteps,
    /// What this step reads if it reuses.
    reads: Option<Reads>,
    /// For each step the last one that reads its output, where the future is known.
    last_reads: Vec<Option<usize>>,
}

#[derive(Debug)]
struct Output {
    slot: usize,
    step: usize,
    value: CachedTensor,
}

impl AttentionHistory {
    pub fn new(plan: AttentionPlan, memory: MemoryCounter, team: Arc<Team>) -> AttentionHistory {
        let slots = |group| {
            (0..plan.rule.remembered.count())
                .map(|slot| Slot {
                    last_reads: last_reads(&plan.steps, plan.rule, group, slot),
                    ..Slot::default()
                })
                .collect()
        };
        AttentionHistory {
            slots: (0..plan.num_groups).map(slots).collect(),
            outputs: (0..plan.num_layers()).map(|_| Vec::new()).collect(),
            plan,
            memory,
            team,
            step: 0,
            now: StepPlan { branches: Branches::All, reuse: Vec::new() },
        }
    }

    /// Begins a step that does what `plan` says.
    pub fn begin(&mut self, step: &Step, plan: StepPlan) -> Result<()> {
        if step.total != self.plan.steps.len() || step.index >= step.total {
            return Err(Error::Internal(format!(
                "cache: step {} of {} in a run of {} steps",
                step.index,
                step.total,
                self.plan.steps.len()
            )));
        }
        self.step = step.index;
        for (group, slots) in self.slots.iter_mut().enumerate() {
            let reuse = plan.reuse.get(group).copied().unwrap_or(false);
            for (number, slot) in slots.iter_mut().enumerate() {
                slot.reads =
                    slot.readable.pass(self.plan.rule, number, step.index, plan.branches, reuse);
            }
        }
        self.now = plan;
        self.fetch_next(0)
    }

    /// What the first layer from `layer` on reads that takes kept output begins to come back, where it
    /// is in host memory.
    fn fetch_next(&self, layer: usize) -> Result<()> {
        if !self.plan.store.on_host {
            return Ok(());
        }
        let Some(next) = (layer..self.plan.num_layers()).find(|&layer| self.reuses(layer)) else {
            return Ok(());
        };
        for slot in 0..self.slots_of(next).len() {
            let Ok(reads) = self.reads(next, slot) else { continue };
            if slot > 0 && self.now.branches != Branches::All {
                continue;
            }
            let outputs = self.outputs.get(next).map_or(&[][..], Vec::as_slice);
            let read = |output: &&Output| {
                output.slot == slot
                    && (output.step == reads.newer || (slot == 0 && output.step == reads.older))
            };
            outputs.iter().filter(read).try_for_each(|output| output.value.fetch())?;
        }
        Ok(())
    }

    /// `layer` takes kept output in this step.
    pub fn reuses(&self, layer: usize) -> bool {
        self.plan.reuses(&self.now, layer)
    }

    /// What `layer` uses in this step; `None` if it computes, and then what it kept and nobody
    /// needs any more is released before it does.
    pub fn past(&mut self, layer: usize) -> Result<Option<Past>> {
        if layer >= self.plan.num_layers() {
            return Err(Error::Internal(format!(
                "cache: asked about layer {layer} of {}",
                self.plan.num_layers()
            )));
        }
        if !self.plan.reuses(&self.now, layer) {
            self.release(layer);
            return Ok(None);
        }
        let reads = self.reads(layer, 0)?;
        let both_halves = self.plan.rule.remembered == Remembered::ConditionalAndDifference
            && self.now.branches == Branches::All
            && self.plan.half == Half::Both;
        let difference = if both_halves {
            Some(self.output(layer, 1, self.reads(layer, 1)?.newer)?)
        } else {
            None
        };
        let newer = self.output(layer, 0, reads.newer)?;
        let older = match reads.older == reads.newer {
            true => newer.f_alias()?,
            false => self.output(layer, 0, reads.older)?,
        };
        self.fetch_next(layer + 1)?;
        Ok(Some(Past { older, newer, difference }))
    }

    /// The output of a step that runs both halves on ranks of their own, of this rank's half, from
    /// what [`AttentionHistory::past`] gave on the ranks of the conditional half: `conditional`
    /// makes it of that. The other half's ranks are sent how much that is more than the conditional
    /// half's last output of a step of both halves, and add it to their own of that step. Where it
    /// is that output, nothing is sent.
    ///
    /// `None` where halves are not apart in this step.
    pub fn apart(
        &mut self,
        layer: usize,
        repeats: bool,
        conditional: impl FnOnce(&Past) -> Result<Tensor>,
    ) -> Result<Option<Tensor>> {
        if self.plan.half == Half::Both
            || self.plan.rule.remembered != Remembered::ConditionalAndDifference
            || self.now.branches != Branches::All
            || !self.plan.reuses(&self.now, layer)
        {
            return Ok(None);
        }
        let (reads, both) = (self.reads(layer, 0)?, self.reads(layer, 1)?.newer);
        let same = repeats && reads.newer == both;
        let own = self.output(layer, 1, both)?;
        if self.plan.half == Half::Unconditional {
            let more = if same { None } else { self.team.conditional_to_unconditional(&own)? };
            let output = match more {
                Some(more) => own.f_add(&more)?,
                None => own,
            };
            self.release(layer);
            return Ok(Some(output));
        }
        let past = Past {
            older: self.output(layer, 0, reads.older)?,
            newer: self.output(layer, 0, reads.newer)?,
            difference: None,
        };
        let output = conditional(&past)?;
        if !same {
            self.team.conditional_to_unconditional(&output.f_sub(&own)?)?;
        }
        drop((past, own));
        self.reused(layer, &output)?;
        Ok(Some(output))
    }

    /// `layer` computed `output`, of the halves that run.
    pub fn computed(&mut self, layer: usize, output: &Tensor) -> Result<()> {
        // The conditional half's history is on its own ranks.
        let elsewhere =
            self.plan.half == Half::Unconditional && self.plan.rule.remembered != Remembered::Whole;
        for slot in 0..self.slots_of(layer).len() {
            if self.read_later(layer, slot) && !(elsewhere && slot == 0) {
                let value = self.part(output, slot)?;
                self.keep(layer, slot, value)?;
            }
        }
        Ok(())
    }

    /// `layer` used what it made from its past: `output`, of the halves that the first slot
    /// remembers. The past that has been dropped by then is released; the output is kept if it
    /// enters the history, sharing its storage with the model, which only reads it.
    pub fn reused(&mut self, layer: usize, output: &Tensor) -> Result<()> {
        self.release(layer);
        if self.plan.rule.remembers_reused && self.read_later(layer, 0) {
            let value = CachedTensor::share(output, self.plan.store, &self.memory)?;
            self.keep(layer, 0, value)?;
        }
        Ok(())
    }

    /// Drops what no later step reads.
    fn release(&mut self, layer: usize) {
        let AttentionHistory { outputs, slots, plan, step, .. } = self;
        let Some(outputs) = outputs.get_mut(layer) else { return };
        let Some(slots) = plan.cached_group(layer).and_then(|group| slots.get(group)) else {
            return;
        };
        outputs.retain(|output| {
            slots.get(output.slot).is_some_and(|slot| slot.needs(output.step, *step, plan))
        });
    }

    /// This step's output of `layer` is read by a later step.
    fn read_later(&self, layer: usize, slot: usize) -> bool {
        self.slots_of(layer)
            .get(slot)
            .is_some_and(|slot| slot.needs(self.step, self.step, &self.plan))
    }

    /// What a slot keeps of an output.
    fn part(&self, output: &Tensor, slot: usize) -> Result<CachedTensor> {
        let (store, memory) = (self.plan.store, &self.memory);
        let halves = self.plan.rule.remembered != Remembered::Whole
            && self.plan.batch.guided
            && self.plan.half == Half::Both
            && self.now.branches == Branches::All;
        if !halves {
            return CachedTensor::copy(output, store, memory);
        }
        let (unconditional, conditional) = self.plan.batch.split(output)?;
        if slot == 0 {
            return CachedTensor::copy(&conditional, store, memory);
        }
        CachedTensor::share(&unconditional.f_sub(&conditional)?, store, memory)
    }

    fn keep(&mut self, layer: usize, slot: usize, value: CachedTensor) -> Result<()> {
        let step = self.step;
        let outputs = self
            .outputs
            .get_mut(layer)
            .ok_or_else(|| Error::Internal(format!("cache: no layer {layer}")))?;
        outputs.push(Output { slot, step, value });
        Ok(())
    }

    fn output(&self, layer: usize, slot: usize, step: usize) -> Result<Tensor> {
        self.outputs
            .get(layer)
            .and_then(|outputs| outputs.iter().find(|o| o.slot == slot && o.step == step))
            .ok_or_else(|| {
                Error::Internal(format!(
                    "cache: layer {layer} was not kept at step {step} (slot {slot})"
                ))
            })?
            .value
            .read()
    }

    fn reads(&self, layer: usize, slot: usize) -> Result<Reads> {
        self.slots_of(layer).get(slot).and_then(|slot| slot.reads).ok_or_else(|| {
            Error::Internal(format!("cache: layer {layer} has nothing to reuse (slot {slot})"))
        })
    }

    fn slots_of(&self, layer: usize) -> &[Slot] {
        self.plan
            .cached_group(layer)
            .and_then(|group| self.slots.get(group))
            .map_or(&[], Vec::as_slice)
    }
}

impl Slot {
    fn needs(&self, produced: usize, step: usize, plan: &AttentionPlan) -> bool {
        if plan.foreseen {
            self.last_reads.get(produced).copied().flatten().is_some_and(|last| last > step)
        } else {
            step + 1 < plan.steps.len() && self.readable.contains(produced)
        }
    }
}
