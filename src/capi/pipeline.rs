//! `cvx_pipeline`: load, clone, free.

use super::convert::{text, Out};
use super::error::{cvx_error, Result};
use super::handle::{borrow, free, optional};
use super::load_options::{self, cvx_load_options};
use super::panic::{contained, fallible, infallible};
use super::pipeline_info::Facts;
use super::pipeline_lora::Names;
use crate::jobs::Queue;
use crate::pipeline::Pipeline;
use std::ffi::c_char;
use std::path::Path;
use std::sync::Arc;

/// A loaded pipeline: tokenizer, text encoder, transformer, VAE decoder, scheduler settings.
/// Made by cvx_pipeline_load or cvx_pipeline_clone, freed by cvx_pipeline_free.
///
/// Threads: it may be used from any thread, and belongs to none. What it was loaded as may be
/// asked at any time, also while it generates. It does one piece of work at a time: a second
/// caller, or a callback that calls back into its own pipeline, is answered with
/// CVX_ERROR_BUSY and may use a clone.
///
/// Since 0.1.
pub struct cvx_pipeline {
    /// Counted, so that a run under way outlives the handle it was started through.
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) facts: Arc<Facts>,
    /// Jobs that were submitted go on without it.
    pub(super) queue: Queue,
    /// Names of adapters that the host was given.
    pub(super) adapter_names: Names,
}

impl cvx_pipeline {
    fn new(pipeline: Pipeline, facts: Arc<Facts>) -> cvx_pipeline {
        let pipeline = Arc::new(pipeline);
        let queue = Queue::new(Arc::clone(&pipeline), contained);
        cvx_pipeline { pipeline, facts, queue, adapter_names: Names::default() }
    }
}

/// The pipeline behind a handle, counted: it lives until the call ends even if a callback
/// frees the handle.
///
/// # Safety
/// `handle` is NULL or a live pipeline.
pub(super) unsafe fn pipeline(handle: *const cvx_pipeline) -> Result<Arc<Pipeline>> {
    // SAFETY: the caller's.
    Ok(Arc::clone(&unsafe { borrow(handle, "pipeline")? }.pipeline))
}

/// Loads a pipeline folder as diffusers saves it (model_index.json, transformer/, vae/,
/// text_encoder/, tokenizer/, scheduler/; safetensors in one file or in shards, f32, f16 or
/// bf16). What it is follows from its configs, never from its name. options_or_null: NULL for
/// every default. On success *out_pipeline is a new pipeline, owned by the caller, freed with
/// cvx_pipeline_free.
///
/// Errors: NOT_FOUND, INVALID_CHECKPOINT (file, tensor, expected, found), UNSUPPORTED_MODEL,
/// DEVICE_UNAVAILABLE, OUT_OF_MEMORY, IO, CANCELLED. Threads: any. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_load(
    folder: *const c_char,
    options_or_null: *const cvx_load_options,
    out_pipeline: *mut *mut cvx_pipeline,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (folder, options, out) = unsafe {
            (
                text(folder, "folder")?,
                optional(options_or_null, "options")?,
                Out::new(out_pipeline, "out_pipeline")?,
            )
        };
        let (options, control) = load_options::resolve(options);
        control.check()?;
        let pipeline = Pipeline::load(Path::new(folder), &options, &control)?;
        let facts = Arc::new(Facts::of(&pipeline)?);
        out.hand_over(cvx_pipeline::new(pipeline, facts));
        Ok(())
    })
}

/// Another pipeline over the same weights, with a cache and a run of its own: clones generate
/// at the same time, each on its thread. On success *out_pipeline is a new pipeline, owned by
/// the caller, freed with cvx_pipeline_free; the weights live until the last of them is freed.
/// The clone starts with no cache enabled, and with the LoRA adapters that the pipeline has now.
///
/// Errors: NULL_ARGUMENT, DEVICE_LOST. Threads: any, also while the pipeline generates. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_clone(
    pipeline: *const cvx_pipeline,
    out_pipeline: *mut *mut cvx_pipeline,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (from, out) =
            unsafe { (borrow(pipeline, "pipeline")?, Out::new(out_pipeline, "out_pipeline")?) };
        let facts = Arc::clone(&from.facts);
        out.hand_over(cvx_pipeline::new(from.pipeline.share()?, facts));
        Ok(())
    })
}

/// Frees a pipeline, without waiting. NULL is allowed and does nothing. Videos that it made are
/// not affected. Jobs that were submitted to it and have not ended go on, and the weights go with
/// the last of them; cvx_job_cancel or cvx_job_free stops them.
///
/// Threads: any, also in callbacks; once. Freeing a pipeline that another thread is using is a
/// mistake of the host; a run that is under way then still ends in order, and the weights go
/// when it ends. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_free(pipeline: *mut cvx_pipeline) {
    infallible((), || {
        // SAFETY: NULL or a pipeline that was handed out here, not freed yet.
        unsafe { free(pipeline) }
    })
}
