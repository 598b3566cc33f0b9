use super::*;
use crate::checkpoint::folder::Component;
use crate::checkpoint::{LoadProgress, PipelineFolder, WeightFiles, WeightStore};
use crate::runtime::{CancelToken, Control, DType, Placement, Progress, Stage, Stop};
use half::{bf16, f16};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use tch::{Device, Kind, Tensor};
use tempfile::tempdir;

const BF16: Placement = Placement { device: Device::Cpu, dtype: DType::BF16 };

fn open(folder: &Path, placement: Placement) -> crate::Result<WeightStore> {
    WeightStore::open(folder, "model", None, placement, &Control::default())
}

fn values(tensor: &Tensor) -> Vec<f32> {
    Vec::<f32>::try_from(tensor.to_kind(Kind::Float).flatten(0, -1)).unwrap()
}

/// `a` 2×20 in float32, `b` 3 in float16, `c` 2×20 in bfloat16, `d` 3 in float32.
fn mixed() -> (Vec<u8>, Vec<f32>) {
    let a: Vec<f32> = (0..40).map(|i| i as f32 * 0.25 - 3.0).collect();
    let mut data = f32_bytes(&a);
    data.extend([1.5f32, -2.0, 0.25].iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()));
    data.extend(a.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()));
    data.extend(f32_bytes(&[7.0, 8.0, 9.0]));
    let header = r#"{"a":{"dtype":"F32","shape":[2,20],"data_offsets":[0,160]},
        "b":{"dtype":"F16","shape":[3],"data_offsets":[160,166]},
        "c":{"dtype":"BF16","shape":[2,20],"data_offsets":[166,246]},
        "d":{"dtype":"F32","shape":[3],"data_offsets":[246,258]}}"#;
    (safetensors(header, &data), a)
}

#[test]
fn every_dtype_is_read_into_the_placement_from_aligned_and_unaligned_offsets() {
    let folder = tempdir().unwrap();
    let (bytes, a) = mixed();
    std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    for (placement, size) in [(Placement::CPU, 4), (BF16, 2)] {
        let store = open(folder.path(), placement).unwrap();
        assert_eq!(store.bytes(), 258);
        let root = store.root();
        for name in ["a", "c"] {
            let tensor = root.tensor(name, &[2, 20]).unwrap();
            assert_eq!(tensor.kind(), placement.dtype.kind());
            assert_eq!(values(&tensor), a, "{name} in {placement:?}");
        }
        assert_eq!(values(&root.tensor("b", &[3]).unwrap()), [1.5, -2.0, 0.25]);
        let d = root.tensor_as("d", &[3], Kind::Double).unwrap();
        assert_eq!((d.kind(), values(&d)), (Kind::Double, vec![7.0, 8.0, 9.0]));
        assert_eq!(store.loaded_bytes(), (40 + 40 + 3) * size + 3 * 8);
        store.finish(&[]).unwrap();
    }
}

#[test]
fn tensors_outlive_the_files() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, mixed().0).unwrap();
    let store = open(folder.path(), Placement::CPU).unwrap();
    let tensor = store.root().tensor("a", &[2, 20]).unwrap();
    store.finish(&["b", "c", "d"]).unwrap();
    std::fs::write(&path, b"").unwrap();
    assert_eq!(values(&tensor), mixed().1);
}

#[test]
fn a_file_that_has_shrunk_is_an_error() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, mixed().0).unwrap();
    let store = open(folder.path(), Placement::CPU).unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(16).unwrap();
    assert_invalid(store.root().tensor("a", &[2, 20]), &["model.safetensors", "found 16"]);
}

#[test]
fn stacked_joins_along_the_first_dimension() {
    let folder = tempdir().unwrap();
    std::fs::write(folder.path().join("model.safetensors"), mixed().0).unwrap();
    let store = open(folder.path(), Placement::CPU).unwrap();
    let stacked = |names: &[&str], shape: &[i64]| {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        store.root().stacked(&names, shape, Kind::Float)
    };
    let joined = stacked(&["c", "a", "c"], &[2, 20]).unwrap();
    assert_eq!(joined.size(), [6, 20]);
    let a = mixed().1;
    assert_eq!(values(&joined), [a.clone(), a.clone(), a].concat());
    assert_invalid(stacked(&["a", "b"], &[2, 20]), &["\"b\"", "[2, 20]", "[3]"]);
    assert!(stacked(&[], &[2]).is_err());
}

