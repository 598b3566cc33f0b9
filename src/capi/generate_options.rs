//! `cvx_generate_options`: the object and what a run takes from it. Its setters that need no
//! more than a number or a string are in `generate_settings.rs`.

use super::callbacks::{
    cvx_log_callback, cvx_progress_callback, log_fn, progress_fn, LogCallback, ProgressCallback,
};
use super::cancel_token::cvx_cancel_token;
use super::convert::{slice, within};
use super::error::{cvx_error, Failure, Result};
use super::handle::{self, borrow_mut, free, optional};
use super::panic::{fallible, infallible};
use super::user_data::{cvx_free_callback, Callback};
use crate::pipeline::GenerateOptions;
use crate::runtime::{CancelToken, Control};
use std::ffi::c_void;
use std::mem::replace;
use std::sync::Arc;
use tch::Tensor;

/// What a run is asked to do. Made by cvx_generate_options_new, freed by
/// cvx_generate_options_free. A run copies what it needs when it starts: the options may be
/// changed or freed while it is under way, and may serve many runs, also at once from several
/// threads as long as nobody changes them while a run starts.
///
/// Since 0.1.
#[derive(Default)]
pub struct cvx_generate_options {
    pub(super) options: GenerateOptions,
    cancel: Option<CancelToken>,
    progress: Option<Arc<ProgressCallback>>,
    log: Option<Arc<LogCallback>>,
}

impl cvx_generate_options {
    /// A copy that does not change under the run, whatever the host does with the handle.
    /// Latents are shared, not copied: setting others replaces the tensor.
    pub(super) fn snapshot(&self) -> (GenerateOptions, Control) {
        (self.options.clone(), self.control())
    }

    pub(super) fn control(&self) -> Control {
        Control {
            cancel: self.cancel.clone(),
            job_cancel: None,
            progress: self.progress.as_ref().map(progress_fn),
            log: self.log.as_ref().map(log_fn),
            ..Control::default()
        }
    }
}

/// Generate options with every default and an empty prompt. The caller owns them and frees
/// them with cvx_generate_options_free. Never NULL.
///
/// Since 0.1.
#[no_mangle]
pub extern "C" fn cvx_generate_options_new() -> *mut cvx_generate_options {
    infallible(std::ptr::null_mut(), || handle::new(Default::default()))
}

/// Frees generate options. Runs under way are not affected. NULL is allowed and does nothing.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_free(options: *mut cvx_generate_options) {
    infallible((), || {
        // SAFETY: NULL or options that `cvx_generate_options_new` handed out, not freed yet.
        unsafe { free(options) }
    })
}

/// Custom timesteps instead of the scheduler's own: count numbers, strictly descending, from
/// 0 to the number of training timesteps less 1. They win over num_inference_steps. A count
/// of 0 (default) goes back to the scheduler's. The array is copied.
///
/// Errors: INVALID_ARGUMENT naming the position at fault. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_timesteps(
    options: *mut cvx_generate_options,
    timesteps: *const i64,
    count: usize,
) -> *mut cvx_error {
    fallible(|| {
        within("count of timesteps", count, ..=100_000)?;
        // SAFETY: by the contract of the header.
        let (options, timesteps) =
            unsafe { (borrow_mut(options, "options")?, slice(timesteps, count, "timesteps")?) };
        let mut previous = i64::from(i32::MAX);
        for (position, &timestep) in timesteps.iter().enumerate() {
            if timestep < 0 || timestep >= previous {
                return Err(Failure::invalid(format!(
                    "timesteps[{position}] must lie in [0, {previous}), so that timesteps \
                     descend, found {timestep}"
                )));
            }
            previous = timestep;
        }
        options.options.timesteps =
            if timesteps.is_empty() { None } else { Some(timesteps.to_vec()) };
        Ok(())
    })
}

