//! The caches value by value against diffusers' own hooks on a toy transformer
//! (tests/goldens/maker/cache_hooks.py), and the schedules of all cached goldens against what
//! was counted on diffusers' modules. No model is involved.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod cache_support;

use cache_support::{config_of, golden_text, noise, shape, Drive};
use cogvideox::cache::{LayerState, Unconditional};
use cogvideox::runtime::Control;
use serde_json::Value as Json;
use std::collections::HashMap;
use tch::{Kind, Tensor};

const LAYERS: usize = 3;
const TOKENS: i64 = 3;
const WIDTH: i64 = 2;

fn integers(json: &Json) -> Vec<i64> {
    json.as_array().expect("a list").iter().map(|n| n.as_i64().expect("an integer")).collect()
}

/// The states that a run recorded, as the goldens write them.
fn computed(stats: &cogvideox::cache::CacheStats) -> Vec<String> {
    let sign = |state: &Option<LayerState>| match state {
        Some(LayerState::Computed) => '1',
        Some(_) => '0',
        None => '.',
    };
    stats.trace.steps.iter().map(|step| step.layers.iter().map(sign).collect()).collect()
}

fn unconditional(stats: &cogvideox::cache::CacheStats) -> String {
    let sign = |state| if state == Unconditional::Rebuilt { '0' } else { '1' };
    stats.trace.steps.iter().map(|step| sign(step.unconditional)).collect()
}

fn words(json: &Json) -> Vec<String> {
    let words = json.as_array().expect("a list").iter();
    words.map(|word| word.as_str().expect("a string").to_string()).collect()
}

#[test]
fn what_layers_go_on_with_is_what_diffusers_hooks_hand_them() {
    let path = cache_support::golden("cache_hooks.safetensors");
    let tensors: HashMap<String, Tensor> =
        Tensor::read_safetensors(path).expect("goldens").into_iter().collect();
    let cases: Vec<Json> = serde_json::from_str(&golden_text("cache_hooks.json")).expect("goldens");
    assert!(cases.len() >= 11);
    for case in cases {
        let name = case["name"].as_str().expect("a name");
        let key = case["tensors"].as_str().expect("a key");
        let guided = case["guided"].as_bool().expect("a flag");
        let videos = case["videos"].as_i64().expect("a number");
        let output: Vec<i64> = [vec![videos], integers(&case["output"])].concat();
        let shape = shape(LAYERS, integers(&case["timesteps"]), guided)
            .videos(videos)
            .tokens(TOKENS, WIDTH)
            .output(&output)
            .done();
        let config = config_of(&case["cache"]);
        let batch = if guided { 2 * videos } else { videos };
        let mut drive = Drive::new(Some(&config), &shape, &Control::default()).expect(name);
        drive.make_attention = Box::new(move |step, layer| {
            noise(&[batch, TOKENS, WIDTH], (1000 * step + layer) as i64)
        });
        let size: Vec<i64> = [vec![batch], integers(&case["output"])].concat();
        drive.make_output = Box::new(move |step| noise(&size, (1000 * step + 900) as i64));
        drive.run().unwrap_or_else(|error| panic!("{name}: {error}"));

        let used = Tensor::cat(
            &drive.used.iter().map(|t| t.contiguous().view([-1])).collect::<Vec<_>>(),
            0,
        );
        let expected = &tensors[&format!("{key}.used")];
        assert_eq!(used.size(), expected.size(), "{name}");
        let error = (&used - expected).abs().max().double_value(&[]);
        assert!(error < 2e-6, "{name}: attention differs by {error}");

        let outputs = Tensor::stack(&drive.outputs, 0);
        let expected = &tensors[&format!("{key}.outputs")];
        assert_eq!(outputs.size(), expected.size(), "{name}");
        let error = (&outputs - expected).abs().max().double_value(&[]);
        // Compounding gains let the rebuilt half grow, and its rounding with it.
        let scale = expected.abs().max().double_value(&[]);
        assert!(error < 2e-6 * scale.max(1.0), "{name}: outputs differ by {error} of {scale}");

        let stats = drive.stats.snapshot();
        assert_eq!(computed(&stats), words(&case["computed"]), "{name}");
        assert_eq!(Some(unconditional(&stats).as_str()), case["unconditional"].as_str(), "{name}");
        assert_eq!(stats.bytes_now, 0, "{name}: nothing is kept at the end");
    }
}

/// All goldens of cached runs: the matrix of computed layers, as counted on diffusers' modules,
/// in the preview and in the run.
#[test]
fn schedules_are_those_counted_on_diffusers_modules() {
    let cases: Vec<Json> = serde_json::from_str(&golden_text("caches.json")).expect("goldens");
    assert!(cases.len() > 100);
    for case in &cases {
        let name = case["name"].as_str().expect("a name");
        let steps = case["num_inference_steps"].as_u64().expect("a number") as usize;
        let scheduler = case["scheduler"].as_str().unwrap_or("");
        let timesteps = if scheduler.contains("leading") {
            leading(steps)
        } else {
            cache_support::trailing(steps)
        };
        let matrix = words(&case["computed"]);
        let guided = case["guidance_scale"].as_f64().expect("a number") > 1.0;
        let shape = shape(matrix[0].len(), timesteps, guided).done();
        let config = config_of(&case["cache"]);
        let mut drive = Drive::new(Some(&config), &shape, &Control::default()).expect(name);
        drive.run().unwrap_or_else(|error| panic!("{name}: {error}"));
        let stats = drive.stats.snapshot();
        assert_eq!(computed(&stats), matrix, "{name}");
        assert_eq!(Some(unconditional(&stats).as_str()), case["unconditional"].as_str(), "{name}");

        let preview = config.preview(&shape, None).expect(name);
        if !preview.callback_decides {
            assert_eq!(preview.trace, stats.trace, "{name}: the preview is the run");
            assert_eq!(preview.bytes_peak, Some(stats.bytes_peak), "{name}");
        }
    }
}

/// `timestep_spacing` "leading" with the steps_offset of tests/goldens/schedulers/ddim-leading.json.
fn leading(steps: usize) -> Vec<i64> {
    (0..steps).rev().map(|i| (i * (1000 / steps)) as i64 + 1).collect()
}

#[test]
fn toy_numbers_are_those_of_the_script() {
    let first = noise(&[3], 1000);
    assert_eq!(first.kind(), Kind::Float);
    let values = Vec::<f32>::try_from(&first).expect("a vector");
    assert!(values.iter().all(|v| v.abs() <= 1.0) && values[0] != values[1], "{values:?}");
}
