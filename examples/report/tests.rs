//! Quick runs of the whole program on the demo model.

use crate::command_line::parse;
use crate::settings::SKIP_RANGES;
use crate::{adapter, caching, image_to_video, run, whole_model, Result};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Runs the program, from the root of the checkout, with one thread: threads that wait for each
/// other inside every operation cost more than they save where tests run side by side.
fn report(line: &str, output: &Path) -> Result<()> {
    tch::set_num_threads(1);
    let arguments = line.split_whitespace().map(String::from);
    let place = ["--output".to_string(), output.to_str().unwrap().to_string()];
    run(&parse(arguments.chain(place)).unwrap().unwrap())
}

fn numbers(folder: &Path, name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.join(name)).unwrap()).unwrap()
}

fn setting<'a>(report: &'a Value, id: &str) -> &'a Value {
    let settings = report["settings"].as_array().unwrap();
    settings.iter().find(|setting| setting["id"] == id).unwrap_or_else(|| panic!("no {id}"))
}

/// What must not differ between equal runs: everything but the clock's numbers.
fn without_times(mut clips: Value) -> Value {
    for clip in clips.as_array_mut().unwrap() {
        let clocks = ["seconds", "speed_up"];
        let fields = clip.as_object_mut().unwrap();
        fields.retain(|name, _| !clocks.iter().any(|clock| name.contains(clock)));
        assert!(!fields.is_empty());
    }
    clips
}

#[test]
fn caching_is_measured_and_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let readme = folder.path().join("page.md");
    let markers = "<!-- caching: made by `make report` -->\n<!-- caching: end -->\n";
    fs::write(&readme, format!("before\n{markers}after\n")).unwrap();
    // Ten steps: enough for every window to hold some.
    let line = format!("caching --quick --steps 10 --readme {}", readme.display());
    report(&line, folder.path()).unwrap();
    let report_numbers = numbers(folder.path(), caching::NUMBERS);

    // The same once more, and caches that compute everything: equal bit for bit.
    assert_eq!(report_numbers["clips"].as_array().unwrap().len(), 2);
    let calls = &setting(&report_numbers, "uncached")["attention_calls"];
    assert!(calls.as_i64().unwrap() >= 10, "a layer or more in ten steps: {calls}");
    for id in ["uncached", "uncached/again", "pab/computes-all", "faster_cache/computes-all"] {
        let one = setting(&report_numbers, id);
        assert_eq!((&one["attention_reused"], &one["attention_calls"]), (&0.into(), calls));
        let uncached = setting(&report_numbers, "uncached")["clips"].as_array().unwrap();
        for (clip, uncached) in one["clips"].as_array().unwrap().iter().zip(uncached) {
            assert_eq!((&clip["psnr"], &clip["ssim"]), (&Value::Null, &1.0.into()), "{id}");
            assert_eq!(clip["judged"], uncached["judged"], "{id}");
        }
    }
    // So are cached runs of one schedule, however it is spelt.
    let [one, other] = ["pab/preset/diffusers-docs", "pab/skip-range/2/default"]
        .map(|id| without_times(setting(&report_numbers, id)["clips"].clone()));
    assert_eq!(one, other);
    // Caches that reuse something do change the frames, and are seen to.
    for id in
        ["pab/preset/diffusers", "faster_cache/preset/official", "pab/skip-range/5/every-step"]
    {
        let one = setting(&report_numbers, id);
        assert!(one["attention_reused"].as_i64().unwrap() > 0, "{id}");
        assert!(one["psnr"].as_f64().unwrap() > 5.0, "{id}: {}", one["psnr"]);
        let ssim = one["ssim"].as_f64().unwrap();
        assert!(ssim > 0.0 && ssim < 1.0, "{id}: {ssim}");
        assert!(one["cache_bytes_peak"].as_i64().unwrap() > 0, "{id}");
        assert!(one["predicted_speed_up"].as_f64().unwrap() > 1.0, "{id}");
    }
    more_skipping_reuses_no_less(&report_numbers);

    // Estimates were made before: nothing left out is told as such, and the page says how far off.
    assert!(setting(&report_numbers, "uncached")["estimated_seconds"].is_null());
    assert!(setting(&report_numbers, "pab/computes-all")["estimated_psnr"].is_null());
    let pab = setting(&report_numbers, "pab/preset/diffusers");
    assert!(pab["estimated_seconds"].as_f64().unwrap() > 0.0, "{pab}");
    let off = pab["estimated_psnr"].as_f64().unwrap() - pab["psnr"].as_f64().unwrap();
    assert!(off.abs() < 20.0, "{pab}");

    // What people read names every setting, and the pictures show them.
    let page = fs::read_to_string(folder.path().join(caching::PAGE)).unwrap();
    let chart = fs::read_to_string(folder.path().join(caching::CHART)).unwrap();
    assert!(chart.starts_with("<svg") && chart.trim_end().ends_with("</svg>"));
    assert!(page.contains("## Estimates") && page.contains("dB in the median"), "{page}");
    for preset in ["diffusers-docs", "videosys", "official", "aggressive"] {
        assert!(page.contains(&format!(", {preset} | ")), "{preset} in the page");
        assert!(chart.contains(preset), "{preset} in the chart");
    }
    assert!(page.contains("| 5, every step | ") && page.contains("| PAB, skip ranges 1 | "));
    assert!(chart.contains("FasterCache, window: narrow"));
    let sheet = fs::File::open(folder.path().join(caching::SHEET)).unwrap();
    let reader = png::Decoder::new(std::io::BufReader::new(sheet)).read_info().unwrap();
    // Uncached, seven presets, two more; six frames of 64x64 at twice their size, 4 pixels apart.
    let (width, height) = (reader.info().width, reader.info().height);
    assert_eq!((width, height), (250 + 6 * 132 + 4, 10 * 132 + 4));
    let readme = fs::read_to_string(readme).unwrap();
    assert!(readme.starts_with("before\n<!--") && readme.ends_with("-->\nafter\n"), "{readme}");
    assert!(readme.contains("| FasterCache, aggressive | "), "{readme}");
}

