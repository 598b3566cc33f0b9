//! Several videos in one run, each with a prompt and a seed of its own: the numbers of diffusers with
//! lists of prompts and generators, cached and not (tests/goldens/maker/batches.py); each video is that
//! of a run of its own; and what is refused.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use cogvideox::capi::*;
use common::goldens::{pipeline_folder, Array};
use common::handles::{c_path, check, refused, Options, Output, Pipeline};
use common::runs::runs_of;
use std::ffi::c_void;
use std::ptr::null_mut;

#[test]
fn runs_of_2b_are_those_of_diffusers() {
    runs_of("2b", "batches", 8);
}

#[test]
fn runs_of_5b_are_those_of_diffusers() {
    runs_of("5b", "batches", 8);
}

#[test]
fn runs_of_1_5_5b_are_those_of_diffusers() {
    runs_of("1.5-5b", "batches", 8);
}

#[test]
fn runs_of_image_to_video_are_those_of_diffusers() {
    runs_of("5b-i2v", "batches", 0);
}

const PROMPTS: [&str; 3] = ["a red robot sleeps", "the moon", "A panda plays a guitar."];
const SEEDS: [u64; 3] = [8, 3, 1 << 40];

/// Three videos, whose prompts differ.
fn three() -> Options {
    let mut options = Options::new();
    options
        .prompts(&PROMPTS)
        .seeds(&SEEDS)
        .size(32, 32)
        .num_frames(9)
        .num_inference_steps(4)
        .max_sequence_length(16)
        .output(Output::Latents);
    options
}

/// The numbers of video `index`.
fn of(latents: &Array<f32>, index: usize) -> &[f32] {
    let each = latents.data.len() / latents.shape[0] as usize;
    &latents.data[index * each..][..each]
}

/// Each video is the one that a run of its own makes, within rounding, under either scheduler; and
/// which others are beside it does not matter.
#[test]
fn each_video_is_that_of_a_run_of_its_own() {
    let pipeline = Pipeline::load(&pipeline_folder("5b")).unwrap();
    for scheduler in [c"ddim", c"dpm"] {
        let options = three();
        // SAFETY: the options are live.
        check(unsafe { cvx_generate_options_set_scheduler(options.0, scheduler.as_ptr()) })
            .unwrap();
        let together = pipeline.generate(&options).unwrap().latents().unwrap();
        assert_eq!(together.shape[0], 3);
        for index in 0..3 {
            let mut alone = three();
            alone.prompts::<&str>(&[]).seeds(&[]).prompt(PROMPTS[index]).seed(SEEDS[index]);
            // SAFETY: the options are live.
            check(unsafe { cvx_generate_options_set_scheduler(alone.0, scheduler.as_ptr()) })
                .unwrap();
            let alone = pipeline.generate(&alone).unwrap().latents().unwrap();
            let pairs = alone.data.iter().zip(of(&together, index));
            let most = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(most < 1e-4, "video {index} differs by {most} under {scheduler:?}");
        }
        for (a, b) in [(0, 1), (1, 2)] {
            assert_ne!(of(&together, a), of(&together, b));
        }
    }
}

