//! The caches through the C functions: configs, callbacks, previews, statistics, and what runs
//! leave behind. That cached runs are those of diffusers is `cache_parity.rs`'s.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::undocumented_unsafe_blocks,
    reason = "a test that panics has failed, and holds the handles it uses"
)]

use cogvideox::capi::*;
use serde_json::Value as Json;
use std::ffi::{c_char, c_void, CStr, CString};
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use tch::{Kind, Tensor};

#[derive(Debug, PartialEq)]
struct Failure {
    code: i32,
    message: String,
}

fn check(error: *mut cvx_error) -> Result<(), Failure> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: a live error, freed once.
    unsafe {
        let failure =
            Failure { code: cvx_error_code(error), message: text_of(cvx_error_message(error)) };
        cvx_error_free(error);
        Err(failure)
    }
}

fn text_of(text: *const c_char) -> String {
    // SAFETY: every text here comes from the library and is alive.
    unsafe { CStr::from_ptr(text) }.to_str().expect("UTF-8").to_string()
}

fn c(text: &str) -> CString {
    CString::new(text).expect("no NUL")
}

fn invalid(error: *mut cvx_error) -> String {
    let failure = check(error).expect_err("an error");
    assert_eq!(failure.code, CVX_ERROR_INVALID_ARGUMENT, "{failure:?}");
    failure.message
}

/// An owner for each kind of handle.
macro_rules! owner {
    ($name:ident, $handle:ident, $free:ident) => {
        struct $name(*mut $handle);

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: made by the library, freed once.
                unsafe { $free(self.0) }
            }
        }
    };
}

owner!(Config, cvx_cache_config, cvx_cache_config_free);
owner!(Stats, cvx_cache_stats, cvx_cache_stats_free);
owner!(Options, cvx_generate_options, cvx_generate_options_free);
owner!(Pipeline, cvx_pipeline, cvx_pipeline_free);
owner!(Video, cvx_video, cvx_video_free);

fn pab() -> Config {
    Config(cvx_pab_config_new())
}

fn faster_cache() -> Config {
    Config(cvx_faster_cache_config_new())
}

fn preset(technique: &str, name: &str) -> Config {
    let mut config = null_mut();
    // SAFETY: strings and place live for the call.
    check(unsafe { cvx_cache_config_new(c(technique).as_ptr(), c(name).as_ptr(), &mut config) })
        .expect(name);
    Config(config)
}

fn preview(config: &Config, layers: i32, steps: i32, guided: i32) -> Result<Stats, Failure> {
    let mut stats = null_mut();
    // SAFETY: the config and the place live for the call.
    check(unsafe { cvx_cache_config_preview(config.0, layers, steps, guided, &mut stats) })?;
    Ok(Stats(stats))
}

impl Stats {
    fn text(&self) -> String {
        // SAFETY: live statistics, here and below.
        text_of(unsafe { cvx_cache_stats_text(self.0) })
    }

    fn json(&self) -> Json {
        let json = text_of(unsafe { cvx_cache_stats_json(self.0) });
        serde_json::from_str(&json).expect("JSON")
    }

    /// As goldens write it: a string per step, '1' for computed layers.
    fn computed(&self) -> Vec<String> {
        let (steps, layers) =
            unsafe { (cvx_cache_stats_num_steps(self.0), cvx_cache_stats_num_layers(self.0)) };
        let state = |step, layer| unsafe { cvx_cache_stats_layer_state(self.0, step, layer) };
        let sign = |state| match state {
            CVX_LAYER_COMPUTED => '1',
            CVX_LAYER_REUSED | CVX_LAYER_APPROXIMATED => '0',
            _ => '.',
        };
        (0..steps).map(|s| (0..layers).map(|l| sign(state(s, l))).collect()).collect()
    }

    fn unconditional(&self) -> String {
        let steps = unsafe { cvx_cache_stats_num_steps(self.0) };
        let rebuilt = |step| {
            let state = unsafe { cvx_cache_stats_unconditional(self.0, step) };
            state == CVX_UNCONDITIONAL_REBUILT
        };
        (0..steps).map(|step| if rebuilt(step) { '0' } else { '1' }).collect()
    }

    fn units(&self) -> (f64, f64, f64) {
        unsafe {
            (
                cvx_cache_stats_attention_units(self.0),
                cvx_cache_stats_rest_units(self.0),
                cvx_cache_stats_total_units(self.0),
            )
        }
    }
}

impl Options {
    /// A short run of the tests' pipelines, to latents.
    fn new(steps: i32) -> Options {
        let options = Options(cvx_generate_options_new());
        // SAFETY: live options.
        unsafe {
            check(cvx_generate_options_set_prompt(options.0, c"a red panda".as_ptr())).unwrap();
            check(cvx_generate_options_set_size(options.0, 48, 32)).unwrap();
            check(cvx_generate_options_set_num_frames(options.0, 9)).unwrap();
            check(cvx_generate_options_set_num_inference_steps(options.0, steps)).unwrap();
            check(cvx_generate_options_set_max_sequence_length(options.0, 16)).unwrap();
            check(cvx_generate_options_set_output(options.0, CVX_OUTPUT_LATENTS)).unwrap();
        }
        options
    }
}

fn folder(family: &str) -> CString {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    c(root.join("tests/pipelines").join(family).to_str().expect("UTF-8"))
}

impl Pipeline {
    fn load(folder: &CStr) -> Pipeline {
        let mut pipeline = null_mut();
        // SAFETY: strings and places live for the calls; the options are freed once.
        unsafe {
            let options = cvx_load_options_new();
            check(cvx_load_options_set_device(options, c"cpu".as_ptr())).unwrap();
            let loaded = check(cvx_pipeline_load(folder.as_ptr(), options, &mut pipeline));
            cvx_load_options_free(options);
            loaded.unwrap();
        }
        Pipeline(pipeline)
    }

    fn enable(&self, config: &Config) -> Result<(), Failure> {
        // SAFETY: live handles, here and below.
        check(unsafe { cvx_pipeline_enable_cache(self.0, config.0) })
    }

    fn disable(&self) -> Result<(), Failure> {
        check(unsafe { cvx_pipeline_disable_cache(self.0) })
    }

