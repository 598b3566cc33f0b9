//! Frames for the host while they are decoded: a callback, and memory of the host's own.

use super::callbacks::answer_to;
use super::convert::flag;
use super::error::{cvx_error, Failure, Result};
use super::generate_options::cvx_generate_options;
use super::handle::borrow_mut;
use super::panic::fallible;
use super::user_data::{cvx_free_callback, Callback};
use crate::pipeline::frames::{FrameBuffer, Frames, FramesCallback, Memory};
use crate::runtime::Stop;
use crate::video::pixels::{Pixels, Samples};
use crate::Error;
use std::ffi::c_void;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Bytes R, G, B from 0 to 255: 3 bytes a pixel.
pub const CVX_PIXELS_RGB8: i32 = 1;
/// Bytes R, G, B, A from 0 to 255, A being 255: 4 bytes a pixel.
pub const CVX_PIXELS_RGBA8: i32 = 2;
/// Floats R, G, B from 0 to 1: 12 bytes a pixel.
pub const CVX_PIXELS_F32: i32 = 3;
/// Bytes B, G, R, A from 0 to 255, A being 255: 4 bytes a pixel. Of frames that are handed out while
/// they are decoded, as is the next.
pub const CVX_PIXELS_BGRA8: i32 = 4;
/// Numbers in half precision R, G, B from 0 to 1, and A, which is 1: 8 bytes a pixel.
pub const CVX_PIXELS_RGBA16F: i32 = 5;

/// Frames of one video that follow each other. Later versions may add fields at the end: read
/// a field only if struct_size reaches beyond it.
///
/// Since 0.1.
#[repr(C)]
pub struct cvx_frames_info {
    /// Bytes of this struct in the library that calls.
    pub struct_size: u32,
    /// What the callback was set with: one of CVX_PIXELS_*.
    pub pixels: i32,
    /// Which video of the run, counted from 0.
    pub video: i32,
    /// Which of its frames is the first one at data, counted from 0.
    pub first_frame: i32,
    /// Frames at data.
    pub num_frames: i32,
    /// Frames of the whole video.
    pub total_frames: i32,
    /// In pixels.
    pub width: i32,
    /// In pixels.
    pub height: i32,
    /// The frames one after another, rows from top to bottom, densely packed. Alive during the
    /// call only.
    pub data: *const c_void,
    /// Bytes from a row to the next.
    pub row_stride: usize,
    /// Bytes from a frame to the next.
    pub frame_stride: usize,
}

/// Given frames as soon as they are decoded; returns 0 to go on and anything else to stop,
/// which ends the run with CVX_ERROR_CANCELLED.
///
/// Frames come video by video, in each from the first to the last, every frame once; the
/// first of a video come before its last are decoded. In tiles a video is decoded as a whole
/// and its frames come then, before the next video. The bytes are those of
/// cvx_video_frames_rgb8, _rgba8 or _f32 of the finished video, or the same in another order or in
/// half precision.
///
/// Called on the thread that runs: the one that called cvx_pipeline_generate or
/// cvx_pipeline_decode_latents, or the pipeline's worker for a job. The run waits for it. info
/// lives during the call only. It must not throw or longjmp. Calling back into the pipeline
/// that is working is answered with CVX_ERROR_BUSY; other objects may be used freely.
///
/// Since 0.1.
pub type cvx_frames_callback =
    Option<unsafe extern "C" fn(info: *const cvx_frames_info, user_data: *mut c_void) -> i32>;

type HostFrames =
    Callback<unsafe extern "C" fn(info: *const cvx_frames_info, user_data: *mut c_void) -> i32>;

/// One of CVX_PIXELS_*.
pub(super) fn pixels_of(parameter: &str, pixels: i32) -> Result<Pixels> {
    match pixels {
        CVX_PIXELS_RGB8 => Ok(Pixels::Rgb8),
        CVX_PIXELS_RGBA8 => Ok(Pixels::Rgba8),
        CVX_PIXELS_F32 => Ok(Pixels::F32),
        other => Err(Failure::invalid(format!(
            "{parameter} must be CVX_PIXELS_RGB8 ({CVX_PIXELS_RGB8}), CVX_PIXELS_RGBA8 \
             ({CVX_PIXELS_RGBA8}) or CVX_PIXELS_F32 ({CVX_PIXELS_F32}), found {other}"
        ))),
    }
}

