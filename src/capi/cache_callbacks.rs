//! The callbacks of a cache config, what they are told, and their setters.

use super::cache_config::{cvx_cache_config, set};
use super::error::{cvx_error, one_line};
use super::panic::fallible;
use super::user_data::{cvx_free_callback, Callback};
use crate::cache::{LayerCallback, LayerInfo, Step, StepCallback, Value};
use std::ffi::{c_char, c_void};
use std::sync::Arc;

/// A denoising step. Later versions may add fields at the end: read a field only if
/// struct_size reaches beyond it.
///
/// Since 0.1.
#[repr(C)]
pub struct cvx_step_info {
    /// Bytes of this struct in the library that calls.
    pub struct_size: u32,
    /// The step, from 0.
    pub step: i32,
    /// How many steps the run has.
    pub num_steps: i32,
    /// Always 0.
    pub reserved: i32,
    /// The pipeline's own timestep of the step: what pipe.current_timestep is in diffusers.
    pub timestep: f64,
}

/// A layer in a denoising step. Later versions may add fields at the end: read a field only if
/// struct_size reaches beyond it.
///
/// Since 0.1.
#[repr(C)]
pub struct cvx_layer_info {
    /// Bytes of this struct in the library that calls.
    pub struct_size: u32,
    /// The step, from 0.
    pub step: i32,
    /// How many steps the run has.
    pub num_steps: i32,
    /// The attention layer, from 0.
    pub layer: i32,
    /// The pipeline's own timestep of the step: what pipe.current_timestep is in diffusers.
    pub timestep: f64,
    /// The layer's name in the checkpoint, such as "transformer_blocks.0.attn1", alive during
    /// the call only.
    pub layer_name: *const c_char,
}

/// Returns the current timestep, which decides whether a step lies in a window: what
/// `lambda: pipe.current_timestep` returns in Python, and what is used without a callback. It
/// must lie in [0, number of training timesteps).
///
/// Asked once per step on the thread that called cvx_pipeline_generate, or on the pipeline's
/// worker thread for a job; info lives during the call only. NaN, infinity or a number outside ends the run with CVX_ERROR_CALLBACK_FAILED.
/// It may cancel the run's token. It must not throw or longjmp. Calling back into the pipeline
/// that is working is answered with CVX_ERROR_BUSY. A config that is enabled for several
/// pipelines may be asked by several threads at once.
///
/// Since 0.1.
pub type cvx_timestep_callback =
    Option<unsafe extern "C" fn(info: *const cvx_step_info, user_data: *mut c_void) -> f64>;

/// Returns the weight of attention's extrapolation in one layer and step: the layer goes on
/// with newer + (newer - older) * weight. Any number that is
/// finite in float32.
///
/// Asked once per layer that is extrapolated; otherwise as for cvx_timestep_callback.
///
/// Since 0.1.
pub type cvx_attention_weight_callback =
    Option<unsafe extern "C" fn(info: *const cvx_layer_info, user_data: *mut c_void) -> f64>;

/// Returns what the low or the high frequencies of the unconditional half are multiplied by in
/// one step. Any number that is finite in float32. Answers multiply from one full step to the next.
///
/// Asked once per step whose unconditional half is rebuilt, after the model has run; otherwise
/// as for cvx_timestep_callback.
///
/// Since 0.1.
pub type cvx_frequency_weight_callback =
    Option<unsafe extern "C" fn(info: *const cvx_step_info, user_data: *mut c_void) -> f64>;

type StepFunction = unsafe extern "C" fn(info: *const cvx_step_info, user_data: *mut c_void) -> f64;
type LayerFunction =
    unsafe extern "C" fn(info: *const cvx_layer_info, user_data: *mut c_void) -> f64;

fn step_value(callback: Option<Arc<Callback<StepFunction>>>) -> Value {
    Value::StepCallback(callback.map(|callback| {
        StepCallback::fallible(move |step: &Step| {
            let info = cvx_step_info {
                struct_size: std::mem::size_of::<cvx_step_info>() as u32,
                step: number(step.index),
                num_steps: number(step.total),
                reserved: 0,
                timestep: step.timestep,
            };
            // SAFETY: the host's function, called as the header says.
            unsafe { callback.call(&info) }
        })
    }))
}

