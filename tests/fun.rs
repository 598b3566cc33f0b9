//! CogVideoX-Fun. Control: the same numbers as diffusers' CogVideoXFunControlPipeline, cached and not.
//! Inpainting: those of the authors' pipeline, computed with diffusers' parts
//! (tests/goldens/maker/fun.py). And what is refused.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use cogvideox::capi::*;
use common::folders::with_index_class;
use common::goldens::{pipeline_folder, Array, Picture};
use common::handles::{check, refused, Options, Output, Pipeline};
use common::runs::runs_of;
use std::ffi::CStr;
use std::ptr::null;

#[test]
fn runs_of_control_are_those_of_diffusers() {
    runs_of("5b-control", "runs", 4);
}

#[test]
fn runs_of_inpainting_are_those_of_the_authors() {
    runs_of("5b-inp", "runs", 0);
}

/// That family's model was trained with noise in what it is given.
#[test]
fn runs_of_inpainting_of_1_5_are_those_of_the_authors() {
    runs_of("1.5-5b-inp", "runs", 0);
}

fn clip(count: i64) -> Picture {
    let data = (0..count * 32 * 48 * 3).map(|i| (i * 7 % 251) as u8).collect();
    Picture::Bytes(Array { shape: vec![count, 32, 48, 3], data })
}

fn image() -> Picture {
    Picture::Bytes(Array { shape: vec![2, 2, 3], data: (0..12).collect() })
}

fn mask(count: i64) -> Array<u8> {
    Array { shape: vec![count, 4, 6], data: vec![200; count as usize * 24] }
}

fn short() -> Options {
    let mut options = Options::new();
    options
        .prompt("a red robot sleeps")
        .size(48, 32)
        .max_sequence_length(16)
        .num_inference_steps(2)
        .output(Output::Latents);
    options
}

fn assert_refused(pipeline: &Pipeline, options: &Options, parts: &[&str]) {
    let failure = refused(pipeline.generate(options));
    assert_eq!(failure.code, CVX_ERROR_INVALID_ARGUMENT, "{failure}");
    for part in parts {
        assert!(failure.message.contains(part), "{failure}");
    }
}

#[test]
fn folders_say_their_task() {
    let control = with_index_class("5b-control", "CogVideoXFunControlPipeline");
    for (folder, task, words) in [
        (pipeline_folder("5b-control"), CVX_TASK_CONTROL, ", control"),
        (control.path().to_path_buf(), CVX_TASK_CONTROL, ", control"),
        (pipeline_folder("5b-inp"), CVX_TASK_INPAINTING, ", inpainting"),
        (pipeline_folder("1.5-5b-inp"), CVX_TASK_INPAINTING, ", inpainting"),
    ] {
        let pipeline = Pipeline::load(&folder).unwrap();
        // SAFETY: the pipeline is live.
        let (found, name) = unsafe {
            let name = CStr::from_ptr(cvx_pipeline_family(pipeline.0)).to_str().unwrap();
            (cvx_pipeline_task(pipeline.0), name)
        };
        assert_eq!(found, task, "{}", folder.display());
        assert!(name.contains(words), "{name}");
    }
}

#[test]
fn control_needs_its_video_and_takes_nothing_else() {
    let pipeline = Pipeline::load(&pipeline_folder("5b-control")).unwrap();
    let mut options = short();
    assert_refused(&pipeline, &options, &["control_video: expected one", "control, found none"]);
    options.video(&clip(9));
    assert_refused(&pipeline, &options, &["control_video: expected one"]);
    options.control_video(&clip(9));
    assert_refused(&pipeline, &options, &["video: expected none", "control, found one"]);
    // SAFETY: the options are live; NULL takes the video away.
    check(unsafe { cvx_generate_options_set_video(options.0, null(), 0, 0, 0, 0, 0, 0) }).unwrap();
    options.num_frames(5);
    assert_refused(&pipeline, &options, &["num_frames: expected 9", "found 5"]);
    options.num_frames(9).strength(0.5);
    assert_refused(&pipeline, &options, &["strength: expected none"]);
    options.strength(-1.0).image(&image());
    assert_refused(&pipeline, &options, &["image: expected none", "control"]);
    // SAFETY: the options are live.
    check(unsafe { cvx_generate_options_clear_image(options.0) }).unwrap();
    let ddim = pipeline.generate(&options).unwrap().latents().unwrap();
    // Either scheduler, unlike diffusers' class.
    // SAFETY: the options are live.
    check(unsafe { cvx_generate_options_set_scheduler(options.0, c"dpm".as_ptr()) }).unwrap();
    assert_ne!(pipeline.generate(&options).unwrap().latents().unwrap(), ddim);

    let other = Pipeline::load(&pipeline_folder("5b")).unwrap();
    assert_refused(&other, &options, &["control_video: expected none", "text to video"]);
}

