//! What the library leaves in the host's process: open files, threads, and what else a process has one
//! of. In a program of its own, since these are counted for the whole process.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
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
use job_support::{on_progress, submit, Job, LONG};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use support::*;

/// Tests of a program run side by side; these must not.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What this process has open, by what it is; not what reads it here.
fn files() -> BTreeSet<String> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let open = entries.filter_map(|entry| {
        let target = std::fs::read_link(entry.path()).ok()?;
        let name = entry.file_name().into_string().ok()?;
        Some(format!("{name} {}", target.display()))
    });
    open.filter(|file| !file.contains("/proc/")).collect()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// Lists of which the process has one.
fn process_wide() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap();
    let status = read("/proc/self/status");
    let signals = ["SigBlk:", "SigIgn:", "SigCgt:", "Umask:", "NoNewPrivs:", "Seccomp:"];
    let lines: Vec<&str> =
        status.lines().filter(|line| signals.iter().any(|name| line.starts_with(name))).collect();
    // SAFETY: asks for what is set now; the text is copied at once.
    let locale = unsafe { std::ffi::CStr::from_ptr(libc::setlocale(libc::LC_ALL, null())) };
    // SAFETY: a struct that may be written.
    let core = unsafe {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::getrlimit(libc::RLIMIT_CORE, &mut limit);
        limit.rlim_cur
    };
    let mut variables: Vec<_> = std::env::vars_os().collect();
    variables.sort();
    let folder = std::env::current_dir().unwrap();
    format!("{lines:?} {locale:?} {core} {folder:?} {variables:?}")
}

/// A folder of the tests' pipelines by a name of several scripts, with spaces, as long as names may be.
fn oddly_named(folder: &Path) -> CString {
    let name = format!("a modèle 模型 'of' 100% {}", "x".repeat(200));
    let path = folder.join(name);
    if !path.exists() {
        std::os::unix::fs::symlink(support::folder("2b").to_str().unwrap(), &path).unwrap();
    }
    c(path.to_str().unwrap())
}

/// Everything that leaves something behind if anything does: a load, runs with files, a job, and a load
/// that fails.
fn cycle(folder: &Path) {
    let mut loaded = null_mut();
    // SAFETY: as a host calls it.
    ok(unsafe { cvx_pipeline_load(oddly_named(folder).as_ptr(), null(), &mut loaded) });
    let pipeline = Pipeline(loaded);
    let video = generate(&pipeline, &Options::small(1));
    for name in ["a b.mp4", "視頻.gif", "ä.png"] {
        let path = c(folder.join(name).to_str().unwrap());
        // SAFETY: as a host calls it.
        ok(unsafe { cvx_video_save(video.0, 0, path.as_ptr(), 8.0) });
    }
    let job: Job = submit(&pipeline, &Options::small(1));
    assert_eq!(job.wait(LONG), CVX_JOB_SUCCEEDED);
    let mut none = untouched();
    let missing = c(folder.join("none").to_str().unwrap());
    // SAFETY: as a host calls it.
    let error = unsafe { cvx_pipeline_load(missing.as_ptr(), null(), &mut none) };
    assert_eq!(code(error).0, CVX_ERROR_NOT_FOUND);
}

#[test]
fn twenty_cycles_leave_no_file_and_no_thread_and_change_nothing_of_the_process() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let before = process_wide();
    cycle(folder.path());
    // What libtorch keeps from its first work on.
    let (files_once, threads_once) = (files(), threads());
    for _ in 0..20 {
        cycle(folder.path());
    }
    assert_eq!(files(), files_once);
    // A worker goes a moment after its last job.
    let until = Instant::now() + Duration::from_secs(10);
    while threads() > threads_once && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(threads() <= threads_once, "{} threads, {threads_once} after one cycle", threads());
    assert_eq!(process_wide(), before);
}

/// The stack that the header promises to be enough for a thread that calls.
const STACK: usize = 256 << 10;

#[test]
fn a_thread_with_a_small_stack_is_enough() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_path_buf();
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(move || cycle(&path));
    thread.unwrap().join().unwrap();
}

static TOKEN: AtomicPtr<cvx_cancel_token> = AtomicPtr::new(null_mut());

extern "C" fn interrupted(_signal: i32) {
    // SAFETY: a live token; it may be cancelled from here.
    unsafe { cvx_cancel_token_cancel(TOKEN.load(Ordering::SeqCst)) }
}

#[test]
fn a_signal_handler_may_cancel_and_the_next_run_is_whole() {
    let _alone = alone();
    let pipeline = Pipeline::load("2b");
    let options = Options::small(3);
    // SAFETY: as a host calls it; the handler is the default again before it returns.
    unsafe {
        let token = cvx_cancel_token_new();
        TOKEN.store(token, Ordering::SeqCst);
        ok(cvx_generate_options_set_cancel_token(options.0, token));
        libc::signal(libc::SIGUSR1, interrupted as *const () as usize);
        on_progress(&options, |info| {
            if info.stage == CVX_STAGE_DENOISE {
                libc::raise(libc::SIGUSR1);
            }
            0
        });
        let mut video = untouched();
        let error = cvx_pipeline_generate(pipeline.0, options.0, &mut video);
        libc::signal(libc::SIGUSR1, libc::SIG_DFL);
        assert_eq!(code(error).0, CVX_ERROR_CANCELLED);
        assert_eq!(video, untouched());
        cvx_cancel_token_free(token);
    }
    drop(generate(&pipeline, &Options::small(1)));
}
