//! One run at a time.

use parking_lot::{Condvar, Mutex};
use std::time::Duration;

/// Of one pipeline.
#[derive(Default)]
pub(crate) struct Turns {
    taken: Mutex<bool>,
    /// Told when a turn ends.
    idle: Condvar,
}

impl Turns {
    /// The turn, until what is answered is dropped; `None` while another holds it.
    pub fn take(&self) -> Option<Taken<'_>> {
        let mut taken = self.taken.lock();
        if *taken {
            return None;
        }
        *taken = true;
        Some(Taken(self))
    }

    /// Whether somebody holds the turn now.
    pub fn is_taken(&self) -> bool {
        *self.taken.lock()
    }

    /// Waits until nobody holds the turn, or until `most` is over.
    pub fn wait_idle(&self, most: Duration) {
        let mut taken = self.taken.lock();
        if *taken {
            self.idle.wait_for(&mut taken, most);
        }
    }
}

/// A turn that is taken.
pub(crate) struct Taken<'a>(&'a Turns);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.0.taken.lock() = false;
        self.0.idle.notify_all();
    }
}
