//! What jobs cost the process: memory that stays the same, threads that end, and an error where
//! no thread is to be had. In a program of its own, since memory and threads are counted for the
//! whole process.

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
use job_support::*;
use std::process::Command;
use std::ptr::null_mut;
use std::sync::Mutex;
use support::*;

/// Tests of a program run side by side; these must not.
static ALONE: Mutex<()> = Mutex::new(());

/// Bytes in use by malloc, in all of its arenas and outside of them.
fn allocated() -> i64 {
    // SAFETY: mallinfo2 has no preconditions.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd) as i64
}

/// Threads of this process that run jobs.
fn workers() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.flatten().map(|task| std::fs::read_to_string(task.path().join("comm")));
    names.flatten().filter(|name| name.trim() == "cvx-jobs").count()
}

fn export_and_drop(video: &Video) {
    /// DLManagedTensor of dlpack.h, as far as its deleter.
    #[repr(C)]
    struct Managed {
        tensor: [u64; 6],
        context: *mut std::ffi::c_void,
        deleter: unsafe extern "C" fn(*mut Managed),
    }
    for pixels in [CVX_PIXELS_RGB8, CVX_PIXELS_RGBA8, CVX_PIXELS_F32] {
        let mut tensor = null_mut();
        // SAFETY: as a host calls it, and as DLPack lays it out.
        unsafe {
            ok(cvx_video_frames_dlpack(video.0, 0, pixels, &mut tensor));
            let tensor = tensor.cast::<Managed>();
            ((*tensor).deleter)(tensor);
        }
    }
}

/// Jobs that end in every way.
fn round(pipeline: &Pipeline, memory: &mut [u8]) {
    let options = Options::small(1);
    on_frames(&options, CVX_PIXELS_RGB8, |_| 0);
    let (data, size) = (memory.as_mut_ptr().cast(), memory.len());
    // SAFETY: the memory outlives the jobs.
    ok(unsafe {
        cvx_generate_options_set_frames_buffer(options.0, CVX_PIXELS_RGBA8, data, size, 0, 0)
    });
    let taken = submit_then(pipeline, &options, |_| ());
    let left = submit_then(pipeline, &options, |_| ());
    let cancelled = submit_then(pipeline, &options, |_| ());
    cancelled.cancel();
    let stopped = Options::small(1);
    on_progress(&stopped, |info| i32::from(info.stage == CVX_STAGE_DENOISE));
    let stopped = submit(pipeline, &stopped);
    export_and_drop(&taken.video());
    assert_eq!(left.wait(LONG), CVX_JOB_SUCCEEDED);
    assert_eq!(stopped.wait(LONG), CVX_JOB_CANCELLED);
    assert_eq!(cancelled.wait(0.0), CVX_JOB_CANCELLED);
}

#[test]
fn memory_is_stable_over_many_jobs() {
    let _alone = ALONE.lock();
    tch::set_num_threads(1);
    let pipeline = Pipeline::load("2b");
    let mut memory = vec![0u8; 9 * 32 * 32 * 4];
    for _ in 0..10 {
        round(&pipeline, &mut memory);
    }
    let before = allocated();
    for _ in 0..50 {
        round(&pipeline, &mut memory);
    }
    // A single video of these is 330 kB with its latents; 200 jobs ran.
    let grown = allocated() - before;
    assert!(grown < 200_000, "{grown} bytes are kept of 200 jobs");
}

#[test]
fn threads_end_with_their_pipelines() {
    let _alone = ALONE.lock();
    tch::set_num_threads(1);
    soon("the threads of other tests end", || workers() == 0);
    let cycle = || {
        let pipeline = Pipeline::load("2b");
        let mut clone = null_mut();
        // SAFETY: as a host calls it.
        ok(unsafe { cvx_pipeline_clone(pipeline.0, &mut clone) });
        let clone = Pipeline(clone);
        assert_eq!(workers(), 0, "before the first job");
        let jobs = [&pipeline, &clone, &pipeline].map(|p| submit(p, &Options::latents(1)));
        soon("a thread each", || workers() == 2);
        for job in &jobs {
            drop(job.video());
        }
        assert_eq!(workers(), 2, "they wait for more");
        drop(pipeline);
        soon("the thread ends", || workers() == 1);
        drop(submit(&clone, &Options::latents(1)).video());
        // The last job outlives its pipeline.
        let last = submit(&clone, &Options::latents(1));
        drop(clone);
        drop(last.video());
        soon("the last thread ends", || workers() == 0);
    };
    for _ in 0..5 {
        cycle();
    }
    let before = allocated();
    for _ in 0..30 {
        cycle();
    }
    let grown = allocated() - before;
    assert!(grown < 500_000, "{grown} bytes are kept of 30 pipelines and 60 threads");
}

/// What runs in a process of its own below.
#[test]
fn no_thread_in_child() {
    if std::env::var_os("CVX_TEST_CHILD").is_none() {
        return;
    }
    let pipeline = Pipeline::load("2b");
    let options = Options::latents(1);
    let expected = latents(&generate(&pipeline, &options)).0;
    let limit = |bytes: u64| {
        let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a struct of two numbers, read and written.
        unsafe {
            assert_eq!(libc::getrlimit(libc::RLIMIT_AS, &mut limits), 0);
            limits.rlim_cur = bytes.min(limits.rlim_max);
            assert_eq!(libc::setrlimit(libc::RLIMIT_AS, &limits), 0);
        }
    };
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split(' ').next().unwrap().parse().unwrap();
    let user_data = freed();
    unsafe extern "C" fn ignore_end(_: *const cvx_job_status, _: *mut std::ffi::c_void) {}
    let mut job = untouched();
    // Too little room for a thread's stack.
    limit(pages * 4096 + (3 << 20));
    for times in 1..=2 {
        // SAFETY: as a host calls it.
        let error = unsafe {
            let (end, data) = (Some(ignore_end as unsafe extern "C" fn(_, _)), user_data.pointer());
            cvx_pipeline_submit(pipeline.0, options.0, end, data, Some(count_free), &mut job)
        };
        fails(CVX_ERROR_OUT_OF_MEMORY, &["thread", "can't be started"], error);
        assert_eq!((job, user_data.times()), (untouched(), times));
    }
    assert_eq!(workers(), 0);
    limit(u64::MAX);
    // Nothing of it is left behind.
    assert_eq!(latents(&submit(&pipeline, &options).video()).0, expected);
    println!("the child has passed");
}

#[test]
fn a_thread_that_cannot_be_started_is_an_error() {
    let _alone = ALONE.lock();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "no_thread_in_child", "--nocapture", "--test-threads=1"])
        .env("CVX_TEST_CHILD", "1")
        .env("OMP_NUM_THREADS", "1")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}{errors}");
    assert!(printed.contains("the child has passed"), "{printed}");
}
