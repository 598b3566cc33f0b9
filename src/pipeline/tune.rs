//! Makes a cache schedule for this pipeline: from its calibration a solver proposes schedules, and
//! running them decides (`cache::tuning`).

use super::calibrate::{median, psnr, schedule, Sample, Sampler};
use super::{GenerateOptions, Turn};
use crate::cache::tuning::{solve, Calibration, Solution, Word};
use crate::cache::CacheConfig;
use crate::runtime::number::Short;
use crate::runtime::{Control, LogLevel};
use crate::{Error, Result};

/// Degrees of the polynomials that are tried.
const ORDERS: std::ops::RangeInclusive<usize> = 0..=3;
/// How many schedules of each family are run at most.
const TRIALS: usize = 8;
/// So many runs that are all too bad end a trial.
const HOPELESS: usize = 3;
/// What schedules are made of. What parts of a step cost is foretold less well than what whole steps
/// do, so schedules with them do not stand in the way of those without: both are searched.
const FAMILIES: [&[Word]; 2] = [Word::STEPS, Word::ALL];

/// What tuning came to.
#[derive(Debug)]
pub struct Tuned {
    /// Of the technique "schedule".
    pub config: CacheConfig,
    /// The median over the runs that were tuned on, in decibels, against their uncached videos.
    pub psnr: f64,
}

/// A schedule and the degree of its predictions.
#[derive(Clone)]
struct Candidate {
    solution: Solution,
    order: usize,
}

/// A schedule that is good enough.
struct Found {
    solution: Solution,
    order: usize,
    psnr: f64,
}

impl Turn<'_> {
    /// The cheapest schedule found whose videos have a median PSNR of at least `min_psnr` decibels
    /// against the uncached ones of `runs`, from `calibration` or else one made with the same
    /// runs. The pipeline's own cache stays as it was.
    ///
    /// Errors: [`Error::InvalidArgument`] for runs of different numbers of steps or guidance, and
    /// if no schedule reaches that much, or for a calibration of other runs; those of generating.
    pub fn tune(
        &self,
        runs: &[GenerateOptions],
        calibration: Option<&Calibration>,
        min_psnr: f64,
        control: &Control,
    ) -> Result<Tuned> {
        let trials = TRIALS * FAMILIES.len();
        self.sample(runs, calibration.is_none(), trials, control, |sampler| match calibration {
            Some(calibration) => {
                let dense = sampler.uncached(calibration)?;
                sampler.best(calibration, &dense, min_psnr)
            }
            None => {
                let (calibration, dense) = sampler.calibrate()?;
                sampler.best(&calibration, &dense, min_psnr)
            }
        })
    }
}

