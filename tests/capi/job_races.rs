//! Many threads that submit, poll, wait for, cancel and free jobs of one pipeline at once.

use crate::job_support::*;
use crate::support::*;
use cogvideox::capi::*;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use std::thread;

const THREADS: u32 = 4;
const JOBS: u32 = 60;

/// What the library told and gave back of all jobs.
#[derive(Default)]
struct Count {
    succeeded: AtomicU32,
    cancelled: AtomicU32,
    other: AtomicU32,
    freed: AtomicU32,
}

unsafe extern "C" fn on_end(status: *const cvx_job_status, data: *mut c_void) {
    // SAFETY: `submit_counted` passes an `Arc<Count>` that lives until it is freed.
    let (status, count) = unsafe { (&*status, &*data.cast::<Count>()) };
    let place = match status.state {
        CVX_JOB_SUCCEEDED if status.fraction == 1.0 => &count.succeeded,
        CVX_JOB_CANCELLED if status.fraction < 1.0 => &count.cancelled,
        _ => &count.other,
    };
    place.fetch_add(1, Ordering::SeqCst);
}

unsafe extern "C" fn free_count(data: *mut c_void) {
    // SAFETY: the reference that `submit_counted` gave away.
    let count = unsafe { Arc::from_raw(data.cast::<Count>().cast_const()) };
    count.freed.fetch_add(1, Ordering::SeqCst);
}

fn submit_counted(pipeline: *mut cvx_pipeline, options: &Options, count: &Arc<Count>) -> Job {
    let data = Arc::into_raw(Arc::clone(count)).cast_mut().cast();
    let mut job = null_mut();
    // SAFETY: as a host calls it.
    ok(unsafe {
        cvx_pipeline_submit(pipeline, options.0, Some(on_end), data, Some(free_count), &mut job)
    });
    Job(job)
}

#[test]
fn every_job_ends_once_whatever_threads_do_with_it() {
    let pipeline = Pipeline::load("2b");
    let expected = latents(&generate(&pipeline, &Options::latents(2))).0;
    let count = Arc::<Count>::default();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (sent, count, expected) =
                (Sent::new(pipeline.0), Arc::clone(&count), expected.clone());
            thread::spawn(move || {
                let options = Options::latents(2);
                let mut kept = Vec::new();
                let mut videos = 0;
                for number in 0..JOBS {
                    let job = submit_counted(sent.get(), &options, &count);
                    match (number * 7 + thread) % 6 {
                        0 => drop(job),
                        1 => job.cancel(),
                        2 => {
                            job.wait(0.002);
                            drop(job);
                        }
                        3 => {
                            job.wait(0.001);
                            job.cancel();
                            assert!(matches!(
                                job.wait(LONG),
                                CVX_JOB_CANCELLED | CVX_JOB_SUCCEEDED
                            ));
                        }
                        4 => {
                            assert_eq!(latents(&job.video()).0, expected);
                            videos += 1;
                        }
                        _ => kept.push(job),
                    }
                }
                for job in kept {
                    let before = job.status();
                    assert!((0.0..=1.0).contains(&before.fraction));
                    assert_eq!(latents(&job.video()).0, expected);
                    videos += 1;
                }
                videos
            })
        })
        .collect();
    let videos: u32 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!(videos, THREADS * JOBS / 3);
    // The handle may go before the last is given back.
    drop(pipeline);
    let all = THREADS * JOBS;
    soon("everything is given back", || count.freed.load(Ordering::SeqCst) == all);
    let [succeeded, cancelled, other] =
        [&count.succeeded, &count.cancelled, &count.other].map(|n| n.load(Ordering::SeqCst));
    assert_eq!((succeeded + cancelled, other), (all, 0), "each was told of once");
    assert!(succeeded >= videos && cancelled > 0, "{succeeded} {cancelled}");
    assert_eq!(Arc::strong_count(&count), 1, "no user data is left, and none was freed twice");
}

/// A cancelled job has ended at once, also while the worker takes the turn for it.
#[test]
fn whoever_has_waited_for_a_cancelled_job_finds_the_pipeline_free() {
    let pipeline = Pipeline::load("2b");
    let options = Options::latents(1);
    for round in 0..1500 {
        let job = submit(&pipeline, &options);
        for _ in 0..round % 50 * 20 {
            std::hint::spin_loop();
        }
        job.cancel();
        job.wait(LONG);
        // SAFETY: as a host calls it.
        ok(unsafe { cvx_pipeline_disable_cache(pipeline.0) });
    }
}
