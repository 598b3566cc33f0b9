//! Tuning and calibration through the C functions: the schedule that comes out saves work, is as good as was asked
//! for, and goes through JSON; what can't be done is said.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

use cogvideox::capi::*;
use std::ffi::{c_void, CStr, CString};
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU64, Ordering};

const STEPS: i32 = 12;
const PROMPTS: [&CStr; 3] = [c"a panda plays a guitar", c"waves at night", c"a red kite"];

/// Error code and message, the error freed.
fn failure(error: *mut cvx_error) -> Option<(i32, String)> {
    if error.is_null() {
        return None;
    }
    // SAFETY: a live error, freed once.
    unsafe {
        let message = CStr::from_ptr(cvx_error_message(error)).to_str().expect("UTF-8").to_string();
        let code = cvx_error_code(error);
        cvx_error_free(error);
        Some((code, message))
    }
}

fn ok(error: *mut cvx_error) {
    assert_eq!(failure(error), None);
}

fn load() -> *mut cvx_pipeline {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pipelines/5b");
    let folder = CString::new(folder.to_str().expect("UTF-8")).expect("no NUL");
    let mut pipeline = null_mut();
    // SAFETY: the text and the place live for the call.
    ok(unsafe { cvx_pipeline_load(folder.as_ptr(), null(), &mut pipeline) });
    pipeline
}

fn options(prompt: &CStr, steps: i32, guidance_scale: f64) -> *mut cvx_generate_options {
    let options = cvx_generate_options_new();
    // SAFETY: the options are alive.
    unsafe {
        ok(cvx_generate_options_set_prompt(options, prompt.as_ptr()));
        ok(cvx_generate_options_set_num_inference_steps(options, steps));
        ok(cvx_generate_options_set_guidance_scale(options, guidance_scale));
        ok(cvx_generate_options_set_size(options, 96, 80));
        ok(cvx_generate_options_set_num_frames(options, 9));
        ok(cvx_generate_options_set_max_sequence_length(options, 16));
    }
    options
}

fn frames(pipeline: *mut cvx_pipeline, options: *const cvx_generate_options) -> Vec<u8> {
    let (mut video, mut data) = (null_mut(), null());
    // SAFETY: all handles are alive; the frames are read before their video is freed.
    unsafe {
        ok(cvx_pipeline_generate(pipeline, options, &mut video));
        ok(cvx_video_frames_rgb8(video, 0, &mut data, null_mut()));
        let bytes = 9 * 96 * 80 * 3;
        let frames = std::slice::from_raw_parts(data, bytes).to_vec();
        cvx_video_free(video);
        frames
    }
}

fn psnr(a: &[u8], b: &[u8]) -> f64 {
    let square = |(x, y): (&u8, &u8)| (f64::from(*x) - f64::from(*y)).powi(2);
    let sum: f64 = a.iter().zip(b).map(square).sum();
    10.0 * (255.0 * 255.0 * a.len() as f64 / sum.max(1e-9)).log10()
}

unsafe extern "C" fn count_runs(info: *const cvx_progress_info, user_data: *mut c_void) -> i32 {
    // SAFETY: the library's info, and the counter that was given with the callback.
    let (info, last) = unsafe { (&*info, &*user_data.cast::<AtomicU64>()) };
    assert_eq!(info.stage, CVX_STAGE_TUNE, "nothing else is reported");
    assert!(info.done <= info.total && info.done >= last.load(Ordering::Relaxed));
    last.store(info.done, Ordering::Relaxed);
    0
}

