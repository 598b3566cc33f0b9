//! The same numbers as diffusers, from token ids to frames: every case of the goldens, through
//! the public C functions.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use common::cases::{Case, Swapped, Tiles};
use common::compare::{Report, LATENTS, RELATIVE, RGB8};
use common::folders::with_scheduler;
use common::goldens::{manifest, pipeline_folder, Array, Goldens, FAMILIES};
use common::handles::{Options, Output, Pipeline};
use serde::Deserialize;

#[derive(Deserialize)]
struct TokenCase {
    name: String,
    text: String,
    max_length: usize,
    ids: Vec<i64>,
    #[allow(dead_code, reason = "for who reads the goldens")]
    truncated: bool,
}

#[test]
fn token_ids_are_those_of_transformers() {
    let cases: Vec<TokenCase> = manifest("tokens.json");
    let mut report = Report::default();
    for family in FAMILIES {
        let pipeline = Pipeline::load(&pipeline_folder(family)).unwrap();
        for case in &cases {
            let what = format!("{family}, {:?}, {} ids", case.name, case.max_length);
            let mut expected = case.ids.clone();
            // The file leaves padding out.
            expected.resize(case.max_length, 0);
            match pipeline.tokenize(&case.text, case.max_length) {
                Ok(ids) => report.equal(&what, &ids, &expected),
                Err(error) => report.fail(&what, error),
            }
        }
    }
    report.finish("token ids");
}

#[derive(Deserialize)]
struct EmbeddingCase {
    prompt: String,
    max_sequence_length: usize,
    output: String,
}

#[derive(Deserialize)]
struct VaeCase {
    name: String,
    tiling: Option<Tiles>,
    slicing: bool,
    tensors: String,
}

#[derive(Deserialize)]
struct Components {
    embeddings: Vec<EmbeddingCase>,
    vae: Vec<VaeCase>,
}

fn components(family: &str) -> (Components, Goldens, Pipeline) {
    (
        manifest(format!("{family}/components.json")),
        Goldens::open(format!("{family}/components.safetensors")),
        Pipeline::load(&pipeline_folder(family)).unwrap(),
    )
}

#[test]
fn prompt_embeddings_are_those_of_transformers() {
    let mut report = Report::default();
    for family in FAMILIES {
        let (cases, goldens, pipeline) = components(family);
        for case in &cases.embeddings {
            let what = format!("{family}, {}", case.output);
            match pipeline.encode_prompt(&case.prompt, case.max_sequence_length) {
                Ok(found) => {
                    report.relative(&what, &found, goldens.f64(&case.output), RELATIVE);
                }
                Err(error) => report.fail(&what, error),
            }
        }
    }
    report.finish("prompt embeddings");
}

/// Decoder output `(batch, 3, frames, height, width)` in about [-1, 1] as a video's frames:
/// `(batch, frames, height, width, 3)` in [0, 1].
fn postprocessed(decoded: &Array<f32>) -> Array<f32> {
    let frames = decoded.tensor() / 2.0 + 0.5;
    Array::of(&frames.clamp(0.0, 1.0).permute([0, 2, 3, 4, 1]))
}

#[test]
fn decoded_latents_are_those_of_diffusers() {
    let mut report = Report::default();
    for family in FAMILIES {
        let (cases, goldens, pipeline) = components(family);
        for case in &cases.vae {
            let what = format!("{family}, {}", case.name);
            let mut options = Options::new();
            if let Some(tiles) = &case.tiling {
                options.tiles(tiles);
            }
            if case.slicing {
                options.slicing();
            }
            let latents = goldens.f32(&format!("{}.latents", case.tensors));
            let expected = postprocessed(&goldens.f32(&format!("{}.output", case.tensors)));
            match pipeline.decode_latents(&latents, Some(&options)).and_then(|v| v.frames_f32()) {
                Ok(found) => report.relative(&what, &found, &expected, RELATIVE),
                Err(error) => report.fail(&what, error),
            }
        }
    }
    report.finish("decoded latents");
}

/// Every `stride`-th row and column of frames `(videos, frames, height, width, 3)`.
fn thinned(frames: &Array<u8>, stride: usize) -> Array<u8> {
    let [videos, count, height, width, channels] =
        [0, 1, 2, 3, 4].map(|i| frames.shape[i] as usize);
    let mut data = Vec::new();
    for frame in 0..videos * count {
        for y in (0..height).step_by(stride) {
            for x in (0..width).step_by(stride) {
                let at = ((frame * height + y) * width + x) * channels;
                data.extend_from_slice(&frames.data[at..at + channels]);
            }
        }
    }
    let mut shape = frames.shape.clone();
    shape[2] = height.div_ceil(stride) as i64;
    shape[3] = width.div_ceil(stride) as i64;
    Array { shape, data }
}

