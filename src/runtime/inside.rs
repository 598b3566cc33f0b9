//! Whether a thread is inside the library or in code of the host's: panics on the former are errors,
//! and print nothing.

use std::cell::Cell;

thread_local! {
    /// How many boundary functions this thread is inside of; 0 in host code.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// How many functions of the library this thread is inside of. Thread-locals can be gone while a
/// thread ends; then panics are merely printed.
pub fn depth() -> u32 {
    DEPTH.try_with(Cell::get).unwrap_or(0)
}

/// Sets the depth until dropped, so that it is put back however the scope ends.
pub struct Depth {
    before: u32,
}

impl Depth {
    pub fn set(change: impl FnOnce(u32) -> u32) -> Depth {
        let before = DEPTH.try_with(|depth| depth.replace(change(depth.get()))).unwrap_or(0);
        Depth { before }
    }

    /// What it was before.
    pub fn before(&self) -> u32 {
        self.before
    }
}

impl Drop for Depth {
    fn drop(&mut self) {
        let _ = DEPTH.try_with(|depth| depth.set(self.before));
    }
}
