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

/// Promised (docs/reliability.md), of the working thread's processor time: how long that takes by the
/// clock, other programs decide.
const LONGEST: Duration = Duration::from_millis(250);
/// By the clock, on a machine that may be busy with other things.
const LONGEST_BY_THE_CLOCK: Duration = Duration::from_secs(2);

/// What the threads that are measured have used of the processor.
#[derive(Clone, Copy)]
struct ProcessorClock(libc::clockid_t);

impl ProcessorClock {
    fn of_this_thread() -> ProcessorClock {
        let mut clock = 0;
        // SAFETY: this thread, and a place that is valid for writing.
        let failed = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut clock) };
        assert_eq!(failed, 0);
        ProcessorClock(clock)
    }

    fn now(self) -> Duration {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the place is valid for writing; the thread whose clock it is waits for this one.
        assert_eq!(unsafe { libc::clock_gettime(self.0, &mut time) }, 0);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}

/// A moment, by both.
#[derive(Clone, Copy)]
struct Moment(Instant, Duration);

impl Moment {
    fn of(clock: ProcessorClock) -> Moment {
        Moment(Instant::now(), clock.now())
    }
}

/// The longest of several returns, each told.
#[derive(Default)]
struct Longest(Duration, Duration);

impl Longest {
    fn add(&mut self, what: &str, cancelled: Moment, returned: Moment) {
        let clock = returned.0.saturating_duration_since(cancelled.0);
        let processor = returned.1.saturating_sub(cancelled.1);
        println!("cancelled {what}: returned after {clock:?}, {processor:?} of processor time");
        *self = Longest(self.0.max(clock), self.1.max(processor));
    }

    fn check(&self) {
        assert!(self.0 < LONGEST_BY_THE_CLOCK, "{:?}", self.0);
        assert!(self.1 < LONGEST, "{:?} of processor time", self.1);
    }
}

struct Token(*mut cvx_cancel_token);
// SAFETY: tokens may be cancelled from any thread.
unsafe impl Sync for Token {}

/// Runs `options` on a fresh pipeline, cancels `after` the stage `stage` has been reported last,
/// and returns when that was, and when the run returned.
fn time_to_return(options: &Options, stage: i32, after: Duration) -> (Moment, Moment) {
    let clock = ProcessorClock::of_this_thread();
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
    let moments = std::thread::scope(|scope| {
        let canceller = scope.spawn(|| {
            let token = &token;
            let begin = Instant::now();
            while reports.load(Ordering::Acquire) != stage as u64 + 1 {
                assert!(begin.elapsed() < Duration::from_secs(120), "the stage is not reached");
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(after);
            // Before: what the thread does from then on counts.
            let moment = Moment::of(clock);
            // SAFETY: a live token.
            unsafe { cvx_cancel_token_cancel(token.0) };
            moment
        });
        // SAFETY: as a host calls it.
        let error = unsafe { cvx_pipeline_generate(pipeline.0, options.0, &mut video) };
        let returned = Moment::of(clock);
        fails(CVX_ERROR_CANCELLED, &["token"], error);
        (canceller.join().unwrap(), returned)
    });
    // SAFETY: made above, freed once.
    unsafe { cvx_cancel_token_free(token.0) };
    moments
}

/// 53,248 tokens: each attention of the first layer alone takes some 20 s on one thread.
#[test]
fn attention_over_a_large_video_is_cancelled_at_once() {
    let _alone = ALONE.lock();
    tch::set_num_threads(1);
    let mut longest = Longest::default();
    for after in [500, 1300, 2900] {
        let options = Options::latents(1);
        // SAFETY: as a host calls it.
        unsafe {
            ok(cvx_generate_options_set_size(options.0, 1024, 1024));
            ok(cvx_generate_options_set_num_frames(options.0, 49));
        }
        let (cancelled, returned) =
            time_to_return(&options, CVX_STAGE_ENCODE, Duration::from_millis(after));
        longest.add(&format!("{after} ms into the first layer"), cancelled, returned);
    }
    longest.check();
}

/// 8,192 tokens: the positions alone make a table of 1 GB, and each attention takes part of a second.
#[test]
fn the_text_encoder_is_cancelled_at_once() {
    let _alone = ALONE.lock();
    tch::set_num_threads(1);
    let mut longest = Longest::default();
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
        let clock = ProcessorClock::of_this_thread();
        let (cancelled, returned) = std::thread::scope(|scope| {
            let canceller = scope.spawn(|| {
                let token = &token;
                std::thread::sleep(Duration::from_millis(after));
                let moment = Moment::of(clock);
                // SAFETY: a live token.
                unsafe { cvx_cancel_token_cancel(token.0) };
                moment
            });
            let mut video = std::ptr::null_mut();
            // SAFETY: as a host calls it.
            let error = unsafe { cvx_pipeline_generate(pipeline.0, options.0, &mut video) };
            let returned = Moment::of(clock);
            fails(CVX_ERROR_CANCELLED, &["token"], error);
            (canceller.join().unwrap(), returned)
        });
        // SAFETY: made above, freed once.
        unsafe { cvx_cancel_token_free(token.0) };
        longest.add(&format!("after {after} ms"), cancelled, returned);
    }
    longest.check();
}

/// Frames of 1024², whose largest layers have some 50 MB each.
#[test]
fn the_decoder_is_cancelled_at_once() {
    let _alone = ALONE.lock();
    tch::set_num_threads(1);
    let mut longest = Longest::default();
    for after in [50, 250, 450, 700, 1000, 1500] {
        let options = Options::small(1);
        // SAFETY: as a host calls it.
        unsafe {
            ok(cvx_generate_options_set_size(options.0, 1024, 1024));
            ok(cvx_generate_options_set_num_frames(options.0, 9));
            ok(cvx_generate_options_set_guidance_scale(options.0, 1.0));
        }
        let (cancelled, returned) =
            time_to_return(&options, CVX_STAGE_DENOISE, Duration::from_millis(after));
        longest.add(&format!("{after} ms into decoding"), cancelled, returned);
    }
    longest.check();
}
