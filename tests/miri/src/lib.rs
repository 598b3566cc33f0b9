//! The library's own sources, with no more around them than they need.

/// The allocator's reserve: raw memory, shared by all threads.
#[path = "../../../src/runtime/reserve.rs"]
pub mod reserve;

/// Of the library's error type, what these modules make.
#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    OutOfMemory(String),
}

pub type Result<T> = std::result::Result<T, Error>;
