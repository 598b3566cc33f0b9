//! The videos that a run begins with: `cvx_generate_options_set_video` and what belongs to it.

use super::convert::{slice, within};
use super::error::{cvx_error, Failure, Result};
use super::frames::pixels_of;
use super::generate_options::cvx_generate_options;
use super::handle::borrow_mut;
use super::image::{bytes, floats, layout, picture};
use super::limits::CVX_MAX_FRAMES;
use super::panic::fallible;
use crate::image::{self, Clip, Image, Mask};
use crate::video::frames::reserve;
use crate::video::pixels::Pixels;
use std::ffi::c_void;
use std::sync::Arc;

const ROW_STRIDE: &str = "row_stride_bytes";

/// The video that the run begins with: it is made noisy and then made anew from there, as the prompt
/// says, by as much as cvx_generate_options_set_strength asks for (diffusers'
/// CogVideoXVideoToVideoPipeline). A pipeline for video to video (see cvx_pipeline_task) needs one, a
/// pipeline for text to video takes one, one for inpainting takes one with a
/// cvx_generate_options_set_mask, others take none.
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

/// The video that a control model's video follows, frame by frame: edges, poses, depths, as the model
/// was trained for. A pipeline for control (see cvx_pipeline_task) needs one, others take none. Frames
/// are given and numbered as cvx_generate_options_set_video says; in the 1.5 family the same numbers of
/// frames will do. NULL data (default) takes it away again.
///
/// This is diffusers' CogVideoXFunControlPipeline, and takes either scheduler; that one can't be run
/// with DPM.
///
/// Errors: as cvx_generate_options_set_video. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_control_video(
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
        options.options.control_video =
            unsafe { clip(data_or_null, [width, height, num_frames], strides, format)? };
        Ok(())
    })
}

/// What of the video an inpainting model makes anew: a byte for each pixel, 128 to 255 where it is made
/// anew, 0 to 127 where the video's own stays. Only for pipelines for inpainting (see
/// cvx_pipeline_task), beside cvx_generate_options_set_video; in the time as in the picture: a video
/// goes on where the masks of its later frames are 255 throughout.
///
/// The byte of pixel (x, y) of frame f is at data + f * frame_stride_bytes + y * row_stride_bytes + x;
/// strides of 0 stand for dense rows and frames. num_frames is as many as the video has, or 1: then it is the
/// mask of all frames. width and height, from 1 to 16384, need not be the video's or the run's: the
/// nearest pixels count. The bytes are copied. NULL data (default) takes the mask away again.
///
/// Errors: INVALID_ARGUMENT (size, count, strides), OUT_OF_MEMORY; the mask that was set before stays.
/// Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_mask(
    options: *mut cvx_generate_options,
    data_or_null: *const u8,
    width: i32,
    height: i32,
    num_frames: i32,
    row_stride_bytes: usize,
    frame_stride_bytes: usize,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let options = unsafe { borrow_mut(options, "options")? };
        let (size, strides) = ([width, height, num_frames], [row_stride_bytes, frame_stride_bytes]);
        // SAFETY: by the contract of the header.
        options.options.mask = unsafe { mask(data_or_null, size, strides)? };
        Ok(())
    })
}

/// The last frame of the video, for pipelines for inpainting (see cvx_pipeline_task), beside or instead
/// of the first, cvx_generate_options_set_image. Pixels are given as there. NULL data (default)
/// takes it away again.
///
/// Errors: as cvx_generate_options_set_image. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_last_image(
    options: *mut cvx_generate_options,
    data_or_null: *const c_void,
    width: i32,
    height: i32,
    stride_bytes: usize,
    format: i32,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let options = unsafe { borrow_mut(options, "options")? };
        options.options.last_image = match data_or_null.is_null() {
            true => None,
            // SAFETY: by the contract of the header.
            false => Some(unsafe { picture(data_or_null, width, height, stride_bytes, format)? }),
        };
        Ok(())
    })
}

/// How much of the video is made anew, from 0 to 1: 1 keeps nothing of it but what its latents leave
/// in the noise, smaller numbers keep more and take fewer steps, num_inference_steps * strength of
/// them, rounded down; at least one must be left. A negative number goes back to the default: 0.8, and
/// 1 in pipelines for inpainting, where the mask says what is made anew. Only with
/// cvx_generate_options_set_video.
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

/// A copy of a host's masks; `None` for NULL.
///
/// # Safety
/// As for [`clip`], with a byte for each pixel.
unsafe fn mask(
    data: *const u8,
    [width, height, num_frames]: [i32; 3],
    [row_stride, frame_stride]: [usize; 2],
) -> Result<Option<Arc<Mask>>> {
    if data.is_null() {
        return Ok(None);
    }
    let most = image::MAX_SIDE as i32;
    let width = within("width", width, 1..=most)? as usize;
    let height = within("height", height, 1..=most)? as usize;
    let count = within("num_frames", num_frames, 1..=CVX_MAX_FRAMES)? as usize;
    let row_stride = if row_stride == 0 { width } else { row_stride };
    within(ROW_STRIDE, row_stride, width..=isize::MAX as usize / height)?;
    let frame = row_stride * (height - 1) + width;
    let frame_stride = if frame_stride == 0 { row_stride * height } else { frame_stride };
    within("frame_stride_bytes", frame_stride, frame..=isize::MAX as usize / count)?;
    let mut bytes = Vec::new();
    reserve(&mut bytes, width * height * count)?;
    for index in 0..count {
        // SAFETY: the caller's; the frame lies within the memory that it vouched for.
        let frame = unsafe { slice(data.add(index * frame_stride), frame, "data")? };
        for row in frame.chunks(row_stride) {
            bytes.extend_from_slice(row.get(..width).unwrap_or(row));
        }
    }
    Ok(Some(Arc::new(Mask::new(width, height, &bytes)?)))
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
