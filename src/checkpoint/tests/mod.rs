//! Tests of the checkpoint folder: what is read, and what is refused.

mod config;
mod folder;
mod gguf;
mod hostile;
mod lora;
mod weights;

use crate::Error;
use std::path::{Path, PathBuf};

/// A pipeline folder of `tests/pipelines`.
fn pipeline(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pipelines").join(name)
}

/// A safetensors file of this header and these bytes.
fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(data);
    file
}

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// That `result` failed with InvalidCheckpoint and a one-line message that has all `parts`.
#[track_caller]
fn assert_invalid<T>(result: crate::Result<T>, parts: &[&str]) {
    match result.err().expect("an error") {
        Error::InvalidCheckpoint(message) => assert_parts(&message, parts),
        other => panic!("not InvalidCheckpoint: {other:?}"),
    }
}

#[track_caller]
fn assert_unsupported<T>(result: crate::Result<T>, parts: &[&str]) {
    match result.err().expect("an error") {
        Error::UnsupportedModel(message) => assert_parts(&message, parts),
        other => panic!("not UnsupportedModel: {other:?}"),
    }
}

#[track_caller]
fn assert_not_found<T>(result: crate::Result<T>, parts: &[&str]) {
    match result.err().expect("an error") {
        Error::NotFound(message) => assert_parts(&message, parts),
        other => panic!("not NotFound: {other:?}"),
    }
}

#[track_caller]
fn assert_parts(message: &str, parts: &[&str]) {
    assert!(!message.contains('\n'), "more than one line: {message}");
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

/// A small generator for reproducible damage (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}
