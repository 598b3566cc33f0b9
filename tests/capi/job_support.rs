//! Jobs and closures as a C host has them.

use crate::support::*;
use cogvideox::capi::*;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::time::{Duration, Instant};

/// Longer than anything here takes, so that a test that would wait for ever fails instead.
pub const LONG: f64 = 120.0;

/// A handle that another thread may use, as the header allows for it.
#[derive(Clone, Copy)]
pub struct Sent<T>(T);
// SAFETY: the tests only use what the header allows.
unsafe impl<T> Send for Sent<T> {}

impl<T: Copy> Sent<T> {
    pub fn new(value: T) -> Sent<T> {
        Sent(value)
    }

    pub fn get(&self) -> T {
        self.0
    }
}

type Boxed<A, R> = Box<dyn FnMut(&A) -> R + Send>;

unsafe extern "C" fn call_boxed<A, R>(info: *const A, data: *mut c_void) -> R {
    // SAFETY: the tests pass a `Boxed` that its free function drops.
    unsafe { (*data.cast::<Boxed<A, R>>())(&*info) }
}

unsafe extern "C" fn free_boxed<A, R>(data: *mut c_void) {
    // SAFETY: made by `boxed`, freed once.
    drop(unsafe { Box::from_raw(data.cast::<Boxed<A, R>>()) });
}

fn boxed<A, R>(call: impl FnMut(&A) -> R + Send + 'static) -> *mut c_void {
    let call: Boxed<A, R> = Box::new(call);
    Box::into_raw(Box::new(call)).cast()
}

/// Follows the runs of these options. The closure must not panic.
pub fn on_progress(
    options: &Options,
    call: impl FnMut(&cvx_progress_info) -> i32 + Send + 'static,
) {
    let free = Some(free_boxed::<cvx_progress_info, i32> as unsafe extern "C" fn(*mut c_void));
    let data = boxed(call);
    // SAFETY: as a host calls it.
    ok(unsafe {
        cvx_generate_options_set_progress_callback(options.0, Some(call_boxed), data, free)
    });
}

/// Is given the frames of the runs of these options. The closure must not panic.
pub fn on_frames(
    options: &Options,
    pixels: i32,
    call: impl FnMut(&cvx_frames_info) -> i32 + Send + 'static,
) {
    let free = Some(free_boxed::<cvx_frames_info, i32> as unsafe extern "C" fn(*mut c_void));
    let data = boxed(call);
    // SAFETY: as a host calls it.
    ok(unsafe {
        cvx_generate_options_set_frames_callback(options.0, pixels, Some(call_boxed), data, free)
    });
}

/// A job handle that frees itself.
pub struct Job(pub *mut cvx_job);

// SAFETY: the header lets jobs be used from any thread.
unsafe impl Send for Job {}

impl Drop for Job {
    fn drop(&mut self) {
        // SAFETY: freed once, here.
        unsafe { cvx_job_free(self.0) }
    }
}

#[track_caller]
pub fn submit(pipeline: &Pipeline, options: &Options) -> Job {
    let mut job = null_mut();
    // SAFETY: as a host calls it.
    ok(unsafe { cvx_pipeline_submit(pipeline.0, options.0, None, null_mut(), None, &mut job) });
    assert!(!job.is_null());
    Job(job)
}

/// Submits, and is told of the end. The closure must not panic.
#[track_caller]
pub fn submit_then(
    pipeline: &Pipeline,
    options: &Options,
    on_end: impl FnMut(&cvx_job_status) + Send + 'static,
) -> Job {
    let free = Some(free_boxed::<cvx_job_status, ()> as unsafe extern "C" fn(*mut c_void));
    let data = boxed(on_end);
    let mut job = null_mut();
    // SAFETY: as a host calls it.
    ok(unsafe {
        cvx_pipeline_submit(pipeline.0, options.0, Some(call_boxed), data, free, &mut job)
    });
    Job(job)
}

pub fn status_of(job: *const cvx_job) -> cvx_job_status {
    // SAFETY: a struct of numbers, as a host has it on its stack.
    let mut status: cvx_job_status = unsafe { std::mem::zeroed() };
    status.struct_size = size_of::<cvx_job_status>() as u32;
    // SAFETY: as a host calls it.
    let state = unsafe { cvx_job_poll(job, &mut status) };
    // Not asserted: this is called in callbacks, too.
    if state != status.state {
        status.state = -1;
    }
    status
}

impl Job {
    pub fn state(&self) -> i32 {
        // SAFETY: as a host calls it.
        unsafe { cvx_job_poll(self.0, null_mut()) }
    }

    pub fn status(&self) -> cvx_job_status {
        status_of(self.0)
    }

    #[track_caller]
    pub fn wait(&self, seconds: f64) -> i32 {
        let mut state = -1;
        // SAFETY: as a host calls it.
        ok(unsafe { cvx_job_wait(self.0, seconds, &mut state) });
        state
    }

    pub fn cancel(&self) {
        // SAFETY: as a host calls it.
        unsafe { cvx_job_cancel(self.0) }
    }

    /// The error of taking the video, and whether there is one.
    pub fn take(&self) -> (*mut cvx_error, Option<Video>) {
        let mut video = untouched();
        // SAFETY: as a host calls it.
        let error = unsafe { cvx_job_take_video(self.0, &mut video) };
        if error.is_null() {
            return (error, Some(Video(video)));
        }
        assert_eq!(video, untouched(), "a failed call wrote its out-parameter");
        (error, None)
    }

    /// The video, once it is there.
    #[track_caller]
    pub fn video(&self) -> Video {
        assert_eq!(self.wait(LONG), CVX_JOB_SUCCEEDED, "{}", code(self.take().0).1);
        let (error, video) = self.take();
        ok(error);
        video.unwrap()
    }
}

/// Holds the first run of some options at its first report.
pub struct Gate {
    entered: Receiver<()>,
    /// Dropping it opens the gate.
    _open: Sender<()>,
}

impl Gate {
    pub fn of(options: &Options) -> Gate {
        let (enter, entered) = channel();
        let (open, opened) = channel::<()>();
        let mut first = true;
        on_progress(options, move |_| {
            if std::mem::replace(&mut first, false) {
                let _ = enter.send(());
                let _ = opened.recv();
            }
            0
        });
        Gate { entered, _open: open }
    }

    /// Waits until the run is held.
    #[track_caller]
    pub fn entered(&self) {
        self.entered.recv_timeout(Duration::from_secs_f64(LONG)).unwrap();
    }
}

/// Waits until `done`, but not for ever.
#[track_caller]
pub fn soon(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed().as_secs_f64() < LONG, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A counter that outlives the worker of any test that fails.
pub fn freed() -> &'static Freed {
    Box::leak(Box::default())
}

/// RGB bytes of all videos.
pub fn rgb8(video: &Video) -> Vec<u8> {
    let mut all = Vec::new();
    // SAFETY: as a host calls it; frames live as long as the video.
    unsafe {
        let [count, frames, height, width] = [
            cvx_video_count(video.0),
            cvx_video_num_frames(video.0),
            cvx_video_height(video.0),
            cvx_video_width(video.0),
        ];
        for index in 0..count {
            let (mut data, mut stride) = (std::ptr::null(), 0);
            ok(cvx_video_frames_rgb8(video.0, index, &mut data, &mut stride));
            assert_eq!(stride, width as usize * 3);
            all.extend_from_slice(std::slice::from_raw_parts(
                data,
                (frames * height * width * 3) as usize,
            ));
        }
    }
    all
}