fn more_skipping_reuses_no_less(report: &Value) {
    let reused = |id: &str, field: &str| setting(report, id)[field].as_i64().unwrap();
    let mut rising = false;
    // From the first step to the last, multiples of a greater number are no more.
    for pair in SKIP_RANGES.windows(2) {
        let [n, next] = [pair[0], pair[1]];
        let [less, more] = [n, next]
            .map(|n| reused(&format!("pab/skip-range/{n}/every-step"), "attention_reused"));
        assert!(more >= less, "pab, skip ranges {n} and {next}: {less} and {more}");
        rising |= more > less;
        let [less, more] =
            [n, next].map(|n| reused(&format!("faster_cache/unconditional/{n}"), "rebuilt_halves"));
        // The window does not begin at step 0, so one step more or less may be due in it.
        assert!(more + 1 >= less, "unconditional half, {n} and {next}: {less} and {more}");
    }
    assert!(rising, "skip ranges change what is reused");
    // A wider window holds the steps of a narrower one.
    for (technique, n) in SKIP_RANGES.into_iter().flat_map(|n| [("pab", n), ("faster_cache", n)]) {
        let [narrow, default, every_step] = ["narrow", "default", "every-step"].map(|window| {
            reused(&format!("{technique}/skip-range/{n}/{window}"), "attention_reused")
        });
        assert!(narrow <= default && default <= every_step && narrow < every_step);
    }
}

#[test]
fn the_model_is_judged_prompt_by_prompt() {
    let folder = tempfile::tempdir().unwrap();
    report("judge --quick --prompts 12 --seeds 2", folder.path()).unwrap();
    let report_numbers = numbers(folder.path(), whole_model::NUMBERS);
    let clips = report_numbers["clips"].as_array().unwrap();
    assert_eq!(clips.len(), 24);
    let fulfilled = clips.iter().filter(|clip| clip["fulfilled"] == true).count();
    assert_eq!(report_numbers["parts"]["all"]["fulfilled"], fulfilled);
    for (words, each) in [("red purple", 4), ("ball triangle", 8), ("up", 6), ("navy brown", 6)] {
        for word in words.split(' ') {
            assert_eq!(report_numbers["words"][word]["clips"], each, "{word}");
        }
    }
    for clip in clips {
        let wrong = clip["wrong"].as_array().unwrap();
        assert_eq!(clip["fulfilled"] == true, wrong.is_empty(), "{clip}");
        for part in wrong {
            let count = &report_numbers["parts"][part.as_str().unwrap()];
            assert!(count["fulfilled"].as_i64() < Some(24), "{part}: {count}");
        }
    }
    let seeds: std::collections::HashSet<i64> =
        clips.iter().map(|clip| clip["seed"].as_i64().unwrap()).collect();
    assert_eq!(seeds.len(), 24, "every clip has a seed of its own");
    let page = fs::read_to_string(folder.path().join(whole_model::PAGE)).unwrap();
    assert!(page.contains("12 of the 288 prompts, 2 clips of each"), "{page}");
}

#[test]
fn pictures_are_judged_by_their_places_too() {
    let folder = tempfile::tempdir().unwrap();
    report("judge-image-to-video --quick --prompts 6", folder.path()).unwrap();
    let report_numbers = numbers(folder.path(), image_to_video::NUMBERS);
    let [parts, places] = ["parts", "places"].map(|name| &report_numbers[name]);
    assert_eq!(report_numbers["clips"].as_array().unwrap().len(), 6);
    assert_eq!(parts["first frame"]["clips"], 6);
    // Even in few steps a picture stays what it is.
    assert!(parts["first frame"]["fulfilled"].as_i64() >= Some(5), "{parts}");
    let of_places = ["from a corner", "from elsewhere"].map(|name| places[name]["clips"].as_i64());
    assert_eq!(of_places.into_iter().flatten().sum::<i64>(), 6, "{places}");
    let page = fs::read_to_string(folder.path().join(image_to_video::PAGE)).unwrap();
    assert!(page.contains("6 of the 288 prompts, 1 clips of each"), "{page}");
}

#[test]
fn an_adapter_is_judged_beside_the_model_without_it() {
    let folder = tempfile::tempdir().unwrap();
    report("judge-lora --quick --steps 20 --prompts 6", folder.path()).unwrap();
    let report_numbers = numbers(folder.path(), adapter::NUMBERS);
    let color = |name: &str| report_numbers[name]["color"]["fulfilled"].as_i64().unwrap();
    assert!(color("parts") >= 5, "{report_numbers}");
    assert_eq!(color("without"), 0, "{report_numbers}");
    assert_eq!(report_numbers["other_colors"]["with the adapter"]["clips"], 6);
    let message = report("judge-lora --quick --lora no/such", folder.path()).unwrap_err();
    assert!(message.to_string().contains("no/such"), "{message}");
}

#[test]
fn what_cannot_be_done_is_said_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let message = |line: &str| report(line, folder.path()).unwrap_err().to_string();
    assert!(message("caching --model no/such/folder").contains("no/such/folder"));
    assert!(message("caching --quick --readme no/such/page.md").contains("no/such/page.md"));
    // Nobody fulfils a prompt in one step.
    let strict = "judge --quick --prompts 1 --steps 1 --at-least 100";
    let failed = message(strict);
    assert!(failed.contains("at least 100 percent") && failed.contains("found 0.0"), "{failed}");
}
