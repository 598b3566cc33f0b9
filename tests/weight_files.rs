//! Weight files that change while they are read.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

use cogvideox::checkpoint::WeightStore;
use cogvideox::runtime::{Control, Placement};
use cogvideox::Error;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

const NUMBERS: u64 = 64 << 20;

/// A file of one tensor of zeros, which takes no room on the disk.
fn sparse(path: &Path) -> u64 {
    let bytes = NUMBERS * 2;
    let header =
        format!(r#"{{"a":{{"dtype":"F16","shape":[{NUMBERS}],"data_offsets":[0,{bytes}]}}}}"#);
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    let length = 8 + header.len() as u64 + bytes;
    file.set_len(length).unwrap();
    length
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let mut failed = 0;
    for round in 0..20 {
        let length = sparse(&path);
        let store =
            WeightStore::open(folder.path(), "model", None, Placement::CPU, &Control::default());
        let store = store.unwrap();
        let result = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(round));
                OpenOptions::new().write(true).open(&path).unwrap().set_len(length / 3).unwrap();
            });
            store.root().tensor("a", &[NUMBERS as i64])
        });
        match result {
            Ok(tensor) => assert_eq!(tensor.size(), [NUMBERS as i64]),
            Err(Error::InvalidCheckpoint(message)) => {
                failed += 1;
                let expected = format!("expected {length} bytes as when it was opened");
                assert!(message.contains("model.safetensors"), "{message}");
                assert!(message.contains(&expected), "{message}");
                assert!(message.contains(&format!("found {}", length / 3)), "{message}");
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(failed > 0, "every file was read before it shrank");
}
