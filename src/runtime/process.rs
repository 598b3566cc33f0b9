//! What the process as a whole does to work: it ends, or it was forked.
//!
//! A process that ends destroys libtorch's statics while other threads may still compute with
//! them, which crashes. So the first work registers an exit handler, which cancels all work and
//! waits until it has ended, at most [`LONGEST`]. Exit handlers and destructors of statics run
//! in the reverse order of their beginning: libtorch's statics began when it was loaded, or
//! during the first work of each kind, see [`piece`].
//!
//! A child process made by fork has none of the parent's threads, libtorch's included: work in
//! it would wait for them without end. So it is refused once the parent has worked.

use super::shim::spare;
use super::{reserve, shim};
use crate::{Error, Result};
use parking_lot::{Condvar, Mutex};
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

pub use std::thread::ThreadId;

/// How long the end of the process is put off for work that does not end.
const LONGEST: Duration = Duration::from_secs(10);
/// How long a lock is waited for then: its holder may be a thread that waits for the end.
const LOCK: Duration = Duration::from_millis(100);

/// The process that worked first; 0 before.
static PROCESS: AtomicU32 = AtomicU32::new(0);
static ENDING: AtomicBool = AtomicBool::new(false);
/// How many pieces of work are under way.
static WORK: Mutex<usize> = Mutex::new(0);
/// Told when one ends.
static ENDED: Condvar = Condvar::new();
static THREADS: Mutex<Vec<Watched>> = Mutex::new(Vec::new());

thread_local! {
    static PASSING: Passing = const { Passing };
}

// Without destructors, so that they are there while the thread ends.
thread_local! {
    /// How many pieces of work this thread is inside of.
    static OWN: Cell<usize> = const { Cell::new(0) };
    /// The number of a thread that [`spawn`] started; 0 for the host's.
    static NUMBER: Cell<u64> = const { Cell::new(0) };
}

/// A thread that is to have ended before the process does.
struct Watched {
    number: u64,
    thread: JoinHandle<()>,
    /// Makes it look at [`is_ending`].
    wake: Box<dyn Fn() + Send>,
}

/// Whether the process has begun to end. From then on no callback of the host is called: what
/// it refers to may be gone.
pub fn is_ending() -> bool {
    ENDING.load(Ordering::Acquire)
}

/// [`Error::Cancelled`] once the process has begun to end.
pub fn check_ending() -> Result<()> {
    if is_ending() {
        return Err(Error::Cancelled("the process is ending".into()));
    }
    Ok(())
}

/// [`Error::Cancelled`] once the process has begun to end, [`Error::DeviceUnavailable`] in a
/// child that was forked from a process that had worked.
pub fn check() -> Result<()> {
    check_ending()?;
    let worked = PROCESS.load(Ordering::Acquire);
    if worked != 0 && worked != std::process::id() {
        return Err(Error::DeviceUnavailable(format!(
            "this process, {}, was forked from process {worked}, which had loaded or generated \
             already, and has none of its threads: fork before the first load, or start the \
             program anew in the child",
            std::process::id()
        )));
    }
    Ok(())
}

/// A piece of work under way, on the thread that began it, until it is dropped.
pub struct Work {
    // It is counted for the thread it began on.
    _not_send: PhantomData<*const ()>,
}

impl Work {
    /// Errors: those of [`check`].
    pub fn begin() -> Result<Work> {
        check()?;
        let own = std::process::id();
        if PROCESS.compare_exchange(0, own, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            register();
            shim::silence_onednn();
        }
        let _ = PASSING.try_with(|_| ());
        *WORK.lock() += 1;
        if OWN.replace(OWN.get() + 1) == 0 {
            reserve::begin();
        }
        let work = Work { _not_send: PhantomData };
        piece()?;
        Ok(work)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        OWN.set(OWN.get().saturating_sub(1));
        let mut work = WORK.lock();
        *work = work.saturating_sub(1);
        drop(work);
        ENDED.notify_all();
    }
}

/// Work that another thread has begun, and waits for, on the thread that does it; until it is
/// dropped. It is counted once, where it began.
pub struct StandIn {
    _not_send: PhantomData<*const ()>,
}

impl StandIn {
    pub fn begin() -> StandIn {
        let _ = PASSING.try_with(|_| ());
        OWN.set(OWN.get() + 1);
        StandIn { _not_send: PhantomData }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        OWN.set(OWN.get().saturating_sub(1));
    }
}

/// How many pieces of the first work of a kind count as early.
const EARLY: u32 = 64;
/// Pieces of work that may still be early ones.
static PIECES: AtomicU32 = AtomicU32::new(EARLY);

/// Where early work lets a thread by that may be about to end the process.
static GATE: Mutex<Gate> = Mutex::new(Gate { until: None, parked: 0 });
/// Told when work has come to the gate, and when it may go on.
static GATE_CHANGED: Condvar = Condvar::new();

struct Gate {
    until: Option<Instant>,
    /// How many pieces of work wait at the gate.
    parked: usize,
}

