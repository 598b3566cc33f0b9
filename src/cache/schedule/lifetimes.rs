//! Until when a kept output is needed.
//!
//! Knowing the future of a run says which later step reads what: each output is released by the
//! last step that reads it, and not kept at all if no step will. Where a host's own timestep
//! callback decides, the future is unknown, and outputs live until they are replaced.

use super::step_plan::StepPlan;
use crate::guidance::Branches;
use std::collections::VecDeque;

/// Which of a layer's outputs are remembered, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache) struct HistoryRule {
    /// How many outputs back a reuse reads.
    pub depth: usize,
    /// An output that was not computed enters the history like one that was.
    pub remembers_reused: bool,
    pub remembered: Remembered,
}

/// What of a layer's output is remembered. Each remembered part has a slot with a history of its
/// own: slot 0 takes part in every step, slot 1 in those that run the whole guidance batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache) enum Remembered {
    /// The batch as it is, in one slot.
    Whole,
    /// The conditional half, in one slot.
    Conditional,
    /// The conditional half in one slot; in another what the unconditional half is more, of the
    /// last step that computed both.
    ConditionalAndDifference,
}

impl Remembered {
    pub fn count(self) -> usize {
        match self {
            Remembered::Whole | Remembered::Conditional => 1,
            Remembered::ConditionalAndDifference => 2,
        }
    }

    fn takes_part(slot: usize, branches: Branches) -> bool {
        slot == 0 || branches == Branches::All
    }
}

impl HistoryRule {
    /// The rule of one slot: of the difference, only the last one computed is remembered.
    pub fn of_slot(self, slot: usize) -> HistoryRule {
        if slot == 0 {
            self
        } else {
            HistoryRule { depth: 1, remembers_reused: false, ..self }
        }
    }
}

/// The outputs of one slot that a reuse can read, as the steps that produced them.
#[derive(Debug, Clone, Default)]
pub(in crate::cache) struct ReadableSteps(VecDeque<usize>);

/// Steps whose outputs a reuse reads; the same step twice while there is only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache) struct Reads {
    pub older: usize,
    pub newer: usize,
}

impl ReadableSteps {
    pub fn reads(&self) -> Option<Reads> {
        let newer = *self.0.back()?;
        let older = self.0.front().copied().unwrap_or(newer);
        Some(Reads { older, newer })
    }

    pub fn contains(&self, step: usize) -> bool {
        self.0.contains(&step)
    }

    /// Passes `step`; returns what the step reads if it reuses.
    pub fn pass(
        &mut self,
        rule: HistoryRule,
        slot: usize,
        step: usize,
        branches: Branches,
        reuse: bool,
    ) -> Option<Reads> {
        if !Remembered::takes_part(slot, branches) {
            return None;
        }
        let rule = rule.of_slot(slot);
        let reads = if reuse { self.reads() } else { None };
        if !reuse || rule.remembers_reused {
            self.0.push_back(step);
            while self.0.len() > rule.depth {
                self.0.pop_front();
            }
        }
        reads
    }
}

/// For one group of attention modules and one slot: for each step, the last step that reads its
/// output.
pub(in crate::cache) fn last_reads(
    plans: &[StepPlan],
    rule: HistoryRule,
    group: usize,
    slot: usize,
) -> Vec<Option<usize>> {
    let mut last = vec![None; plans.len()];
    let mut history = ReadableSteps::default();
    for (step, plan) in plans.iter().enumerate() {
        let reuse = plan.reuse.get(group).copied().unwrap_or(false);
        if let Some(reads) = history.pass(rule, slot, step, plan.branches, reuse) {
            for read in [reads.older, reads.newer] {
                if let Some(last) = last.get_mut(read) {
                    *last = Some(step);
                }
            }
        }
    }
    last
}

/// The most outputs of one slot that are alive between two steps.
pub(in crate::cache) fn most_alive(last_reads: &[Option<usize>]) -> usize {
    // How many come and go at each step; an output whose last reader is the next step is alive
    // between the two.
    let mut ends = vec![0usize; last_reads.len()];
    let (mut alive, mut most) = (0usize, 0);
    for (step, last) in last_reads.iter().enumerate() {
        alive = alive.saturating_sub(ends.get(step).copied().unwrap_or(0));
        if let Some(last) = last.filter(|last| *last > step) {
            alive += 1;
            if let Some(end) = ends.get_mut(last) {
                *end += 1;
            }
        }
        most = most.max(alive);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAB: HistoryRule =
        HistoryRule { depth: 1, remembers_reused: false, remembered: Remembered::Whole };
    const PAIR: HistoryRule =
        HistoryRule { depth: 2, remembers_reused: true, remembered: Remembered::Conditional };

    fn plans(reuse: &[bool]) -> Vec<StepPlan> {
        reuse
            .iter()
            .map(|&reuse| StepPlan { branches: Branches::All, reuse: vec![reuse] })
            .collect()
    }

    #[test]
    fn one_output_lives_until_its_last_reuse() {
        let d = plans(&[false, true, true, false, false, true]);
        let last = last_reads(&d, PAB, 0, 0);
        assert_eq!(last, [Some(2), None, None, None, Some(5), None]);
        assert_eq!(most_alive(&last), 1);
    }

    #[test]
    fn a_pair_reads_the_two_steps_before() {
        let d = plans(&[false, true, false, true, false, false]);
        let last = last_reads(&d, PAIR, 0, 0);
        assert_eq!(last, [Some(1), Some(3), Some(3), None, None, None]);
        assert_eq!(most_alive(&last), 2);
    }
}
