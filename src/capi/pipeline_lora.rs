//! A pipeline's LoRA adapters: load, choose, fuse, unload.

use super::convert::{flag, optional_text, slice, text, within};
use super::error::{cvx_error, Failure};
use super::handle::peek;
use super::panic::{fallible, infallible};
use super::pipeline::{cvx_pipeline, pipeline};
use parking_lot::Mutex;
use std::ffi::{c_char, CString};
use std::ops::RangeInclusive;
use std::path::Path;

/// Of adapters, and of what multiplies them.
pub(super) const WEIGHTS: RangeInclusive<f64> = -1e6..=1e6;

/// Names that were handed out, which live as long as their pipeline's handle.
#[derive(Default)]
pub(super) struct Names(Mutex<Vec<CString>>);

impl Names {
    /// The text that a host is given for `name`, one for each name.
    fn hand_out(&self, name: &str) -> *const c_char {
        // It came as a C string.
        let name = CString::new(name).unwrap_or_default();
        let mut names = self.0.lock();
        if let Some(known) = names.iter().find(|known| **known == name) {
            return known.as_ptr();
        }
        // A CString's characters stay where they are when the list grows.
        let text = name.as_ptr();
        names.push(name);
        text
    }
}

/// Loads a LoRA adapter for the transformer, as diffusers' load_lora_weights does: path is a
/// safetensors file, or a folder that holds pytorch_lora_weights.safetensors. Afterwards it is the
/// one active adapter, with the weight 1; those that were loaded before stay loaded, and
/// cvx_pipeline_set_adapters makes them active again. adapter_name_or_null: NULL for the first of
/// "default_0", "default_1", … that is free, counted from the number of loaded adapters. The text
/// is copied.
///
/// Keys are read as diffusers saves them for CogVideoX ("transformer.….lora_A.weight", lora_B;
/// lora.down and lora.up of older releases), for every linear layer and the convolution over
/// patches. Those of the original model are taken too ("model.diffusion_model.transformer.layers.0.
/// attention.query_key_value.lora_A.weight", or SAT's own matrix_A.0 and matrix_B.0; as safetensors): what
/// is one layer there and several modules here is parted as diffusers' conversion script does. SAT's
/// files say no alpha: pass alpha / rank of its training to cvx_pipeline_set_adapters.
/// The scale alpha / rank comes from the header's lora_adapter_metadata or from a module's
/// "….alpha"; without either it is 1. DoRA's dora_scale is passed over with a warning in the log,
/// as in diffusers. The factors are kept in the pipeline's dtype, on its device.
///
/// Nothing has changed after an error. Adapters belong to one handle: cvx_pipeline_clone takes
/// over those that are there, and after that each handle has its own. Runs take the adapters as
/// they are when cvx_pipeline_generate or cvx_pipeline_submit is called: changes reach later runs
/// only, and this may be called while the pipeline generates.
///
/// Errors: NULL_ARGUMENT, INVALID_UTF8; NOT_FOUND; INVALID_CHECKPOINT naming file, tensor or
/// module, expected and found, for an adapter of another model, factors that don't fit each other,
/// one factor without the other, other tensors, none, or numbers that aren't finite;
/// UNSUPPORTED_MODEL for another layout or kind of adapter, which it names; INVALID_ARGUMENT for a
/// name that is taken, empty or longer than 256 bytes, and while adapters are fused; OUT_OF_MEMORY,
/// IO. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_load_lora(
    pipeline: *mut cvx_pipeline,
    path: *const c_char,
    adapter_name_or_null: *const c_char,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (pipeline, path, name) = unsafe {
            (
                self::pipeline(pipeline)?,
                text(path, "path")?,
                optional_text(adapter_name_or_null, "adapter_name")?,
            )
        };
        Ok(pipeline.load_lora(Path::new(path), name)?)
    })
}

/// Makes the count adapters at names the active ones, in place of those that were, as diffusers'
/// set_adapters does: each adds weights[i] times its own alpha / rank times B A x to the outputs of
/// its layers. Weights are from -1e6 to 1e6, also 0 and negative ones; weights_or_null: NULL for
/// all 1. The arrays are copied.
///
/// Errors, and nothing has changed: NULL_ARGUMENT, INVALID_UTF8; INVALID_ARGUMENT for a count of 0,
/// a name that is not loaded (the message lists those that are), one that comes twice, a weight
/// out of range, and while adapters are fused. Threads: as cvx_pipeline_load_lora. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_set_adapters(
    pipeline: *mut cvx_pipeline,
    names: *const *const c_char,
    weights_or_null: *const f64,
    count: usize,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (pipeline, names) =
            unsafe { (self::pipeline(pipeline)?, slice(names, count, "names")?) };
        let weights = match weights_or_null.is_null() {
            true => None,
            // SAFETY: by the contract of the header.
            false => Some(unsafe { slice(weights_or_null, count, "weights")? }),
        };
        for (position, &weight) in weights.unwrap_or_default().iter().enumerate() {
            within(&format!("weights[{position}]"), weight, WEIGHTS)?;
        }
        let mut texts = Vec::new();
        texts
            .try_reserve_exact(names.len())
            .map_err(|_| Failure::invalid(format!("count of adapters is too large: {count}")))?;
        for (position, &name) in names.iter().enumerate() {
            // SAFETY: by the contract of the header.
            texts.push(unsafe { text(name, &format!("names[{position}]"))? });
        }
        Ok(pipeline.set_adapters(&texts, weights)?)
    })
}

