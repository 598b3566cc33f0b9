//! The setters of `cvx_generate_options` that take a number or a string. Names and defaults
//! are those of `CogVideoXPipeline.__call__`.

use super::convert::{flag, optional_text, text, within};
use super::error::{cvx_error, Failure, Result};
use super::generate_options::cvx_generate_options;
use super::handle::borrow_mut;
use super::limits::{CVX_MAX_FRAMES, CVX_MAX_SEQUENCE_LENGTH, CVX_MAX_SIDE, CVX_MAX_VIDEOS};
use super::panic::fallible;
use super::pipeline_lora::WEIGHTS;
use crate::models::vae::Tiling;
use crate::pipeline::{GenerateOptions, Output};
use crate::tokenizer::MAX_TEXT_BYTES;
use std::ffi::c_char;

/// The video is decoded to frames.
pub const CVX_OUTPUT_FRAMES: i32 = 0;
/// The run ends with latents; the VAE does not run, and the video has no frames.
pub const CVX_OUTPUT_LATENTS: i32 = 1;

/// Runs a setter's body on the options behind the handle.
///
/// # Safety
/// `options` is NULL or a live handle that nobody else uses meanwhile.
unsafe fn set(
    options: *mut cvx_generate_options,
    change: impl FnOnce(&mut GenerateOptions) -> Result<()>,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: the caller's.
        change(&mut unsafe { borrow_mut(options, "options")? }.options)
    })
}

pub(super) fn bounded<'a>(parameter: &str, prompt: &'a str) -> Result<&'a str> {
    within(&format!("length of {parameter} in bytes"), prompt.len(), 0..=MAX_TEXT_BYTES)?;
    Ok(prompt)
}

/// What the video shows, in UTF-8, 256 KiB at most. Tokens beyond max_sequence_length are cut
/// off, and the log says so. Default: "". The text is copied.
///
/// Errors: NULL_ARGUMENT, INVALID_UTF8, INVALID_ARGUMENT. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_prompt(
    options: *mut cvx_generate_options,
    prompt: *const c_char,
) -> *mut cvx_error {
    // SAFETY: by the contract of the header.
    unsafe {
        set(options, |options| {
            options.prompt = bounded("prompt", text(prompt, "prompt")?)?.into();
            Ok(())
        })
    }
}

/// What guidance leads away from, in UTF-8, 256 KiB at most. Has no effect without guidance
/// (guidance_scale <= 1). Default: NULL, which means "". The text is copied.
///
/// Errors: INVALID_UTF8, INVALID_ARGUMENT. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_negative_prompt(
    options: *mut cvx_generate_options,
    negative_prompt_or_null: *const c_char,
) -> *mut cvx_error {
    // SAFETY: by the contract of the header.
    unsafe {
        set(options, |options| {
            let negative = optional_text(negative_prompt_or_null, "negative_prompt")?;
            options.negative_prompt = match negative {
                Some(negative) => Some(bounded("negative_prompt", negative)?.into()),
                None => None,
            };
            Ok(())
        })
    }
}

/// Width and height of the video in pixels, each from 8 to CVX_MAX_SIDE and a multiple of 8; the
/// run also checks them against the model's patches, and against the model's own size where
/// positions are learned (CogVideoX-5b-I2V). The 1.5 models were made for 1360 × 768, though their configs
/// say 2400 × 2400: the log warns of more than twice as many pixels. Default: 0, 0, the model's own size, see
/// cvx_pipeline_default_width.
///
/// Errors: INVALID_ARGUMENT. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_size(
    options: *mut cvx_generate_options,
    width: i32,
    height: i32,
) -> *mut cvx_error {
    // SAFETY: by the contract of the header.
    unsafe {
        set(options, |options| {
            if (width, height) == (0, 0) {
                (options.width, options.height) = (None, None);
                return Ok(());
            }
            for (name, value) in [("width", width), ("height", height)] {
                within(name, value, 8..=CVX_MAX_SIDE)?;
                if value % 8 != 0 {
                    return Err(Failure::invalid(format!(
                        "{name} must be a multiple of 8, found {value}"
                    )));
                }
            }
            (options.width, options.height) = (Some(width.into()), Some(height.into()));
            Ok(())
        })
    }
}

/// How many frames the video has, from 1 to CVX_MAX_FRAMES. They are made from
/// (num_frames - 1) / 4 + 1 latent frames, rounded down; an odd number n of those becomes 4 n - 3 frames, an even one
/// 4 n. So 9, 17, 49 and 81 are made as they are, and 5 becomes 8, as in the reference; the
/// log says so where the number changes. Default: 0, the model's own number, see
/// cvx_pipeline_default_num_frames.
///
/// Errors: INVALID_ARGUMENT. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_num_frames(
    options: *mut cvx_generate_options,
    num_frames: i32,
) -> *mut cvx_error {
    // SAFETY: by the contract of the header.
    unsafe {
        set(options, |options| {
            let asked = within("num_frames", num_frames, 0..=CVX_MAX_FRAMES)?;
            options.num_frames = (asked != 0).then_some(asked.into());
            Ok(())
        })
    }
}

