//! How the threads of an operator wait for each other. In a program of its own, since libgomp counts
//! those of the whole process.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

use cogvideox::runtime::threads::Threads;
use cogvideox::runtime::waiting::{self, Sleep};
use std::ffi::{c_int, c_uint, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Tests of a program run side by side; these must not.
static ALONE: Mutex<()> = Mutex::new(());

extern "C" {
    fn omp_get_num_procs() -> c_int;
    fn omp_get_thread_num() -> c_int;
    fn GOMP_parallel(
        work: extern "C" fn(*mut c_void),
        data: *mut c_void,
        threads: c_uint,
        flags: c_uint,
    );
}

/// Of the calling thread.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is valid for writing.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

extern "C" fn the_second_is_late(_: *mut c_void) {
    // SAFETY: without preconditions.
    if unsafe { omp_get_thread_num() } == 1 {
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// What it costs this thread to wait ten times for another, 0.3 s in all.
fn cost_of_waiting(threads: c_int) -> Duration {
    let before = processor_time();
    for _ in 0..10 {
        // SAFETY: the function takes whatever it is given.
        unsafe { GOMP_parallel(the_second_is_late, std::ptr::null_mut(), threads as c_uint, 0) };
    }
    processor_time() - before
}

/// Whether there are threads that sleep for others: OpenMP's have the name of what started them.
fn sleepers() -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let mut names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.any(|name| name.trim() == "cvx-sleeper")
}

/// That there are none: a thread is listed for a moment after it has been joined.
fn gone() -> bool {
    (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        !sleepers()
    })
}

/// Ends what keeps the processors busy, however the test ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn processors() -> c_int {
    // SAFETY: without preconditions.
    unsafe { omp_get_num_procs() }
}

/// A thread of libgomp spins for 300,000 turns before it sleeps, some milliseconds, if the process has
/// no more of them than there are processors.
#[test]
fn threads_that_are_to_sleep_do_and_spin_for_the_host_as_before() {
    let _alone = ALONE.lock();
    let count = processors().max(2);
    let spinning = cost_of_waiting(count);
    let asleep = {
        let _sleep = Sleep::keep(count).unwrap();
        // The sleepers come to be meanwhile.
        cost_of_waiting(count);
        cost_of_waiting(count)
    };
    let after = cost_of_waiting(count);
    println!("before {spinning:?}, asleep {asleep:?}, after it {after:?}");
    assert!(asleep < Duration::from_millis(5), "{asleep:?} of processor time");
    // Whoever sets these says how long threads spin.
    let told =
        ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"].iter().any(|name| std::env::var_os(name).is_some());
    if processors() >= 2 && !told {
        assert!(spinning > 2 * asleep && after > 2 * asleep, "{spinning:?}, {asleep:?}, {after:?}");
    }
}

/// Looks as work does, between short operations, for at most so long, or until sleepers are there.
fn looks(count: c_int, longest: Duration) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < longest {
        // SAFETY: the function takes whatever it is given.
        unsafe { GOMP_parallel(some_work, std::ptr::null_mut(), count as c_uint, 0) };
        waiting::look();
        if sleepers() {
            return true;
        }
    }
    false
}

extern "C" fn some_work(_: *mut c_void) {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_micros(200) {
        std::hint::spin_loop();
    }
}

#[test]
fn a_team_that_waits_for_processors_is_seen_and_sleeps_until_work_ends() {
    let _alone = ALONE.lock();
    let count = processors().max(2);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        for _ in 0..2 * count {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let seen = {
            let _threads = Threads::limit(count).unwrap();
            looks(count, Duration::from_secs(20))
        };
        // Where the system does not tell how long a thread waits, nothing is done.
        let told = std::fs::read_to_string("/proc/thread-self/schedstat");
        assert_eq!(seen, told.is_ok_and(|text| !text.starts_with("0 0 0")));
        assert!(gone());
        // One thread by itself never waits for another.
        {
            let _threads = Threads::limit(1).unwrap();
            assert!(!looks(1, Duration::from_millis(200)));
        }
    });
}
