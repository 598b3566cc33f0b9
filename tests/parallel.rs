//! Several ranks give the run of one: every family, layout and technique on "cpu,cpu" and four of
//! them, through the public C functions.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use cogvideox::capi::*;
use cogvideox::parallel::cost::Work;
use cogvideox::parallel::Layout;
use common::cache::CacheConfig;
use common::compare::difference;
use common::folders::with_heads;
use common::goldens::{pipeline_folder, Array, Picture};
use common::handles::{Failure, Options, Output, Pipeline};
use serde_json::{json, Value};
use std::ffi::c_void;
use std::path::Path;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

/// What several ranks may be off by: float32's rounding.
const RANKS: f64 = 1e-5;

/// How a pipeline is shared: its devices, and the degrees.
#[derive(Debug, Clone, Copy)]
struct Share(usize, i32, i32);

const TWO_HALVES: Share = Share(2, 2, 1);
const TWO_SEQUENCE: Share = Share(2, 1, 2);
const FOUR: Share = Share(4, 2, 2);
const FOUR_SEQUENCE: Share = Share(4, 1, 4);

fn load(family: &str, share: Share) -> Pipeline {
    Pipeline::load_on(&pipeline_folder(family), share.0, share.1, share.2).unwrap()
}

fn run(pipeline: &Pipeline, options: &Options) -> Array<f32> {
    pipeline.generate(options).unwrap().latents().unwrap()
}

/// What the ranks had to do with each other in the last run.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Exchanged {
    ranks: i32,
    degrees: (i32, i32),
    bytes: u64,
    messages: u64,
}

fn exchanged(pipeline: &Pipeline) -> Exchanged {
    let stats = pipeline.stats().unwrap();
    // SAFETY: the statistics are live.
    unsafe {
        Exchanged {
            ranks: cvx_cache_stats_num_ranks(stats.0),
            degrees: (
                cvx_cache_stats_guidance_degree(stats.0),
                cvx_cache_stats_sequence_degree(stats.0),
            ),
            bytes: cvx_cache_stats_bytes_exchanged(stats.0),
            messages: cvx_cache_stats_messages_exchanged(stats.0),
        }
    }
}

fn config(fields: Value) -> CacheConfig {
    CacheConfig::by_name(fields.as_object().unwrap()).unwrap()
}

/// A cache for each way of skipping work, on runs of 10 steps of a model with so many layers.
fn caches(layers: usize) -> Vec<(&'static str, CacheConfig)> {
    let pab = json!({
        "technique": "pab",
        "spatial_attention_block_skip_range": 3,
        "spatial_attention_timestep_skip_range": [50, 950],
    });
    vec![
        ("PAB", config(pab)),
        ("FasterCache", config(json!({ "technique": "faster_cache" }))),
        (
            "FasterCache, both halves extrapolated",
            config(json!({
                "technique": "faster_cache",
                "reuse_attention_on_full_guidance_steps": true,
                "unconditional_batch_skip_range": 3,
            })),
        ),
        (
            "TeaCache",
            config(json!({
                "technique": "tea_cache", "rel_l1_thresh": 2.0, "coefficients": [1.0, 0.0],
            })),
        ),
        ("FirstBlockCache", config(json!({ "technique": "first_block_cache", "threshold": 1.0 }))),
        (
            "TaylorSeer",
            config(json!({
                "technique": "taylor_seer", "cache_interval": 3, "taylor_factors_dtype": "f32",
            })),
        ),
        (
            "TaylorSeer, modules",
            config(json!({
                "technique": "taylor_seer", "cache_interval": 3, "taylor_factors_dtype": "f32",
                "use_lite_mode": false,
                "cache_identifiers": [
                    r"transformer_blocks\.\d+\.attn1", r"transformer_blocks\.\d+\.ff",
                ],
            })),
        ),
        ("MagCache, calibrating", config(json!({ "technique": "mag_cache", "calibrate": true }))),
        (
            "MagCache",
            config(json!({
                "technique": "mag_cache", "mag_ratios": vec![1.0; 10], "threshold": 0.5,
            })),
        ),
        (
            "a schedule",
            config(json!({
                "technique": "schedule", "order": 1,
                "steps": [
                    "compute", "compute", "conditional", "predict", "=".repeat(layers),
                    "-".repeat(layers), "compute", format!("#{}", "=".repeat(layers - 1)),
                    "conditional", "compute",
                ],
            })),
        ),
        (
            "CFG-Cache with PAB",
            config(json!({
                "technique": "cfg_cache",
                "with": {
                    "technique": "pab",
                    "spatial_attention_block_skip_range": 3,
                    "spatial_attention_timestep_skip_range": [50, 950],
                },
            })),
        ),
        (
            "CFG-Cache with FirstBlockCache",
            config(json!({
                "technique": "cfg_cache",
                "with": { "technique": "first_block_cache", "threshold": 1.0 },
            })),
        ),
    ]
}

