//! `cvx_job`: what a host does with a run that goes on behind its back.

use super::callbacks::stage_code;
use super::convert::Out;
use super::error::{cvx_error, Failure};
use super::handle::{borrow, free, peek};
use super::panic::{fallible, infallible};
use super::video::cvx_video;
use crate::jobs::{Job, State, Status};
use std::ffi::c_void;
use std::sync::Arc;
use std::time::Duration;

/// No job: what cvx_job_poll returns for NULL.
pub const CVX_JOB_NONE: i32 = 0;
/// It waits for its turn.
pub const CVX_JOB_QUEUED: i32 = 1;
/// It runs.
pub const CVX_JOB_RUNNING: i32 = 2;
/// It has ended, and its video can be taken.
pub const CVX_JOB_SUCCEEDED: i32 = 3;
/// It has ended with an error.
pub const CVX_JOB_FAILED: i32 = 4;
/// It has ended because it was asked to stop, by cvx_job_cancel, a cancel token or a callback.
pub const CVX_JOB_CANCELLED: i32 = 5;

/// A run that was submitted to a pipeline's queue. Made by cvx_pipeline_submit, freed by
/// cvx_job_free. It does not depend on the pipeline's handle or the options.
///
/// Threads: everything but taking the video and freeing it may be done from many threads at
/// once. Since 0.1.
pub struct cvx_job {
    pub(super) job: Arc<Job>,
}

/// A job at one moment. Later versions may add fields at the end: read a field only if
/// struct_size reaches beyond it.
///
/// Since 0.1.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct cvx_job_status {
    /// Set it to the struct's size before cvx_job_poll, which writes no more than that and
    /// leaves here how many bytes it wrote. In a callback: bytes of the struct in the library.
    pub struct_size: u32,
    /// One of CVX_JOB_*. SUCCEEDED, FAILED and CANCELLED are final.
    pub state: i32,
    /// What the run last reported, see cvx_progress_info: one of CVX_STAGE_*, or 0 before the
    /// first report.
    pub stage: i32,
    /// Jobs of the same pipeline handle that run before it; 0 once it runs.
    pub jobs_ahead: i32,
    /// Units of the stage that are finished.
    pub done: u64,
    /// Units of the stage in all.
    pub total: u64,
    /// The timestep of the denoising step that has just finished; -1 outside denoising.
    pub timestep: f64,
    /// How much of the whole job is done, from 0 to 1. It never falls, and is 1 only if the
    /// job succeeded.
    pub fraction: f64,
    /// How long it has run, in seconds; 0 before, and still once it has ended.
    pub seconds: f64,
}

impl cvx_job_status {
    const SIZE: usize = size_of::<cvx_job_status>();

    pub(super) fn of(status: Option<&Status>) -> cvx_job_status {
        let progress = status.and_then(|status| status.progress);
        cvx_job_status {
            struct_size: Self::SIZE as u32,
            state: status.map_or(CVX_JOB_NONE, |status| code(status.state)),
            stage: progress.map_or(0, |progress| stage_code(progress.stage)),
            jobs_ahead: status
                .map_or(0, |status| i32::try_from(status.jobs_ahead).unwrap_or(i32::MAX)),
            done: progress.map_or(0, |progress| progress.done),
            total: progress.map_or(0, |progress| progress.total),
            timestep: progress.and_then(|progress| progress.timestep).unwrap_or(-1.0),
            fraction: status.map_or(0.0, |status| status.fraction),
            seconds: status.map_or(0.0, |status| status.time.as_secs_f64()),
        }
    }

    /// Writes as much as the host has room for.
    ///
    /// # Safety
    /// `place` points to a struct of which `struct_size` bytes may be written, and at least
    /// `struct_size` itself read.
    unsafe fn write_to(mut self, place: *mut cvx_job_status) {
        // SAFETY: the caller's. The host's struct may be shorter than ours, so there is no
        // reference to it.
        let room = unsafe { (&raw const (*place).struct_size).read() } as usize;
        let count = room.min(Self::SIZE);
        if count < size_of::<u32>() {
            return;
        }
        self.struct_size = count as u32;
        // SAFETY: `count` bytes of ours are read and, by the caller, may be written there.
        unsafe {
            std::ptr::copy_nonoverlapping(
                (&raw const self).cast::<u8>(),
                place.cast::<u8>(),
                count,
            );
        }
    }
}

fn code(state: State) -> i32 {
    match state {
        State::Queued => CVX_JOB_QUEUED,
        State::Running => CVX_JOB_RUNNING,
        State::Succeeded => CVX_JOB_SUCCEEDED,
        State::Failed => CVX_JOB_FAILED,
        State::Cancelled => CVX_JOB_CANCELLED,
    }
}

