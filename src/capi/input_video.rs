//! The videos that a run begins with: `cvx_generate_options_set_video` and what belongs to it.

use super::convert::within;
use super::error::{cvx_error, Failure, Result};
use super::frames::pixels_of;
use super::generate_options::cvx_generate_options;
use super::handle::borrow_mut;
use super::image::{bytes, floats, layout};
use super::limits::CVX_MAX_FRAMES;
use super::panic::fallible;
use crate::image::{self, Clip, Image};
use crate::video::pixels::Pixels;
use std::ffi::c_void;
use std::sync::Arc;

const ROW_STRIDE: &str = "row_stride_bytes";

/// The video that the run begins with: it is made noisy and then made anew from there, as the prompt
/// says, by as much as cvx_generate_options_set_strength asks for (diffusers'
/// CogVideoXVideoToVideoPipeline). A pipeline for video to video (see cvx_pipeline_task) needs one, a
/// pipeline for text to video takes one, others do not.
///
/// Row y of frame f starts at data + f * frame_stride_bytes + y * row_stride_bytes, rows from top to
/// bottom, frames from the first to the last; format is one of CVX_PIXELS_*. Alpha is dropped, as it
/// is. Floats lie in [0, 1] and are aligned to 4 bytes, and so are the strides then. A
/// row_stride_bytes of 0 stands for densely packed rows, a frame_stride_bytes of 0 for frames that
/// follow each other without a gap. The pixels are copied: they may be freed or changed at once.
/// width and height are from 1 to 16384 and need not be those of the run: each frame is resized to
/// them, without keeping its proportions, as cvx_generate_options_set_image does.
///
/// The run makes as many frames as the video has, from 1 to CVX_MAX_FRAMES; num_frames stays unset, or
/// says the same number. They become (num_frames - 1) / 4 + 1 latent frames, rounded down, and the
/// run ends with the frames that those make, see cvx_generate_options_set_num_frames: 9, 17, 25, 49
/// and 81 stay as many. In the 1.5 family latent frames must be even in number, since they are not
/// padded here: 13 to 16, 45 to 48 or 77 to 80 frames will do, and 81 will not, which the run says.
/// NULL data (default) takes the video away again.
///
/// Memory: the VAE's encoder of a pipeline for text to video is read from the folder when a run first
/// needs it, and stays with the weights.
///
/// Errors: INVALID_ARGUMENT (size, count, strides, format, a float outside [0, 1]), OUT_OF_MEMORY; the
/// video that was set before stays. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_video(
    options: *mut cvx_generate_options,
    data_or_null: *const c_void,
    width: i32,
    height: i32,
    num_frames: i32,
    row_stride_bytes: usize,
    frame_stride_bytes: usize,
    format: i32,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let options = unsafe { borrow_mut(options, "options")? };
        let strides = [row_stride_bytes, frame_stride_bytes];
        // SAFETY: by the contract of the header.
        options.options.video =
            unsafe { clip(data_or_null, [width, height, num_frames], strides, format)? };
        Ok(())
    })
}

/// How much of the video is made anew, from 0 to 1: 1 keeps nothing of it but what its latents leave
/// in the noise, smaller numbers keep more and take fewer steps, num_inference_steps * strength of
/// them, rounded down; at least one must be left. A negative number goes back to the default: 0.8.
/// Only with a video.
///
/// Errors: INVALID_ARGUMENT if strength is above 1 or no number. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_strength(
    options: *mut cvx_generate_options,
    strength: f64,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let options = unsafe { borrow_mut(options, "options")? };
        options.options.strength =
            if strength < 0.0 { None } else { Some(within("strength", strength, 0.0..=1.0)?) };
        Ok(())
    })
}

/// A copy of a host's frames; `None` for NULL.
///
/// # Safety
/// `data` is NULL or holds `num_frames` frames of `width` × `height` pixels that lie as `strides`, of
/// rows and of frames, say.
pub(super) unsafe fn clip(
    data: *const c_void,
    [width, height, num_frames]: [i32; 3],
    [row_stride, frame_stride]: [usize; 2],
    format: i32,
) -> Result<Option<Arc<Clip>>> {
    if data.is_null() {
        return Ok(None);
    }
    let format = pixels_of("format", format)?;
    let (width, height, rows) = layout(width, height, (ROW_STRIDE, row_stride), format)?;
    let count = within("num_frames", num_frames, 1..=CVX_MAX_FRAMES)? as usize;
    let [row, _, stride] = rows;
    // The last row of a frame may end with its last pixel.
    let frame = stride * (height - 1) + row;
    let frame_stride = if frame_stride == 0 { stride * height } else { frame_stride };
    within("frame_stride_bytes", frame_stride, frame..=isize::MAX as usize / count)?;
    let float = size_of::<f32>();
    if format == Pixels::F32 && !frame_stride.is_multiple_of(float) {
        return Err(Failure::invalid(format!(
            "frame_stride_bytes must be a multiple of {float} for floats, found {frame_stride}"
        )));
    }
    let mut frames = Vec::new();
    for index in 0..count {
        // SAFETY: the caller's; the frame lies within the memory that it vouched for.
        let pixels = unsafe {
            let data = data.byte_add(index * frame_stride);
            match format {
                Pixels::F32 => image::Pixels::Floats(floats(data, rows, ROW_STRIDE)?),
                _ => image::Pixels::Bytes(bytes(data, rows, format.channels())?),
            }
        };
        let frame = Image::new(width, height, pixels)
            .map_err(|error| error.context(format!("frame {index}")))?;
        frames.push(frame);
    }
    Ok(Some(Arc::new(Clip::new(frames)?)))
}
