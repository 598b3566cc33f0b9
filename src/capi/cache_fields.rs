//! The fields of diffusers' `PyramidAttentionBroadcastConfig` and `FasterCacheConfig`, one
//! setter each under the same name, and after them the two fields that are this library's own.
//! Which technique has which field is the cache's knowledge: a setter hands over name and value.
//! Callbacks are in `cache_callbacks.rs`.

use super::cache_config::{cvx_cache_config, set};
use super::convert::{flag, slice, text, within};
use super::error::{cvx_error, Result};
use super::panic::fallible;
use crate::cache::Value;
use std::ffi::c_char;

/// More identifiers than any model has modules.
const MOST_IDENTIFIERS: usize = 10_000;

/// # Safety
/// `identifiers` is NULL or holds `count` pointers, each NULL or to a string.
unsafe fn identifiers(identifiers: *const *const c_char, count: usize) -> Result<Value> {
    within("count of identifiers", count, ..=MOST_IDENTIFIERS)?;
    // SAFETY: the caller's.
    let identifiers = unsafe { slice(identifiers, count, "identifiers")? };
    let strings = identifiers.iter().enumerate().map(|(position, &identifier)| {
        // SAFETY: the caller's.
        unsafe { text(identifier, &format!("identifiers[{position}]")) }.map(str::to_string)
    });
    Ok(Value::Identifiers(strings.collect::<Result<_>>()?))
}

/// Attention is computed on every n-th step of the run, counted from its first, and outside its
/// window, and reused on the others; 1 reuses nothing. faster_cache extrapolates it only on steps
/// whose unconditional half is rebuilt, unless reuse_attention_on_full_guidance_steps. CogVideoX'
/// attention is what diffusers calls spatial. Defaults: pab 2 (where none of the three skip ranges
/// is set), faster_cache 2.
///
/// Errors: INVALID_ARGUMENT if n is not positive, or for a technique without the field.
/// Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_set_spatial_attention_block_skip_range(
    config: *mut cvx_cache_config,
    n: i32,
) -> *mut cvx_error {
    fallible(|| {
        let value = Value::SkipRange(n.into());
        // SAFETY: by the contract of the header.
        unsafe { set(config, "spatial_attention_block_skip_range", value) }
    })
}

/// The same for temporal attention, which CogVideoX has none of: it selects a layer only if
/// temporal identifiers of the host's own match one that the spatial identifiers do not.
/// Otherwise it is accepted, and the log says that it selects nothing. Default: unset.
///
/// Errors: INVALID_ARGUMENT if n is not positive, or for a technique without the field.
/// Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_set_temporal_attention_block_skip_range(
    config: *mut cvx_cache_config,
    n: i32,
) -> *mut cvx_error {
    fallible(|| {
        let value = Value::SkipRange(n.into());
        // SAFETY: by the contract of the header.
        unsafe { set(config, "temporal_attention_block_skip_range", value) }
    })
}

/// The same for cross-attention, which CogVideoX has none of: accepted, and the log says that
/// it selects nothing. Field of pab. Default: unset. Setting it, or the temporal one, alone
/// leaves spatial attention computed on every step, as in diffusers.
///
/// Errors: INVALID_ARGUMENT if n is not positive, or for a technique without the field.
/// Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_set_cross_attention_block_skip_range(
    config: *mut cvx_cache_config,
    n: i32,
) -> *mut cvx_error {
    fallible(|| {
        let value = Value::SkipRange(n.into());
        // SAFETY: by the contract of the header.
        unsafe { set(config, "cross_attention_block_skip_range", value) }
    })
}

/// Attention may be reused while low < timestep < high, both strictly. Timesteps fall from 999
/// to 0 in the course of a run. Defaults: pab (100, 800), faster_cache (-1, 681).
///
/// Errors: INVALID_ARGUMENT if no whole timestep lies strictly between low and high, or for a
/// technique without the field. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_set_spatial_attention_timestep_skip_range(
    config: *mut cvx_cache_config,
    low: i32,
    high: i32,
) -> *mut cvx_error {
    fallible(|| {
        let value = Value::TimestepRange(low.into(), high.into());
        // SAFETY: by the contract of the header.
        unsafe { set(config, "spatial_attention_timestep_skip_range", value) }
    })
}

/// The same for temporal attention; see
/// cvx_cache_config_set_temporal_attention_block_skip_range. Defaults as for spatial attention.
///
/// Errors: INVALID_ARGUMENT if no whole timestep lies strictly between low and high, or for a
/// technique without the field. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_set_temporal_attention_timestep_skip_range(
    config: *mut cvx_cache_config,
    low: i32,
    high: i32,
) -> *mut cvx_error {
    fallible(|| {
        let value = Value::TimestepRange(low.into(), high.into());
        // SAFETY: by the contract of the header.
        unsafe { set(config, "temporal_attention_timestep_skip_range", value) }
    })
}

