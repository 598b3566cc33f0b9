//! The text encoder against the prompt embeddings that diffusers' pipeline makes
//! (`tests/goldens/make.py components`), from token ids made by transformers' tokenizer.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

use cogvideox::checkpoint::config::T5Config;
use cogvideox::checkpoint::WeightStore;
use cogvideox::models::t5::T5Encoder;
use cogvideox::runtime::{CancelToken, Control, DType, Placement, Progress, Stage};
use cogvideox::{Error, Result};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tch::Tensor;

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn json(path: PathBuf) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn load(folder: &Path) -> Result<T5Encoder> {
    load_as(folder, DType::F32)
}

fn load_as(folder: &Path, dtype: DType) -> Result<T5Encoder> {
    let placement = Placement { dtype, ..Placement::CPU };
    let config = T5Config::read(&folder.join("config.json"))?;
    let store = WeightStore::open(folder, "model", None, placement, &Control::default())?;
    let encoder = T5Encoder::load(&config, &store.root())?;
    store.finish(&[])?;
    Ok(encoder)
}

fn load_family(family: &str) -> T5Encoder {
    load(&tests().join("pipelines").join(family).join("text_encoder")).unwrap()
}

/// The ids of `text`, padded to `length`, from the tokenizer's goldens.
fn ids(text: &str, length: i64) -> Option<Tensor> {
    let tokens = json(tests().join("goldens/tokens.json"));
    let case = tokens
        .as_array()?
        .iter()
        .find(|case| case["text"] == text && case["max_length"] == length)?
        .clone();
    let mut ids: Vec<i64> = case["ids"].as_array()?.iter().map(|id| id.as_i64().unwrap()).collect();
    ids.resize(length as usize, 0);
    Some(Tensor::from_slice(&ids).unsqueeze(0))
}

#[test]
fn embeddings_are_those_of_transformers() {
    for family in ["2b", "5b", "1.5-5b"] {
        let folder = tests().join("goldens").join(family);
        let tensors: HashMap<String, Tensor> =
            Tensor::read_safetensors(folder.join("components.safetensors"))
                .unwrap()
                .into_iter()
                .collect();
        let encoder = load_family(family);
        let cases = json(folder.join("components.json"));
        let mut compared = 0;
        for case in cases["embeddings"].as_array().unwrap() {
            let length = case["max_sequence_length"].as_i64().unwrap();
            let Some(ids) = ids(case["prompt"].as_str().unwrap(), length) else { continue };
            let expected = &tensors[case["output"].as_str().unwrap()];
            let found = encoder.forward(&ids, &Control::default()).unwrap();
            assert_eq!(found.size(), expected.size());
            let error = (&found - expected).abs().max().double_value(&[])
                / expected.abs().max().double_value(&[]);
            println!("{family}, {}: {error:.2e}", case["output"]);
            assert!(error < 1e-5, "{family}, {}: {error}", case["output"]);
            compared += 1;
        }
        assert!(compared >= 1, "{family}: no prompt with known ids");
    }
}

#[test]
fn half_precision_stays_near_float32() {
    let folder = tests().join("pipelines/2b/text_encoder");
    let ids = ids("A panda plays a guitar in the bamboo forest, close shot.", 16).unwrap();
    let control = Control::default();
    let expected = load(&folder).unwrap().forward(&ids, &control).unwrap();
    for (dtype, bound) in [(DType::F16, 2e-3), (DType::BF16, 2e-2)] {
        let found = load_as(&folder, dtype).unwrap().forward(&ids, &control).unwrap();
        assert_eq!(found.kind(), dtype.kind());
        let error = (found.to_kind(tch::Kind::Float) - &expected).abs().max().double_value(&[])
            / expected.abs().max().double_value(&[]);
        assert!(error < bound, "{dtype:?}: {error}");
    }
}

#[test]
fn rows_of_a_batch_do_not_touch_one_another() {
    let encoder = load_family("2b");
    let ids = Tensor::from_slice(&[300i64, 39, 1, 0, 56, 22, 84, 1]).view([2, 4]);
    let both = encoder.forward(&ids, &Control::default()).unwrap();
    let second = encoder.forward(&ids.narrow(0, 1, 1), &Control::default()).unwrap();
    let error = (both.narrow(0, 1, 1) - second).abs().max().double_value(&[]);
    assert!(error < 1e-5, "{error}");
}

#[test]
fn both_names_of_the_embedding_table_are_read() {
    let source = tests().join("pipelines/2b/text_encoder");
    let tensors: HashMap<String, Tensor> =
        Tensor::read_safetensors(source.join("model.safetensors")).unwrap().into_iter().collect();
    let ids = Tensor::from_slice(&[300i64, 39, 1]).view([1, 3]);
    let expected = load(&source).unwrap().forward(&ids, &Control::default()).unwrap();
    let table = &tensors["shared.weight"];
    let tied = "encoder.embed_tokens.weight";
    for (shared, embed_tokens, outcome) in [
        (false, Some(table.copy()), Ok(())),
        (true, Some(table.copy()), Ok(())),
        (true, Some(table + 1), Err("expected tensors shared.weight and encoder.embed_tokens")),
        (false, None, Err("shared.weight")),
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(source.join("config.json"), folder.path().join("config.json")).unwrap();
        let mut kept: Vec<(&str, &Tensor)> = tensors
            .iter()
            .filter(|(name, _)| shared || *name != "shared.weight")
            .map(|(name, tensor)| (name.as_str(), tensor))
            .collect();
        if let Some(table) = &embed_tokens {
            kept.push((tied, table));
        }
        Tensor::write_safetensors(&kept, folder.path().join("model.safetensors")).unwrap();
        match (load(folder.path()), outcome) {
            (Ok(encoder), Ok(())) => {
                assert_eq!(encoder.forward(&ids, &Control::default()).unwrap(), expected)
            }
            (Err(Error::InvalidCheckpoint(message)), Err(part)) => {
                assert!(message.contains(part), "{message}")
            }
            (result, outcome) => panic!("{:?} {outcome:?}", result.err()),
        }
    }
}

#[test]
fn ids_outside_the_vocabulary_are_refused() {
    let encoder = load_family("2b");
    for id in [-1i64, 900] {
        let ids = Tensor::from_slice(&[0, id]).view([1, 2]);
        let error = encoder.forward(&ids, &Control::default()).unwrap_err();
        let expected = format!("token ids: expected 0 to 899, found {id}");
        assert_eq!(error, Error::InvalidArgument(expected));
    }
}

#[test]
fn layers_are_reported_and_cancelling_is_heeded() {
    let encoder = load_family("2b");
    let ids = Tensor::from_slice(&[300i64, 1]).view([1, 2]);
    let reports = Arc::new(Mutex::new(Vec::<Progress>::new()));
    let sink = reports.clone();
    let token = CancelToken::default();
    let control = Control {
        cancel: Some(token.clone()),
        progress: Some(Arc::new(move |progress| {
            sink.lock().push(*progress);
            ControlFlow::Continue(())
        })),
        ..Control::default()
    };
    let _ = encoder.forward(&ids, &control).unwrap();
    let report = |done| Progress { stage: Stage::Encode, done, total: 2, timestep: None };
    assert_eq!(*reports.lock(), [report(1), report(2)]);
    token.cancel();
    assert!(matches!(encoder.forward(&ids, &control), Err(Error::Cancelled(_))));
}
