//! How far the work is, on standard error.

use std::io::{stderr, IsTerminal, Write};
use std::time::{Duration, Instant};

/// A bar that is drawn again on a terminal; a line every now and then elsewhere.
pub struct Progress {
    total: usize,
    done: usize,
    started: Instant,
    said: Instant,
    terminal: bool,
}

const BETWEEN_LINES: Duration = Duration::from_secs(15);
const BAR: usize = 30;

impl Progress {
    pub fn of(total: usize) -> Progress {
        let now = Instant::now();
        Progress { total, done: 0, started: now, said: now, terminal: stderr().is_terminal() }
    }

    /// One more piece is done; `next` is what comes now.
    pub fn advance(&mut self, next: &str) {
        self.done += 1;
        let (done, total) = (self.done, self.total);
        let left = self.started.elapsed().mul_f64((total - done) as f64 / done as f64).as_secs();
        let left = format!("{}:{:02} left", left / 60, left % 60);
        // What cannot be said is no reason to stop.
        if self.terminal {
            let filled = BAR * done / total;
            let bar = format!("{}{}", "#".repeat(filled), " ".repeat(BAR - filled));
            let _ = write!(stderr(), "\r[{bar}] {done}/{total}, {left}  {next:.38}\x1b[K");
            if done == total {
                let _ = writeln!(stderr());
            }
        } else if done == total || self.said.elapsed() >= BETWEEN_LINES {
            self.said = Instant::now();
            let _ = writeln!(stderr(), "{done} of {total} clips, {left}");
        }
    }
}
