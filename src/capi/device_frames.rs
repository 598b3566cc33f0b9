//! Frames on the device while they are decoded: a callback, memory of the host's own there, and the
//! host's stream to order both against.

use super::callbacks::answer_to;
use super::error::{cvx_error, one_line};
use super::frames::{check_size, code_of, decoded_pixels};
use super::generate_options::cvx_generate_options;
use super::handle::borrow_mut;
use super::panic::fallible;
use super::user_data::{cvx_free_callback, Callback};
use crate::pipeline::device_frames::{
    DeviceBuffer, DeviceFrames, DeviceFramesCallback, DeviceMemory,
};
use crate::runtime::device::{EventHandle, StreamHandle};
use crate::runtime::shim::host_objects::check_stream;
use crate::runtime::Stop;
use crate::Error;
use std::ffi::{c_char, c_void};
use std::ops::ControlFlow;
use std::sync::Arc;
use tch::{Device, Kind, Tensor};

/// Frames of one video that follow each other, on the device that decoded them. Later versions may
/// add fields at the end: read a field only if struct_size reaches beyond it.
///
/// Since 0.1.
#[repr(C)]
pub struct cvx_device_frames_info {
    /// Bytes of this struct in the library that calls.
    pub struct_size: u32,
    /// What the device frames buffer was set with, or without one, what the callback was: one of
    /// CVX_PIXELS_*.
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
    /// An address on the device: in the device frames buffer if there is one, else in memory of the
    /// library. The frames are there once the work that stream has got so far is done.
    pub data: *const c_void,
    /// Bytes from a row to the next.
    pub row_stride: usize,
    /// Bytes from a frame to the next.
    pub frame_stride: usize,
    /// A cudaStream_t: the one of cvx_generate_options_set_stream, or without it the library's, where
    /// NULL is CUDA's default stream. NULL on the CPU, where the frames are there already.
    pub stream: *mut c_void,
    /// "cpu", "cuda:0", …; alive during the call only.
    pub device: *const c_char,
}

/// Told of frames on the device as soon as the work that makes them is launched; returns 0 to go on
/// and anything else to stop, which ends the run with CVX_ERROR_CANCELLED. Order, thread and rules
/// are those of cvx_frames_callback.
///
/// Nothing has been waited for: launch what reads the frames on stream, or record an event there and
/// wait for that. In memory of the library, data is good for what the callback launches on stream
/// before it returns, and for nothing else.
///
/// Since 0.1.
pub type cvx_device_frames_callback = Option<
    unsafe extern "C" fn(info: *const cvx_device_frames_info, user_data: *mut c_void) -> i32,
>;

type HostFrames = Callback<
    unsafe extern "C" fn(info: *const cvx_device_frames_info, user_data: *mut c_void) -> i32,
>;

/// Calls the host. Sides and counts of frames are bounded far below 2^31 by the options.
fn show(callback: &HostFrames, frames: &DeviceFrames) -> ControlFlow<Stop> {
    let narrow = |value: usize| i32::try_from(value).unwrap_or(i32::MAX);
    let device = one_line(frames.device);
    let info = cvx_device_frames_info {
        struct_size: size_of::<cvx_device_frames_info>() as u32,
        pixels: code_of(frames.pixels),
        video: narrow(frames.video),
        first_frame: narrow(frames.first_frame),
        num_frames: narrow(frames.num_frames),
        total_frames: narrow(frames.extent.frames),
        width: narrow(frames.extent.width),
        height: narrow(frames.extent.height),
        data: std::ptr::with_exposed_provenance(frames.address),
        row_stride: frames.row_stride,
        frame_stride: frames.frame_stride,
        stream: std::ptr::with_exposed_provenance_mut(frames.stream.0),
        device: device.as_ptr(),
    };
    // SAFETY: the host's function, called as the header says; `device` outlives it.
    answer_to(unsafe { callback.call(&info) })
}

/// Hands out frames on the device while the VAE decodes the next ones. pixels is one of
/// CVX_PIXELS_*; a device frames buffer's own win over it. A NULL callback (default) hands out none;
/// pixels does not matter then. The same call works on the CPU, where the device's memory is the
/// host's.
///
/// Takes over user_data in any case, see cvx_free_callback; a run or job keeps it until it ends.
///
/// Errors: NULL_ARGUMENT, INVALID_ARGUMENT (pixels). Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_device_frames_callback(
    options: *mut cvx_generate_options,
    pixels: i32,
    callback: cvx_device_frames_callback,
    user_data: *mut c_void,
    free_user_data: cvx_free_callback,
) -> *mut cvx_error {
    fallible(|| {
        let callback = Callback::new(callback, user_data, free_user_data);
        // SAFETY: by the contract of the header.
        let options = unsafe { borrow_mut(options, "options")? };
        let callback = match callback {
            None => None,
            Some(callback) => Some(DeviceFramesCallback {
                pixels: decoded_pixels("pixels", pixels)?,
                call: Arc::new(move |frames: &DeviceFrames| show(&callback, frames)),
            }),
        };
        // Dropped when the options are in order again: the host's free function may look.
        let previous = std::mem::replace(&mut options.options.frames.device.callback, callback);
        drop(previous);
        Ok(())
    })
}

/// The host's memory on a device.
struct Memory {
    data: *mut u8,
    size: usize,
}

