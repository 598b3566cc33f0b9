//! Which scheduler is used and how: the setters of `cvx_load_options` and `cvx_generate_options`,
//! which are the same.

use super::convert::{flag, optional_text, within};
use super::error::{cvx_error, Failure, Result};
use super::generate_options::cvx_generate_options;
use super::handle::borrow_mut;
use super::load_options::cvx_load_options;
use super::panic::fallible;
use crate::checkpoint::config::{SchedulerClass, SchedulerOverrides, TimestepSpacing};
use std::ffi::c_char;

/// The choice that a text names; `None` for NULL.
///
/// # Safety
/// `value` is NULL or points to a NUL-terminated string.
unsafe fn named<T: Copy>(
    parameter: &str,
    value: *const c_char,
    choices: &[(T, &str)],
) -> Result<Option<T>> {
    // SAFETY: the caller's.
    let Some(value) = (unsafe { optional_text(value, parameter)? }) else { return Ok(None) };
    match choices.iter().find(|(_, name)| *name == value) {
        Some((choice, _)) => Ok(Some(*choice)),
        None => {
            let names: Vec<String> = choices.iter().map(|(_, n)| format!("{n:?}")).collect();
            let names = names.join(" or ");
            Err(Failure::invalid(format!("{parameter} must be {names}, found {value:?}")))
        }
    }
}

const SCHEDULERS: &[(SchedulerClass, &str)] =
    &[(SchedulerClass::Ddim, "ddim"), (SchedulerClass::Dpm, "dpm")];

/// # Safety
/// As for [`named`].
unsafe fn set_class(overrides: &mut SchedulerOverrides, scheduler: *const c_char) -> Result<()> {
    // SAFETY: the caller's.
    overrides.class = unsafe { named("scheduler", scheduler, SCHEDULERS)? };
    Ok(())
}

/// # Safety
/// As for [`named`].
unsafe fn set_spacing(overrides: &mut SchedulerOverrides, spacing: *const c_char) -> Result<()> {
    // SAFETY: the caller's.
    overrides.timestep_spacing =
        unsafe { named("timestep_spacing", spacing, TimestepSpacing::ALL)? };
    Ok(())
}

fn set_scale(overrides: &mut SchedulerOverrides, scale: f64) -> Result<()> {
    overrides.snr_shift_scale = match scale {
        0.0 => None,
        scale => Some(within("snr_shift_scale", scale, 1e-6..=1e6)?),
    };
    Ok(())
}

fn set_rescale(overrides: &mut SchedulerOverrides, rescale: i32) -> Result<()> {
    overrides.rescale_betas_zero_snr = match rescale {
        -1 => None,
        0 | 1 => Some(flag("rescale_betas_zero_snr", rescale)?),
        other => {
            return Err(Failure::invalid(format!(
                "rescale_betas_zero_snr must be -1, 0 or 1, found {other}"
            )))
        }
    };
    Ok(())
}

/// Which scheduler the runs step with: "ddim" or "dpm", in place of the one that the folder's
/// model_index.json names; everything else stays as the folder says, as with diffusers'
/// from_config. Every published folder names DDIM; 5b and the 1.5 family are recommended with DPM
/// and the timestep spacing "trailing", which these folders have. Default: NULL, the folder's own.
/// A run may choose again: cvx_generate_options_set_scheduler.
///
/// Errors: INVALID_UTF8, INVALID_ARGUMENT for any other text. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_load_options_set_scheduler(
    options: *mut cvx_load_options,
    scheduler_or_null: *const c_char,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        unsafe {
            let options = borrow_mut(options, "options")?;
            set_class(&mut options.options.scheduler, scheduler_or_null)
        }
    })
}

/// Which of the training timesteps runs visit: "leading", "linspace" or "trailing", in place of
/// the folder's own (Lin et al., arXiv 2305.08891, table 2). Default: NULL, the folder's own.
///
/// Errors: INVALID_UTF8, INVALID_ARGUMENT for any other text. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_load_options_set_timestep_spacing(
    options: *mut cvx_load_options,
    timestep_spacing_or_null: *const c_char,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        unsafe {
            let options = borrow_mut(options, "options")?;
            set_spacing(&mut options.options.scheduler, timestep_spacing_or_null)
        }
    })
}

/// What the signal-to-noise ratio of the schedule is divided by, from 1e-6 to 1e6, in place of
/// the folder's own; the published folders have 3 (2b) and 1 (the others). Default: 0,
/// the folder's own.
///
/// Errors: INVALID_ARGUMENT. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_load_options_set_snr_shift_scale(
    options: *mut cvx_load_options,
    snr_shift_scale: f64,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let options = unsafe { borrow_mut(options, "options")? };
        set_scale(&mut options.options.scheduler, snr_shift_scale)
    })
}

/// Whether the schedule is rescaled so that nothing of the sample is left at the last training
/// timestep (Lin et al., arXiv 2305.08891, algorithm 1): 1 or 0, in place of
/// the folder's own. Default: -1, the folder's own.
///
/// Errors: INVALID_ARGUMENT unless it is -1, 0 or 1. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_load_options_set_rescale_betas_zero_snr(
    options: *mut cvx_load_options,
    rescale_betas_zero_snr: i32,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let options = unsafe { borrow_mut(options, "options")? };
        set_rescale(&mut options.options.scheduler, rescale_betas_zero_snr)
    })
}

/// Which scheduler the run steps with: "ddim" or "dpm", in place of what the pipeline was loaded
/// with; everything else stays as it was. Default: NULL, the pipeline's.
///
/// Errors: INVALID_UTF8, INVALID_ARGUMENT for any other text. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_scheduler(
    options: *mut cvx_generate_options,
    scheduler_or_null: *const c_char,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        unsafe {
            let options = borrow_mut(options, "options")?;
            set_class(&mut options.options.scheduler, scheduler_or_null)
        }
    })
}

/// Which of the training timesteps the run visits: "leading", "linspace" or "trailing", in place of
/// what the pipeline was loaded with (Lin et al., arXiv 2305.08891, table 2). Default: NULL, what the pipeline was loaded with.
///
/// Errors: INVALID_UTF8, INVALID_ARGUMENT for any other text. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_timestep_spacing(
    options: *mut cvx_generate_options,
    timestep_spacing_or_null: *const c_char,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        unsafe {
            let options = borrow_mut(options, "options")?;
            set_spacing(&mut options.options.scheduler, timestep_spacing_or_null)
        }
    })
}

/// What the signal-to-noise ratio of the schedule is divided by, from 1e-6 to 1e6, in place of
/// what the pipeline was loaded with; the published folders have 3 (2b) and 1 (the others). Default: 0,
/// what the pipeline was loaded with.
///
/// Errors: INVALID_ARGUMENT. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_snr_shift_scale(
    options: *mut cvx_generate_options,
    snr_shift_scale: f64,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let options = unsafe { borrow_mut(options, "options")? };
        set_scale(&mut options.options.scheduler, snr_shift_scale)
    })
}

/// Whether the schedule is rescaled so that nothing of the sample is left at the last training
/// timestep (Lin et al., arXiv 2305.08891, algorithm 1): 1 or 0, in place of
/// what the pipeline was loaded with. Default: -1, what the pipeline was loaded with.
///
/// Errors: INVALID_ARGUMENT unless it is -1, 0 or 1. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_rescale_betas_zero_snr(
    options: *mut cvx_generate_options,
    rescale_betas_zero_snr: i32,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let options = unsafe { borrow_mut(options, "options")? };
        set_rescale(&mut options.options.scheduler, rescale_betas_zero_snr)
    })
}
