//! The funnel that every exported function runs in: a failure becomes an error object, a
//! panic becomes CVX_ERROR_INTERNAL (or the error of libtorch that tch panicked with), and
//! nothing is printed.
//!
//! Rust prints a panic through the panic hook, before it unwinds. So a hook is put in front
//! of the one that is there, once, which stays silent on threads that are inside the
//! boundary and hands everything else on. In the shared library the hook is the library's
//! own, because Rust's standard library is linked into it; a Rust program that links the
//! crate as an rlib keeps its hook for all its own panics.

use super::error::{cvx_error, Failure, Result};
use super::floating_point::{with_hosts_modes, Defaults};
use crate::runtime::inside::{depth, Depth};
use crate::runtime::{failures, reserve};
use crate::Error;
use std::any::Any;
use std::cell::RefCell;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// Where the last panic inside the boundary came from.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn silence_panics_inside() {
    static HOOK: Once = Once::new();
    // A Rust host may free a handle while it unwinds, when hooks cannot be changed.
    if HOOK.is_completed() || std::thread::panicking() {
        return;
    }
    HOOK.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if depth() == 0 {
                return previous(info);
            }
            let place = info.location().map(|place| {
                let file = failures::place_in_sources(place.file());
                format!("{file}:{}:{}", place.line(), place.column())
            });
            let _ = PLACE.try_with(|last| *last.borrow_mut() = place);
        }));
    });
}

/// Runs the body of an exported function that can fail.
pub(super) fn fallible(body: impl FnOnce() -> Result<()>) -> *mut cvx_error {
    match guarded(body) {
        Ok(Ok(())) => std::ptr::null_mut(),
        Ok(Err(failure)) => failure.into_raw(),
        Err(panic) => Failure::from(panic).into_raw(),
    }
}

/// Runs the body of an exported function that has no way to tell a failure; `otherwise` is
/// its answer if the body panics.
pub(super) fn infallible<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    guarded(body).unwrap_or(otherwise)
}

/// Runs work of the core on a thread of its own, where no function of the host's is below it.
pub(super) fn contained(work: &mut dyn FnMut()) -> crate::Result<()> {
    guarded(work)
}

/// Runs code of the host (a callback, a free function): a panic of a Rust host in there is
/// the host's own and is printed as such.
pub(super) fn host_code<T>(call: impl FnOnce() -> T) -> T {
    let _depth = Depth::set(|_| 0);
    with_hosts_modes(call)
}

fn guarded<T>(body: impl FnOnce() -> T) -> crate::Result<T> {
    silence_panics_inside();
    let inside = Depth::set(|depth| depth.saturating_add(1));
    if inside.before() == 0 {
        reserve::begin();
    }
    let modes = Defaults::enter();
    // What a panic leaves half-changed is behind locks and flags that are put right when they
    // are dropped, or is dropped with the frame.
    let result = catch_unwind(AssertUnwindSafe(body));
    drop(modes);
    drop(inside);
    result.map_err(|payload| {
        let place = PLACE.try_with(|last| last.borrow_mut().take()).ok().flatten();
        let place = place.unwrap_or_else(|| "an unknown place".into());
        let text = text_of(&*payload);
        let error = failures::of_panic(text).unwrap_or_else(|| {
            Error::Internal(format!("defect in libcogvideox: {text} at {place}"))
        });
        // Dropping a payload can panic again, so it is leaked.
        #[expect(clippy::mem_forget, reason = "as above")]
        std::mem::forget(payload);
        error
    })
}

fn text_of(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "a panic without a message"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capi::error::{
        cvx_error_code, cvx_error_free, cvx_error_message, CVX_ERROR_INTERNAL,
        CVX_ERROR_OUT_OF_MEMORY,
    };
    use std::ffi::CStr;

    #[test]
    fn a_panic_becomes_an_internal_error_that_says_what_and_where() {
        let error = fallible(|| panic!("odd\nthing {}", 7));
        // SAFETY: `error` was just made.
        unsafe {
            assert_eq!(cvx_error_code(error), CVX_ERROR_INTERNAL);
            let message = CStr::from_ptr(cvx_error_message(error)).to_str().unwrap();
            assert!(message.contains("odd thing 7 at src/capi/panic.rs:"), "{message}");
            cvx_error_free(error);
        }
    }

    #[test]
    fn memory_that_tch_panics_about_is_out_of_memory() {
        let error = fallible(|| {
            let one = tch::Tensor::f_zeros([1], (tch::Kind::Float, tch::Device::Cpu))?;
            let _ = one.f_expand([1i64 << 60], false)?.f_mul_scalar(2.0)?;
            Ok(())
        });
        // SAFETY: `error` was just made.
        unsafe {
            assert_eq!(cvx_error_code(error), CVX_ERROR_OUT_OF_MEMORY);
            let message = CStr::from_ptr(cvx_error_message(error)).to_str().unwrap();
            assert!(message.contains("can't allocate memory"), "{message}");
            assert!(!message.contains("defect"), "{message}");
            cvx_error_free(error);
        }
    }

    #[test]
    fn a_payload_that_panics_when_dropped_stays_inside() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("dropped");
            }
        }
        assert_eq!(infallible(5, || std::panic::panic_any(Bomb)), 5);
    }

    #[test]
    fn the_depth_is_put_back_after_panics_and_host_code() {
        assert_eq!(depth(), 0);
        infallible((), || {
            assert_eq!(depth(), 1);
            host_code(|| assert_eq!(depth(), 0));
            assert_eq!(depth(), 1);
            panic!("unwinds");
        });
        assert_eq!(depth(), 0);
    }

    /// What runs in a process of its own below.
    #[test]
    fn panics_in_child() {
        if std::env::var_os("CVX_TEST_CHILD").is_none() {
            return;
        }
        // SAFETY: `error` was just made.
        unsafe { cvx_error_free(fallible(|| panic!("inside"))) };
        infallible((), || panic!("inside, too"));
        let _ = catch_unwind(|| panic!("the host's own"));
        infallible((), || {
            let _ = catch_unwind(|| panic!("deep inside"));
            host_code(|| {
                let _ = catch_unwind(|| panic!("in a callback"));
            });
        });
    }

    #[test]
    fn panics_inside_print_nothing_and_the_hosts_own_are_printed_as_ever() {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "capi::panic::tests::panics_in_child", "--nocapture"])
            .env("CVX_TEST_CHILD", "1")
            .env("RUST_BACKTRACE", "0")
            .output()
            .unwrap();
        assert!(output.status.success());
        let all = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        let all = all.concat();
        assert!(!all.contains("inside"), "{all}");
        assert!(all.contains("the host's own") && all.contains("in a callback"), "{all}");
    }
}
