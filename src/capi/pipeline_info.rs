//! What a pipeline was loaded as. It is gathered once, so that asking never waits for a run.

use super::convert::{slice_mut, within, Out};
use super::error::{cvx_error, one_line, Failure, Result};
use super::generate_options::cvx_generate_options;
use super::handle::{borrow, optional, peek};
use super::limits::CVX_MAX_VIDEOS;
use super::panic::{fallible, infallible};
use super::pipeline::cvx_pipeline;
use crate::checkpoint::config::{Positions, SchedulerClass, TransformerConfig};
use crate::checkpoint::folder::Task;
use crate::checkpoint::PipelineFolder;
use crate::pipeline::{GenerateOptions, Pipeline};
use crate::runtime::DType;
use std::ffi::{c_char, CStr, CString};
use tch::Device;

/// Frames per second that the published models were trained at: 8, and 16 for the 1.5 family,
/// whose configs set `patch_size_t`.
const FPS: f64 = 8.0;
const FPS_1_5: f64 = 16.0;

/// A video is made from a prompt, or from a prompt and a video, see cvx_generate_options_set_video:
/// the networks are the same.
pub const CVX_TASK_TEXT_TO_VIDEO: i32 = 1;
/// A video is made from a prompt and an image, which is its first frame, see
/// cvx_generate_options_set_image.
pub const CVX_TASK_IMAGE_TO_VIDEO: i32 = 2;
/// A video is made from a prompt and a video, see cvx_generate_options_set_video.
pub const CVX_TASK_VIDEO_TO_VIDEO: i32 = 3;
/// A video is made from a prompt and a video that it follows, such as edges, poses or depths, see
/// cvx_generate_options_set_control_video.
pub const CVX_TASK_CONTROL: i32 = 4;
/// A video is made from a prompt and what there is of it already: a first frame, a last one
/// (cvx_generate_options_set_image, cvx_generate_options_set_last_image), or the parts of a video that a
/// mask leaves (cvx_generate_options_set_mask); or from a prompt alone.
pub const CVX_TASK_INPAINTING: i32 = 5;

/// What never changes about a pipeline and its clones.
pub(super) struct Facts {
    task: i32,
    family: CString,
    device: CString,
    dtype: &'static CStr,
    attention_names: Vec<CString>,
    width: i32,
    height: i32,
    num_frames: i32,
    fps: f64,
    max_sequence_length: i32,
    text_embed_dim: i32,
}

impl Facts {
    pub fn of(pipeline: &Pipeline) -> Result<Facts> {
        let folder = pipeline.folder();
        let transformer = &folder.transformer;
        let scale = 1i64
            .checked_shl(folder.vae.block_out_channels.len().saturating_sub(1) as u32)
            .unwrap_or(0);
        Ok(Facts {
            task: match folder.task {
                Task::TextToVideo => CVX_TASK_TEXT_TO_VIDEO,
                Task::ImageToVideo => CVX_TASK_IMAGE_TO_VIDEO,
                Task::VideoToVideo => CVX_TASK_VIDEO_TO_VIDEO,
                Task::Control => CVX_TASK_CONTROL,
                Task::Inpainting => CVX_TASK_INPAINTING,
            },
            family: one_line(&family(folder)),
            device: one_line(&device_name(pipeline.placement().device)),
            dtype: match pipeline.placement().dtype {
                DType::F32 => c"f32",
                DType::F16 => c"f16",
                DType::BF16 => c"bf16",
            },
            attention_names: pipeline.attention_names().iter().map(|name| one_line(name)).collect(),
            width: side("sample_width", transformer.sample_width, scale)?,
            height: side("sample_height", transformer.sample_height, scale)?,
            num_frames: side("sample_frames", transformer.sample_frames, 1)?,
            fps: if transformer.patch_size_t.is_some() { FPS_1_5 } else { FPS },
            max_sequence_length: side("max_text_seq_length", transformer.max_text_seq_length, 1)?,
            text_embed_dim: side("d_model", folder.text_encoder.d_model, 1)?,
        })
    }
}

/// `value * scale` as the header's type; a config can hold any number.
fn side(field: &str, value: i64, scale: i64) -> Result<i32> {
    value.checked_mul(scale).and_then(|product| i32::try_from(product).ok()).ok_or_else(|| {
        crate::Error::UnsupportedModel(format!(
            "config field {field} is too large: {value} × {scale}"
        ))
        .into()
    })
}

