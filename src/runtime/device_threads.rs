//! Threads of the library's own, on which all work on CUDA devices is done.
//!
//! A host's thread may have a CUDA context of its own (`cuCtxCreate`, as engines have) and a current
//! device, both of which libtorch would take as they are and change; and libtorch keeps cuDNN's
//! plans for each thread, so that every new thread would make them again. So work on a device goes to
//! a thread that belongs to the device, while the thread that asked for it waits. A device has one;
//! a second run that comes while the first is under way gets another, so that clones run beside each
//! other as they do on the CPU, and threads that are free are used again.
//!
//! The host is called on the thread that waits ([`for_host`]), as its callbacks are promised. What the
//! host asks for from within such a call goes to the thread that is waiting for the host: it is the
//! same piece of work, and finds its locks its own.

use super::inside::Depth;
use super::process::{self, StandIn};
use super::shim::event::DeviceEvent;
use super::{panics, reserve, shim};
use crate::{Error, Result};
use parking_lot::{Condvar, Mutex};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use tch::Device;

/// As much as a program's first thread usually has.
const STACK: usize = 8 << 20;

/// What one thread does for another, which waits for it.
struct Task(Box<dyn FnOnce() + Send>);

impl Task {
    /// # Safety
    /// What `work` refers to stays as it is, and is used by nobody else, until the task has been run
    /// and dropped.
    unsafe fn new<'a>(work: impl FnOnce() + 'a) -> Task {
        struct Sent<F>(F);
        // SAFETY: the caller's: while another thread runs it, the one that made it waits.
        unsafe impl<F> Send for Sent<F> {}
        impl<F: FnOnce()> Sent<F> {
            fn run(self) {
                (self.0)();
            }
        }
        let sent = Sent(work);
        let boxed: Box<dyn FnOnce() + Send + 'a> = Box::new(move || sent.run());
        // SAFETY: the caller's: it does not outlive what it refers to.
        Task(unsafe {
            std::mem::transmute::<Box<dyn FnOnce() + Send + 'a>, Box<dyn FnOnce() + Send + 'static>>(
                boxed,
            )
        })
    }
}

/// Where a thread that waits is given tasks, and told of the end of what it waits for.
#[derive(Default)]
struct Desk {
    state: Mutex<DeskState>,
    changed: Condvar,
}

#[derive(Default)]
struct DeskState {
    tasks: VecDeque<(Task, Arc<Desk>, Arc<AtomicBool>)>,
    /// Nobody is there any more.
    closed: bool,
}

impl Desk {
    /// Has `task` done here, and tells `by` when it is; `false` if nobody is here.
    fn give(&self, task: Task, by: &Arc<Desk>, done: &Arc<AtomicBool>) -> bool {
        let mut state = self.state.lock();
        if state.closed {
            return false;
        }
        state.tasks.push_back((task, Arc::clone(by), Arc::clone(done)));
        self.changed.notify_all();
        true
    }

    /// Does tasks until there are none and `over` says, under the desk's lock, that there is nothing
    /// to wait for. With `closes`, no more are taken from then on.
    fn serve(&self, closes: bool, over: impl Fn() -> bool) {
        loop {
            let mut state = self.state.lock();
            let (task, by, done) = loop {
                if let Some(next) = state.tasks.pop_front() {
                    break next;
                }
                if over() {
                    state.closed |= closes;
                    return;
                }
                self.changed.wait(&mut state);
            };
            drop(state);
            let outer = ASKER.with(|asker| asker.replace(Some(Arc::clone(&by))));
            (task.0)();
            ASKER.with(|asker| *asker.borrow_mut() = outer);
            let _state = by.state.lock();
            done.store(true, Ordering::Release);
            by.changed.notify_all();
        }
    }
}

/// A thread of a device.
struct Seat {
    number: u64,
    index: usize,
    desk: Arc<Desk>,
    /// The thread that it works for ends the process, and comes back no more.
    abandoned: AtomicBool,
}

/// All threads, and those that nobody uses now.
struct Seats {
    all: Vec<Arc<Seat>>,
    free: Vec<Arc<Seat>>,
}

static SEATS: Mutex<Seats> = Mutex::new(Seats { all: Vec::new(), free: Vec::new() });
/// Events that other threads had at last: destroying one is a call to the device.
static LEFT: Mutex<Vec<DeviceEvent>> = Mutex::new(Vec::new());

/// How deep works inside callbacks inside works may lie for a thread to know them.
const DEPTH: usize = 8;

