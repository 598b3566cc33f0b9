//! Progress and log callbacks, and what they are told.

use super::error::one_line;
use super::user_data::Callback;
use crate::runtime::control::{LogFn, ProgressFn};
use crate::runtime::{LogLevel, Progress, Stage, Stop};
use std::ffi::{c_char, c_void};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Reading weights; counted in bytes.
pub const CVX_STAGE_LOAD: i32 = 1;
/// Running the text encoder; counted in its layers.
pub const CVX_STAGE_ENCODE: i32 = 2;
/// Running the transformer; counted in denoising steps.
pub const CVX_STAGE_DENOISE: i32 = 3;
/// Running the VAE decoder; counted in chunks of latent frames, and in tiles where it tiles.
pub const CVX_STAGE_DECODE: i32 = 4;
/// Tuning a cache schedule; counted in runs, of which there may be fewer than foretold.
pub const CVX_STAGE_TUNE: i32 = 5;
/// Running the VAE encoder over the image or the video of a run; counted in chunks of frames, and in
/// tiles where it tiles.
pub const CVX_STAGE_ENCODE_IMAGE: i32 = 6;

/// Details for developers.
pub const CVX_LOG_DEBUG: i32 = 1;
/// What was chosen where the host left a choice.
pub const CVX_LOG_INFO: i32 = 2;
/// The work goes on, but not quite as asked: a prompt was truncated, a setting has no effect.
pub const CVX_LOG_WARNING: i32 = 3;
/// Something failed that no error object can tell.
pub const CVX_LOG_ERROR: i32 = 4;

/// How far a load or a generation is. Later versions may add fields at the end: read a field
/// only if struct_size reaches beyond it.
///
/// Since 0.1.
#[repr(C)]
pub struct cvx_progress_info {
    /// Bytes of this struct in the library that calls.
    pub struct_size: u32,
    /// One of CVX_STAGE_*.
    pub stage: i32,
    /// Units of the stage that are finished: bytes, layers, steps or chunks, see CVX_STAGE_*.
    pub done: u64,
    /// Units of the stage in all.
    pub total: u64,
    /// The training timestep of the denoising step that has just finished, in
    /// [0, number of training timesteps); -1 outside denoising.
    pub timestep: f64,
}

/// A message for the host's log. Later versions may add fields at the end: read a field only
/// if struct_size reaches beyond it.
///
/// Since 0.1.
#[repr(C)]
pub struct cvx_log_info {
    /// Bytes of this struct in the library that calls.
    pub struct_size: u32,
    /// One of CVX_LOG_*.
    pub level: i32,
    /// One line of UTF-8, alive during the call only.
    pub message: *const c_char,
}

/// Told of progress; returns 0 to go on and anything else to stop, which ends the work with
/// CVX_ERROR_CANCELLED.
///
/// Called on the thread that called cvx_pipeline_load or cvx_pipeline_generate, or on the
/// pipeline's worker thread for a job, between pieces of work; the work waits for it. info lives during the call only. It must not throw
/// or longjmp. Calling back into the pipeline that is working is answered with
/// CVX_ERROR_BUSY; other objects may be used freely.
///
/// Since 0.1.
pub type cvx_progress_callback =
    Option<unsafe extern "C" fn(info: *const cvx_progress_info, user_data: *mut c_void) -> i32>;

/// Given a log message. Called on the thread that called the function which logs, or on the
/// pipeline's worker thread for a job; info lives during the call only. It must not throw or longjmp.
///
/// Since 0.1.
pub type cvx_log_callback =
    Option<unsafe extern "C" fn(info: *const cvx_log_info, user_data: *mut c_void)>;

pub(super) type ProgressCallback =
    Callback<unsafe extern "C" fn(info: *const cvx_progress_info, user_data: *mut c_void) -> i32>;
pub(super) type LogCallback =
    Callback<unsafe extern "C" fn(info: *const cvx_log_info, user_data: *mut c_void)>;

pub(super) fn stage_code(stage: Stage) -> i32 {
    match stage {
        Stage::Load => CVX_STAGE_LOAD,
        Stage::Encode => CVX_STAGE_ENCODE,
        Stage::Denoise => CVX_STAGE_DENOISE,
        Stage::Decode => CVX_STAGE_DECODE,
        Stage::Tune => CVX_STAGE_TUNE,
        Stage::EncodeImage => CVX_STAGE_ENCODE_IMAGE,
    }
}

/// The host's progress callback as the core calls it.
pub(super) fn progress_fn(callback: &Arc<ProgressCallback>) -> ProgressFn {
    let callback = Arc::clone(callback);
    Arc::new(move |progress: &Progress| {
        let info = cvx_progress_info {
            struct_size: std::mem::size_of::<cvx_progress_info>() as u32,
            stage: stage_code(progress.stage),
            done: progress.done,
            total: progress.total,
            timestep: progress.timestep.unwrap_or(-1.0),
        };
        // SAFETY: the host's function, called as the header says.
        answer_to(unsafe { callback.call(&info) })
    })
}

/// What a callback that may stop the work makes of it.
pub(super) fn answer_to(returned: crate::Result<i32>) -> ControlFlow<Stop> {
    match returned {
        Ok(0) => ControlFlow::Continue(()),
        Ok(_) => ControlFlow::Break(Stop::Asked),
        Err(error) => ControlFlow::Break(Stop::Failed(error)),
    }
}

/// The host's log callback as the core calls it.
pub(super) fn log_fn(callback: &Arc<LogCallback>) -> LogFn {
    let callback = Arc::clone(callback);
    Arc::new(move |level: LogLevel, message: &str| {
        let message = one_line(message);
        let info = cvx_log_info {
            struct_size: std::mem::size_of::<cvx_log_info>() as u32,
            level: match level {
                LogLevel::Debug => CVX_LOG_DEBUG,
                LogLevel::Info => CVX_LOG_INFO,
                LogLevel::Warning => CVX_LOG_WARNING,
                LogLevel::Error => CVX_LOG_ERROR,
            },
            message: message.as_ptr(),
        };
        // SAFETY: the host's function, called as the header says; `message` outlives it.
        // A message that could not be told can't be told of either.
        let _ = unsafe { callback.call(&info) };
    })
}
