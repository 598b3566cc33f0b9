//! The C examples, compiled and run.

mod caches;
mod compare;
mod generate;
mod support;
