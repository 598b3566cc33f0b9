//! `cvx_video`: frames and latents for the host to read, and files to write.

use super::convert::{text, within, Out};
use super::error::{cvx_error, one_line, Failure, Result};
use super::handle::{borrow, free, peek};
use super::panic::{fallible, infallible};
use crate::runtime::{device, device_threads};
use crate::video::{frames, save, Clip, Video};
use crate::Error;
use parking_lot::Mutex;
use std::ffi::{c_char, CString};
use std::path::Path;
use std::sync::Arc;
use tch::{Device, Kind, Tensor};

/// What a run made: one or several videos of the same size, as frames or as latents. Made by
/// cvx_pipeline_generate, cvx_pipeline_decode_latents and cvx_job_take_video, freed by
/// cvx_video_free.
///
/// Pointers to frames and latents that it hands out stay where they are until it is freed.
/// They are made when they are first asked for and kept.
///
/// Threads: everything but freeing it may be done from many threads at once. Since 0.1.
pub struct cvx_video {
    videos: i32,
    pub(super) num_frames: i32,
    pub(super) width: i32,
    pub(super) height: i32,
    /// Where frames lie that are not copied; empty without frames.
    pub(super) device: CString,
    kernels: CString,
    pub(super) state: Mutex<State>,
}

/// The result and what was made of it. Under a lock, since a `Tensor` may not be shared
/// between threads.
pub(super) struct State {
    pub(super) video: Video,
    /// On the host, float32, contiguous; the pointers handed out point into them.
    frames: Option<Tensor>,
    latents: Option<(Tensor, [i64; 5])>,
    /// Of each video.
    rgb8: Vec<Option<Arc<Clip>>>,
    rgba8: Vec<Option<Arc<Vec<u8>>>>,
}

impl cvx_video {
    pub(super) fn new(video: Video) -> Result<cvx_video> {
        let (videos, num_frames, height, width) = match &video.frames {
            Some(frames) => frames::size(frames)?,
            None => {
                let latents = video.latents.as_ref().map(Tensor::size).unwrap_or_default();
                (latents.first().copied().unwrap_or(0), 0, 0, 0)
            }
        };
        let narrow = |value: i64| {
            i32::try_from(value).map_err(|_| Failure::internal(format!("a video side of {value}")))
        };
        let count = usize::try_from(videos).unwrap_or(0);
        let device = video.frames.as_ref().map(device::name_of).unwrap_or_default();
        Ok(cvx_video {
            device: CString::new(device).unwrap_or_default(),
            kernels: one_line(&video.kernels),
            videos: narrow(videos)?,
            num_frames: narrow(num_frames)?,
            width: narrow(width)?,
            height: narrow(height)?,
            state: Mutex::new(State {
                video,
                frames: None,
                latents: None,
                rgb8: vec![None; count],
                rgba8: vec![None; count],
            }),
        })
    }

    pub(super) fn index(&self, index: i32) -> Result<usize> {
        if self.num_frames == 0 {
            return Err(Failure::invalid("the video has no frames: its run ended with latents"));
        }
        Ok(within("index", index, 0..self.videos)? as usize)
    }

    /// The clip of one video: the one that is kept, or a new one.
    pub(super) fn clip(&self, state: &State, index: usize) -> Result<Arc<Clip>> {
        match state.rgb8.get(index) {
            Some(Some(clip)) => Ok(Arc::clone(clip)),
            _ => Ok(Arc::new(state.video.clip(index)?)),
        }
    }

    /// The clip of one video, which is kept from here on.
    pub(super) fn kept_clip(&self, state: &mut State, index: usize) -> Result<Arc<Clip>> {
        let clip = self.clip(state, index)?;
        if let Some(place) = state.rgb8.get_mut(index) {
            *place = Some(Arc::clone(&clip));
        }
        Ok(clip)
    }

    /// The bytes with alpha of one video, which are kept from here on.
    pub(super) fn kept_rgba8(&self, state: &mut State, index: usize) -> Result<Arc<Vec<u8>>> {
        if let Some(Some(kept)) = state.rgba8.get(index) {
            return Ok(Arc::clone(kept));
        }
        let made = Arc::new(frames::rgba8(self.clip(state, index)?.rgb8())?);
        if let Some(place) = state.rgba8.get_mut(index) {
            *place = Some(Arc::clone(&made));
        }
        Ok(made)
    }
}

