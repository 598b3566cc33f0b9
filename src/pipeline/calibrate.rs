//! What this pipeline shows of itself in a few runs: dense ones are recorded and timed, and steps
//! are disturbed one by one to see what that does to the result (`cache::tuning`).

use super::denoise::guidance_scale;
use super::{generate, Adapters, GenerateOptions, Pipeline, Turn};
use crate::cache::tuning::{
    Calibration, Effects, Omission, OutputErrors, Recording, Seconds, Word,
};
use crate::cache::{CacheConfig, Unconditional, Value};
use crate::guidance::GuidanceBatch;
use crate::runtime::{Control, Progress, Stage};
use crate::{Error, Result};
use parking_lot::Mutex;
use serde_json::json;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;
use tch::{Kind, Tensor};

/// How many steps are disturbed by leaving out the whole step, and how many by leaving out
/// attention, and blocks.
const PROBES: usize = 16;
const PARTIAL_PROBES: usize = 8;
/// The mean squared error in levels below which two videos count as the same: 100 dB.
const SAME: f64 = 6.5e-6;

/// One run without a cache, or with one.
pub(super) struct Sample {
    pub latents: Tensor,
    /// In levels, as a host gets them.
    pub frames: Tensor,
    seconds: Seconds,
}

/// Runs that are made one after another, and counted.
pub(super) struct Sampler<'a> {
    pub pipeline: &'a Pipeline,
    /// As they were when it began: all runs are of one model.
    adapters: Adapters,
    pub runs: &'a [GenerateOptions],
    pub control: &'a Control,
    /// Runs that are done, and that there are at most.
    done: usize,
    pub total: usize,
}

impl Turn<'_> {
    /// Calibrates the pipeline with `runs`. Its own cache stays as it was.
    ///
    /// Errors: [`Error::InvalidArgument`] for no runs, runs of different numbers of steps or
    /// guidance, and of less than 2 steps; those of generating.
    pub fn calibrate(&self, runs: &[GenerateOptions], control: &Control) -> Result<Calibration> {
        self.sample(runs, true, 0, control, |sampler| Ok(sampler.calibrate()?.0))
    }

    /// Works with a sampler whose runs leave the enabled cache alone: whether it `calibrates`, and
    /// how many `more` runs of each of `runs` follow.
    pub(super) fn sample<T>(
        &self,
        runs: &[GenerateOptions],
        calibrates: bool,
        more: usize,
        control: &Control,
        work: impl FnOnce(&mut Sampler<'_>) -> Result<T>,
    ) -> Result<T> {
        let enabled = self.pipeline.cache.lock().take();
        let probes = if calibrates { PROBES + 2 * PARTIAL_PROBES } else { 0 };
        let total = runs.len() * (1 + probes + more);
        let adapters = self.pipeline.adapters();
        let mut sampler =
            Sampler { pipeline: self.pipeline, adapters, runs, control, done: 0, total };
        let result = self.pipeline.components.work(|| work(&mut sampler));
        let last = std::mem::replace(&mut *self.pipeline.cache.lock(), enabled);
        drop(last);
        result
    }
}

/// What one disturbed step did to the final latents: root mean squared errors.
struct Probe {
    step: usize,
    /// Of all runs together.
    all: f64,
    /// The median over the runs.
    typical: f64,
}

/// When a run's stages ended.
#[derive(Default)]
struct Watch {
    encoded: Option<Instant>,
    denoised: Option<Instant>,
}

