//! Makes a cache schedule for this pipeline: dense runs are recorded, a solver proposes schedules,
//! and running them decides (`cache::tuning`).

use super::denoise::guidance_scale;
use super::{generate, GenerateOptions, Output, Pipeline, Turn};
use crate::cache::tuning::{solve, Calibration, OutputErrors, Recording, Solution};
use crate::cache::{CacheConfig, Unconditional, Value};
use crate::guidance::GuidanceBatch;
use crate::runtime::{Control, LogLevel, Progress, Stage};
use crate::{Error, Result};
use serde_json::json;
use tch::{Kind, Tensor};

/// How many steps are disturbed to see what that does to the result.
const PROBES: usize = 16;
/// Degrees of the polynomials that are tried.
const ORDERS: std::ops::RangeInclusive<usize> = 0..=3;
/// How many schedules are run at most.
const TRIALS: usize = 10;
/// The mean squared error in levels below which two videos count as the same: 100 dB.
const SAME: f64 = 6.5e-6;

/// What tuning came to.
#[derive(Debug)]
pub struct Tuned {
    /// Of the technique "schedule".
    pub config: CacheConfig,
    /// The median over the runs that were tuned on, in decibels, against their uncached videos.
    pub psnr: f64,
}

/// One run without a cache.
struct Dense {
    latents: Tensor,
    frames: Tensor,
}

struct Tuner<'a> {
    pipeline: &'a Pipeline,
    runs: &'a [GenerateOptions],
    control: &'a Control,
    /// Runs that are done, and that there are at most.
    done: usize,
    total: usize,
}

/// A schedule and the degree of its predictions.
#[derive(Clone)]
struct Candidate {
    solution: Solution,
    order: usize,
}

impl Turn<'_> {
    /// The cheapest schedule found whose videos have a median PSNR of at least `min_psnr` decibels
    /// against the uncached ones of `runs`. The pipeline's own cache stays as it was.
    ///
    /// Errors: [`Error::InvalidArgument`] for runs of different numbers of steps or guidance, and
    /// if no schedule reaches that much; those of generating.
    pub fn tune(
        &self,
        runs: &[GenerateOptions],
        min_psnr: f64,
        control: &Control,
    ) -> Result<Tuned> {
        let enabled = self.pipeline.cache.lock().take();
        let total = runs.len() * (1 + PROBES + TRIALS);
        let mut tuner = Tuner { pipeline: self.pipeline, runs, control, done: 0, total };
        let tuned = self.pipeline.components.work(|| tuner.tune(min_psnr));
        let last = std::mem::replace(&mut *self.pipeline.cache.lock(), enabled);
        drop(last);
        tuned
    }
}