    fn run(&self, options: &Options) -> Result<Tensor, Failure> {
        let mut video = null_mut();
        check(unsafe { cvx_pipeline_generate(self.0, options.0, &mut video) })?;
        let video = Video(video);
        let mut data = null();
        let mut shape = [0i64; 5];
        // SAFETY: the data lives as long as the video and is as long as its shape says.
        let data = unsafe {
            check(cvx_video_latents(video.0, &mut data, shape.as_mut_ptr()))?;
            std::slice::from_raw_parts(data, shape.iter().product::<i64>() as usize)
        };
        Ok(Tensor::from_slice(data).view(shape))
    }

    fn stats(&self) -> Result<Stats, Failure> {
        let mut stats = null_mut();
        check(unsafe { cvx_pipeline_cache_stats(self.0, &mut stats) })?;
        Ok(Stats(stats))
    }

    fn share(&self) -> Pipeline {
        let mut clone = null_mut();
        check(unsafe { cvx_pipeline_clone(self.0, &mut clone) }).unwrap();
        Pipeline(clone)
    }
}

fn difference(a: &Tensor, b: &Tensor) -> f64 {
    (a.to_kind(Kind::Double) - b.to_kind(Kind::Double)).abs().max().double_value(&[])
}

#[test]
fn previews_need_no_model() {
    let stats = preview(&preset("faster_cache", "diffusers-docs"), 42, 50, 1).expect("previews");
    assert_eq!(stats.units(), (54.0, 68.0, 100.0));
    let text = stats.text();
    assert!(text.starts_with("FasterCache: 50 steps, 42 layers\n"), "{text}");
    assert!(text.contains("layers 0-41    #################~#~"), "{text}");
    assert!(text.contains("unconditional  ###########~~~~#~~~~#"), "{text}");
    assert_eq!(stats.json()["trace"]["steps"][11]["unconditional"], "rebuilt");
    // SAFETY: live statistics.
    unsafe {
        assert_eq!(cvx_cache_stats_num_layers(stats.0), 42);
        assert_eq!(cvx_cache_stats_total_steps(stats.0), 50);
        assert_eq!(cvx_cache_stats_timestep(stats.0, 1), 979);
        assert_eq!(cvx_cache_stats_timestep(stats.0, 50), -1);
        assert_eq!(cvx_cache_stats_layer_state(stats.0, 17, 41), CVX_LAYER_APPROXIMATED);
        assert_eq!(cvx_cache_stats_layer_state(stats.0, 17, 42), CVX_LAYER_NOT_REACHED);
        assert_eq!(cvx_cache_stats_layer_state(stats.0, -1, 0), CVX_LAYER_NOT_REACHED);
        let all = cvx_cache_stats_layer_count(stats.0, -1, CVX_LAYER_APPROXIMATED);
        assert_eq!(all, 42 * cvx_cache_stats_layer_count(stats.0, 3, CVX_LAYER_APPROXIMATED));
        assert_eq!(text_of(cvx_cache_stats_layer_name(stats.0, 7)), "transformer_blocks.7.attn1");
        assert!(cvx_cache_stats_layer_name(stats.0, 42).is_null());
        // No sizes, so no share, and nothing to predict with.
        assert_eq!(cvx_cache_stats_predicted_speed_up(stats.0), 0.0);
    }
    let stats = preview(&pab(), 30, 50, 0).expect("previews");
    assert_eq!(stats.units(), (33.0, 50.0, 50.0));
    assert!(invalid(unsafe { cvx_cache_config_preview(pab().0, 0, 50, 1, &mut null_mut()) })
        .contains("num_layers"));
    assert!(invalid(unsafe { cvx_cache_config_preview(pab().0, 1, 50, 2, &mut null_mut()) })
        .contains("guided"));
}