/// Whether the active adapters are in force: 1, as after loading, or 0, as if none were loaded
/// (diffusers' enable_lora and disable_lora). Which are active, and their weights, stays as it is.
/// Disabling unfuses what is fused. Allowed also where no adapter is loaded, and without effect
/// then.
///
/// Errors: NULL_ARGUMENT; INVALID_ARGUMENT unless enabled is 0 or 1. Threads: as
/// cvx_pipeline_load_lora. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_enable_lora(
    pipeline: *mut cvx_pipeline,
    enabled: i32,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let pipeline = unsafe { self::pipeline(pipeline)? };
        Ok(pipeline.enable_lora(flag("enabled", enabled)?)?)
    })
}

/// Adds the active adapters, lora_scale times their weights, to the weights of this handle, as
/// diffusers' fuse_lora does: W + lora_scale · weight · alpha / rank · B A. Runs cost then what they
/// cost without adapters. The layers that change are copied, and the transformer is read if it is not
/// in memory yet; clones, which share the other layers, don't see it. While adapters are fused, none can be loaded, chosen or fused, and
/// cvx_generate_options_set_lora_scale has no effect. As in diffusers, the weights of the active
/// adapters are multiplied by lora_scale, and stay so after cvx_pipeline_unfuse_lora.
///
/// Errors, and nothing has changed: NULL_ARGUMENT; INVALID_ARGUMENT if no adapter is active, if
/// they are disabled or fused already, or lora_scale does not lie in [-1e6, 1e6]; OUT_OF_MEMORY; BUSY if another
/// thread changed the adapters meanwhile. Threads: as cvx_pipeline_load_lora. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_fuse_lora(
    pipeline: *mut cvx_pipeline,
    lora_scale: f64,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let pipeline = unsafe { self::pipeline(pipeline)? };
        Ok(pipeline.fuse_lora(within("lora_scale", lora_scale, WEIGHTS)?)?)
    })
}

/// Takes back what cvx_pipeline_fuse_lora did, to the byte; the active adapters are in force as
/// before. Allowed also where nothing is fused, and without effect then.
///
/// Errors: NULL_ARGUMENT. Threads: as cvx_pipeline_load_lora. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_unfuse_lora(pipeline: *mut cvx_pipeline) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let pipeline = unsafe { self::pipeline(pipeline)? };
        Ok(pipeline.unfuse_lora()?)
    })
}

/// Unloads every adapter, and enables those that are loaded next. What is fused stays in the
/// weights of this handle for good, as with diffusers' unload_lora_weights: unfuse first to take
/// it back. Allowed also where none is loaded.
///
/// Errors: NULL_ARGUMENT. Threads: as cvx_pipeline_load_lora. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_unload_lora(pipeline: *mut cvx_pipeline) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let pipeline = unsafe { self::pipeline(pipeline)? };
        Ok(pipeline.unload_lora()?)
    })
}

/// How many adapters are loaded, active or not. 0 for NULL.
///
/// Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_num_adapters(pipeline: *const cvx_pipeline) -> i32 {
    infallible(0, || {
        // SAFETY: by the contract of the header.
        let pipeline = unsafe { peek(pipeline) };
        let count = pipeline.map_or(0, |pipeline| pipeline.pipeline.adapters().list().count());
        i32::try_from(count).unwrap_or(i32::MAX)
    })
}

/// Asks about the adapter that was loaded as number `index`; `otherwise` without one.
///
/// # Safety
/// `pipeline` is NULL or a live pipeline.
unsafe fn ask<T: Copy>(
    pipeline: *const cvx_pipeline,
    index: i32,
    otherwise: T,
    answer: impl FnOnce(&Names, &str, Option<f64>) -> T,
) -> T {
    infallible(otherwise, || {
        // SAFETY: the caller's.
        let Some(pipeline) = (unsafe { peek(pipeline) }) else { return otherwise };
        let adapters = pipeline.pipeline.adapters();
        let found = usize::try_from(index).ok().and_then(|index| adapters.list().nth(index));
        found.map_or(otherwise, |(name, weight)| answer(&pipeline.adapter_names, name, weight))
    })
}

/// The name of a loaded adapter. index counts from 0, in the order of loading; NULL if there is no
/// such adapter, or for NULL.
///
/// The text belongs to the pipeline and lives until it is freed, also when the adapter is
/// unloaded. Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_adapter_name(
    pipeline: *const cvx_pipeline,
    index: i32,
) -> *const c_char {
    // SAFETY: by the contract of the header.
    unsafe { ask(pipeline, index, std::ptr::null(), |names, name, _| names.hand_out(name)) }
}

/// The weight of a loaded adapter if it is active, 0 if it is not; 0 if there is no such adapter,
/// or for NULL. index counts from 0, in the order of loading.
///
/// Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_adapter_weight(
    pipeline: *const cvx_pipeline,
    index: i32,
) -> f64 {
    // SAFETY: by the contract of the header.
    unsafe { ask(pipeline, index, 0.0, |_, _, weight| weight.unwrap_or(0.0)) }
}