/// How many denoising steps are made, from 1 to 100000; the run also checks that there are no
/// more than the model's training timesteps. Default: 50.
///
/// Errors: INVALID_ARGUMENT. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_num_inference_steps(
    options: *mut cvx_generate_options,
    num_inference_steps: i32,
) -> *mut cvx_error {
    // SAFETY: by the contract of the header.
    unsafe {
        set(options, |options| {
            options.num_inference_steps =
                within("num_inference_steps", num_inference_steps, 1..=100_000)?.into();
            Ok(())
        })
    }
}

/// How strongly the video follows the prompt. 1 or less means no guidance, which halves the
/// work of a step. Default: 6.
///
/// Errors: INVALID_ARGUMENT unless it is a number from -1e6 to 1e6. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_guidance_scale(
    options: *mut cvx_generate_options,
    guidance_scale: f64,
) -> *mut cvx_error {
    // SAFETY: by the contract of the header.
    unsafe {
        set(options, |options| {
            options.guidance_scale = within("guidance_scale", guidance_scale, -1e6..=1e6)?;
            Ok(())
        })
    }
}

/// What the weights of the active LoRA adapters are multiplied by in this run, as diffusers'
/// attention_kwargs={"scale": lora_scale} does; 0 runs as without adapters. Has no effect without
/// adapters, or on those that are fused. Default: 1.
///
/// Errors: INVALID_ARGUMENT unless it is a number from -1e6 to 1e6. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_lora_scale(
    options: *mut cvx_generate_options,
    lora_scale: f64,
) -> *mut cvx_error {
    // SAFETY: by the contract of the header.
    unsafe {
        set(options, |options| {
            options.lora_scale = within("lora_scale", lora_scale, WEIGHTS)?;
            Ok(())
        })
    }
}

/// With 1, guidance grows from 1 to guidance_scale over the run, along a cosine. Default: 0.
///
/// Errors: INVALID_ARGUMENT unless it is 0 or 1. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_use_dynamic_cfg(
    options: *mut cvx_generate_options,
    use_dynamic_cfg: i32,
) -> *mut cvx_error {
    // SAFETY: by the contract of the header.
    unsafe {
        set(options, |options| {
            options.use_dynamic_cfg = flag("use_dynamic_cfg", use_dynamic_cfg)?;
            Ok(())
        })
    }
}

/// How much noise each step of the DDIM scheduler adds: 0 (default) none, 1 as much as DDPM.
/// The DPM scheduler ignores it.
///
/// Errors: INVALID_ARGUMENT unless it lies in [0, 1]. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_eta(
    options: *mut cvx_generate_options,
    eta: f64,
) -> *mut cvx_error {
    // SAFETY: by the contract of the header.
    unsafe {
        set(options, |options| {
            options.eta = within("eta", eta, 0.0..=1.0)?;
            Ok(())
        })
    }
}

/// What the run's random numbers start from; any value. The same seed, options, device, dtype,
/// kind of CPU and number of threads (cvx_load_options_set_num_threads) give the same video, to
/// the byte where cvx_video_kernels says the same; and the same noise as
/// torch.Generator().manual_seed(seed) on the CPU. Another kind of CPU gives the same within
/// float32 rounding: the noise to the bit where both have AVX2, the frames within one level.
/// Default: 0.
///
/// Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_seed(
    options: *mut cvx_generate_options,
    seed: u64,
) -> *mut cvx_error {
    // SAFETY: by the contract of the header.
    unsafe {
        set(options, |options| {
            options.seed = seed;
            Ok(())
        })
    }
}

/// How many tokens a prompt is cut or padded to, from 1 to CVX_MAX_SEQUENCE_LENGTH. Default: 0, the
/// model's own number, see cvx_pipeline_default_max_sequence_length.
///
/// Errors: INVALID_ARGUMENT. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_max_sequence_length(
    options: *mut cvx_generate_options,
    max_sequence_length: i32,
) -> *mut cvx_error {
    // SAFETY: by the contract of the header.
    unsafe {
        set(options, |options| {
            let asked =
                within("max_sequence_length", max_sequence_length, 0..=CVX_MAX_SEQUENCE_LENGTH)?;
            options.max_sequence_length = (asked != 0).then_some(asked.into());
            Ok(())
        })
    }
}

