//! The library's own sources, with no more around them than they need: the queue of jobs, turns and
//! tokens, and, without loom, also the threads of devices, the end of the process and the reserve.

// Names that the sources take from crates.
#[cfg(loom)]
extern crate self as parking_lot;
extern crate self as tch;

#[cfg(loom)]
pub mod locks;
#[cfg(loom)]
pub use locks::{Condvar, Mutex};

pub mod stubs;
pub use stubs::{Device, Error, Result};

#[allow(dead_code, reason = "what the library uses is not all used here")]
#[path = "../../../src/jobs/mod.rs"]
pub mod jobs;

#[allow(dead_code, reason = "what the library uses is not all used here")]
pub mod runtime;

pub mod pipeline;

pub mod video {
    /// What a run makes.
    #[derive(Debug)]
    pub struct Video(pub u64);
}
