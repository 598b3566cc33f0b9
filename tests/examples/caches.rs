//! The C examples of the caches.

use crate::support::*;

#[test]
fn cache_callbacks_prints_the_documentations_schedule() {
    let folder = tempfile::tempdir().unwrap();
    let video = folder.path().join("video.mp4");
    let arguments = ["examples/demo-model/pipeline", video.to_str().unwrap()];
    let output = run("cache_callbacks", &arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    assert!(printed.starts_with("FasterCache: 50 steps"), "{printed}");
    assert!(printed.contains("attention 54 of 100, the rest 68 of 100"), "{printed}");
    assert!(std::fs::metadata(&video).unwrap().len() > 500);
    let missing = run("cache_callbacks", &["no/such/folder"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("no/such/folder"), "{}", text(&missing.stderr));
}

#[test]
fn generate_takes_a_cache_by_technique_and_preset() {
    let folder = tempfile::tempdir().unwrap();
    let video = folder.path().join("video.gif");
    let prompt = "a red ball moves right on a black background";
    let generate = |cache: &str, steps: &str| {
        let output = video.to_str().unwrap();
        run("generate", &[prompt, "--steps", steps, "--cache", cache, "--output", output])
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