fn equal_within(what: &str, found: &Array<f32>, expected: &Array<f32>) {
    let off = difference(found, expected).unwrap_or_else(|error| panic!("{what}: {error}"));
    // What goes on from past values multiplies their rounding (docs/scaling.md has how much), so
    // there it is as the library measures elsewhere: of the largest value.
    let extrapolates = ["TaylorSeer", "FasterCache", "CFG-Cache", "a schedule"];
    let most = match extrapolates.iter().any(|name| what.contains(name)) {
        true => off.relative,
        false => off.absolute,
    };
    assert!(most <= RANKS, "{what}: off by {}, of the largest {}", off.absolute, off.relative);
}

/// What was computed in each step and layer, and measured.
fn trace(pipeline: &Pipeline) -> Value {
    let stats = pipeline.stats().unwrap();
    // SAFETY: the statistics are live, and own the text.
    let text = unsafe { std::ffi::CStr::from_ptr(cvx_cache_stats_json(stats.0)) };
    let json: Value = serde_json::from_str(text.to_str().unwrap()).unwrap();
    json["trace"].clone()
}

/// How many layers did less than all of their work in a run, and how many unconditional halves.
fn skipped(trace: &Value) -> (usize, usize) {
    let steps = trace["steps"].as_array().unwrap();
    let layers = steps.iter().map(|step| {
        let states = step["layers"].as_str().unwrap();
        assert!(!states.is_empty());
        states.chars().filter(|state| *state != '#').count()
    });
    let halves = steps.iter().filter(|step| step["unconditional"] != "ran");
    (layers.sum(), halves.count())
}

fn ranks_give_the_run_of_one(family: &str, folder: &Path, shares: &[Share]) {
    let options = Options::short(10);
    let load = |share: &Share| Pipeline::load_on(folder, share.0, share.1, share.2).unwrap();
    let alone = load(&Share(1, 0, 0));
    let shared: Vec<_> = shares.iter().map(|share| (*share, load(share))).collect();
    let expected = run(&alone, &options);
    for (share, pipeline) in &shared {
        equal_within(&format!("{family}, {share:?}"), &run(pipeline, &options), &expected);
        let found = exchanged(pipeline);
        assert_eq!((found.ranks, found.degrees), (share.0 as i32, (share.1, share.2)));
        assert!(found.bytes > 0 && found.messages > 0);
    }
    for (name, cache) in caches(layers(folder)) {
        alone.enable_cache(&cache).unwrap_or_else(|error| panic!("{name}: {error}"));
        let expected = run(&alone, &options);
        let (layers, halves) = skipped(&trace(&alone));
        assert_eq!(layers + halves == 0, name.contains("calibrating"), "{family}, {name}: skips");
        if name.starts_with("CFG-Cache with") {
            assert!(layers > 0 && halves > 0, "{family}, {name}: {layers} layers, {halves} halves");
        }
        for (share, pipeline) in &shared {
            let what = format!("{family}, {share:?}, {name}");
            pipeline.enable_cache(&cache).unwrap();
            let found = pipeline.generate(&options).unwrap_or_else(|e| panic!("{what}: {e}"));
            equal_within(&what, &found.latents().unwrap(), &expected);
            assert_eq!(trace(pipeline), trace(&alone), "{what}");
        }
    }
}

/// Of a folder's transformer.
fn layers(folder: &Path) -> usize {
    let text = std::fs::read_to_string(folder.join("transformer/config.json")).unwrap();
    let config: Value = serde_json::from_str(&text).unwrap();
    config["num_layers"].as_u64().unwrap() as usize
}

#[test]
fn ranks_give_the_run_of_one_2b() {
    let shares = [TWO_HALVES, TWO_SEQUENCE, FOUR];
    ranks_give_the_run_of_one("2b", &pipeline_folder("2b"), &shares);
}