/// One of CVX_PIXELS_*, for frames that are handed out as they are decoded.
pub(super) fn decoded_pixels(parameter: &str, pixels: i32) -> Result<Pixels> {
    match pixels {
        CVX_PIXELS_BGRA8 => Ok(Pixels::Bgra8),
        CVX_PIXELS_RGBA16F => Ok(Pixels::Rgba16F),
        CVX_PIXELS_RGB8 | CVX_PIXELS_RGBA8 | CVX_PIXELS_F32 => pixels_of(parameter, pixels),
        other => Err(Failure::invalid(format!(
            "{parameter} must be CVX_PIXELS_RGB8 ({CVX_PIXELS_RGB8}), CVX_PIXELS_RGBA8 \
             ({CVX_PIXELS_RGBA8}), CVX_PIXELS_F32 ({CVX_PIXELS_F32}), CVX_PIXELS_BGRA8 \
             ({CVX_PIXELS_BGRA8}) or CVX_PIXELS_RGBA16F ({CVX_PIXELS_RGBA16F}), found {other}"
        ))),
    }
}

pub(super) fn code_of(pixels: Pixels) -> i32 {
    match pixels {
        Pixels::Rgb8 => CVX_PIXELS_RGB8,
        Pixels::Rgba8 => CVX_PIXELS_RGBA8,
        Pixels::F32 => CVX_PIXELS_F32,
        Pixels::Bgra8 => CVX_PIXELS_BGRA8,
        Pixels::Rgba16F => CVX_PIXELS_RGBA16F,
    }
}

/// Calls the host. Sides and counts of frames are bounded far below 2^31 by the options.
fn show(callback: &HostFrames, frames: &Frames) -> ControlFlow<Stop> {
    let narrow = |value: usize| i32::try_from(value).unwrap_or(i32::MAX);
    let row_stride = frames.extent.width.saturating_mul(frames.pixels.size());
    let info = cvx_frames_info {
        struct_size: size_of::<cvx_frames_info>() as u32,
        pixels: code_of(frames.pixels),
        video: narrow(frames.video),
        first_frame: narrow(frames.first_frame),
        num_frames: narrow(frames.num_frames),
        total_frames: narrow(frames.extent.frames),
        width: narrow(frames.extent.width),
        height: narrow(frames.extent.height),
        data: match frames.samples {
            Samples::Bytes(bytes) => bytes.as_ptr().cast(),
            Samples::Halfs(halfs) => halfs.as_ptr().cast(),
            Samples::Floats(floats) => floats.as_ptr().cast(),
        },
        row_stride,
        frame_stride: frames.extent.height.saturating_mul(row_stride),
    };
    // SAFETY: the host's function, called as the header says; the samples outlive it.
    answer_to(unsafe { callback.call(&info) })
}

/// Hands out frames while the VAE decodes the next ones. pixels is one of CVX_PIXELS_*. A NULL
/// callback (default) hands out none; pixels does not matter then. A run that ends with
/// latents has no frames to hand out. With a frames buffer besides, the frames are in it
/// already when they are handed out.
///
/// Takes over user_data in any case, see cvx_free_callback; a run or job keeps it until it
/// ends.
///
/// Errors: NULL_ARGUMENT, INVALID_ARGUMENT (pixels). Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_frames_callback(
    options: *mut cvx_generate_options,
    pixels: i32,
    callback: cvx_frames_callback,
    user_data: *mut c_void,
    free_user_data: cvx_free_callback,
) -> *mut cvx_error {
    fallible(|| {
        let callback = Callback::new(callback, user_data, free_user_data);
        // SAFETY: by the contract of the header.
        let options = unsafe { borrow_mut(options, "options")? };
        let callback = match callback {
            None => None,
            Some(callback) => Some(FramesCallback {
                pixels: decoded_pixels("pixels", pixels)?,
                call: Arc::new(move |frames: &Frames| show(&callback, frames)),
            }),
        };
        // Dropped when the options are in order again: the host's free function may look.
        let previous = std::mem::replace(&mut options.options.frames.callback, callback);
        drop(previous);
        Ok(())
    })
}