#[test]
fn a_tuned_schedule_saves_work_and_is_as_good_as_was_asked_for() {
    let pipeline = load();
    let runs: Vec<_> = PROMPTS.iter().map(|prompt| options(prompt, STEPS, 6.0)).collect();
    let given: Vec<*const cvx_generate_options> = runs.iter().map(|run| run.cast_const()).collect();
    let dense: Vec<Vec<u8>> = given.iter().map(|run| frames(pipeline, *run)).collect();
    let done = Box::new(AtomicU64::new(0));
    let mut config = null_mut();
    // SAFETY: handles and counter are alive for the calls.
    unsafe {
        let counter: *const AtomicU64 = &*done;
        ok(cvx_generate_options_set_progress_callback(
            runs[0],
            Some(count_runs),
            counter.cast_mut().cast(),
            None,
        ));
        ok(cvx_pipeline_tune_cache(pipeline, given.as_ptr(), given.len(), 30.0, &mut config));
        ok(cvx_generate_options_set_progress_callback(runs[0], None, null_mut(), None));
    }
    assert!(done.load(Ordering::Relaxed) > 30, "{done:?}");

    // SAFETY: as above; texts are read before their owners go.
    let (json, steps) = unsafe {
        let mut json = null();
        ok(cvx_cache_config_to_json(config, &mut json));
        let json = CStr::from_ptr(json).to_owned();
        let mut again = null_mut();
        ok(cvx_cache_config_from_json(json.as_ptr(), &mut again));
        cvx_cache_config_free(config);
        ok(cvx_pipeline_enable_cache(pipeline, again));
        cvx_cache_config_free(again);
        let object: serde_json::Value =
            serde_json::from_slice(json.to_bytes()).expect("a JSON object");
        (object.clone(), object["steps"].as_array().expect("steps").len())
    };
    assert_eq!((json["technique"].as_str(), steps), (Some("schedule"), STEPS as usize));

    let mut all: Vec<f64> =
        given.iter().zip(&dense).map(|(run, dense)| psnr(&frames(pipeline, *run), dense)).collect();
    all.sort_by(f64::total_cmp);
    let expected = json["expected_psnr"].as_f64().expect("a number");
    assert!(all[1] >= 30.0, "{all:?}");
    assert!((all[1] - expected).abs() < 0.1, "found {all:?}, expected {expected}");
    // SAFETY: the pipeline is alive; everything is freed once.
    unsafe {
        let mut stats = null_mut();
        ok(cvx_pipeline_cache_stats(pipeline, &mut stats));
        let (rest, total) = (cvx_cache_stats_rest_units(stats), cvx_cache_stats_total_units(stats));
        assert!(rest < 0.8 * total, "{rest} of {total} units");
        assert_eq!(cvx_cache_stats_bytes_now(stats), 0);
        cvx_cache_stats_free(stats);
        runs.into_iter().for_each(|run| cvx_generate_options_free(run));
        cvx_pipeline_free(pipeline);
    }
}

#[test]
fn what_cannot_be_tuned_is_said_and_leaves_the_pipeline_as_it_was() {
    let pipeline = load();
    let run = options(PROMPTS[0], 6, 6.0);
    let (longer, unguided) = (options(PROMPTS[1], 7, 6.0), options(PROMPTS[1], 6, 1.0));
    let pab = cvx_pab_config_new();
    // SAFETY: every handle is alive until it is freed at the end.
    unsafe {
        ok(cvx_pipeline_enable_cache(pipeline, pab));
        let before = frames(pipeline, run);
        let tune = |runs: &[*const cvx_generate_options], min_psnr: f64| {
            let mut config = null_mut();
            let error =
                cvx_pipeline_tune_cache(pipeline, runs.as_ptr(), runs.len(), min_psnr, &mut config);
            assert!(config.is_null());
            failure(error).expect("an error")
        };
        let too_many = vec![run.cast_const(); CVX_MAX_TUNE_RUNS as usize + 1];
        for (runs, min_psnr, code, text) in [
            (&too_many[..0], 40.0, CVX_ERROR_INVALID_ARGUMENT, "count"),
            (
                &too_many,
                40.0,
                CVX_ERROR_INVALID_ARGUMENT,
                "count must lie in [1, 1000], found 1001",
            ),
            (&[run.cast_const()], 9.0, CVX_ERROR_INVALID_ARGUMENT, "min_psnr"),
            (&[run.cast_const()], f64::NAN, CVX_ERROR_INVALID_ARGUMENT, "min_psnr"),
            (&[null()], 40.0, CVX_ERROR_NULL_ARGUMENT, "runs[0]"),
            (
                &[run.cast_const(), longer.cast_const()],
                40.0,
                CVX_ERROR_INVALID_ARGUMENT,
                "num_inference_steps: expected 6 in all runs that are tuned on, found 7",
            ),
            (
                &[run.cast_const(), unguided.cast_const()],
                40.0,
                CVX_ERROR_INVALID_ARGUMENT,
                "guidance_scale",
            ),
        ] {
            let (found, message) = tune(runs, min_psnr);
            assert_eq!(found, code, "{message}");
            assert!(message.contains(text), "{message}");
        }
        let one = [run.cast_const()];
        let mut config = null_mut();
        let none = cvx_pipeline_tune_cache(null_mut(), one.as_ptr(), 1, 40.0, &mut config);
        assert_eq!(failure(none).map(|(code, _)| code), Some(CVX_ERROR_NULL_ARGUMENT));
        let none = cvx_pipeline_tune_cache(pipeline, one.as_ptr(), 1, 40.0, null_mut());
        assert_eq!(failure(none).map(|(code, _)| code), Some(CVX_ERROR_NULL_ARGUMENT));

        let token = cvx_cancel_token_new();
        cvx_cancel_token_cancel(token);
        ok(cvx_generate_options_set_cancel_token(run, token));
        assert_eq!(tune(&one, 40.0).0, CVX_ERROR_CANCELLED);
        ok(cvx_generate_options_set_cancel_token(run, null_mut()));
        cvx_cancel_token_free(token);

        // The cache that was enabled is enabled still.
        assert_eq!(frames(pipeline, run), before);
        let mut stats = null_mut();
        ok(cvx_pipeline_cache_stats(pipeline, &mut stats));
        let technique = CStr::from_ptr(cvx_cache_stats_technique(stats)).to_str();
        assert_eq!(technique, Ok("Pyramid Attention Broadcast"));
        cvx_cache_stats_free(stats);
        cvx_cache_config_free(pab);
        [run, longer, unguided].into_iter().for_each(|run| cvx_generate_options_free(run));
        cvx_pipeline_free(pipeline);
    }
}

