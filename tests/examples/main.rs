//! The C examples, compiled and run.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod caches;
mod compare;
mod generate;
mod processes;
mod support;

// All tests are linked with what the library has in malloc's place (build.rs).
use cogvideox as _;