#[test]
fn inpainting_takes_ends_or_a_video_with_its_mask() {
    let pipeline = Pipeline::load(&pipeline_folder("5b-inp")).unwrap();
    let mut options = short();
    options.video(&clip(9));
    assert_refused(&pipeline, &options, &["mask: expected one beside a video"]);
    options.mask(&mask(5));
    assert_refused(&pipeline, &options, &["mask: expected 1 frame or 9", "found 5"]);
    options.mask(&mask(1)).last_image(&image());
    assert_refused(&pipeline, &options, &["last_image: expected none beside a video"]);
    // SAFETY: the options are live; NULL takes the image away.
    check(unsafe { cvx_generate_options_set_last_image(options.0, null(), 0, 0, 0, 0) }).unwrap();
    pipeline.generate(&options).unwrap();
    options.mask(&mask(9));
    pipeline.generate(&options).unwrap();
    // SAFETY: as above.
    check(unsafe { cvx_generate_options_set_video(options.0, null(), 0, 0, 0, 0, 0, 0) }).unwrap();
    assert_refused(&pipeline, &options, &["video: expected one beside a mask"]);
    options.control_video(&clip(9));
    assert_refused(&pipeline, &options, &["control_video: expected none", "inpainting"]);

    let mut options = short();
    options.num_frames(9).image(&image()).strength(0.5);
    assert_refused(&pipeline, &options, &["strength: expected none without a video"]);
    let other = Pipeline::load(&pipeline_folder("2b")).unwrap();
    let mut options = short();
    options.last_image(&image());
    assert_refused(&other, &options, &["last_image: expected none", "text to video"]);
    let mut options = short();
    options.mask(&mask(1));
    assert_refused(&other, &options, &["mask: expected none", "text to video"]);
}

#[test]
fn frames_of_the_1_5_family_make_whole_patches() {
    let pipeline = Pipeline::load(&pipeline_folder("1.5-5b-inp")).unwrap();
    let mut options = short();
    options.num_frames(9).image(&image());
    assert_refused(&pipeline, &options, &["patches of 2", "5 to 8 or 13 to 16", "found 9"]);
    options.num_frames(8);
    pipeline.generate(&options).unwrap();
    // Without a frame it is text to video, whose noise is padded.
    // SAFETY: the options are live.
    check(unsafe { cvx_generate_options_clear_image(options.0) }).unwrap();
    pipeline.generate(options.num_frames(9)).unwrap();
}

#[test]
fn masks_that_cannot_be_are_refused() {
    let options = short();
    let bytes = [255u8; 64];
    for (size, strides, part) in [
        ([0, 2, 2], [0, 0], "width"),
        ([2, 16_385, 2], [0, 0], "height"),
        ([2, 2, 0], [0, 0], "num_frames"),
        ([4, 2, 2], [3, 0], "row_stride_bytes must lie in [4"),
        ([4, 2, 2], [5, 8], "frame_stride_bytes must lie in [9"),
    ] {
        let ([width, height, count], set) = (size, cvx_generate_options_set_mask);
        let data = bytes.as_ptr();
        // SAFETY: the options are live.
        let failure = refused(check(unsafe {
            set(options.0, data, width, height, count, strides[0], strides[1])
        }));
        assert_eq!(failure.code, CVX_ERROR_INVALID_ARGUMENT, "{failure}");
        assert!(failure.message.contains(part), "{failure}");
    }
}
