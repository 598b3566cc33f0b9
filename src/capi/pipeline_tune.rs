//! Making a cache schedule for a pipeline.

use super::cache_config::cvx_cache_config;
use super::convert::{slice, within, Out};
use super::error::{cvx_error, Failure, Result};
use super::generate_options::cvx_generate_options;
use super::handle::borrow;
use super::panic::fallible;
use super::pipeline::{cvx_pipeline, pipeline};
use crate::pipeline::limits::MAX_TUNE_RUNS;
use crate::pipeline::GenerateOptions;
use crate::runtime::Control;

/// What min_psnr may be.
pub(super) const MIN_PSNR: std::ops::RangeInclusive<f64> = 10.0..=90.0;

/// Makes the cheapest cache schedule it finds for this pipeline whose videos have a median PSNR of
/// at least min_psnr decibels (from 10 to 90) against the uncached ones: 40 is hard to tell from
/// the uncached video, 30 is near it. runs are count options (1 to CVX_MAX_TUNE_RUNS), each with a
/// prompt and a seed of its own, and all of the size, steps and guidance that the schedule is for; a
/// few different prompts make a schedule that holds for others. Where frames go does not matter
/// here.
///
/// The pipeline is calibrated with the runs as by cvx_pipeline_calibrate, a solver (after LeMiCa,
/// arXiv 2511.00090) proposes which steps run both halves of the guidance batch, which the
/// conditional one, which neither, and in which attention or blocks are left out, and at most 16
/// proposals are run to see how good they are: at most 49 x count runs. The progress callback of
/// the first options is called with CVX_STAGE_TUNE, and its cancel token stops all of it.
///
/// On success *out_config is a new config of the technique "schedule", owned by the caller, freed
/// with cvx_cache_config_free: for cvx_pipeline_enable_cache, or cvx_cache_config_to_json to keep
/// it. It belongs to this model, scheduler, number of steps and guidance. The pipeline's own cache
/// stays as it was; its statistics are those of the last run that was made.
///
/// Errors: NULL_ARGUMENT; INVALID_ARGUMENT for numbers out of range, runs of different numbers of
/// steps, or if no schedule reaches min_psnr, naming the best; BUSY, CANCELLED, and those of
/// cvx_pipeline_generate. Threads: as cvx_pipeline_generate. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_tune_cache(
    pipeline: *mut cvx_pipeline,
    runs: *const *const cvx_generate_options,
    count: usize,
    min_psnr: f64,
    out_config: *mut *mut cvx_cache_config,
) -> *mut cvx_error {
    fallible(|| {
        within("min_psnr", min_psnr, MIN_PSNR)?;
        // SAFETY: by the contract of the header.
        let (pipeline, (options, control), out) = unsafe {
            (
                self::pipeline(pipeline)?,
                runs_to_tune(runs, count)?,
                Out::new(out_config, "out_config")?,
            )
        };
        let tuned = pipeline.begin()?.tune(&options, None, min_psnr, &control)?;
        out.hand_over(tuned.config.into());
        Ok(())
    })
}

/// The runs, as they are repeated, and how the first is followed and stopped.
///
/// # Safety
/// `runs` are `count` handles, each NULL or live.
pub(super) unsafe fn runs_to_tune(
    runs: *const *const cvx_generate_options,
    count: usize,
) -> Result<(Vec<GenerateOptions>, Control)> {
    within("count", count, 1..=MAX_TUNE_RUNS)?;
    // SAFETY: the caller's.
    let runs = unsafe { slice(runs, count, "runs")? };
    let mut options = Vec::with_capacity(runs.len());
    let mut control = None;
    for (position, &run) in runs.iter().enumerate() {
        // SAFETY: the caller's.
        let run = unsafe { borrow(run, &format!("runs[{position}]"))? };
        let (snapshot, of_run) = run.snapshot();
        control.get_or_insert(of_run);
        options.push(snapshot.to_tune());
    }
    let control = control.ok_or_else(|| Failure::invalid("runs: expected one, found none"))?;
    Ok((options, control))
}