#[test]
fn ranks_give_the_run_of_one_5b() {
    let shares = [TWO_HALVES, TWO_SEQUENCE, FOUR];
    ranks_give_the_run_of_one("5b", &pipeline_folder("5b"), &shares);
}

#[test]
fn ranks_give_the_run_of_one_1_5_5b() {
    // That of the goldens has three heads.
    let folder = with_heads("1.5-5b", 4);
    let shares = [TWO_HALVES, TWO_SEQUENCE, FOUR, FOUR_SEQUENCE];
    ranks_give_the_run_of_one("1.5-5b", folder.path(), &shares);
}

#[test]
fn three_ranks_give_the_run_of_one() {
    // Neither text nor video tokens divide.
    let mut options = Options::short(4);
    options.max_sequence_length(16);
    let folder = pipeline_folder("1.5-5b");
    let expected = run(&load("1.5-5b", Share(1, 0, 0)), &options);
    for share in [Share(3, 1, 3), Share(6, 2, 3)] {
        let pipeline = Pipeline::load_on(&folder, share.0, share.1, share.2).unwrap();
        equal_within(&format!("{share:?}"), &run(&pipeline, &options), &expected);
    }
}

/// A run of a folder's transformer as the arithmetic takes it: a guided one in float32, whose
/// latents have this shape.
fn work(folder: &Path, latents: &[i64], text_tokens: u64) -> Work {
    let config = std::fs::read_to_string(folder.join("transformer/config.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    let number = |name: &str| config[name].as_u64();
    let patch = number("patch_size").unwrap().pow(2) * number("patch_size_t").unwrap_or(1);
    let values = latents[1] * latents[3] * latents[4];
    Work {
        layers: number("num_layers").unwrap(),
        heads: number("num_attention_heads").unwrap(),
        head_dim: number("attention_head_dim").unwrap(),
        features: number("out_channels").unwrap() * patch,
        text_tokens,
        video_tokens: values as u64 / patch,
        rows: 2,
        element: 4,
    }
}

/// How many attentions each step of the last run computed.
fn attentions(pipeline: &Pipeline) -> Vec<u64> {
    let trace = trace(pipeline);
    let steps = trace["steps"].as_array().unwrap().iter();
    steps.map(|step| step["layers"].as_str().unwrap().matches('#').count() as u64).collect()
}

/// What is sent is what `parallel::cost` says, to the byte and the message: of steps, since each run
/// begins with some more; and reused attention sends nothing.
#[test]
fn what_is_sent_is_the_arithmetic() {
    let four_heads = with_heads("1.5-5b", 4);
    let folders = [pipeline_folder("2b"), pipeline_folder("5b"), four_heads.path().to_path_buf()];
    for folder in &folders {
        for share in [TWO_HALVES, TWO_SEQUENCE, FOUR, FOUR_SEQUENCE] {
            let heads = work(folder, &[0; 5], 16).heads;
            if !heads.is_multiple_of(share.2 as u64) {
                continue;
            }
            let what = format!("{}, {share:?}", folder.display());
            let layout = Layout { guidance: share.1 as usize, sequence: share.2 as usize };
            let pipeline = Pipeline::load_on(folder, share.0, share.1, share.2).unwrap();
            let sent = |steps| {
                let latents = run(&pipeline, &Options::short(steps));
                (exchanged(&pipeline), latents.shape, attentions(&pipeline))
            };
            let (short, shape, _) = sent(2);
            let (dense, _, _) = sent(10);
            let work = work(folder, &shape, 16);
            let step = work.step(layout, work.layers);
            assert_eq!(dense.bytes - short.bytes, 8 * step.bytes, "{what}");
            assert_eq!(dense.messages - short.messages, 8 * step.messages, "{what}");
            // Embeddings, the first latents, the generator's state, and what ranks agree upon.
            let begin = short.bytes - 2 * step.bytes;
            assert!(begin > 0 && begin < 30_000 * share.0 as u64, "{what}: {begin}");
            let (_, pab) = caches(1).swap_remove(0);
            pipeline.enable_cache(&pab).unwrap();
            let (cached, _, computed) = sent(10);
            let told: Vec<_> = computed.iter().map(|&of| work.step(layout, of)).collect();
            assert!(computed.iter().sum::<u64>() < 10 * work.layers, "{what}: {computed:?}");
            let bytes: u64 = told.iter().map(|of| of.bytes).sum();
            let messages: u64 = told.iter().map(|of| of.messages).sum();
            assert_eq!(cached.bytes, begin + bytes, "{what}");
            assert_eq!(cached.messages, short.messages - 2 * step.messages + messages, "{what}");
        }
    }
}

#[test]
fn guidance_is_shared_by_one_exchange_a_step() {
    let pipeline = load("2b", TWO_HALVES);
    let messages = |steps| {
        run(&pipeline, &Options::short(steps));
        exchanged(&pipeline).messages
    };
    // One output from each of two ranks.
    assert_eq!(messages(8) - messages(4), 4 * 2);
}

#[test]
fn degrees_are_chosen_for_each_run() {
    let pipeline = load("2b", Share(2, 0, 0));
    run(&pipeline, &Options::short(2));
    assert_eq!(exchanged(&pipeline).degrees, (2, 1));
    let mut unguided = Options::short(2);
    unguided.guidance_scale(1.0);
    run(&pipeline, &unguided);
    assert_eq!(exchanged(&pipeline).degrees, (1, 2));
    // Half of the steps leave the unconditional half out.
    pipeline.enable_cache(&config(json!({ "technique": "cfg_cache" }))).unwrap();
    run(&pipeline, &Options::short(10));
    assert_eq!(exchanged(&pipeline).degrees, (1, 2));
}

#[test]
fn an_error_names_the_degrees_that_the_model_allows() {
    let heads = 2;
    let refused = |ranks, guidance, sequence| match Pipeline::load_on(
        &pipeline_folder("2b"),
        ranks,
        guidance,
        sequence,
    ) {
        Ok(_) => panic!("{ranks} ranks, {guidance} × {sequence}"),
        Err(failure) => {
            assert_eq!(failure.code, CVX_ERROR_INVALID_ARGUMENT);
            failure.message
        }
    };
    let message = refused(3, 0, 0);
    assert!(message.contains(&format!("{heads} attention heads (1, 2)")), "{message}");
    assert!(message.contains("nothing fits 3"), "{message}");
    let message = refused(4, 1, 4);
    assert!(message.contains("found 1 × 4; 4 can be 2 × 2"), "{message}");
    assert!(refused(2, 2, 2).contains("2 can be 1 × 2 or 2 × 1"));
}

/// More than one of the frames of these tests.
const TILES: common::cases::Tiles = common::cases::Tiles {
    tile_sample_min_height: 16,
    tile_sample_min_width: 16,
    tile_overlap_factor_height: 0.25,
    tile_overlap_factor_width: 0.25,
};

#[test]
fn frames_in_tiles_are_those_of_one() {
    let mut options = Options::short(2);
    options.output(Output::Frames).tiles(&TILES);
    let alone = load("2b", Share(1, 0, 0));
    let video = alone.generate(&options).unwrap();
    let latents = video.latents().unwrap();
    let expected = alone.decode_latents(&latents, Some(&options)).unwrap().frames_f32().unwrap();
    for share in [TWO_HALVES, FOUR] {
        let pipeline = load("2b", share);
        // The same latents, in no step that could change them by a rounding.
        let video = pipeline.generate(&options).unwrap();
        let own = video.latents().unwrap();
        let found = video.frames_f32().unwrap();
        let same = alone.decode_latents(&own, Some(&options)).unwrap().frames_f32().unwrap();
        assert_eq!(found, same, "{share:?}");
        assert!(difference(&found, &expected).unwrap().absolute < 1e-4);
    }
}

/// Counts the calls of a callback and at one of them fails, on the host's thread.
struct Host {
    thread: std::thread::ThreadId,
    calls: usize,
    stop_at: usize,
}

unsafe extern "C" fn progress(info: *const cvx_progress_info, host: *mut c_void) -> i32 {
    // SAFETY: `info` lives for the call, `host` for the run.
    let (info, host) = unsafe { (&*info, &mut *host.cast::<Host>()) };
    assert_eq!(std::thread::current().id(), host.thread);
    assert!(info.done <= info.total);
    host.calls += 1;
    i32::from(host.calls == host.stop_at)
}

/// However a run ends, all ranks have ended, soon, with the error of the one that failed; and the
/// next run is as ever.
#[test]
fn a_stopped_run_ends_all_ranks_at_every_phase() {
    let mut options = Options::short(3);
    options.output(Output::Frames).tiles(&TILES);
    for share in [TWO_HALVES, TWO_SEQUENCE, FOUR] {
        let pipeline = load("5b", share);
        let expected = run(&pipeline, &options);
        let mut stop_at = 1;
        loop {
            let mut host = Host { thread: std::thread::current().id(), calls: 0, stop_at };
            let data = (&raw mut host).cast();
            // SAFETY: the host lives for the run, which ends before it goes.
            let set = unsafe {
                cvx_generate_options_set_progress_callback(options.0, Some(progress), data, None)
            };
            assert!(set.is_null());
            let started = Instant::now();
            let result = pipeline.generate(&options);
            assert!(started.elapsed() < Duration::from_secs(60));
            match result {
                Ok(_) => break,
                Err(failure) => {
                    assert_eq!(failure.code, CVX_ERROR_CANCELLED, "{failure}");
                    let expected = "stopped by the progress callback at ";
                    assert!(failure.message.starts_with(expected), "{failure}");
                }
            }
            stop_at += 1;
        }
        assert!(stop_at > 5);
        // SAFETY: the options are live.
        let none = unsafe {
            cvx_generate_options_set_progress_callback(options.0, None, null_mut(), None)
        };
        assert!(none.is_null());
        assert_eq!(run(&pipeline, &options), expected, "{share:?}");
    }
}

/// A stage of a run, and what is done of how much.
type Place = (i32, u64, u64);

/// A thread that cancels a token when it is asked to, and says that it has.
struct Canceller {
    calls: usize,
    at: usize,
    /// Where the run is at each call.
    places: Vec<Place>,
    ask: std::sync::mpsc::Sender<()>,
    done: std::sync::mpsc::Receiver<()>,
}

unsafe extern "C" fn ask_for_cancelling(info: *const cvx_progress_info, of: *mut c_void) -> i32 {
    // SAFETY: `info` lives for the call, the canceller for the run.
    let (info, of) = unsafe { (&*info, &mut *of.cast::<Canceller>()) };
    of.places.push((info.stage, info.done, info.total));
    if of.calls == of.at {
        of.ask.send(()).unwrap();
        of.done.recv().unwrap();
    }
    of.calls += 1;
    0
}

/// A run whose token another thread cancels when progress is told for the `at`th time; where it was
/// told of.
fn cancelled_at(
    pipeline: &Pipeline,
    options: &Options,
    at: usize,
) -> (Result<Array<f32>, Failure>, Vec<Place>) {
    let (ask, asked) = std::sync::mpsc::channel();
    let (say, done) = std::sync::mpsc::channel();
    let token = cvx_cancel_token_new();
    let shared = token as usize;
    let mut canceller = Canceller { calls: 0, at, places: Vec::new(), ask, done };
    let (set, data) = (cvx_generate_options_set_progress_callback, (&raw mut canceller).cast());
    let result = std::thread::scope(|scope| {
        scope.spawn(move || {
            if asked.recv().is_ok() {
                // SAFETY: the token lives until this thread has ended.
                unsafe { cvx_cancel_token_cancel(shared as *mut cvx_cancel_token) };
                say.send(()).unwrap();
            }
        });
        let started = Instant::now();
        // SAFETY: live handles; the canceller outlives the run, and nothing of it stays in the options.
        let result = unsafe {
            assert!(cvx_generate_options_set_cancel_token(options.0, token).is_null());
            assert!(set(options.0, Some(ask_for_cancelling), data, None).is_null());
            let result = pipeline.generate(options).and_then(|video| video.latents());
            assert!(set(options.0, None, null_mut(), None).is_null());
            assert!(cvx_generate_options_set_cancel_token(options.0, null_mut()).is_null());
            result
        };
        assert!(started.elapsed() < Duration::from_secs(60));
        // Ends a thread that was not asked.
        canceller.ask = std::sync::mpsc::channel().0;
        result
    });
    // SAFETY: made above, freed once.
    unsafe { cvx_cancel_token_free(token) };
    (result, canceller.places)
}

#[test]
fn a_token_that_another_thread_cancels_ends_all_ranks_at_every_phase() {
    let mut options = Options::short(3);
    options.output(Output::Frames).tiles(&TILES);
    for share in [TWO_HALVES, TWO_SEQUENCE, FOUR] {
        let pipeline = load("2b", share);
        // The prompt's embeddings are kept: later runs tell of less.
        run(&pipeline, &options);
        let (expected, places) = cancelled_at(&pipeline, &options, usize::MAX);
        let expected = expected.unwrap();
        assert!(places.len() > 8, "{places:?}");
        for at in 0..places.len() {
            let (result, found) = cancelled_at(&pipeline, &options, at);
            // Nothing is told of once it is cancelled.
            assert_eq!(found, places[..=at], "{share:?}");
            let failure = result.expect_err(&format!("{share:?} at {at}: {:?}", places[at]));
            assert_eq!(failure.code, CVX_ERROR_CANCELLED, "{failure}");
            assert_eq!(failure.message, "cancelled by its token", "{share:?} at {at}");
        }
        assert_eq!(run(&pipeline, &options), expected, "{share:?}");
    }
}

/// A callback that fails at one of the steps.
struct Fails {
    calls: usize,
    at: usize,
}

unsafe extern "C" fn fails_once(info: *const cvx_step_info, of: *mut c_void) -> f64 {
    // SAFETY: `info` lives for the call, the counter for the run.
    let (_, of) = unsafe { (&*info, &mut *of.cast::<Fails>()) };
    let fails = of.calls == of.at;
    of.calls += 1;
    if fails {
        f64::NAN
    } else {
        500.0
    }
}

#[test]
fn a_callback_that_fails_ends_all_ranks_at_every_step() {
    for share in [TWO_HALVES, TWO_SEQUENCE, FOUR] {
        let pipeline = load("5b", share);
        let (_, cache) = caches(1).swap_remove(0);
        let mut fails = Fails { calls: 0, at: usize::MAX };
        let data = (&raw mut fails).cast::<Fails>();
        let set = cvx_cache_config_set_current_timestep_callback;
        // SAFETY: the counter outlives the config's runs.
        let set = unsafe { set(cache.0, Some(fails_once), data.cast(), None) };
        assert!(set.is_null());
        pipeline.enable_cache(&cache).unwrap();
        for at in 0..5 {
            // SAFETY: no run is under way.
            unsafe { *data = Fails { calls: 0, at } };
            let failure = pipeline.generate(&Options::short(5)).err().expect("fails");
            assert_eq!(failure.code, CVX_ERROR_CALLBACK_FAILED, "{failure}");
            let place = format!("current_timestep_callback at step {at} of 5");
            assert!(failure.message.contains(&place), "{failure}");
        }
        // SAFETY: as above.
        unsafe { *data = Fails { calls: 0, at: usize::MAX } };
        run(&pipeline, &Options::short(5));
        pipeline.disable_cache().unwrap();
    }
}

unsafe extern "C" fn nan(_: *const cvx_step_info, calls: *mut c_void) -> f64 {
    // SAFETY: the counter outlives the run.
    let calls = unsafe { &mut *calls.cast::<usize>() };
    *calls += 1;
    if *calls > 3 {
        f64::NAN
    } else {
        500.0
    }
}

#[test]
fn a_callback_of_a_cache_is_called_by_one_rank_and_its_error_ends_all() {
    let pipeline = load("2b", FOUR);
    let mut calls = 0usize;
    let (_, cache) = caches(1).swap_remove(0);
    let data = (&raw mut calls).cast();
    // SAFETY: the counter outlives the config's runs.
    let set =
        unsafe { cvx_cache_config_set_current_timestep_callback(cache.0, Some(nan), data, None) };
    assert!(set.is_null());
    pipeline.enable_cache(&cache).unwrap();
    let failure = pipeline.generate(&Options::short(6)).err().expect("fails");
    assert_eq!(failure.code, CVX_ERROR_CALLBACK_FAILED);
    assert!(failure.message.contains("current_timestep_callback at step 3 of 6"), "{failure}");
    assert_eq!(calls, 4);
    pipeline.disable_cache().unwrap();
    run(&pipeline, &Options::short(2));
}

#[test]
fn clones_run_at_once_and_jobs_run_on_all_ranks() {
    let pipeline = load("2b", FOUR);
    let expected = run(&pipeline, &Options::short(3));
    let clone = pipeline.another().unwrap();
    std::thread::scope(|scope| {
        let other = scope.spawn(move || {
            let found = run(&clone, &Options::short(3));
            (found, exchanged(&clone))
        });
        assert_eq!(run(&pipeline, &Options::short(3)), expected);
        let (found, exchanged) = other.join().unwrap();
        assert_eq!(found, expected);
        assert_eq!(exchanged.ranks, 4);
    });
    let options = Options::short(3);
    let mut job = null_mut();
    // SAFETY: live handles; the job is freed once.
    unsafe {
        assert!(
            cvx_pipeline_submit(pipeline.0, options.0, None, null_mut(), None, &mut job).is_null()
        );
        let mut video = null_mut();
        assert!(cvx_job_wait(job, -1.0, null_mut()).is_null());
        assert!(cvx_job_take_video(job, &mut video).is_null());
        assert_eq!(common::handles::Video(video).latents().unwrap(), expected);
        cvx_job_free(job);
    }
}

/// Adapters and images go the same way on all ranks.
#[test]
fn adapters_and_images_are_those_of_one() {
    let options = Options::short(3);
    let adapter = common::goldens::golden("lora/5b/attention.safetensors");
    let results = [Share(1, 0, 0), TWO_HALVES, TWO_SEQUENCE, FOUR].map(|share| {
        let pipeline = load("5b", share);
        let plain = run(&pipeline, &options);
        pipeline.load_lora(&adapter, None).unwrap();
        let adapted = run(&pipeline, &options);
        pipeline.fuse_lora(1.0).unwrap();
        let fused = run(&pipeline, &options);
        assert!(difference(&adapted, &plain).unwrap().absolute > 1e-3);
        [adapted, fused]
    });
    for found in &results[1..] {
        for (found, expected) in found.iter().zip(&results[0]) {
            equal_within("5b with an adapter", found, expected);
        }
    }
    let data = (0..32 * 48 * 3).map(|i| (i * 7 % 256) as u8).collect();
    let picture = Picture::Bytes(Array { shape: vec![32, 48, 3], data });
    for family in ["5b-i2v", "1.5-5b-i2v"] {
        let mut options = Options::short(3);
        // Those of 5b-I2V have learned positions, of one size.
        options.image(&picture).size(80, 48);
        let expected = run(&load(family, Share(1, 0, 0)), &options);
        equal_within(family, &run(&load(family, TWO_HALVES), &options), &expected);
    }
    let mut options = Options::short(3);
    options.image(&picture).size(80, 48);
    let expected = run(&load("5b-i2v", Share(1, 0, 0)), &options);
    equal_within("5b-i2v, four", &run(&load("5b-i2v", FOUR), &options), &expected);
}

/// What CogVideoX-Fun's folders take, and several prompts with a seed each.
#[test]
fn control_inpainting_and_several_videos_are_those_of_one() {
    let clip = |frames: i64| {
        let data = (0..frames * 48 * 80 * 3).map(|i| (i * 11 % 251) as u8).collect();
        Picture::Bytes(Array { shape: vec![frames, 48, 80, 3], data })
    };
    let data = (0..9 * 48 * 80).map(|i| if i % 80 < 40 { 255 } else { 0 }).collect();
    let mask = Array { shape: vec![9, 48, 80], data };
    for family in ["5b-control", "5b-inp", "5b"] {
        let mut options = Options::new();
        options
            .size(80, 48)
            .num_frames(9)
            .num_inference_steps(3)
            .max_sequence_length(16)
            .output(Output::Latents);
        match family {
            "5b-control" => options.prompt("a red kite").control_video(&clip(9)),
            "5b-inp" => options.prompt("a red kite").video(&clip(9)).mask(&mask),
            _ => options.num_videos(2).prompts(&["a red kite", "waves at night"]).seeds(&[3, 8]),
        };
        let expected = run(&load(family, Share(1, 0, 0)), &options);
        for share in [TWO_HALVES, TWO_SEQUENCE, FOUR] {
            let found = run(&load(family, share), &options);
            equal_within(&format!("{family}, {share:?}"), &found, &expected);
        }
    }
}

/// How far a run of one rank ends from another whose first latents differ by at most 1e-7, a unit in
/// the last place: what the rounding of docs/scaling.md is beside.
#[test]
#[ignore = "a measurement"]
fn what_rounding_becomes() {
    let pipeline = load("2b", Share(1, 0, 0));
    let shape = run(&pipeline, &Options::short(1)).shape;
    let values: usize = shape.iter().map(|&side| side as usize).product();
    // Twelve numbers in (-1/2, 1/2) add up to about a normal one.
    let mut state = 12345u32;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 - 0.5
    };
    let plain: Vec<f32> = (0..values).map(|_| (0..12).map(|_| uniform()).sum()).collect();
    let moved = plain.iter().map(|value| value + 2e-7 * uniform()).collect();
    let [plain, moved] = [plain, moved].map(|data| {
        let mut options = Options::short(10);
        options.latents(&Array { shape: shape.clone(), data });
        options
    });
    for (name, cache) in caches(2) {
        pipeline.enable_cache(&cache).unwrap();
        let off = difference(&run(&pipeline, &moved), &run(&pipeline, &plain)).unwrap();
        println!("| {name} | {:.1e} | of the largest {:.1e} |", off.absolute, off.relative);
    }
}

/// Processor time of this thread.
fn thread_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: there is room for a time.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) }, 0);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// The measured table of docs/scaling.md: what one rank computes of a run of the demo model, beside
/// what the arithmetic of `parallel::cost` says is sent.
/// `cargo test --release --test parallel -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn what_ranks_compute_and_send() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model/pipeline");
    let mut options = Options::new();
    let prompt = "a red ball moves right on a black background";
    options.prompt(prompt).size(256, 256).num_inference_steps(8).output(Output::Latents);
    let mut dense = 0.0;
    for cached in [false, true] {
        for share in [Share(1, 0, 0), TWO_HALVES, TWO_SEQUENCE, FOUR, Share(3, 1, 3)] {
            let pipeline = Pipeline::load_on(&folder, share.0, share.1, share.2).unwrap();
            if cached {
                pipeline.enable_cache(&caches(1).swap_remove(0).1).unwrap();
            }
            run(&pipeline, &options);
            let before = thread_seconds();
            let latents = run(&pipeline, &options);
            let own = thread_seconds() - before;
            if share.0 == 1 && !cached {
                dense = own;
            }
            let found = exchanged(&pipeline);
            let work = work(&folder, &latents.shape, 16);
            let layout =
                Layout { guidance: share.1.max(1) as usize, sequence: share.2.max(1) as usize };
            let (mut sent, mut messages, mut operations, mut all) = (0, 0, 0.0, 0.0);
            for computed in attentions(&pipeline) {
                let step = work.step(layout, computed);
                sent += step.bytes;
                messages += step.messages;
                operations += work.operations(computed) / layout.ranks() as f64;
                all += work.operations(work.layers);
            }
            println!(
                "| {} | {} × {} | {own:.2} s | {:.2} s | {} | {sent} | {} | {messages} |",
                if cached { "PAB" } else { "none" },
                layout.guidance,
                layout.sequence,
                dense * operations / all,
                found.bytes,
                found.messages,
            );
            // Beside it embeddings, and a few numbers, are sent.
            assert!(found.bytes >= sent && found.bytes - sent < 4_000_000, "{sent} {found:?}");
        }
    }
}

