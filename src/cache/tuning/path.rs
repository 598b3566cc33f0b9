//! What a schedule is expected to change, step by step.
//!
//! Errors of steps that follow one another without a computed step between them point the same
//! way and add up; those of different stretches are taken as independent, so their squares add up.

use super::calibration::{Calibration, Effects, Omission};
use crate::cache::extrapolation::lagrange;

/// Which halves of the guidance batch the model runs for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Halves {
    Both,
    Conditional,
    /// The model's output is predicted.
    Neither,
}

/// What one step does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Event {
    pub halves: Halves,
    /// The parts of the blocks, 0 to 1, whose attention alone, and which as a whole, take from an
    /// earlier step.
    pub attention: f64,
    pub blocks: f64,
}

impl Event {
    pub fn of(halves: Halves) -> Event {
        Event { halves, attention: 0.0, blocks: 0.0 }
    }
}

/// A schedule so far. Step 0 is computed.
#[derive(Debug, Clone)]
pub(super) struct Path {
    /// Squared errors of finished stretches.
    finished: f64,
    /// Summed errors of the stretch under way.
    stretch: f64,
    /// The last steps that computed each half's output, oldest first.
    conditional: Vec<usize>,
    difference: Vec<usize>,
    /// The last steps that computed all attention, and all blocks.
    attention: usize,
    blocks: usize,
    /// How many outputs a prediction reads.
    depth: usize,
}

impl Path {
    /// Predictions are of degree `order`.
    pub fn new(order: usize) -> Path {
        Path {
            finished: 0.0,
            stretch: 0.0,
            conditional: vec![0],
            difference: vec![0],
            attention: 0,
            blocks: 0,
            depth: order + 1,
        }
    }

    /// The squared error of the final latents that is expected.
    pub fn cost(&self) -> f64 {
        self.finished + self.stretch * self.stretch
    }

    /// Goes on with `step`, whose errors have these `effects`.
    pub fn pass(
        &mut self,
        calibration: &Calibration,
        effects: &Effects,
        step: usize,
        event: Event,
    ) {
        let errors = &calibration.errors;
        let sensitivity = effects.sensitivity.get(step).copied().unwrap_or(1.0);
        let difference = || weights(&self.difference, step);
        let mut error = match event.halves {
            Halves::Both => 0.0,
            Halves::Conditional => sensitivity * errors.error(step, None, Some(&difference())),
            Halves::Neither => {
                let conditional = weights(&self.conditional, step);
                sensitivity * errors.error(step, Some(&conditional), Some(&difference()))
            }
        };
        if event.halves != Halves::Neither {
            // An error of the conditional half alone is in the rebuilt one too, and guidance makes
            // no more of it.
            let guidance = match event.halves {
                Halves::Conditional => 1.0 / errors.scale(step).max(1.0),
                _ => 1.0,
            };
            for (part, omission, from) in [
                (event.attention, &effects.attention, self.attention),
                (event.blocks, &effects.blocks, self.blocks),
            ] {
                if part > 0.0 {
                    error += guidance * part * omitted(calibration, omission, step, from);
                }
            }
        }
        if error > 0.0 {
            self.stretch += error;
        } else {
            (self.finished, self.stretch) = (self.cost(), 0.0);
        }
        if event.halves != Halves::Neither {
            push(&mut self.conditional, step, self.depth);
            if event.blocks == 0.0 {
                self.blocks = step;
                if event.attention == 0.0 {
                    self.attention = step;
                }
            }
        }
        if event.halves == Halves::Both {
            push(&mut self.difference, step, self.depth);
        }
    }
}

/// What leaving something out at `step` costs if it comes from step `from`: as probed for the step
/// before, and more for one further back as the whole output has moved more since.
fn omitted(calibration: &Calibration, omission: &Omission, step: usize, from: usize) -> f64 {
    let moved = |from: usize| {
        let repeated = [(from, 1.0)];
        calibration.errors.error(step, Some(&repeated), Some(&repeated))
    };
    let (far, near) = (moved(from), moved(step.saturating_sub(1)));
    omission.at(step) * if near > 0.0 { far / near } else { 1.0 }
}

/// `(step, weight)` of the prediction of `step` from `nodes`.
fn weights(nodes: &[usize], step: usize) -> Vec<(usize, f64)> {
    let places: Vec<f64> = nodes.iter().map(|node| *node as f64).collect();
    nodes.iter().copied().zip(lagrange(&places, step as f64)).collect()
}

fn push(nodes: &mut Vec<usize>, step: usize, depth: usize) {
    nodes.push(step);
    if nodes.len() > depth {
        nodes.remove(0);
    }
}
