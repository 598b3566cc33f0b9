//! GGUF files: the numbers are those that the package `gguf` makes of the same blocks
//! (tests/goldens/maker/gguf.py), and damage is an error.

use super::{assert_invalid, assert_unsupported, Random};
use crate::checkpoint::folder::Component;
use crate::checkpoint::{LoadProgress, WeightFiles, WeightStore};
use crate::runtime::{Control, Placement};
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use tch::Tensor;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/gguf").join(name)
}

fn open(path: &Path) -> Result<WeightStore> {
    let files = WeightFiles::open_file(path, Component::Transformer)?;
    let (control, progress) = (Control::default(), LoadProgress::default());
    Ok(WeightStore::new(files, Placement::CPU, &control, &progress))
}

fn of_bytes(bytes: &[u8], read: impl FnOnce(&WeightStore) -> Result<()>) -> Result<()> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    read(&open(file.path())?)
}

const FORMATS: [&str; 10] =
    ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"];

#[test]
fn each_format_stands_for_the_numbers_that_its_own_package_makes_of_it() {
    let store = open(&golden("blocks.gguf")).unwrap();
    for format in FORMATS {
        let tensor = |name: &str| -> Tensor { store.root().tensor(name, &[3, 512]).unwrap() };
        let (found, expected) = (tensor(format), tensor(&format!("{format}.numbers")));
        assert!(expected.abs().max().double_value(&[]) > 0.01, "{format}");
        assert!(found.equal(&expected), "{format}: {:?}", (found - expected).abs().max());
    }
    assert_eq!(store.loaded_bytes(), 2 * 10 * 3 * 512 * 4);
    store.finish(&[]).unwrap();
}

#[test]
fn a_file_that_ends_too_early_or_is_another_is_told() {
    let bytes = std::fs::read(golden("blocks.gguf")).unwrap();
    let nothing = |_: &WeightStore| Ok(());
    for length in (4..3000).step_by(7).chain([bytes.len() - 1]) {
        assert_invalid(of_bytes(&bytes[..length], nothing), &["expected"]);
    }
    let changed = |at: usize, to: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    assert_unsupported(of_bytes(&changed(4, &1u32.to_le_bytes()), nothing), &["version 1"]);
    assert_unsupported(of_bytes(&changed(4, &3u32.to_be_bytes()), nothing), &["GGUF version"]);
    for huge in [u64::MAX, 1 << 40] {
        let huge = huge.to_le_bytes();
        assert_invalid(of_bytes(&changed(8, &huge), nothing), &["tensors"]);
        assert_invalid(of_bytes(&changed(16, &huge), nothing), &["fields"]);
        assert_invalid(of_bytes(&changed(24, &huge), nothing), &["at most"]);
    }
    // The type of the first tensor: after its name, the number of its sides and two sides.
    let name = bytes.windows(3).position(|window| window == b"F16").unwrap();
    let wrong = of_bytes(&changed(name + 3 + 4 + 16, &16u32.to_le_bytes()), nothing);
    assert_unsupported(wrong, &["\"F16\"", "ggml type 16", "Q4_K"]);
    let outside = of_bytes(&changed(name + 3 + 4 + 16 + 4, &(1u64 << 60).to_le_bytes()), nothing);
    assert_invalid(outside, &["\"F16\"", "in the file"]);
    let sides = of_bytes(&changed(name + 3, &9u32.to_le_bytes()), nothing);
    assert_invalid(sides, &["at most 8 dimensions"]);
}

#[test]
fn damage_of_any_kind_is_no_more_than_an_error() {
    let bytes = std::fs::read(golden("blocks.gguf")).unwrap();
    let mut random = Random(3);
    let mut failed = 0;
    for _ in 0..400 {
        let mut damaged = bytes.clone();
        for _ in 0..1 + random.below(4) {
            let at = random.below(2000);
            damaged[at] = random.below(256) as u8;
        }
        let read = |store: &WeightStore| {
            for format in FORMATS {
                let _ = store.root().tensor(format, &[3, 512])?;
            }
            Ok(())
        };
        match of_bytes(&damaged, read) {
            Ok(()) => {}
            Err(Error::InvalidCheckpoint(_) | Error::UnsupportedModel(_)) => failed += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(failed > 100, "{failed}");
}

#[test]
fn names_of_t5_are_translated_and_its_decoder_is_passed_over() {
    use crate::checkpoint::gguf::checkpoint_name;
    let name = |name: &str| checkpoint_name(Component::TextEncoder, name);
    for (theirs, ours) in [
        ("token_embd.weight", "shared.weight"),
        ("enc.output_norm.weight", "encoder.final_layer_norm.weight"),
        ("enc.blk.23.attn_q.weight", "encoder.block.23.layer.0.SelfAttention.q.weight"),
        ("enc.blk.0.ffn_gate.weight", "encoder.block.0.layer.1.DenseReluDense.wi_0.weight"),
        ("enc.blk.0.other.weight", "enc.blk.0.other.weight"),
        ("encoder.block.0.x", "encoder.block.0.x"),
    ] {
        assert_eq!(name(theirs).as_deref(), Some(ours));
    }
    assert_eq!(name("dec.blk.0.attn_q.weight"), None);
    let transformer =
        checkpoint_name(Component::Transformer, "model.diffusion_model.proj_out.bias");
    assert_eq!(transformer.as_deref(), Some("proj_out.bias"));
}