#[test]
fn numbers_of_prompts_and_seeds_that_do_not_fit_are_refused_by_name() {
    let pipeline = Pipeline::load(&pipeline_folder("2b")).unwrap();
    let says = |options: &Options, parts: &[&str]| {
        let failure = refused(pipeline.generate(options));
        assert_eq!(failure.code, CVX_ERROR_INVALID_ARGUMENT, "{failure}");
        for part in parts {
            assert!(failure.message.contains(part), "{failure}");
        }
    };
    let mut options = three();
    options.seeds(&SEEDS[..2]);
    says(&options, &["seeds: expected 3, one for each video, found 2"]);
    options.seeds(&SEEDS).negative_prompts(&["a"; 4]);
    says(&options, &["negative_prompts: expected 3", "found 4"]);
    options.negative_prompts(&["a"; 3]).num_videos(2);
    says(&options, &["num_videos: expected 1 or 3", "found 2"]);
    options.num_videos(3).prompt("one of all");
    says(&options, &["prompts: expected none beside prompt"]);
    options.prompt("").negative_prompt("one of all");
    says(&options, &["negative_prompts: expected none beside negative_prompt"]);
    options.negative_prompt("");
    pipeline.generate(&options).unwrap();
    let mut options = Options::short(1);
    options.num_videos(2).seeds(&SEEDS);
    says(&options, &["seeds: expected 2", "found 3"]);
    options.seeds(&SEEDS[..2]);
    pipeline.generate(&options).unwrap();

    let many = vec![0u64; CVX_MAX_VIDEOS as usize + 1];
    let set = cvx_generate_options_set_seeds;
    // SAFETY: the options are live.
    let failure = refused(check(unsafe { set(options.0, many.as_ptr(), many.len()) }));
    assert!(failure.message.contains("count of seeds"), "{failure}");
    let texts = [c"a".as_ptr(), c"\xff".as_ptr()];
    let set = cvx_generate_options_set_prompts;
    // SAFETY: as above.
    let failure = refused(check(unsafe { set(options.0, texts.as_ptr(), 2) }));
    assert_eq!(failure.code, CVX_ERROR_INVALID_UTF8);
    assert!(failure.message.contains("prompts[1]"), "{failure}");
    pipeline.generate(&options).unwrap();
}

/// More videos need more memory.
#[test]
fn the_estimate_counts_the_videos() {
    let pipeline = Pipeline::load(&pipeline_folder("2b")).unwrap();
    let estimate = |options: &Options| {
        let mut bytes = 0;
        // SAFETY: the handles and the place are live.
        check(unsafe { cvx_pipeline_estimate_memory(pipeline.0, options.0, &mut bytes) }).unwrap();
        bytes
    };
    let mut options = three();
    options.size(512, 512);
    let together = estimate(&options);
    let one = estimate(options.prompts(&PROMPTS[..1]).seeds(&SEEDS[..1]));
    assert!(together > 2 * one, "{together} of three, {one} of one");
}

/// All streams of random numbers go on where they were.
#[test]
fn a_run_of_several_that_was_left_goes_on() {
    unsafe extern "C" fn leave(info: *const cvx_step_end_info, path: *mut c_void) -> i32 {
        // SAFETY: `info` is alive, the path outlives the run.
        let (info, path) = unsafe { (&*info, path.cast::<std::ffi::c_char>()) };
        if info.step != 1 {
            return 0;
        }
        // SAFETY: the handle is alive during the call.
        check(unsafe { cvx_step_save(info.handle, path) }).unwrap();
        1
    }
    let pipeline = Pipeline::load(&pipeline_folder("2b")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = c_path(&folder.path().join("a.state"));
    let mut options = three();
    // SAFETY: the path outlives the options.
    unsafe {
        check(cvx_generate_options_set_scheduler(options.0, c"dpm".as_ptr())).unwrap();
        let expected = pipeline.generate(&options).unwrap().latents().unwrap();
        let set = cvx_generate_options_set_step_callback;
        let place = path.as_ptr().cast_mut().cast();
        check(set(options.0, Some(leave), place, None)).unwrap();
        assert_eq!(refused(pipeline.generate(&options)).code, CVX_ERROR_CANCELLED);
        check(set(options.0, None, null_mut(), None)).unwrap();
        check(cvx_generate_options_set_resume(options.0, path.as_ptr())).unwrap();
        assert_eq!(pipeline.generate(&options).unwrap().latents().unwrap(), expected);
    }
    options.seeds(&[8, 3, 2]);
    let failure = refused(pipeline.generate(&options));
    assert!(failure.message.contains("seeds: expected that of the run"), "{failure}");
    options.seeds(&SEEDS).prompts(&[PROMPTS[1], PROMPTS[0], PROMPTS[2]]);
    let failure = refused(pipeline.generate(&options));
    assert!(failure.message.contains("prompt: expected that of the run"), "{failure}");
}
