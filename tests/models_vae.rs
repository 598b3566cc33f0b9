//! The VAE decoder against diffusers' (`tests/goldens/make.py components`).

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

use cogvideox::checkpoint::config::VaeConfig;
use cogvideox::checkpoint::WeightStore;
use cogvideox::models::vae::{DecodeOptions, Tiling, VaeDecoder, UNUSED_PREFIXES};
use cogvideox::runtime::{Control, Placement};
use cogvideox::Result;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tch::Tensor;

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn load(folder: &Path) -> Result<VaeDecoder> {
    let config = VaeConfig::read(&folder.join("config.json"), &mut Vec::new())?;
    let control = Control::default();
    let store =
        WeightStore::open(folder, "diffusion_pytorch_model", None, Placement::CPU, &control)?;
    let decoder = VaeDecoder::load(&config, &store.root())?;
    store.finish(UNUSED_PREFIXES)?;
    Ok(decoder)
}

fn load_family(family: &str) -> VaeDecoder {
    load(&tests().join("pipelines").join(family).join("vae")).unwrap()
}

/// The largest difference, over the largest value expected.
fn relative_error(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.size(), expected.size());
    let difference = (found - expected).abs().max().double_value(&[]);
    difference / expected.abs().max().double_value(&[])
}

struct Case {
    name: String,
    options: DecodeOptions,
    latents: Tensor,
    frames: Tensor,
}

/// The goldens of a family, with latents as the decoder takes them.
fn cases(family: &str, scaling_factor: f64) -> Vec<Case> {
    let folder = tests().join("goldens").join(family);
    let tensors: HashMap<String, Tensor> =
        Tensor::read_safetensors(folder.join("components.safetensors"))
            .unwrap()
            .into_iter()
            .collect();
    let text = std::fs::read_to_string(folder.join("components.json")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let case = |case: &Value| {
        let key = case["tensors"].as_str().unwrap();
        let tiling = case["tiling"].as_object().map(|tiling| {
            let field = |name: &str| tiling.get(name);
            Tiling {
                tile_sample_min_height: field("tile_sample_min_height").and_then(Value::as_i64),
                tile_sample_min_width: field("tile_sample_min_width").and_then(Value::as_i64),
                tile_overlap_factor_height: field("tile_overlap_factor_height")
                    .and_then(Value::as_f64),
                tile_overlap_factor_width: field("tile_overlap_factor_width")
                    .and_then(Value::as_f64),
            }
        });
        let slicing = case["slicing"].as_bool().unwrap();
        let latents = &tensors[&format!("{key}.latents")];
        Case {
            name: case["name"].as_str().unwrap().to_string(),
            options: DecodeOptions { tiling, slicing },
            latents: latents.permute([0, 2, 1, 3, 4]) / scaling_factor,
            frames: tensors[&format!("{key}.output")].shallow_clone(),
        }
    };
    let cases: Vec<Case> = json["vae"].as_array().unwrap().iter().map(case).collect();
    assert!(!cases.is_empty());
    cases
}

#[test]
fn frames_are_those_of_diffusers() {
    for family in ["2b", "5b", "1.5-5b"] {
        let decoder = load_family(family);
        for case in cases(family, decoder.config.scaling_factor) {
            let found = decoder.decode(&case.latents, &case.options, &Control::default()).unwrap();
            let error = relative_error(&found, &case.frames);
            println!("{family}, {}: {error:.2e}", case.name);
            assert!(error < 1e-5, "{family}, {}: {error}", case.name);
        }
    }
}
