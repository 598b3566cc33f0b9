//! What a run's cache promises beyond parity: its state dies with it, bytes are bounded, and
//! callbacks are asked as often as is said and checked. No model is involved.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod cache_support;

use cache_support::{shape, trailing, Drive};
use cogvideox::cache::{
    CacheConfig, CacheDType, CacheStats, LayerCallback, LayerState, RunInfo, StepCallback,
    Unconditional, Value,
};
use cogvideox::runtime::{CancelToken, Control, DType, LogLevel};
use cogvideox::{Error, Result};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tch::Tensor;

fn pab() -> CacheConfig {
    CacheConfig::new("pab", None).expect("pab")
}

fn faster_cache() -> CacheConfig {
    CacheConfig::new("faster_cache", None).expect("faster_cache")
}

fn preset(technique: &str, name: &str) -> CacheConfig {
    CacheConfig::new(technique, Some(name)).expect(name)
}

fn run(config: &CacheConfig, shape: &RunInfo) -> Drive {
    let mut drive = Drive::new(Some(config), shape, &Control::default()).expect("starts");
    drive.run().expect("runs");
    drive
}

fn stats(config: &CacheConfig, shape: &RunInfo) -> CacheStats {
    run(config, shape).stats.snapshot()
}

fn same(a: &[Tensor], b: &[Tensor]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.equal(b))
}

/// `(attention, rest)` units of 100.
fn units(technique: &str, name: &str) -> (f64, f64) {
    let units = stats(&preset(technique, name), &shape(2, trailing(50), true).done()).units;
    assert_eq!(units.total, 100.0);
    (units.attention, units.rest)
}

#[test]
fn presets_compute_what_their_sources_compute() {
    assert_eq!(units("pab", "diffusers"), (66.0, 100.0));
    assert_eq!(units("pab", "diffusers-docs"), (66.0, 100.0));
    assert_eq!(units("pab", "videosys"), (64.0, 100.0));
    assert_eq!(units("faster_cache", "diffusers"), (61.0, 74.0));
    assert_eq!(units("faster_cache", "diffusers-docs"), (54.0, 68.0));
    // Counted by hand from the script's conditions over counter = 1..=50.
    assert_eq!(units("faster_cache", "official"), (57.0, 74.0));
    let (attention, rest) = units("faster_cache", "aggressive");
    assert!(attention < 54.0 && rest == 68.0, "{attention} {rest}");
}

/// The authors' script, line by line, with its counter.
#[test]
fn the_official_preset_is_the_script() {
    let stats = stats(&preset("faster_cache", "official"), &shape(1, trailing(50), true).done());
    for (index, step) in stats.trace.steps.iter().enumerate() {
        let counter = index + 1;
        let skips = counter >= 18 && counter % 5 != 0;
        let expected = if skips { Unconditional::Rebuilt } else { Unconditional::Ran };
        assert_eq!(step.unconditional, expected, "counter {counter}");
        // At full steps the last output is always a conditional half, which the script can't
        // use for both: they compute.
        let reuses = counter >= 18 && counter % 3 != 0 && skips;
        let expected = if reuses { LayerState::Approximated } else { LayerState::Computed };
        assert_eq!(step.layers, [Some(expected)], "counter {counter}");
    }
}

#[test]
fn the_official_weights_read_the_last_two_computed_outputs() {
    let shape = shape(1, trailing(50), true).done();
    let mut drive =
        Drive::new(Some(&preset("faster_cache", "official")), &shape, &Control::default())
            .expect("starts");
    drive.make_attention =
        Box::new(|step, _| Tensor::from_slice(&[0.0, step as f32]).view([2, 1, 1]));
    drive.run().expect("runs");
    // Step 17 (counter 18) is conditional-only and computes; steps 18 reads 16 and 17, step 21
    // (counter 22) reads the full step 19 and step 20.
    let used = |step: usize| drive.used[step].double_value(&[-1, 0, 0]);
    assert_eq!(drive.used[17].size(), [1, 1, 1]);
    assert!((used(18) - 17.3).abs() < 1e-5, "{}", used(18));
    assert!((used(21) - 20.3).abs() < 1e-5, "{}", used(21));
    assert!((used(22) - 20.3).abs() < 1e-5, "{}", used(22));
}

