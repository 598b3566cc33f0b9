//! Generating, and the pieces of it by themselves.

use super::convert::{slice_mut, text, within, Out};
use super::error::{cvx_error, Failure};
use super::generate_options::{cvx_generate_options, latents_tensor};
use super::handle::{borrow, optional};
use super::panic::fallible;
use super::pipeline::{cvx_pipeline, pipeline};
use super::video::cvx_video;
use crate::pipeline::limits::MAX_SEQUENCE_LENGTH;
use crate::pipeline::GenerateOptions;
use crate::runtime::{device_threads, Control};
use std::ffi::c_char;
use tch::{Device, Kind};

/// Generates what options ask for. On success *out_video is a new video, owned by the caller,
/// freed with cvx_video_free; it does not depend on the pipeline or the options. However the
/// run ends, the pipeline is as usable as before.
///
/// Errors: INVALID_ARGUMENT (an option the model cannot honour, an image that is missing or has no
/// use, a frames buffer that is too small), BUSY, CANCELLED, CALLBACK_FAILED, OUT_OF_MEMORY. Threads: any; while it runs, a second call on this
/// pipeline, from whatever thread, is BUSY. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_generate(
    pipeline: *mut cvx_pipeline,
    options: *const cvx_generate_options,
    out_video: *mut *mut cvx_video,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (pipeline, (options, control), out) = unsafe {
            (
                self::pipeline(pipeline)?,
                borrow(options, "options")?.snapshot(),
                Out::new(out_video, "out_video")?,
            )
        };
        let video = pipeline.generate(&options, &control)?;
        out.hand_over(cvx_video::new(video)?);
        Ok(())
    })
}

/// The token ids of a text: writes exactly length numbers to out_ids, the text's ids cut to
/// length, ended by the end-of-sequence id and padded. length is the max_sequence_length of a
/// run, from 1 to CVX_MAX_SEQUENCE_LENGTH.
///
/// Errors: NULL_ARGUMENT, INVALID_UTF8, INVALID_ARGUMENT. Threads: any, also while the
/// pipeline generates. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_tokenize(
    pipeline: *const cvx_pipeline,
    text: *const c_char,
    out_ids: *mut i64,
    length: usize,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let pipeline = unsafe { self::pipeline(pipeline)? };
        within("length", length, 1..=MAX_SEQUENCE_LENGTH as usize)?;
        // SAFETY: by the contract of the header.
        let (text, out) =
            unsafe { (self::text(text, "text")?, slice_mut(out_ids, length, "out_ids")?) };
        let ids = pipeline.tokenize(text, Some(length as i64), &Control::default())?;
        if ids.len() != length {
            return Err(Failure::internal(format!("{} ids instead of {length}", ids.len())));
        }
        out.copy_from_slice(&ids);
        Ok(())
    })
}

/// The text encoder's output for a text of max_sequence_length tokens (from 1 to
/// CVX_MAX_SEQUENCE_LENGTH): writes
/// max_sequence_length × cvx_pipeline_text_embed_dim numbers to out_embeddings, token by token,
/// whatever the pipeline's own dtype is. capacity is how many numbers there is room for.
///
/// Errors: NULL_ARGUMENT, INVALID_UTF8, INVALID_ARGUMENT (too little room), BUSY,
/// OUT_OF_MEMORY. Threads: as cvx_pipeline_generate. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_encode_prompt(
    pipeline: *mut cvx_pipeline,
    text: *const c_char,
    max_sequence_length: usize,
    out_embeddings: *mut f32,
    capacity: usize,
) -> *mut cvx_error {
    // SAFETY: by the contract of the header.
    fallible(|| unsafe {
        let options = std::ptr::null();
        encode_prompt(pipeline, text, max_sequence_length, out_embeddings, capacity, options)
    })
}

/// As cvx_pipeline_encode_prompt, followed and stopped as a run is: options_or_null gives cancel
/// token, progress callback (stage CVX_STAGE_ENCODE) and log callback; its other settings do not
/// matter here. A cancelled token ends it on the CPU within about a quarter of a second; nothing is
/// written to out_embeddings then.
///
/// Errors: those of cvx_pipeline_encode_prompt, CANCELLED, CALLBACK_FAILED. Threads: as
/// cvx_pipeline_generate. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_encode_prompt_with(
    pipeline: *mut cvx_pipeline,
    text: *const c_char,
    max_sequence_length: usize,
    out_embeddings: *mut f32,
    capacity: usize,
    options_or_null: *const cvx_generate_options,
) -> *mut cvx_error {
    // SAFETY: by the contract of the header.
    fallible(|| unsafe {
        encode_prompt(
            pipeline,
            text,
            max_sequence_length,
            out_embeddings,
            capacity,
            options_or_null,
        )
    })
}

/// # Safety
/// The pointers are what the header says of both functions above.
unsafe fn encode_prompt(
    pipeline: *mut cvx_pipeline,
    text: *const c_char,
    max_sequence_length: usize,
    out_embeddings: *mut f32,
    capacity: usize,
    options_or_null: *const cvx_generate_options,
) -> super::error::Result<()> {
    // SAFETY: the caller's.
    let pipeline = unsafe { self::pipeline(pipeline)? };
    within("max_sequence_length", max_sequence_length, 1..=MAX_SEQUENCE_LENGTH as usize)?;
    // SAFETY: the caller's.
    let (text, options) =
        unsafe { (self::text(text, "text")?, optional(options_or_null, "options")?) };
    let control = options.map_or_else(Control::default, |options| options.snapshot().1);
    let width = usize::try_from(pipeline.folder().text_encoder.d_model).unwrap_or(usize::MAX);
    let needed = max_sequence_length.saturating_mul(width);
    within("capacity", capacity, needed..)?;
    // SAFETY: the caller's; there is room for `capacity`, which is more.
    let out = unsafe { slice_mut(out_embeddings, needed, "out_embeddings")? };
    let length = max_sequence_length as i64;
    let embeddings = pipeline.encode_prompt(text, Some(length), &control)?;
    let embeddings = device_threads::on(embeddings.device(), || {
        embeddings.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()
    })?;
    embeddings.f_copy_data(out, needed)?;
    Ok(())
}

/// Decodes latents as runs end with them, of shape (videos, latent frames, channels, latent
/// height, latent width), densely packed at data; without the padding frames that the 1.5
/// family has in front (see cvx_pipeline_latent_shape). options_or_null gives tiling, slicing,
/// where frames go, callbacks and cancel token; its other settings do not matter here. On success *out_video
/// is a new video, owned by the caller, freed with cvx_video_free.
///
/// Errors: NULL_ARGUMENT, INVALID_ARGUMENT (shape), BUSY, CANCELLED, OUT_OF_MEMORY.
/// Threads: as cvx_pipeline_generate. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_decode_latents(
    pipeline: *mut cvx_pipeline,
    data: *const f32,
    shape: *const i64,
    rank: usize,
    options_or_null: *const cvx_generate_options,
    out_video: *mut *mut cvx_video,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (pipeline, latents, options, out) = unsafe {
            (
                self::pipeline(pipeline)?,
                latents_tensor(data, shape, rank)?,
                optional(options_or_null, "options")?,
                Out::new(out_video, "out_video")?,
            )
        };
        let (options, control) = match options {
            Some(options) => options.snapshot(),
            None => (GenerateOptions::default(), Control::default()),
        };
        let video = pipeline.decode_latents(&latents, &options, &control)?;
        out.hand_over(cvx_video::new(video)?);
        Ok(())
    })
}
