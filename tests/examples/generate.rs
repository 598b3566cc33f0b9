//! examples/c/generate.c as a user runs it: what it writes, what it prints, how it stops.

use crate::support::*;
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

fn generate(arguments: &[&str]) -> Output {
    run("generate", arguments)
}

const SMALL: [&str; 8] =
    ["--model", "tests/pipelines/5b", "--steps", "2", "--size", "48x32", "--frames", "9"];

#[test]
fn a_video_is_written_and_the_library_prints_nothing_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mp4");
    let path = path.to_str().unwrap();
    let output = generate(&[&SMALL[..], &["--output", path, "--quiet", "a red ball"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("", ""));
    assert_eq!(&std::fs::read(path).unwrap()[4..8], b"ftyp");

    let output = generate(&[&SMALL[..], &["--output", path, "a red ball"]].concat());
    let said = text(&output.stdout);
    assert!(said.starts_with(&format!("{path}: 9 frames of 48x32, seed 0")), "{said}");
    let followed = text(&output.stderr);
    for line in ["load 100%", "CogVideoX 1.0, rotary", "encode 100%", "denoise 50%", "decode 100%"]
    {
        assert!(followed.contains(line), "no {line:?} in {followed}");
    }
    assert!(!followed.contains('\r'), "bars are for terminals");
}

#[test]
fn an_image_becomes_a_video() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, image: &str| {
        let path = folder.path().join(name);
        let path = path.to_str().unwrap();
        let image = format!("tests/goldens/images/{image}");
        let model = ["--model", "tests/pipelines/5b-i2v", "--steps", "2", "--output", path];
        let output = generate(&[&model[..], &["--image", &image, "a red ball"]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains("16 frames of 80x48"), "{}", text(&output.stdout));
        assert!(text(&output.stderr).contains("image 100%"), "{}", text(&output.stderr));
        std::fs::read(path).unwrap()
    };
    let png = write("a.gif", "rgb.png");
    assert_ne!(write("b.gif", "rgb.jpg"), png);
    assert_eq!(write("c.gif", "rgb.png"), png);
}

/// examples/c/image_to_video.c, with the demo's folder.
#[test]
fn the_short_program_makes_a_video_of_an_image() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gif");
    let path = path.to_str().unwrap();
    let model = "examples/demo-model/image-to-video";
    let prompt = "a yellow ball moves down on a navy background";
    let output = run("image_to_video", &[model, "tests/goldens/images/rgb.jpg", prompt, path]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), format!("{path}: 17 frames of 64x64\n"));
    assert_eq!(text(&output.stderr), "");
    assert_eq!(std::fs::read(path).unwrap()[..6], *b"GIF89a");

    let output = run("image_to_video", &[model, "no/such/picture.png", prompt, path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no/such/picture.png"), "{}", text(&output.stderr));
    // A folder for text to video takes no image.
    let output =
        run("image_to_video", &["tests/pipelines/5b", "tests/goldens/images/rgb.png", "a", path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("image"), "{}", text(&output.stderr));
    assert_eq!(run("image_to_video", &["only"]).status.code(), Some(2));
}

/// The folder names one scheduler; the other one is another video, and a wrong name an error.
#[test]
fn the_scheduler_is_chosen_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let made = |name: &str, scheduler: &[&str]| {
        let path = folder.path().join(name);
        let output = ["--quiet", "--steps", "4", "--output", path.to_str().unwrap(), "a red ball"];
        let output = generate(&[&SMALL[..], scheduler, &output].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        std::fs::read(path).unwrap()
    };
    let index =
        std::fs::read_to_string(root().join("tests/pipelines/5b/model_index.json")).unwrap();
    let plain = made("plain.gif", &[]);
    let ddim = made("ddim.gif", &["--scheduler", "ddim"]);
    let dpm = made("dpm.gif", &["--scheduler", "dpm"]);
    assert_ne!(ddim, dpm);
    let of_folder = if index.contains("CogVideoXDDIMScheduler") { &ddim } else { &dpm };
    assert_eq!(plain, *of_folder);

    let wrong = generate(&[&SMALL[..], &["--quiet", "--scheduler", "euler", "a"]].concat());
    assert_eq!(wrong.status.code(), Some(1));
    let said = text(&wrong.stderr);
    for part in ["scheduler", "ddim", "dpm", "euler"] {
        assert!(said.contains(part), "no {part:?} in {said:?}");
    }
}

/// A folder of pictures, as `--output a.png` writes it, becomes another video.
#[test]
fn a_folder_of_pictures_becomes_a_video() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let model = ["--model", "tests/pipelines/5b", "--size", "48x32", "--steps", "4", "a red ball"];
    let run = |more: &[&str]| {
        let output = generate(&[&model[..], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        output
    };
    let frames = path("frames/a.png");
    std::fs::create_dir(path("frames")).unwrap();
    run(&["--frames", "17", "--output", &frames]);
    let frames = path("frames");
    let write = |name: &str, more: &[&str]| {
        let path = path(name);
        let output = run(&[&["--video", &frames, "--output", &path], more].concat());
        assert!(text(&output.stderr).contains("image 100%"), "{}", text(&output.stderr));
        (std::fs::read(path).unwrap(), text(&output.stdout).to_string())
    };
    let (all, said) = write("a.gif", &[]);
    assert!(said.contains("17 frames of 48x32"), "{said}");
    assert_ne!(write("b.gif", &["--strength", "0.5"]).0, all);
    assert_eq!(write("c.gif", &["--strength", "0.8"]).0, all);
    let (_, said) = write("d.gif", &["--frames", "9"]);
    assert!(said.contains("9 frames of 48x32"), "{said}");
}

#[test]
fn previews_are_written_a_step() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let video = folder.path().join("a.gif");
    let output = ["--output", video.to_str().unwrap(), "--quiet", "--preview", path, "a red ball"];
    let output = generate(&[&SMALL[..], &output[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for step in 1..=2 {
        // 3 latent frames of 6 x 4 latent pixels.
        let png = std::fs::read(folder.path().join(format!("step_000{step}.png"))).unwrap();
        assert_eq!(png[16..24], [0, 0, 0, 6, 0, 0, 0, 12]);
    }
    assert!(!folder.path().join("step_0003.png").exists());
    let output = ["--output", video.to_str().unwrap(), "--preview", "no/such/folder", "a red ball"];
    let output = generate(&[&SMALL[..], &output[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("no/such/folder") && said.contains("no such folder"), "{said}");
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    let help = generate(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).contains("--guidance"));
    for (arguments, status, words) in [
        (&["a", "--frames", "x"][..], 2, "--frames: needs a whole number"),
        (&["a", "--size", "64"], 2, "--size: needs width and height"),
        (&["a", "--wide"], 2, "--wide: needs a value, or is no option"),
        (&["a", "b"], 2, "there is a prompt already"),
        (&["--seed", "1"], 2, "PROMPT"),
        (&["a", "--output", "a.avi"], 1, ".mp4, .gif or .png"),
        (&["a", "--output", "no/such/folder/a.mp4"], 1, "no/such/folder"),
        (&["a", "--model", "no/such/model"], 1, "no/such/model"),
        (&["a", "--device", "gpu"], 1, "device must be"),
        (&["a", "--lora", "a=x"], 2, "--lora: needs a number"),
        (&["a", "--image", "no/such/picture.png"], 1, "no/such/picture.png"),
        (&["a", "--strength", "0.5"], 2, "--strength: is for --video"),
        (&["a", "--video", "no/such/folder"], 1, "no/such/folder"),
        (&["a", "--video", "src"], 1, "src: expected .png or .jpeg files, found none"),
        (&["a", "--video", "tests/goldens/images"], 1, "of the size of the first"),
        (&["a", "--image", "README.md"], 1, "expected a PNG or JPEG file"),
        (
            &["a", "--quiet", "--model", "tests/pipelines/5b-i2v"],
            1,
            "image: expected one, since the pipeline is for image to video",
        ),
    ] {
        let output = generate(arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
        let said = text(&output.stderr);
        assert!(said.contains(words), "no {words:?} in {said:?}");
        assert_eq!((said.lines().count(), output.stdout.len()), (1, 0), "{said}");
    }
}

#[test]
fn loras_are_loaded_with_their_weights() {
    let folder = tempfile::tempdir().unwrap();
    let made = |name: &str, loras: &[&str]| {
        let path = folder.path().join(name);
        let output = ["--quiet", "--output", path.to_str().unwrap(), "a red ball"];
        let output = generate(&[&SMALL[..], loras, &output].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        std::fs::read(path).unwrap()
    };
    let adapter = |file: &str| format!("tests/goldens/lora/5b/{file}.safetensors");
    let (every, attention) = (adapter("every"), adapter("attention"));
    let (none, half) = (format!("{every}=0"), format!("{attention}=-0.5"));
    let plain = made("plain.gif", &[]);
    let one = made("one.gif", &["--lora", &every]);
    let two = made("two.gif", &["--lora", &every, "--lora", &half]);
    assert_eq!(made("none.gif", &["--lora", &none]), plain);
    assert!(one != plain && two != plain && one != two);

    let wrong = generate(&[&SMALL[..], &["--quiet", "--lora", "no/such", "a"]].concat());
    assert_eq!(wrong.status.code(), Some(1));
    assert!(text(&wrong.stderr).contains("no/such: expected a LoRA file"));
}

#[test]
fn an_interrupt_stops_it_in_order_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gif");
    let mut child = call(
        "generate",
        &["--model", "tests/pipelines/5b", "--steps", "990", "a red ball", "--output"],
    )
    .arg(&path)
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line.starts_with("denoise")).expect("it comes to denoising");
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupted.unwrap().success());
    assert_eq!(lines.last().as_deref(), Some("generate: cancelled by its token"));
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn quantized_weights_and_folders_make_videos() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (video, saved) = (path("a.gif"), path("saved"));
    let run_small = |more: &[&str]| {
        let small = [&["--output", &video, "--quiet", "a red ball"], more].concat();
        let output = generate(&[&SMALL[..], &small].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        std::fs::read(&video).unwrap()
    };
    let loaded = run_small(&["--quantize", "int4"]);
    let output = run("quantize", &["int4", "tests/pipelines/5b", &saved]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(run_small(&["--model", &saved]), loaded);

    let output = run("quantize", &["int3", "tests/pipelines/5b", &path("other")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("int3"), "{}", text(&output.stderr));
    assert_eq!(run("quantize", &["int8"]).status.code(), Some(2));
}
