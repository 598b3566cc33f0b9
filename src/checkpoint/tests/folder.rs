use super::weights::copy;
use super::*;
use crate::checkpoint::config::SchedulerClass;
use crate::checkpoint::folder::Task;
use crate::checkpoint::PipelineFolder;
use tempfile::{tempdir, TempDir};

/// The 2b folder with `from` replaced by `to` in one file.
fn changed(file: &str, from: &str, to: &str) -> (TempDir, crate::Result<PipelineFolder>) {
    changed_of("2b", file, from, to)
}

fn changed_of(
    folder: &str,
    file: &str,
    from: &str,
    to: &str,
) -> (TempDir, crate::Result<PipelineFolder>) {
    let root = tempdir().unwrap();
    copy(&pipeline(folder), root.path());
    let path = root.path().join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from} is not in {file}");
    std::fs::write(&path, text.replace(from, to)).unwrap();
    let folder = PipelineFolder::open(root.path());
    (root, folder)
}

#[test]
fn the_three_families_are_told_by_their_configs() {
    let open = |name: &str| PipelineFolder::open(&pipeline(name)).unwrap();
    let two = open("2b");
    assert!(!two.transformer.positions.rotary());
    assert_eq!(two.scheduler.class, SchedulerClass::Ddim);
    let five = open("5b");
    assert!(five.transformer.positions.rotary());
    assert_eq!(five.scheduler.class, SchedulerClass::Ddim);
    let newer = open("1.5-5b");
    assert_eq!((newer.transformer.patch_size_t, newer.transformer.patch_bias), (Some(2), false));
    open("5b-sharded");
}

#[test]
fn missing_folders_and_files_are_named() {
    let root = tempdir().unwrap();
    let nowhere = root.path().join("nowhere");
    assert_not_found(PipelineFolder::open(&nowhere), &["nowhere", "found nothing"]);
    assert_not_found(PipelineFolder::open(root.path()), &["model_index.json"]);
    let index = pipeline("2b").join("model_index.json");
    assert_not_found(PipelineFolder::open(&index), &["model_index.json", "a file"]);
    for missing in ["scheduler", "tokenizer", "vae", "text_encoder", "transformer"] {
        let root = tempdir().unwrap();
        copy(&pipeline("2b"), root.path());
        std::fs::remove_dir_all(root.path().join(missing)).unwrap();
        assert_not_found(PipelineFolder::open(root.path()), &[missing, "found none"]);
    }
    for missing in ["scheduler/scheduler_config.json", "vae/config.json"] {
        let root = tempdir().unwrap();
        copy(&pipeline("2b"), root.path());
        std::fs::remove_file(root.path().join(missing)).unwrap();
        assert_not_found(PipelineFolder::open(root.path()), &[missing]);
    }
}

#[test]
fn other_pipelines_and_classes_are_not_supported() {
    for (from, to, parts) in [
        (
            "\"CogVideoXPipeline\"",
            "\"CogVideoXOtherPipeline\"",
            ["_class_name", "or \"CogVideoXImageToVideoPipeline\"", "\"CogVideoXOtherPipeline\""],
        ),
        (
            "\"CogVideoXDDIMScheduler\"",
            "\"EulerDiscreteScheduler\"",
            ["scheduler", "\"CogVideoXDPMScheduler\"", "\"EulerDiscreteScheduler\""],
        ),
        ("\"T5EncoderModel\"", "\"UMT5EncoderModel\"", ["text_encoder", "T5Enc", "UMT5Enc"]),
        ("\"vae\"", "\"image_encoder\": [\"a\", \"B\"], \"vae\"", ["image_encoder", "no", "B"]),
    ] {
        let (_root, folder) = changed("model_index.json", from, to);
        assert_unsupported(folder, &[&parts[..], &["model_index.json"]].concat());
    }
    let (_root, folder) = changed("model_index.json", "\"vae\"", "\"x\": [null, null], \"vae\"");
    folder.unwrap();
    let (_root, folder) = changed("model_index.json", "\"vae\"", "\"_vae\"");
    assert_invalid(folder, &["model_index.json: vae", "AutoencoderKLCogVideoX", "found none"]);
    let (_root, folder) = changed("model_index.json", "\"_class_name\"", "\"_class\"");
    assert_invalid(folder, &["_class_name"]);
}