impl Tuner<'_> {
    fn tune(&mut self, min_psnr: f64) -> Result<Tuned> {
        if self.runs.is_empty() {
            return Err(Error::InvalidArgument("runs: expected at least one, found none".into()));
        }
        let (dense, errors, guided) = self.record()?;
        let probes = self.probe(&dense, &errors)?;
        let calibration = Calibration::new(errors, &probes, guided);
        let candidates = candidates(&calibration);
        self.search(&candidates, &dense, min_psnr)
    }

    fn run(&mut self, options: &GenerateOptions, config: CacheConfig) -> Result<Dense> {
        *self.pipeline.cache.lock() = Some(config);
        // The runs themselves are not reported: what is counted is how many there are.
        let control = Control { progress: None, ..self.control.clone() };
        let video = generate::generate(self.pipeline, options, &control)?;
        self.done += 1;
        self.report(self.done)?;
        match (video.latents, video.frames) {
            (Some(latents), Some(frames)) => Ok(Dense {
                latents: latents.f_to_kind(Kind::Float)?,
                // The levels that a host gets (`video::frames::rgb8`).
                frames: frames.f_mul_scalar(255.0)?.f_round()?,
            }),
            _ => Err(Error::Internal("tuning: a run without latents or frames".into())),
        }
    }

    fn report(&self, done: usize) -> Result<()> {
        let (done, total) = (done as u64, self.total as u64);
        self.control.report(Progress { stage: Stage::Tune, done, total, timestep: None })
    }

    /// Runs everything without a cache.
    fn record(&mut self) -> Result<(Vec<Dense>, OutputErrors, bool)> {
        let recording = Recording::default();
        let (mut dense, mut errors, mut guided) = (Vec::new(), None::<OutputErrors>, None);
        for options in self.runs {
            dense.push(self.run(options, recording.config())?);
            let outputs = recording.take();
            let stats = self
                .pipeline
                .cache_stats()
                .ok_or_else(|| Error::Internal("tuning: a run without statistics".into()))?;
            let steps = stats.trace.steps.len();
            let is_guided =
                stats.trace.steps.iter().any(|s| s.unconditional != Unconditional::Absent);
            if guided.is_some_and(|guided| guided != is_guided) {
                return Err(Error::InvalidArgument(
                    "guidance_scale: expected guidance in all runs that are tuned on or in none, \
                     found both"
                        .into(),
                ));
            }
            guided = Some(is_guided);
            let scales = stats
                .trace
                .steps
                .iter()
                .map(|step| guidance_scale(options, step.timestep, steps))
                .collect();
            let batch = GuidanceBatch { videos: options.num_videos, guided: is_guided };
            let of_run = OutputErrors::of_run(&outputs, batch, scales)?;
            errors = Some(match errors {
                None => of_run,
                Some(errors) => errors.together_with(&of_run)?,
            });
        }
        let errors = errors.ok_or_else(|| Error::Internal("tuning: no runs".into()))?;
        Ok((dense, errors, guided.unwrap_or(false)))
    }

    /// What a step's error does to the final latents: one step's output is repeated from the step
    /// before, for a few steps, in all runs. Some steps decide what a video shows, others only how
    /// sharp it is, and which ones decide differs from prompt to prompt.
    fn probe(&mut self, dense: &[Dense], errors: &OutputErrors) -> Result<Vec<(usize, f64)>> {
        let steps = errors.steps();
        if steps < 2 {
            return Err(Error::InvalidArgument(format!(
                "num_inference_steps: expected at least 2 to tune, found {steps}"
            )));
        }
        let count = PROBES.min(steps - 1);
        let last = (steps - 2) as f64;
        let mut probes = Vec::with_capacity(count);
        for probe in 0..count {
            let part = probe as f64 / (count - 1).max(1) as f64;
            let step = 1 + (part * last).round() as usize;
            let mut words = vec!["compute"; steps];
            if let Some(word) = words.get_mut(step) {
                *word = "predict";
            }
            let mut squares = 0.0;
            for (options, dense) in self.runs.iter().zip(dense) {
                let disturbed = self.run(options, schedule(&words, 0, 0.0)?)?;
                squares += mean_square(&disturbed.latents, &dense.latents)?;
            }
            let repeated = [(step - 1, 1.0)];
            let here = errors.error(step, Some(&repeated), Some(&repeated));
            let there = (squares / dense.len().max(1) as f64).sqrt();
            if here > 0.0 && there > 0.0 {
                probes.push((step, there / here));
            }
        }
        Ok(probes)
    }

    /// Runs schedules, those first that are expected to be just good enough, until the cheapest
    /// good one lies beside one that is not.
    fn search(
        &mut self,
        candidates: &[Candidate],
        dense: &[Dense],
        min_psnr: f64,
    ) -> Result<Tuned> {
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
            let psnr = self.measure(candidate, dense)?;
            best = best.max(psnr);
            let of = &candidate.solution;
            self.control.log(
                LogLevel::Info,
                format!(
                    "tuning: {} units, order {}, expected error {:.3e}: median PSNR {psnr:.2} dB",
                    of.units, candidate.order, of.expected_error
                ),
            );
            level = Some(psnr + decibels(candidate.solution.expected_error));
            if psnr >= min_psnr {
                good = Some((at, psnr));
            } else {
                bad = Some(at);
            }
        }
        let Some((candidate, psnr)) = good.and_then(|(at, psnr)| Some((candidates.get(at)?, psnr)))
        else {
            return Err(Error::InvalidArgument(format!(
                "min_psnr: expected at most {best:.1} dB, the best of the schedules that were run, \
                 found {min_psnr}"
            )));
        };
        self.report(self.total)?;
        let config = schedule(&candidate.solution.steps, candidate.order, psnr)?;
        Ok(Tuned { config, psnr })
    }

    /// The median PSNR over the runs.
    fn measure(&mut self, candidate: &Candidate, dense: &[Dense]) -> Result<f64> {
        let mut all = Vec::with_capacity(dense.len());
        for (options, dense) in self.runs.iter().zip(dense) {
            let config = schedule(&candidate.solution.steps, candidate.order, 0.0)?;
            let frames = self.run(options, config)?.frames;
            let error = mean_square(&frames, &dense.frames)?.max(SAME);
            all.push(10.0 * (255.0 * 255.0 / error).log10());
        }
        all.sort_by(f64::total_cmp);
        let middle = all.len() / 2;
        let at = |index: usize| all.get(index).copied().unwrap_or(f64::NAN);
        Ok(if all.len() % 2 == 1 { at(middle) } else { (at(middle - 1) + at(middle)) / 2.0 })
    }
}

/// For each number of units the schedule of which least error is expected, dearer ones only if
/// they are expected to be better.
fn candidates(calibration: &Calibration) -> Vec<Candidate> {
    let mut all: Vec<Candidate> = ORDERS
        .flat_map(|order| {
            let of_order = move |solution| Candidate { solution, order };
            solve(calibration, order).into_iter().map(of_order)
        })
        .filter(|candidate| candidate.solution.steps.iter().any(|word| *word != "compute"))
        .collect();
    all.sort_by(|a, b| {
        let (a, b) = (&a.solution, &b.solution);
        a.units.cmp(&b.units).then(a.expected_error.total_cmp(&b.expected_error))
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

fn schedule(words: &[&str], order: usize, expected_psnr: f64) -> Result<CacheConfig> {
    let mut config = CacheConfig::new("schedule", None)?;
    config.set("steps", Value::Json(json!(words)))?;
    config.set("order", Value::Json(json!(order)))?;
    let rounded = (expected_psnr * 100.0).round() / 100.0;
    config.set("expected_psnr", Value::Number(rounded))?;
    Ok(config)
}

fn decibels(error: f64) -> f64 {
    20.0 * error.max(1e-9).log10()
}

fn mean_square(a: &Tensor, b: &Tensor) -> Result<f64> {
    let squared = a.f_sub(b)?.f_square()?;
    Ok(squared.f_mean(Kind::Double)?.f_double_value(&[])?)
}

impl GenerateOptions {
    /// The same run, with frames that stay in the video alone: what tuning repeats.
    pub fn to_tune(self) -> GenerateOptions {
        GenerateOptions { output: Output::Frames, frames: Default::default(), ..self }
    }
}
