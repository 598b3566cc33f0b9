//! The cheapest schedules by what they are expected to change.
//!
//! Step by step each schedule so far is continued in all ways: compute both halves (2 units), the
//! conditional half (1), or nothing. Errors of predictions that follow one another without a
//! computed step between them point the same way and add up; those of different stretches are
//! taken as independent, so their squares add up. Of the schedules that have spent the same units,
//! the best few are kept (a beam search: what a prediction costs depends on which steps before it
//! were computed, so that single states do not decompose).

use super::calibration::Calibration;
use crate::cache::extrapolation::lagrange;

/// How many schedules of the same cost are followed.
const BEAM: usize = 24;

/// One schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Solution {
    /// As the "schedule" technique takes them: "compute", "conditional", "predict".
    pub steps: Vec<&'static str>,
    /// Computed units: 2 for both halves, 1 for one.
    pub units: usize,
    /// The root mean squared error of the final latents that is expected of it.
    pub expected_error: f64,
}

#[derive(Debug, Clone)]
struct Partial {
    steps: Vec<&'static str>,
    units: usize,
    /// Squared errors of finished stretches.
    finished: f64,
    /// Summed errors of the stretch under way.
    stretch: f64,
    /// The last steps that computed each, oldest first.
    conditional: Vec<usize>,
    difference: Vec<usize>,
}

impl Partial {
    fn cost(&self) -> f64 {
        self.finished + self.stretch * self.stretch
    }
}

/// `(step, weight)` of the prediction of `step` from `nodes`.
fn weights(nodes: &[usize], step: usize) -> Vec<(usize, f64)> {
    let places: Vec<f64> = nodes.iter().map(|node| *node as f64).collect();
    nodes.iter().copied().zip(lagrange(&places, step as f64)).collect()
}

fn pushed(nodes: &[usize], step: usize, depth: usize) -> Vec<usize> {
    let mut nodes = nodes.to_vec();
    nodes.push(step);
    let surplus = nodes.len().saturating_sub(depth);
    nodes.split_off(surplus)
}

/// For each number of units the best schedule that spends it, by units; predictions are of degree
/// `order`. Units that no schedule spends are left out.
pub fn solve(calibration: &Calibration, order: usize) -> Vec<Solution> {
    let steps = calibration.errors.steps();
    let (depth, full) = (order + 1, if calibration.guided { 2 } else { 1 });
    let first = Partial {
        steps: vec!["compute"],
        units: full,
        finished: 0.0,
        stretch: 0.0,
        conditional: vec![0],
        difference: vec![0],
    };
    let mut beams: Vec<Vec<Partial>> = vec![Vec::new(); full * steps + 1];
    if let Some(beam) = beams.get_mut(full) {
        beam.push(first);
    }
    for step in 1..steps {
        let mut next: Vec<Vec<Partial>> = vec![Vec::new(); full * steps + 1];
        for partial in beams.into_iter().flatten() {
            for continued in continuations(calibration, partial, step, depth, full) {
                if let Some(beam) = next.get_mut(continued.units) {
                    beam.push(continued);
                }
            }
        }
        for beam in &mut next {
            beam.sort_by(|a, b| a.cost().total_cmp(&b.cost()));
            beam.truncate(BEAM);
        }
        beams = next;
    }
    beams
        .into_iter()
        .filter_map(|beam| beam.into_iter().next())
        .map(|best| Solution {
            expected_error: best.cost().sqrt(),
            units: best.units,
            steps: best.steps,
        })
        .collect()
}