/// Latents to start from instead of noise of the seed: shape is (videos, latent frames,
/// channels, latent height, latent width), as cvx_pipeline_latent_shape tells it for the
/// run's size; data holds that many numbers, densely packed. NULL data (default) goes back to
/// noise. The data is copied.
///
/// Errors: INVALID_ARGUMENT if a side of shape is not positive or there are more than 2^31
/// numbers; a shape that does not fit the run is found by cvx_pipeline_generate. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_latents(
    options: *mut cvx_generate_options,
    data_or_null: *const f32,
    shape: *const i64,
    rank: usize,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let options = unsafe { borrow_mut(options, "options")? };
        options.options.latents = if data_or_null.is_null() {
            None
        } else {
            // SAFETY: by the contract of the header.
            Some(unsafe { latents_tensor(data_or_null, shape, rank)? }.into())
        };
        Ok(())
    })
}

/// A tensor of its own memory from the host's latents.
///
/// # Safety
/// `shape` is NULL or holds `rank` numbers, `data` is NULL or holds as many as their product.
pub(super) unsafe fn latents_tensor(
    data: *const f32,
    shape: *const i64,
    rank: usize,
) -> Result<Tensor> {
    const MOST: i64 = 1 << 31;
    within("rank of latents", rank, 5..=5)?;
    // SAFETY: the caller's.
    let shape = unsafe { slice(shape, rank, "shape")? };
    let mut count = 1i64;
    for (dimension, &side) in shape.iter().enumerate() {
        within(&format!("shape[{dimension}] of latents"), side, 1..=MOST)?;
        count = count.checked_mul(side).filter(|&count| count <= MOST).ok_or_else(|| {
            Failure::invalid(format!("latents may have {MOST} numbers at most, found {shape:?}"))
        })?;
    }
    // SAFETY: the caller's; `count` is positive.
    let data = unsafe { slice(data, count as usize, "data")? };
    Ok(Tensor::f_from_slice(data)?.f_view(shape)?)
}

/// Follows the run: called with CVX_STAGE_ENCODE, _DENOISE and _DECODE (and _LOAD where the
/// text encoder is loaded on demand, and _ENCODE_IMAGE before _DENOISE where there is an image or a
/// video). An answer other than 0 stops the run. NULL (default) follows nothing.
///
/// Takes over user_data in any case, see cvx_free_callback; a run under way keeps it until it
/// ends. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_progress_callback(
    options: *mut cvx_generate_options,
    callback: cvx_progress_callback,
    user_data: *mut c_void,
    free_user_data: cvx_free_callback,
) -> *mut cvx_error {
    fallible(|| {
        let callback = Callback::new(callback, user_data, free_user_data);
        // SAFETY: by the contract of the header.
        let before = replace(&mut unsafe { borrow_mut(options, "options")? }.progress, callback);
        // Its free function may set again: the new one is in its place by now.
        drop(before);
        Ok(())
    })
}

/// Receives the run's messages. NULL (default) leaves them to the log callback that the
/// pipeline was loaded with.
///
/// Takes over user_data in any case, see cvx_free_callback; a run under way keeps it until it
/// ends. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_log_callback(
    options: *mut cvx_generate_options,
    callback: cvx_log_callback,
    user_data: *mut c_void,
    free_user_data: cvx_free_callback,
) -> *mut cvx_error {
    fallible(|| {
        let callback = Callback::new(callback, user_data, free_user_data);
        // SAFETY: by the contract of the header.
        let before = replace(&mut unsafe { borrow_mut(options, "options")? }.log, callback);
        // Its free function may set again: the new one is in its place by now.
        drop(before);
        Ok(())
    })
}

/// Runs with these options end with CVX_ERROR_CANCELLED once the token is cancelled, also if
/// it was cancelled before. NULL (default) takes a token away again. The caller keeps owning
/// its token and may free it at any time.
///
/// Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_cancel_token(
    options: *mut cvx_generate_options,
    token_or_null: *const cvx_cancel_token,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (options, token) =
            unsafe { (borrow_mut(options, "options")?, optional(token_or_null, "token")?) };
        options.cancel = token.map(|token| token.token.clone());
        Ok(())
    })
}
