//! The VAE against diffusers' (`tests/goldens/make.py components image_to_video`).

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

use cogvideox::checkpoint::config::VaeConfig;
use cogvideox::checkpoint::WeightStore;
use cogvideox::models::vae::{
    Content, DecodeOptions, Tiling, VaeDecoder, VaeEncoder, UNUSED_PREFIXES,
};
use cogvideox::runtime::rng::Generator;
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

/// `<family>/<name>.safetensors` and `<name>.json`.
fn goldens(family: &str, name: &str) -> (HashMap<String, Tensor>, Value) {
    let folder = tests().join("goldens").join(family);
    let tensors = Tensor::read_safetensors(folder.join(format!("{name}.safetensors"))).unwrap();
    let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    (tensors.into_iter().collect(), serde_json::from_str(&text).unwrap())
}

/// `enable_tiling`'s arguments; `None` for null.
fn tiling(json: &Value) -> Option<Tiling> {
    let tiling = json.as_object()?;
    let field = |name: &str| tiling.get(name);
    Some(Tiling {
        tile_sample_min_height: field("tile_sample_min_height").and_then(Value::as_i64),
        tile_sample_min_width: field("tile_sample_min_width").and_then(Value::as_i64),
        tile_overlap_factor_height: field("tile_overlap_factor_height").and_then(Value::as_f64),
        tile_overlap_factor_width: field("tile_overlap_factor_width").and_then(Value::as_f64),
    })
}

/// The goldens of a family, with latents as the decoder takes them.
fn cases(family: &str, scaling_factor: f64) -> Vec<Case> {
    let (tensors, json) = goldens(family, "components");
    let case = |case: &Value| {
        let key = case["tensors"].as_str().unwrap();
        let tiling = tiling(&case["tiling"]);
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

#[test]
fn latents_distributions_are_those_of_diffusers() {
    for (family, content) in [
        ("5b-i2v", Content::Videos),
        ("5b-i2v", Content::Images),
        ("1.5-5b-i2v", Content::Videos),
        ("1.5-5b-i2v", Content::Images),
    ] {
        let folder = tests().join("pipelines").join(family).join("vae");
        let config = VaeConfig::read(&folder.join("config.json"), &mut Vec::new()).unwrap();
        let (stem, control) = ("diffusion_pytorch_model", Control::default());
        let store = WeightStore::open(&folder, stem, None, Placement::CPU, &control).unwrap();
        let encoder = VaeEncoder::load(&config, &store.root(), content).unwrap();
        store.finish(&["decoder"]).unwrap();
        let (tensors, cases) = goldens(family, "encodes");
        let cases = cases.as_array().unwrap();
        assert!(cases.len() > 10);
        for case in cases {
            let (name, key) = (case["name"].as_str().unwrap(), case["tensors"].as_str().unwrap());
            let tensor = |what: &str| &tensors[&format!("{key}.{what}")];
            if content == Content::Images && tensor("frames").size()[2] != 1 {
                continue;
            }
            let tiling = tiling(&case["tiling"]);
            let found = encoder.encode(tensor("frames"), tiling.as_ref(), &control).unwrap();
            let sample = found.sample(&mut Generator::new(7).unwrap(), 0).unwrap();
            let errors = [
                relative_error(&found.mean, tensor("mean")),
                relative_error(&found.std, tensor("std")),
                relative_error(&sample, tensor("sample")),
            ];
            println!("{family}, {content:?}, {name}: {errors:?}");
            assert!(
                errors.iter().all(|&error| error < 1e-5),
                "{family}, {content:?}, {name}: {errors:?}"
            );
        }
    }
}
