//! Runs that are queued instead of waited for.

use super::convert::Out;
use super::error::cvx_error;
use super::generate_options::cvx_generate_options;
use super::handle::borrow;
use super::job::{cvx_job, cvx_job_callback, cvx_job_status};
use super::panic::fallible;
use super::pipeline::cvx_pipeline;
use super::user_data::{cvx_free_callback, Callback};
use crate::jobs::{OnEnd, Status, Work};
use std::ffi::c_void;

/// Queues what cvx_pipeline_generate would do, and returns at once. On success *out_job is a
/// new job, owned by the caller, freed with cvx_job_free; it is written before anything
/// happens to the job.
///
/// Each pipeline handle, clones too, has one worker thread, which is started by the first job
/// and runs its jobs one after another in the order in which they were submitted; it ends when
/// the handle is freed and the jobs are done. The options are copied now. Their callbacks are
/// called on the worker. Jobs keep what they need of the pipeline: its handle may be freed
/// while they wait or run. The cache is the one that is enabled when a job begins to run, the LoRA
/// adapters are those of now.
///
/// While a job runs, cvx_pipeline_generate and the like on the same handle are BUSY; a job
/// whose turn comes while the host generates waits for that. A cancel token of the options
/// stops the job, too; one that is queued then ends when its turn comes. cvx_pipeline_cache_stats
/// tells of jobs as of other runs.
///
/// callback_or_null is told when the job has ended; with NULL, user_data is not used. Takes
/// over user_data in any case, see cvx_free_callback.
///
/// When the process ends (exit, or a return from main), jobs and runs under way are cancelled and
/// waited for, 10 seconds at most, before statics that were made before the library first worked
/// are destroyed. No callback is called from then on; user_data is freed as ever.
///
/// Errors: NULL_ARGUMENT; INVALID_ARGUMENT for options that the pipeline cannot honour, as far
/// as cvx_pipeline_generate finds that before it computes; OUT_OF_MEMORY if the worker thread
/// cannot be started. What goes wrong later, the job tells. Threads: any, also in callbacks and
/// while the pipeline generates. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_submit(
    pipeline: *mut cvx_pipeline,
    options: *const cvx_generate_options,
    callback_or_null: cvx_job_callback,
    user_data: *mut c_void,
    free_user_data: cvx_free_callback,
    out_job: *mut *mut cvx_job,
) -> *mut cvx_error {
    fallible(|| {
        let callback = Callback::new(callback_or_null, user_data, free_user_data);
        // SAFETY: by the contract of the header.
        let (pipeline, (options, control), out) = unsafe {
            (
                borrow(pipeline.cast_const(), "pipeline")?,
                borrow(options, "options")?.snapshot(),
                Out::new(out_job, "out_job")?,
            )
        };
        pipeline.pipeline.check(&options)?;
        let on_end = callback.map(|callback| {
            let tell = move |status: &Status| {
                let status = cvx_job_status::of(Some(status));
                // SAFETY: the host's function, called as the header says.
                // The job has ended: there is nobody to tell of an exception.
                let _ = unsafe { callback.call(&status) };
            };
            Box::new(tell) as OnEnd
        });
        let work = Work { options, control, on_end };
        Ok(pipeline.queue.submit(work, |job| out.hand_over(cvx_job { job }))?)
    })
}