/// The same for cross-attention; see cvx_cache_config_set_cross_attention_block_skip_range.
/// Field of pab. Default: (100, 800).
///
/// Errors: INVALID_ARGUMENT if no whole timestep lies strictly between low and high, or for a
/// technique without the field. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_set_cross_attention_timestep_skip_range(
    config: *mut cvx_cache_config,
    low: i32,
    high: i32,
) -> *mut cvx_error {
    fallible(|| {
        let value = Value::TimestepRange(low.into(), high.into());
        // SAFETY: by the contract of the header.
        unsafe { set(config, "cross_attention_timestep_skip_range", value) }
    })
}

/// Which layers are cached: those whose name in the checkpoint, such as
/// "transformer_blocks.0.attn1", one of these regular expressions is found in (Python's
/// re.search). They replace the defaults, which match all layers: pab "blocks",
/// "transformer_blocks", "single_transformer_blocks", "layers", "visual_transformer_blocks";
/// faster_cache "^blocks.*attn", "^transformer_blocks.*attn",
/// "^single_transformer_blocks.*attn". The strings are copied. Identifiers that match no layer
/// are an error of cvx_pipeline_enable_cache.
///
/// Errors: INVALID_ARGUMENT naming an identifier that is no regular expression, or for a
/// technique without the field; NULL_ARGUMENT, INVALID_UTF8. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_set_spatial_attention_block_identifiers(
    config: *mut cvx_cache_config,
    identifiers: *const *const c_char,
    count: usize,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        unsafe {
            let value = self::identifiers(identifiers, count)?;
            set(config, "spatial_attention_block_identifiers", value)
        }
    })
}

/// The same for temporal attention. Defaults: pab "temporal_transformer_blocks", faster_cache
/// "^temporal_transformer_blocks.*attn", which match no layer of CogVideoX.
///
/// Errors: INVALID_ARGUMENT naming an identifier that is no regular expression, or for a
/// technique without the field; NULL_ARGUMENT, INVALID_UTF8. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_set_temporal_attention_block_identifiers(
    config: *mut cvx_cache_config,
    identifiers: *const *const c_char,
    count: usize,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        unsafe {
            let value = self::identifiers(identifiers, count)?;
            set(config, "temporal_attention_block_identifiers", value)
        }
    })
}

/// The same for cross-attention, which no layer of CogVideoX is whatever its name. Field of
/// pab. Default: "blocks", "transformer_blocks", "layers".
///
/// Errors: INVALID_ARGUMENT naming an identifier that is no regular expression, or for a
/// technique without the field; NULL_ARGUMENT, INVALID_UTF8. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_set_cross_attention_block_identifiers(
    config: *mut cvx_cache_config,
    identifiers: *const *const c_char,
    count: usize,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        unsafe {
            let value = self::identifiers(identifiers, count)?;
            set(config, "cross_attention_block_identifiers", value)
        }
    })
}

/// Inside its window, the unconditional half of the guidance batch runs on every n-th step of the
/// run, counted from its first, and is rebuilt from the conditional half on the others; 1 rebuilds
/// nothing. Field of faster_cache. Default: 5.
///
/// Errors: INVALID_ARGUMENT if n is not positive, or for a technique without the field.
/// Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_set_unconditional_batch_skip_range(
    config: *mut cvx_cache_config,
    n: i32,
) -> *mut cvx_error {
    fallible(|| {
        let value = Value::SkipRange(n.into());
        // SAFETY: by the contract of the header.
        unsafe { set(config, "unconditional_batch_skip_range", value) }
    })
}

/// The unconditional half may be skipped while low < timestep < high. Field of faster_cache.
/// Default: (-1, 641).
///
/// Errors: INVALID_ARGUMENT if no whole timestep lies strictly between low and high, or for a
/// technique without the field. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_set_unconditional_batch_timestep_skip_range(
    config: *mut cvx_cache_config,
    low: i32,
    high: i32,
) -> *mut cvx_error {
    fallible(|| {
        let value = Value::TimestepRange(low.into(), high.into());
        // SAFETY: by the contract of the header.
        unsafe { set(config, "unconditional_batch_timestep_skip_range", value) }
    })
}

