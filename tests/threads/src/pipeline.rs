//! As in the library.

#[allow(dead_code, reason = "what the library uses is not all used here")]
#[path = "../../../src/pipeline/turns.rs"]
pub(crate) mod turns;
pub use crate::stubs::pipeline::{Adapters, GenerateOptions, Output, Pipeline, Turn};
