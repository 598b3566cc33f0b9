//! `cvx_cache_config`: the object, its constructors, and what every technique's config has.
//! The fields that diffusers' configs have are in `cache_fields.rs`, callbacks in
//! `cache_callbacks.rs`.

use super::cache_stats::cvx_cache_stats;
use super::convert::{flag, optional_text, text, within, Out};
use super::error::{cvx_error, Result};
use super::handle::{self, borrow, borrow_mut, free};
use super::panic::{fallible, infallible};
use crate::cache::{CacheConfig, CacheDType, CacheLocation, RunInfo, Value};
use std::ffi::{c_char, CString};
use std::mem::replace;

/// A caching technique with its settings, such as Pyramid Attention Broadcast (PAB) or
/// FasterCache, with the fields of diffusers' configs under the same names. Made by
/// cvx_pab_config_new, cvx_faster_cache_config_new, cvx_cache_config_new or
/// cvx_cache_config_from_json, freed by cvx_cache_config_free. cvx_pipeline_enable_cache copies it:
/// it may be changed or freed afterwards, and may serve many pipelines.
///
/// Since 0.1.
pub struct cvx_cache_config {
    pub(super) config: CacheConfig,
    /// What cvx_cache_config_to_json handed out last.
    pub(super) json: CString,
}

impl From<CacheConfig> for cvx_cache_config {
    fn from(config: CacheConfig) -> cvx_cache_config {
        cvx_cache_config { config, json: CString::default() }
    }
}

impl cvx_cache_config {
    fn new(technique: &str, preset: Option<&str>) -> Result<cvx_cache_config> {
        Ok(CacheConfig::new(technique, preset)?.into())
    }
}

/// Sets a field by its name in diffusers.
///
/// # Safety
/// `config` is NULL or a live config that nobody else uses.
pub(super) unsafe fn set(config: *mut cvx_cache_config, field: &str, value: Value) -> Result<()> {
    // SAFETY: the caller's.
    let mut changed = unsafe { borrow_mut(config, "config")? }.config.clone();
    changed.set(field, value)?;
    // SAFETY: the caller's.
    let before = replace(&mut unsafe { borrow_mut(config, "config")? }.config, changed);
    // If it was the last to have a callback, the host's free function is called here, which may
    // set again: the new config is in its place by now.
    drop(before);
    Ok(())
}

fn hand_out(technique: &str) -> *mut cvx_cache_config {
    infallible(std::ptr::null_mut(), || match cvx_cache_config::new(technique, None) {
        Ok(config) => handle::new(config),
        Err(_) => std::ptr::null_mut(),
    })
}

/// Pyramid Attention Broadcast (arXiv 2408.12588) with diffusers' defaults: an attention
/// module's output is used again on every second step while 100 < timestep < 800. The caller
/// owns the config and frees it with cvx_cache_config_free. Never NULL.
///
/// Since 0.1.
#[no_mangle]
pub extern "C" fn cvx_pab_config_new() -> *mut cvx_cache_config {
    hand_out("pab")
}

/// FasterCache (arXiv 2410.19355) with diffusers' defaults: while timestep < 641, the
/// unconditional half of the guidance batch runs on every fifth step only and is rebuilt on
/// the others, on which attention is extrapolated from its last two outputs every second time.
/// The caller owns the config and frees it with cvx_cache_config_free. Never NULL.
///
/// Since 0.1.
#[no_mangle]
pub extern "C" fn cvx_faster_cache_config_new() -> *mut cvx_cache_config {
    hand_out("faster_cache")
}

/// A technique, "pab", "faster_cache", "taylor_seer", "mag_cache", "tea_cache", "first_block_cache",
/// "cfg_cache" or "schedule", with the settings of a preset; NULL is the first that the technique
/// has:
///
/// - "diffusers" (all but taylor_seer, tea_cache and schedule): the defaults of diffusers 0.42.1;
/// - "diffusers-docs": the snippet of diffusers' caching guide;
/// - "videosys" (pab): the authors' own settings for CogVideoX, the window (100, 850);
/// - "official" (faster_cache): the authors' 50-step script for CogVideoX, with the half that
///   it runs put right (conditional); other numbers of steps take its counts as fractions;
/// - "aggressive" (faster_cache): "diffusers-docs" with attention extrapolated on steps that
///   run both halves too: the fastest, the furthest from the uncached video, and half again the
///   bytes;
/// - "lite", "attention-and-feed-forward" (taylor_seer): the model's output is predicted, or
///   those of both modules of each block;
/// - "calibrate" (mag_cache): a run that computes everything and measures the ratios that
///   "mag_ratios" must be set to in others, for cvx_cache_stats_json's "measured";
/// - "authors", "cogvideox-1.5-5b-i2v" (tea_cache): with the coefficients that were fitted for the
///   model's family, or for that model;
/// - "diffusers-docs", "official" (cfg_cache): as for faster_cache;
/// - "empty" (schedule): no steps yet, which must be set.
///
/// docs/caching-techniques.md has the fields without setters of their own, which
/// cvx_cache_config_set_field sets. On success *out_config is a new config, owned by the caller,
/// freed with cvx_cache_config_free; its fields can be changed further.
///
/// Errors: INVALID_ARGUMENT for any other name, naming those there are. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_new(
    technique: *const c_char,
    preset_or_null: *const c_char,
    out_config: *mut *mut cvx_cache_config,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (technique, preset, out) = unsafe {
            (
                text(technique, "technique")?,
                optional_text(preset_or_null, "preset")?,
                Out::new(out_config, "out_config")?,
            )
        };
        out.hand_over(cvx_cache_config::new(technique, preset)?);
        Ok(())
    })
}

