//! Memory that is held while code runs that does not heed that there is none (`spare.cpp`).

use super::ffi;
use std::ffi::c_void;
use std::io;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// `CVX_SHIM_SPARE_SHORT` and `CVX_SHIM_SPARE_HELD` of shim.h.
const SHORT: i32 = 0;
const HELD: i32 = 1;

/// Some of the heap, which allocations that fail inside libtorch on this thread get until it is
/// dropped.
pub struct Spare {
    held: bool,
    // It is the thread's.
    _not_send: PhantomData<*const ()>,
}

impl Spare {
    /// `None` where the heap has not so much.
    pub fn hold() -> Option<Spare> {
        // SAFETY: without preconditions.
        let held = unsafe {
            ffi::cvx_shim_spare_install();
            ffi::cvx_shim_spare_hold()
        };
        (held != SHORT).then_some(Spare { held: held == HELD, _not_send: PhantomData })
    }
}

/// Has libgomp, in which `inside` is an address, have what is held on a thread that it works for.
pub fn install_in_libgomp(inside: NonNull<c_void>) -> i32 {
    // SAFETY: an address in an object that stays loaded.
    unsafe { cvx_shim_spare_install_in_libgomp(inside.as_ptr()) }
}

/// What `start` starts, a thread: Rust's standard library asks for memory then, and ends the process where it is refused.
pub fn while_starting<T>(start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let _spare = Spare::hold().ok_or(io::ErrorKind::OutOfMemory)?;
    start()
}

impl Drop for Spare {
    fn drop(&mut self) {
        if self.held {
            // SAFETY: without preconditions, on the thread that holds it.
            unsafe { ffi::cvx_shim_spare_drop() }
        }
    }
}

extern "C" {
    fn cvx_shim_spare_install_in_libgomp(inside: *const c_void) -> i32;
}

extern "C-unwind" {
    fn cvx_shim_without_bad_alloc(
        function: unsafe extern "C-unwind" fn(data: *mut c_void),
        data: *mut c_void,
    ) -> i32;
}

/// What `work` returns, which calls a C++ library that throws where memory is out; `None` where it
/// threw. Rust can't catch that by itself.
pub fn without_bad_alloc<T>(work: impl FnOnce() -> T) -> Option<T> {
    struct Call<F, T> {
        work: Option<F>,
        out: Option<T>,
    }
    unsafe extern "C-unwind" fn run<F: FnOnce() -> T, T>(call: *mut c_void) {
        // SAFETY: the call below, which lasts longer; nobody else has it meanwhile.
        let call = unsafe { &mut *call.cast::<Call<F, T>>() };
        call.out = call.work.take().map(|work| work());
    }
    fn runs<F: FnOnce() -> T, T>(_: &Call<F, T>) -> unsafe extern "C-unwind" fn(*mut c_void) {
        run::<F, T>
    }
    let mut call = Call { work: Some(work), out: None };
    let function = runs(&call);
    // SAFETY: `call` is what `function` takes, and outlives it; a panic comes back through both.
    unsafe { cvx_shim_without_bad_alloc(function, std::ptr::from_mut(&mut call).cast()) };
    call.out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With a libtorch whose table can't be written to, a failed allocation inside oneDNN ends the
    /// process: whoever builds for one is to know.
    #[test]
    fn libtorch_asks_the_stand_ins() {
        // SAFETY: without preconditions.
        let replaced = unsafe { ffi::cvx_shim_spare_install() };
        assert!(replaced >= 6, "{replaced}");
        // SAFETY: a name that ends with NUL.
        let libgomp = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"GOMP_parallel".as_ptr()) };
        let replaced = install_in_libgomp(NonNull::new(libgomp).unwrap());
        assert!(replaced >= 3, "{replaced}");
    }

    #[test]
    fn work_returns_and_panics_as_it_would_by_itself() {
        assert_eq!(without_bad_alloc(|| 7), Some(7));
        let panic = std::panic::catch_unwind(|| without_bad_alloc(|| panic!("of Rust's")));
        assert_eq!(panic.unwrap_err().downcast_ref::<&str>(), Some(&"of Rust's"));
    }

    #[test]
    fn it_is_held_once_and_given_back() {
        let outer = Spare::hold().unwrap();
        assert!(outer.held);
        let inner = Spare::hold().unwrap();
        assert!(!inner.held);
        drop(inner);
        assert!(!Spare::hold().unwrap().held);
        std::thread::spawn(|| assert!(Spare::hold().unwrap().held)).join().unwrap();
        drop(outer);
        assert!(Spare::hold().unwrap().held);
    }
}