fn continuations(
    calibration: &Calibration,
    partial: Partial,
    step: usize,
    depth: usize,
    full: usize,
) -> Vec<Partial> {
    let sensitivity = calibration.sensitivity.get(step).copied().unwrap_or(1.0);
    let errors = &calibration.errors;
    let conditional = weights(&partial.conditional, step);
    let difference = weights(&partial.difference, step);
    let with = |word: &'static str, units: usize| {
        let mut next = partial.clone();
        next.steps.push(word);
        next.units += units;
        next
    };
    let mut all = Vec::with_capacity(3);

    let mut computed = with("compute", full);
    (computed.finished, computed.stretch) = (partial.cost(), 0.0);
    computed.conditional = pushed(&partial.conditional, step, depth);
    computed.difference = pushed(&partial.difference, step, depth);
    all.push(computed);

    if calibration.guided {
        let error = sensitivity * errors.error(step, None, Some(&difference));
        let mut half = with("conditional", 1);
        half.stretch += error;
        half.conditional = pushed(&partial.conditional, step, depth);
        all.push(half);
    }

    let mut predicted = with("predict", 0);
    predicted.stretch += sensitivity * errors.error(step, Some(&conditional), Some(&difference));
    all.push(predicted);
    all
}

#[cfg(test)]
mod tests {
    use super::super::calibration::OutputErrors;
    use super::*;
    use crate::cache::testing::noise;
    use crate::guidance::GuidanceBatch;
    use crate::Result;
    use tch::{Kind, Tensor};

    /// Outputs that are a line in the step, with a bend after step `bend`.
    fn bent(steps: usize, bend: usize) -> Result<Calibration> {
        let (a, b) = (noise(&[2, 40], 1, Kind::Float)?, noise(&[2, 40], 2, Kind::Float)?);
        let c = noise(&[2, 40], 3, Kind::Float)?;
        let outputs: Vec<Tensor> = (0..steps)
            .map(|step| &a + &b * step as f64 + &c * step.saturating_sub(bend) as f64)
            .collect();
        let batch = GuidanceBatch { videos: 1, guided: true };
        let errors = OutputErrors::of_run(&outputs, batch, vec![6.0; steps])?;
        Ok(Calibration::new(errors, &[(0, 1.0)], true))
    }

    #[test]
    fn a_line_costs_two_steps_and_a_bend_two_more() -> Result<()> {
        let solutions = solve(&bent(9, 20)?, 1);
        let free: Vec<_> = solutions.iter().filter(|s| s.expected_error < 1e-3).collect();
        let cheapest = free.first().expect("a schedule without error");
        assert_eq!(cheapest.units, 4);
        assert_eq!(cheapest.steps.iter().filter(|word| **word == "compute").count(), 2);

        let solutions = solve(&bent(9, 4)?, 1);
        let free: Vec<_> = solutions.iter().filter(|s| s.expected_error < 1e-3).collect();
        let cheapest = free.first().expect("a schedule without error");
        assert_eq!(cheapest.units, 8, "{cheapest:?}");
        assert_eq!(cheapest.steps.get(5), Some(&"compute"), "{cheapest:?}");
        // Everything computed has no error, and is the dearest.
        let last = solutions.last().expect("a schedule");
        assert_eq!((last.units, last.expected_error), (18, 0.0));
        assert!(last.steps.iter().all(|word| *word == "compute"));
        Ok(())
    }

    #[test]
    fn sensitive_steps_are_computed() -> Result<()> {
        let outputs =
            (0..8).map(|s| noise(&[1, 60], s, Kind::Float)).collect::<Result<Vec<_>>>()?;
        let batch = GuidanceBatch { videos: 1, guided: false };
        let errors = OutputErrors::of_run(&outputs, batch, vec![1.0; 8])?;
        let calibration = Calibration::new(errors, &[(0, 0.01), (5, 0.01), (6, 100.0)], false);
        for solution in solve(&calibration, 0).iter().filter(|s| s.units >= 3) {
            assert_eq!(solution.steps.get(6), Some(&"compute"), "{solution:?}");
            assert_eq!(solution.steps.get(7), Some(&"compute"), "{solution:?}");
            assert!(!solution.steps.contains(&"conditional"), "{solution:?}");
        }
        Ok(())
    }
}