impl Sampler<'_> {
    /// The cheapest schedule of all families.
    fn best(
        &mut self,
        calibration: &Calibration,
        dense: &[Sample],
        min_psnr: f64,
    ) -> Result<Tuned> {
        let (mut best, mut most) = (None::<Found>, f64::NEG_INFINITY);
        for words in FAMILIES {
            match self.search(&candidates(calibration, words), dense, min_psnr)? {
                Ok(found) => {
                    let cheaper = |best: &Found| found.solution.units < best.solution.units;
                    if best.as_ref().is_none_or(cheaper) {
                        best = Some(found);
                    }
                }
                Err(psnr) => most = most.max(psnr),
            }
        }
        self.report(self.total)?;
        let Some(Found { solution, order, psnr }) = best else {
            return Err(Error::InvalidArgument(format!(
                "min_psnr: expected at most {most:.1} dB, the best of the schedules that were run, \
                 found {}",
                Short(min_psnr)
            )));
        };
        let layers = self.pipeline.attention_names().len();
        let config = schedule(&solution.steps, layers, order, psnr)?;
        Ok(Tuned { config, psnr })
    }

    /// Runs schedules, those first that are expected to be just good enough, until the cheapest
    /// good one lies beside one that is not. None is good enough: the best median PSNR.
    fn search(
        &mut self,
        candidates: &[Candidate],
        dense: &[Sample],
        min_psnr: f64,
    ) -> Result<std::result::Result<Found, f64>> {
        // Positions in `candidates`, by rising units: all up to `bad` are taken as not good enough.
        let (mut bad, mut good): (Option<usize>, Option<(usize, f64)>) = (None, None);
        // PSNR is `level` less the expected error in decibels.
        let mut level: Option<f64> = None;
        let mut best = f64::NEG_INFINITY;
        for _ in 0..TRIALS {
            let from = bad.map_or(0, |bad| bad + 1);
            let to = good.map_or(candidates.len(), |(good, _)| good);
            if from >= to {
                break;
            }
            let expected = |candidate: &Candidate| {
                level.map(|level| level - decibels(candidate.solution.expected_error))
            };
            let promising = (from..to).find(|&at| {
                candidates.get(at).and_then(expected).is_some_and(|psnr| psnr >= min_psnr)
            });
            let at = promising.unwrap_or((from + to) / 2).clamp(from, to - 1);
            let Some(candidate) = candidates.get(at) else { break };
            let psnr = measure(self, candidate, dense, min_psnr)?;
            best = best.max(psnr);
            level = Some(psnr + decibels(candidate.solution.expected_error));
            if psnr >= min_psnr {
                good = Some((at, psnr));
            } else {
                bad = Some(at);
            }
        }
        let found = good.and_then(|(at, psnr)| Some((candidates.get(at)?.clone(), psnr)));
        Ok(match found {
            Some((Candidate { solution, order }, psnr)) => Ok(Found { solution, order, psnr }),
            None => Err(best),
        })
    }
}

/// The median PSNR over the runs; over those so far where that settles it.
fn measure(
    sampler: &mut Sampler,
    candidate: &Candidate,
    dense: &[Sample],
    min_psnr: f64,
) -> Result<f64> {
    let layers = sampler.pipeline.attention_names().len();
    let mut all = Vec::with_capacity(dense.len());
    for (options, dense) in sampler.runs.iter().zip(dense) {
        let config = schedule(&candidate.solution.steps, layers, candidate.order, 0.0)?;
        all.push(psnr(&sampler.run(options, config)?.frames, &dense.frames)?);
        let bad = all.iter().filter(|psnr| **psnr < min_psnr).count();
        if 2 * bad > sampler.runs.len() || (bad >= HOPELESS && bad == all.len()) {
            break;
        }
    }
    let (psnr, of, runs) = (median(all.clone()), &candidate.solution, all.len());
    sampler.control.log(
        LogLevel::Info,
        format!(
            "tuning: {} units, order {}, expected error {:.3e}: median PSNR {psnr:.2} dB of {runs} \
             runs",
            of.units, candidate.order, of.expected_error
        ),
    );
    Ok(psnr)
}

/// For each number of units the schedule of which least error is expected, dearer ones only if
/// they are expected to be better.
fn candidates(calibration: &Calibration, words: &[Word]) -> Vec<Candidate> {
    let mut all: Vec<Candidate> = ORDERS
        .flat_map(|order| {
            let of_order = move |solution| Candidate { solution, order };
            solve(calibration, words, order).into_iter().map(of_order)
        })
        .filter(|candidate| candidate.solution.steps.iter().any(|word| *word != Word::Compute))
        .collect();
    all.sort_by(|a, b| {
        let (a, b) = (&a.solution, &b.solution);
        a.units.total_cmp(&b.units).then(a.expected_error.total_cmp(&b.expected_error))
    });
    let mut least = f64::INFINITY;
    all.retain(|candidate| {
        let better = candidate.solution.expected_error < least;
        if better {
            least = candidate.solution.expected_error;
        }
        better
    });
    all
}

fn decibels(error: f64) -> f64 {
    20.0 * error.max(1e-9).log10()
}