#[test]
fn setters_name_field_and_value() {
    let (pab, faster) = (pab(), faster_cache());
    // SAFETY: live configs; the strings live for the calls.
    unsafe {
        type Set = unsafe extern "C" fn(*mut cvx_cache_config, i32) -> *mut cvx_error;
        let skip_ranges: [(&str, Set, bool, bool); 4] = [
            (
                "spatial_attention_block_skip_range",
                cvx_cache_config_set_spatial_attention_block_skip_range,
                true,
                true,
            ),
            (
                "temporal_attention_block_skip_range",
                cvx_cache_config_set_temporal_attention_block_skip_range,
                true,
                true,
            ),
            (
                "cross_attention_block_skip_range",
                cvx_cache_config_set_cross_attention_block_skip_range,
                true,
                false,
            ),
            (
                "unconditional_batch_skip_range",
                cvx_cache_config_set_unconditional_batch_skip_range,
                false,
                true,
            ),
        ];
        for (field, set, of_pab, of_faster) in skip_ranges {
            for (config, has) in [(&pab, of_pab), (&faster, of_faster)] {
                if has {
                    check(set(config.0, 3)).expect(field);
                    let message = invalid(set(config.0, 0));
                    assert!(message.contains(field) && message.ends_with("found 0"), "{message}");
                } else {
                    let message = invalid(set(config.0, 3));
                    assert!(message.contains(field) && message.contains(" has no field"));
                }
            }
        }
        type SetRange = unsafe extern "C" fn(*mut cvx_cache_config, i32, i32) -> *mut cvx_error;
        let ranges: [(&str, SetRange, bool, bool); 6] = [
            (
                "spatial_attention_timestep_skip_range",
                cvx_cache_config_set_spatial_attention_timestep_skip_range,
                true,
                true,
            ),
            (
                "temporal_attention_timestep_skip_range",
                cvx_cache_config_set_temporal_attention_timestep_skip_range,
                true,
                true,
            ),
            (
                "cross_attention_timestep_skip_range",
                cvx_cache_config_set_cross_attention_timestep_skip_range,
                true,
                false,
            ),
            (
                "unconditional_batch_timestep_skip_range",
                cvx_cache_config_set_unconditional_batch_timestep_skip_range,
                false,
                true,
            ),
            (
                "low_frequency_weight_update_timestep_range",
                cvx_cache_config_set_low_frequency_weight_update_timestep_range,
                false,
                true,
            ),
            (
                "high_frequency_weight_update_timestep_range",
                cvx_cache_config_set_high_frequency_weight_update_timestep_range,
                false,
                true,
            ),
        ];
        for (field, set, of_pab, of_faster) in ranges {
            for (config, has) in [(&pab, of_pab), (&faster, of_faster)] {
                if has {
                    check(set(config.0, -1, 900)).expect(field);
                    let message = invalid(set(config.0, 700, 300));
                    assert!(message.contains(field) && message.contains("(700, 300)"));
                } else {
                    assert!(invalid(set(config.0, -1, 900)).contains(field));
                }
            }
        }
        type SetNumber = unsafe extern "C" fn(*mut cvx_cache_config, f64) -> *mut cvx_error;
        let numbers: [(&str, SetNumber); 3] = [
            ("alpha_low_frequency", cvx_cache_config_set_alpha_low_frequency),
            ("alpha_high_frequency", cvx_cache_config_set_alpha_high_frequency),
            ("attention_weight", cvx_cache_config_set_attention_weight),
        ];
        for (field, set) in numbers {
            check(set(faster.0, 1.25)).expect(field);
            let message = invalid(set(faster.0, f64::NAN));
            assert!(message.contains(field) && message.contains("NaN"), "{message}");
            assert!(invalid(set(pab.0, 1.25)).contains("Pyramid Attention Broadcast"));
        }
        let message = invalid(cvx_cache_config_set_tensor_format(faster.0, c"BSC".as_ptr()));
        assert!(message.contains("BCFHW") && message.contains("BSC"), "{message}");
        check(cvx_cache_config_set_tensor_format(faster.0, c"BFCHW".as_ptr())).unwrap();
        check(cvx_cache_config_set_is_guidance_distilled(faster.0, 1)).unwrap();
        assert!(invalid(cvx_cache_config_set_is_guidance_distilled(faster.0, 2)).contains('2'));
        check(cvx_cache_config_set_reuse_attention_on_full_guidance_steps(faster.0, 1)).unwrap();
        check(cvx_cache_config_set_max_cache_bytes(pab.0, 1 << 30)).unwrap();
        check(cvx_cache_config_set_cache_dtype(pab.0, c"bf16".as_ptr())).unwrap();
        assert!(invalid(cvx_cache_config_set_cache_dtype(pab.0, c"f8".as_ptr())).contains("f8"));
        check(cvx_cache_config_set_cache_dtype(pab.0, c"fp8".as_ptr())).unwrap();
        let set_place = cvx_cache_config_set_cache_location;
        check(set_place(pab.0, c"host".as_ptr())).unwrap();
        let message = invalid(set_place(pab.0, c"disk".as_ptr()));
        assert!(message.contains("\"disk\"") && message.contains("host"), "{message}");

        let bad = [c"transformer_blocks".as_ptr(), c"blocks.[".as_ptr()];
        let message = invalid(cvx_cache_config_set_spatial_attention_block_identifiers(
            pab.0,
            bad.as_ptr(),
            2,
        ));
        assert!(message.contains("spatial_attention_block_identifiers"), "{message}");
        assert!(message.contains("blocks.["), "{message}");
        for set in [
            cvx_cache_config_set_spatial_attention_block_identifiers,
            cvx_cache_config_set_temporal_attention_block_identifiers,
        ] {
            check(set(pab.0, bad.as_ptr(), 1)).unwrap();
            check(set(faster.0, bad.as_ptr(), 1)).unwrap();
        }
        check(cvx_cache_config_set_cross_attention_block_identifiers(pab.0, bad.as_ptr(), 1))
            .unwrap();
        let nulls = [null()];
        let failure = check(cvx_cache_config_set_spatial_attention_block_identifiers(
            pab.0,
            nulls.as_ptr(),
            1,
        ))
        .unwrap_err();
        assert_eq!(failure.code, CVX_ERROR_NULL_ARGUMENT);
        assert!(failure.message.contains("identifiers[0]"), "{failure:?}");
    }
    let mut none = null_mut();
    // SAFETY: strings and place live for the calls.
    let message =
        unsafe { invalid(cvx_cache_config_new(c"pab".as_ptr(), c"official".as_ptr(), &mut none)) };
    assert!(message.contains("videosys") && message.contains("official"), "{message}");
    let message =
        unsafe { invalid(cvx_cache_config_new(c"deepcache".as_ptr(), null(), &mut none)) };
    assert!(message.contains("faster_cache") && none.is_null(), "{message}");
}

#[test]
fn null_handles_are_errors_or_nothing() {
    // SAFETY: the library promises to take NULL everywhere.
    unsafe {
        cvx_cache_config_free(null_mut());
        cvx_cache_stats_free(null_mut());
        let none: *const cvx_cache_stats = null();
        assert_eq!(text_of(cvx_cache_stats_text(none)), "");
        assert_eq!(text_of(cvx_cache_stats_json(none)), "");
        assert_eq!(text_of(cvx_cache_stats_technique(none)), "");
        assert_eq!(cvx_cache_stats_num_steps(none), 0);
        assert_eq!(cvx_cache_stats_bytes_peak(none), 0);
        assert_eq!(cvx_cache_stats_host_bytes_peak(none), 0);
        assert_eq!(cvx_cache_stats_host_bytes_now(none), 0);
        assert_eq!(cvx_cache_stats_num_ranks(none), 0);
        assert_eq!(cvx_cache_stats_guidance_degree(none), 0);
        assert_eq!(cvx_cache_stats_sequence_degree(none), 0);
        assert_eq!(cvx_cache_stats_bytes_exchanged(none), 0);
        assert_eq!(cvx_cache_stats_messages_exchanged(none), 0);
        assert_eq!(cvx_cache_stats_attention_share(none, null_mut()), 0.0);
        for error in [
            cvx_cache_config_set_spatial_attention_block_skip_range(null_mut(), 2),
            cvx_cache_config_set_alpha_low_frequency(null_mut(), 1.0),
            cvx_cache_config_set_max_cache_bytes(null_mut(), 1),
            cvx_cache_config_set_cache_location(null_mut(), c"host".as_ptr()),
            cvx_cache_config_set_cache_location(pab().0, null()),
            cvx_cache_config_set_field(null_mut(), c"alpha_low_frequency".as_ptr(), c"1".as_ptr()),
            cvx_cache_config_set_field(pab().0, null(), c"1".as_ptr()),
            cvx_cache_config_set_field(pab().0, c"alpha_low_frequency".as_ptr(), null()),
            cvx_cache_config_from_json(null(), &mut null_mut()),
            cvx_cache_config_from_json(c"{}".as_ptr(), null_mut()),
            cvx_cache_config_to_json(null_mut(), &mut null()),
            cvx_cache_config_to_json(pab().0, null_mut()),
            cvx_cache_config_preview(null(), 1, 1, 1, &mut null_mut()),
            cvx_cache_config_preview(pab().0, 1, 1, 1, null_mut()),
            cvx_pipeline_enable_cache(null_mut(), pab().0),
            cvx_pipeline_disable_cache(null_mut()),
            cvx_pipeline_cache_stats(null(), &mut null_mut()),
            cvx_pipeline_preview_cache(null(), pab().0, null(), &mut null_mut()),
        ] {
            assert_eq!(check(error).unwrap_err().code, CVX_ERROR_NULL_ARGUMENT);
        }
    }
}