/// Told once that a job has ended, in whatever way, also if it was cancelled before it ran. The
/// state is final: cvx_job_poll and cvx_job_take_video answer at once, and the pipeline is free
/// for the next run, which may be started here.
///
/// Called on the pipeline's worker thread; the jobs behind it wait for it. If the job was
/// cancelled in the queue, it comes when the run under way has ended. status lives during the
/// call only. It must not throw or longjmp. The job and its pipeline may be freed in it.
///
/// Since 0.1.
pub type cvx_job_callback =
    Option<unsafe extern "C" fn(status: *const cvx_job_status, user_data: *mut c_void)>;

/// The job's state now, one of CVX_JOB_*; CVX_JOB_NONE for NULL. If out_status_or_null is not
/// NULL, everything about the job at that moment is written there, as far as its struct_size
/// reaches, which must be set before.
///
/// Never waits for the run. Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_job_poll(
    job: *const cvx_job,
    out_status_or_null: *mut cvx_job_status,
) -> i32 {
    infallible(CVX_JOB_NONE, || {
        // SAFETY: by the contract of the header.
        let job = unsafe { peek(job) }.map(|handle| &handle.job);
        if out_status_or_null.is_null() {
            return job.map_or(CVX_JOB_NONE, |job| code(job.state()));
        }
        let status = cvx_job_status::of(job.map(|job| job.status()).as_ref());
        let state = status.state;
        // SAFETY: not NULL; the rest by the contract of the header.
        unsafe { status.write_to(out_status_or_null) };
        state
    })
}

/// Waits until the job has ended or seconds are over, and writes its state then: QUEUED or
/// RUNNING if the time was over, which is no error. 0 seconds do not wait; a negative number
/// waits without end. out_state_or_null may be NULL. When it returns an ended state, the
/// callbacks of the job's options are not called any more; the job callback may be under way.
///
/// Errors: NULL_ARGUMENT; INVALID_ARGUMENT if seconds is not a number; BUSY where it would
/// wait for the thread it is called on, the pipeline's worker (in a callback of one of its
/// jobs). Threads: any. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_job_wait(
    job: *const cvx_job,
    seconds: f64,
    out_state_or_null: *mut i32,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header. Counted, so that a callback may free the job
        // meanwhile.
        let (job, out) =
            unsafe { (Arc::clone(&borrow(job, "job")?.job), Out::optional(out_state_or_null)) };
        if seconds.is_nan() {
            return Err(Failure::invalid("seconds must be a number, found NaN"));
        }
        // More than a Duration holds is without end, too.
        let most = Duration::try_from_secs_f64(seconds).ok();
        let state = job.wait(most)?;
        if let Some(out) = out {
            out.write(code(state));
        }
        Ok(())
    })
}

/// The video of a job that succeeded: on success *out_video is owned by the caller, freed with
/// cvx_video_free, and does not depend on the job. It can be taken once.
///
/// Errors: NULL_ARGUMENT; BUSY before the job has ended; INVALID_ARGUMENT if the video was
/// taken already; for a job that failed or was cancelled its own error, as often as asked.
/// Threads: any. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_job_take_video(
    job: *mut cvx_job,
    out_video: *mut *mut cvx_video,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (job, out) = unsafe { (borrow(job, "job")?, Out::new(out_video, "out_video")?) };
        out.hand_over(cvx_video::new(job.job.take_video()?)?);
        Ok(())
    })
}

/// Asks the job to stop. One that is queued ends at once, without having run; one that runs
/// ends within one layer of the text encoder or the transformer, or one chunk of the VAE
/// decoder. It is sticky, and does nothing for NULL and for a job that has ended.
///
/// Never waits for the run. Threads: any, also in callbacks; not from a signal handler (a
/// cancel token is). Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_job_cancel(job: *const cvx_job) {
    infallible((), || {
        // SAFETY: by the contract of the header.
        if let Some(job) = unsafe { peek(job) } {
            // Counted, as the run that ends may free the job in a callback meanwhile.
            Arc::clone(&job.job).cancel();
        }
    })
}

/// Frees a job at any time, in any state, without waiting. One that has not ended is cancelled;
/// until its user_data is freed, its callbacks may still be called. A video that was not taken
/// is freed too. NULL is allowed and does nothing.
///
/// Threads: any, also in callbacks; once, and not while another thread uses it. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_job_free(job: *mut cvx_job) {
    infallible((), || {
        // SAFETY: by the contract of the header.
        if let Some(handle) = unsafe { peek(job.cast_const()) } {
            handle.job.cancel();
        }
        // SAFETY: NULL or a job that was handed out here, not freed yet.
        unsafe { free(job) }
    })
}