// Without destructors, so that it is there while the thread ends.
thread_local! {
    /// The threads that work for this one now, by their numbers, the innermost last; 0 is none.
    static WORKING: Cell<[u64; DEPTH]> = const { Cell::new([0; DEPTH]) };
    /// The number of the seat whose thread this is; 0 for any other.
    static OWN: Cell<u64> = const { Cell::new(0) };
}

thread_local! {
    /// Whom the task that is run here is done for.
    static ASKER: RefCell<Option<Arc<Desk>>> = const { RefCell::new(None) };
}

/// Whether this is one of these threads.
pub fn is_one() -> bool {
    OWN.get() != 0
}

/// Does `work`, which uses `device`, on a thread of the device's; on the CPU, on this one. So it is
/// where the process ends or was forked, and on these threads themselves.
pub fn on<T>(device: Device, work: impl FnOnce() -> T) -> T {
    let Device::Cuda(index) = device else { return work() };
    if is_one() || process::check().is_err() {
        return work();
    }
    if let Some(seat) = working_for_me(index) {
        return hop(&seat, work);
    }
    match take(index) {
        Some(seat) => {
            let _back = GiveBack(&seat);
            hop(&seat, work)
        }
        None => work(),
    }
}

/// The thread of this device that waits for the callback which this thread is in.
fn working_for_me(index: usize) -> Option<Arc<Seat>> {
    let working = WORKING.get();
    let seats = SEATS.lock();
    let innermost = working.iter().rev().filter(|&&number| number != 0);
    let mut found = innermost
        .filter_map(|&number| seats.all.iter().find(|seat| seat.number == number).map(Arc::clone));
    found.find(|seat| seat.index == index)
}

struct GiveBack<'a>(&'a Arc<Seat>);

impl Drop for GiveBack<'_> {
    fn drop(&mut self) {
        SEATS.lock().free.push(Arc::clone(self.0));
    }
}

/// A free thread of the device, or a new one; `None` where none can be started.
fn take(index: usize) -> Option<Arc<Seat>> {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    let mut seats = SEATS.lock();
    // The oldest one, so that work that is not at once has one thread, also after some that was.
    let mine = seats.free.iter().enumerate().filter(|(_, seat)| seat.index == index);
    if let Some((place, _)) = mine.min_by_key(|(_, seat)| seat.number) {
        return Some(seats.free.swap_remove(place));
    }
    let seat = Arc::new(Seat {
        number: NUMBERS.fetch_add(1, Ordering::Relaxed),
        index,
        desk: Arc::default(),
        abandoned: AtomicBool::new(false),
    });
    let (own, wakened) = (Arc::clone(&seat), Arc::clone(&seat));
    let wake = move || {
        // Called on the thread that ends the process, which may be the one that is worked for.
        if WORKING.get().contains(&wakened.number) {
            wakened.abandoned.store(true, Ordering::Release);
        }
        drop(wakened.desk.state.lock());
        wakened.desk.changed.notify_all();
    };
    process::spawn(&format!("cvx-cuda:{index}"), STACK, wake, move || {
        OWN.set(own.number);
        // libtorch chooses some kernels by the current device. Where this fails, all else will.
        let _ = i32::try_from(own.index).map(shim::cuda_set_device);
        own.desk.serve(true, process::is_ending);
    })
    .ok()?;
    seats.all.push(Arc::clone(&seat));
    Some(seat)
}

/// Has `work` done by the thread of a seat, and meanwhile does what it asks for.
fn hop<T>(seat: &Arc<Seat>, work: impl FnOnce() -> T) -> T {
    let (desk, done) = (Arc::<Desk>::default(), Arc::<AtomicBool>::default());
    let mut result = None;
    let mut work = Some(work);
    let body = || {
        let _work = StandIn::begin();
        let inside = Depth::set(|depth| depth + 1);
        if inside.before() == 0 {
            // What was short before does not matter to this work: the thread outlives it.
            reserve::begin();
        }
        LEFT.lock().clear();
        if let Some(work) = work.take() {
            let ended = catch_unwind(AssertUnwindSafe(work));
            let place = if ended.is_err() { panics::take_place() } else { None };
            result = Some((ended, place));
        }
    };
    // SAFETY: this function does not return before `done`, which is told behind the task; a process
    // that ends on this thread meanwhile keeps the stack as it is.
    let task = unsafe { Task::new(body) };
    if seat.desk.give(task, &desk, &done) {
        let _inside = Working::enter(seat.number);
        desk.serve(false, || done.load(Ordering::Acquire));
    }
    match (result, work) {
        (Some((Ok(value), _)), _) => value,
        (Some((Err(payload), place)), _) => {
            panics::note_place(place);
            resume_unwind(payload)
        }
        // Its thread has ended with the process.
        (None, Some(work)) => work(),
        (None, None) => resume_unwind(Box::new("a task without an end")),
    }
}

