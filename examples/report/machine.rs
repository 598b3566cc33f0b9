//! Where and when a report was made.

use serde::Serialize;

#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// The processor's name, as the system tells it.
    pub processor: String,
    /// Cores that the program may use.
    pub cores: usize,
    /// Threads that libtorch computes with.
    pub threads: i32,
}

impl Machine {
    pub fn this_one() -> Machine {
        let information = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = information.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == "model name").then(|| value.trim().to_string())
        });
        Machine {
            processor: name.unwrap_or_else(|| std::env::consts::ARCH.to_string()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            threads: tch::get_num_threads(),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Machine { processor, cores, threads } = self;
        write!(f, "{processor}, {cores} cores, {threads} threads")
    }
}

/// Which clock times a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The one on the wall: what a user waits.
    Wall,
    /// The processor time of the program, all threads together: for a machine that is busy with
    /// other work, on which the wall clock measures that work too.
    Processor,
}

impl Clock {
    /// Seconds since some moment.
    pub fn now(self) -> f64 {
        let clock = match self {
            Clock::Wall => libc::CLOCK_MONOTONIC,
            Clock::Processor => libc::CLOCK_PROCESS_CPUTIME_ID,
        };
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the place lives for the call.
        unsafe { libc::clock_gettime(clock, &mut now) };
        now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
    }
}

/// Today in UTC, as 2026-01-31.
pub fn today() -> String {
    // SAFETY: `time` and `gmtime_r` get places that live for the calls.
    let date = unsafe {
        let mut date = std::mem::zeroed();
        libc::gmtime_r(&libc::time(std::ptr::null_mut()), &mut date);
        date
    };
    format!("{}-{:02}-{:02}", date.tm_year + 1900, date.tm_mon + 1, date.tm_mday)
}