impl Sampler<'_> {
    /// Makes one run.
    pub fn run(&mut self, options: &GenerateOptions, config: CacheConfig) -> Result<Sample> {
        *self.pipeline.cache.lock() = Some(config);
        let watch = Arc::new(Mutex::new(Watch::default()));
        let seen = Arc::clone(&watch);
        // The runs themselves are not reported: what is counted is how many there are.
        let progress = move |progress: &Progress| {
            let now = Some(Instant::now());
            match progress.stage {
                Stage::Load | Stage::Encode => seen.lock().encoded = now,
                Stage::Denoise => seen.lock().denoised = now,
                _ => {}
            }
            ControlFlow::Continue(())
        };
        let control = Control { progress: Some(Arc::new(progress)), ..self.control.clone() };
        let started = Instant::now();
        let video = generate::generate_alone(self.pipeline, options, &self.adapters, &control)?;
        let ended = Instant::now();
        self.done += 1;
        self.report(self.done)?;
        let watch = watch.lock();
        let encoded = watch.encoded.unwrap_or(started);
        let denoised = watch.denoised.unwrap_or(ended);
        let between = |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64();
        match (video.latents, video.frames) {
            (Some(latents), Some(frames)) => Ok(Sample {
                latents: latents.f_to_kind(Kind::Float)?,
                // The levels that a host gets (`video::frames::rgb8`).
                frames: frames.f_mul_scalar(255.0)?.f_round()?,
                seconds: Seconds {
                    encode: between(started, encoded),
                    denoise: between(encoded, denoised),
                    decode: between(denoised, ended),
                },
            }),
            _ => Err(Error::Internal("tuning: a run without latents or frames".into())),
        }
    }

    pub fn report(&self, done: usize) -> Result<()> {
        let (done, total) = (done as u64, self.total as u64);
        self.control.report(Progress { stage: Stage::Tune, done, total, timestep: None })
    }

    /// The calibration, and the runs without a cache.
    pub fn calibrate(&mut self) -> Result<(Calibration, Vec<Sample>)> {
        if self.runs.is_empty() {
            return Err(Error::InvalidArgument("runs: expected at least one, found none".into()));
        }
        let (dense, errors, guided) = self.record()?;
        let steps = errors.steps();
        if steps < 2 {
            return Err(Error::InvalidArgument(format!(
                "num_inference_steps: expected at least 2 to tune, found {steps}"
            )));
        }
        let stats = self.pipeline.cache_stats();
        let share = stats.and_then(|stats| stats.attention_share).map(|share| share.share);
        let layers = self.pipeline.attention_names().len();
        let mut levels = Vec::new();
        let whole = self.probe(&dense, steps, PROBES, Word::Predict, &mut levels)?;
        let attention =
            self.probe(&dense, steps, PARTIAL_PROBES, Word::ReuseAttention, &mut levels)?;
        let blocks = self.probe(&dense, steps, PARTIAL_PROBES, Word::SkipBlocks, &mut levels)?;
        let effects = |of: fn(&Probe) -> f64| {
            let found = |probes: &[Probe]| -> Vec<(usize, f64)> {
                probes.iter().map(|probe| (probe.step, of(probe))).collect()
            };
            let sensitivity: Vec<(usize, f64)> = found(&whole)
                .into_iter()
                .filter_map(|(step, there)| {
                    let repeated = [(step.saturating_sub(1), 1.0)];
                    let here = errors.error(step, Some(&repeated), Some(&repeated));
                    (here > 0.0).then_some((step, there / here))
                })
                .collect();
            Effects {
                attention: Omission::new(steps, &found(&attention)),
                blocks: Omission::new(steps, &found(&blocks)),
                ..Effects::new(steps, &sensitivity)
            }
        };
        let (all, typical) = (effects(|probe| probe.all), effects(|probe| probe.typical));
        let mut calibration = Calibration::new(errors, &[], guided);
        calibration.layers = layers;
        (calibration.effects, calibration.typical) = (all, typical);
        calibration.psnr_of_one = median(levels);
        calibration.seconds = seconds(&dense);
        calibration.attention_share = share.unwrap_or(0.5);
        Ok((calibration, dense))
    }

    /// Runs everything without a cache, for schedules that come from `calibration`.
    pub fn uncached(&mut self, calibration: &Calibration) -> Result<Vec<Sample>> {
        let (dense, errors, guided) = self.record()?;
        let layers = self.pipeline.attention_names().len();
        calibration.check(errors.steps(), layers, guided)?;
        Ok(dense)
    }

    /// Runs everything without a cache.
    fn record(&mut self) -> Result<(Vec<Sample>, OutputErrors, bool)> {
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
                .map(|step| guidance_scale(options, options.guidance_scale, step.timestep, steps))
                .collect();
            let batch = GuidanceBatch { videos: options.videos(), guided: is_guided };
            let of_run = OutputErrors::of_run(&outputs, batch, scales)?;
            errors = Some(match errors {
                None => of_run,
                Some(errors) => errors.together_with(&of_run)?,
            });
        }
        let errors = errors.ok_or_else(|| Error::Internal("tuning: no runs".into()))?;
        Ok((dense, errors, guided.unwrap_or(false)))
    }

    /// What leaving something out in one step does to the final latents: for a few steps, in all
    /// runs. Some steps decide what a video shows, others only
    /// how sharp it is, and which ones decide differs from prompt to prompt. `levels` gets, for each step, the PSNR that an error of 1 would have had.
    fn probe(
        &mut self,
        dense: &[Sample],
        steps: usize,
        probes: usize,
        word: Word,
        levels: &mut Vec<f64>,
    ) -> Result<Vec<Probe>> {
        let layers = self.pipeline.attention_names().len();
        let count = probes.min(steps - 1);
        let last = (steps - 2) as f64;
        let mut found = Vec::with_capacity(count);
        for probe in 0..count {
            let part = probe as f64 / (count - 1).max(1) as f64;
            let step = 1 + (part * last).round() as usize;
            let mut words = vec![Word::Compute; steps];
            if let Some(at) = words.get_mut(step) {
                *at = word;
            }
            let (mut squares, mut quality) = (Vec::new(), Vec::new());
            for (options, dense) in self.runs.iter().zip(dense) {
                let disturbed = self.run(options, schedule(&words, layers, 0, 0.0)?)?;
                squares.push(mean_square(&disturbed.latents, &dense.latents)?);
                quality.push(psnr(&disturbed.frames, &dense.frames)?);
            }
            let all = (squares.iter().sum::<f64>() / squares.len().max(1) as f64).sqrt();
            let typical = median(squares).sqrt();
            if typical > 0.0 {
                found.push(Probe { step, all, typical });
                levels.push(median(quality) + 20.0 * typical.log10());
            }
        }
        Ok(found)
    }
}