unsafe extern "C" fn count_free(user_data: *mut c_void) {
    // SAFETY: the tests pass a counter that outlives every use.
    unsafe { &*user_data.cast::<AtomicU32>() }.fetch_add(1, Ordering::SeqCst);
}

unsafe extern "C" fn half(_: *const cvx_layer_info, _: *mut c_void) -> f64 {
    0.5
}

#[test]
fn user_data_is_freed_exactly_once_also_where_setters_fail() {
    let freed = AtomicU32::new(0);
    let data = std::ptr::from_ref(&freed).cast_mut().cast::<c_void>();
    let now = || freed.load(Ordering::SeqCst);
    // SAFETY: live configs; the counter outlives them.
    unsafe {
        let set = |config: *mut cvx_cache_config, callback: cvx_attention_weight_callback| {
            cvx_cache_config_set_attention_weight_callback(config, callback, data, Some(count_free))
        };
        assert!(invalid(set(pab().0, Some(half))).contains("attention_weight_callback"));
        assert_eq!(now(), 1);
        assert_eq!(check(set(null_mut(), Some(half))).unwrap_err().code, CVX_ERROR_NULL_ARGUMENT);
        assert_eq!(now(), 2);
        let config = faster_cache();
        check(set(config.0, Some(half))).unwrap();
        check(set(config.0, Some(half))).unwrap();
        assert_eq!(now(), 3, "replaced");
        check(set(config.0, None)).unwrap();
        assert_eq!(now(), 5, "taken away, and the NULL callback's own");
        check(set(config.0, Some(half))).unwrap();
        drop(config);
        assert_eq!(now(), 6);
    }
}

#[test]
fn enabling_keeps_the_user_data_until_the_pipeline_lets_go() {
    let freed = AtomicU32::new(0);
    let data = std::ptr::from_ref(&freed).cast_mut().cast::<c_void>();
    let pipeline = Pipeline::load(&folder("2b"));
    let config = faster_cache();
    // SAFETY: a live config; the counter outlives the pipeline.
    unsafe {
        check(cvx_cache_config_set_attention_weight_callback(
            config.0,
            Some(half),
            data,
            Some(count_free),
        ))
        .unwrap();
    }
    pipeline.enable(&config).unwrap();
    drop(config);
    assert_eq!(freed.load(Ordering::SeqCst), 0);
    drop(pipeline.run(&Options::new(8)).unwrap());
    pipeline.enable(&pab()).unwrap();
    assert_eq!(freed.load(Ordering::SeqCst), 1);
}

#[test]
fn enable_replaces_disable_restores_and_clones_have_their_own() {
    let pipeline = Pipeline::load(&folder("5b"));
    let options = Options::new(12);
    let before = pipeline.stats().err().expect("no run yet");
    assert_eq!(before.code, CVX_ERROR_INVALID_ARGUMENT);
    pipeline.disable().expect("nothing enabled is fine");

    let uncached = pipeline.run(&options).unwrap();
    let stats = pipeline.stats().unwrap();
    assert!(stats.computed().iter().all(|step| !step.contains('0')));
    assert_eq!(text_of(unsafe { cvx_cache_stats_technique(stats.0) }), "");

    pipeline.enable(&pab()).unwrap();
    let with_pab = pipeline.run(&options).unwrap();
    assert!(difference(&with_pab, &uncached) > 1e-4);
    let clone = pipeline.share();
    assert!(clone.run(&options).unwrap().equal(&uncached), "a clone starts without a cache");
    assert_eq!(clone.stats().unwrap().units(), (24.0, 24.0, 24.0));

    pipeline.enable(&faster_cache()).unwrap();
    let with_faster = pipeline.run(&options).unwrap();
    assert!(difference(&with_faster, &with_pab) > 1e-4);
    clone.enable(&pab()).unwrap();
    assert!(clone.run(&options).unwrap().equal(&with_pab));
    assert!(pipeline.run(&options).unwrap().equal(&with_faster));

    pipeline.disable().unwrap();
    assert!(pipeline.run(&options).unwrap().equal(&uncached));
}

/// A config for each technique that needs no more to be previewed, and one with which each layer is
/// a row of its own in the table.
fn configs_to_preview() -> Vec<(&'static str, Config)> {
    let uneven = pab();
    let pattern = c("transformer_blocks\\.[0-9]*[02468]\\.attn1");
    // SAFETY: a live config, and a text that lives for the call.
    check(unsafe {
        let patterns = [pattern.as_ptr()];
        cvx_cache_config_set_spatial_attention_block_identifiers(uneven.0, patterns.as_ptr(), 1)
    })
    .expect("identifiers");
    let others = [
        ("pab", "diffusers"),
        ("faster_cache", "diffusers"),
        ("taylor_seer", "lite"),
        ("tea_cache", "authors"),
        ("first_block_cache", "diffusers"),
        ("cfg_cache", "official"),
    ];
    let mut configs: Vec<_> =
        others.into_iter().map(|(name, of)| (name, preset(name, of))).collect();
    configs.push(("uneven", uneven));
    configs
}

/// Nanoseconds of processor time of this thread.
fn processor_time(work: impl FnOnce()) -> u64 {
    let now = || {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the place is valid for writing.
        unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    };
    let before = now();
    work();
    now() - before
}

/// Twice as many steps, or layers, take twice as long, not four times.
#[test]
fn a_preview_takes_time_by_its_size() {
    for (name, config) in configs_to_preview() {
        let least = |layers, steps| {
            let once = || {
                let stats = preview(&config, layers, steps, 1).expect(name);
                assert!(!stats.text().is_empty() && !stats.json().is_null());
            };
            (0..3).map(|_| processor_time(once)).min().expect("three")
        };
        for (what, small, large) in
            [("steps", (16, 8_000), (16, 32_000)), ("layers", (100, 1_000), (400, 1_000))]
        {
            let (a, b) = (least(small.0, small.1), least(large.0, large.1));
            assert!(b < 9 * a, "{name}: {a} ns, with four times the {what} {b} ns");
        }
    }
}