/// The estimates of a config: seconds and PSNR, with the statistics' text.
fn estimate(
    pipeline: *mut cvx_pipeline,
    calibration: *const cvx_calibration,
    json: &str,
    run: *const cvx_generate_options,
) -> (f64, f64, serde_json::Value) {
    let json = CString::new(json).expect("no NUL");
    let (mut config, mut stats) = (null_mut(), null_mut());
    // SAFETY: handles and texts live for the calls; the text is read before its owner goes.
    unsafe {
        ok(cvx_cache_config_from_json(json.as_ptr(), &mut config));
        ok(cvx_pipeline_estimate_cache(pipeline, config, run, calibration, &mut stats));
        cvx_cache_config_free(config);
        let (seconds, psnr) =
            (cvx_cache_stats_estimated_seconds(stats), cvx_cache_stats_estimated_psnr(stats));
        let text = CStr::from_ptr(cvx_cache_stats_json(stats)).to_bytes();
        let text = serde_json::from_slice(text).expect("JSON");
        cvx_cache_stats_free(stats);
        (seconds, psnr, text)
    }
}

#[test]
fn a_calibration_estimates_any_config() {
    let pipeline = load();
    let runs: Vec<_> = PROMPTS.iter().map(|prompt| options(prompt, STEPS, 6.0)).collect();
    let given: Vec<*const cvx_generate_options> = runs.iter().map(|run| run.cast_const()).collect();
    let mut made = null_mut();
    // SAFETY: the handles are alive.
    ok(unsafe { cvx_pipeline_calibrate(pipeline, given.as_ptr(), given.len(), &mut made) });

    // Through JSON and back.
    let mut calibration = null_mut();
    // SAFETY: the text is read before its owner goes.
    unsafe {
        ok(cvx_calibration_from_json(cvx_calibration_json(made), &mut calibration));
        let numbers = |of: *const cvx_calibration| -> serde_json::Value {
            let text = CStr::from_ptr(cvx_calibration_json(of)).to_bytes();
            serde_json::from_slice(text).expect("JSON")
        };
        let (before, after) = (numbers(made), numbers(calibration));
        assert_eq!(before["layers"], after["layers"]);
        let (a, b) = (before["psnr_of_one"].as_f64(), after["psnr_of_one"].as_f64());
        assert!((a.expect("a number") - b.expect("a number")).abs() < 1e-9);
        cvx_calibration_free(made);
    }

    let dense: Vec<Vec<u8>> = given.iter().map(|run| frames(pipeline, *run)).collect();
    let measured = |json: &str| -> f64 {
        let json = CString::new(json).expect("no NUL");
        let mut config = null_mut();
        // SAFETY: handles and text live for the calls.
        unsafe {
            ok(cvx_cache_config_from_json(json.as_ptr(), &mut config));
            ok(cvx_pipeline_enable_cache(pipeline, config));
            cvx_cache_config_free(config);
        }
        let mut all: Vec<f64> = given
            .iter()
            .zip(&dense)
            .map(|(run, dense)| psnr(&frames(pipeline, *run), dense))
            .collect();
        all.sort_by(f64::total_cmp);
        all[1]
    };
    let mut before = f64::INFINITY;
    for json in [
        r#"{"technique": "taylor_seer", "cache_interval": 2, "taylor_factors_dtype": "f32"}"#,
        r#"{"technique": "taylor_seer", "cache_interval": 3, "taylor_factors_dtype": "f32"}"#,
    ] {
        let (seconds, expected, text) = estimate(pipeline, calibration, json, given[0]);
        let found = measured(json);
        assert!((expected - found).abs() < 8.0, "{json}: {found}, expected {expected}");
        // Read back from decimal digits, whose last one may be off.
        let told = text["estimate"]["psnr"].as_f64().expect("a number");
        assert!((told - expected).abs() < 1e-9, "{json}: {told}, expected {expected}");
        assert!(seconds > 0.0 && seconds < before, "{json}: {seconds}, before {before}");
        before = seconds;
    }
    for json in [
        r#"{"technique": "pab", "spatial_attention_timestep_skip_range": [-1, 1001]}"#,
        r#"{"technique": "faster_cache"}"#,
        r#"{"technique": "mag_cache", "mag_ratios": [1.0]}"#,
    ] {
        let (_, expected, _) = estimate(pipeline, calibration, json, given[0]);
        let found = measured(json);
        assert!((expected - found).abs() < 15.0, "{json}: {found}, expected {expected}");
    }
    // What nothing is left out of is equal, and what the run decides is not told.
    let all = r#"{"technique": "pab", "spatial_attention_block_skip_range": 1}"#;
    let (_, expected, text) = estimate(pipeline, calibration, all, given[0]);
    assert_eq!((expected, &text["estimate"]["psnr"]), (f64::INFINITY, &serde_json::Value::Null));
    let decides = r#"{"technique": "first_block_cache"}"#;
    assert_eq!(estimate(pipeline, calibration, decides, given[0]).1, 0.0);

    // A schedule from it, checked with other prompts.
    let other = options(c"a lighthouse in fog", STEPS, 6.0);
    let others = [other.cast_const(), given[1]];
    let mut config = null_mut();
    // SAFETY: the handles are alive.
    unsafe {
        let (runs, count) = (others.as_ptr(), others.len());
        ok(cvx_pipeline_tune_calibrated_cache(
            pipeline,
            calibration,
            runs,
            count,
            30.0,
            &mut config,
        ));
        ok(cvx_pipeline_enable_cache(pipeline, config));
        cvx_cache_config_free(config);
    }
    let cached: Vec<Vec<u8>> = others.iter().map(|run| frames(pipeline, *run)).collect();
    // SAFETY: the pipeline is alive.
    ok(unsafe { cvx_pipeline_disable_cache(pipeline) });
    let quality: Vec<f64> = others
        .iter()
        .zip(&cached)
        .map(|(run, cached)| psnr(&frames(pipeline, *run), cached))
        .collect();
    assert!((quality[0] + quality[1]) / 2.0 >= 30.0, "{quality:?}");

    // A calibration is for one number of steps and one guidance.
    let (longer, unguided) = (options(PROMPTS[1], 7, 6.0), options(PROMPTS[1], STEPS, 1.0));
    let mut stats = null_mut();
    // SAFETY: the handles are alive; everything is freed once.
    unsafe {
        let pab = cvx_pab_config_new();
        for (run, expected) in [(longer, "steps 7, found 12"), (unguided, "expected one of runs")] {
            let error = cvx_pipeline_estimate_cache(pipeline, pab, run, calibration, &mut stats);
            let (code, message) = failure(error).expect("refused");
            assert_eq!(code, CVX_ERROR_INVALID_ARGUMENT);
            assert!(message.contains(expected), "{message}");
        }
        let mut config = null_mut();
        let error = cvx_pipeline_tune_calibrated_cache(
            pipeline,
            calibration,
            [longer.cast_const()].as_ptr(),
            1,
            30.0,
            &mut config,
        );
        assert!(failure(error).expect("refused").1.contains("steps 7, found 12"));
        let mut none = null_mut();
        for (text, expected) in
            [(c"{}", "missing field"), (c"3", "expected what a calibration wrote")]
        {
            let error = cvx_calibration_from_json(text.as_ptr(), &mut none);
            let (code, message) = failure(error).expect("refused");
            assert_eq!(code, CVX_ERROR_INVALID_ARGUMENT);
            assert!(message.contains(expected), "{message}");
        }
        let error = cvx_pipeline_estimate_cache(pipeline, pab, null(), null(), &mut stats);
        assert_eq!(failure(error).map(|(code, _)| code), Some(CVX_ERROR_NULL_ARGUMENT));
        cvx_cache_config_free(pab);
        cvx_calibration_free(calibration);
        runs.into_iter()
            .chain([longer, unguided, other])
            .for_each(|run| cvx_generate_options_free(run));
        cvx_pipeline_free(pipeline);
    }
}
