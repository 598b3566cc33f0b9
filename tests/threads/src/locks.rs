//! parking_lot's interface over loom's locks. Loom knows no time: a wait with a limit is one without,
//! so what ends only because a limit is over does not end here, and is found.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

#[derive(Default)]
pub struct Mutex<T>(loom::sync::Mutex<T>);

pub struct MutexGuard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    pub fn new(value: T) -> Mutex<T> {
        Mutex(loom::sync::Mutex::new(value))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(self.0.lock().ok())
    }

    pub fn try_lock_for(&self, _most: Duration) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok().map(|guard| MutexGuard(Some(guard)))
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0.as_ref().expect("a guard that is not waiting")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("a guard that is not waiting")
    }
}

pub struct TimedOut;

impl TimedOut {
    pub fn timed_out(&self) -> bool {
        false
    }
}

thread_local! {
    /// The number of the notification that is lost; loom's threads are all on one of the system's.
    pub static LOSE: Cell<u32> = const { Cell::new(0) };
}

/// A planted mistake: whether this notification is forgotten.
fn is_lost() -> bool {
    let left = LOSE.get();
    LOSE.set(left.saturating_sub(1));
    left == 1
}

pub struct Condvar(loom::sync::Condvar);

impl Default for Condvar {
    fn default() -> Condvar {
        Condvar::new()
    }
}

impl Condvar {
    pub fn new() -> Condvar {
        Condvar(loom::sync::Condvar::new())
    }

    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let inner = guard.0.take().expect("a guard that is not waiting");
        guard.0 = self.0.wait(inner).ok();
    }

    pub fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, _until: Instant) -> TimedOut {
        self.wait(guard);
        TimedOut
    }

    pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _most: Duration) -> TimedOut {
        self.wait(guard);
        TimedOut
    }

    pub fn notify_one(&self) {
        if !is_lost() {
            self.0.notify_one();
        }
    }

    pub fn notify_all(&self) {
        if !is_lost() {
            self.0.notify_all();
        }
    }
}