/// The largest that there is: 38 s it was, when each line of the table began at the first step.
#[test]
fn the_largest_preview_is_made_at_once() {
    for (name, config) in configs_to_preview() {
        if name != "uneven" {
            continue;
        }
        let mut stats = None;
        let made = processor_time(|| stats = Some(preview(&config, 1000, 100_000, 1).expect(name)));
        let stats = stats.expect("made");
        let written = processor_time(|| {
            // SAFETY: live statistics.
            let text = unsafe { CStr::from_ptr(cvx_cache_stats_text(stats.0)) };
            assert!(text.to_bytes().len() > 100_000_000);
        });
        println!("made in {} ms, written in {} ms", made / 1_000_000, written / 1_000_000);
        assert!(made + written < 20_000_000_000, "{made} ns and {written} ns");
    }
}

#[test]
fn previews_of_a_pipeline_are_its_runs() {
    let pipeline = Pipeline::load(&folder("1.5-5b"));
    let options = Options::new(20);
    for config in [pab(), faster_cache(), preset("faster_cache", "official")] {
        let mut stats = null_mut();
        // SAFETY: live handles.
        check(unsafe { cvx_pipeline_preview_cache(pipeline.0, config.0, options.0, &mut stats) })
            .unwrap();
        let told = Stats(stats);
        pipeline.enable(&config).unwrap();
        drop(pipeline.run(&options).unwrap());
        let stats = pipeline.stats().unwrap();
        assert_eq!(told.computed(), stats.computed());
        assert_eq!(told.unconditional(), stats.unconditional());
        assert_eq!(told.units(), stats.units());
        // SAFETY: live statistics.
        unsafe {
            let peak = cvx_cache_stats_bytes_peak(stats.0);
            assert_eq!(cvx_cache_stats_bytes_peak(told.0), peak);
            assert!(peak > 0);
            assert_eq!(cvx_cache_stats_bytes_now(stats.0), 0);
            assert!(cvx_cache_stats_predicted_speed_up(stats.0) > 1.0);
            let mut measured = -1;
            let share = cvx_cache_stats_attention_share(stats.0, &mut measured);
            assert!(share > 0.0 && share < 1.0 && measured == 1, "{share} {measured}");
        }
    }
}

#[test]
fn a_budget_leaves_layers_out_and_says_which() {
    let pipeline = Pipeline::load(&folder("5b"));
    let options = Options::new(12);
    let config = pab();
    pipeline.enable(&config).unwrap();
    drop(pipeline.run(&options).unwrap());
    let peak = unsafe { cvx_cache_stats_bytes_peak(pipeline.stats().unwrap().0) };
    let layers = unsafe { cvx_pipeline_num_attention_layers(pipeline.0) };
    assert!(layers >= 2 && peak % layers as u64 == 0);
    check(unsafe { cvx_cache_config_set_max_cache_bytes(config.0, peak / layers as u64) }).unwrap();
    pipeline.enable(&config).unwrap();
    drop(pipeline.run(&options).unwrap());
    let stats = pipeline.stats().unwrap();
    let over = |layer| unsafe { cvx_cache_stats_layer_over_budget(stats.0, layer) };
    assert_eq!(over(0), 0);
    assert!((1..layers).all(|layer| over(layer) == 1));
    assert_eq!(unsafe { cvx_cache_stats_bytes_peak(stats.0) }, peak / layers as u64);
    assert!(stats.text().contains("over budget: "));
}

#[test]
fn identifiers_that_match_no_layer_are_named_at_enable() {
    let pipeline = Pipeline::load(&folder("2b"));
    let config = pab();
    let identifiers = [c"temporal".as_ptr()];
    // SAFETY: a live config.
    unsafe {
        check(cvx_cache_config_set_spatial_attention_block_identifiers(
            config.0,
            identifiers.as_ptr(),
            1,
        ))
        .unwrap();
    }
    let failure = pipeline.enable(&config).unwrap_err();
    assert_eq!(failure.code, CVX_ERROR_INVALID_ARGUMENT);
    assert!(failure.message.contains("temporal"), "{failure:?}");
    assert!(failure.message.contains("transformer_blocks.0.attn1"), "{failure:?}");
    // What was enabled before stays.
    drop(pipeline.run(&Options::new(2)).unwrap());
}

struct StopAt {
    step: u64,
}

unsafe extern "C" fn stop_at(info: *const cvx_progress_info, user_data: *mut c_void) -> i32 {
    // SAFETY: the library's info, and the test's own data.
    let (info, stop) = unsafe { (&*info, &*user_data.cast::<StopAt>()) };
    i32::from(info.stage == CVX_STAGE_DENOISE && info.done == stop.step)
}

/// Stopped after each step, the pipeline is what a fresh one is.
#[test]
fn a_run_that_was_stopped_leaves_nothing_behind() {
    let path = folder("2b");
    let pipeline = Pipeline::load(&path);
    let options = Options::new(8);
    for config in [pab(), preset("faster_cache", "diffusers-docs")] {
        let fresh = {
            let fresh = Pipeline::load(&path);
            fresh.enable(&config).unwrap();
            fresh.run(&options).unwrap()
        };
        pipeline.enable(&config).unwrap();
        for step in 1..8 {
            let stop = StopAt { step };
            let stopping = Options::new(8);
            // SAFETY: the data outlives the run.
            unsafe {
                check(cvx_generate_options_set_progress_callback(
                    stopping.0,
                    Some(stop_at),
                    std::ptr::from_ref(&stop).cast_mut().cast(),
                    None,
                ))
                .unwrap();
            }
            assert_eq!(pipeline.run(&stopping).unwrap_err().code, CVX_ERROR_CANCELLED);
            let stats = pipeline.stats().unwrap();
            // SAFETY: live statistics.
            unsafe {
                assert_eq!(cvx_cache_stats_num_steps(stats.0), step as i32);
                assert_eq!(cvx_cache_stats_total_steps(stats.0), 8);
                assert_eq!(cvx_cache_stats_bytes_now(stats.0), 0);
            }
            assert!(pipeline.run(&options).unwrap().equal(&fresh), "after {step} steps");
        }
        // Another size, guidance and batch in between.
        let other = Options::new(8);
        // SAFETY: live options.
        unsafe {
            check(cvx_generate_options_set_size(other.0, 32, 48)).unwrap();
            check(cvx_generate_options_set_guidance_scale(other.0, 1.0)).unwrap();
            check(cvx_generate_options_set_num_videos(other.0, 2)).unwrap();
        }
        let after = pipeline.run(&other).unwrap();
        let fresh_other = Pipeline::load(&path);
        fresh_other.enable(&config).unwrap();
        assert!(after.equal(&fresh_other.run(&other).unwrap()));
        assert!(pipeline.run(&options).unwrap().equal(&fresh));
    }
}