fn family(folder: &PipelineFolder) -> String {
    let config = &folder.transformer;
    let TransformerConfig { patch_size_t, num_layers, .. } = config;
    let series = if patch_size_t.is_some() { "CogVideoX 1.5" } else { "CogVideoX 1.0" };
    let task = match folder.task {
        Task::TextToVideo => String::new(),
        task => format!(", {}", task.name()),
    };
    let positions = match config.positions {
        Positions::RotaryAndLearned => "rotary and learned",
        Positions::Rotary => "rotary",
        Positions::Sincos => "sine-cosine",
    };
    let scheduler = match folder.scheduler.class {
        SchedulerClass::Ddim => "DDIM",
        SchedulerClass::Dpm => "DPM",
    };
    format!("{series}{task}, {positions} positions, {num_layers} layers, {scheduler} scheduler")
}

fn device_name(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        Device::Cpu => "cpu".into(),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// Asks the facts behind a handle; `otherwise` is the answer for NULL.
///
/// # Safety
/// `pipeline` is NULL or a live pipeline; what is answered must not outlive it.
unsafe fn ask<T: Copy>(
    pipeline: *const cvx_pipeline,
    otherwise: T,
    answer: impl FnOnce(&Facts) -> T,
) -> T {
    infallible(otherwise, || {
        // SAFETY: the caller's.
        unsafe { peek(pipeline) }.map_or(otherwise, |pipeline| answer(&pipeline.facts))
    })
}

/// What the pipeline makes videos from: one of CVX_TASK_*, by the class that model_index.json names, and
/// for control and inpainting by the transformer's channels. 0 for NULL.
///
/// Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_task(pipeline: *const cvx_pipeline) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe { ask(pipeline, 0, |facts| facts.task) }
}

/// What the configs describe, for people: such as "CogVideoX 1.0, rotary positions, 42 layers,
/// DPM scheduler". "" for NULL.
///
/// The text belongs to the pipeline and lives until it is freed. Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_family(pipeline: *const cvx_pipeline) -> *const c_char {
    // SAFETY: by the contract of the header.
    unsafe { ask(pipeline, c"".as_ptr(), |facts| facts.family.as_ptr()) }
}

/// Where the pipeline computes: "cpu" or "cuda:N". "" for NULL.
///
/// The text belongs to the pipeline and lives until it is freed. Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_device(pipeline: *const cvx_pipeline) -> *const c_char {
    // SAFETY: by the contract of the header.
    unsafe { ask(pipeline, c"".as_ptr(), |facts| facts.device.as_ptr()) }
}

/// The floating-point type of the computation: "f32", "f16" or "bf16". "" for NULL.
///
/// The text is static and never freed. Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_dtype(pipeline: *const cvx_pipeline) -> *const c_char {
    // SAFETY: by the contract of the header.
    unsafe { ask(pipeline, c"".as_ptr(), |facts| facts.dtype.as_ptr()) }
}

/// The width in pixels of a run that sets no size. 0 for NULL.
///
/// Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_default_width(pipeline: *const cvx_pipeline) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe { ask(pipeline, 0, |facts| facts.width) }
}

/// The height in pixels of a run that sets no size. 0 for NULL.
///
/// Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_default_height(pipeline: *const cvx_pipeline) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe { ask(pipeline, 0, |facts| facts.height) }
}

/// The number of frames of a run that sets none. 0 for NULL.
///
/// Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_default_num_frames(pipeline: *const cvx_pipeline) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe { ask(pipeline, 0, |facts| facts.num_frames) }
}

/// The frames per second that the family was trained at, for cvx_video_save: 8, or 16 for the
/// 1.5 family. 0 for NULL.
///
/// Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_default_fps(pipeline: *const cvx_pipeline) -> f64 {
    // SAFETY: by the contract of the header.
    unsafe { ask(pipeline, 0.0, |facts| facts.fps) }
}

/// The number of denoising steps of a run that sets none. 0 for NULL.
///
/// Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_default_num_inference_steps(
    pipeline: *const cvx_pipeline,
) -> i32 {
    let steps = i32::try_from(GenerateOptions::default().num_inference_steps).unwrap_or(0);
    // SAFETY: by the contract of the header.
    unsafe { ask(pipeline, 0, |_| steps) }
}

/// The guidance scale of a run that sets none. 0 for NULL.
///
/// Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_default_guidance_scale(pipeline: *const cvx_pipeline) -> f64 {
    // SAFETY: by the contract of the header.
    unsafe { ask(pipeline, 0.0, |_| GenerateOptions::default().guidance_scale) }
}

/// The number of tokens that a prompt is cut or padded to in a run that sets none. 0 for NULL.
///
/// Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_default_max_sequence_length(
    pipeline: *const cvx_pipeline,
) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe { ask(pipeline, 0, |facts| facts.max_sequence_length) }
}

/// The width of the text encoder's output, for cvx_pipeline_encode_prompt. 0 for NULL.
///
/// Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_text_embed_dim(pipeline: *const cvx_pipeline) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe { ask(pipeline, 0, |facts| facts.text_embed_dim) }
}

