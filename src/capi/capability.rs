//! What this build can do, by name.

use super::convert::optional_text;
use super::error::one_line;
use super::panic::infallible;
use crate::capabilities;
use std::ffi::{c_char, CString};
use std::sync::OnceLock;

/// Whether this library can do what a name says: 1 if so; 0 if not, for a name that it does not
/// know, which may be a later release's, and for NULL. So a host that finds the library at run time
/// asks instead of comparing releases. Names are made of a group and what it has, such as
/// "save.mp4", "cache.pab", "quantization.int8", "load.gguf", "task.image_to_video",
/// "device.cuda" (the code is there; cvx_device_list_new says whether a GPU is) or "cpu.avx2" (the
/// kernels that libtorch takes on this processor); cvx_capabilities has them all. Names are never
/// taken back.
///
/// Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_has_capability(name: *const c_char) -> i32 {
    infallible(0, || {
        // SAFETY: by the contract of the header.
        let name = unsafe { optional_text(name, "name") };
        i32::from(matches!(name, Ok(Some(name)) if capabilities::has(name)))
    })
}

/// Every name that cvx_has_capability answers 1 for, sorted, with a space between two.
///
/// The text is static and never freed. Threads: any. Since 0.1.
#[no_mangle]
pub extern "C" fn cvx_capabilities() -> *const c_char {
    static TEXT: OnceLock<CString> = OnceLock::new();
    infallible(c"".as_ptr(), || {
        TEXT.get_or_init(|| one_line(&capabilities::all().join(" "))).as_ptr()
    })
}
