//! Functions of the host, called so that a C++ exception of theirs becomes an error.

use super::take_string;
use crate::runtime::failures::first_line;
use crate::{Error, Result};
use std::ffi::{c_char, c_void};

/// A host's function as the shim calls it: what it is told, and the host's pointer.
pub type Function<R> = unsafe extern "C" fn(info: *const c_void, user_data: *mut c_void) -> R;

mod ffi {
    use super::{c_char, c_void, Function};

    extern "C" {
        pub fn cvx_shim_call_int(
            function: Function<i32>,
            info: *const c_void,
            user_data: *mut c_void,
            out: *mut i32,
            message: *mut *mut c_char,
        ) -> i32;
        pub fn cvx_shim_call_double(
            function: Function<f64>,
            info: *const c_void,
            user_data: *mut c_void,
            out: *mut f64,
            message: *mut *mut c_char,
        ) -> i32;
        pub fn cvx_shim_call_void(
            function: Function<()>,
            info: *const c_void,
            user_data: *mut c_void,
            message: *mut *mut c_char,
        ) -> i32;
        pub fn cvx_shim_call_free(
            function: unsafe extern "C" fn(user_data: *mut c_void),
            user_data: *mut c_void,
            message: *mut *mut c_char,
        ) -> i32;
    }
}

/// What a host's function returns.
pub trait Returned: Sized {
    /// Calls `function`.
    ///
    /// Errors: [`Error::CallbackFailed`] with the exception's text.
    ///
    /// # Safety
    /// As for calling `function` directly, but that it may throw.
    unsafe fn of(
        function: Function<Self>,
        info: *const c_void,
        user_data: *mut c_void,
    ) -> Result<Self>;
}

impl Returned for i32 {
    unsafe fn of(
        function: Function<i32>,
        info: *const c_void,
        user_data: *mut c_void,
    ) -> Result<i32> {
        let mut out = 0;
        // SAFETY: the caller's; the out-parameters are valid for writing.
        contained(|message| unsafe {
            ffi::cvx_shim_call_int(function, info, user_data, &mut out, message)
        })?;
        Ok(out)
    }
}

impl Returned for f64 {
    unsafe fn of(
        function: Function<f64>,
        info: *const c_void,
        user_data: *mut c_void,
    ) -> Result<f64> {
        let mut out = 0.0;
        // SAFETY: the caller's; the out-parameters are valid for writing.
        contained(|message| unsafe {
            ffi::cvx_shim_call_double(function, info, user_data, &mut out, message)
        })?;
        Ok(out)
    }
}

impl Returned for () {
    unsafe fn of(
        function: Function<()>,
        info: *const c_void,
        user_data: *mut c_void,
    ) -> Result<()> {
        // SAFETY: the caller's; the out-parameter is valid for writing.
        contained(|message| unsafe { ffi::cvx_shim_call_void(function, info, user_data, message) })
    }
}

/// Calls a free function of the host.
///
/// # Safety
/// As for calling `function` directly, but that it may throw.
pub unsafe fn free(
    function: unsafe extern "C" fn(user_data: *mut c_void),
    user_data: *mut c_void,
) -> Result<()> {
    // SAFETY: the caller's; the out-parameter is valid for writing.
    contained(|message| unsafe { ffi::cvx_shim_call_free(function, user_data, message) })
}

fn contained(call: impl FnOnce(*mut *mut c_char) -> i32) -> Result<()> {
    let mut message = std::ptr::null_mut();
    if call(&mut message) == super::ffi::OK {
        return Ok(());
    }
    let text = first_line(&take_string(message));
    Err(Error::CallbackFailed(format!("a callback threw a C++ exception: {text}")))
}
