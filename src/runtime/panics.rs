//! Where a panic came from. Rust tells it to the panic hook alone, on the thread that panics; the
//! boundary wants it where the panic arrives, which may be another thread (`device_threads`).

use std::cell::RefCell;

thread_local! {
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Notes where the last panic of this thread came from.
pub fn note_place(place: Option<String>) {
    // Thread-locals can be gone while a thread ends.
    let _ = PLACE.try_with(|last| *last.borrow_mut() = place);
}

/// What was noted, once.
pub fn take_place() -> Option<String> {
    PLACE.try_with(|last| last.borrow_mut().take()).ok().flatten()
}
