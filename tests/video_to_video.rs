//! Video to video: the same numbers as diffusers' CogVideoXVideoToVideoPipeline, cached and not,
//! through the public C functions (tests/goldens/maker/video_to_video.py); and what is refused.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use cogvideox::capi::*;
use common::cache::CacheConfig;
use common::folders::with_index_class;
use common::goldens::{pipeline_folder, Array, Picture};
use common::handles::{check, refused, Options, Output, Pipeline, Result, Video};
use common::runs::runs_of;
use std::ffi::{c_void, CStr};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicI32, Ordering};

#[test]
fn runs_of_2b_are_those_of_diffusers() {
    runs_of("2b", "video_to_video", 8);
}

#[test]
fn runs_of_5b_are_those_of_diffusers() {
    runs_of("5b", "video_to_video", 8);
}

#[test]
fn runs_of_1_5_5b_are_those_of_diffusers() {
    runs_of("1.5-5b", "video_to_video", 8);
}

/// `count` frames of 48 × 32.
fn frames(count: i64) -> Picture {
    let numbers = 0..count * 32 * 48 * 3;
    let data = numbers.map(|i| (i * 7 % 251 + i / 4608 * 3 % 5) as u8).collect();
    Picture::Bytes(Array { shape: vec![count, 32, 48, 3], data })
}

/// A short run of a video of 9 frames.
fn short() -> Options {
    let mut options = Options::new();
    options
        .prompt("a red robot sleeps")
        .size(48, 32)
        .max_sequence_length(16)
        .num_inference_steps(10)
        .output(Output::Latents)
        .video(&frames(9));
    options
}

/// Asserts what a run is refused with; the pipeline goes on with others.
fn assert_refused(pipeline: &Pipeline, options: &Options, parts: &[&str]) {
    let failure = refused(pipeline.generate(options));
    assert_eq!(failure.code, CVX_ERROR_INVALID_ARGUMENT, "{failure}");
    for part in parts {
        assert!(failure.message.contains(part), "{failure}");
    }
    let mut job = null_mut();
    let submit = cvx_pipeline_submit;
    // SAFETY: the handles and the place are live.
    let job = check(unsafe { submit(pipeline.0, options.0, None, null_mut(), None, &mut job) });
    assert_eq!(refused(job).message, failure.message);
    let mut bytes = 7;
    // SAFETY: as above.
    let estimate =
        check(unsafe { cvx_pipeline_estimate_memory(pipeline.0, options.0, &mut bytes) });
    assert_eq!((refused(estimate).message, bytes), (failure.message, 7));
}

#[test]
fn what_a_run_cannot_begin_with_is_refused_by_name() {
    let pipeline = Pipeline::load(&pipeline_folder("2b")).unwrap();
    let mut options = short();
    options.num_frames(13);
    assert_refused(&pipeline, &options, &["num_frames: expected 9", "found 13"]);
    options.num_frames(9).strength(0.05);
    assert_refused(&pipeline, &options, &["strength", "at least 0.1", "found 0.05"]);
    options.strength(0.0);
    assert_refused(&pipeline, &options, &["strength", "found 0"]);
    options.strength(-1.0).latents(&Array { shape: vec![1, 3, 4, 4, 6], data: vec![0.5; 288] });
    assert_refused(&pipeline, &options, &["latents: expected none beside a video"]);

    let mut options = short();
    // SAFETY: the options are live; NULL takes the video away.
    check(unsafe { cvx_generate_options_set_video(options.0, null(), 0, 0, 0, 0, 0, 0) }).unwrap();
    options.strength(0.5);
    assert_refused(&pipeline, &options, &["strength: expected none without a video"]);
    options.strength(-0.5).num_frames(9);
    pipeline.generate(&options).unwrap();

    let mut options = short();
    options.image(&Picture::Bytes(Array { shape: vec![1, 1, 3], data: vec![1; 3] }));
    assert_refused(&pipeline, &options, &["image: expected none", "text to video"]);
    pipeline.generate(&short()).unwrap();
}

#[test]
fn a_video_of_the_1_5_family_makes_whole_patches() {
    let pipeline = Pipeline::load(&pipeline_folder("1.5-5b")).unwrap();
    let mut options = short();
    assert_refused(
        &pipeline,
        &options,
        &["video", "patches of 2", "5 to 8 or 13 to 16", "found 9", "make 3"],
    );
    options.video(&frames(1));
    assert_refused(&pipeline, &options, &["such as 5 to 8, found 1, which make 1"]);
    options.video(&frames(16));
    pipeline.generate(&options).unwrap();
}