/// `tensor` on the host, float32, contiguous; itself if it is that already.
fn host_floats(tensor: Option<&Tensor>, what: &str) -> Result<Tensor> {
    let tensor =
        tensor.ok_or_else(|| Error::InvalidArgument(format!("the video has no {what}")))?;
    device_threads::on(tensor.device(), || {
        Ok(tensor.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()?)
    })
}

/// Asks about a video; 0 for NULL.
///
/// # Safety
/// `video` is NULL or live.
unsafe fn ask(video: *const cvx_video, answer: impl FnOnce(&cvx_video) -> i32) -> i32 {
    // SAFETY: the caller's.
    unsafe { peek(video) }.map_or(0, answer)
}

/// How many videos the run made: what num_videos was. 0 for NULL.
///
/// Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_video_count(video: *const cvx_video) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe { ask(video, |video| video.videos) }
}

/// Frames of each video; 0 if the run ended with latents, and for NULL.
///
/// Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_video_num_frames(video: *const cvx_video) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe { ask(video, |video| video.num_frames) }
}

/// Width in pixels; 0 if the run ended with latents, and for NULL.
///
/// Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_video_width(video: *const cvx_video) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe { ask(video, |video| video.width) }
}

/// Height in pixels; 0 if the run ended with latents, and for NULL.
///
/// Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_video_height(video: *const cvx_video) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe { ask(video, |video| video.height) }
}

/// What computed the video, as one line of text such as "libtorch 2.11.0 on the CPU for AVX512, with
/// oneDNN, 2 threads": the release of libtorch; on the CPU the instruction set that its kernels are
/// for, whether oneDNN computed what it computes where it can be used, and the number of threads, then
/// ", products by oneDNN" where it made the matrix products, too, with " in bfloat16" or " in int8" if
/// in that; on CUDA the device. Where two runs of the same options, weights and release of this library have
/// the same text, on the CPU their bytes are the same. An empty text for NULL. The text belongs to
/// the video and lives until cvx_video_free.
///
/// Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_video_kernels(video: *const cvx_video) -> *const c_char {
    // SAFETY: NULL or a live video, by the contract of the header.
    unsafe { peek(video) }.map_or(c"".as_ptr(), |video| video.kernels.as_ptr())
}

/// The frames of one video as bytes R, G, B, from 0 to 255. index counts from 0 to
/// cvx_video_count less 1.
///
/// Row y of frame f starts at data + (f * height + y) * stride, with stride in bytes; frames
/// follow each other without a gap. out_stride_or_null may be NULL. The memory belongs to the
/// video and lives until cvx_video_free.
///
/// Errors: NULL_ARGUMENT, INVALID_ARGUMENT (no such video, no frames), OUT_OF_MEMORY.
/// Threads: any. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_video_frames_rgb8(
    video: *const cvx_video,
    index: i32,
    out_data: *mut *const u8,
    out_stride_or_null: *mut usize,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (video, out, stride) = unsafe {
            (
                borrow(video, "video")?,
                Out::new(out_data, "out_data")?,
                Out::optional(out_stride_or_null),
            )
        };
        let index = video.index(index)?;
        let mut state = video.state.lock();
        // The memory is the clip's, which the video keeps.
        out.write(video.kept_clip(&mut state, index)?.rgb8().as_ptr());
        if let Some(stride) = stride {
            stride.write(video.width as usize * 3);
        }
        Ok(())
    })
}

/// The frames of one video as bytes R, G, B, A, from 0 to 255, with A 255 throughout. Layout,
/// ownership, errors and threads as for cvx_video_frames_rgb8.
///
/// Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_video_frames_rgba8(
    video: *const cvx_video,
    index: i32,
    out_data: *mut *const u8,
    out_stride_or_null: *mut usize,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (video, out, stride) = unsafe {
            (
                borrow(video, "video")?,
                Out::new(out_data, "out_data")?,
                Out::optional(out_stride_or_null),
            )
        };
        let index = video.index(index)?;
        let mut state = video.state.lock();
        // The video keeps the memory.
        out.write(video.kept_rgba8(&mut state, index)?.as_ptr());
        if let Some(stride) = stride {
            stride.write(video.width as usize * 4);
        }
        Ok(())
    })
}

