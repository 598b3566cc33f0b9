//! The models that were made from the demo model, through the public C functions: they load, give
//! what diffusers gives (tests/goldens/maker/demo_model.py), and show what they were made for.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use cogvideox::capi::*;
use common::cases::Case;
use common::compare::{Report, RGB8};
use common::goldens::{manifest, Array, Goldens, Picture};
use common::handles::{Output, Pipeline};
use std::path::{Path, PathBuf};

/// The largest difference of latents in float32, from -50 to 50.
const LATENTS: f64 = 1e-4;
const SIDE: usize = 64;

fn demo(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo-model").join(name)
}

fn goldens() -> (Vec<Case>, Goldens) {
    (manifest("demo-model/runs.json"), Goldens::open("demo-model/runs.safetensors"))
}

fn case(name: &str) -> (Case, Goldens) {
    let (cases, goldens) = goldens();
    (cases.into_iter().find(|case| case.name == name).unwrap(), goldens)
}

/// Loads the folder of a case and does what is done before its run.
fn prepared(case: &Case) -> Pipeline {
    let pipeline = Pipeline::load(&demo(&case.family)).unwrap();
    for step in &case.prepare {
        match step[0].as_str().unwrap() {
            "load" => pipeline.load_lora(&demo(step[1].as_str().unwrap()), None).unwrap(),
            "fuse" => pipeline.fuse_lora(step[1].as_f64().unwrap()).unwrap(),
            other => panic!("step {other:?}"),
        }
    }
    pipeline
}

fn frames(pipeline: &Pipeline, case: &Case, goldens: &Goldens) -> Array<u8> {
    pipeline.generate(&case.options(goldens, Output::Frames)).unwrap().frames_rgb8().unwrap()
}

fn every(frames: &Array<u8>, stride: usize) -> Array<u8> {
    let pixels = frames.data.chunks_exact(3).enumerate();
    let whole = |place: usize| (place % SIDE).is_multiple_of(stride);
    let kept = pixels.filter(|(at, _)| whole(at / SIDE) && whole(*at));
    let mut shape = frames.shape.clone();
    shape[2] = SIDE.div_ceil(stride) as i64;
    shape[3] = shape[2];
    Array { shape, data: kept.flat_map(|(_, pixel)| pixel.to_vec()).collect() }
}

#[test]
fn runs_are_those_of_diffusers() {
    let (cases, goldens) = goldens();
    let (mut of_latents, mut of_frames) = (Report::default(), Report::default());
    for case in &cases {
        let pipeline = prepared(case);
        let video = pipeline.generate(&case.options(&goldens, Output::Latents)).unwrap();
        let expected = goldens.f64(&format!("{}.latents", case.tensors));
        of_latents.absolute(&case.name, &video.latents().unwrap(), expected, LATENTS);
        if case.frames {
            let found = every(&frames(&pipeline, case, &goldens), case.frames_stride);
            let expected = goldens.u8(&format!("{}.frames", case.tensors));
            of_frames.absolute(&case.name, &found, expected, RGB8);
        }
        // An adapter must show, or a case shows nothing.
        assert_eq!(case.moved > 0.1, !case.prepare.is_empty(), "{}", case.name);
    }
    assert_eq!(cases.len(), 5);
    of_latents.finish("runs of what was made from the demo model, latents");
    of_frames.finish("runs of what was made from the demo model, frames");
}

/// Where the pixels like `color` are in a frame: the mean row and column, and how many there are.
fn place(frames: &Array<u8>, frame: usize, color: [u8; 3]) -> ([f64; 2], usize) {
    let pixels = frames.data.chunks_exact(3).skip(frame * SIDE * SIDE).take(SIDE * SIDE);
    let like = |pixel: &[u8]| (0..3).all(|c| pixel[c].abs_diff(color[c]) < 60);
    let places: Vec<usize> =
        pixels.enumerate().filter(|(_, pixel)| like(pixel)).map(|(at, _)| at).collect();
    let mean = |part: fn(usize) -> usize| {
        places.iter().map(|&at| part(at)).sum::<usize>() as f64 / places.len().max(1) as f64
    };
    ([mean(|at| at / SIDE), mean(|at| at % SIDE)], places.len())
}

#[test]
fn a_drawn_picture_is_the_first_frame_and_moves_as_the_prompt_says() {
    let (mut case, goldens) = case("from a picture");
    let pipeline = prepared(&case);
    // SAFETY: the pipeline is live.
    assert_eq!(unsafe { cvx_pipeline_task(pipeline.0) }, CVX_TASK_IMAGE_TO_VIDEO);
    case.num_inference_steps = 25;
    let yellow = [255, 230, 26];
    let Picture::Bytes(picture) = goldens.image("drawn ball") else { panic!("bytes") };
    // From its corner the ball may go either way; which one only the prompt tells.
    for (prompt, way) in [
        ("a yellow ball moves down on a navy background", [32.0, 0.0]),
        ("a yellow ball moves right on a navy background", [0.0, 32.0]),
    ] {
        case.prompt = prompt.into();
        let clip = frames(&pipeline, &case, &goldens);
        assert_eq!(clip.shape, [1, 17, 64, 64, 3]);
        let off = clip.data.iter().zip(&picture.data).map(|(a, b)| f64::from(a.abs_diff(*b)));
        let mean = off.sum::<f64>() / picture.data.len() as f64;
        assert!(mean < 6.0, "{prompt}: the first frame is {mean} levels off the picture");
        let [first, last] = [0, 16].map(|frame| place(&clip, frame, yellow));
        for (at, count) in [first, last] {
            assert!((330..560).contains(&count), "{prompt}: {count} yellow pixels around {at:?}");
        }
        let moved = [last.0[0] - first.0[0], last.0[1] - first.0[1]];
        let as_asked = moved.iter().zip(&way).all(|(moved, way)| (moved - way).abs() < 4.0);
        assert!(as_asked, "{prompt}: moved {moved:?} rows and columns, expected {way:?}");
    }
}

#[test]
fn pink_needs_the_adapter() {
    let (mut case, goldens) = case("with the adapter");
    let pipeline = Pipeline::load(&demo("pipeline")).unwrap();
    case.num_inference_steps = 25;
    let pink = [255, 115, 179];
    let plain = frames(&pipeline, &case, &goldens);
    assert_eq!(place(&plain, 8, pink).1, 0, "no pink without the adapter");
    pipeline.load_lora(&demo("lora-pink"), None).unwrap();
    let (at, count) = place(&frames(&pipeline, &case, &goldens), 8, pink);
    assert!(count > 150, "{count} pink pixels around {at:?}");
    pipeline.enable_lora(false).unwrap();
    assert_eq!(frames(&pipeline, &case, &goldens), plain);
}
