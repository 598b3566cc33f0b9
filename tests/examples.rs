//! The C examples: compiled as `make examples` does, and run on the demo model.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Compiles `examples/c/<name>.c` against the library of this build.
fn compiled(name: &str, folder: &Path) -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let release = this.ancestors().nth(2).unwrap();
    let libtorch = std::env::var_os("LIBTORCH").map_or(root().join(".libtorch"), PathBuf::from);
    let program = folder.join(name);
    let output = Command::new("cc")
        .args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"])
        .arg(root().join("include"))
        .arg(root().join(format!("examples/c/{name}.c")))
        .arg("-o")
        .arg(&program)
        .arg("-L")
        .arg(release)
        .args(["-lcogvideox", "-lm"])
        .arg(format!("-Wl,-rpath,{}", release.display()))
        .arg(format!("-Wl,-rpath-link,{}", libtorch.join("lib").display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

fn run(program: &Path, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).current_dir(root()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn cache_callbacks_prints_the_documentations_schedule() {
    let folder = tempfile::tempdir().unwrap();
    let video = folder.path().join("video.mp4");
    let program = compiled("cache_callbacks", folder.path());
    let output = run(&program, &["examples/demo-model/pipeline", video.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    assert!(printed.starts_with("FasterCache: 50 steps"), "{printed}");
    assert!(printed.contains("attention 54 of 100, the rest 68 of 100"), "{printed}");
    assert!(std::fs::metadata(&video).unwrap().len() > 500);
    let missing = run(&program, &["no/such/folder"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("no/such/folder"), "{}", text(&missing.stderr));
}

#[test]
fn generate_takes_a_cache_by_technique_and_preset() {
    let folder = tempfile::tempdir().unwrap();
    let program = compiled("generate", folder.path());
    let video = folder.path().join("video.gif");
    let prompt = "a red ball moves right on a black background";
    let generate = |cache: &str, steps: &str| {
        let output = video.to_str().unwrap();
        run(&program, &[prompt, "--steps", steps, "--cache", cache, "--output", output])
    };
    for (cache, title) in
        [("pab", "Pyramid Attention Broadcast"), ("faster_cache:official", "FasterCache")]
    {
        let output = generate(cache, "6");
        assert!(output.status.success(), "{}", text(&output.stderr));
        let printed = text(&output.stdout);
        assert!(printed.contains(&format!("{title}: 6 steps")), "{printed}");
        assert!(printed.contains("predicted speed-up: "), "{printed}");
    }
    let wrong = generate("pab:official", "6");
    assert_eq!(wrong.status.code(), Some(1));
    let message = text(&wrong.stderr);
    assert!(message.contains("videosys") && message.contains("official"), "{message}");
}