#[test]
fn on_full_steps_the_unconditional_half_keeps_its_distance() {
    let mut config = preset("faster_cache", "aggressive");
    config.set("attention_weight", Value::Number(1.0)).expect("a weight");
    let shape = shape(1, trailing(50), true).done();
    let mut drive = Drive::new(Some(&config), &shape, &Control::default()).expect("starts");
    // Unconditional: the square of the step. Conditional: the step.
    drive.make_attention = Box::new(|step, _| {
        let step = step as f32;
        Tensor::from_slice(&[step * step, step]).view([2, 1, 1])
    });
    drive.run().expect("runs");
    let stats = drive.stats.snapshot();
    let used = |step: usize, half: i64| drive.used[step].double_value(&[half, 0, 0]);
    for (step, full) in [(25, 20), (35, 30), (45, 40)] {
        assert_eq!(stats.trace.steps[step].unconditional, Unconditional::Ran);
        assert_eq!(stats.trace.steps[step].layers, [Some(LayerState::Approximated)]);
        assert_eq!(drive.used[step].size(), [2, 1, 1]);
        // The two steps before ran the conditional half alone.
        let expected = 2.0 * used(step - 1, 0) - used(step - 2, 0);
        assert_eq!(used(step, 1), expected);
        // The last step that computed both halves was 20, 30 or 40.
        let full = f64::from(full);
        assert_eq!(used(step, 0), expected + full * full - full);
    }
}

#[test]
fn step_counts_of_the_official_preset_scale() {
    for steps in [1, 2, 7, 25, 100] {
        let shape = shape(1, trailing(steps), true).done();
        let stats = stats(&preset("faster_cache", "official"), &shape);
        let first = stats.trace.steps.iter().position(|s| s.unconditional != Unconditional::Ran);
        let expected =
            (0..steps).find(|i| (i + 1) * 50 >= 18 * steps && (i + 1) % 5 != 0 && *i > 0);
        assert_eq!(first, expected, "{steps} steps");
    }
}

#[test]
fn a_run_cancelled_at_any_layer_leaves_nothing() {
    let shape = shape(2, trailing(10), true).done();
    for config in [pab(), faster_cache(), preset("faster_cache", "aggressive")] {
        let fresh = run(&config, &shape);
        for step in 0..10 {
            let token = CancelToken::default();
            let control = Control { cancel: Some(token.clone()), ..Control::default() };
            let mut drive = Drive::new(Some(&config), &shape, &control).expect("starts");
            drive.on_layer = Box::new(move |at, layer| {
                if (at, layer) == (step, 1) {
                    token.cancel();
                }
            });
            assert!(matches!(drive.run(), Err(Error::Cancelled(_))));
            let stats = drive.stats.snapshot();
            assert_eq!(stats.bytes_now, 0, "nothing outlives a cancelled run");
            assert_eq!(stats.trace.steps.len(), step + 1);
            let last = &stats.trace.steps[step];
            assert!(last.layers[0].is_some() && last.layers[1].is_none(), "{last:?}");
            assert!(step == 9 || stats.to_string().contains(&format!("{} of 10 steps", step + 1)));

            let again = run(&config, &shape);
            assert!(same(&again.used, &fresh.used) && same(&again.outputs, &fresh.outputs));
        }
        // Another size and no guidance, right after.
        let other = cache_support::shape(2, trailing(7), false).tokens(9, 6).videos(2).done();
        let alone = run(&config, &other);
        run(&config, &shape);
        assert!(same(&run(&config, &other).used, &alone.used));
    }
}

#[test]
fn without_guidance_attention_reuse_goes_on() {
    let shape = shape(2, trailing(20), false).videos(2).done();
    let config = faster_cache();
    let plain = stats(&config, &shape);
    assert!(plain.trace.steps.iter().all(|s| s.unconditional == Unconditional::Absent));
    let counts = plain.trace.counts(0);
    // Timesteps below 681 are the last 14 of 20; every other one of them is computed.
    assert_eq!((counts.computed, counts.approximated), (13, 7));
    // A guidance-distilled model without guidance is the same thing.
    let mut distilled = faster_cache();
    distilled.set("is_guidance_distilled", Value::Flag(true)).expect("a flag");
    assert_eq!(stats(&distilled, &shape).trace, plain.trace);
}

