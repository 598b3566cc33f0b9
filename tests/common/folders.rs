//! Pipeline folders that differ from those in `tests/pipelines`.

use super::goldens::{golden, pipeline_folder};
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

/// The folder of `family` whose index names another pipeline class.
pub fn with_index_class(family: &str, class: &str) -> TempDir {
    let folder = linked(&pipeline_folder(family), &["model_index.json"]);
    let index = std::fs::read_to_string(pipeline_folder(family).join("model_index.json")).unwrap();
    let mut index: serde_json::Value = serde_json::from_str(&index).unwrap();
    index["_class_name"] = class.into();
    std::fs::write(folder.path().join("model_index.json"), index.to_string()).unwrap();
    folder
}
