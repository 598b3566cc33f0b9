//! The same cached runs as diffusers: every case of `caches.json` through the public C
//! functions, its latents and what was computed in each step and layer.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use common::cache::{CacheConfig, Counts};
use common::cases::Case;
use common::compare::{Report, LATENTS};
use common::folders::with_scheduler;
use common::goldens::{manifest, Array, Goldens};
use common::handles::{Output, Pipeline, Result};

/// Caching must move the latents by many times the tolerance, or a case shows nothing.
const MOVED: f64 = 20.0 * LATENTS;

fn run(pipeline: &Pipeline, case: &Case, goldens: &Goldens) -> Result<(Array<f32>, Counts)> {
    pipeline.enable_cache(&CacheConfig::of(case)?)?;
    let video = pipeline.generate(&case.options(goldens, Output::Latents))?;
    Ok((video.latents()?, pipeline.counts()?))
}

/// The cases of a family, each scheduler's on one pipeline: a cache replaces the one before,
/// and nothing of a run reaches the next, whatever its size, guidance and number of videos.
fn cached_runs_of(family: &str) {
    let cases: Vec<Case> = manifest("caches.json");
    let cases: Vec<Case> = cases.into_iter().filter(|case| case.family == family).collect();
    let goldens = Goldens::open(format!("{family}/caches.safetensors"));
    let mut schedulers: Vec<&str> =
        cases.iter().map(|case| case.scheduler.as_deref().unwrap()).collect();
    schedulers.sort_unstable();
    schedulers.dedup();
    let mut report = Report::default();
    for scheduler in schedulers {
        let folder = with_scheduler(family, scheduler);
        let pipeline = Pipeline::load(folder.path()).unwrap();
        let uncached = cases[0].options(&goldens, Output::Latents);
        let before = pipeline.generate(&uncached).unwrap().latents().unwrap();
        for case in cases.iter().filter(|case| case.scheduler.as_deref() == Some(scheduler)) {
            let what = format!("{family}, {}", case.name);
            let (latents, counts) = match run(&pipeline, case, &goldens) {
                Ok(result) => result,
                Err(error) => {
                    report.fail(&what, error);
                    continue;
                }
            };
            let expected = goldens.f64(&format!("{}.latents", case.tensors));
            report.absolute(&format!("{what}, latents"), &latents, expected, LATENTS);
            let counted = Counts {
                computed: case.computed.clone(),
                unconditional: case.unconditional.clone(),
            };
            report.equal(&format!("{what}, computed"), &counts, &counted);
            let reused = counted.unconditional.contains('0')
                || counted.computed.iter().any(|step| step.contains('0'));
            assert!(case.moved > MOVED || !reused, "{what}: moved by {} only", case.moved);
        }
        pipeline.disable_cache().unwrap();
        let after = pipeline.generate(&uncached).unwrap().latents().unwrap();
        assert_eq!(after, before, "{family}, {scheduler}: disabling the cache");
    }
    report.finish(&format!("cached runs of {family}"));
}

#[test]
fn cached_runs_of_2b_are_those_of_diffusers() {
    cached_runs_of("2b");
}

#[test]
fn cached_runs_of_5b_are_those_of_diffusers() {
    cached_runs_of("5b");
}

#[test]
fn cached_runs_of_1_5_5b_are_those_of_diffusers() {
    cached_runs_of("1.5-5b");
}