/// What a callback is to do, and what it saw.
struct Host {
    pipeline: *mut cvx_pipeline,
    token: *mut cvx_cancel_token,
    answer: f64,
    asked: AtomicU32,
    busy: AtomicI32,
}

unsafe extern "C" fn weight(info: *const cvx_layer_info, user_data: *mut c_void) -> f64 {
    // SAFETY: the library's info, and the test's own data.
    let (info, host) = unsafe { (&*info, &*user_data.cast::<Host>()) };
    assert_eq!(info.struct_size as usize, std::mem::size_of::<cvx_layer_info>());
    assert_eq!(info.num_steps, 12);
    assert_eq!(text_of(info.layer_name), format!("transformer_blocks.{}.attn1", info.layer));
    assert!(info.step > 0 && info.timestep < 681.0);
    if host.asked.fetch_add(1, Ordering::SeqCst) == 0 && !host.pipeline.is_null() {
        let options = Options::new(2);
        let config = pab();
        let mut video = null_mut();
        // SAFETY: live handles; the pipeline returns rather than racing.
        let codes = unsafe {
            [
                check(cvx_pipeline_generate(host.pipeline, options.0, &mut video)),
                check(cvx_pipeline_enable_cache(host.pipeline, config.0)),
                check(cvx_pipeline_disable_cache(host.pipeline)),
            ]
        };
        for result in codes {
            if result.is_err_and(|failure| failure.code == CVX_ERROR_BUSY) {
                host.busy.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
    // SAFETY: NULL or live.
    unsafe { cvx_cancel_token_cancel(host.token) };
    host.answer
}

fn with_weight(host: &Host) -> Config {
    let config = faster_cache();
    let data = std::ptr::from_ref(host).cast_mut().cast();
    // SAFETY: the host outlives every run of these tests.
    check(unsafe {
        cvx_cache_config_set_attention_weight_callback(config.0, Some(weight), data, None)
    })
    .unwrap();
    config
}

#[test]
fn a_callback_that_calls_back_into_its_pipeline_gets_busy() {
    let pipeline = Pipeline::load(&folder("5b"));
    let host = Host {
        pipeline: pipeline.0,
        token: null_mut(),
        answer: 0.5,
        asked: AtomicU32::new(0),
        busy: AtomicI32::new(0),
    };
    pipeline.enable(&with_weight(&host)).unwrap();
    let options = Options::new(12);
    let latents = pipeline.run(&options).unwrap();
    assert_eq!(host.busy.load(Ordering::SeqCst), 3);
    let stats = pipeline.stats().unwrap();
    let reused = unsafe { cvx_cache_stats_layer_count(stats.0, -1, CVX_LAYER_APPROXIMATED) };
    assert!(reused > 0);
    assert_eq!(host.asked.load(Ordering::SeqCst) as i32, reused, "once per layer");
    // 0.5 is what diffusers takes without a callback.
    pipeline.enable(&faster_cache()).unwrap();
    assert!(pipeline.run(&options).unwrap().equal(&latents));
}

#[test]
fn wild_answers_fail_and_a_callback_may_cancel() {
    let pipeline = Pipeline::load(&folder("2b"));
    let options = Options::new(12);
    // The last is finite, but not in float32.
    for answer in [f64::NAN, f64::INFINITY, -1e300] {
        let host = Host {
            pipeline: null_mut(),
            token: null_mut(),
            answer,
            asked: AtomicU32::new(0),
            busy: AtomicI32::new(0),
        };
        pipeline.enable(&with_weight(&host)).unwrap();
        let failure = pipeline.run(&options).unwrap_err();
        assert_eq!(failure.code, CVX_ERROR_CALLBACK_FAILED);
        assert!(failure.message.contains("attention_weight_callback"), "{failure:?}");
        assert!(failure.message.contains("layer 0 (transformer_blocks.0.attn1)"), "{failure:?}");
        assert!(failure.message.contains(&format!("{answer:?}")), "{failure:?}");
    }
    let token = cvx_cancel_token_new();
    let host = Host {
        pipeline: null_mut(),
        token,
        answer: f64::NAN,
        asked: AtomicU32::new(0),
        busy: AtomicI32::new(0),
    };
    pipeline.enable(&with_weight(&host)).unwrap();
    let cancelled = Options::new(12);
    // SAFETY: live options and token.
    check(unsafe { cvx_generate_options_set_cancel_token(cancelled.0, token) }).unwrap();
    assert_eq!(pipeline.run(&cancelled).unwrap_err().code, CVX_ERROR_CANCELLED);
    assert_eq!(host.asked.load(Ordering::SeqCst), 1);
    // SAFETY: made here, freed once; the options hold their own.
    unsafe { cvx_cancel_token_free(token) };
    // The pipeline is as usable as before.
    pipeline.enable(&faster_cache()).unwrap();
    drop(pipeline.run(&options).unwrap());
}

/// What step callbacks are to answer, and how often they were asked.
struct Steps {
    timestep: Option<f64>,
    asked: AtomicU32,
}

unsafe extern "C" fn own_timestep(info: *const cvx_step_info, user_data: *mut c_void) -> f64 {
    // SAFETY: the library's info, and the test's own data.
    let (info, steps) = unsafe { (&*info, &*user_data.cast::<Steps>()) };
    assert_eq!(info.struct_size as usize, std::mem::size_of::<cvx_step_info>());
    assert_eq!((info.num_steps, info.reserved), (12, 0));
    assert!((0..12).contains(&info.step));
    steps.asked.fetch_add(1, Ordering::SeqCst);
    steps.timestep.unwrap_or(info.timestep)
}

unsafe extern "C" fn gain(info: *const cvx_step_info, user_data: *mut c_void) -> f64 {
    // SAFETY: as above.
    let (info, steps) = unsafe { (&*info, &*user_data.cast::<Steps>()) };
    assert!(info.timestep < 641.0, "asked on rebuilt steps alone");
    steps.asked.fetch_add(1, Ordering::SeqCst);
    // The defaults of diffusers for low frequencies.
    if info.timestep > 99.0 && info.timestep < 901.0 {
        1.1
    } else {
        1.0
    }
}

#[test]
fn step_callbacks_are_asked_once_per_step() {
    let pipeline = Pipeline::load(&folder("2b"));
    let options = Options::new(12);
    pipeline.enable(&faster_cache()).unwrap();
    let defaults = pipeline.run(&options).unwrap();

    let config = faster_cache();
    let timestep = Steps { timestep: None, asked: AtomicU32::new(0) };
    let low = Steps { timestep: None, asked: AtomicU32::new(0) };
    let data = |steps: &Steps| std::ptr::from_ref(steps).cast_mut().cast::<c_void>();
    // SAFETY: a live config; the data outlives the runs.
    unsafe {
        check(cvx_cache_config_set_current_timestep_callback(
            config.0,
            Some(own_timestep),
            data(&timestep),
            None,
        ))
        .unwrap();
        check(cvx_cache_config_set_low_frequency_weight_callback(
            config.0,
            Some(gain),
            data(&low),
            None,
        ))
        .unwrap();
    }
    pipeline.enable(&config).unwrap();
    assert!(pipeline.run(&options).unwrap().equal(&defaults), "they answer the defaults");
    let rebuilt = pipeline.stats().unwrap().unconditional().matches('0').count();
    assert!(rebuilt > 0);
    assert_eq!(timestep.asked.load(Ordering::SeqCst), 12);
    assert_eq!(low.asked.load(Ordering::SeqCst) as usize, rebuilt);

    for answer in [-0.5, 1000.0, f64::NAN] {
        let wild = Steps { timestep: Some(answer), asked: AtomicU32::new(0) };
        let config = pab();
        // SAFETY: as above; the next `enable` takes it away before it goes.
        unsafe {
            check(cvx_cache_config_set_current_timestep_callback(
                config.0,
                Some(own_timestep),
                data(&wild),
                None,
            ))
            .unwrap();
        }
        pipeline.enable(&config).unwrap();
        let failure = pipeline.run(&options).unwrap_err();
        assert_eq!(failure.code, CVX_ERROR_CALLBACK_FAILED);
        assert!(failure.message.contains("current_timestep_callback"), "{failure:?}");
        assert!(failure.message.ends_with(&format!("found {answer}")), "{failure:?}");
        pipeline.disable().unwrap();
    }
}

/// diffusers raises here. In every family, with one video and with two.
#[test]
fn faster_cache_without_guidance_is_that_of_a_distilled_model() {
    for family in ["2b", "5b", "1.5-5b"] {
        let pipeline = Pipeline::load(&folder(family));
        for videos in [1, 2] {
            let options = Options::new(10);
            let distilled = faster_cache();
            // SAFETY: live handles.
            unsafe {
                check(cvx_generate_options_set_guidance_scale(options.0, 1.0)).unwrap();
                check(cvx_generate_options_set_num_videos(options.0, videos)).unwrap();
                check(cvx_cache_config_set_is_guidance_distilled(distilled.0, 1)).unwrap();
            }
            pipeline.enable(&faster_cache()).unwrap();
            let plain = pipeline.run(&options).unwrap();
            let stats = pipeline.stats().unwrap();
            assert!(stats.computed().iter().any(|step| step.contains('0')), "{family}");
            // SAFETY: live statistics.
            let half = unsafe { cvx_cache_stats_unconditional(stats.0, 9) };
            assert_eq!(half, CVX_UNCONDITIONAL_ABSENT);
            pipeline.enable(&distilled).unwrap();
            assert!(pipeline.run(&options).unwrap().equal(&plain), "{family}");
            pipeline.disable().unwrap();
            let uncached = pipeline.run(&options).unwrap();
            let moved = difference(&plain, &uncached);
            assert!(moved > 0.0 && moved.is_finite(), "{family}: {moved}");
        }
    }
}

fn from_json(json: &str) -> Result<Config, Failure> {
    let json = CString::new(json).expect("no NUL");
    let mut config = null_mut();
    // SAFETY: the text lives for the call.
    check(unsafe { cvx_cache_config_from_json(json.as_ptr(), &mut config) })?;
    Ok(Config(config))
}

fn to_json(config: &Config) -> Result<String, Failure> {
    let mut json = null();
    // SAFETY: the config is alive, and so is its text until the next call.
    unsafe {
        check(cvx_cache_config_to_json(config.0, &mut json))?;
        Ok(CStr::from_ptr(json).to_str().expect("UTF-8").to_string())
    }
}

fn set_field(config: &Config, field: &str, value: &str) -> Result<(), Failure> {
    let (field, value) = (CString::new(field).expect(field), CString::new(value).expect(value));
    // SAFETY: both texts live for the call.
    check(unsafe { cvx_cache_config_set_field(config.0, field.as_ptr(), value.as_ptr()) })
}

#[test]
fn a_config_goes_through_json_unchanged() {
    for (technique, presets) in
        [("pab", ["diffusers", "videosys"]), ("faster_cache", ["official", "aggressive"])]
    {
        for name in presets {
            let config = preset(technique, name);
            // SAFETY: the config is alive.
            check(unsafe { cvx_cache_config_set_max_cache_bytes(config.0, 1 << 40) }).expect("set");
            // SAFETY: as above.
            check(unsafe { cvx_cache_config_set_cache_dtype(config.0, c"fp8".as_ptr()) })
                .expect("set");
            // SAFETY: as above.
            check(unsafe { cvx_cache_config_set_cache_location(config.0, c"host".as_ptr()) })
                .expect("set");
            let json = to_json(&config).expect("written");
            let again = from_json(&json).expect("read");
            assert_eq!(to_json(&again).expect("written again"), json);
            let (a, b) = (preview(&config, 3, 50, 1), preview(&again, 3, 50, 1));
            assert_eq!(a.expect("previews").json(), b.expect("previews").json(), "{name}");
        }
    }
    for technique in cogvideox::cache::CacheConfig::techniques() {
        for name in cogvideox::cache::CacheConfig::presets(technique).expect("there") {
            let json = to_json(&preset(technique, name)).expect("written");
            let again =
                from_json(&json).unwrap_or_else(|error| panic!("{technique} {name}: {error:?}"));
            assert_eq!(to_json(&again).expect("written again"), json, "{technique} {name}");
        }
    }
    // What is left out has the preset's value.
    let short = from_json(r#"{"technique": "pab", "spatial_attention_block_skip_range": 3}"#);
    let json = to_json(&short.expect("read")).expect("written");
    assert!(json.contains("\"spatial_attention_block_skip_range\": 3"), "{json}");
    assert!(json.contains("transformer_blocks"), "{json}");
}

#[test]
fn fields_are_set_by_name() {
    let config = pab();
    set_field(&config, "spatial_attention_block_skip_range", "4").expect("set");
    set_field(&config, "spatial_attention_timestep_skip_range", "[50, 900]").expect("set");
    let stats = preview(&config, 2, 50, 1).expect("previews").json();
    assert_eq!(stats["settings"]["spatial_attention_block_skip_range"], 4);
    assert_eq!(stats["settings"]["spatial_attention_timestep_skip_range"][1], 900);
    // How outputs are kept, too.
    set_field(&config, "cache_dtype", "\"fp8\"").expect("set");
    set_field(&config, "cache_location", "\"host\"").expect("set");
    set_field(&config, "max_cache_bytes", "4096").expect("set");
    let json = to_json(&config).expect("written");
    for kept in ["\"fp8\"", "\"host\"", "\"max_cache_bytes\": 4096"] {
        assert!(json.contains(kept), "{json}");
    }

    let failure = |field, value| {
        let failure = set_field(&config, field, value).expect_err(field);
        assert_eq!(failure.code, CVX_ERROR_INVALID_ARGUMENT);
        failure.message
    };
    assert!(failure("no_such_field", "1").contains("no field no_such_field"));
    let message = failure("spatial_attention_block_skip_range", "[");
    assert!(message.contains("spatial_attention_block_skip_range"), "{message}");
    let message = failure("spatial_attention_block_skip_range", "0");
    assert!(message.contains("found 0"), "{message}");
    let message = failure("cache_location", "\"disk\"");
    assert!(message.contains("cache_location") && message.contains("disk"), "{message}");
    assert!(failure("cache_dtype", "8").contains("expected a string, found 8"));
    let message = failure("current_timestep_callback", "\"callback\"");
    assert!(message.contains("callback per step"), "{message}");
}

#[test]
fn json_that_is_no_config_is_named() {
    let message = |json: &str| {
        let failure = from_json(json).map(drop).expect_err(json);
        assert_eq!(failure.code, CVX_ERROR_INVALID_ARGUMENT);
        failure.message
    };
    assert!(message("[]").contains("JSON object"));
    assert!(message("{}").contains("technique"));
    assert!(message(r#"{"technique": "pap"}"#).contains("\"pap\""));
    assert!(message(r#"{"technique": "pab", "preset": 3}"#).contains("preset"));
    assert!(message(r#"{"technique": "pab", "alpha_low_frequency": 1}"#).contains("alpha_low"));
    assert!(message(r#"{"technique": "pab", "max_cache_bytes": 0}"#).contains("max_cache_bytes"));
    assert!(message(r#"{"technique": "pab", "cache_dtype": "f8"}"#).contains("f8"));
    assert!(message(r#"{"technique": "pab", "cache_location": "disk"}"#).contains("disk"));
    assert!(message(r#"{"technique": "pab", "cache_location": 3}"#).contains("cache_location"));
}

/// Each kind of cache, with settings that reuse something of a run of eight steps.
const KEPT_ELSEWHERE: [&str; 6] = [
    r#""technique": "pab", "spatial_attention_block_skip_range": 2"#,
    r#""technique": "faster_cache", "spatial_attention_block_skip_range": 2"#,
    r#""technique": "first_block_cache", "threshold": 100.0"#,
    r#""technique": "tea_cache", "rel_l1_thresh": 0.5"#,
    r#""technique": "mag_cache", "mag_ratios": [1.0]"#,
    r#""technique": "cfg_cache", "with": {"technique": "pab", "cache_location": "host"}"#,
];

#[test]
fn what_is_kept_in_host_memory_gives_the_same_video_and_is_counted() {
    let pipeline = Pipeline::load(&folder("5b"));
    let options = Options::new(8);
    let run = |fields: &str| {
        let config = from_json(&format!("{{{fields}}}")).expect(fields);
        pipeline.enable(&config).expect(fields);
        let latents = pipeline.run(&options).unwrap();
        let stats = pipeline.stats().unwrap();
        // SAFETY: live statistics.
        let bytes = unsafe {
            assert_eq!(cvx_cache_stats_host_bytes_now(stats.0), 0);
            [cvx_cache_stats_bytes_peak(stats.0), cvx_cache_stats_host_bytes_peak(stats.0)]
        };
        (latents, bytes, stats.text())
    };
    for fields in KEPT_ELSEWHERE {
        let (expected, [bytes, host], _) = run(fields);
        assert_eq!(host > 0, fields.contains("cfg_cache"), "{fields}");
        let (found, [all, host], text) = run(&format!(r#"{fields}, "cache_location": "host""#));
        assert!(found.equal(&expected), "{fields}");
        assert!(0 < host && host <= all && all >= bytes, "{fields}: {host} of {all}, {bytes}");
        assert!(text.contains("in host memory"), "{text}");

        let (scaled, [less, none], _) = run(&format!(r#"{fields}, "cache_dtype": "fp8""#));
        assert_eq!(none > 0, fields.contains("cfg_cache"), "{fields}");
        let square = |x: &Tensor| (x * x).sum(tch::Kind::Float).double_value(&[]);
        let off = square(&(&scaled - &expected)) / square(&expected);
        assert!(off > 0.0 && off < 0.01, "{fields}: {off}");
        if fields.contains("pab") || fields.contains("faster") {
            assert!(less < bytes / 2, "{fields}: {less} of {bytes}");
        }
        let both = format!(r#"{fields}, "cache_dtype": "fp8", "cache_location": "host""#);
        assert!(run(&both).0.equal(&scaled), "{fields}");
    }
    let message = |json: &str| {
        let config = from_json(json).expect(json);
        let failure = pipeline.enable(&config).map(drop).expect_err(json);
        assert_eq!(failure.code, CVX_ERROR_INVALID_ARGUMENT);
        failure.message
    };
    for asked in [r#""cache_dtype": "fp8""#, r#""cache_location": "host""#] {
        for (technique, name) in [("taylor_seer", "TaylorSeer"), ("cfg_cache", "CFG-Cache")] {
            let json = format!(r#"{{"technique": "{technique}", {asked}}}"#);
            let told = message(&json);
            let value = asked.rsplit(' ').next().unwrap();
            assert!(told.contains(name) && told.contains(value), "{told}");
        }
    }
}