#[test]
fn missing_misshaped_and_surplus_tensors_are_named() {
    let folder = tempdir().unwrap();
    std::fs::write(folder.path().join("model.safetensors"), mixed().0).unwrap();
    let store = open(folder.path(), Placement::CPU).unwrap();
    let deep = store.root().at("blocks").at(3);
    assert_eq!(deep.name(), "blocks.3");
    assert!(!deep.has("weight") && store.root().has("a"));
    assert_invalid(deep.tensor("weight", &[1]), &["model.safetensors", "\"blocks.3.weight\""]);
    assert_invalid(store.root().tensor("a", &[20, 2]), &["\"a\"", "[20, 2]", "[2, 20]"]);
    assert_invalid(store.finish(&[]), &["found 4 more", "\"a\", \"b\", \"c\", …"]);
    let store = open(folder.path(), Placement::CPU).unwrap();
    let _ = store.root().tensor("a", &[2, 20]).unwrap();
    assert_invalid(store.finish(&["b", "c."]), &["found 1 more", "\"d\""]);
}

#[test]
fn unused_prefixes_end_at_a_dot() {
    let folder = tempdir().unwrap();
    let header = r#"{"encoder.w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
        "encoder_2.w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
    std::fs::write(folder.path().join("model.safetensors"), safetensors(header, &[0; 8])).unwrap();
    let store = open(folder.path(), Placement::CPU).unwrap();
    assert_invalid(store.finish(&["encoder"]), &["found 1 more", "encoder_2.w"]);
}

#[test]
fn progress_counts_all_components_together_and_ends_at_the_total() {
    let folder = PipelineFolder::open(&pipeline("2b")).unwrap();
    let reports: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let sink = reports.clone();
    let control = Control {
        progress: Some(Arc::new(move |p: &Progress| {
            sink.lock().unwrap().push(*p);
            ControlFlow::Continue(())
        })),
        ..Control::default()
    };
    let progress = LoadProgress::default();
    let stores: Vec<WeightStore> = Component::ALL
        .iter()
        .map(|&c| folder.weight_files(c, None).unwrap())
        .map(|files| WeightStore::new(files, Placement::CPU, &control, &progress))
        .collect();
    let total = stores.iter().map(WeightStore::bytes).sum::<u64>();
    assert_eq!(progress.total(), total);
    for store in stores {
        if store.root().has("shared.weight") {
            let rows = folder.text_encoder.vocab_size;
            let _ =
                store.root().tensor("shared.weight", &[rows, folder.text_encoder.d_model]).unwrap();
        }
        let all = ["shared", "encoder", "decoder", "patch_embed", "transformer_blocks"];
        let rest = ["norm_final", "norm_out", "proj_out", "time_embedding"];
        store.finish(&[&all[..], &rest[..]].concat()).unwrap();
    }
    let reports = reports.lock().unwrap();
    assert!(reports.len() > 10, "{}", reports.len());
    assert!(reports.windows(2).all(|pair| pair[0].done <= pair[1].done));
    let last = Progress { stage: Stage::Load, done: total, total, timestep: None };
    assert_eq!(reports.last(), Some(&last));
}

#[test]
fn a_cancelled_token_and_a_stop_answer_end_the_load() {
    let folder = tempdir().unwrap();
    std::fs::write(folder.path().join("model.safetensors"), mixed().0).unwrap();
    let cancel = CancelToken::default();
    let control = Control { cancel: Some(cancel.clone()), ..Control::default() };
    let store = WeightStore::open(folder.path(), "model", None, Placement::CPU, &control).unwrap();
    let _ = store.root().tensor("b", &[3]).unwrap();
    cancel.cancel();
    let error = store.root().tensor("a", &[2, 20]).unwrap_err();
    assert!(matches!(error, Error::Cancelled(_)), "{error:?}");

    let stop = Control {
        progress: Some(Arc::new(|p: &Progress| {
            if p.done >= 128 {
                ControlFlow::Break(Stop::Asked)
            } else {
                ControlFlow::Continue(())
            }
        })),
        ..Control::default()
    };
    let store = WeightStore::open(folder.path(), "model", None, Placement::CPU, &stop).unwrap();
    let error = store.root().tensor("a", &[2, 20]).unwrap_err();
    assert!(matches!(error, Error::Cancelled(_)), "{error:?}");
}