#[test]
fn other_pipelines_take_no_video_and_one_for_videos_needs_one() {
    let pipeline = Pipeline::load(&pipeline_folder("1.5-5b-i2v")).unwrap();
    let mut options = short();
    options.video(&frames(8));
    assert_refused(&pipeline, &options, &["image: expected one", "image to video"]);
    options.image(&Picture::Bytes(Array { shape: vec![1, 1, 3], data: vec![1; 3] }));
    assert_refused(&pipeline, &options, &["video: expected none", "image to video"]);

    let folder = with_index_class("5b", "CogVideoXVideoToVideoPipeline");
    let pipeline = Pipeline::load(folder.path()).unwrap();
    // SAFETY: the pipeline is live.
    let (task, name) = unsafe {
        let name = CStr::from_ptr(cvx_pipeline_family(pipeline.0)).to_str().unwrap();
        (cvx_pipeline_task(pipeline.0), name)
    };
    assert_eq!(task, CVX_TASK_VIDEO_TO_VIDEO);
    assert!(name.contains("video to video"), "{name}");
    let mut options = Options::short(2);
    assert_refused(&pipeline, &options, &["video: expected one", "video to video", "found none"]);
    let latents = pipeline.generate(&short()).unwrap().latents().unwrap();
    let own = Pipeline::load(&pipeline_folder("5b")).unwrap();
    assert_eq!(own.generate(&short()).unwrap().latents().unwrap(), latents);
    options.image(&Picture::Bytes(Array { shape: vec![1, 1, 3], data: vec![1; 3] }));
    options.video(&frames(9));
    assert_refused(&pipeline, &options, &["image: expected none", "video to video"]);
}

/// `cvx_generate_options_set_video` with these arguments, and what it failed with.
fn set_video(
    options: &Options,
    data: *const c_void,
    size: [i32; 3],
    strides: [usize; 2],
    format: i32,
) -> Result<()> {
    let [width, height, count] = size;
    // SAFETY: the options are live; `data` holds what the tests below say.
    check(unsafe {
        cvx_generate_options_set_video(
            options.0, data, width, height, count, strides[0], strides[1], format,
        )
    })
}

#[test]
fn videos_that_cannot_be_are_refused() {
    let pipeline = Pipeline::load(&pipeline_folder("2b")).unwrap();
    let options = short();
    let expected = pipeline.generate(&options).unwrap().latents().unwrap();
    let bytes = [7u8; 256];
    let floats = [0.5f32; 64];
    let (bytes, numbers): (*const c_void, *const c_void) =
        (bytes.as_ptr().cast(), floats.as_ptr().cast());
    let (rgb, f32) = (CVX_PIXELS_RGB8, CVX_PIXELS_F32);
    for (data, size, strides, format, part) in [
        (bytes, [0, 2, 2], [0, 0], rgb, "width"),
        (bytes, [2, 16_385, 2], [0, 0], rgb, "height"),
        (bytes, [2, 2, 0], [0, 0], rgb, "num_frames must lie in [1,"),
        (bytes, [2, 2, -3], [0, 0], rgb, "found -3"),
        (bytes, [2, 2, i32::MAX], [0, 0], rgb, "num_frames"),
        (bytes, [2, 2, 2], [5, 0], rgb, "row_stride_bytes must lie in [6"),
        (bytes, [2, 2, 2], [8, 13], rgb, "frame_stride_bytes must lie in [14"),
        (bytes, [2, 2, 2], [0, usize::MAX], rgb, "frame_stride_bytes"),
        (numbers, [2, 2, 2], [25, 100], f32, "row_stride_bytes must be a multiple"),
        (numbers, [2, 2, 2], [24, 49], f32, "frame_stride_bytes must be a multiple"),
        (numbers.wrapping_byte_add(1), [1, 1, 1], [0, 0], f32, "aligned"),
        (bytes, [2, 2, 2], [0, 0], 4, "found 4"),
    ] {
        let failure = refused(set_video(&options, data, size, strides, format));
        assert_eq!(failure.code, CVX_ERROR_INVALID_ARGUMENT, "{failure}");
        assert!(failure.message.contains(part), "{failure}");
    }
    let mut floats = [0.5f32; 2 * 2 * 3 * 2];
    floats[12 + 6 + 3] = 1.5;
    let failure = refused(set_video(&options, floats.as_ptr().cast(), [2, 2, 2], [0, 0], f32));
    assert!(failure.message.contains("frame 1: image: expected numbers in [0, 1]"), "{failure}");
    assert!(failure.message.contains("row 1, column 1"), "{failure}");
    for bad in [1.5, f64::NAN, f64::INFINITY] {
        // SAFETY: the options are live.
        let failure = refused(check(unsafe { cvx_generate_options_set_strength(options.0, bad) }));
        assert!(failure.message.contains("strength must lie in [0, 1]"), "{failure}");
    }
    // Nothing was lost.
    assert_eq!(pipeline.generate(&options).unwrap().latents().unwrap(), expected);
}