/// The number of attention layers, which is how many a cache decides about. 0 for NULL.
///
/// Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_num_attention_layers(pipeline: *const cvx_pipeline) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe {
        ask(pipeline, 0, |facts| i32::try_from(facts.attention_names.len()).unwrap_or(i32::MAX))
    }
}

/// The name of an attention layer in the checkpoint, such as "transformer_blocks.0.attn1"; a
/// cache's block identifiers are matched against it. layer counts from 0; NULL if there is no
/// such layer, or for NULL.
///
/// The text belongs to the pipeline and lives until it is freed. Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_attention_layer_name(
    pipeline: *const cvx_pipeline,
    layer: i32,
) -> *const c_char {
    // SAFETY: by the contract of the header.
    unsafe {
        ask(pipeline, std::ptr::null(), |facts| {
            let name = usize::try_from(layer).ok().and_then(|i| facts.attention_names.get(i));
            name.map_or(std::ptr::null(), |name| name.as_ptr())
        })
    }
}

/// How many bytes the folder's weights take that are in memory now, on the device or the host.
/// Clones share them: each returns the same bytes. LoRA adapters, and the copies that fusing makes,
/// are not among them. 0 for NULL.
///
/// Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_weight_bytes(pipeline: *const cvx_pipeline) -> u64 {
    infallible(0, || {
        // SAFETY: by the contract of the header.
        unsafe { peek(pipeline) }.map_or(0, |pipeline| pipeline.pipeline.weight_bytes())
    })
}

/// About how many bytes of memory a run with these options takes at its peak on the pipeline's
/// device, with the cache that is enabled now: beside the weights and all else that is in memory
/// already. Runs of some size were measured on the CPU to take between 0.5 and 1.5 times that; on a
/// CUDA device it is what libtorch's allocator counts, within 5% for published models, without the
/// workspaces of CUDA's libraries. NULL options mean every default. Weights that are read on demand
/// are not counted.
///
/// Errors: NULL_ARGUMENT, INVALID_ARGUMENT (an option the model cannot honour), as
/// cvx_pipeline_generate. Threads: any, also while the pipeline generates. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_estimate_memory(
    pipeline: *const cvx_pipeline,
    options_or_null: *const cvx_generate_options,
    out_bytes: *mut u64,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (pipeline, options, out) = unsafe {
            (
                borrow(pipeline, "pipeline")?,
                optional(options_or_null, "options")?,
                Out::new(out_bytes, "out_bytes")?,
            )
        };
        let options = match options {
            Some(options) => options.snapshot().0,
            None => GenerateOptions::default(),
        };
        out.write(pipeline.pipeline.estimate_memory(&options)?);
        Ok(())
    })
}

/// The shape of the latents of a run: writes (num_videos, latent frames, channels, latent
/// height, latent width) to the 5 numbers at out_shape. A width and height of 0, or a
/// num_frames of 0, mean the model's own. In the 1.5 family, latent frames count the padding
/// frames at the front that a run drops before it decodes; out_padding_frames_or_null says how
/// many those are.
///
/// Errors: INVALID_ARGUMENT for a size that the model cannot make. Threads: any, also while
/// the pipeline generates. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_latent_shape(
    pipeline: *const cvx_pipeline,
    num_videos: i32,
    width: i32,
    height: i32,
    num_frames: i32,
    out_shape: *mut i64,
    out_padding_frames_or_null: *mut i32,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (pipeline, out) =
            unsafe { (borrow(pipeline, "pipeline")?, slice_mut(out_shape, 5, "out_shape")?) };
        within("num_videos", num_videos, 1..=CVX_MAX_VIDEOS)?;
        if (width == 0) != (height == 0) {
            return Err(Failure::invalid(format!(
                "width and height must both be 0 or neither, found {width} and {height}"
            )));
        }
        let given = |value: i32| (value != 0).then_some(i64::from(value));
        let [frames, channels, latent_height, latent_width] =
            pipeline.pipeline.latent_shape(given(num_frames), given(height), given(width))?;
        let folder = pipeline.pipeline.folder();
        let asked = given(num_frames).unwrap_or(folder.transformer.sample_frames);
        let decoded = (asked - 1) / folder.vae.temporal_compression_ratio.max(1) + 1;
        out.copy_from_slice(&[num_videos.into(), frames, channels, latent_height, latent_width]);
        // SAFETY: by the contract of the header.
        if let Some(out) = unsafe { Out::optional(out_padding_frames_or_null) } {
            out.write(i32::try_from(frames.saturating_sub(decoded)).unwrap_or(0));
        }
        Ok(())
    })
}