/// While low < timestep < high, each rebuilt step multiplies what the unconditional half has of
/// low frequencies by alpha_low_frequency. Field of faster_cache; not used with a low frequency
/// weight callback. Default: (99, 901).
///
/// Errors: INVALID_ARGUMENT if no whole timestep lies strictly between low and high, or for a
/// technique without the field. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_set_low_frequency_weight_update_timestep_range(
    config: *mut cvx_cache_config,
    low: i32,
    high: i32,
) -> *mut cvx_error {
    fallible(|| {
        let value = Value::TimestepRange(low.into(), high.into());
        // SAFETY: by the contract of the header.
        unsafe { set(config, "low_frequency_weight_update_timestep_range", value) }
    })
}

/// The same for high frequencies and alpha_high_frequency. Field of faster_cache; not used with
/// a high frequency weight callback. Default: (-1, 301).
///
/// Errors: INVALID_ARGUMENT if no whole timestep lies strictly between low and high, or for a
/// technique without the field. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_set_high_frequency_weight_update_timestep_range(
    config: *mut cvx_cache_config,
    low: i32,
    high: i32,
) -> *mut cvx_error {
    fallible(|| {
        let value = Value::TimestepRange(low.into(), high.into());
        // SAFETY: by the contract of the header.
        unsafe { set(config, "high_frequency_weight_update_timestep_range", value) }
    })
}

/// The gain of low frequencies on each rebuilt step inside its window; gains multiply from one
/// full step to the next. Field of faster_cache. Default: 1.1.
///
/// Errors: INVALID_ARGUMENT if alpha is not finite in float32, or for a technique without the field.
/// Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_set_alpha_low_frequency(
    config: *mut cvx_cache_config,
    alpha: f64,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        unsafe { set(config, "alpha_low_frequency", Value::Number(alpha)) }
    })
}

/// The gain of high frequencies on each rebuilt step inside its window. Field of faster_cache.
/// Default: 1.1.
///
/// Errors: INVALID_ARGUMENT if alpha is not finite in float32, or for a technique without the field.
/// Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_set_alpha_high_frequency(
    config: *mut cvx_cache_config,
    alpha: f64,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        unsafe { set(config, "alpha_high_frequency", Value::Number(alpha)) }
    })
}

/// The order of dimensions that diffusers is told: "BCFHW", "BFCHW" or "BCHW". All three give
/// the same video here and in diffusers: frequencies are split frame by frame and channel by
/// channel, over height and width alone. Field of faster_cache. Default: "BCFHW".
///
/// Errors: INVALID_ARGUMENT for any other text, or for a technique without the field.
/// Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_set_tensor_format(
    config: *mut cvx_cache_config,
    format: *const c_char,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        unsafe {
            let value = Value::Name(text(format, "format")?.into());
            set(config, "tensor_format", value)
        }
    })
}

/// Whether guidance was distilled into the model: then no unconditional half is skipped, and
/// attention is extrapolated for the whole batch. Without guidance (guidance_scale <= 1) this
/// is so whatever is set here. Field of faster_cache. Default: 0.
///
/// Errors: INVALID_ARGUMENT unless distilled is 0 or 1, or for a technique without the field.
/// Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_set_is_guidance_distilled(
    config: *mut cvx_cache_config,
    distilled: i32,
) -> *mut cvx_error {
    fallible(|| {
        let value = Value::Flag(flag("distilled", distilled)?);
        // SAFETY: by the contract of the header.
        unsafe { set(config, "is_guidance_distilled", value) }
    })
}

/// The weight of the extrapolation, newer + (newer - older) * weight, where no attention weight
/// callback is set: 0 repeats the last output. Field of faster_cache, and not one of diffusers,
/// where only a callback can change it. Default: 0.5.
///
/// Errors: INVALID_ARGUMENT if weight is not finite in float32, or for a technique without the field.
/// Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_set_attention_weight(
    config: *mut cvx_cache_config,
    weight: f64,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        unsafe { set(config, "attention_weight", Value::Number(weight)) }
    })
}

/// Whether attention is extrapolated also on steps that run both halves: the unconditional half is
/// then the conditional one plus what it was more on the last step that computed both, which takes
/// half again the bytes. Field of faster_cache, and not one of diffusers. Default: 0; 1 in the
/// preset "aggressive".
///
/// Errors: INVALID_ARGUMENT unless reuse is 0 or 1, or for a technique without the field.
/// Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_cache_config_set_reuse_attention_on_full_guidance_steps(
    config: *mut cvx_cache_config,
    reuse: i32,
) -> *mut cvx_error {
    fallible(|| {
        let value = Value::Flag(flag("reuse", reuse)?);
        // SAFETY: by the contract of the header.
        unsafe { set(config, "reuse_attention_on_full_guidance_steps", value) }
    })
}