/// The frames of one video as numbers R, G, B, from 0 to 1. Layout (stride in bytes),
/// ownership, errors and threads as for cvx_video_frames_rgb8.
///
/// Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_video_frames_f32(
    video: *const cvx_video,
    index: i32,
    out_data: *mut *const f32,
    out_stride_or_null: *mut usize,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (video, out, stride) = unsafe {
            (
                borrow(video, "video")?,
                Out::new(out_data, "out_data")?,
                Out::optional(out_stride_or_null),
            )
        };
        let index = video.index(index)?;
        let mut state = video.state.lock();
        if state.frames.is_none() {
            state.frames = Some(host_floats(state.video.frames.as_ref(), "frames")?);
        }
        let base = state.frames.as_ref().map_or(std::ptr::null(), |t| t.data_ptr().cast::<f32>());
        let row = video.width as usize * 3;
        let offset = index * video.num_frames as usize * video.height as usize * row;
        // SAFETY: the tensor holds `videos` videos of `num_frames × height` rows each, and
        // `index` is below `videos`.
        out.write(unsafe { base.add(offset) });
        if let Some(stride) = stride {
            stride.write(row * std::mem::size_of::<f32>());
        }
        Ok(())
    })
}

/// The latents that the run ended with, of all its videos: out_shape receives 5 numbers,
/// (videos, latent frames, channels, latent height, latent width), and the numbers at data are
/// densely packed. In the 1.5 family the padding frames at the front are among them, as in
/// the reference. The memory belongs to the video and lives until cvx_video_free.
///
/// Errors: NULL_ARGUMENT, OUT_OF_MEMORY. Threads: any. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_video_latents(
    video: *const cvx_video,
    out_data: *mut *const f32,
    out_shape: *mut i64,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (video, out, shape) = unsafe {
            (
                borrow(video, "video")?,
                Out::new(out_data, "out_data")?,
                Out::new(out_shape.cast::<[i64; 5]>(), "out_shape")?,
            )
        };
        let mut state = video.state.lock();
        if state.latents.is_none() {
            let latents = host_floats(state.video.latents.as_ref(), "latents")?;
            let sides = <[i64; 5]>::try_from(latents.size())
                .map_err(|sides| Failure::internal(format!("latents of shape {sides:?}")))?;
            state.latents = Some((latents, sides));
        }
        if let Some((latents, sides)) = &state.latents {
            out.write(latents.data_ptr().cast::<f32>().cast_const());
            shape.write(*sides);
        }
        Ok(())
    })
}

/// Writes one video to a file; what it becomes follows from the path's ending, in upper or
/// lower case:
///
///   .mp4  H.264 in MP4, BT.709 limited range, for any player
///   .gif  animated, endless
///   .png  one file per frame: "name.png" becomes name_0000.png, name_0001.png, ...; a pattern
///         such as "name-%04d.png" says itself where the number goes, and how many digits
///
/// path is UTF-8. fps is frames per second, above 0 and up to 240 (see
/// cvx_pipeline_default_fps); a .gif counts in hundredths of a second and shows at most 50 per
/// second, and .png ignores it. A file that is there already is replaced. Each file is written
/// beside its place and then renamed into it, so that a failure leaves no half-written file;
/// a failed .png sequence leaves none of its files that were not there before.
///
/// Errors: NULL_ARGUMENT, INVALID_UTF8, INVALID_ARGUMENT (ending, fps, index, no frames),
/// NOT_FOUND (the parent folder), IO (disk full, no permission). Threads: any. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_video_save(
    video: *const cvx_video,
    index: i32,
    path: *const c_char,
    fps: f64,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (video, path) = unsafe { (borrow(video, "video")?, text(path, "path")?) };
        let index = video.index(index)?;
        // Encoding takes long: other threads may go on meanwhile.
        let clip = video.clip(&video.state.lock(), index)?;
        Ok(clip.save(Path::new(path), fps)?)
    })
}

/// Whether cvx_video_save could write to path at fps, as far as that can be told before there
/// is a video: the ending, the pattern, fps, the parent folder. Worth asking before a long run.
///
/// Errors: NULL_ARGUMENT, INVALID_UTF8, INVALID_ARGUMENT, NOT_FOUND. Threads: any. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_video_check_path(path: *const c_char, fps: f64) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let path = unsafe { text(path, "path")? };
        Ok(save::check(Path::new(path), fps)?)
    })
}

/// Frees a video and every pointer it handed out. NULL is allowed and does nothing.
///
/// Threads: any, once, and not while another thread uses it. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_video_free(video: *mut cvx_video) {
    infallible((), || {
        // SAFETY: NULL or a video that was handed out here, not freed yet.
        unsafe { free(video) }
    })
}
