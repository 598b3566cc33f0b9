//! `cvx_calibration`: what a pipeline has shown of itself, for estimates before a run.

use super::cache_config::cvx_cache_config;
use super::cache_stats::cvx_cache_stats;
use super::convert::{text, within, Out};
use super::error::{cvx_error, Failure};
use super::generate_options::cvx_generate_options;
use super::handle::{borrow, free, optional, peek};
use super::panic::{fallible, infallible};
use super::pipeline::{cvx_pipeline, pipeline};
use super::pipeline_tune::{runs_to_tune, MIN_PSNR};
use crate::cache::tuning::Calibration;
use crate::pipeline::GenerateOptions;
use std::ffi::{c_char, CString};

/// How a pipeline's outputs change from step to step, what leaving something out does to its
/// videos, and how long its parts take: made once by cvx_pipeline_calibrate for a model, a
/// scheduler, a number of steps and a guidance, kept as JSON, and used by
/// cvx_pipeline_estimate_cache for any config. It does not change; it may be read by several
/// threads at once. Freed by cvx_calibration_free.
///
/// Since 0.1.
pub struct cvx_calibration {
    pub(super) calibration: Calibration,
    json: CString,
}

impl cvx_calibration {
    fn new(calibration: Calibration) -> super::error::Result<cvx_calibration> {
        let json = CString::new(calibration.to_json()?)
            .map_err(|_| Failure::internal("calibration: a NUL in its JSON"))?;
        Ok(cvx_calibration { calibration, json })
    }
}

/// Calibrates a pipeline with count runs (1 to CVX_MAX_TUNE_RUNS), each with a prompt and a seed of
/// its own, and all of one size, number of steps and guidance: those that estimates are wanted for.
/// Each is made once without a cache, 16 times with one step left out, and 8 times each with one
/// step's attention and one step's blocks left out: at most 33 x count runs. The progress callback of
/// the first options is called with CVX_STAGE_TUNE, and its cancel token stops all of it.
///
/// On success *out_calibration is owned by the caller, freed with cvx_calibration_free. The
/// pipeline's own cache stays as it was; its statistics are those of the last run that was made.
///
/// Errors: NULL_ARGUMENT; INVALID_ARGUMENT for a count out of range, and for runs of less than 2
/// or of different numbers of steps, or with and without guidance; BUSY, CANCELLED, and those of
/// cvx_pipeline_generate. Threads: as cvx_pipeline_generate. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_calibrate(
    pipeline: *mut cvx_pipeline,
    runs: *const *const cvx_generate_options,
    count: usize,
    out_calibration: *mut *mut cvx_calibration,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (pipeline, (options, control), out) = unsafe {
            (
                self::pipeline(pipeline)?,
                runs_to_tune(runs, count)?,
                Out::new(out_calibration, "out_calibration")?,
            )
        };
        let calibration = pipeline.begin()?.calibrate(&options, &control)?;
        out.hand_over(cvx_calibration::new(calibration)?);
        Ok(())
    })
}

/// A calibration from JSON that cvx_calibration_json wrote. On success *out_calibration is owned by
/// the caller, freed with cvx_calibration_free.
///
/// Errors: NULL_ARGUMENT, INVALID_ARGUMENT naming what is wrong with the text. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_calibration_from_json(
    json: *const c_char,
    out_calibration: *mut *mut cvx_calibration,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (json, out) =
            unsafe { (text(json, "json")?, Out::new(out_calibration, "out_calibration")?) };
        out.hand_over(cvx_calibration::new(Calibration::from_json(json)?)?);
        Ok(())
    })
}

/// The calibration as one line of JSON, about 200 KB for 50 steps: for a file that a host keeps or
/// ships beside its model. It belongs to the calibration. "" for NULL.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_calibration_json(
    calibration: *const cvx_calibration,
) -> *const c_char {
    infallible(c"".as_ptr(), || {
        // SAFETY: NULL or live; the text lives as long as the calibration.
        unsafe { peek(calibration) }.map_or(c"".as_ptr(), |read| read.json.as_ptr())
    })
}

/// Frees a calibration and its text. NULL is allowed and does nothing.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_calibration_free(calibration: *mut cvx_calibration) {
    infallible((), || {
        // SAFETY: NULL or a calibration that was handed out, not freed yet.
        unsafe { free(calibration) }
    })
}

/// cvx_pipeline_tune_cache with a calibration that is there already: for several bounds, or to check
/// schedules with other prompts than the calibration saw, whose median then decides. At most
/// 17 x count runs.
///
/// Errors: those of cvx_pipeline_tune_cache, and INVALID_ARGUMENT for a calibration of another model,
/// number of steps or guidance. Threads: as there. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_tune_calibrated_cache(
    pipeline: *mut cvx_pipeline,
    calibration: *const cvx_calibration,
    runs: *const *const cvx_generate_options,
    count: usize,
    min_psnr: f64,
    out_config: *mut *mut cvx_cache_config,
) -> *mut cvx_error {
    fallible(|| {
        within("min_psnr", min_psnr, MIN_PSNR)?;
        // SAFETY: by the contract of the header.
        let (pipeline, calibration, (options, control), out) = unsafe {
            (
                self::pipeline(pipeline)?,
                borrow(calibration, "calibration")?,
                runs_to_tune(runs, count)?,
                Out::new(out_config, "out_config")?,
            )
        };
        let calibration = &calibration.calibration;
        let turn = pipeline.begin()?;
        let tuned = turn.tune(&options, Some(calibration), min_psnr, &control)?;
        out.hand_over(tuned.config.into());
        Ok(())
    })
}

/// cvx_pipeline_preview_cache with an estimate of the run: how long it takes
/// (cvx_cache_stats_estimated_seconds), and how like the uncached video its frames are
/// (cvx_cache_stats_estimated_psnr), beside the bytes that a preview tells exactly. Times are those
/// of the machine and the size that the calibration was made with; the PSNR is one that a typical
/// prompt has, from what one step alone changed, and may be several decibels off: docs/caching.md
/// shows by how much on the embedded model.
///
/// Errors: those of cvx_pipeline_preview_cache, and INVALID_ARGUMENT for a calibration of another
/// model or number of steps, or with guidance for a run without. Threads: as there. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_estimate_cache(
    pipeline: *const cvx_pipeline,
    config: *const cvx_cache_config,
    options_or_null: *const cvx_generate_options,
    calibration: *const cvx_calibration,
    out_stats: *mut *mut cvx_cache_stats,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (pipeline, config, options, calibration, out) = unsafe {
            (
                self::pipeline(pipeline)?,
                borrow(config, "config")?,
                optional(options_or_null, "options")?,
                borrow(calibration, "calibration")?,
                Out::new(out_stats, "out_stats")?,
            )
        };
        let options = match options {
            Some(options) => options.snapshot().0,
            None => GenerateOptions::default(),
        };
        let calibration = &calibration.calibration;
        out.hand_over(pipeline.estimate_cache(&config.config, &options, calibration)?.into());
        Ok(())
    })
}
