//! Versions, and whether header and library belong together.

use super::error::{cvx_error, Failure};
use super::panic::fallible;
use std::ffi::c_char;

/// The release that this header belongs to.
pub const CVX_VERSION_MAJOR: i32 = 0;
/// The release that this header belongs to.
pub const CVX_VERSION_MINOR: i32 = 1;
/// The release that this header belongs to.
pub const CVX_VERSION_PATCH: i32 = 0;
/// The binary interface that this header describes. It is raised when a program built against
/// an older header can no longer use the library, and only then: functions, codes and struct
/// fields that are merely added leave it alone.
pub const CVX_ABI_VERSION: i32 = 1;

/// The library's release, "major.minor.patch".
///
/// The text is static and never freed. Threads: any. Since 0.1.
#[no_mangle]
pub extern "C" fn cvx_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The library's CVX_ABI_VERSION.
///
/// Threads: any. Since 0.1.
#[no_mangle]
pub extern "C" fn cvx_abi_version() -> i32 {
    CVX_ABI_VERSION
}

/// Whether a program built against header_abi (pass CVX_ABI_VERSION) can use this library:
/// NULL if so, else CVX_ERROR_INVALID_ARGUMENT. Worth calling once at the start of a program
/// that loads the library at run time.
///
/// Threads: any. Since 0.1.
#[must_use]
#[no_mangle]
pub extern "C" fn cvx_abi_check(header_abi: i32) -> *mut cvx_error {
    fallible(|| {
        if header_abi == CVX_ABI_VERSION {
            return Ok(());
        }
        Err(Failure::invalid(format!(
            "header_abi must be {CVX_ABI_VERSION}, the ABI version of libcogvideox {}, found \
             {header_abi}: the program was built against another cogvideox.h",
            env!("CARGO_PKG_VERSION")
        )))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_numbers_are_the_crates_version() {
        let header = format!("{CVX_VERSION_MAJOR}.{CVX_VERSION_MINOR}.{CVX_VERSION_PATCH}");
        assert_eq!(header, env!("CARGO_PKG_VERSION"));
    }
}
