//! Tests of the tokenizer: ids equal to transformers', and what is refused.

mod goldens;
mod hostile;

use super::T5Tokenizer;
use crate::runtime::{Control, LogLevel};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// The tokenizer folder of one of `tests/pipelines`.
fn folder(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/pipelines").join(name).join("tokenizer")
}

type Lines = Arc<Mutex<Vec<(LogLevel, String)>>>;

/// A control that keeps what is logged.
fn logging() -> (Control, Lines) {
    let lines = Lines::default();
    let sink = lines.clone();
    let log = move |level: LogLevel, text: &str| sink.lock().unwrap().push((level, text.into()));
    (Control { log: Some(Arc::new(log)), ..Control::default() }, lines)
}