/// The numbers for clones of docs/scaling.md: two runs at once against one after the other, one
/// thread each, in turn.
#[test]
#[ignore = "a measurement"]
fn what_clones_gain() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model/pipeline");
    let mut options = Options::new();
    let prompt = "a red ball moves right on a black background";
    options.prompt(prompt).num_inference_steps(25).output(Output::Latents);
    let pipeline = Pipeline::load(&folder).unwrap();
    let mut clone = pipeline.another().unwrap();
    let address = options.0 as usize;
    let timed = |pipeline: &Pipeline| {
        // The options are only read, and live for the test.
        let options = std::mem::ManuallyDrop::new(Options(address as *mut cvx_generate_options));
        tch::set_num_threads(1);
        let before = thread_seconds();
        run(pipeline, &options);
        thread_seconds() - before
    };
    timed(&pipeline);
    timed(&clone);
    for _ in 0..5 {
        let started = Instant::now();
        let one = timed(&pipeline) + timed(&clone);
        let in_turn = started.elapsed().as_secs_f64();
        let started = Instant::now();
        let both;
        (both, clone) = std::thread::scope(|scope| {
            let (timed, moved) = (&timed, clone);
            let other = scope.spawn(move || (timed(&moved), moved));
            let own = timed(&pipeline);
            let (seconds, clone) = other.join().unwrap();
            (own + seconds, clone)
        });
        let at_once = started.elapsed().as_secs_f64();
        println!(
            "in turn {in_turn:.2} s ({one:.2} s of processor), at once {at_once:.2} s ({both:.2} s): {:.2} times as many",
            in_turn / at_once
        );
    }
}
