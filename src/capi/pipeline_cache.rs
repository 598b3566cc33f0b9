//! A pipeline's cache: enable, disable, preview, statistics.

use super::cache_config::cvx_cache_config;
use super::cache_stats::cvx_cache_stats;
use super::convert::Out;
use super::error::{cvx_error, Failure};
use super::generate_options::cvx_generate_options;
use super::handle::{borrow, optional};
use super::panic::fallible;
use super::pipeline::{cvx_pipeline, pipeline};
use crate::pipeline::GenerateOptions;

/// Caches the next runs of this pipeline with config, instead of what was enabled before.
/// Clones are not affected. What a run keeps dies with the run, however it ends, so nothing of
/// one run reaches another. The config is copied; its callbacks' user_data is kept until the
/// last config, pipeline or run that has it is gone.
///
/// Errors: NULL_ARGUMENT; INVALID_ARGUMENT for identifiers that match no layer, naming them and
/// what layers are called; BUSY while the pipeline generates. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_enable_cache(
    pipeline: *mut cvx_pipeline,
    config: *const cvx_cache_config,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (pipeline, config) = unsafe { (self::pipeline(pipeline)?, borrow(config, "config")?) };
        Ok(pipeline.enable_cache(&config.config)?)
    })
}

/// Computes everything from the next run on, exactly as if no cache had been enabled. Allowed
/// also where none is.
///
/// Errors: NULL_ARGUMENT, BUSY while the pipeline generates. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_disable_cache(pipeline: *mut cvx_pipeline) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let pipeline = unsafe { self::pipeline(pipeline)? };
        Ok(pipeline.disable_cache()?)
    })
}

/// The statistics of this pipeline's last run, however it ended, or of the run under way: for
/// each step and layer whether attention was computed, whether the unconditional half ran,
/// bytes kept, and the speed-up that the counts predict. Runs without a cache have them too.
/// On success *out_stats is owned by the caller, freed with cvx_cache_stats_free.
///
/// Errors: NULL_ARGUMENT; INVALID_ARGUMENT before the first run. Threads: any, also while the
/// pipeline generates. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_cache_stats(
    pipeline: *const cvx_pipeline,
    out_stats: *mut *mut cvx_cache_stats,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (pipeline, out) =
            unsafe { (self::pipeline(pipeline)?, Out::new(out_stats, "out_stats")?) };
        let stats = pipeline.cache_stats().ok_or_else(|| {
            Failure::invalid("there are no statistics before the pipeline's first run")
        })?;
        out.hand_over(stats.into());
        Ok(())
    })
}

/// What a run of this pipeline would compute and reuse with config, told without running it by
/// the code that decides during a run: for the pipeline's layers and timesteps, and the size,
/// steps and guidance of the options; NULL for every default. It says the bytes too, what
/// max_cache_bytes leaves out, and the predicted speed-up, with the attention share that the
/// pipeline's last run measured. Callbacks are not called; a current timestep callback counts
/// as if it answered the pipeline's own timestep. On success *out_stats is owned by the
/// caller, freed with cvx_cache_stats_free.
///
/// Errors: NULL_ARGUMENT; INVALID_ARGUMENT as for cvx_pipeline_enable_cache and for options
/// that the pipeline cannot run. Threads: any, also while the pipeline generates. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_preview_cache(
    pipeline: *const cvx_pipeline,
    config: *const cvx_cache_config,
    options_or_null: *const cvx_generate_options,
    out_stats: *mut *mut cvx_cache_stats,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (pipeline, config, options, out) = unsafe {
            (
                self::pipeline(pipeline)?,
                borrow(config, "config")?,
                optional(options_or_null, "options")?,
                Out::new(out_stats, "out_stats")?,
            )
        };
        let options = match options {
            Some(options) => options.snapshot().0,
            None => GenerateOptions::default(),
        };
        out.hand_over(pipeline.preview_cache(&config.config, &options)?.into());
        Ok(())
    })
}
