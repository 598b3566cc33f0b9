//! The cheapest schedules by what they are expected to change.
//!
//! Step by step each schedule so far is continued in all ways: compute both halves, the
//! conditional half, nothing, or both halves with every block's attention, or every block, as it
//! was. Of the schedules that have spent the same, the best few are kept (a beam search: what an
//! omission costs depends on which steps before it were computed, so that single states do not
//! decompose).

use super::calibration::Calibration;
use super::path::{Event, Halves, Path};

/// How many schedules of the same cost are followed.
const BEAM: usize = 24;
/// Costs are counted in whole parts of a computed half.
const PARTS: usize = 8;

/// What a step does, as the "schedule" technique takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    Compute,
    Conditional,
    Predict,
    /// Every block's attention gives what it gave last.
    ReuseAttention,
    /// Every block adds what it added last.
    SkipBlocks,
}

impl Word {
    /// What concerns steps as a whole, and their halves.
    pub const STEPS: &'static [Word] = &[Word::Compute, Word::Conditional, Word::Predict];
    /// Those, and parts of a step.
    pub const ALL: &'static [Word] =
        &[Word::Compute, Word::Conditional, Word::Predict, Word::ReuseAttention, Word::SkipBlocks];

    /// Its entry of the technique's `steps`, for a model of so many blocks.
    pub fn text(self, layers: usize) -> String {
        match self {
            Word::Compute => "compute".to_string(),
            Word::Conditional => "conditional".to_string(),
            Word::Predict => "predict".to_string(),
            Word::ReuseAttention => "=".repeat(layers),
            Word::SkipBlocks => "-".repeat(layers),
        }
    }

    fn event(self) -> Event {
        match self {
            Word::Compute => Event::of(Halves::Both),
            Word::Conditional => Event::of(Halves::Conditional),
            Word::Predict => Event::of(Halves::Neither),
            Word::ReuseAttention => Event { attention: 1.0, ..Event::of(Halves::Both) },
            Word::SkipBlocks => Event { blocks: 1.0, ..Event::of(Halves::Both) },
        }
    }

    /// In parts; `None` where the word says nothing that another doesn't say better.
    fn cost(self, calibration: &Calibration) -> Option<usize> {
        let full = if calibration.guided { 2 * PARTS } else { PARTS };
        let rest = ((1.0 - calibration.attention_share) * full as f64).round() as usize;
        match self {
            Word::Compute => Some(full),
            Word::Conditional => calibration.guided.then_some(PARTS),
            Word::Predict => Some(0),
            Word::ReuseAttention => Some(rest.clamp(1, full)),
            // The layers before and after the blocks run.
            Word::SkipBlocks => Some(1),
        }
    }
}

/// One schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Solution {
    pub steps: Vec<Word>,
    /// Computed units: 2 for both halves, 1 for one.
    pub units: f64,
    /// The root mean squared error of the final latents that is expected of it.
    pub expected_error: f64,
}

#[derive(Debug, Clone)]
struct Partial {
    steps: Vec<Word>,
    path: Path,
}

/// For each cost the best schedule of some `words` that has it, by cost; predictions are of degree
/// `order`. Costs that no schedule has are left out.
pub fn solve(calibration: &Calibration, words: &[Word], order: usize) -> Vec<Solution> {
    let steps = calibration.steps();
    let words: Vec<(Word, usize)> = words
        .iter()
        .copied()
        .filter_map(|word| Some((word, word.cost(calibration)?)))
        // What no probe has seen is not proposed.
        .filter(|(word, _)| word.event_is_known(calibration))
        .collect();
    let full = Word::Compute.cost(calibration).unwrap_or(PARTS);
    let mut beams: Vec<Vec<Partial>> = vec![Vec::new(); full * steps + 1];
    if let Some(beam) = beams.get_mut(full) {
        beam.push(Partial { steps: vec![Word::Compute], path: Path::new(order) });
    }
    for step in 1..steps {
        let mut next: Vec<Vec<(f64, usize, Word, Path)>> = vec![Vec::new(); beams.len()];
        let all: Vec<(usize, Partial)> = beams
            .into_iter()
            .enumerate()
            .flat_map(|(cost, beam)| beam.into_iter().map(move |partial| (cost, partial)))
            .collect();
        for (at, (cost, partial)) in all.iter().enumerate() {
            for &(word, more) in &words {
                let mut path = partial.path.clone();
                path.pass(calibration, &calibration.effects, step, word.event());
                if let Some(beam) = next.get_mut(cost + more) {
                    beam.push((path.cost(), at, word, path));
                }
            }
        }
        beams = next
            .into_iter()
            .map(|mut beam| {
                beam.sort_by(|a, b| a.0.total_cmp(&b.0));
                beam.truncate(BEAM);
                let continued = |(_, at, word, path): (f64, usize, Word, Path)| {
                    let (_, partial) = all.get(at)?;
                    let steps = partial.steps.iter().copied().chain([word]).collect();
                    Some(Partial { steps, path })
                };
                beam.into_iter().filter_map(continued).collect()
            })
            .collect();
    }
    beams
        .into_iter()
        .enumerate()
        .filter_map(|(cost, beam)| Some((cost, beam.into_iter().next()?)))
        .map(|(cost, best)| Solution {
            expected_error: best.path.cost().sqrt(),
            units: cost as f64 / PARTS as f64,
            steps: best.steps,
        })
        .collect()
}

impl Word {
    fn event_is_known(self, calibration: &Calibration) -> bool {
        match self {
            Word::ReuseAttention => calibration.effects.attention.at(0).is_finite(),
            Word::SkipBlocks => calibration.effects.blocks.at(0).is_finite(),
            _ => true,
        }
    }
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
        let solutions = solve(&bent(9, 20)?, Word::ALL, 1);
        let free: Vec<_> = solutions.iter().filter(|s| s.expected_error < 1e-3).collect();
        let cheapest = free.first().expect("a schedule without error");
        assert_eq!(cheapest.units, 4.0);
        assert_eq!(cheapest.steps.iter().filter(|word| **word == Word::Compute).count(), 2);

        let solutions = solve(&bent(9, 4)?, Word::ALL, 1);
        let free: Vec<_> = solutions.iter().filter(|s| s.expected_error < 1e-3).collect();
        let cheapest = free.first().expect("a schedule without error");
        assert_eq!(cheapest.units, 8.0, "{cheapest:?}");
        assert_eq!(cheapest.steps.get(5), Some(&Word::Compute), "{cheapest:?}");
        // Everything computed has no error, and is the dearest.
        let last = solutions.last().expect("a schedule");
        assert_eq!((last.units, last.expected_error), (18.0, 0.0));
        assert!(last.steps.iter().all(|word| *word == Word::Compute));
        Ok(())
    }

    #[test]
    fn sensitive_steps_are_computed() -> Result<()> {
        let outputs =
            (0..8).map(|s| noise(&[1, 60], s, Kind::Float)).collect::<Result<Vec<_>>>()?;
        let batch = GuidanceBatch { videos: 1, guided: false };
        let errors = OutputErrors::of_run(&outputs, batch, vec![1.0; 8])?;
        let calibration = Calibration::new(errors, &[(0, 0.01), (5, 0.01), (6, 100.0)], false);
        for solution in solve(&calibration, Word::ALL, 0).iter().filter(|s| s.units >= 3.0) {
            assert_eq!(solution.steps.get(6), Some(&Word::Compute), "{solution:?}");
            assert_eq!(solution.steps.get(7), Some(&Word::Compute), "{solution:?}");
            assert!(!solution.steps.contains(&Word::Conditional), "{solution:?}");
        }
        Ok(())
    }
}
