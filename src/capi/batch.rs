//! Several videos in one run, each with a prompt and a seed of its own.

use super::convert::{slice, text, within};
use super::error::{cvx_error, Result};
use super::generate_options::cvx_generate_options;
use super::generate_settings::bounded;
use super::handle::borrow_mut;
use super::limits::CVX_MAX_VIDEOS;
use super::panic::fallible;
use std::ffi::c_char;

/// Makes a video of each of count prompts in one run, in place of the one prompt of
/// cvx_generate_options_set_prompt, which must be "" then: video i is that of prompts[i], as diffusers'
/// call makes it of a list of prompts. num_videos stays 1, or is count. Each prompt is in UTF-8, of 256
/// KiB at most; there are CVX_MAX_VIDEOS at most. A step of the whole batch costs about as much as one
/// of each, and memory grows with it: see cvx_pipeline_estimate_memory. A count of 0 (default) goes
/// back to the one prompt. The texts are copied.
///
/// Without seeds of their own (cvx_generate_options_set_seeds), all noise is drawn as one batch from
/// the run's seed.
///
/// Errors: NULL_ARGUMENT, INVALID_UTF8, INVALID_ARGUMENT, naming the position; the prompts that were
/// set before stay. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_prompts(
    options: *mut cvx_generate_options,
    prompts: *const *const c_char,
    count: usize,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let options = unsafe { borrow_mut(options, "options")? };
        // SAFETY: by the contract of the header.
        options.options.prompts = unsafe { texts(prompts, count, "prompts")? };
        Ok(())
    })
}

/// A negative prompt for each video, in place of the one of all
/// (cvx_generate_options_set_negative_prompt, which must be "" or NULL then). There must be as many as
/// the run makes videos, which the run checks. A count of 0 (default) goes back to the one of all.
/// The texts are copied.
///
/// Errors: as cvx_generate_options_set_prompts. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_negative_prompts(
    options: *mut cvx_generate_options,
    negative_prompts: *const *const c_char,
    count: usize,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let options = unsafe { borrow_mut(options, "options")? };
        // SAFETY: by the contract of the header.
        let texts = unsafe { texts(negative_prompts, count, "negative_prompts")? };
        options.options.negative_prompts = texts;
        Ok(())
    })
}

/// A seed for each video, in place of the run's seed, as a list of generators in diffusers: video i is
/// drawn from seeds[i] alone, and so is, within rounding, the one that a run of its own with that seed
/// and prompt makes. There must be as many as the run makes videos (of several prompts, or num_videos
/// of one), which the run checks; there are CVX_MAX_VIDEOS at most. A count of 0 (default) goes back
/// to the one seed. The array is copied.
///
/// Errors: NULL_ARGUMENT, INVALID_ARGUMENT. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_seeds(
    options: *mut cvx_generate_options,
    seeds: *const u64,
    count: usize,
) -> *mut cvx_error {
    fallible(|| {
        within("count of seeds", count, ..=CVX_MAX_VIDEOS as usize)?;
        // SAFETY: by the contract of the header.
        let (options, seeds) =
            unsafe { (borrow_mut(options, "options")?, slice(seeds, count, "seeds")?) };
        options.options.seeds = seeds.to_vec();
        Ok(())
    })
}

/// Copies of `count` texts.
///
/// # Safety
/// `texts` is NULL or holds `count` pointers to texts, or NULL, that live during the call.
unsafe fn texts(texts: *const *const c_char, count: usize, name: &str) -> Result<Vec<String>> {
    within(&format!("count of {name}"), count, ..=CVX_MAX_VIDEOS as usize)?;
    // SAFETY: the caller's.
    let pointers = unsafe { slice(texts, count, name)? };
    let copy = |(position, &pointer): (usize, &*const c_char)| {
        let name = format!("{name}[{position}]");
        // SAFETY: the caller's.
        Ok(bounded(&name, unsafe { text(pointer, &name)? })?.to_string())
    };
    pointers.iter().enumerate().map(copy).collect()
}
