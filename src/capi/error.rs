//! `cvx_error`, its codes, and the one mapping from [`crate::Error`] to them.

use super::handle::{self, free, peek};
use super::panic::infallible;
use crate::Error;
use std::borrow::Cow;
use std::ffi::{c_char, CString};

/// No error: what `cvx_error_code` returns for NULL.
pub const CVX_OK: i32 = 0;
/// A pointer that must not be NULL is NULL.
pub const CVX_ERROR_NULL_ARGUMENT: i32 = 1;
/// An argument, option or configuration value is outside what it may be.
pub const CVX_ERROR_INVALID_ARGUMENT: i32 = 2;
/// A string is not valid UTF-8.
pub const CVX_ERROR_INVALID_UTF8: i32 = 3;
/// A file or folder that must be there is not.
pub const CVX_ERROR_NOT_FOUND: i32 = 4;
/// A file of the pipeline folder is damaged or contradicts another one.
pub const CVX_ERROR_INVALID_CHECKPOINT: i32 = 5;
/// The pipeline folder is sound, but asks for something this library does not implement.
pub const CVX_ERROR_UNSUPPORTED_MODEL: i32 = 6;
/// The device asked for cannot be used: no CUDA library, no driver, no such index.
pub const CVX_ERROR_DEVICE_UNAVAILABLE: i32 = 7;
/// The device or the host has too little memory. What the handle was before, it still is.
pub const CVX_ERROR_OUT_OF_MEMORY: i32 = 8;
/// The pipeline is generating already, or a callback called back into its own pipeline.
pub const CVX_ERROR_BUSY: i32 = 9;
/// A cancel token or a callback's stop answer ended the work.
pub const CVX_ERROR_CANCELLED: i32 = 10;
/// A host callback answered something that cannot be used.
pub const CVX_ERROR_CALLBACK_FAILED: i32 = 11;
/// Reading or writing a file failed.
pub const CVX_ERROR_IO: i32 = 12;
/// A defect of this library, or an unexpected failure inside libtorch.
pub const CVX_ERROR_INTERNAL: i32 = 13;
/// The device failed for good, by a fault of its own or by work that damaged its state in this
/// process. Every later call that needs what lies there fails so; freeing works, and so does work
/// on other devices. The process must be restarted to use the device again.
pub const CVX_ERROR_DEVICE_LOST: i32 = 14;

/// What went wrong: a code and one line of text. The caller owns it and frees it with
/// cvx_error_free. It belongs to no thread and to no handle: it may be read and freed on any
/// thread, also after the handles it speaks of are gone.
///
/// Since 0.1.
#[derive(Debug)]
pub struct cvx_error {
    code: i32,
    message: CString,
}

/// A failure on its way to the boundary.
#[derive(Debug)]
pub(super) struct Failure {
    code: i32,
    message: String,
}