/// The same video with room between rows and frames, with alpha, and freed before the run.
#[test]
fn strides_and_alpha_do_not_matter_and_pixels_are_copied() {
    let pipeline = Pipeline::load(&pipeline_folder("5b")).unwrap();
    let (width, height, count) = (13usize, 9usize, 5usize);
    let size = [width as i32, height as i32, count as i32];
    let run = |data: Vec<u8>, strides: [usize; 2], format| {
        let options = short();
        set_video(&options, data.as_ptr().cast(), size, strides, format).unwrap();
        drop(data);
        pipeline.generate(&options).unwrap().latents().unwrap()
    };
    let dense: Vec<u8> = (0..width * height * count * 3).map(|at| (at * 37 % 251) as u8).collect();
    let expected = run(dense.clone(), [0, 0], CVX_PIXELS_RGB8);
    let mut other = dense.clone();
    other[width * height * 3 * 3] ^= 0x80;
    assert_ne!(run(other, [0, 0], CVX_PIXELS_RGB8), expected);

    // The last row ends with its last pixel: there is nothing after it.
    let (row, frame) = (width * 3 + 11, (width * 3 + 11) * height + 29);
    let mut spaced = vec![255; frame * (count - 1) + row * (height - 1) + width * 3];
    for (index, pixels) in dense.chunks(width * 3).enumerate() {
        let at = index / height * frame + index % height * row;
        spaced[at..][..width * 3].copy_from_slice(pixels);
    }
    assert_eq!(run(spaced, [row, frame], CVX_PIXELS_RGB8), expected);

    let alpha: Vec<u8> =
        dense.chunks(3).enumerate().flat_map(|(i, p)| [p[0], p[1], p[2], i as u8]).collect();
    assert_eq!(run(alpha, [width * 4, 0], CVX_PIXELS_RGBA8), expected);
}

/// A job has its video from the moment when it is submitted; a clone shares the encoder.
#[test]
fn jobs_and_clones_take_videos() {
    let pipeline = Pipeline::load(&pipeline_folder("2b")).unwrap();
    // SAFETY: the pipeline is live.
    let bytes = || unsafe { cvx_pipeline_weight_bytes(pipeline.0) };
    let loaded = bytes();
    let options = short();
    let expected = pipeline.generate(&options).unwrap().latents().unwrap();
    let with_encoder = bytes();
    assert!(with_encoder > loaded, "{with_encoder} bytes with an encoder, {loaded} without");
    let (mut clone, mut job, mut video) = (null_mut(), null_mut(), null_mut());
    // SAFETY: the handles are live, and the places too.
    unsafe {
        check(cvx_pipeline_clone(pipeline.0, &mut clone)).unwrap();
        let clone = Pipeline(clone);
        check(cvx_pipeline_submit(clone.0, options.0, None, null_mut(), None, &mut job)).unwrap();
        check(cvx_generate_options_set_video(options.0, null(), 0, 0, 0, 0, 0, 0)).unwrap();
        check(cvx_job_wait(job, -1.0, null_mut())).unwrap();
        check(cvx_job_take_video(job, &mut video)).unwrap();
        cvx_job_free(job);
    }
    assert_eq!(Video(video).latents().unwrap(), expected);
    assert_eq!(bytes(), with_encoder);
}

/// Stages in the order in which they came, and at which of them to stop.
struct Stages {
    seen: Vec<i32>,
    stop_at: i32,
}

unsafe extern "C" fn see(info: *const cvx_progress_info, stages: *mut c_void) -> i32 {
    // SAFETY: `stages` outlives the run; `info` is alive.
    let (stages, info) = unsafe { (&mut *stages.cast::<Stages>(), &*info) };
    if stages.seen.last() != Some(&info.stage) {
        stages.seen.push(info.stage);
    }
    i32::from(info.stage == stages.stop_at)
}

