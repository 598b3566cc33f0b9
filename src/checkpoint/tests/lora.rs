//! LoRA files that are damaged.

use super::{assert_parts, assert_unsupported, pipeline, Random};
use crate::checkpoint::config::TransformerConfig;
use crate::checkpoint::lora;
use crate::models::transformer::{linear_modules, LinearModule};
use crate::runtime::{Control, Placement};
use std::path::{Path, PathBuf};

fn adapter(file: &str) -> PathBuf {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/lora/2b");
    goldens.join(file).with_extension("safetensors")
}

fn modules() -> Vec<LinearModule> {
    let config = pipeline("2b").join("transformer/config.json");
    linear_modules(&TransformerConfig::read(&config, &mut Vec::new()).unwrap())
}

fn read(path: &Path) -> crate::Result<crate::models::layers::Adapter> {
    lora::read(path, &modules(), Placement::CPU, &Control::default())
}

#[test]
fn factors_are_those_of_the_file() {
    let adapter = read(&adapter("attention")).unwrap();
    // Two blocks, four modules each; alpha 8 over rank 4 but where the patterns say otherwise.
    assert_eq!(adapter.factors.len(), 8);
    for (name, factors) in &adapter.factors {
        let (rank, scale) = match name.as_str() {
            "transformer_blocks.0.attn1.to_k" => (2, 4.0),
            name if name.ends_with("to_v") => (4, 0.5),
            _ => (4, 2.0),
        };
        assert_eq!((factors.down.size(), factors.up.size()), (vec![rank, 48], vec![48, rank]));
        assert_eq!(factors.scale, scale, "{name}");
    }
}

#[test]
fn damaged_files_never_panic_and_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("damaged.safetensors");
    let mut random = Random(17);
    let mut refused = 0;
    for source in ["attention", "stabilised", "older"] {
        let whole = std::fs::read(adapter(source)).unwrap();
        let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize + 8;
        for _ in 0..200 {
            let mut bytes = whole.clone();
            for _ in 0..=random.below(3) {
                bytes[random.below(header)] = random.below(256) as u8;
            }
            if random.below(4) == 0 {
                bytes.truncate(random.below(bytes.len()));
            }
            std::fs::write(&file, &bytes).unwrap();
            if let Err(error) = read(&file) {
                refused += 1;
                assert_parts(&error.to_string(), &["damaged.safetensors"]);
            }
        }
    }
    assert!(refused > 400, "{refused}");
}

#[test]
fn pickles_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pytorch_lora_weights.bin"), b"pickle").unwrap();
    assert_unsupported(read(folder.path()), &["pytorch_lora_weights.safetensors", "pickle"]);
}

#[test]
fn scales_of_dora_are_passed_over_with_a_warning() {
    use parking_lot::Mutex;
    use std::sync::Arc;
    let floats = |count: usize| super::f32_bytes(&vec![0.5; count]);
    let header = r#"{"transformer.proj_out.lora_A.weight":{"dtype":"F32","shape":[1,48],"data_offsets":[0,192]},
        "transformer.proj_out.lora_B.weight":{"dtype":"F32","shape":[16,1],"data_offsets":[192,256]},
        "transformer.proj_out.dora_scale":{"dtype":"F32","shape":[16,1],"data_offsets":[256,320]}}"#;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dora.safetensors");
    std::fs::write(&file, super::safetensors(header, &floats(80))).unwrap();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let log = {
        let lines = Arc::clone(&lines);
        Arc::new(move |_, text: &str| lines.lock().push(text.to_string()))
    };
    let control = Control { log: Some(log), ..Control::default() };
    let read = lora::read(&file, &modules(), Placement::CPU, &control).unwrap();
    assert_eq!(read.factors.len(), 1);
    let lines = lines.lock();
    assert_eq!(lines.len(), 1);
    assert_parts(&lines[0], &["dora.safetensors", "1 tensors of DoRA", "passed over"]);
}