#[test]
fn the_first_call_always_computes() {
    for guided in [false, true] {
        for (technique, field) in [
            ("pab", "spatial_attention_timestep_skip_range"),
            ("faster_cache", "spatial_attention_timestep_skip_range"),
        ] {
            let mut config = CacheConfig::new(technique, None).expect(technique);
            config.set(field, Value::TimestepRange(-1, 1001)).expect(field);
            if technique == "faster_cache" {
                config.set("is_guidance_distilled", Value::Flag(true)).expect("a flag");
            }
            let trace = stats(&config, &shape(1, trailing(6), guided).done()).trace;
            assert_eq!(trace.steps[0].layers, [Some(LayerState::Computed)]);
            assert_ne!(trace.steps[1].layers, [Some(LayerState::Computed)]);
        }
    }
}

#[test]
fn faster_cache_keeps_half_of_what_diffusers_keeps() {
    let shape = shape(3, trailing(20), true).videos(2).done();
    let mut config = faster_cache();
    // Reuse on full steps needs the difference of the halves besides.
    config.set("reuse_attention_on_full_guidance_steps", Value::Flag(true)).expect("a flag");
    let more = stats(&config, &shape).bytes_peak;
    let half = stats(&faster_cache(), &shape).bytes_peak;
    let output = 2 * 5 * 4 * 4;
    let bands = 2 * 2 * 2 * 3 * 5 * 6 * 4;
    // diffusers: two views per layer, each of which holds the whole batch of 4.
    let diffusers = 3 * 2 * (2 * output);
    assert_eq!(half, diffusers / 2 + bands);
    assert_eq!(more, diffusers * 3 / 4 + bands);
}

#[test]
fn bytes_are_bounded_and_the_stats_say_which_layers_compute() {
    let shape = shape(4, trailing(20), true).done();
    let all = stats(&pab(), &shape);
    let one_layer = all.bytes_peak / 4;
    let mut config = pab();
    config.storage.max_cache_bytes = Some(2 * one_layer + one_layer / 2);
    let bounded = stats(&config, &shape);
    assert_eq!(bounded.bytes_peak, 2 * one_layer);
    assert_eq!(
        bounded.layers_over_budget,
        ["transformer_blocks.2.attn1", "transformer_blocks.3.attn1"]
    );
    assert_eq!(bounded.trace.counts(1), all.trace.counts(1));
    assert_eq!(bounded.trace.counts(3).computed, 20);
    let text = bounded.to_string();
    assert!(text.contains("over budget: 2 layers"), "{text}");
    let preview = config.preview(&shape, None).expect("previews");
    assert_eq!(preview.trace, bounded.trace);

    // Too little for the bands of the unconditional half: both halves run.
    let mut config = faster_cache();
    config.storage.max_cache_bytes = Some(100);
    let none = stats(&config, &shape);
    assert_eq!(none.bytes_peak, 0);
    assert!(none.trace.steps.iter().all(|s| s.unconditional == Unconditional::Ran));
    assert_eq!(none.units.attention, none.units.total);
}

#[test]
fn outputs_are_released_at_the_last_step_that_reads_them() {
    let shape = shape(2, trailing(20), true).done();
    for (technique, field, window) in [
        ("pab", "spatial_attention_timestep_skip_range", (400, 700)),
        ("faster_cache", "unconditional_batch_timestep_skip_range", (400, 700)),
    ] {
        let mut config = CacheConfig::new(technique, None).expect(technique);
        config.set(field, Value::TimestepRange(window.0, window.1)).expect(field);
        let mut drive = Drive::new(Some(&config), &shape, &Control::default()).expect("starts");
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (seen, stats) = (Arc::clone(&bytes), drive.stats.clone());
        drive.after_step =
            Box::new(move |_| seen.lock().expect("alive").push(stats.snapshot().bytes_now));
        drive.run().expect("runs");
        let bytes = bytes.lock().expect("alive").clone();
        let first = bytes.iter().position(|b| *b > 0).expect("something is kept");
        // The window holds the timesteps 699 (step 6) to 449 (step 11).
        assert!((4..=6).contains(&first), "{technique}: {bytes:?}");
        assert!(bytes[11..].iter().all(|b| *b == 0), "{technique}: {bytes:?}");
    }
}

