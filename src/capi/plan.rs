//! `cvx_plan`: what a run will take, before anything is loaded.

use super::cache_config::cvx_cache_config;
use super::convert::{text, Out};
use super::error::cvx_error;
use super::generate_options::cvx_generate_options;
use super::handle::{borrow, borrow_mut, free, optional, peek};
use super::load_options::cvx_load_options;
use super::panic::{fallible, infallible};
use crate::pipeline::plan::Plan;
use crate::pipeline::{GenerateOptions, LoadOptions};
use std::ffi::{c_char, CString};
use std::path::Path;

/// What a run takes in each way of keeping the weights, and which of them fit into a budget. Made by
/// cvx_plan_new, freed by cvx_plan_free; it does not change.
///
/// Since 0.1.
pub struct cvx_plan {
    plan: Plan,
    text: CString,
    json: CString,
}

/// Plans a run from the configs of a pipeline folder alone: nothing is loaded, and weight files need
/// not be there. load_options say device and dtype ("cuda" need not be there either; a dtype "auto"
/// that the transformer's file would tell is bf16 where there is none), generate_options size,
/// frames, videos, steps, guidance and output, cache what is kept beside. NULL for any of them means
/// every default. budget_bytes is what the device, or the host where "cpu" computes, has for the
/// whole process; 0: no bound.
///
/// The ways are "resident", "stream text encoder", "offload", "offload, stream text encoder", "stream"
/// and "offload, stream" (cvx_load_options_set_weight_streaming with "file", and
/// cvx_load_options_set_offload), each with frames decoded whole and in tiles. For each the plan has
/// the most bytes while the prompt is encoded, while latents are denoised and while frames are
/// decoded, weights included, and how long a run takes beside one with resident weights: by the work
/// there is and by round numbers for the speed of devices and of reading, so it is for comparing.
/// On CUDA the bytes are what libtorch's allocator counts, within a tenth (in
/// tiles up to three tenths less is taken); what CUDA itself and
/// cuDNN's workspaces take comes on top. On the CPU a phase takes between 0.5 and 1.5 times that.
/// Matrices are counted as cvx_load_options_set_component_quantization or the folder's configs have
/// them, with what one takes that is made dense for a product; a plan never quantizes by itself.
/// What a cache keeps is counted in its cache_dtype and where its cache_location puts it. On success
/// *out_plan is owned by the caller.
///
/// Errors: NULL_ARGUMENT; those of cvx_pipeline_load for the folder's configs; INVALID_ARGUMENT for
/// options that the model can't run. Threads: any. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_plan_new(
    folder: *const c_char,
    load_options_or_null: *const cvx_load_options,
    generate_options_or_null: *const cvx_generate_options,
    cache_or_null: *const cvx_cache_config,
    budget_bytes: u64,
    out_plan: *mut *mut cvx_plan,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (folder, load, options, cache, out) = unsafe {
            (
                text(folder, "folder")?,
                optional(load_options_or_null, "load_options")?,
                optional(generate_options_or_null, "generate_options")?,
                optional(cache_or_null, "cache")?,
                Out::new(out_plan, "out_plan")?,
            )
        };
        let load = load.map_or_else(LoadOptions::default, |load| load.options.clone());
        let options = match options {
            Some(options) => options.snapshot().0,
            None => GenerateOptions::default(),
        };
        let budget = (budget_bytes != 0).then_some(budget_bytes);
        let cache = cache.map(|cache| &cache.config);
        let plan = Plan::new(Path::new(folder), &load, &options, cache, budget)?;
        let lines = CString::new(plan.text()).unwrap_or_default();
        let json = CString::new(plan.json().to_string()).unwrap_or_default();
        out.hand_over(cvx_plan { plan, text: lines, json });
        Ok(())
    })
}

/// Frees a plan. NULL is allowed and does nothing.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_plan_free(plan: *mut cvx_plan) {
    infallible((), || {
        // SAFETY: NULL or a plan that `cvx_plan_new` handed out, not freed yet.
        unsafe { free(plan) }
    })
}

/// The plan as a table, a line for each way, in gigabytes of 1e9 bytes. It lives as long as the plan.
/// Empty for NULL.
///
/// Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_plan_text(plan: *const cvx_plan) -> *const c_char {
    infallible(c"".as_ptr(), || {
        // SAFETY: by the contract of the header.
        unsafe { peek(plan) }.map_or(c"".as_ptr(), |plan| plan.text.as_ptr())
    })
}

/// The plan as JSON: "device", "dtype", "budget_bytes" (null without), "weights" and "working" (bytes
/// of each network, and of each phase beside them), "choices", a list of objects with "mode",
/// "offload", "text_encoder" and "transformer" (their streaming), "tiles", "encode_bytes",
/// "denoise_bytes", "decode_bytes", "peak_bytes", "fits" and "relative_time"; and "best", the place
/// in that list of the fastest that fits, or null. It lives as long as the plan. Empty for NULL.
///
/// Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_plan_json(plan: *const cvx_plan) -> *const c_char {
    infallible(c"".as_ptr(), || {
        // SAFETY: by the contract of the header.
        unsafe { peek(plan) }.map_or(c"".as_ptr(), |plan| plan.json.as_ptr())
    })
}

/// Sets load options to the fastest way that fits: offloading, and the streaming of both networks.
/// Where that wants tiles, runs of the pipeline then decode in tiles if what is left of the plan's
/// budget is too little for whole frames.
///
/// Errors: NULL_ARGUMENT; OUT_OF_MEMORY where none fits, with the least that would do; the options are
/// as before then. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_plan_apply(
    plan: *const cvx_plan,
    load_options: *mut cvx_load_options,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (plan, options) =
            unsafe { (borrow(plan, "plan")?, borrow_mut(load_options, "load_options")?) };
        let choice = plan.plan.choose()?;
        options.options.memory_budget = None;
        options.options.residency = choice.mode.residency;
        options.options.streaming = choice.mode.streaming;
        options.options.tiles_within = if choice.tiles { plan.plan.budget } else { None };
        Ok(())
    })
}
