//! Pipeline folders that differ from those in `tests/pipelines`.

use super::goldens::{golden, pipeline_folder};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::path::Path;
use tempfile::TempDir;

/// The folder of `family` with the scheduler of `schedulers/<scheduler>.json` among the
/// goldens in place of its own.
pub fn with_scheduler(family: &str, scheduler: &str) -> TempDir {
    let config = std::fs::read_to_string(golden(format!("schedulers/{scheduler}.json"))).unwrap();
    let class = serde_json::from_str::<serde_json::Value>(&config).unwrap()["_class_name"].clone();
    let folder = linked(&pipeline_folder(family), &["scheduler", "model_index.json"]);
    std::fs::create_dir(folder.path().join("scheduler")).unwrap();
    std::fs::write(folder.path().join("scheduler/scheduler_config.json"), config).unwrap();
    let index = std::fs::read_to_string(pipeline_folder(family).join("model_index.json")).unwrap();
    let mut index: serde_json::Value = serde_json::from_str(&index).unwrap();
    index["scheduler"][1] = class;
    std::fs::write(folder.path().join("model_index.json"), index.to_string()).unwrap();
    folder
}

/// A new folder whose entries are links to those of `source`, but for `without`.
pub fn linked(source: &Path, without: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if !without.iter().any(|skipped| name == *skipped) {
            std::os::unix::fs::symlink(entry.path(), folder.path().join(name)).unwrap();
        }
    }
    folder
}

/// The folder of `family` with another number of attention heads, of the same size each, and weights
/// drawn anew.
pub fn with_heads(family: &str, heads: u64) -> TempDir {
    let source = pipeline_folder(family);
    let folder = linked(&source, &["transformer"]);
    let (from, to) = (source.join("transformer"), folder.path().join("transformer"));
    std::fs::create_dir(&to).unwrap();
    let config = std::fs::read_to_string(from.join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    let of = |config: &serde_json::Value, name: &str| config[name].as_u64().unwrap() as usize;
    let before = of(&config, "num_attention_heads") * of(&config, "attention_head_dim");
    config["num_attention_heads"] = heads.into();
    let width = of(&config, "num_attention_heads") * of(&config, "attention_head_dim");
    std::fs::write(to.join("config.json"), config.to_string()).unwrap();

    let name = "diffusion_pytorch_model.safetensors";
    let file = std::fs::read(from.join(name)).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let mut drawn = Vec::new();
    let mut seed = 1u64;
    for (name, view) in tensors.tensors() {
        let side = |&side: &usize| if side % before == 0 { side / before * width } else { side };
        let shape: Vec<usize> = view.shape().iter().map(side).collect();
        let inputs: usize = shape.iter().skip(1).product();
        let norm = name.contains("norm") && shape.len() == 1 && name.ends_with("weight");
        let (centre, spread) = match (norm, shape.len()) {
            (true, _) => (1.0, 0.2),
            (false, 1) => (0.0, 0.1),
            (false, _) => (0.0, 1.0 / (inputs as f32).sqrt()),
        };
        let mut draw = || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            centre + spread * ((seed >> 40) as f32 / (1u32 << 23) as f32 - 1.0)
        };
        let count: usize = shape.iter().product();
        let bytes: Vec<u8> = (0..count).flat_map(|_| draw().to_le_bytes()).collect();
        drawn.push((name.to_string(), shape, bytes));
    }
    let views = drawn.iter().map(|(name, shape, bytes)| {
        (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, &to.join(name)).unwrap();
    folder
}

/// The folder of `family` whose index names another pipeline class.
pub fn with_index_class(family: &str, class: &str) -> TempDir {
    let folder = linked(&pipeline_folder(family), &["model_index.json"]);
    let index = std::fs::read_to_string(pipeline_folder(family).join("model_index.json")).unwrap();
    let mut index: serde_json::Value = serde_json::from_str(&index).unwrap();
    index["_class_name"] = class.into();
    std::fs::write(folder.path().join("model_index.json"), index.to_string()).unwrap();
    folder
}