#[test]
fn a_smaller_dtype_halves_the_bytes() {
    let shape = shape(2, trailing(20), true).done();
    for dtype in [DType::F16, DType::BF16] {
        let mut config = pab();
        let whole = run(&config, &shape);
        config.storage.cache_dtype = Some(CacheDType::Numbers(dtype));
        let half = run(&config, &shape);
        assert_eq!(half.stats.snapshot().bytes_peak * 2, whole.stats.snapshot().bytes_peak);
        for (a, b) in half.used.iter().zip(&whole.used) {
            assert_eq!(a.kind(), b.kind());
            assert!((a - b).abs().max().double_value(&[]) < 4e-3);
        }
        let mut config = faster_cache();
        config.storage.cache_dtype = Some(CacheDType::Numbers(dtype));
        let approximated = run(&config, &shape);
        let exact = run(&faster_cache(), &shape);
        for (a, b) in approximated.used.iter().zip(&exact.used) {
            assert!((a - b).abs().max().double_value(&[]) < 3e-2);
        }
    }
}

#[test]
fn float8_takes_a_byte_a_number_and_a_scale_for_each_token() {
    let shape = shape(2, trailing(20), true).done();
    for make in [pab, faster_cache] {
        let (mut config, whole) = (make(), run(&make(), &shape));
        config.storage.cache_dtype = Some(CacheDType::Fp8);
        let eighth = run(&config, &shape);
        let [bytes, all] = [&eighth, &whole].map(|run| run.stats.snapshot().bytes_peak);
        assert!(bytes > all / 4 && bytes < all, "{bytes} of {all}");
        for (a, b) in eighth.used.iter().zip(&whole.used) {
            assert_eq!(a.kind(), b.kind());
            assert!((a - b).abs().max().double_value(&[]) < 0.3);
        }
    }
}

/// A run whose callbacks count how often they are asked.
#[test]
fn callbacks_are_asked_once_per_step_or_per_reused_layer() {
    let asked: Arc<[AtomicUsize; 4]> = Arc::default();
    let count = |i: usize| {
        let asked = Arc::clone(&asked);
        move || asked[i].fetch_add(1, Ordering::Relaxed)
    };
    let mut config = faster_cache();
    let (timestep, weight, low, high) = (count(0), count(1), count(2), count(3));
    config
        .set(
            "current_timestep_callback",
            Value::StepCallback(Some(StepCallback::new(move |info| {
                timestep();
                assert_eq!(info.total, 20);
                info.timestep
            }))),
        )
        .expect("a callback");
    config
        .set(
            "attention_weight_callback",
            Value::LayerCallback(Some(LayerCallback::new(move |info| {
                weight();
                assert_eq!(info.name, format!("transformer_blocks.{}.attn1", info.layer));
                assert_eq!(info.step.timestep, trailing(20)[info.step.index] as f64);
                0.5
            }))),
        )
        .expect("a callback");
    for (field, asked) in [
        ("low_frequency_weight_callback", Box::new(low) as Box<dyn Fn() -> usize + Send + Sync>),
        ("high_frequency_weight_callback", Box::new(high)),
    ] {
        let callback = StepCallback::new(move |_| {
            asked();
            1.0
        });
        config.set(field, Value::StepCallback(Some(callback))).expect(field);
    }
    let shape = shape(3, trailing(20), true).done();
    let stats = stats(&config, &shape);
    let reused: usize = (0..3).map(|layer| stats.trace.counts(layer).approximated).sum();
    let skipped =
        stats.trace.steps.iter().filter(|s| s.unconditional == Unconditional::Rebuilt).count();
    let asked: Vec<usize> = asked.iter().map(|n| n.load(Ordering::Relaxed)).collect();
    assert!(reused > 0 && skipped > 0);
    assert_eq!(asked, [20, reused, skipped, skipped]);
    // A host's timestep that equals the pipeline's changes nothing.
    let mut plain = faster_cache();
    plain.set("low_frequency_weight_callback", Value::StepCallback(None)).expect("taken away");
    assert_eq!(self::stats(&plain, &shape).trace, stats.trace);
}

fn step_callback(field: &str, answer: f64) -> CacheConfig {
    let mut config = faster_cache();
    let callback = StepCallback::new(move |_| answer);
    config.set(field, Value::StepCallback(Some(callback))).expect(field);
    config
}