fn check_run(report: &mut Report, pipeline: &Pipeline, case: &Case, goldens: &Goldens) {
    let what = format!("{}, {}", case.family, case.name);
    let output = if case.frames { Output::Frames } else { Output::Latents };
    let video = match pipeline.generate(&case.options(goldens, output)) {
        Ok(video) => video,
        Err(error) => return report.fail(&what, error),
    };
    let latents = video.latents().unwrap();
    let expected = goldens.f64(&format!("{}.latents", case.tensors));
    report.absolute(&format!("{what}, latents"), &latents, expected, LATENTS);
    if case.frames {
        let frames = thinned(&video.frames_rgb8().unwrap(), case.frames_stride);
        let expected = goldens.u8(&format!("{}.frames", case.tensors));
        report.absolute(&format!("{what}, frames"), &frames, expected, RGB8);
    }
}

/// Every case of `runs.json`: sizes, frame counts, guidance, seeds, schedulers, tiling.
fn runs_of(family: &str) {
    let cases: Vec<Case> = manifest(format!("{family}/runs.json"));
    let goldens = Goldens::open(format!("{family}/runs.safetensors"));
    let own = Pipeline::load(&pipeline_folder(family)).unwrap();
    let mut report = Report::default();
    for case in &cases {
        match &case.scheduler {
            None => check_run(&mut report, &own, case, &goldens),
            Some(scheduler) => {
                let folder = with_scheduler(family, scheduler);
                let pipeline = Pipeline::load(folder.path()).unwrap();
                check_run(&mut report, &pipeline, case, &goldens);
            }
        }
    }
    report.finish(&format!("runs of {family}"));
}

#[test]
fn runs_of_2b_are_those_of_diffusers() {
    runs_of("2b");
}

#[test]
fn runs_of_5b_are_those_of_diffusers() {
    runs_of("5b");
}

#[test]
fn runs_of_1_5_5b_are_those_of_diffusers() {
    runs_of("1.5-5b");
}

/// The same scheduler whether it is chosen at load or by the run, and the run's choice wins.
#[test]
fn a_scheduler_chosen_at_load_is_the_one_chosen_by_the_run() {
    for family in FAMILIES {
        let cases: Vec<Case> = manifest(format!("{family}/runs.json"));
        let goldens = Goldens::open(format!("{family}/runs.safetensors"));
        let mut report = Report::default();
        for case in cases.iter().filter(|case| case.name.contains("swapped")) {
            let swapped = case.swapped.as_ref().unwrap();
            let at_load = Pipeline::load_swapped(&pipeline_folder(family), swapped).unwrap();
            let neither = Case { swapped: None, ..case.clone() };
            check_run(&mut report, &at_load, &neither, &goldens);
            check_run(&mut report, &at_load, case, &goldens);
            let other = match swapped.scheduler.as_deref() {
                Some("ddim") => "dpm",
                _ => "ddim",
            };
            let other = Swapped { scheduler: Some(other.into()), ..Swapped::default() };
            let other = Pipeline::load_swapped(&pipeline_folder(family), &other).unwrap();
            check_run(&mut report, &other, case, &goldens);
        }
        report.finish(&format!("swapped schedulers of {family}"));
    }
}

#[test]
fn shards_give_what_the_single_file_gives() {
    let run = |folder: &str, variant| {
        let pipeline = Pipeline::load_variant(&pipeline_folder(folder), variant).unwrap();
        let mut options = Options::new();
        options
            .prompt("a red robot sleeps")
            .size(48, 32)
            .num_frames(9)
            .num_inference_steps(3)
            .output(Output::Latents);
        pipeline.generate(&options).unwrap().latents().unwrap()
    };
    let single = run("5b", None);
    assert_eq!(run("5b-sharded", None), single);
    // The float16 files hold the same weights, rounded.
    let mut report = Report::default();
    report.absolute("fp16", &run("5b-sharded", Some("fp16")), &single, 0.05);
    report.finish("float16 shards");
}

#[test]
fn the_schedulers_own_timesteps_given_as_custom_ones_change_nothing() {
    for family in FAMILIES {
        let pipeline = Pipeline::load(&pipeline_folder(family)).unwrap();
        let mut options = Options::new();
        options
            .prompt("a red robot sleeps")
            .size(48, 32)
            .num_frames(9)
            .num_inference_steps(4)
            .output(Output::Latents);
        let own = pipeline.generate(&options).unwrap().latents().unwrap();
        options.num_inference_steps(50).timesteps(&[999, 749, 499, 249]);
        assert_eq!(pipeline.generate(&options).unwrap().latents().unwrap(), own, "{family}");
    }
}
