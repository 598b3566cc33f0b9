//! Several threads at once: cancelling from another, being busy, clones, one video.

use crate::support::*;
use cogvideox::capi::*;
use std::ptr::{null, null_mut};
use std::sync::mpsc;
use std::thread;

/// A handle that another thread may use, as the header allows for it.
#[derive(Clone, Copy)]
struct Sent<T>(T);
// SAFETY: the tests only use what the header allows.
unsafe impl<T> Send for Sent<T> {}

impl<T: Copy> Sent<T> {
    fn get(&self) -> T {
        self.0
    }
}

#[test]
fn a_run_is_cancelled_from_another_thread_and_the_next_one_is_whole() {
    let pipeline = Pipeline::load("2b");
    let options = Options::latents(2);
    let expected = latents(&generate(&pipeline, &options)).0;

    let long = Options::latents(900);
    let (started, running) = mpsc::channel();
    let mut steps = 0;
    let mut on_progress = |info: &cvx_progress_info| {
        if info.stage == CVX_STAGE_DENOISE {
            steps = info.done;
            let _ = started.send(());
        }
        0
    };
    let mut closure = Closure(&mut on_progress);
    let data = closure.pointer();
    // SAFETY: as a host calls it; the closure outlives the run.
    unsafe {
        let token = cvx_cancel_token_new();
        ok(cvx_generate_options_set_progress_callback(long.0, Some(call_progress), data, None));
        ok(cvx_generate_options_set_cancel_token(long.0, token));
        let sent = Sent(token);
        let other = thread::spawn(move || {
            running.recv().unwrap();
            cvx_cancel_token_cancel(sent.get());
        });
        let mut video = untouched::<cvx_video>();
        let error = cvx_pipeline_generate(pipeline.0, long.0, &mut video);
        other.join().unwrap();
        fails(CVX_ERROR_CANCELLED, &["token"], error);
        assert_eq!(video, untouched());
        cvx_cancel_token_free(token);
    }
    assert!(steps < 900, "it ran to its end");
    assert_eq!(latents(&generate(&pipeline, &options)).0, expected);
}

#[test]
fn a_second_caller_is_told_that_the_pipeline_is_busy() {
    let pipeline = Pipeline::load("2b");
    let options = Options::latents(1);
    let (started, running) = mpsc::channel();
    let (finish, finished) = mpsc::channel::<()>();
    let mut first = true;
    let mut on_progress = |_: &cvx_progress_info| {
        if std::mem::replace(&mut first, false) {
            started.send(()).unwrap();
            finished.recv().unwrap();
        }
        0
    };
    let mut closure = Closure(&mut on_progress);
    let data = closure.pointer();
    // SAFETY: as a host calls it; the closure outlives the run.
    unsafe {
        ok(cvx_generate_options_set_progress_callback(options.0, Some(call_progress), data, None));
        let sent = Sent((pipeline.0, options.0));
        let other = thread::spawn(move || {
            let (pipeline, options) = sent.get();
            let mut video = null_mut();
            let result = code(cvx_pipeline_generate(pipeline, options, &mut video));
            cvx_video_free(video);
            result
        });
        running.recv().unwrap();
        let second = Options::latents(1);
        let mut video = untouched::<cvx_video>();
        let error = cvx_pipeline_generate(pipeline.0, second.0, &mut video);
        fails(CVX_ERROR_BUSY, &["generating already", "clone"], error);
        assert_eq!(video, untouched());
        finish.send(()).unwrap();
        assert_eq!(other.join().unwrap().0, CVX_OK);
        drop(generate(&pipeline, &second));
    }
}

#[test]
fn clones_generate_at_once_what_each_generates_alone() {
    let pipeline = Pipeline::load("5b");
    let expected: Vec<_> = (0..2)
        .map(|seed| {
            let options = Options::latents(3);
            // SAFETY: as a host calls it.
            ok(unsafe { cvx_generate_options_set_seed(options.0, seed) });
            latents(&generate(&pipeline, &options)).0
        })
        .collect();
    let threads: Vec<_> = (0..2)
        .map(|seed| {
            let mut clone = null_mut();
            // SAFETY: as a host calls it.
            ok(unsafe { cvx_pipeline_clone(pipeline.0, &mut clone) });
            let sent = Sent(clone);
            thread::spawn(move || {
                let clone = Pipeline(sent.get());
                let options = Options::latents(3);
                // SAFETY: as a host calls it.
                ok(unsafe { cvx_generate_options_set_seed(options.0, seed) });
                (0..3).map(|_| latents(&generate(&clone, &options)).0).collect::<Vec<_>>()
            })
        })
        .collect();
    // The weights outlive the handle they were loaded through.
    drop(pipeline);
    for (thread, expected) in threads.into_iter().zip(expected) {
        for found in thread.join().unwrap() {
            assert_eq!(found, expected);
        }
    }
}

#[test]
fn a_video_is_read_from_many_threads() {
    let pipeline = Pipeline::load("2b");
    let video = generate(&pipeline, &Options::small(1));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let sent = Sent(video.0);
            thread::spawn(move || {
                let video = sent.get();
                let (mut rgb, mut rgba, mut floats) = (null(), null(), null());
                // SAFETY: as a host calls it.
                unsafe {
                    ok(cvx_video_frames_rgb8(video, 0, &mut rgb, null_mut()));
                    ok(cvx_video_frames_rgba8(video, 0, &mut rgba, null_mut()));
                    ok(cvx_video_frames_f32(video, 0, &mut floats, null_mut()));
                }
                (rgb as usize, rgba as usize, floats as usize)
            })
        })
        .collect();
    let pointers: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(pointers.iter().all(|found| *found == pointers[0]), "{pointers:?}");
}

#[test]
fn errors_may_be_read_and_freed_on_another_thread() {
    // SAFETY: NULL is what is tested.
    let error = unsafe { cvx_load_options_set_device(null_mut(), c"cpu".as_ptr()) };
    let sent = Sent(error);
    thread::spawn(move || fails(CVX_ERROR_NULL_ARGUMENT, &["options"], sent.get())).join().unwrap();
}