#[test]
fn a_run_may_be_stopped_while_the_video_is_encoded() {
    let pipeline = Pipeline::load(&pipeline_folder("5b")).unwrap();
    let mut options = short();
    options.video(&frames(17));
    let mut stages = Stages { seen: Vec::new(), stop_at: CVX_STAGE_ENCODE_IMAGE };
    let data: *mut c_void = (&raw mut stages).cast();
    let set = cvx_generate_options_set_progress_callback;
    // SAFETY: the stages outlive the options' runs.
    check(unsafe { set(options.0, Some(see), data, None) }).unwrap();
    let failure = refused(pipeline.generate(&options));
    assert_eq!(failure.code, CVX_ERROR_CANCELLED, "{failure}");
    assert_eq!(stages.seen.last(), Some(&CVX_STAGE_ENCODE_IMAGE));
    stages = Stages { seen: Vec::new(), stop_at: 0 };
    pipeline.generate(&options).unwrap();
    let order = [CVX_STAGE_ENCODE, CVX_STAGE_ENCODE_IMAGE, CVX_STAGE_DENOISE];
    assert_eq!(stages.seen[stages.seen.len() - 3..], order);
}

/// A run that was left after a step goes on with the same bytes, under either scheduler; with
/// another video it is refused.
#[test]
fn a_run_that_was_left_goes_on() {
    let pipeline = Pipeline::load(&pipeline_folder("2b")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for scheduler in [c"ddim", c"dpm"] {
        let options = short();
        let path = folder.path().join(format!("{}.state", scheduler.to_str().unwrap()));
        let path = common::handles::c_path(&path);
        // SAFETY: the options are live.
        check(unsafe { cvx_generate_options_set_scheduler(options.0, scheduler.as_ptr()) })
            .unwrap();
        let expected = pipeline.generate(&options).unwrap().latents().unwrap();
        static STEPS: AtomicI32 = AtomicI32::new(0);
        STEPS.store(0, Ordering::Relaxed);
        unsafe extern "C" fn leave(info: *const cvx_step_end_info, path: *mut c_void) -> i32 {
            STEPS.fetch_add(1, Ordering::Relaxed);
            // SAFETY: `info` is alive, the path outlives the run.
            let (info, path) = unsafe { (&*info, path.cast::<std::ffi::c_char>()) };
            // 10 steps of strength 0.8 are 8.
            assert_eq!(info.num_steps, 8);
            if info.step != 4 {
                return 0;
            }
            // SAFETY: the handle is alive during the call.
            check(unsafe { cvx_step_save(info.handle, path) }).unwrap();
            1
        }
        let place = path.as_ptr().cast_mut().cast();
        // SAFETY: the path outlives the options.
        unsafe {
            let set = cvx_generate_options_set_step_callback;
            check(set(options.0, Some(leave), place, None)).unwrap();
            assert_eq!(refused(pipeline.generate(&options)).code, CVX_ERROR_CANCELLED);
            check(set(options.0, None, null_mut(), None)).unwrap();
            check(cvx_generate_options_set_resume(options.0, path.as_ptr())).unwrap();
        }
        assert_eq!(STEPS.load(Ordering::Relaxed), 5);
        assert_eq!(pipeline.generate(&options).unwrap().latents().unwrap(), expected);

        let mut other = short();
        // SAFETY: the options are live.
        unsafe {
            check(cvx_generate_options_set_scheduler(other.0, scheduler.as_ptr())).unwrap();
            check(cvx_generate_options_set_resume(other.0, path.as_ptr())).unwrap();
        }
        other.strength(0.9);
        let failure = refused(pipeline.generate(&other));
        assert!(failure.message.contains("strength: expected that of the run"), "{failure}");
        let Picture::Bytes(mut changed) = frames(9) else { panic!() };
        changed.data[9000] ^= 1;
        other.strength(0.8).video(&Picture::Bytes(changed));
        let failure = refused(pipeline.generate(&other));
        assert!(failure.message.contains("video frames: expected that of the run"), "{failure}");
    }
}

/// A cache knows of the steps that are made, and its preview tells them.
#[test]
fn a_cache_sees_the_steps_that_are_left() {
    let pipeline = Pipeline::load(&pipeline_folder("5b")).unwrap();
    let mut options = short();
    options.num_inference_steps(20).strength(0.6);
    let fields = serde_json::json!({"technique": "pab"});
    let pab = CacheConfig::by_name(fields.as_object().unwrap()).unwrap();
    let told = pipeline.preview(&pab, &options).unwrap().layers();
    assert_eq!(told.len(), 12);
    pipeline.enable_cache(&pab).unwrap();
    pipeline.generate(&options).unwrap();
    assert_eq!(pipeline.stats().unwrap().layers(), told);
    assert!(told.iter().any(|step| step != "111"), "{told:?}");
}
