//! A host callback with its `user_data`, which is freed exactly once.
//!
//! A setter takes `(callback, user_data, free_user_data)` and owns `user_data` from the
//! moment it is called, whether it succeeds or not. So it makes a [`Callback`] before
//! anything can fail; whatever happens then, the value is dropped once, and dropping it
//! calls `free_user_data`. A run takes a reference count along, so a callback may be replaced
//! and its options freed while the run still uses it.

use super::panic::host_code;
use crate::runtime::device_threads::for_host;
use crate::runtime::shim::callback::{self, Function, Returned};
use std::ffi::c_void;
use std::sync::Arc;

/// Frees the user_data that it was given beside. Called exactly once for each successful or
/// failed call of the function that took it: when the callback is replaced, when the last
/// object, run or job that uses it is gone, or at once when the call fails. It is called on the
/// thread that gave up the last use, which for a job is the pipeline's worker, and must not
/// throw or longjmp. NULL means there is nothing to free.
///
/// Since 0.1.
pub type cvx_free_callback = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// The host's pointer, freed when dropped.
struct UserData {
    pointer: *mut c_void,
    free: cvx_free_callback,
}

impl Drop for UserData {
    fn drop(&mut self) {
        if let Some(free) = self.free {
            // SAFETY: the host gave this function for this pointer, and drop runs once. There is
            // nobody to tell of an exception.
            let free = || host_code(|| unsafe { callback::free(free, self.pointer) });
            let _ = for_host(free);
        }
    }
}

// SAFETY: the pointer is never read here, only handed back to the host's functions. The
// header says on which thread those are called, and that options which several threads use
// at once need a user_data that is safe to use from them all.
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}

/// A function of type `F` and the `user_data` it is called with.
pub(super) struct Callback<F> {
    function: F,
    user_data: UserData,
}

impl<F: Copy> Callback<F> {
    /// Takes over `user_data`. `None` if there is no function; `user_data` is freed then.
    pub fn new(
        function: Option<F>,
        user_data: *mut c_void,
        free: cvx_free_callback,
    ) -> Option<Arc<Callback<F>>> {
        let user_data = UserData { pointer: user_data, free };
        function.map(|function| Arc::new(Callback { function, user_data }))
    }
}

impl<I, R: Returned> Callback<unsafe extern "C" fn(info: *const I, user_data: *mut c_void) -> R> {
    /// Calls the function.
    ///
    /// Errors: [`crate::Error::CallbackFailed`] if it throws.
    ///
    /// # Safety
    /// What `info` refers to is as the header says.
    pub unsafe fn call(&self, info: &I) -> crate::Result<R> {
        // SAFETY: the types differ in what a pointer is declared to point to.
        let function: Function<R> = unsafe { std::mem::transmute(self.function) };
        let info = std::ptr::from_ref(info).cast();
        for_host(|| {
            // SAFETY: the host's function, called as the header says, with a pointer of its type.
            host_code(|| unsafe { R::of(function, info, self.user_data.pointer) })
        })?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    unsafe extern "C" fn count(user_data: *mut c_void) {
        // SAFETY: the tests pass a counter that outlives the callback.
        unsafe { &*(user_data as *const AtomicU32) }.fetch_add(1, Ordering::SeqCst);
    }

    fn pointer(counter: &AtomicU32) -> *mut c_void {
        std::ptr::from_ref(counter).cast_mut().cast()
    }

    #[test]
    fn user_data_is_freed_with_the_last_reference_and_at_once_without_a_function() {
        let freed = AtomicU32::new(0);
        let first = Callback::new(Some(()), pointer(&freed), Some(count));
        let second = first.clone();
        drop(first);
        assert_eq!(freed.load(Ordering::SeqCst), 0);
        drop(second);
        assert_eq!(freed.load(Ordering::SeqCst), 1);

        assert!(Callback::<()>::new(None, pointer(&freed), Some(count)).is_none());
        assert_eq!(freed.load(Ordering::SeqCst), 2);
    }
}
