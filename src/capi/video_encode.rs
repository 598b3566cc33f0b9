//! A video as the bytes of a file in memory: through a callback, or as a buffer.

use super::convert::{text, Out};
use super::error::{cvx_error, Failure, Result};
use super::handle::{borrow, free, peek};
use super::panic::{fallible, infallible};
use super::user_data::{cvx_free_callback, Callback};
use super::video::cvx_video;
use crate::video::encode::Container;
use crate::video::frames::reserve;
use crate::video::Clip;
use crate::Error;
use std::ffi::{c_char, c_void};
use std::sync::Arc;

/// Bytes of a file that is being encoded. Later versions may add fields at the end: read a field
/// only if struct_size reaches beyond it.
///
/// Since 0.1.
#[repr(C)]
pub struct cvx_write_info {
    /// Bytes of this struct in the library that calls.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Where the bytes lie in the file: how many were handed over before.
    pub offset: u64,
    /// The bytes. Alive during the call only.
    pub data: *const u8,
    /// How many, at least 1.
    pub size: usize,
}

/// Given the bytes of a file in order; returns 0 to go on and anything else to stop, which ends the
/// encoding with CVX_ERROR_CANCELLED.
///
/// Called on the thread that called cvx_video_encode, which waits for it. info lives during the
/// call only. It must not throw or longjmp.
///
/// Since 0.1.
pub type cvx_write_callback =
    Option<unsafe extern "C" fn(info: *const cvx_write_info, user_data: *mut c_void) -> i32>;

type HostWrite =
    Callback<unsafe extern "C" fn(info: *const cvx_write_info, user_data: *mut c_void) -> i32>;

/// Bytes that the library made, freed by cvx_buffer_free. They do not change.
///
/// Since 0.1.
pub struct cvx_buffer {
    bytes: Vec<u8>,
}

/// # Safety
/// `video` and `format` are as the header says.
unsafe fn clip(
    video: *const cvx_video,
    index: i32,
    format: *const c_char,
) -> Result<(Arc<Clip>, Container)> {
    // SAFETY: the caller's.
    let (video, format) = unsafe { (borrow(video, "video")?, text(format, "format")?) };
    let index = video.index(index)?;
    let container = Container::parse(format)?;
    // Encoding takes long: other threads may go on meanwhile.
    let clip = video.clip(&video.state.lock(), index)?;
    Ok((clip, container))
}

/// Encodes one video and hands its bytes to callback as they come: those that cvx_video_save
/// would write. format is "mp4" or "gif", in upper or lower case; index and fps are as there.
///
/// Takes over user_data in any case, see cvx_free_callback; it is freed before the function
/// returns.
///
/// Errors: NULL_ARGUMENT, INVALID_UTF8, INVALID_ARGUMENT (format, fps, index, no frames),
/// CANCELLED, CALLBACK_FAILED, OUT_OF_MEMORY. Threads: any. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_video_encode(
    video: *const cvx_video,
    index: i32,
    format: *const c_char,
    fps: f64,
    callback: cvx_write_callback,
    user_data: *mut c_void,
    free_user_data: cvx_free_callback,
) -> *mut cvx_error {
    fallible(|| {
        let callback: Option<Arc<HostWrite>> = Callback::new(callback, user_data, free_user_data);
        // SAFETY: by the contract of the header.
        let (clip, container) = unsafe { clip(video, index, format)? };
        let callback = callback.ok_or_else(|| Failure::null("callback"))?;
        let mut offset = 0u64;
        let mut write = |bytes: &[u8]| {
            let info = cvx_write_info {
                struct_size: size_of::<cvx_write_info>() as u32,
                reserved: 0,
                offset,
                data: bytes.as_ptr(),
                size: bytes.len(),
            };
            // SAFETY: the host's function, called as the header says; the bytes outlive it.
            let returned = unsafe { callback.call(&info) };
            match returned
                .map_err(|e| e.context(format_args!("write callback at byte {offset}")))?
            {
                0 => offset += bytes.len() as u64,
                _ => {
                    return Err(Error::Cancelled(format!(
                        "stopped by the write callback at byte {offset}"
                    )))
                }
            }
            Ok(())
        };
        Ok(clip.encode(container, fps, &mut write)?)
    })
}

/// Encodes one video as cvx_video_encode does, into memory of the library. On success *out_buffer
/// is a new buffer, owned by the caller, freed with cvx_buffer_free.
///
/// Errors: NULL_ARGUMENT, INVALID_UTF8, INVALID_ARGUMENT (format, fps, index, no frames),
/// OUT_OF_MEMORY. Threads: any. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_video_encode_buffer(
    video: *const cvx_video,
    index: i32,
    format: *const c_char,
    fps: f64,
    out_buffer: *mut *mut cvx_buffer,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let ((clip, container), out) =
            unsafe { (clip(video, index, format)?, Out::new(out_buffer, "out_buffer")?) };
        let mut bytes = Vec::new();
        let mut write = |piece: &[u8]| {
            if bytes.capacity() - bytes.len() < piece.len() {
                // Doubled, so that few pieces move what is there.
                let more = piece.len().max(bytes.len());
                reserve(&mut bytes, more)?;
            }
            bytes.extend_from_slice(piece);
            Ok(())
        };
        clip.encode(container, fps, &mut write)?;
        out.hand_over(cvx_buffer { bytes });
        Ok(())
    })
}

/// The bytes; NULL for NULL. The memory belongs to the buffer and lives until cvx_buffer_free.
///
/// Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_buffer_data(buffer: *const cvx_buffer) -> *const u8 {
    infallible(std::ptr::null(), || {
        // SAFETY: by the contract of the header.
        unsafe { peek(buffer) }.map_or(std::ptr::null(), |buffer| buffer.bytes.as_ptr())
    })
}

/// How many bytes; 0 for NULL.
///
/// Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_buffer_size(buffer: *const cvx_buffer) -> usize {
    // SAFETY: by the contract of the header.
    infallible(0, || unsafe { peek(buffer) }.map_or(0, |buffer| buffer.bytes.len()))
}

/// Frees a buffer. NULL is allowed and does nothing.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_buffer_free(buffer: *mut cvx_buffer) {
    infallible((), || {
        // SAFETY: NULL or a buffer that was handed out here, not freed yet.
        unsafe { free(buffer) }
    })
}
