//! What a run is estimated to need against what it takes, and runs that can't fit. In a program of
//! its own, since memory is counted for the whole process.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

#[path = "capi/job_support.rs"]
#[allow(dead_code, reason = "part of it is for the tests in tests/capi")]
mod job_support;
#[path = "common/process_memory.rs"]
mod process_memory;
#[path = "capi/support.rs"]
#[allow(dead_code, reason = "part of it is for the tests in tests/capi")]
mod support;

use cogvideox::capi::*;
use job_support::*;
use process_memory::{settled, status};
use std::process::Command;
use std::ptr::{null, null_mut};
use std::sync::Mutex;
use support::*;

/// Tests of a program run side by side; these must not.
static ALONE: Mutex<()> = Mutex::new(());

fn sized(width: i32, height: i32, frames: i32) -> Options {
    let options = Options::small(1);
    // SAFETY: as a host calls it.
    unsafe {
        ok(cvx_generate_options_set_size(options.0, width, height));
        ok(cvx_generate_options_set_num_frames(options.0, frames));
    }
    options
}

fn estimate(pipeline: &Pipeline, options: *const cvx_generate_options) -> u64 {
    let mut bytes = 0;
    // SAFETY: as a host calls it.
    ok(unsafe { cvx_pipeline_estimate_memory(pipeline.0, options, &mut bytes) });
    bytes
}

/// The most memory beside what was in use that a run takes.
fn measured(pipeline: &Pipeline, options: &Options) -> u64 {
    drop(generate(pipeline, options));
    // Another prompt than the one whose embeddings are kept.
    // SAFETY: as a host calls it.
    ok(unsafe { cvx_generate_options_set_prompt(options.0, c"another prompt".as_ptr()) });
    let before = settled();
    drop(generate(pipeline, options));
    status("VmHWM") - before
}

#[test]
fn runs_take_about_what_is_estimated() {
    let _alone = ALONE.lock();
    tch::set_num_threads(1);
    let pipeline = Pipeline::load("2b");
    let latents = |options: Options| {
        // SAFETY: as a host calls it.
        ok(unsafe { cvx_generate_options_set_output(options.0, CVX_OUTPUT_LATENTS) });
        options
    };
    let tiled = sized(512, 512, 17);
    // SAFETY: as a host calls it.
    ok(unsafe { cvx_generate_options_set_vae_tiling(tiled.0, 1) });
    let four = sized(256, 256, 9);
    // SAFETY: as a host calls it.
    ok(unsafe { cvx_generate_options_set_num_videos(four.0, 4) });
    let long = Options::small(1);
    // SAFETY: as a host calls it.
    ok(unsafe { cvx_generate_options_set_max_sequence_length(long.0, 1500) });
    let from = |width: i32, height: i32, frames: i32| {
        let options = latents(sized(width, height, frames));
        let pixels = vec![90u8; (width * height * frames * 3) as usize];
        let (data, format) = (pixels.as_ptr().cast(), CVX_PIXELS_RGB8);
        let set = cvx_generate_options_set_video;
        // SAFETY: as a host calls it.
        ok(unsafe { set(options.0, data, width, height, frames, 0, 0, format) });
        // SAFETY: as a host calls it.
        ok(unsafe { cvx_generate_options_set_strength(options.0, 1.0) });
        options
    };
    let from_tiled = from(768, 768, 17);
    // SAFETY: as a host calls it.
    ok(unsafe { cvx_generate_options_set_vae_tiling(from_tiled.0, 1) });
    let mut wrong = Vec::new();
    // None is small: what malloc keeps of earlier runs, or takes more, is some 20 MB.
    for (name, options) in [
        ("from a video of 768², 17 frames, tiled", from_tiled),
        ("from a video of 256², 17 frames", from(256, 256, 17)),
        ("latents, 768², 49 frames", latents(sized(768, 768, 49))),
        ("512², 17 frames", sized(512, 512, 17)),
        ("256², 49 frames", sized(256, 256, 49)),
        ("512², 17 frames, tiled", tiled),
        ("four of 256², 9 frames", four),
        ("1500 tokens", long),
    ] {
        let (told, took) = (estimate(&pipeline, options.0), measured(&pipeline, &options));
        let factor = took as f64 / told as f64;
        println!("{name}: estimated {told}, took {took}, factor {factor:.2}");
        if !(0.5..=1.5).contains(&factor) {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_run_that_cannot_fit_is_refused_with_the_numbers_unless_the_host_wants_it() {
    let _alone = ALONE.lock();
    let pipeline = Pipeline::load("2b");
    let small = Options::latents(1);
    let expected = latents(&generate(&pipeline, &small)).0;
    let options = sized(CVX_MAX_SIDE, CVX_MAX_SIDE, CVX_MAX_FRAMES);
    let reports = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let seen = reports.clone();
    on_progress(&options, move |_| {
        seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        1
    });
    let needed = estimate(&pipeline, options.0).to_string();
    let mut video = untouched::<cvx_video>();
    // SAFETY: as a host calls it.
    let error = unsafe { cvx_pipeline_generate(pipeline.0, options.0, &mut video) };
    fails(CVX_ERROR_OUT_OF_MEMORY, &[&needed, "not begun", "left"], error);
    assert_eq!((video, reports.load(std::sync::atomic::Ordering::SeqCst)), (untouched(), 0));
    // SAFETY: as a host calls it.
    unsafe {
        ok(cvx_generate_options_set_memory_check(options.0, 0));
        let error = cvx_pipeline_generate(pipeline.0, options.0, &mut video);
        fails(CVX_ERROR_CANCELLED, &["progress callback"], error);
        fails(
            CVX_ERROR_INVALID_ARGUMENT,
            &["memory_check", "2"],
            cvx_generate_options_set_memory_check(options.0, 2),
        );
    }
    assert_eq!(reports.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert_eq!(latents(&generate(&pipeline, &small)).0, expected);
}

#[test]
fn an_estimate_grows_with_the_run_and_names_what_is_wrong() {
    let _alone = ALONE.lock();
    let pipeline = Pipeline::load("2b");
    assert!(estimate(&pipeline, null()) > 0);
    let of = |width, frames| estimate(&pipeline, sized(width, 512, frames).0);
    assert!(of(512, 9) < of(1024, 9) && of(512, 9) < of(512, 49));
    let options = sized(512, 512, 49);
    let plain = estimate(&pipeline, options.0);
    // SAFETY: as a host calls it.
    unsafe {
        let config = cvx_pab_config_new();
        ok(cvx_generate_options_set_num_inference_steps(options.0, 20));
        ok(cvx_generate_options_set_output(options.0, CVX_OUTPUT_LATENTS));
        let uncached = estimate(&pipeline, options.0);
        ok(cvx_pipeline_enable_cache(pipeline.0, config));
        assert!(estimate(&pipeline, options.0) > uncached);
        assert!(uncached <= plain);
        cvx_cache_config_free(config);
        let mut bytes = 7;
        ok(cvx_generate_options_set_size(options.0, 24, 24));
        let error = cvx_pipeline_estimate_memory(pipeline.0, options.0, &mut bytes);
        fails(CVX_ERROR_INVALID_ARGUMENT, &["width", "multiple of 16", "24"], error);
        assert_eq!(bytes, 7);
    }
}

/// What runs in a process of its own below.
#[test]
fn little_address_space_in_child() {
    if std::env::var_os("CVX_TEST_CHILD").is_none() {
        return;
    }
    let pipeline = Pipeline::load("2b");
    drop(generate(&pipeline, &Options::latents(1)));
    let options = sized(1024, 1024, 49);
    let needed = estimate(&pipeline, options.0);
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a struct of two numbers, read and written.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_AS, &mut limits), 0);
        limits.rlim_cur = (status("VmSize") + needed / 2).min(limits.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_AS, &limits), 0);
    }
    let mut video = null_mut();
    // SAFETY: as a host calls it.
    let error = unsafe { cvx_pipeline_generate(pipeline.0, options.0, &mut video) };
    fails(CVX_ERROR_OUT_OF_MEMORY, &[&needed.to_string(), "address space"], error);
    drop(generate(&pipeline, &Options::latents(1)));
    println!("the child has passed");
}

