//! The same runs as diffusers with caches that skip or predict blocks, modules or the whole model:
//! every case of `block_caches.json` through the public C functions, its latents and what was
//! computed in each step and layer (tests/goldens/maker/block_caches.py).

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use common::cache::{CacheConfig, Stats};
use common::cases::Case;
use common::compare::{Report, LATENTS};
use common::folders::with_scheduler;
use common::goldens::{manifest, Array, Goldens, FAMILIES};
use common::handles::{Output, Pipeline, Result};

/// Caching must move the latents by many times the tolerance, or a case shows nothing.
const MOVED: f64 = 20.0 * LATENTS;

/// Ratios are means of float32 quotients; diffusers prints all their digits.
const RATIOS: f64 = 1e-4;

/// What a run came to.
struct Outcome {
    latents: Array<f32>,
    stats: Stats,
    /// What was said of it before.
    preview: Stats,
}

fn run(pipeline: &Pipeline, case: &Case, goldens: &Goldens) -> Result<Outcome> {
    let (config, options) =
        (CacheConfig::by_name(&case.cache)?, case.options(goldens, Output::Latents));
    let preview = pipeline.preview(&config, &options)?;
    pipeline.enable_cache(&config)?;
    let video = pipeline.generate(&options)?;
    Ok(Outcome { latents: video.latents()?, stats: pipeline.stats()?, preview })
}

/// What statistics show of a case, by step a character per layer: `1` a block that was computed,
/// `0` one of which neither attention nor the feed-forward layer was, `a` where attention alone
/// was not, `f` where the feed-forward layer alone was not.
fn expected_layers(case: &Case) -> Vec<String> {
    let or_blocks = |grid: &Vec<String>| if grid.is_empty() { &case.blocks } else { grid }.clone();
    let layer = |(attention, feed_forward)| match (attention, feed_forward) {
        ('1', '1') => '1',
        ('0', '0') => '0',
        ('0', '1') => 'a',
        ('1', '0') => 'f',
        other => panic!("{}: {other:?}", case.name),
    };
    let steps = or_blocks(&case.attention).into_iter().zip(or_blocks(&case.feed_forward));
    steps.map(|(a, f)| a.chars().zip(f.chars()).map(layer).collect()).collect()
}

fn mean_difference(found: &Array<f32>, expected: &Array<f64>) -> f64 {
    assert_eq!(found.shape, expected.shape);
    let differences = found.data.iter().zip(&expected.data).map(|(f, e)| (f64::from(*f) - e).abs());
    differences.sum::<f64>() / expected.data.len() as f64
}

fn check(report: &mut Report, case: &Case, goldens: &Goldens, result: Result<Outcome>) {
    let what = format!("{}, {}", case.family, case.name);
    let Outcome { latents, stats, preview } = match result {
        Ok(result) => result,
        Err(error) => return report.fail(&what, error),
    };
    let expected = goldens.f64(&format!("{}.latents", case.tensors));
    if case.cache.get("taylor_factors_dtype") == Some(&"bfloat16".into()) {
        // What float32 rounds otherwise in its last bit is now and then rounded to another
        // bfloat16, 2^-8 of the value away, which guidance multiplies: few values, but far off.
        let (mean, none) = (mean_difference(&latents, expected), vec![0.0]);
        let one = |data| Array { shape: vec![1], data };
        report.absolute(&format!("{what}, mean"), &one(vec![mean]), &one(none), LATENTS);
    } else {
        report.absolute(&format!("{what}, latents"), &latents, expected, LATENTS);
    }
    let layers = expected_layers(case);
    report.equal(&format!("{what}, computed"), &stats.layers(), &layers);
    let saved = layers.iter().any(|step| step.contains(['0', 'a', 'f']));
    assert!(case.moved > MOVED || !saved, "{what}: moved by {} only", case.moved);
    let (now, peak) = stats.bytes();
    report.equal(&format!("{what}, bytes after the run"), &now, &0);
    if preview.json()["foresight"] == "exact" {
        report.equal(&format!("{what}, preview"), &preview.layers(), &layers);
        report.equal(&format!("{what}, bytes of the preview"), &preview.bytes().1, &peak);
    }
    if let Some(ratios) = &case.ratios {
        let measured = stats.measured("mag_ratios");
        let array = |data: &[f64]| Array { shape: vec![data.len() as i64], data: data.to_vec() };
        report.absolute(&format!("{what}, ratios"), &array(&measured), &array(ratios), RATIOS);
    }
}

/// The cases of a technique, each family's with one scheduler on one pipeline: nothing of a run
/// reaches the next.
fn runs_of(technique: &str) {
    let cases: Vec<Case> = manifest("block_caches.json");
    let cases: Vec<Case> = cases
        .into_iter()
        .filter(|c| c.cache["technique"] == technique && !does_nothing(c))
        .collect();
    let mut report = Report::default();
    for family in FAMILIES {
        let goldens = Goldens::open(format!("{family}/block_caches.safetensors"));
        let mut schedulers: Vec<&str> = cases
            .iter()
            .filter(|case| case.family == family)
            .map(|case| case.scheduler.as_deref().unwrap())
            .collect();
        schedulers.sort_unstable();
        schedulers.dedup();
        for scheduler in schedulers {
            let folder = with_scheduler(family, scheduler);
            let pipeline = Pipeline::load(folder.path()).unwrap();
            let cases = cases.iter().filter(|case| {
                case.family == family && case.scheduler.as_deref() == Some(scheduler)
            });
            for case in cases {
                let result = run(&pipeline, case, &goldens);
                check(&mut report, case, &goldens, result);
            }
        }
    }
    report.finish(technique);
}

/// diffusers takes a threshold that skips nothing, and then does nothing.
fn does_nothing(case: &Case) -> bool {
    case.cache["technique"] == "first_block_cache"
        && case.cache.get("threshold").is_some_and(|threshold| *threshold == 0.0)
}

#[test]
fn first_block_cache_is_that_of_diffusers() {
    runs_of("first_block_cache");
    let cases: Vec<Case> = manifest("block_caches.json");
    let mut refused = 0;
    for case in cases.iter().filter(|case| does_nothing(case)) {
        let error = CacheConfig::by_name(&case.cache).map(drop).expect_err(&case.name);
        assert!(error.message.contains("threshold"), "{error:?}");
        refused += 1;
    }
    assert!(refused > 0);
}

#[test]
fn mag_cache_is_that_of_diffusers() {
    runs_of("mag_cache");
}

#[test]
fn taylor_seer_is_that_of_diffusers() {
    runs_of("taylor_seer");
}

#[test]
fn tea_cache_is_that_of_its_authors() {
    runs_of("tea_cache");
}