/// Frees a config. Pipelines that it was enabled for are not affected. NULL is allowed and
/// does nothing.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_free(config: *mut cvx_cache_config) {
    infallible((), || {
        // SAFETY: NULL or a config that was handed out here, not freed yet.
        unsafe { free(config) }
    })
}

/// The most bytes that a run may keep between steps. Layers are given room in their order;
/// those that do not fit are computed on every step, and the statistics say which
/// (cvx_cache_stats_layer_over_budget). 0 (default): no limit.
///
/// Errors: NULL_ARGUMENT. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_set_max_cache_bytes(
    config: *mut cvx_cache_config,
    bytes: u64,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let config = unsafe { borrow_mut(config, "config")? };
        config.config.storage.max_cache_bytes = (bytes > 0).then_some(bytes);
        Ok(())
    })
}

/// The type in which kept outputs are: "f32", "f16", "bf16", "fp8" (float8 e4m3 with an f32 scale for
/// each token), or "auto" (default), which is what the pipeline computes in. On the CPU, which
/// computes in f32, "f16" or "bf16" halves the bytes for a small loss; f16 ends at 65504, bf16
/// keeps f32's range. "fp8" takes about half of what those take; docs/memory.md has what it
/// costs. What the unconditional half is rebuilt from is small and always f32.
///
/// Errors: INVALID_ARGUMENT for any other text. A technique that keeps its outputs its own way
/// (TaylorSeer, CFG-Cache alone) is refused together with "fp8" when it is enabled or previewed.
/// Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_set_cache_dtype(
    config: *mut cvx_cache_config,
    dtype: *const c_char,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (config, dtype) = unsafe { (borrow_mut(config, "config")?, text(dtype, "dtype")?) };
        config.config.storage.cache_dtype = CacheDType::parse(dtype)?;
        Ok(())
    })
}

/// Where kept outputs are: "device" (default), where the model computes, or "host", in host memory. A
/// CUDA device copies them there and back by itself (pinned memory, which can't be swapped out), beside
/// what it computes: nothing waits, and where the technique knows which layer reads next (Pyramid
/// Attention Broadcast and FasterCache) its output is on its way while the layer before computes. The
/// video is the same to the last bit. On the device are then the outputs of a layer or two, in place
/// of those of all layers. On the CPU, whose memory is the host's, nothing changes.
/// The statistics' host bytes are what is there.
///
/// Errors: INVALID_ARGUMENT for any other text. A technique that keeps its outputs its own way
/// (TaylorSeer, CFG-Cache alone) is refused together with "host" when it is enabled or previewed.
/// Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_set_cache_location(
    config: *mut cvx_cache_config,
    location: *const c_char,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (config, location) =
            unsafe { (borrow_mut(config, "config")?, text(location, "location")?) };
        config.config.storage.cache_location = CacheLocation::parse(location)?;
        Ok(())
    })
}

/// What a run would compute and reuse with this config, told without a model by the code that
/// decides during a run: for num_layers attention layers (1 to 1000), num_inference_steps steps
/// (1 to 100000) with the timesteps of the published CogVideoX models (1000, trailing), and
/// guided 1 or 0 for guidance on or off. cvx_pipeline_preview_cache tells it for a pipeline,
/// with bytes. Callbacks are not called; a current timestep callback counts as if it answered
/// the pipeline's own timestep.
///
/// On success *out_stats is read like the statistics of a run, printed with
/// cvx_cache_stats_text, owned by the caller and freed with cvx_cache_stats_free.
///
/// Errors: INVALID_ARGUMENT, also for identifiers that match no layer. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_preview(
    config: *const cvx_cache_config,
    num_layers: i32,
    num_inference_steps: i32,
    guided: i32,
    out_stats: *mut *mut cvx_cache_stats,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (config, out) =
            unsafe { (borrow(config, "config")?, Out::new(out_stats, "out_stats")?) };
        let layers = within("num_layers", num_layers, 1..=1000)?;
        let steps = within("num_inference_steps", num_inference_steps, 1..=100_000)?;
        let run = RunInfo::of_published_models(
            layers.unsigned_abs() as usize,
            steps.unsigned_abs() as usize,
            flag("guided", guided)?,
        );
        out.hand_over(config.config.preview(&run, None)?.into());
        Ok(())
    })
}