/// How many videos of the prompt one run makes, from 1 to CVX_MAX_VIDEOS. Their noise is drawn as
/// one batch, so the first of several differs from the only one of a run of its own where the
/// reference's does; cvx_generate_options_set_seeds gives each a seed of its own, and
/// cvx_generate_options_set_prompts a prompt. Default: 1.
///
/// Errors: INVALID_ARGUMENT. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_num_videos(
    options: *mut cvx_generate_options,
    num_videos: i32,
) -> *mut cvx_error {
    // SAFETY: by the contract of the header.
    unsafe {
        set(options, |options| {
            options.num_videos = within("num_videos", num_videos, 1..=CVX_MAX_VIDEOS)?.into();
            Ok(())
        })
    }
}

/// What the run ends with: CVX_OUTPUT_FRAMES (default) or CVX_OUTPUT_LATENTS.
///
/// Errors: INVALID_ARGUMENT for another number. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_output(
    options: *mut cvx_generate_options,
    output: i32,
) -> *mut cvx_error {
    // SAFETY: by the contract of the header.
    unsafe {
        set(options, |options| {
            options.output = match output {
                CVX_OUTPUT_FRAMES => Output::Frames,
                CVX_OUTPUT_LATENTS => Output::Latents,
                other => {
                    return Err(Failure::invalid(format!(
                        "output must be CVX_OUTPUT_FRAMES ({CVX_OUTPUT_FRAMES}) or \
                         CVX_OUTPUT_LATENTS ({CVX_OUTPUT_LATENTS}), found {other}"
                    )))
                }
            };
            Ok(())
        })
    }
}

/// With 1, the VAE decodes tiles that overlap and are blended: less memory, more time, and a
/// slightly different picture. Tile size and overlap are the model's own unless
/// cvx_generate_options_set_vae_tile sets others. Default: 0.
///
/// Errors: INVALID_ARGUMENT unless it is 0 or 1. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_vae_tiling(
    options: *mut cvx_generate_options,
    enabled: i32,
) -> *mut cvx_error {
    // SAFETY: by the contract of the header.
    unsafe {
        set(options, |options| {
            options.decode.tiling =
                flag("enabled", enabled)?.then(|| options.decode.tiling.unwrap_or_default());
            Ok(())
        })
    }
}

/// Turns tiling on with tiles of tile_sample_min_height × tile_sample_min_width pixels (from 8
/// to CVX_MAX_SIDE; 0 is the model's own, half of its sample size) of which a tile shares the
/// fractions tile_overlap_factor_height and _width with its neighbours (from 0 to below 1; a
/// negative number is the model's own, 1/6 and 1/5).
///
/// Errors: INVALID_ARGUMENT. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_vae_tile(
    options: *mut cvx_generate_options,
    tile_sample_min_height: i32,
    tile_sample_min_width: i32,
    tile_overlap_factor_height: f64,
    tile_overlap_factor_width: f64,
) -> *mut cvx_error {
    let side = |name, value: i32| -> Result<Option<i64>> {
        if value == 0 {
            return Ok(None);
        }
        Ok(Some(within(name, value, 8..=CVX_MAX_SIDE)?.into()))
    };
    let factor = |name, value: f64| -> Result<Option<f64>> {
        if value < 0.0 {
            return Ok(None);
        }
        Ok(Some(within(name, value, 0.0..1.0)?))
    };
    // SAFETY: by the contract of the header.
    unsafe {
        set(options, |options| {
            options.decode.tiling = Some(Tiling {
                tile_sample_min_height: side("tile_sample_min_height", tile_sample_min_height)?,
                tile_sample_min_width: side("tile_sample_min_width", tile_sample_min_width)?,
                tile_overlap_factor_height: factor(
                    "tile_overlap_factor_height",
                    tile_overlap_factor_height,
                )?,
                tile_overlap_factor_width: factor(
                    "tile_overlap_factor_width",
                    tile_overlap_factor_width,
                )?,
            });
            Ok(())
        })
    }
}

/// With 1, the VAE decodes several videos one after another instead of together: less memory,
/// the same picture. Default: 0.
///
/// Errors: INVALID_ARGUMENT unless it is 0 or 1. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_vae_slicing(
    options: *mut cvx_generate_options,
    enabled: i32,
) -> *mut cvx_error {
    // SAFETY: by the contract of the header.
    unsafe {
        set(options, |options| {
            options.decode.slicing = flag("enabled", enabled)?;
            Ok(())
        })
    }
}

/// With 1 (default), a run that can't fit into memory is refused with OUT_OF_MEMORY and the numbers
/// before anything is computed, see cvx_pipeline_estimate_memory: more than the machine, the
/// process's control group or its address space has left, on CUDA more than the device has beside
/// what this process uses. With 0 it is begun all the same.
///
/// Errors: INVALID_ARGUMENT unless memory_check is 0 or 1. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_memory_check(
    options: *mut cvx_generate_options,
    memory_check: i32,
) -> *mut cvx_error {
    // SAFETY: by the contract of the header.
    unsafe {
        set(options, |options| {
            options.memory_check = flag("memory_check", memory_check)?;
            Ok(())
        })
    }
}
