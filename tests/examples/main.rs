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