/// A kind of work that uses parts of libtorch that others do not.
#[derive(Debug, Default)]
pub struct WorkKind(AtomicBool);

impl WorkKind {
    pub const fn new() -> WorkKind {
        WorkKind(AtomicBool::new(false))
    }

    /// Work of this kind begins.
    pub fn begins(&self) {
        if !self.0.load(Ordering::Relaxed) && !self.0.swap(true, Ordering::Relaxed) {
            PIECES.store(EARLY, Ordering::Relaxed);
        }
    }
}

/// Between two pieces of work, such as layers. Errors: [`Error::Cancelled`] once the process has
/// begun to end.
///
/// During the first pieces libtorch makes statics in passing. One that is younger than the exit
/// handler would be destroyed before it, under the running work: so the handler is registered
/// once more after each of those pieces, and a thread that may be about to end the process waits
/// for that, see [`Passing`].
pub fn piece() -> Result<()> {
    check_ending()?;
    if PIECES.load(Ordering::Relaxed) == 0 || OWN.get() == 0 {
        return Ok(());
    }
    let less = |left: u32| left.checked_sub(1);
    if PIECES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
        register();
        let mut gate = GATE.lock();
        gate.parked += 1;
        GATE_CHANGED.notify_all();
        while let Some(until) = gate.until {
            if is_ending() || GATE_CHANGED.wait_until(&mut gate, until).timed_out() {
                break;
            }
        }
        gate.parked -= 1;
    }
    check_ending()
}

/// Dropped when a thread ends that has called functions of this library, which it also does
/// when it ends the process, before exit handlers run. Early work that other threads are at is
/// then waited for until it is between two pieces, and held there until the exit handler has
/// run, or for a moment if there is none to run.
struct Passing;

impl Passing {
    /// Longer than a piece of early work takes.
    const WORK: Duration = Duration::from_secs(2);
    /// Longer than it takes to get from here to the exit handler.
    const MOMENT: Duration = Duration::from_millis(100);
}

impl Drop for Passing {
    fn drop(&mut self) {
        if PIECES.load(Ordering::Relaxed) == 0 || check().is_err() {
            return;
        }
        let others = || WORK.lock().saturating_sub(OWN.get());
        // Also where there is none: it may be about to begin.
        let until = Instant::now() + Self::WORK;
        let mut gate = GATE.lock();
        gate.until = Some(until + Self::MOMENT);
        // Work that ends does not tell the gate, so it is looked at now and then.
        while gate.parked < others() && Instant::now() < until {
            let look = Instant::now() + Duration::from_millis(5);
            GATE_CHANGED.wait_until(&mut gate, look.min(until));
        }
        gate.until = Some(Instant::now() + Self::MOMENT);
        GATE_CHANGED.notify_all();
    }
}

fn register() {
    // SAFETY: `at_exit` is a function without arguments that does not unwind. Where there is no
    // room for it, the process ends as it would without.
    let _ = unsafe { libc::atexit(at_exit) };
}

/// The thread that asks.
pub fn this_thread() -> ThreadId {
    std::thread::current().id()
}

/// Starts a thread that the end of the process waits for. `wake` is called on another thread,
/// and must make `body` return once [`is_ending`].
pub fn spawn(
    name: &str,
    stack: usize,
    wake: impl Fn() + Send + 'static,
    body: impl FnOnce() + Send + 'static,
) -> std::io::Result<ThreadId> {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    let _ = PASSING.try_with(|_| ());
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
    let mut threads = THREADS.lock();
    threads.retain(|watched| !watched.thread.is_finished());
    let builder = Builder::new().name(name.into()).stack_size(stack);
    let thread = spare::while_starting(|| {
        builder.spawn(move || {
            NUMBER.set(number);
            body();
        })
    })?;
    let id = thread.thread().id();
    threads.push(Watched { number, thread, wake: Box::new(wake) });
    Ok(id)
}

extern "C" fn at_exit() {
    // A child that was forked has neither the threads nor the work.
    if PROCESS.load(Ordering::Acquire) != std::process::id() {
        return;
    }
    ENDING.store(true, Ordering::Release);
    drop(GATE.try_lock_for(LOCK));
    GATE_CHANGED.notify_all();
    let until = Instant::now() + LONGEST;
    let threads = THREADS.try_lock_for(LOCK).map(|mut threads| std::mem::take(&mut *threads));
    let own = NUMBER.get();
    // A callback may end the process on a thread of ours, which can't wait for itself.
    let others = threads.into_iter().flatten().filter(|watched| watched.number != own);
    let others: Vec<_> = others.collect();
    for watched in &others {
        (watched.wake)();
    }
    if let Some(mut work) = WORK.try_lock_for(LOCK) {
        while *work > OWN.get() {
            if ENDED.wait_until(&mut work, until).timed_out() {
                break;
            }
        }
    }
    for Watched { thread, .. } in others {
        while !thread.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        if thread.is_finished() {
            // Its thread-locals go, too. How it ended is nobody's concern any more.
            let _ = thread.join();
        }
    }
}