pub(super) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub fn null(parameter: &str) -> Failure {
        let message = format!("{parameter} must not be NULL");
        Failure { code: CVX_ERROR_NULL_ARGUMENT, message }
    }

    pub fn utf8(parameter: &str, valid_up_to: usize) -> Failure {
        let message = format!("{parameter} must be UTF-8, found an invalid byte at {valid_up_to}");
        Failure { code: CVX_ERROR_INVALID_UTF8, message }
    }

    pub fn invalid(message: impl Into<String>) -> Failure {
        Failure { code: CVX_ERROR_INVALID_ARGUMENT, message: message.into() }
    }

    pub fn internal(message: impl Into<String>) -> Failure {
        Failure { code: CVX_ERROR_INTERNAL, message: message.into() }
    }

    pub fn code(&self) -> i32 {
        self.code
    }

    /// The error of the core that becomes `code`, with this message.
    pub fn core_error(code: i32, message: &str) -> Result<Error> {
        let message = message.to_string();
        Ok(match code {
            CVX_ERROR_NULL_ARGUMENT | CVX_ERROR_INVALID_UTF8 | CVX_ERROR_INVALID_ARGUMENT => {
                Error::InvalidArgument(message)
            }
            CVX_ERROR_NOT_FOUND => Error::NotFound(message),
            CVX_ERROR_INVALID_CHECKPOINT => Error::InvalidCheckpoint(message),
            CVX_ERROR_UNSUPPORTED_MODEL => Error::UnsupportedModel(message),
            CVX_ERROR_DEVICE_UNAVAILABLE => Error::DeviceUnavailable(message),
            CVX_ERROR_OUT_OF_MEMORY => Error::OutOfMemory(message),
            CVX_ERROR_BUSY => Error::Busy(message),
            CVX_ERROR_CANCELLED => Error::Cancelled(message),
            CVX_ERROR_CALLBACK_FAILED => Error::CallbackFailed(message),
            CVX_ERROR_IO => Error::Io(message),
            CVX_ERROR_INTERNAL => Error::Internal(message),
            CVX_ERROR_DEVICE_LOST => Error::DeviceLost(message),
            _ => {
                let wrong = format!("code: expected one of CVX_ERROR_*, found {code}");
                return Err(Failure::invalid(wrong));
            }
        })
    }

    /// Hands the failure to the caller.
    pub fn into_raw(self) -> *mut cvx_error {
        handle::new(cvx_error { code: self.code, message: one_line(&self.message) })
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let code = match error {
            Error::InvalidArgument(_) => CVX_ERROR_INVALID_ARGUMENT,
            Error::NotFound(_) => CVX_ERROR_NOT_FOUND,
            Error::InvalidCheckpoint(_) => CVX_ERROR_INVALID_CHECKPOINT,
            Error::UnsupportedModel(_) => CVX_ERROR_UNSUPPORTED_MODEL,
            Error::DeviceUnavailable(_) => CVX_ERROR_DEVICE_UNAVAILABLE,
            Error::OutOfMemory(_) => CVX_ERROR_OUT_OF_MEMORY,
            Error::Busy(_) => CVX_ERROR_BUSY,
            Error::Cancelled(_) => CVX_ERROR_CANCELLED,
            Error::CallbackFailed(_) => CVX_ERROR_CALLBACK_FAILED,
            Error::Io(_) => CVX_ERROR_IO,
            Error::Internal(_) => CVX_ERROR_INTERNAL,
            Error::DeviceLost(_) => CVX_ERROR_DEVICE_LOST,
        };
        Failure { code, message: error.to_string() }
    }
}

impl From<tch::TchError> for Failure {
    fn from(error: tch::TchError) -> Failure {
        Error::from(error).into()
    }
}

/// The longest message. Those of this library have a few hundred bytes; what makes one longer is
/// a text of the host's or of a file that it repeats.
const MAX_MESSAGE_BYTES: usize = 2048;
/// How much of the end of a longer one is kept.
const TAIL_BYTES: usize = 512;

/// `text` with its middle left out if it is too long.
fn bounded(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_MESSAGE_BYTES {
        return Cow::Borrowed(text);
    }
    let head = text.floor_char_boundary(MAX_MESSAGE_BYTES - TAIL_BYTES);
    let tail = text.ceil_char_boundary(text.len() - TAIL_BYTES);
    let middle = tail.saturating_sub(head);
    let (head, tail) = (text.get(..head).unwrap_or_default(), text.get(tail..).unwrap_or_default());
    Cow::Owned(format!("{head} … {middle} bytes left out … {tail}"))
}

/// `text` as a C string of one line and of bounded length: control characters, which a file
/// name or a tensor name may hold, become spaces.
pub(super) fn one_line(text: &str) -> CString {
    let text = bounded(text);
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    // No NUL is left, so this cannot fail; an empty message is the answer if it does.
    CString::new(line).unwrap_or_default()
}

/// The code of an error: one of CVX_ERROR_*, or CVX_OK for NULL. Codes keep their values for
/// ever; later versions may add some, so treat one you do not know like
/// CVX_ERROR_INTERNAL.
///
/// Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_error_code(error: *const cvx_error) -> i32 {
    // SAFETY: NULL or a live error, by the contract of the header.
    unsafe { peek(error) }.map_or(CVX_OK, |error| error.code)
}

