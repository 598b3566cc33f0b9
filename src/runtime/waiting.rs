//! How OpenMP's threads wait for each other: spinning where processors are free, else asleep.
//!
//! libgomp lets a thread spin for some milliseconds before it sleeps, unless the process has more of
//! its threads than the machine has processors: then hardly at all. Spinning is the fastest on idle
//! processors, and the worst that can be done beside another busy process: the thread that is waited
//! for has no processor because those who wait for it have them. libgomp has no function for that,
//! only an environment variable, which is the host's. So where a team is seen to wait for processors,
//! a few threads more are kept, which sleep, and libgomp counts. The bytes are the same either way.

use super::openmp;
use super::shim::spare;
use parking_lot::{Condvar, Mutex};
use std::cell::RefCell;
use std::ffi::c_int;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// More than so many sleepers are not started: a run that is to take so much less than the machine has
/// is not short of processors.
const MOST: c_int = 4;
/// They do nothing.
const STACK: usize = 128 << 10;
/// A look at how long threads have waited for a processor is taken so often.
const WINDOW: Duration = Duration::from_millis(30);
/// Of so many threads of the team.
const WATCHED: usize = 8;
/// From this share of their time waited for a processor on, the machine counts as busy. Measured on two
/// processors: 0.12 to 0.5 beside one busy process, 0.001 to 0.09 when idle.
const BUSY: f64 = 0.2;
/// They sleep for so long before it is looked again whether that is still so, for longer each time, up
/// to the second.
const PATIENCE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

/// What is known of the machine, for all runs of the process.
struct Machine {
    /// Until when it counts as busy without another look.
    busy_until: Option<Instant>,
    patience: Duration,
}

static MACHINE: Mutex<Machine> = Mutex::new(Machine { busy_until: None, patience: PATIENCE[0] });

/// The watch over the team of one thread, while that computes.
struct Watch {
    count: c_int,
    /// Of each thread that is watched, how long it has waited for a processor: the second number of
    /// proc(5)'s schedstat, in nanoseconds. `None` before the first look, empty where the system does
    /// not tell.
    files: Option<Vec<File>>,
    since: Instant,
    waited: u64,
    asleep: Option<Sleep>,
}

thread_local! {
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

/// Watches over the team of the calling thread until it is dropped.
pub(super) struct Watching(());

impl Watching {
    /// For work that is shared among `count` threads. `None` where there is nothing to be watched, or
    /// this thread's team is watched already.
    pub fn over(count: c_int) -> Option<Watching> {
        if count < 2 || sleepers(count)? > MOST {
            return None;
        }
        WATCH.with(|watch| {
            let mut watch = watch.try_borrow_mut().ok()?;
            if watch.is_some() {
                return None;
            }
            let since = Instant::now();
            *watch = Some(Watch { count, files: None, since, waited: 0, asleep: None });
            Some(Watching(()))
        })
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let watch = WATCH.try_with(|watch| watch.try_borrow_mut().ok()?.take());
        drop(watch);
    }
}

/// To be called now and then by a thread that computes on the CPU: where its team waits for
/// processors, it waits for each other asleep from then on.
pub fn look() {
    let _ = WATCH.try_with(|watch| {
        let Ok(mut watch) = watch.try_borrow_mut() else { return };
        if let Some(watch) = watch.as_mut() {
            watch.look(Instant::now());
        }
    });
}

impl Watch {
    fn look(&mut self, now: Instant) {
        if self.files.is_none() {
            let open = |number: &libc::pid_t| {
                File::open(format!("/proc/self/task/{number}/schedstat")).ok()
            };
            let files = openmp::team(self.count, WATCHED).iter().filter_map(open).collect();
            self.files = Some(files);
            self.begin(now);
        }
        let passed = now.saturating_duration_since(self.since);
        if passed < WINDOW {
            return;
        }
        if self.asleep.is_some() {
            if MACHINE.lock().busy_until.is_none_or(|until| now >= until) {
                self.asleep = None;
                self.begin(now);
            }
            return;
        }
        let Some(waited) = self.waited() else { return };
        let threads = self.files.as_ref().map_or(0, Vec::len);
        let share = waited.saturating_sub(self.waited) as f64
            / (passed.as_nanos() as f64 * threads as f64).max(1.0);
        let mut machine = MACHINE.lock();
        if share > BUSY {
            machine.busy_until = Some(now + machine.patience);
            machine.patience = (2 * machine.patience).min(PATIENCE[1]);
        } else {
            *machine = Machine { busy_until: None, patience: PATIENCE[0] };
        }
        drop(machine);
        self.begin(now);
    }

    /// A window, asleep where the machine is known to be busy.
    fn begin(&mut self, now: Instant) {
        self.since = now;
        let busy = MACHINE.lock().busy_until.is_some_and(|until| now < until);
        if busy {
            self.asleep = Sleep::keep(self.count);
        }
        match self.waited() {
            Some(waited) => self.waited = waited,
            None => self.files = Some(Vec::new()),
        }
    }

    /// How long the threads have waited for a processor, together. `None` where that is not told.
    fn waited(&self) -> Option<u64> {
        let files = self.files.as_ref().filter(|files| !files.is_empty())?;
        files.iter().try_fold(0, |sum: u64, file| {
            let mut text = [0; 96];
            let length = file.read_at(&mut text, 0).ok()?;
            let text = std::str::from_utf8(text.get(..length)?).ok()?;
            Some(sum.wrapping_add(text.split(' ').nth(1)?.parse().ok()?))
        })
    }
}

/// With so many threads more, one thread's own among them, the process has more than the machine has
/// processors. `None` for another OpenMP than libgomp.
fn sleepers(count: c_int) -> Option<c_int> {
    Some((openmp::functions()?.processors()? - count + 2).max(2))
}

/// Opened when the sleepers may go.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

#[derive(Default)]
struct Sleepers {
    /// Works that they are there for.
    users: usize,
    thread: Option<(Arc<Gate>, JoinHandle<()>)>,
}

static SLEEPERS: Mutex<Sleepers> = Mutex::new(Sleepers { users: 0, thread: None });

/// Until it is dropped, libgomp's threads sleep soon when they wait, those of the whole process.
pub struct Sleep(());

impl Sleep {
    /// Beside a team of `count` threads. `None` where that can't be had.
    pub fn keep(count: i32) -> Option<Sleep> {
        let team = sleepers(count)?;
        let mut sleepers = SLEEPERS.lock();
        if sleepers.thread.is_none() {
            sleepers.thread = Some(start(team)?);
        }
        sleepers.users += 1;
        Some(Sleep(()))
    }
}

/// Starts a thread that has a team of `count` threads, itself included.
fn start(count: c_int) -> Option<(Arc<Gate>, JoinHandle<()>)> {
    let gate = Arc::new(Gate::default());
    let until = Arc::clone(&gate);
    let body = move || {
        // Its threads are there from here on.
        let _team = openmp::start(count);
        let mut open = until.open.lock();
        while !*open {
            until.opened.wait(&mut open);
        }
    };
    let builder = Builder::new().name("cvx-sleeper".into()).stack_size(STACK);
    Some((gate, spare::while_starting(|| builder.spawn(body)).ok()?))
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let mut sleepers = SLEEPERS.lock();
        sleepers.users -= 1;
        if sleepers.users > 0 {
            return;
        }
        let Some((gate, thread)) = sleepers.thread.take() else { return };
        *gate.open.lock() = true;
        gate.opened.notify_all();
        drop(sleepers);
        // It can't have panicked: it does nothing.
        let _ = thread.join();
    }
}