fn layer_value(callback: Option<Arc<Callback<LayerFunction>>>) -> Value {
    Value::LayerCallback(callback.map(|callback| {
        LayerCallback::fallible(move |layer: &LayerInfo<'_>| {
            let name = one_line(layer.name);
            let info = cvx_layer_info {
                struct_size: std::mem::size_of::<cvx_layer_info>() as u32,
                step: number(layer.step.index),
                num_steps: number(layer.step.total),
                layer: number(layer.layer),
                timestep: layer.step.timestep,
                layer_name: name.as_ptr(),
            };
            // SAFETY: the host's function, called as the header says; `name` outlives it.
            unsafe { callback.call(&info) }
        })
    }))
}

fn number(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// Asks the host for the current timestep instead of taking the pipeline's own. NULL (default)
/// takes the pipeline's own. With a callback the future of a run is not known, so outputs are
/// kept longer; see cvx_cache_stats_bytes_peak.
///
/// Takes over user_data in any case, see cvx_free_callback; the config, pipelines that it is
/// enabled for and runs under way keep it. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_set_current_timestep_callback(
    config: *mut cvx_cache_config,
    callback: cvx_timestep_callback,
    user_data: *mut c_void,
    free_user_data: cvx_free_callback,
) -> *mut cvx_error {
    fallible(|| {
        let value = step_value(Callback::new(callback, user_data, free_user_data));
        // SAFETY: by the contract of the header.
        unsafe { set(config, "current_timestep_callback", value) }
    })
}

/// Asks the host for the weight of attention's extrapolation. NULL (default) takes
/// attention_weight, 0.5 in diffusers. Field of faster_cache.
///
/// Takes over user_data in any case, see cvx_free_callback; the config, pipelines that it is
/// enabled for and runs under way keep it.
///
/// Errors: INVALID_ARGUMENT for a technique without the field. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_set_attention_weight_callback(
    config: *mut cvx_cache_config,
    callback: cvx_attention_weight_callback,
    user_data: *mut c_void,
    free_user_data: cvx_free_callback,
) -> *mut cvx_error {
    fallible(|| {
        let value = layer_value(Callback::new(callback, user_data, free_user_data));
        // SAFETY: by the contract of the header.
        unsafe { set(config, "attention_weight_callback", value) }
    })
}

/// Asks the host for the gain of low frequencies. NULL (default) takes alpha_low_frequency
/// inside its window and 1 outside. Field of faster_cache.
///
/// Takes over user_data in any case, see cvx_free_callback; the config, pipelines that it is
/// enabled for and runs under way keep it.
///
/// Errors: INVALID_ARGUMENT for a technique without the field. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_set_low_frequency_weight_callback(
    config: *mut cvx_cache_config,
    callback: cvx_frequency_weight_callback,
    user_data: *mut c_void,
    free_user_data: cvx_free_callback,
) -> *mut cvx_error {
    fallible(|| {
        let value = step_value(Callback::new(callback, user_data, free_user_data));
        // SAFETY: by the contract of the header.
        unsafe { set(config, "low_frequency_weight_callback", value) }
    })
}

/// Asks the host for the gain of high frequencies. NULL (default) takes alpha_high_frequency
/// inside its window and 1 outside. Field of faster_cache.
///
/// Takes over user_data in any case, see cvx_free_callback; the config, pipelines that it is
/// enabled for and runs under way keep it.
///
/// Errors: INVALID_ARGUMENT for a technique without the field. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_set_high_frequency_weight_callback(
    config: *mut cvx_cache_config,
    callback: cvx_frequency_weight_callback,
    user_data: *mut c_void,
    free_user_data: cvx_free_callback,
) -> *mut cvx_error {
    fallible(|| {
        let value = step_value(Callback::new(callback, user_data, free_user_data));
        // SAFETY: by the contract of the header.
        unsafe { set(config, "high_frequency_weight_callback", value) }
    })
}