#[test]
fn shards_and_variants_hold_the_same_tensors() {
    let folder = PipelineFolder::open(&pipeline("5b-sharded")).unwrap();
    let dtypes = |variant: Option<&str>| -> Vec<DType> {
        let dtype = |c| folder.weight_files(c, variant).unwrap().dtype();
        Component::ALL.into_iter().map(dtype).collect()
    };
    assert_eq!(dtypes(None), [DType::F32; 3]);
    assert_eq!(dtypes(Some("fp16")), [DType::F16; 3]);
    for component in Component::ALL {
        let plain = folder.weight_files(component, None).unwrap();
        let half = folder.weight_files(component, Some("fp16")).unwrap();
        assert!(plain.places.keys().eq(half.places.keys()));
        // transformers keeps T5's `wo` in float32 in half-precision files.
        let kept = if component == Component::TextEncoder { 16384 } else { 0 };
        assert_eq!(plain.bytes() + kept, 2 * half.bytes());
        let store = |files| {
            WeightStore::new(files, Placement::CPU, &Control::default(), &LoadProgress::default())
        };
        let (plain, half) = (store(plain), store(half));
        for name in ["norm_final.weight", "decoder.conv_in.conv.bias", "shared.weight"] {
            let Some(place) = plain.root().has(name).then(|| &plain.files.places[name]) else {
                continue;
            };
            let read = |s: &WeightStore| s.root().tensor(name, &place.shape).unwrap();
            let error = (read(&plain) - read(&half)).abs().max().double_value(&[]);
            assert!(error < 1e-3, "{name} {error}");
        }
    }
}

#[test]
fn a_component_without_the_variant_is_read_from_its_plain_files() {
    let root = tempdir().unwrap();
    copy(&pipeline("2b"), root.path());
    let transformer = root.path().join("transformer");
    std::fs::copy(
        transformer.join("diffusion_pytorch_model.safetensors"),
        transformer.join("diffusion_pytorch_model.ema.safetensors"),
    )
    .unwrap();
    let folder = PipelineFolder::open(root.path()).unwrap();
    let name = |c, variant| {
        let files = folder.weight_files(c, variant)?;
        Ok(files.name().file_name().unwrap().to_str().unwrap().to_string())
    };
    let ema = name(Component::Transformer, Some("ema")).unwrap();
    assert_eq!(ema, "diffusion_pytorch_model.ema.safetensors");
    let plain = name(Component::Vae, Some("ema")).unwrap();
    assert_eq!(plain, "diffusion_pytorch_model.safetensors");
    assert_not_found(name(Component::Vae, Some("fp16")), &["fp16"]);
    for bad in ["", "../x", "a/b", &"v".repeat(65)] {
        let error = name(Component::Vae, Some(bad)).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument(_)), "{bad:?} {error:?}");
    }
}

pub(super) fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn only_a_pickle_or_nothing_is_told_apart() {
    let folder = tempdir().unwrap();
    assert_not_found(WeightFiles::open(folder.path(), "model", None), &["model.safetensors"]);
    std::fs::write(folder.path().join("pytorch_model.bin"), b"x").unwrap();
    let parts = &["model.safetensors", "pytorch_model.bin", "safe_serialization"];
    assert_unsupported(WeightFiles::open(folder.path(), "model", None), parts);
}

#[test]
fn a_single_file_and_an_index_follow_the_library_that_wrote_them() {
    let folder = tempdir().unwrap();
    let file = mixed().0;
    for stem in ["model", "diffusion_pytorch_model"] {
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(folder.path().join(format!("{stem}{name}")), bytes).unwrap();
        };
        write(".safetensors", &file);
        write("-1.safetensors", &file);
        let map: Vec<String> = ["a", "b", "c", "d"]
            .iter()
            .map(|n| format!("{n:?}:\"{stem}-1.safetensors\""))
            .collect();
        let index = format!("{{\"weight_map\":{{{}}}}}", map.join(","));
        write(".safetensors.index.json", index.as_bytes());
    }
    let name = |stem| {
        let files = WeightFiles::open(folder.path(), stem, None).unwrap();
        files.name().file_name().unwrap().to_str().unwrap().to_string()
    };
    assert_eq!(name("model"), "model.safetensors");
    assert_eq!(name("diffusion_pytorch_model"), "diffusion_pytorch_model.safetensors.index.json");
}