fn failure(config: &CacheConfig) -> Error {
    let shape = shape(2, trailing(20), true).done();
    let mut drive = Drive::new(Some(config), &shape, &Control::default()).expect("starts");
    let error = drive.run().expect_err("a wild answer");
    assert_eq!(drive.stats.snapshot().bytes_now, 0);
    error
}

#[test]
fn wild_answers_are_named() {
    for answer in [f64::NAN, f64::INFINITY, -1.0, 1000.0] {
        let error = failure(&step_callback("current_timestep_callback", answer));
        let Error::CallbackFailed(message) = error else { panic!("{error:?}") };
        assert!(message.starts_with("current_timestep_callback at step 0 of 20"), "{message}");
        assert!(message.ends_with(&format!("found {answer}")), "{message}");
    }
    for field in ["low_frequency_weight_callback", "high_frequency_weight_callback"] {
        let error = failure(&step_callback(field, f64::NAN));
        let Error::CallbackFailed(message) = error else { panic!("{error:?}") };
        assert!(message.starts_with(field) && message.contains("found NaN"), "{message}");
    }
    let mut config = faster_cache();
    let callback = LayerCallback::new(|_| f64::NEG_INFINITY);
    config.set("attention_weight_callback", Value::LayerCallback(Some(callback))).expect("set");
    let Error::CallbackFailed(message) = failure(&config) else { panic!("not named") };
    assert!(message.contains("layer 0 (transformer_blocks.0.attn1)"), "{message}");
    assert!(message.contains("found -inf"), "{message}");
}

#[test]
fn a_callback_may_cancel_whatever_it_answers() {
    let token = CancelToken::default();
    let control = Control { cancel: Some(token.clone()), ..Control::default() };
    let mut config = faster_cache();
    let callback = StepCallback::new(move |info| {
        if info.index == 3 {
            token.cancel();
            return f64::NAN;
        }
        info.timestep
    });
    config
        .set("current_timestep_callback", Value::StepCallback(Some(callback)))
        .expect("a callback");
    let shape = shape(1, trailing(8), true).done();
    let mut drive = Drive::new(Some(&config), &shape, &control).expect("starts");
    assert!(matches!(drive.run(), Err(Error::Cancelled(_))));
    assert_eq!(drive.stats.snapshot().trace.steps.len(), 3);
}

fn invalid(result: Result<()>) -> String {
    match result {
        Err(Error::InvalidArgument(message)) => message,
        other => panic!("expected an invalid argument, found {other:?}"),
    }
}

#[test]
fn fields_that_a_technique_lacks_and_bad_values_are_named() {
    let mut config = pab();
    let message = invalid(config.set("alpha_low_frequency", Value::Number(1.0)));
    assert!(message.contains("Pyramid Attention Broadcast") && message.contains("alpha_low"));
    let message =
        invalid(faster_cache().set("cross_attention_block_skip_range", Value::SkipRange(2)));
    assert!(message.contains("FasterCache") && message.contains("cross_attention"), "{message}");
    for n in [0, -3] {
        let message =
            invalid(config.set("spatial_attention_block_skip_range", Value::SkipRange(n)));
        assert!(message.starts_with("spatial_attention_block_skip_range"), "{message}");
        assert!(message.ends_with(&format!("found {n}")), "{message}");
    }
    for (low, high) in [(800, 100), (100, 100), (100, 101), (i64::MAX, i64::MIN)] {
        let field = "spatial_attention_timestep_skip_range";
        let message = invalid(config.set(field, Value::TimestepRange(low, high)));
        assert!(message.contains(field) && message.contains(&format!("({low}, {high})")));
    }
    let mut config = faster_cache();
    for alpha in [f64::NAN, f64::INFINITY] {
        let message = invalid(config.set("alpha_high_frequency", Value::Number(alpha)));
        assert!(message.contains(&alpha.to_string()), "{message}");
    }
    let message = invalid(config.set("tensor_format", Value::Name("BHWC".into())));
    assert!(message.contains("BFCHW") && message.contains("BHWC"), "{message}");
    let identifiers = Value::Identifiers(vec!["blocks(".into()]);
    let message = invalid(config.set("spatial_attention_block_identifiers", identifiers));
    assert!(message.contains("blocks("), "{message}");
    let message = invalid(CacheConfig::new("pab", Some("official")).map(drop));
    assert!(message.contains("videosys") && message.contains("official"), "{message}");
    let message = invalid(CacheConfig::new("teacache", None).map(drop));
    assert!(message.contains("faster_cache") && message.contains("teacache"), "{message}");
}

