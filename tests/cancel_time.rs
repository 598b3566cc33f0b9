//! How soon a run ends once it is cancelled, at a size where a single call of libtorch would take
//! many seconds. In a program of its own, since time is measured.

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
#[path = "capi/support.rs"]
#[allow(dead_code, reason = "part of it is for the tests in tests/capi")]
mod support;

use cogvideox::capi::*;
use job_support::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::*;

/// Tests of a program run side by side; these must not.
static ALONE: Mutex<()> = Mutex::new(());

/// Promised are 250 ms (docs/reliability.md); this machine may be busy with other things.
const LONGEST: Duration = Duration::from_secs(2);

struct Token(*mut cvx_cancel_token);
// SAFETY: tokens may be cancelled from any thread.
unsafe impl Sync for Token {}

/// Runs `options` on a fresh pipeline, cancels `after` the stage `stage` has been reported last,
/// and returns how long the run took to return from then on.
fn time_to_return(options: &Options, stage: i32, after: Duration) -> Duration {
    let pipeline = Pipeline::load("2b");
    // SAFETY: as a host calls it.
    let token = Token(cvx_cancel_token_new());
    // SAFETY: as a host calls it.
    ok(unsafe { cvx_generate_options_set_cancel_token(options.0, token.0) });
    let reports = Arc::new(AtomicU64::new(0));
    let seen = reports.clone();
    on_progress(options, move |info| {
        seen.store(info.stage as u64 + 1, Ordering::Release);
        0
    });
    let mut video = std::ptr::null_mut();
    let elapsed = std::thread::scope(|scope| {
        let canceller = scope.spawn(|| {
            let token = &token;
            let begin = Instant::now();
            while reports.load(Ordering::Acquire) != stage as u64 + 1 {
                assert!(begin.elapsed() < Duration::from_secs(120), "the stage is not reached");
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(after);
            // SAFETY: a live token.
            unsafe { cvx_cancel_token_cancel(token.0) };
            Instant::now()
        });
        // SAFETY: as a host calls it.
        let error = unsafe { cvx_pipeline_generate(pipeline.0, options.0, &mut video) };
        let end = Instant::now();
        fails(CVX_ERROR_CANCELLED, &["token"], error);
        end.saturating_duration_since(canceller.join().unwrap())
    });
    // SAFETY: made above, freed once.
    unsafe { cvx_cancel_token_free(token.0) };
    elapsed
}

/// 53,248 tokens: each attention of the first layer alone takes some 20 s on one thread.
#[test]
fn attention_over_a_large_video_is_cancelled_at_once() {
    let _alone = ALONE.lock();
    tch::set_num_threads(1);
    let mut longest = Duration::ZERO;
    for after in [500, 1300, 2900] {
        let options = Options::latents(1);
        // SAFETY: as a host calls it.
        unsafe {
            ok(cvx_generate_options_set_size(options.0, 1024, 1024));
            ok(cvx_generate_options_set_num_frames(options.0, 49));
        }
        let elapsed = time_to_return(&options, CVX_STAGE_ENCODE, Duration::from_millis(after));
        println!("cancelled {after} ms into the first layer: returned after {elapsed:?}");
        longest = longest.max(elapsed);
    }
    assert!(longest < LONGEST, "{longest:?}");
}

/// 8,192 tokens: the positions alone make a table of 1 GB, and each attention takes part of a second.
#[test]
fn the_text_encoder_is_cancelled_at_once() {
    let _alone = ALONE.lock();
    tch::set_num_threads(1);
    let mut longest = Duration::ZERO;
    for after in [100, 400, 900] {
        let pipeline = Pipeline::load("2b");
        let options = Options::latents(1);
        let token = Token(cvx_cancel_token_new());
        // SAFETY: as a host calls it.
        unsafe {
            let length = CVX_MAX_SEQUENCE_LENGTH;
            ok(cvx_generate_options_set_max_sequence_length(options.0, length));
            ok(cvx_generate_options_set_cancel_token(options.0, token.0));
        }
        let elapsed = std::thread::scope(|scope| {
            let canceller = scope.spawn(|| {
                let token = &token;
                std::thread::sleep(Duration::from_millis(after));
                // SAFETY: a live token.
                unsafe { cvx_cancel_token_cancel(token.0) };
                Instant::now()
            });
            let mut video = std::ptr::null_mut();
            // SAFETY: as a host calls it.
            let error = unsafe { cvx_pipeline_generate(pipeline.0, options.0, &mut video) };
            let end = Instant::now();
            fails(CVX_ERROR_CANCELLED, &["token"], error);
            end.saturating_duration_since(canceller.join().unwrap())
        });
        // SAFETY: made above, freed once.
        unsafe { cvx_cancel_token_free(token.0) };
        println!("cancelled after {after} ms: returned after {elapsed:?}");
        longest = longest.max(elapsed);
    }
    assert!(longest < LONGEST, "{longest:?}");
}

/// Frames of 1024², whose largest layers have some 50 MB each.
#[test]
fn the_decoder_is_cancelled_at_once() {
    let _alone = ALONE.lock();
    tch::set_num_threads(1);
    let mut longest = Duration::ZERO;
    for after in [100, 600, 1500] {
        let options = Options::small(1);
        // SAFETY: as a host calls it.
        unsafe {
            ok(cvx_generate_options_set_size(options.0, 1024, 1024));
            ok(cvx_generate_options_set_num_frames(options.0, 9));
            ok(cvx_generate_options_set_guidance_scale(options.0, 1.0));
        }
        let elapsed = time_to_return(&options, CVX_STAGE_DENOISE, Duration::from_millis(after));
        println!("cancelled {after} ms into decoding: returned after {elapsed:?}");
        longest = longest.max(elapsed);
    }
    assert!(longest < LONGEST, "{longest:?}");
}
