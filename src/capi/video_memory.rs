//! Frames and latents where they lie, without a copy: for other libraries and for the device.

use super::convert::Out;
use super::error::{cvx_error, Failure, Result};
use super::frames::pixels_of;
use super::handle::{borrow, peek};
use super::panic::{fallible, infallible};
use super::video::{cvx_video, State};
use crate::runtime::device_threads;
use crate::runtime::shim::dlpack::{DLManagedTensor, Exported};
use crate::video::pixels::Pixels;
use std::ffi::{c_char, c_void};
use tch::Tensor;

impl State {
    /// The frames of one video where they lie.
    fn frames_of(&self, index: usize) -> Result<Tensor> {
        let frames = self.video.frames.as_ref().ok_or_else(no_frames)?;
        // A view is made on the device's thread as well: libtorch makes its device the current one.
        Ok(device_threads::on(frames.device(), || frames.f_get(index as i64))?)
    }
}

fn no_frames() -> Failure {
    Failure::invalid("the video has no frames: its run ended with latents")
}

/// One video's frames for another library, as DLPack's DLManagedTensor (dlpack.h, which the
/// host includes itself): (frames, height, width, 3) of float32 from 0 to 1 for CVX_PIXELS_F32,
/// wherever they lie, see cvx_video_frames_device; (frames, height, width, 3 or 4) of uint8 in
/// host memory for CVX_PIXELS_RGB8 and CVX_PIXELS_RGBA8.
///
/// The memory is the video's, not a copy: what the consumer writes to it, the video shows. It
/// lives as long as the tensor, also when the video is freed first. On success *out_tensor is
/// owned by the caller; whoever consumes it calls its deleter, once, on any thread, and not before
/// the device has done what it was given to do with the tensor. The frames are there: where the run
/// has not waited for them (see cvx_generate_options_set_stream) they are waited for, and nothing
/// else that the device does.
///
/// Errors: NULL_ARGUMENT, INVALID_ARGUMENT (no such video, no frames, pixels), OUT_OF_MEMORY.
/// Threads: any. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_video_frames_dlpack(
    video: *const cvx_video,
    index: i32,
    pixels: i32,
    out_tensor: *mut *mut DLManagedTensor,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (video, out) =
            unsafe { (borrow(video, "video")?, Out::new(out_tensor, "out_tensor")?) };
        let (pixels, index) = (pixels_of("pixels", pixels)?, video.index(index)?);
        let mut state = video.state.lock();
        let [frames, height, width] =
            [video.num_frames, video.height, video.width].map(|side| side as usize);
        let shape = [frames, height, width, pixels.channels()];
        let tensor = match pixels {
            Pixels::F32 => {
                let frames = state.frames_of(index)?;
                state.video.wait()?;
                device_threads::on(frames.device(), || Exported::tensor(&frames))?
            }
            Pixels::Rgb8 => {
                let clip = video.kept_clip(&mut state, index)?;
                Exported::bytes(clip, |clip| clip.rgb8(), shape)?
            }
            // `pixels_of` knows no others.
            _ => {
                let bytes = video.kept_rgba8(&mut state, index)?;
                Exported::bytes(bytes, |bytes| bytes, shape)?
            }
        };
        out.write(tensor.into_raw());
        Ok(())
    })
}

/// The latents of all videos of the run for another library, as DLPack's DLManagedTensor:
/// (videos, latent frames, channels, latent height, latent width) in the pipeline's dtype and
/// on its device; for cvx_pipeline_decode_latents, as they were given. Memory, ownership,
/// errors and threads as for cvx_video_frames_dlpack.
///
/// Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_video_latents_dlpack(
    video: *const cvx_video,
    out_tensor: *mut *mut DLManagedTensor,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (video, out) =
            unsafe { (borrow(video, "video")?, Out::new(out_tensor, "out_tensor")?) };
        let state = video.state.lock();
        let latents =
            state.video.latents.as_ref().ok_or_else(|| Failure::internal("no latents"))?;
        state.video.wait()?;
        let tensor = device_threads::on(latents.device(), || Exported::tensor(latents))?;
        out.write(tensor.into_raw());
        Ok(())
    })
}

/// Where the frames lie that cvx_video_frames_dlpack with CVX_PIXELS_F32 and
/// cvx_video_device_frames hand out: "cpu", or a device such as "cuda:0" if the run was asked
/// for that, see cvx_generate_options_set_frames_on_device. "" if the video has no frames.
/// NULL for NULL.
///
/// The text belongs to the video and lives until cvx_video_free. Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_video_frames_device(video: *const cvx_video) -> *const c_char {
    infallible(std::ptr::null(), || {
        // SAFETY: by the contract of the header.
        unsafe { peek(video) }.map_or(std::ptr::null(), |video| video.device.as_ptr())
    })
}

/// The frames of one video where they lie, see cvx_video_frames_device: float32 from 0 to 1,
/// (frames, height, width, 3) without gaps. *out_data is an address on that device and belongs
/// to the video, *out_size is the size in bytes. *out_stream_or_null is the stream that the
/// frames were made on: a cudaStream_t; NULL for CUDA's default stream and for the CPU. The
/// library has waited for that stream before it returned the video, so the frames may be
/// read on any stream; where the run was given a stream of the host's, the frames may be read
/// behind what that stream waits for, see cvx_generate_options_set_stream.
///
/// The address is valid until cvx_video_free; work on the device that reads it must be done by
/// then.
///
/// Errors: NULL_ARGUMENT, INVALID_ARGUMENT (no such video, no frames). Threads: any. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_video_device_frames(
    video: *const cvx_video,
    index: i32,
    out_data: *mut *const c_void,
    out_size: *mut usize,
    out_stream_or_null: *mut *mut c_void,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (video, data, size, stream) = unsafe {
            (
                borrow(video, "video")?,
                Out::new(out_data, "out_data")?,
                Out::new(out_size, "out_size")?,
                Out::optional(out_stream_or_null),
            )
        };
        let index = video.index(index)?;
        let state = video.state.lock();
        let frames = state.frames_of(index)?;
        // The memory is that of all the video's frames, which this is a part of.
        data.write(frames.data_ptr().cast_const());
        size.write(frames.numel().saturating_mul(size_of::<f32>()));
        if let Some(place) = stream {
            place.write(std::ptr::with_exposed_provenance_mut(state.video.stream.0));
        }
        Ok(())
    })
}
