//! A technique of guidance with one of attention, blocks or whole steps above it, through the
//! public C functions. Where the two do what one technique does by itself, and that one is compared
//! with diffusers (`cache_parity.rs`), the bytes must be equal.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use common::cache::{CacheConfig, Stats};
use common::compare::difference;
use common::goldens::{pipeline_folder, Array};
use common::handles::{Options, Pipeline, Result};
use serde_json::{json, Value};

const STEPS: i32 = 12;

fn options() -> Options {
    Options::short(STEPS)
}

fn config(json: &Value) -> CacheConfig {
    CacheConfig::from_json(&json.to_string()).expect("a config")
}

fn latents(pipeline: &Pipeline, json: &Value) -> Result<Array<f32>> {
    pipeline.enable_cache(&config(json))?;
    pipeline.generate(&options())?.latents()
}

fn uncached(pipeline: &Pipeline) -> Array<f32> {
    pipeline.disable_cache().unwrap();
    pipeline.generate(&options()).unwrap().latents().unwrap()
}

/// The halves are told apart in all of the run but its first step, and every `range`th.
fn guidance(range: i32, with: Value) -> Value {
    json!({
        "technique": "cfg_cache",
        "unconditional_batch_skip_range": range,
        "unconditional_batch_timestep_skip_range": [-1, 1001],
        "with": with,
    })
}

/// The same by FasterCache, with attention every `attention`th step as it was.
fn faster_cache(range: i32, attention: i32, on_full_steps: bool) -> Value {
    json!({
        "technique": "faster_cache",
        "unconditional_batch_skip_range": range,
        "unconditional_batch_timestep_skip_range": [-1, 1001],
        "spatial_attention_block_skip_range": attention,
        "spatial_attention_timestep_skip_range": [-1, 1001],
        "attention_weight": 0.0,
        "reuse_attention_on_full_guidance_steps": on_full_steps,
    })
}

fn pab(range: i32) -> Value {
    json!({
        "technique": "pab",
        "spatial_attention_block_skip_range": range,
        "spatial_attention_timestep_skip_range": [-1, 1001],
    })
}

fn unconditional(pipeline: &Pipeline) -> String {
    halves(&pipeline.stats().unwrap())
}

/// A sign for the unconditional half in each step.
fn halves(stats: &Stats) -> String {
    let json = stats.json();
    let steps = json["trace"]["steps"].as_array().unwrap().clone();
    let sign = |step: &Value| match step["unconditional"].as_str().unwrap() {
        "ran" => '#',
        "rebuilt" => '~',
        "predicted" => '^',
        other => panic!("{other}"),
    };
    steps.iter().map(sign).collect()
}

/// What a run kept at most is what its preview says, and nothing is left.
fn keeps_what_was_foreseen(pipeline: &Pipeline, json: &Value) {
    let stats = pipeline.stats().unwrap();
    let preview = pipeline.preview(&config(json), &options()).unwrap();
    assert_eq!(stats.layers(), preview.layers(), "{json}");
    assert_eq!(halves(&stats), halves(&preview), "{json}");
    assert_eq!(stats.bytes().0, 0, "{json}");
    let foreseen = preview.json()["bytes_peak"].as_u64().unwrap();
    assert!(stats.bytes().1 <= foreseen, "{json}: {:?}, foreseen {foreseen}", stats.bytes());
}

#[test]
fn by_itself_it_is_faster_cache_without_its_attention() {
    for family in ["2b", "5b", "1.5-5b"] {
        let pipeline = Pipeline::load(&pipeline_folder(family)).unwrap();
        let plain = uncached(&pipeline);
        for range in [2, 5] {
            let alone = guidance(range, Value::Null);
            let found = latents(&pipeline, &alone).unwrap();
            keeps_what_was_foreseen(&pipeline, &alone);
            assert_eq!(found, latents(&pipeline, &faster_cache(range, 1, false)).unwrap());
            assert_ne!(found, plain);
        }
    }
}

#[test]
fn attention_is_broadcast_in_steps_of_either_kind() {
    let pipeline = Pipeline::load(&pipeline_folder("2b")).unwrap();
    // 4: attention is due in every step that runs both halves.
    let stack = guidance(4, pab(2));
    let found = latents(&pipeline, &stack).unwrap();
    assert_eq!(unconditional(&pipeline), "#~~~#~~~#~~~");
    keeps_what_was_foreseen(&pipeline, &stack);
    assert_eq!(found, latents(&pipeline, &faster_cache(4, 2, false)).unwrap());
    // 5: in steps 5 and 10 both halves run, and attention is reused in step 5.
    let stack = guidance(5, pab(2));
    let found = latents(&pipeline, &stack).unwrap();
    assert_eq!(unconditional(&pipeline), "#~~~~#~~~~#~");
    assert!(pipeline.stats().unwrap().layers()[5].starts_with('a'));
    keeps_what_was_foreseen(&pipeline, &stack);
    assert_eq!(found, latents(&pipeline, &faster_cache(5, 2, true)).unwrap());
}

#[test]
fn whole_steps_are_predicted_between_those_of_the_guidance() {
    let pipeline = Pipeline::load(&pipeline_folder("2b")).unwrap();
    let taylor = json!({
        "technique": "taylor_seer", "cache_interval": 2, "taylor_factors_dtype": "f32",
    });
    let stack = guidance(4, taylor.clone());
    let found = latents(&pipeline, &stack).unwrap();
    // Steps 0, 1, 2 and every other one from 4 on are computed; of these, 0, 4 and 8 by halves.
    assert_eq!(unconditional(&pipeline), "#~~^#^~^#^~^");
    keeps_what_was_foreseen(&pipeline, &stack);
    let alone = latents(&pipeline, &taylor).unwrap();
    let moved = difference(&found, &alone).unwrap().absolute;
    assert!(moved > 1e-3 && moved < 1.0, "{moved}");
}

