//! Copies to a CUDA device beside what it computes, on a stream of their own, and the host's memory
//! that they come from.

use super::call;
use super::event::RawEvent;
use crate::{Error, Result};
use std::ffi::c_char;
use std::ptr::NonNull;
use tch::Tensor;
use torch_sys::C_tensor;

#[repr(C)]
struct RawCopies {
    _opaque: [u8; 0],
}

extern "C" {
    fn cvx_shim_host_bytes(
        bytes: i64,
        pinned: i32,
        out: *mut *mut C_tensor,
        message: *mut *mut c_char,
    ) -> i32;
    fn cvx_shim_copy_stream_new(
        index: i32,
        out: *mut *mut RawCopies,
        message: *mut *mut c_char,
    ) -> i32;
    fn cvx_shim_copy_stream_free(copies: *mut RawCopies);
    fn cvx_shim_copy_stream_follow(copies: *const RawCopies, message: *mut *mut c_char) -> i32;
    fn cvx_shim_copy_stream_join(copies: *const RawCopies, message: *mut *mut c_char) -> i32;
    fn cvx_shim_copy_stream_copy(
        copies: *const RawCopies,
        target: *mut C_tensor,
        source: *const C_tensor,
        message: *mut *mut c_char,
    ) -> i32;
    fn cvx_shim_copy_stream_mark(
        copies: *const RawCopies,
        out: *mut *mut RawEvent,
        message: *mut *mut c_char,
    ) -> i32;
    fn cvx_shim_copy_stream_await(
        copies: *const RawCopies,
        event: *const RawEvent,
        message: *mut *mut c_char,
    ) -> i32;
}

/// Bytes on the CPU that are not set to anything; `pinned` ones a CUDA device reads by itself.
pub(in crate::runtime) fn host_bytes(bytes: i64, pinned: bool) -> Result<Tensor> {
    let mut out = std::ptr::null_mut();
    // SAFETY: both out-parameters are valid for writing.
    call(|message| unsafe { cvx_shim_host_bytes(bytes, pinned.into(), &mut out, message) })?;
    // SAFETY: on success `out` is a heap-allocated at::Tensor that nobody else holds.
    Ok(unsafe { Tensor::from_ptr(out) })
}

/// A stream for copies to one device. It is used by the thread that computes on that device, whose
/// stream of then is the "current" one.
pub struct CopyStream(NonNull<RawCopies>);

// SAFETY: the stream is a heap object without ties to a thread, which CUDA allows on any.
unsafe impl Send for CopyStream {}

/// Behind what was copied when it was set.
pub struct CopyMark(super::event::DeviceEvent);

impl CopyStream {
    pub(in crate::runtime) fn new(index: i32) -> Result<CopyStream> {
        let mut out = std::ptr::null_mut();
        // SAFETY: both out-parameters are valid for writing.
        call(|message| unsafe { cvx_shim_copy_stream_new(index, &mut out, message) })?;
        NonNull::new(out).map(CopyStream).ok_or_else(|| Error::Internal("no stream".into()))
    }

    /// What is copied from here on begins behind what the current stream has to do now.
    pub fn follow(&self) -> Result<()> {
        // SAFETY: the stream is alive and the out-parameter valid for writing; so below.
        call(|message| unsafe { cvx_shim_copy_stream_follow(self.0.as_ptr(), message) })
    }

    /// The current stream goes on behind all that is copied so far.
    pub fn join(&self) -> Result<()> {
        // SAFETY: as in `follow`.
        call(|message| unsafe { cvx_shim_copy_stream_join(self.0.as_ptr(), message) })
    }

    /// Copies `source`, in memory that the device reads by itself, to `target` on the device, which
    /// is dense, of its dtype and shape. Nobody waits.
    pub fn copy(&self, target: &mut Tensor, source: &Tensor) -> Result<()> {
        // SAFETY: as in `follow`; both tensors are alive during the call, and libtorch keeps the
        // host's memory from being used again before the copy has been made.
        call(|message| unsafe {
            let (target, source) = (target.as_mut_ptr(), source.as_ptr());
            cvx_shim_copy_stream_copy(self.0.as_ptr(), target, source, message)
        })
    }

    /// A mark behind what is copied so far.
    pub fn mark(&self) -> Result<CopyMark> {
        let mut out = std::ptr::null_mut();
        // SAFETY: as in `follow`.
        call(|message| unsafe { cvx_shim_copy_stream_mark(self.0.as_ptr(), &mut out, message) })?;
        let event = NonNull::new(out).ok_or_else(|| Error::Internal("no event".into()))?;
        // SAFETY: a new event of the shim that nobody else holds.
        Ok(CopyMark(unsafe { super::event::DeviceEvent::from_raw(event) }))
    }

    /// The current stream goes on behind `mark`.
    pub fn wait_for(&self, mark: &CopyMark) -> Result<()> {
        // SAFETY: as in `follow`; the event is alive.
        call(|message| unsafe {
            cvx_shim_copy_stream_await(self.0.as_ptr(), mark.0.as_ptr(), message)
        })
    }
}

impl Drop for CopyStream {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `cvx_shim_copy_stream_new` and is freed once.
        unsafe { cvx_shim_copy_stream_free(self.0.as_ptr()) };
    }
}