/// Notes that a thread works for this one, until dropped.
struct Working([u64; DEPTH]);

impl Working {
    fn enter(number: u64) -> Working {
        let before = WORKING.get();
        let mut now = before;
        if let Some(place) = now.iter_mut().find(|place| **place == 0) {
            *place = number;
        }
        WORKING.set(now);
        Working(before)
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        WORKING.set(self.0);
    }
}

/// Calls the host: on the thread that waits for what this one does, if this is one of a device's,
/// else here.
///
/// Errors: [`Error::Cancelled`] where that thread has ended the process from within.
pub fn for_host<T>(call: impl FnOnce() -> T) -> Result<T> {
    let number = OWN.get();
    let asker = ASKER.try_with(|asker| asker.borrow().clone()).ok().flatten();
    let seat = match number {
        0 => None,
        _ => SEATS.lock().all.iter().find(|seat| seat.number == number).map(Arc::clone),
    };
    let (Some(asker), Some(seat)) = (asker, seat) else { return Ok(call()) };
    let ending = || Error::Cancelled("the process is ending".into());
    if seat.abandoned.load(Ordering::Acquire) {
        return Err(ending());
    }
    let done = Arc::<AtomicBool>::default();
    let mut result = None;
    let mut call = Some(call);
    let body = || {
        if let Some(call) = call.take() {
            result = Some(catch_unwind(AssertUnwindSafe(call)));
        }
    };
    // SAFETY: this function returns behind `done`, or where the thread that runs the task ends the
    // process from within it, and so never goes on in it.
    let task = unsafe { Task::new(body) };
    if !asker.give(task, &seat.desk, &done) {
        return Err(ending());
    }
    let over = || done.load(Ordering::Acquire) || seat.abandoned.load(Ordering::Acquire);
    seat.desk.serve(false, over);
    match result {
        Some(Ok(value)) => Ok(value),
        Some(Err(payload)) => resume_unwind(payload),
        None => Err(ending()),
    }
}

/// Destroys an event: here on a thread of a device, else when one works next.
pub(super) fn leave(event: DeviceEvent) {
    LEFT.lock().push(event);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    // Tasks are as good without a device: what is launched is nothing.
    const DEVICE: Device = Device::Cuda(93);
    const OTHER: Device = Device::Cuda(94);

    #[test]
    fn work_goes_to_another_thread_always_the_same_and_calls_come_back() {
        let me = thread::current().id();
        let there = on(DEVICE, || {
            assert!(is_one());
            assert_eq!(for_host(|| thread::current().id()), Ok(me));
            // Work inside of work, and inside of a call.
            let own = thread::current().id();
            assert_eq!(on(DEVICE, || thread::current().id()), own);
            let nested = for_host(|| {
                assert!(!is_one());
                on(DEVICE, || (thread::current().id(), for_host(|| thread::current().id())))
            });
            assert_eq!(nested, Ok((own, Ok(me))));
            own
        });
        assert_ne!(there, me);
        assert_eq!(on(DEVICE, || thread::current().id()), there);
        assert_ne!(on(OTHER, || thread::current().id()), there);
        assert_eq!(on(Device::Cpu, || thread::current().id()), me);
        assert_eq!(for_host(|| thread::current().id()), Ok(me));
        // What runs meanwhile has another thread, so nobody waits for anybody.
        let second = on(Device::Cuda(95), || {
            thread::spawn(|| on(Device::Cuda(95), || thread::current().id())).join().unwrap()
                != thread::current().id()
        });
        assert!(second);
    }

    #[test]
    fn panics_go_to_the_thread_that_asked() {
        let device = Device::Cuda(96);
        let caught = catch_unwind(|| on(device, || -> u8 { resume_unwind(Box::new("there")) }));
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"there"));
        let caught = catch_unwind(|| {
            on(device, || for_host(|| -> u8 { resume_unwind(Box::new("here")) })).unwrap()
        });
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"here"));
        assert_eq!(on(device, || 7), 7);
    }
}
