//! The C examples, compiled and run.

mod caches;
mod generate;
mod support;