#[test]
fn configs_must_agree_with_the_index_and_with_one_another() {
    let (_root, folder) =
        changed("transformer/config.json", "\"in_channels\": 4", "\"in_channels\": 7");
    assert_invalid(folder, &["transformer/config.json", "in_channels", "expected 4", "found 7"]);
    let (_root, folder) =
        changed("transformer/config.json", "\"out_channels\": 4", "\"out_channels\": 3");
    assert_invalid(folder, &["out_channels", "expected 4", "latent_channels", "found 3"]);
    let (_root, folder) =
        changed("vae/config.json", "\"latent_channels\": 4", "\"latent_channels\": 16");
    assert_invalid(folder, &["in_channels", "expected 16", "latent_channels", "found 4"]);
    let (_root, folder) =
        changed("transformer/config.json", "\"text_embed_dim\": 32", "\"text_embed_dim\": 64");
    assert_invalid(folder, &["text_embed_dim", "expected 32", "d_model", "found 64"]);
}

#[test]
fn the_index_decides_which_scheduler_steps() {
    let (_root, folder) =
        changed("model_index.json", "CogVideoXDDIMScheduler", "CogVideoXDPMScheduler");
    let folder = folder.unwrap();
    assert_eq!(folder.scheduler.class, SchedulerClass::Dpm);
    assert_eq!(folder.warnings.len(), 1);
    assert_parts(&folder.warnings[0], &["scheduler_config.json", "DDIM", "model_index.json"]);
}

/// Folders of control and inpainting name the class of text to video.
#[test]
fn folders_of_other_tasks_are_told_by_class_or_channels() {
    for (channels, task) in [(8, Task::Control), (9, Task::Inpainting)] {
        let to = format!("\"in_channels\": {channels}");
        let (_root, folder) = changed("transformer/config.json", "\"in_channels\": 4", &to);
        assert_eq!(folder.unwrap().task, task);
    }
    let (_root, folder) =
        changed("transformer/config.json", "\"in_channels\": 4", "\"in_channels\": 10");
    assert_invalid(folder, &["in_channels", "expected 4 like vae latent_channels", "found 10"]);
    let class = "CogVideoXVideoToVideoPipeline";
    let (_root, folder) = changed("model_index.json", "CogVideoXPipeline", class);
    assert_eq!(folder.unwrap().task, Task::VideoToVideo);
    for (class, expected) in [
        ("CogVideoXFunControlPipeline", "expected 8 like twice vae latent_channels"),
        ("CogVideoXFunInpaintPipeline", "expected 9 like 1 + twice vae latent_channels"),
    ] {
        let (_root, folder) = changed("model_index.json", "CogVideoXPipeline", class);
        assert_invalid(folder, &["in_channels", expected, "found 4"]);
    }
    let (_root, folder) = changed("model_index.json", "CogVideoXPipeline", "CogVideoXOther");
    assert_unsupported(folder, &["model_index.json", "CogVideoXOther", "CogVideoXPipeline"]);
}

#[test]
fn image_to_video_is_told_by_the_index_and_needs_channels_for_the_image() {
    for name in ["5b-i2v", "1.5-5b-i2v"] {
        let folder = PipelineFolder::open(&pipeline(name)).unwrap();
        assert_eq!((folder.task, folder.warnings.len()), (Task::ImageToVideo, 0));
    }
    assert_eq!(PipelineFolder::open(&pipeline("2b")).unwrap().task, Task::TextToVideo);
    let class = "CogVideoXImageToVideoPipeline";
    let (_root, folder) = changed("model_index.json", "CogVideoXPipeline", class);
    assert_invalid(folder, &["transformer/config.json", "in_channels", "expected 8", "found 4"]);
    let (_root, folder) =
        changed_of("5b-i2v", "transformer/config.json", "\"in_channels\": 8", "\"in_channels\": 4");
    assert_invalid(folder, &["in_channels", "twice vae latent_channels", "found 4"]);
    let (_root, folder) = changed_of("5b-i2v", "model_index.json", class, "CogVideoXPipeline");
    assert_unsupported(folder, &["in_channels", "expected 4", "found 8"]);
    let (_root, folder) = changed_of("1.5-5b-i2v", "model_index.json", class, "CogVideoXPipeline");
    assert_unsupported(folder, &["ofs_embed_dim", "found 16", "image to video"]);
}

#[test]
fn damaged_json_is_named() {
    for file in ["model_index.json", "transformer/config.json", "vae/config.json"] {
        let (_root, folder) = changed(file, "{", "[");
        assert_invalid(folder, &[file, "a JSON object"]);
    }
    let root = tempdir().unwrap();
    copy(&pipeline("2b"), root.path());
    std::fs::write(root.path().join("model_index.json"), vec![b' '; (1 << 20) + 1]).unwrap();
    assert_invalid(PipelineFolder::open(root.path()), &["model_index.json", "at most 1048576"]);
}