#[test]
fn the_limit_of_the_address_space_is_heeded() {
    let _alone = ALONE.lock();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "little_address_space_in_child", "--nocapture", "--test-threads=1"])
        .env("CVX_TEST_CHILD", "1")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && printed.contains("the child has passed"),
        "{printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// On the run's own thread, where a callback comes.
#[test]
fn a_pipeline_computes_with_its_own_number_of_threads() {
    let _alone = ALONE.lock();
    tch::set_num_threads(2);
    for (asked, expected) in [(1, 1), (3, 3), (0, 2)] {
        let mut pipeline = null_mut();
        // SAFETY: as a host calls it.
        unsafe {
            let load = cvx_load_options_new();
            ok(cvx_load_options_set_num_threads(load, asked));
            ok(cvx_pipeline_load(folder("2b").as_ptr(), load, &mut pipeline));
            let error = cvx_load_options_set_num_threads(load, 1025);
            fails(CVX_ERROR_INVALID_ARGUMENT, &["num_threads", "1025"], error);
            let error = cvx_load_options_set_num_threads(load, -1);
            fails(CVX_ERROR_INVALID_ARGUMENT, &["num_threads", "-1"], error);
            cvx_load_options_free(load);
        }
        let pipeline = Pipeline(pipeline);
        let seen = std::sync::Arc::new(Mutex::new(Vec::new()));
        let options = Options::small(1);
        let into = seen.clone();
        on_progress(&options, move |_| {
            into.lock().unwrap().push(tch::get_num_threads());
            0
        });
        drop(generate(&pipeline, &options));
        assert_eq!(tch::get_num_threads(), 2);
        drop(submit(&pipeline, &options).video());
        assert_eq!(tch::get_num_threads(), 2);
        let seen = seen.lock().unwrap();
        assert!(!seen.is_empty() && seen.iter().all(|&found| found == expected), "{seen:?}");
    }
    tch::set_num_threads(1);
}
