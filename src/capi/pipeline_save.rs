//! `cvx_pipeline`: saving.

use super::convert::text;
use super::error::cvx_error;
use super::panic::fallible;
use super::pipeline::{cvx_pipeline, pipeline};
use crate::runtime::Control;
use std::ffi::c_char;
use std::path::Path;

/// Writes the pipeline's folder to `folder`, where nothing may be yet: configs, tokenizer, scheduler,
/// and the weights in one file for each component, with quantized matrices as the pipeline has them
/// (see cvx_load_options_set_component_quantization). cvx_pipeline_load finds out by itself that a
/// folder is quantized, makes the same videos of it, and has little to read; such folders are for
/// this library, docs/quantization.md has the layout. Everything else is copied from the folder that
/// the pipeline was loaded from, which must be as it was. The new folder is there whole or not at
/// all. Adapters are not saved.
///
/// Errors: INVALID_ARGUMENT if there is something at `folder`, or adapters are fused; NOT_FOUND if
/// the folder above it, or a file of the pipeline's own, is missing; INVALID_CHECKPOINT, IO. Threads:
/// any, also while the pipeline generates. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_save(
    pipeline: *const cvx_pipeline,
    folder: *const c_char,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (pipeline, folder) = unsafe { (self::pipeline(pipeline)?, text(folder, "folder")?) };
        Ok(pipeline.save(Path::new(folder), &Control::default())?)
    })
}
