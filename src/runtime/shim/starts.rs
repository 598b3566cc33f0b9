//! Threads that are there where libgomp is refused one (`starts.cpp`).

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// `cvx_shim_starts`.
#[repr(C)]
struct Announced {
    _private: [u8; 0],
}

extern "C" {
    fn cvx_shim_starts_install(inside: *const c_void) -> i32;
    fn cvx_shim_starts_begin(count: i32) -> *mut Announced;
    fn cvx_shim_starts_count(starts: *const Announced) -> i32;
    fn cvx_shim_starts_release(starts: *mut Announced);
    fn cvx_shim_starts_end(starts: *mut Announced);
}

/// Until it is dropped, libgomp ends the process less easily where this thread has it start threads:
/// refused ones are taken from those that wait, or asked for again for some seconds.
pub struct Starts {
    announced: NonNull<Announced>,
    // It is the thread's.
    _not_send: PhantomData<*const ()>,
}

impl Starts {
    /// With as many of `count` threads as the system lets, which wait. `inside` is a function of
    /// libgomp's, if the OpenMP is that. `None` where memory is out.
    pub fn begin(inside: Option<NonNull<c_void>>, count: i32) -> Option<Starts> {
        if let Some(inside) = inside {
            // SAFETY: an address in an object that stays loaded.
            unsafe { cvx_shim_starts_install(inside.as_ptr()) };
        }
        // SAFETY: a plain number.
        let announced = unsafe { cvx_shim_starts_begin(count) };
        Some(Starts { announced: NonNull::new(announced)?, _not_send: PhantomData })
    }

    /// How many wait.
    pub fn waiting(&self) -> i32 {
        // SAFETY: it lives until it is dropped.
        unsafe { cvx_shim_starts_count(self.announced.as_ptr()) }
    }

    /// Ends those that were given nothing to do.
    pub fn release(&self) {
        // SAFETY: as above.
        unsafe { cvx_shim_starts_release(self.announced.as_ptr()) }
    }
}

impl Drop for Starts {
    fn drop(&mut self) {
        // SAFETY: ended once, on the thread that began it.
        unsafe { cvx_shim_starts_end(self.announced.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn libgomp() -> Option<NonNull<c_void>> {
        // SAFETY: a name that ends with NUL.
        NonNull::new(unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"GOMP_parallel".as_ptr()) })
    }

    /// With a libgomp whose table can't be written to, a thread that is refused to it ends the process:
    /// whoever builds for one is to know.
    #[test]
    fn libgomp_asks_the_stand_in() {
        // SAFETY: an address in an object that stays loaded.
        assert_eq!(unsafe { cvx_shim_starts_install(libgomp().unwrap().as_ptr()) }, 1);
    }

    #[test]
    fn threads_wait_and_end() {
        let outer = Starts::begin(libgomp(), 0).unwrap();
        assert_eq!(outer.waiting(), 0);
        let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
        let inner = Starts::begin(libgomp(), 40).unwrap();
        assert_eq!(inner.waiting(), 40);
        assert!(threads() > 40);
        inner.release();
        assert_eq!(inner.waiting(), 0);
        drop(outer);
    }
}