/// The name of a code without its prefix, such as "INVALID_ARGUMENT"; "OK" for CVX_OK and
/// "UNKNOWN" for a number that is no code.
///
/// The text is static and never freed. Threads: any. Since 0.1.
#[no_mangle]
pub extern "C" fn cvx_error_code_name(code: i32) -> *const c_char {
    let name = match code {
        CVX_OK => c"OK",
        CVX_ERROR_NULL_ARGUMENT => c"NULL_ARGUMENT",
        CVX_ERROR_INVALID_ARGUMENT => c"INVALID_ARGUMENT",
        CVX_ERROR_INVALID_UTF8 => c"INVALID_UTF8",
        CVX_ERROR_NOT_FOUND => c"NOT_FOUND",
        CVX_ERROR_INVALID_CHECKPOINT => c"INVALID_CHECKPOINT",
        CVX_ERROR_UNSUPPORTED_MODEL => c"UNSUPPORTED_MODEL",
        CVX_ERROR_DEVICE_UNAVAILABLE => c"DEVICE_UNAVAILABLE",
        CVX_ERROR_OUT_OF_MEMORY => c"OUT_OF_MEMORY",
        CVX_ERROR_BUSY => c"BUSY",
        CVX_ERROR_CANCELLED => c"CANCELLED",
        CVX_ERROR_CALLBACK_FAILED => c"CALLBACK_FAILED",
        CVX_ERROR_IO => c"IO",
        CVX_ERROR_INTERNAL => c"INTERNAL",
        CVX_ERROR_DEVICE_LOST => c"DEVICE_LOST",
        _ => c"UNKNOWN",
    };
    name.as_ptr()
}

/// What went wrong, in one line of UTF-8 that names the file, tensor, parameter or callback
/// at fault, what was expected and what was found. "" for NULL.
///
/// At most some 2 KiB: of a longer text the middle is left out. The text belongs to the error and
/// lives until cvx_error_free. Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_error_message(error: *const cvx_error) -> *const c_char {
    // SAFETY: NULL or a live error, by the contract of the header.
    unsafe { peek(error) }.map_or(c"".as_ptr(), |error| error.message.as_ptr())
}

/// Frees an error. NULL is allowed and does nothing.
///
/// Threads: any, once. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_error_free(error: *mut cvx_error) {
    infallible((), || {
        // SAFETY: NULL or an error that `into_raw` handed out and that was not freed yet.
        unsafe { free(error) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    #[test]
    fn a_message_with_control_characters_becomes_one_line() {
        assert_eq!(one_line("file \"a\nb\0c\"").to_str(), Ok("file \"a b c\""));
    }

    #[test]
    fn a_long_message_keeps_its_ends() {
        let whole = "ü".repeat(MAX_MESSAGE_BYTES / 2);
        assert_eq!(one_line(&whole).to_str().unwrap(), whole);
        let long = format!("start {} end", "ü".repeat(1 << 20));
        let line = one_line(&long).into_string().unwrap();
        assert!(line.len() < MAX_MESSAGE_BYTES + 64, "{}", line.len());
        assert!(line.starts_with("start ü") && line.ends_with("ü end"), "{line}");
        assert!(line.contains("bytes left out"), "{line}");
    }

    #[test]
    fn every_code_has_a_name_of_its_own() {
        let name = |code| {
            // SAFETY: the text is static.
            unsafe { CStr::from_ptr(cvx_error_code_name(code)) }.to_str().unwrap().to_string()
        };
        let names: std::collections::BTreeSet<_> =
            (CVX_OK..=CVX_ERROR_DEVICE_LOST).map(name).collect();
        assert_eq!(names.len(), 15);
        assert!(!names.contains("UNKNOWN"));
        assert_eq!(name(CVX_ERROR_DEVICE_LOST + 1), "UNKNOWN");
        assert_eq!(name(-1), "UNKNOWN");
    }
}
