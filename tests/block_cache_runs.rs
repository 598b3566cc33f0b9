//! Caches that skip whole steps, through the public C functions: what is kept, in what, and for how
//! long; how a calibration run is used; what is refused.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use common::cache::CacheConfig;
use common::compare::difference;
use common::goldens::{pipeline_folder, Array};
use common::handles::{Options, Output, Pipeline, Result};
use serde_json::{json, Value};

const STEPS: i32 = 12;
/// Both halves, 3 latent frames of 2 by 3 patches, the hidden size of 2b's test folder, float32.
const RESIDUAL: u64 = 2 * (3 * 2 * 3) * 48 * 4;

fn options() -> Options {
    let mut options = Options::new();
    options
        .prompt("A panda plays a guitar.")
        .size(48, 32)
        .num_frames(9)
        .num_inference_steps(STEPS)
        .guidance_scale(6.0)
        .seed(3)
        .max_sequence_length(16)
        .output(Output::Latents);
    options
}

fn config(json: Value) -> CacheConfig {
    CacheConfig::from_json(&json.to_string()).expect("a config")
}

/// Skips three of each four steps after the second.
fn mag_cache() -> Value {
    json!({ "technique": "mag_cache", "mag_ratios": [1.0] })
}

fn tea_cache() -> Value {
    json!({ "technique": "tea_cache", "rel_l1_thresh": 2.0, "coefficients": [1.0, 0.0] })
}

fn latents(pipeline: &Pipeline, config: Option<&CacheConfig>) -> Result<Array<f32>> {
    match config {
        Some(config) => pipeline.enable_cache(config)?,
        None => pipeline.disable_cache()?,
    }
    pipeline.generate(&options())?.latents()
}

fn with(mut json: Value, field: &str, value: impl Into<Value>) -> CacheConfig {
    json[field] = value.into();
    config(json)
}

#[test]
fn one_residual_is_kept_and_none_after_the_run() {
    let pipeline = Pipeline::load(&pipeline_folder("2b")).unwrap();
    let uncached = latents(&pipeline, None).unwrap();
    for json in [mag_cache(), tea_cache()] {
        let cached = latents(&pipeline, Some(&config(json.clone()))).unwrap();
        let stats = pipeline.stats().unwrap();
        assert_eq!(stats.bytes(), (0, RESIDUAL), "{json}");
        assert!(stats.layers().iter().any(|step| step == "00"), "{json}");
        assert!(difference(&cached, &uncached).unwrap().absolute > 0.02, "{json}");
        // As float16 the residual is kept beside the tokens that it is taken from, for a moment.
        let half = latents(&pipeline, Some(&with(json.clone(), "cache_dtype", "f16"))).unwrap();
        assert_eq!(pipeline.stats().unwrap().bytes(), (0, RESIDUAL + RESIDUAL / 2), "{json}");
        let moved = difference(&half, &cached).unwrap().absolute;
        assert!(moved > 0.0 && moved < 0.05, "{json}: {moved}");
    }
}

#[test]
fn without_room_for_the_residual_every_step_computes() {
    let pipeline = Pipeline::load(&pipeline_folder("2b")).unwrap();
    let uncached = latents(&pipeline, None).unwrap();
    for json in [mag_cache(), tea_cache()] {
        let tight = with(json.clone(), "max_cache_bytes", RESIDUAL - 1);
        assert_eq!(latents(&pipeline, Some(&tight)).unwrap(), uncached, "{json}");
        let stats = pipeline.stats().unwrap();
        assert_eq!(stats.bytes(), (0, 0), "{json}");
        assert_eq!(stats.json()["layers_over_budget"].as_array().unwrap().len(), 2, "{json}");
        let enough = with(json.clone(), "max_cache_bytes", RESIDUAL);
        assert_ne!(latents(&pipeline, Some(&enough)).unwrap(), uncached, "{json}");
    }
}

#[test]
fn what_a_calibration_run_measures_can_be_set() {
    let pipeline = Pipeline::load(&pipeline_folder("2b")).unwrap();
    let uncached = latents(&pipeline, None).unwrap();
    let calibrate = config(json!({ "technique": "mag_cache", "preset": "calibrate" }));
    assert_eq!(latents(&pipeline, Some(&calibrate)).unwrap(), uncached);
    let stats = pipeline.stats().unwrap();
    assert_eq!(stats.bytes(), (0, 2 * RESIDUAL));
    let ratios = stats.measured("mag_ratios");
    assert_eq!((ratios.len(), ratios[0]), (STEPS as usize, 1.0));
    assert!(ratios.iter().all(|ratio| (0.1..10.0).contains(ratio)), "{ratios:?}");
    let mut json = with(mag_cache(), "mag_ratios", ratios.clone()).json().unwrap();
    assert_eq!(json["mag_ratios"], json!(ratios));
    json["threshold"] = json!(1.0);
    assert_ne!(latents(&pipeline, Some(&config(json))).unwrap(), uncached);
    assert_eq!(pipeline.stats().unwrap().json()["measured"], Value::Null);

    let tight = with(
        json!({ "technique": "mag_cache", "preset": "calibrate" }),
        "max_cache_bytes",
        2 * RESIDUAL - 1,
    );
    let error = latents(&pipeline, Some(&tight)).unwrap_err().to_string();
    assert!(error.contains("max_cache_bytes: expected at least 13824 to calibrate"), "{error}");
}

#[test]
fn what_would_do_nothing_is_refused_and_the_pipeline_goes_on() {
    let pipeline = Pipeline::load(&pipeline_folder("2b")).unwrap();
    let uncached = latents(&pipeline, None).unwrap();
    let refusals = [
        (json!({ "technique": "mag_cache" }), "mag_ratios: expected the ratios"),
        (json!({ "technique": "mag_cache", "mag_ratios": [1.0, 0.0] }), "found 0 at 1"),
        (
            json!({ "technique": "mag_cache", "mag_ratios": [9.0] }),
            "found none of 12 steps skipped",
        ),
        (
            json!({ "technique": "mag_cache", "mag_ratios": [1.0], "retention_ratio": 1.0 }),
            "retention_ratio 1",
        ),
        (
            json!({ "technique": "tea_cache", "rel_l1_thresh": 0.0, "coefficients": [1.0, 0.0] }),
            "found none of 12 steps skipped with rel_l1_thresh 0",
        ),
    ];
    for (json, expected) in refusals {
        let config = config(json.clone());
        let error = latents(&pipeline, Some(&config)).unwrap_err().to_string();
        assert!(error.contains(expected), "{json}: {error}");
        let error = pipeline.preview(&config, &options()).map(drop).unwrap_err().to_string();
        assert!(error.contains(expected), "{json}: {error}");
        assert_eq!(latents(&pipeline, None).unwrap(), uncached, "{json}");
    }
    for (field, value, expected) in [
        ("threshold", json!(-0.1), "threshold: expected a number from 0"),
        ("max_skip_steps", json!(0), "max_skip_steps: expected a whole number from 1"),
        ("retention_ratio", json!(1.5), "retention_ratio: expected a number from 0 to 1"),
        ("mag_ratios", json!("none"), "mag_ratios: expected a list of numbers"),
        ("num_inference_steps", json!(28), "MagCache has no field num_inference_steps"),
    ] {
        let mut json = mag_cache();
        json[field] = value;
        let error = CacheConfig::from_json(&json.to_string()).map(drop).unwrap_err().to_string();
        assert!(error.contains(expected), "{field}: {error}");
    }
}