// SAFETY: the header says that the memory stays valid and is the run's alone while a run writes to
// it, on whatever thread that is.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl DeviceMemory for Memory {
    fn size(&self) -> usize {
        self.size
    }

    fn address(&self) -> usize {
        self.data.addr()
    }

    fn tensor(
        &self,
        offset: usize,
        shape: [i64; 4],
        strides: [i64; 4],
        kind: Kind,
        device: Device,
    ) -> crate::Result<Tensor> {
        if offset > self.size {
            return Err(Error::Internal(format!(
                "device frames buffer: byte {offset} of {}",
                self.size
            )));
        }
        // SAFETY: the caller has compared shape and strides with the size; the memory is on that
        // device as far as can be told, and the tensor is gone before the run has ended.
        Ok(unsafe {
            let data = self.data.wrapping_add(offset).cast_const();
            Tensor::f_from_blob(data, &shape, &strides, kind, device)?
        })
    }
}

/// Writes frames into memory of the host's on the device that decodes them (an imported texture, a
/// buffer of another library), laid out as in cvx_generate_options_set_frames_buffer: data is an
/// address on the CUDA device of the pipeline's VAE, or of host memory where that is on the CPU.
/// pixels is one of CVX_PIXELS_*; data and strides must be multiples of a number's size, which is 1
/// byte, 2 for CVX_PIXELS_RGBA16F and 4 for CVX_PIXELS_F32.
///
/// Writing is work on the device that nobody waits for: see cvx_generate_options_set_stream and
/// cvx_device_frames_callback for when the frames are there. When cvx_pipeline_generate or a job has
/// ended they are, but where frames stay on the device and a stream is set. The finished video is
/// there besides, in host memory unless cvx_generate_options_set_frames_on_device says otherwise.
///
/// NULL data (default) takes the memory away; the other arguments do not matter then. The memory
/// stays the host's: it must stay valid until runs and jobs with these options have ended, and the
/// work on the device that they launched. It serves one run at a time.
///
/// Errors: NULL_ARGUMENT, INVALID_ARGUMENT (pixels, a size beyond memory). A run for which the
/// memory or a stride is too small, an address or a stride is no multiple, or for which the driver
/// says that data is memory of another device or of the host, ends with INVALID_ARGUMENT before
/// anything is computed. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_device_frames_buffer(
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
            options.options.frames.device.buffer = None;
            return Ok(());
        }
        let pixels = decoded_pixels("pixels", pixels)?;
        let memory = Memory { data: data_or_null.cast(), size };
        check_size(memory.data.addr(), size)?;
        options.options.frames.device.buffer =
            Some(DeviceBuffer { pixels, memory: Arc::new(memory), row_stride, frame_stride });
        Ok(())
    })
}

/// A CUDA stream of the host's that runs are ordered against, a cudaStream_t or CUstream: the
/// library writes frames on the device behind what the stream has got when decoding begins, and what
/// the stream is given after a group of frames was handed out, or after the run, comes behind those
/// frames. The device keeps the order, and neither waits for the other's host thread. With
/// cvx_generate_options_set_frames_on_device besides, a run does not wait for the device at its end
/// either: what reads the video on the stream needs no waiting, and cvx_video_frames_dlpack waits
/// for the video's frames alone.
///
/// The stream may be of any context of the process, on the device that decodes, and must live until
/// runs and jobs with these options have ended. NULL (default) takes it away: CUDA's default stream
/// needs no ordering, as the library works on that. On the CPU there is no difference.
///
/// Errors: NULL_ARGUMENT; INVALID_ARGUMENT for cudaStreamPerThread, which is another stream on each
/// thread. A run ends with INVALID_ARGUMENT where the driver does not know the stream. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_stream(
    options: *mut cvx_generate_options,
    stream_or_null: *mut c_void,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let options = unsafe { borrow_mut(options, "options")? };
        let stream = check_stream(stream_or_null.expose_provenance())?;
        options.options.frames.device.stream = (stream != 0).then_some(StreamHandle(stream));
        Ok(())
    })
}

/// A CUDA event of the host's that a run waits for on the device, a cudaEvent_t or CUevent: the library
/// writes frames there behind the work that the event was recorded behind last, as it is when decoding
/// begins and again when the callback of cvx_generate_options_set_device_frames_callback has returned,
/// which may record it behind what it has launched. No host thread waits. An event that was never
/// recorded orders nothing. With cvx_generate_options_set_stream besides, both orders hold.
///
/// The event may be of any context of the process, and must live until runs and jobs with these options
/// have ended. NULL (default) takes it away. On the CPU there is no difference.
///
/// Errors: NULL_ARGUMENT. A run ends with INVALID_ARGUMENT where the driver does not know the event.
/// Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_wait_event(
    options: *mut cvx_generate_options,
    event_or_null: *mut c_void,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let options = unsafe { borrow_mut(options, "options")? };
        options.options.frames.device.wait_event = event(event_or_null);
        Ok(())
    })
}

/// A CUDA event of the host's that a run records, a cudaEvent_t or CUevent: behind each group of frames
/// before the callback of cvx_generate_options_set_device_frames_callback is told of it, and behind the
/// whole video before the run ends. Any stream that waits for it then has those frames before it, and no
/// host thread waits. With cvx_generate_options_set_frames_on_device besides, a run does not wait for the
/// device at its end either, as with cvx_generate_options_set_stream. A run that fails may have
/// recorded it, or not.
///
/// The event must be of the primary context of the device that decodes, in which cudaEventCreate makes
/// them, serves one run at a time, and must live until runs and jobs with these options have ended. NULL
/// (default) takes it away. On the CPU there is no difference.
///
/// Errors: NULL_ARGUMENT. A run ends with INVALID_ARGUMENT where the driver does not take the event.
/// Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_record_event(
    options: *mut cvx_generate_options,
    event_or_null: *mut c_void,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let options = unsafe { borrow_mut(options, "options")? };
        options.options.frames.device.record_event = event(event_or_null);
        Ok(())
    })
}

fn event(event_or_null: *mut c_void) -> Option<EventHandle> {
    let handle = event_or_null.expose_provenance();
    (handle != 0).then_some(EventHandle(handle))
}
