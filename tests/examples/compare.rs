//! The demo.

use crate::support::*;

#[test]
fn compare_prints_a_row_a_technique_and_draws_them() {
    let folder = tempfile::tempdir().unwrap();
    let output = run("compare", &["--steps", "20", "--output", folder.path().to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    for (technique, computed) in
        [("uncached", "40 of 40 units"), ("PAB", "26 of 40 units"), ("FasterCache", "22 of 40")]
    {
        let row = printed.lines().find(|line| line.starts_with(technique));
        assert!(row.is_some_and(|row| row.contains(computed)), "{technique}: {printed}");
    }
    for label in ["from image", "no LoRA", "LoRA"] {
        assert!(printed.lines().any(|line| line.starts_with(label)), "{label}: {printed}");
    }
    let derived = ["image_to_video.mp4", "without_lora.gif", "with_lora.mp4"];
    for file in ["uncached.mp4", "pab.gif", "faster_cache.mp4"].into_iter().chain(derived) {
        assert!(std::fs::metadata(folder.path().join(file)).unwrap().len() > 500, "{file}");
    }
    // Three techniques, and the row of image to video and LoRA: six columns of 64×64 frames at
    // twice their size, 4 pixels apart.
    let sheet = std::fs::File::open(folder.path().join("contact_sheet.png")).unwrap();
    let mut reader = png::Decoder::new(std::io::BufReader::new(sheet)).read_info().unwrap();
    let (width, height) = (6 * 132 + 4, 4 * 132 + 4);
    assert_eq!((reader.info().width, reader.info().height), (width, height));
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let _ = reader.next_frame(&mut pixels).unwrap();
    // The last row: a yellow ball at (12, 20), between cells what is between the others.
    let pixel = |x: u32, y: u32| {
        let at = (y * width + x) as usize * 3;
        [pixels[at], pixels[at + 1], pixels[at + 2]]
    };
    let top = 3 * 132 + 4;
    assert_eq!(pixel(4 + 2 * 12, top + 2 * 20), [255, 230, 26]);
    for (x, y) in [(2, top), (132 + 2, top + 64), (400, height - 2)] {
        assert_eq!(pixel(x, y), pixel(0, 0), "at {x}, {y}");
    }
    assert_eq!(text(&output.stderr), "", "bars are for terminals");
    // A schedule is a row more, and can't be for another number of steps.
    let schedule = "examples/demo-model/schedules/psnr-41.json";
    let other = run("compare", &["--steps", "20", "--schedule", schedule]);
    assert_eq!(other.status.code(), Some(1));
    assert!(text(&other.stderr).contains("20 steps, found 50"), "{}", text(&other.stderr));
    let missing = run("compare", &["--model", "no/such/folder"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("no/such/folder"), "{}", text(&missing.stderr));
}

/// `script`, of util-linux, gives the program a terminal of its own.
#[test]
fn compare_draws_a_bar_of_each_stage_on_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let demo = call("compare", &["--steps", "2", "--output", folder.path().to_str().unwrap()]);
    let words = std::iter::once(demo.get_program()).chain(demo.get_args());
    let line: Vec<String> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &line.join(" "), "/dev/null"]).current_dir(root());
    for (name, value) in demo.get_envs() {
        script.env(name, value.unwrap());
    }
    let output = script.output().expect("script, of the package util-linux, on PATH");
    let drawn = text(&output.stdout);
    assert!(output.status.success(), "{drawn}");
    for technique in ["uncached", "PAB", "FasterCache"] {
        for (stage, bar) in [
            ("encode", "[##############################] 2/2"),
            ("denoise", "[###############               ] 1/2"),
            ("denoise", "[##############################] 2/2"),
            ("decode", "[##############################] "),
        ] {
            let wanted = format!("\r{technique:12} {stage:8} {bar}");
            assert!(drawn.contains(&wanted), "no {wanted:?} in {drawn:?}");
        }
    }
}

#[test]
fn by_default_a_tuned_schedule_is_the_last_row() {
    let folder = tempfile::tempdir().unwrap();
    let output = run("compare", &["--output", folder.path().to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    let row = printed.lines().find(|line| line.starts_with("tuned")).expect("a row");
    let computed: f64 =
        row.split(" of 100 units").next().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    let psnr: f64 = row.split(" dB").next().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(computed < 50.0 && psnr > 35.0, "{printed}");
    assert!(std::fs::metadata(folder.path().join("tuned.mp4")).unwrap().len() > 500);
}