#[test]
fn identifiers_that_select_nothing_are_an_error_at_enable() {
    let layers = cache_support::layer_names(30);
    let mut config = faster_cache();
    config.validate(&layers).expect("the default selects");
    config
        .set("spatial_attention_block_identifiers", Value::Identifiers(vec!["attn2$".into()]))
        .expect("a regular expression");
    let message = invalid(config.validate(&layers));
    assert!(message.contains("attn2$") && message.contains("transformer_blocks.29.attn1"));
    // Custom identifiers select: diffusers would ask for its own as well.
    config
        .set("spatial_attention_block_identifiers", Value::Identifiers(vec![r"s\.7\.".into()]))
        .expect("a regular expression");
    config.validate(&layers).expect("selects one");
}

#[test]
fn settings_for_attention_that_cogvideox_lacks_are_accepted_and_said() {
    let said = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&said);
    let control = Control {
        log: Some(Arc::new(move |level, message: &str| {
            log.lock().expect("alive").push((level, message.to_string()));
        })),
        ..Control::default()
    };
    let mut config = pab();
    for field in ["temporal_attention_block_skip_range", "cross_attention_block_skip_range"] {
        config.set(field, Value::SkipRange(2)).expect(field);
    }
    let shape = shape(2, trailing(20), true).done();
    let mut drive = Drive::new(Some(&config), &shape, &control).expect("accepted");
    drive.run().expect("runs");
    // diffusers' default of 2 for spatial attention is for configs that set none.
    assert_eq!(drive.stats.snapshot().trace.counts(0).computed, 20);
    let said = said.lock().expect("alive");
    for field in ["temporal_attention_block_skip_range", "cross_attention_block_skip_range"] {
        let lines: Vec<_> = said.iter().filter(|(_, m)| m.starts_with(field)).collect();
        assert_eq!(lines.len(), 1, "{field}: {said:?}");
        assert_eq!(lines[0].0, LogLevel::Info);
    }
}

#[test]
fn a_run_without_a_cache_has_statistics_too() {
    let shape = shape(3, trailing(5), true).done();
    let mut drive = Drive::new(None, &shape, &Control::default()).expect("starts");
    drive.run().expect("runs");
    let stats = drive.stats.snapshot();
    assert_eq!(stats.technique, None);
    assert_eq!((stats.units.attention, stats.units.rest, stats.units.total), (10.0, 10.0, 10.0));
    assert_eq!(stats.predicted_speed_up, Some(1.0));
    assert_eq!(stats.trace.counts(2).computed, 5);
    let share = stats.attention_share.expect("measured").share;
    assert!(share > 0.0 && share < 1.0, "{share}");
}

#[test]
fn statistics_and_previews_print_and_parse() {
    let shape = shape(42, trailing(50), true).done();
    let config = preset("faster_cache", "diffusers-docs");
    let preview =
        config.preview(&RunInfo { sizes: None, ..shape.clone() }, None).expect("previews");
    let text = preview.to_string();
    assert!(text.contains("layers 0-41    ###########"), "{text}");
    assert!(text.contains("computed: attention 54 of 100, the rest 68 of 100"), "{text}");
    assert_eq!(preview.bytes_peak, None);
    let stats = stats(&config, &shape);
    let json: serde_json::Value = serde_json::from_str(&stats.to_json()).expect("JSON");
    assert_eq!(json["technique"], "FasterCache");
    assert_eq!(json["settings"]["unconditional_batch_timestep_skip_range"][1], 781);
    assert_eq!(json["trace"]["steps"].as_array().map(Vec::len), Some(50));
    let row = json["trace"]["steps"][17]["layers"].as_str().expect("symbols");
    assert_eq!(row, "~".repeat(42));
    assert_eq!(json["units"]["rest"], 68.0);
    assert!(serde_json::from_str::<serde_json::Value>(&preview.to_json()).is_ok());
}