/// A config of the technique "schedule".
pub(super) fn schedule(
    words: &[Word],
    layers: usize,
    order: usize,
    expected_psnr: f64,
) -> Result<CacheConfig> {
    let words: Vec<String> = words.iter().map(|word| word.text(layers)).collect();
    let mut config = CacheConfig::new("schedule", None)?;
    config.set("steps", Value::Json(json!(words)))?;
    config.set("order", Value::Json(json!(order)))?;
    let rounded = (expected_psnr * 100.0).round() / 100.0;
    config.set("expected_psnr", Value::Number(rounded))?;
    Ok(config)
}

/// Of frames in levels, in decibels; at most 100.
pub(super) fn psnr(a: &Tensor, b: &Tensor) -> Result<f64> {
    let error = mean_square(a, b)?.max(SAME);
    Ok(10.0 * (255.0 * 255.0 / error).log10())
}

fn mean_square(a: &Tensor, b: &Tensor) -> Result<f64> {
    let squared = a.f_sub(b)?.f_square()?;
    Ok(squared.f_mean(Kind::Double)?.f_double_value(&[])?)
}

/// Of an even number the mean of the two in the middle; not a number of none.
pub(super) fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    let middle = all.len() / 2;
    let at = |index: usize| all.get(index).copied().unwrap_or(f64::NAN);
    if all.len() % 2 == 1 {
        at(middle)
    } else {
        (at(middle.wrapping_sub(1)) + at(middle)) / 2.0
    }
}

/// Medians over the runs; the first, which warms up, counts only if it is the only one.
fn seconds(dense: &[Sample]) -> Seconds {
    let counted = if dense.len() > 1 { dense.get(1..).unwrap_or(dense) } else { dense };
    let of = |part: fn(&Seconds) -> f64| median(counted.iter().map(|s| part(&s.seconds)).collect());
    Seconds { encode: of(|s| s.encode), denoise: of(|s| s.denoise), decode: of(|s| s.decode) }
}

impl GenerateOptions {
    /// The same run, with frames that stay in the video alone: what tuning repeats.
    pub fn to_tune(self) -> GenerateOptions {
        GenerateOptions {
            output: super::Output::Frames,
            frames: Default::default(),
            step_callback: None,
            resume: None,
            ..self
        }
    }
}