#[test]
fn blocks_are_skipped_for_the_halves_that_were_kept() {
    let pipeline = Pipeline::load(&pipeline_folder("2b")).unwrap();
    let blocks =
        |threshold: f64| json!({ "technique": "first_block_cache", "threshold": threshold });
    // A threshold that nothing reaches: the guidance alone is left.
    let never = latents(&pipeline, &guidance(4, blocks(1e-6))).unwrap();
    assert_eq!(never, latents(&pipeline, &guidance(4, Value::Null)).unwrap());
    // One that everything is below: what step 0 kept has both halves and serves every step.
    latents(&pipeline, &guidance(4, blocks(1e6))).unwrap();
    let layers = pipeline.stats().unwrap().layers();
    assert!(layers[0] == "11" && layers[1..].iter().all(|step| step == "10"), "{layers:?}");
    assert_eq!(unconditional(&pipeline), "#~~~#~~~#~~~");
    // In between: after a step that computed the conditional half alone, the next that runs both
    // computes, for want of the other half's residual.
    let mut seen = false;
    for threshold in [0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5] {
        latents(&pipeline, &guidance(4, blocks(threshold))).unwrap();
        let layers = pipeline.stats().unwrap().layers();
        let computed = |step: usize| layers[step] == "11";
        for full in [4, 8] {
            let last = (0..full).rev().find(|step| computed(*step)).unwrap();
            if last % 4 != 0 {
                assert!(computed(full), "{threshold}: {layers:?}");
                seen = true;
            }
        }
    }
    assert!(seen, "no threshold computed a step of one half");
}

#[test]
fn the_budget_goes_to_the_guidance_first() {
    let pipeline = Pipeline::load(&pipeline_folder("2b")).unwrap();
    let plain = uncached(&pipeline);
    let alone = guidance(4, Value::Null);
    latents(&pipeline, &alone).unwrap();
    let bands = pipeline.stats().unwrap().bytes().1;
    let mut stack = guidance(4, pab(2));
    stack["max_cache_bytes"] = json!(bands);
    let found = latents(&pipeline, &stack).unwrap();
    assert_eq!(pipeline.stats().unwrap().bytes(), (0, bands));
    assert_eq!(pipeline.stats().unwrap().json()["layers_over_budget"].as_array().unwrap().len(), 2);
    assert_eq!(found, latents(&pipeline, &alone).unwrap());
    stack["max_cache_bytes"] = json!(bands - 1);
    stack["with"] = Value::Null;
    assert_eq!(latents(&pipeline, &stack).unwrap(), plain);
}

#[test]
fn what_can_not_be_stacked_is_said_and_the_pipeline_goes_on() {
    let pipeline = Pipeline::load(&pipeline_folder("2b")).unwrap();
    let plain = uncached(&pipeline);
    let refusals = [
        (json!({ "technique": "mag_cache", "mag_ratios": [1.0] }), "MagCache keeps what both"),
        (json!({ "technique": "faster_cache" }), "FasterCache keeps what both halves"),
        (guidance(4, Value::Null), "CFG-Cache keeps what both halves"),
        (
            json!({ "technique": "taylor_seer", "preset": "attention-and-feed-forward" }),
            "TaylorSeer: expected use_lite_mode",
        ),
        (
            json!({ "technique": "first_block_cache", "num_first_blocks": 9 }),
            "nothing would be skipped",
        ),
    ];
    for (with, expected) in refusals {
        let error = latents(&pipeline, &guidance(4, with.clone())).unwrap_err().to_string();
        assert!(error.contains(expected), "{with}: {error}");
        assert_eq!(uncached(&pipeline), plain);
    }
    for (with, expected) in [
        (json!(3), "with: expected a cache config as a JSON object, or null, found 3"),
        (json!({ "technique": "none" }), "with: cache technique: expected one of"),
        (json!({ "technique": "pab", "nothing": 1 }), "with: Pyramid Attention Broadcast has no"),
    ] {
        let json = guidance(4, with).to_string();
        let error = CacheConfig::from_json(&json).map(drop).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let never = json!({
        "technique": "cfg_cache", "unconditional_batch_timestep_skip_range": [2000, 3000],
    });
    let error = latents(&pipeline, &never).unwrap_err().to_string();
    assert!(error.contains("found none of 12 steps"), "{error}");
    let mut unguided = options();
    unguided.guidance_scale(1.0);
    pipeline.enable_cache(&config(&guidance(4, Value::Null))).unwrap();
    let error = pipeline.generate(&unguided).map(drop).unwrap_err().to_string();
    assert!(error.contains("found a run without guidance"), "{error}");
}

#[test]
fn a_stack_is_written_and_read() {
    let stack = guidance(4, json!({ "technique": "first_block_cache", "threshold": 0.25 }));
    let written = config(&stack).json().unwrap();
    assert_eq!(written["with"]["threshold"], json!(0.25));
    assert_eq!(config(&written).json().unwrap(), written);
    // Callbacks that are not set are nothing to write.
    let written = config(&guidance(4, pab(2))).json().unwrap();
    assert_eq!(config(&written).json().unwrap(), written);
}
