//! The schedule: what every step of a run does, as data, from host numbers alone.
//!
//! A technique answers one pure question per step ([`super::technique::Technique::decide`]).
//! Asked for all steps ahead, the answers are a preview; asked step by step, they are the run.
//! Both go through the same code, so a preview can't differ from its run, and nothing here
//! ever reads a tensor, so no device is waited for.
//!
//! Knowing the future of a run also says until when a kept output is needed: each is released
//! by the last step that reads it, and not kept at all if no step will. Where a host's own
//! timestep callback decides, the future is unknown, and outputs live until they are replaced.

use super::Branches;
use serde::{Serialize, Serializer};
use std::collections::VecDeque;

/// When something is allowed to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// While `low < timestep < high`, both strict as in diffusers.
    Timesteps { low: i64, high: i64 },
    /// From the `from`th to the `to`th of every `of` steps, counted from 1 and both included:
    /// how schedules that count steps are carried over to other numbers of steps.
    Steps { from: u32, to: u32, of: u32 },
}

impl Window {
    pub(super) fn contains(self, at: &At) -> bool {
        match self {
            Window::Timesteps { low, high } => {
                (low as f64) < at.timestep && at.timestep < high as f64
            }
            Window::Steps { from, to, of } => {
                let count = (at.index as u128 + 1) * u128::from(of);
                let total = at.total as u128;
                count >= u128::from(from) * total && count <= u128::from(to) * total
            }
        }
    }
}

impl Serialize for Window {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Window::Timesteps { low, high } => [low, high].serialize(serializer),
            Window::Steps { from, to, of } => {
                serializer.serialize_str(&format!("steps {from} to {to} of {of}"))
            }
        }
    }
}

/// A step as a decision sees it: `timestep` is the host callback's answer where there is one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct At {
    pub index: usize,
    pub total: usize,
    pub timestep: f64,
}

/// What does not change during a run and bears on its decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Circumstances {
    /// Classifier-free guidance is on: the batch is `[unconditional; conditional]`.
    pub guided: bool,
    /// There is room to keep what rebuilding the unconditional half needs.
    pub room_to_rebuild: bool,
}

/// What one step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub branches: Branches,
    /// For each kind of attention that the technique tells apart: its layers take kept output.
    pub reuse: Vec<bool>,
}

/// Which of a layer's outputs are remembered, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryRule {
    /// How many outputs back a reuse reads.
    pub depth: usize,
    /// An output that was not computed enters the history like one that was.
    pub remembers_reused: bool,
    pub lanes: Lanes,
}

/// What of a layer's output is remembered. A lane is one remembered thing with a history of its
/// own: lane 0 takes part in every step, lane 1 in those that run the whole guidance batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lanes {
    /// The batch as it is, in one lane.
    Whole,
    /// The conditional half, in one lane.
    Conditional,
    /// The conditional half in one lane; in another what the unconditional half is more, of the
    /// last step that computed both.
    ConditionalAndDifference,
}

impl Lanes {
    pub(super) fn count(self) -> usize {
        match self {
            Lanes::Whole | Lanes::Conditional => 1,
            Lanes::ConditionalAndDifference => 2,
        }
    }

    fn takes_part(lane: usize, branches: Branches) -> bool {
        lane == 0 || branches == Branches::All
    }
}

impl HistoryRule {
    /// The rule of one lane: of the difference, only the last one computed is remembered.
    pub(super) fn of_lane(self, lane: usize) -> HistoryRule {
        if lane == 0 {
            self
        } else {
            HistoryRule { depth: 1, remembers_reused: false, ..self }
        }
    }
}

/// The outputs of one lane that a reuse can read, as the steps that produced them.
#[derive(Debug, Clone, Default)]
pub(super) struct History(VecDeque<usize>);

/// Steps whose outputs a reuse reads; the same step twice while there is only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reads {
    pub older: usize,
    pub newer: usize,
}

impl History {
    pub fn reads(&self) -> Option<Reads> {
        let newer = *self.0.back()?;
        let older = self.0.front().copied().unwrap_or(newer);
        Some(Reads { older, newer })
    }

    pub fn contains(&self, step: usize) -> bool {
        self.0.contains(&step)
    }

    /// Passes `step`; answers what the step reads if it reuses.
    pub fn pass(
        &mut self,
        rule: HistoryRule,
        lane: usize,
        step: usize,
        branches: Branches,
        reuse: bool,
    ) -> Option<Reads> {
        if !Lanes::takes_part(lane, branches) {
            return None;
        }
        let rule = rule.of_lane(lane);
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

/// For one kind of attention and one lane: for each step, the last step that reads its output.
pub(super) fn last_reads(
    decisions: &[Decision],
    rule: HistoryRule,
    kind: usize,
    lane: usize,
) -> Vec<Option<usize>> {
    let mut last = vec![None; decisions.len()];
    let mut history = History::default();
    for (step, decision) in decisions.iter().enumerate() {
        let reuse = decision.reuse.get(kind).copied().unwrap_or(false);
        if let Some(reads) = history.pass(rule, lane, step, decision.branches, reuse) {
            for read in [reads.older, reads.newer] {
                if let Some(slot) = last.get_mut(read) {
                    *slot = Some(step);
                }
            }
        }
    }
    last
}

/// The most outputs of one lane that are alive between two steps.
pub(super) fn most_alive(last_reads: &[Option<usize>]) -> usize {
    (0..last_reads.len())
        .map(|step| {
            last_reads.iter().take(step + 1).filter(|last| last.is_some_and(|l| l > step)).count()
        })
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAB: HistoryRule = HistoryRule { depth: 1, remembers_reused: false, lanes: Lanes::Whole };
    const PAIR: HistoryRule =
        HistoryRule { depth: 2, remembers_reused: true, lanes: Lanes::Conditional };

    fn decisions(reuse: &[bool]) -> Vec<Decision> {
        reuse
            .iter()
            .map(|&reuse| Decision { branches: Branches::All, reuse: vec![reuse] })
            .collect()
    }

    #[test]
    fn one_output_lives_until_its_last_reuse() {
        let d = decisions(&[false, true, true, false, false, true]);
        let last = last_reads(&d, PAB, 0, 0);
        assert_eq!(last, [Some(2), None, None, None, Some(5), None]);
        assert_eq!(most_alive(&last), 1);
    }

    #[test]
    fn a_pair_reads_the_two_steps_before() {
        let d = decisions(&[false, true, false, true, false, false]);
        let last = last_reads(&d, PAIR, 0, 0);
        assert_eq!(last, [Some(1), Some(3), Some(3), None, None, None]);
        assert_eq!(most_alive(&last), 2);
    }

    #[test]
    fn step_windows_scale_with_the_number_of_steps() {
        let window = Window::Steps { from: 18, to: 40, of: 50 };
        let inside = |total: usize| {
            (0..total)
                .filter(|&index| window.contains(&At { index, total, timestep: 0.0 }))
                .collect::<Vec<_>>()
        };
        assert_eq!(inside(50), (17..40).collect::<Vec<_>>());
        assert_eq!(inside(25), (8..20).collect::<Vec<_>>());
        assert_eq!(inside(1), Vec::<usize>::new());
    }

    #[test]
    fn timestep_windows_are_strict_on_both_sides() {
        let window = Window::Timesteps { low: 100, high: 800 };
        let inside = |timestep: f64| window.contains(&At { index: 0, total: 1, timestep });
        assert!(!inside(100.0) && inside(101.0) && inside(799.0) && !inside(800.0));
    }
}
