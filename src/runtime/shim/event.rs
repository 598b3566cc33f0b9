//! Marks in the work of a CUDA device, and copies to it that nobody waits for.

use super::call;
use crate::runtime::device_threads;
use crate::{Error, Result};
use std::ffi::c_char;
use std::ptr::NonNull;
use tch::Tensor;
use torch_sys::C_tensor;

#[repr(C)]
#[derive(Debug)]
pub struct RawEvent {
    _opaque: [u8; 0],
}

extern "C" {
    fn cvx_shim_event_record(
        index: i32,
        timed: i32,
        out: *mut *mut RawEvent,
        message: *mut *mut c_char,
    ) -> i32;
    fn cvx_shim_event_query(
        event: *const RawEvent,
        done: *mut i32,
        message: *mut *mut c_char,
    ) -> i32;
    fn cvx_shim_event_wait(event: *const RawEvent, message: *mut *mut c_char) -> i32;
    fn cvx_shim_event_elapsed(
        from: *const RawEvent,
        to: *const RawEvent,
        milliseconds: *mut f64,
        message: *mut *mut c_char,
    ) -> i32;
    fn cvx_shim_event_free(event: *mut RawEvent);
    fn cvx_shim_upload(
        tensor: *const C_tensor,
        index: i32,
        out: *mut *mut C_tensor,
        message: *mut *mut c_char,
    ) -> i32;
}

/// A mark behind everything that was launched so far on a device's current stream.
#[derive(Debug)]
pub struct DeviceEvent(NonNull<RawEvent>);

// SAFETY: the event is a heap object without ties to a thread, whose functions CUDA allows on any.
unsafe impl Send for DeviceEvent {}

impl DeviceEvent {
    /// Sets a mark on CUDA device `index`. Only a `timed` one knows when it was passed.
    pub(in crate::runtime) fn record(index: i32, timed: bool) -> Result<DeviceEvent> {
        let mut out = std::ptr::null_mut();
        // SAFETY: both out-parameters are valid for writing.
        call(|message| unsafe {
            cvx_shim_event_record(index, i32::from(timed), &mut out, message)
        })?;
        NonNull::new(out).map(DeviceEvent).ok_or_else(|| Error::Internal("no event".into()))
    }

    /// # Safety
    /// `event` came from the shim, and nobody else holds it.
    pub(super) unsafe fn from_raw(event: NonNull<RawEvent>) -> DeviceEvent {
        DeviceEvent(event)
    }

    pub(super) fn as_ptr(&self) -> *const RawEvent {
        self.0.as_ptr()
    }

    /// Whether the device has passed it. Does not wait.
    pub fn is_passed(&self) -> Result<bool> {
        let mut done = 0;
        // SAFETY: the event is alive and both out-parameters are valid for writing.
        call(|message| unsafe { cvx_shim_event_query(self.0.as_ptr(), &mut done, message) })?;
        Ok(done != 0)
    }

    /// Waits until the device has passed it.
    pub fn wait(&self) -> Result<()> {
        // SAFETY: the event is alive and the out-parameter valid for writing.
        call(|message| unsafe { cvx_shim_event_wait(self.0.as_ptr(), message) })
    }

    /// Milliseconds of the device between two timed marks that it has passed.
    pub fn milliseconds_since(&self, earlier: &DeviceEvent) -> Result<f64> {
        let mut milliseconds = 0.0;
        // SAFETY: both events are alive and both out-parameters are valid for writing.
        call(|message| unsafe {
            let (from, to) = (earlier.0.as_ptr(), self.0.as_ptr());
            cvx_shim_event_elapsed(from, to, &mut milliseconds, message)
        })?;
        Ok(milliseconds)
    }
}

impl Drop for DeviceEvent {
    fn drop(&mut self) {
        if !device_threads::is_one() {
            return device_threads::leave(DeviceEvent(self.0));
        }
        // SAFETY: the pointer came from `cvx_shim_event_record` and is freed once.
        unsafe { cvx_shim_event_free(self.0.as_ptr()) };
    }
}

/// A copy of `tensor`, which lies on the CPU, on CUDA device `index`.
pub(in crate::runtime) fn upload(tensor: &Tensor, index: i32) -> Result<Tensor> {
    let mut out = std::ptr::null_mut();
    // SAFETY: `tensor` is alive during the call and both out-parameters are valid for writing.
    call(|message| unsafe { cvx_shim_upload(tensor.as_ptr(), index, &mut out, message) })?;
    // SAFETY: on success `out` is a heap-allocated at::Tensor that nobody else holds.
    Ok(unsafe { Tensor::from_ptr(out) })
}