/// Whether so many bytes can lie at an address.
pub(super) fn check_size(address: usize, size: usize) -> Result<()> {
    if isize::try_from(size).is_err() || address.checked_add(size).is_none() {
        return Err(Failure::invalid(format!("size: no memory has {size} bytes")));
    }
    Ok(())
}

/// The host's memory for frames.
struct HostMemory {
    data: *mut u8,
    size: usize,
}

// SAFETY: the header says that the memory stays valid and is the run's alone while a run
// writes to it, on whatever thread that is; nothing is read from it.
unsafe impl Send for HostMemory {}
// SAFETY: as above.
unsafe impl Sync for HostMemory {}

impl Memory for HostMemory {
    fn size(&self) -> usize {
        self.size
    }

    fn address(&self) -> usize {
        self.data.addr()
    }

    fn write(&self, offset: usize, samples: Samples) -> crate::Result<()> {
        let size = samples.size();
        if offset.checked_add(size).is_none_or(|end| end > self.size) {
            return Err(Error::Internal(format!(
                "frames buffer: {size} bytes at {offset} of {}",
                self.size
            )));
        }
        let from: *const u8 = match samples {
            Samples::Bytes(bytes) => bytes.as_ptr(),
            Samples::Halfs(halfs) => halfs.as_ptr().cast(),
            Samples::Floats(floats) => floats.as_ptr().cast(),
        };
        // SAFETY: it fits, as was just checked; the host's memory is none of the library's, and
        // any bytes may be written as bytes.
        unsafe { std::ptr::copy_nonoverlapping(from, self.data.add(offset), size) };
        Ok(())
    }
}

/// Writes frames into the host's own memory (a mapped texture, a ring buffer) as they are
/// decoded: frame f of video v lies at data + (v * frames + f) * frame_stride, with as many
/// frames as a video of the run has, and its row r at r * row_stride from there. pixels is one
/// of CVX_PIXELS_*; size and strides are in bytes, a stride of 0 is packed. The bytes are
/// those of cvx_video_frames_rgb8, _rgba8 or _f32 of the finished video, which is there
/// besides; bytes between rows and frames are not touched. A run that ends with latents
/// writes nothing.
///
/// NULL data (default) takes the memory away; the other arguments do not matter then. The
/// memory stays the host's: it must stay valid until runs and jobs with these options have
/// ended, and be left alone meanwhile, except for frames that the frames callback was already
/// called for. It serves one run at a time. A run that fails may have written some frames.
///
/// Errors: NULL_ARGUMENT, INVALID_ARGUMENT (pixels, a size beyond memory). A run for which
/// the memory or a stride is too small, or for which data is known to be an address on a CUDA
/// device (see cvx_generate_options_set_device_frames_buffer), ends with INVALID_ARGUMENT before
/// anything is computed, naming the bytes it needs. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_frames_buffer(
    options: *mut cvx_generate_options,
    pixels: i32,
    data_or_null: *mut c_void,
    size: usize,
    row_stride: usize,
    frame_stride: usize,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let options = unsafe { borrow_mut(options, "options")? };
        if data_or_null.is_null() {
            options.options.frames.buffer = None;
            return Ok(());
        }
        let pixels = decoded_pixels("pixels", pixels)?;
        let memory = HostMemory { data: data_or_null.cast(), size };
        check_size(memory.data.addr(), size)?;
        options.options.frames.buffer =
            Some(FrameBuffer { pixels, memory: Arc::new(memory), row_stride, frame_stride });
        Ok(())
    })
}

/// With 1, the frames of the video stay on the pipeline's device, for cvx_video_frames_dlpack
/// and cvx_video_device_frames; the functions that hand out frames in host memory copy them
/// when they are asked. Default: 0, host memory. On the CPU there is no difference.
///
/// Errors: NULL_ARGUMENT, INVALID_ARGUMENT unless it is 0 or 1. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_frames_on_device(
    options: *mut cvx_generate_options,
    on_device: i32,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let options = unsafe { borrow_mut(options, "options")? };
        options.options.frames.on_device = flag("on_device", on_device)?;
        Ok(())
    })
}
