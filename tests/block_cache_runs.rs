//! Caches that skip whole steps or blocks, through the public C functions: what is kept, in what, and
//! for how long; how a calibration run is used; what is refused.

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
use common::handles::{Options, Pipeline, Result};
use serde_json::{json, Value};

const STEPS: i32 = 12;
/// Both halves, the hidden size of 5b's test folder, float32.
const TOKEN: u64 = 2 * 32 * 4;
/// 3 latent frames of 2 by 3 patches, and 16 tokens of text before them.
const VIDEO: u64 = 3 * 2 * 3 * TOKEN;
const ALL: u64 = VIDEO + 16 * TOKEN;
/// The video tokens with the hidden size of 2b's test folder.
const RESIDUAL: u64 = 2 * (3 * 2 * 3) * 48 * 4;

fn options() -> Options {
    Options::short(STEPS)
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

fn with(json: Value, field: &str, value: impl Into<Value>) -> CacheConfig {
    config(with_json(&json, field, value))
}

fn with_json(json: &Value, field: &str, value: impl Into<Value>) -> Value {
    let mut json = json.clone();
    json[field] = value.into();
    json
}

/// With a threshold that nothing reaches.
fn first_block_cache() -> Value {
    json!({ "technique": "first_block_cache", "threshold": 1e6 })
}

/// The same with DBCache's split: one block at each end of 5b's three.
fn split() -> Value {
    let mut json = first_block_cache();
    json["num_last_blocks"] = json!(1);
    json
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

#[test]
fn under_a_threshold_that_nothing_reaches_all_middle_blocks_are_skipped() {
    let pipeline = Pipeline::load(&pipeline_folder("5b")).unwrap();
    let uncached = latents(&pipeline, None).unwrap();
    let mut two_first = first_block_cache();
    two_first["num_first_blocks"] = json!(2);
    for (json, skipping) in [(first_block_cache(), "100"), (split(), "101"), (two_first, "110")] {
        let cached = latents(&pipeline, Some(&config(json.clone()))).unwrap();
        let mut expected = vec![skipping.to_string(); STEPS as usize];
        expected[0] = "111".into();
        assert_eq!(pipeline.stats().unwrap().layers(), expected, "{json}");
        assert!(difference(&cached, &uncached).unwrap().absolute > 0.02, "{json}");
        // And none is where everything does.
        let dense = with(json.clone(), "threshold", 1e-6);
        assert_eq!(latents(&pipeline, Some(&dense)).unwrap(), uncached, "{json}");
        let layers = pipeline.stats().unwrap().layers();
        assert_eq!(layers, vec!["111".to_string(); STEPS as usize], "{json}");
    }
}

#[test]
fn first_block_cache_keeps_what_its_preview_foresees() {
    let pipeline = Pipeline::load(&pipeline_folder("5b")).unwrap();
    for (json, dtype, peak) in [
        // What the first blocks added in the last computed step and in this one, and what the
        // others added.
        (first_block_cache(), "f32", 3 * VIDEO),
        // Before blocks at the end, text tokens count.
        (split(), "f32", 2 * VIDEO + ALL),
        // What is kept has half the bytes, but for a moment it is there in both dtypes.
        (first_block_cache(), "f16", 2 * VIDEO),
        (split(), "f16", VIDEO / 2 + ALL + ALL / 2),
        (split(), "bf16", VIDEO / 2 + ALL + ALL / 2),
    ] {
        // Skipping always, and never.
        for threshold in [1e6, 1e-6] {
            let config = with(with_json(&json, "cache_dtype", dtype), "threshold", threshold);
            let preview = pipeline.preview(&config, &options()).unwrap();
            let what = format!("{json} {dtype} {threshold}");
            assert_eq!(preview.bytes().1, peak, "foreseen: {what}");
            let cached = latents(&pipeline, Some(&config)).unwrap();
            assert_eq!(pipeline.stats().unwrap().bytes(), (0, peak), "held: {what}");
            assert!(cached.data.iter().all(|x| x.is_finite()), "{what}");
        }
    }
}

#[test]
fn without_room_first_block_cache_computes_everything() {
    let pipeline = Pipeline::load(&pipeline_folder("5b")).unwrap();
    let uncached = latents(&pipeline, None).unwrap();
    for (json, dtype, peak, over) in [
        (first_block_cache(), "f32", 3 * VIDEO, 2),
        (split(), "f32", 2 * VIDEO + ALL, 1),
        (split(), "f16", VIDEO / 2 + ALL + ALL / 2, 1),
    ] {
        let json = with_json(&json, "cache_dtype", dtype);
        let tight = with(json.clone(), "max_cache_bytes", peak - 1);
        assert_eq!(pipeline.preview(&tight, &options()).unwrap().bytes(), (0, 0), "{json}");
        assert_eq!(latents(&pipeline, Some(&tight)).unwrap(), uncached, "{json}");
        let stats = pipeline.stats().unwrap();
        assert_eq!(stats.bytes(), (0, 0), "{json}");
        assert_eq!(stats.json()["layers_over_budget"].as_array().unwrap().len(), over, "{json}");
        let enough = with(json.clone(), "max_cache_bytes", peak);
        assert_ne!(latents(&pipeline, Some(&enough)).unwrap(), uncached, "{json}");
        assert_eq!(pipeline.stats().unwrap().bytes(), (0, peak), "{json}");
    }
}

#[test]
fn a_split_that_leaves_no_block_is_refused_and_the_pipeline_goes_on() {
    let pipeline = Pipeline::load(&pipeline_folder("5b")).unwrap();
    let uncached = latents(&pipeline, None).unwrap();
    for (first, last) in [(1, 2), (2, 1), (3, 0), (1000, 1000)] {
        let mut json = first_block_cache();
        json["num_first_blocks"] = json!(first);
        json["num_last_blocks"] = json!(last);
        let expected = format!("found {first} and {last} of 3: nothing would be skipped");
        let config = config(json);
        let error = pipeline.enable_cache(&config).unwrap_err().to_string();
        assert!(error.contains(&expected), "{error}");
        assert_eq!(pipeline.generate(&options()).unwrap().latents().unwrap(), uncached);
    }
    for (field, value, expected) in [
        ("threshold", json!(0), "threshold: expected a number from 0.000001"),
        ("num_first_blocks", json!(0), "num_first_blocks: expected a whole number from 1 to 1000"),
        ("num_last_blocks", json!(-1), "num_last_blocks: expected a whole number from 0 to 1000"),
        ("max_skip_steps", json!(3), "FirstBlockCache has no field max_skip_steps"),
    ] {
        let json = with_json(&first_block_cache(), field, value);
        let error = CacheConfig::from_json(&json.to_string()).map(drop).unwrap_err().to_string();
        assert!(error.contains(expected), "{field}: {error}");
    }
}
