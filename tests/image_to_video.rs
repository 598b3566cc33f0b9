//! Image to video: the same numbers as diffusers' CogVideoXImageToVideoPipeline, cached and not,
//! through the public C functions (tests/goldens/maker/image_to_video.py); and what is refused.

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
use common::goldens::{pipeline_folder, Array, Picture};
use common::handles::{
    c_path, c_string, check, refused, set_device, test_device, Options, Output, Pipeline, Result,
    Video,
};
use common::runs::runs_of;
use std::ffi::{c_void, CStr};
use std::ptr::{null, null_mut};

#[test]
fn runs_of_5b_are_those_of_diffusers() {
    runs_of("5b-i2v", "runs", 20);
}

#[test]
fn runs_of_1_5_5b_are_those_of_diffusers() {
    runs_of("1.5-5b-i2v", "runs", 20);
}

fn short() -> Options {
    let mut options = Options::new();
    options.prompt("a red robot sleeps").num_inference_steps(1).output(Output::Latents);
    options
}

#[test]
fn folders_say_their_task_and_runs_need_what_belongs_to_it() {
    let picture = Picture::Bytes(Array { shape: vec![2, 2, 3], data: vec![9; 12] });
    for (family, task) in [
        ("2b", CVX_TASK_TEXT_TO_VIDEO),
        ("5b-i2v", CVX_TASK_IMAGE_TO_VIDEO),
        ("1.5-5b-i2v", CVX_TASK_IMAGE_TO_VIDEO),
    ] {
        let pipeline = Pipeline::load(&pipeline_folder(family)).unwrap();
        // SAFETY: the pipeline is live.
        let (found, name) = unsafe {
            let name = CStr::from_ptr(cvx_pipeline_family(pipeline.0)).to_str().unwrap();
            (cvx_pipeline_task(pipeline.0), name)
        };
        assert_eq!(found, task, "{family}");
        let for_images = task == CVX_TASK_IMAGE_TO_VIDEO;
        assert_eq!(name.contains("image to video"), for_images, "{name}");

        let mut options = short();
        if family != "5b-i2v" {
            options.size(48, 32).num_frames(5);
        }
        if for_images {
            let failure = refused(pipeline.generate(&options));
            assert_eq!(failure.code, CVX_ERROR_INVALID_ARGUMENT);
            assert!(failure.message.contains("image: expected one"), "{failure}");
            options.image(&picture);
        } else {
            options.image(&picture);
            let failure = refused(pipeline.generate(&options));
            assert_eq!(failure.code, CVX_ERROR_INVALID_ARGUMENT);
            assert!(failure.message.contains("image: expected none"), "{failure}");
            // SAFETY: the options are live.
            check(unsafe { cvx_generate_options_clear_image(options.0) }).unwrap();
        }
        // Nothing was lost.
        pipeline.generate(&options).unwrap();
    }
    // SAFETY: NULL is allowed.
    assert_eq!(unsafe { cvx_pipeline_task(null()) }, 0);
}

#[test]
fn models_with_learned_positions_run_at_their_size_only() {
    let pipeline = Pipeline::load(&pipeline_folder("5b-i2v")).unwrap();
    let picture = Picture::Bytes(Array { shape: vec![1, 1, 3], data: vec![200; 3] });
    let mut options = short();
    options.image(&picture).size(96, 48);
    let failure = refused(pipeline.generate(&options));
    assert_eq!(failure.code, CVX_ERROR_INVALID_ARGUMENT);
    for part in ["width: expected 80", "learned", "found 96"] {
        assert!(failure.message.contains(part), "{failure}");
    }
    options.size(80, 48).max_sequence_length(20);
    let failure = refused(pipeline.generate(&options));
    for part in ["max_sequence_length: expected 16", "learned", "found 20"] {
        assert!(failure.message.contains(part), "{failure}");
    }
    options.max_sequence_length(16);
    pipeline.generate(&options).unwrap();
}

/// A run of the 1.5 family with an image, small and short.
fn with_image() -> Options {
    let mut options = short();
    let data = (0..20 * 12 * 3).map(|i| (i * 7 % 256) as u8).collect();
    options
        .size(48, 32)
        .num_frames(5)
        .image(&Picture::Bytes(Array { shape: vec![12, 20, 3], data }));
    options
}

/// A job has its image from the moment when it is submitted, and a clone the encoder.
#[test]
fn jobs_and_clones_take_images() {
    let pipeline = Pipeline::load(&pipeline_folder("1.5-5b-i2v")).unwrap();
    let options = with_image();
    let expected = pipeline.generate(&options).unwrap().latents().unwrap();
    let (mut clone, mut job, mut video) = (null_mut(), null_mut(), null_mut());
    // SAFETY: the handles are live, and the places too.
    unsafe {
        check(cvx_pipeline_clone(pipeline.0, &mut clone)).unwrap();
        let clone = Pipeline(clone);
        let submit = cvx_pipeline_submit;
        check(submit(clone.0, options.0, None, null_mut(), None, &mut job)).unwrap();
        check(cvx_generate_options_clear_image(options.0)).unwrap();
        // Without an image a job is refused at once.
        let mut none = null_mut();
        let refused = check(submit(clone.0, options.0, None, null_mut(), None, &mut none));
        assert_eq!(refused.unwrap_err().code, CVX_ERROR_INVALID_ARGUMENT);
        check(cvx_job_wait(job, -1.0, null_mut())).unwrap();
        check(cvx_job_take_video(job, &mut video)).unwrap();
        cvx_job_free(job);
    }
    assert_eq!(Video(video).latents().unwrap(), expected);
}

/// With the text encoder on demand the VAE is loaded at the first run, with its encoder.
#[test]
fn an_image_is_encoded_whenever_the_vae_is_loaded() {
    let folder = pipeline_folder("1.5-5b-i2v");
    let options = with_image();
    let all = Pipeline::load(&folder).unwrap();
    let expected = all.generate(&options).unwrap().latents().unwrap();
    let (path, mut pipeline) = (c_path(&folder), null_mut());
    // SAFETY: the text, the options and the place live for the calls.
    unsafe {
        let load = cvx_load_options_new();
        check(set_device(load, &c_string(&test_device()))).unwrap();
        check(cvx_load_options_set_dtype(load, c"f32".as_ptr())).unwrap();
        check(cvx_load_options_set_text_encoder_on_demand(load, 1)).unwrap();
        check(cvx_pipeline_load(path.as_ptr(), load, &mut pipeline)).unwrap();
        cvx_load_options_free(load);
    }
    let pipeline = Pipeline(pipeline);
    for _ in 0..2 {
        assert_eq!(pipeline.generate(&options).unwrap().latents().unwrap(), expected);
    }
}

/// What a cache will do does not depend on the image; a schedule can be tuned with one.
#[test]
fn previews_need_no_image_and_schedules_are_tuned_with_it() {
    let pipeline = Pipeline::load(&pipeline_folder("1.5-5b-i2v")).unwrap();
    let mut options = with_image();
    options.num_inference_steps(8).output(Output::Frames);
    let fields = serde_json::json!({"technique": "pab"});
    let pab = CacheConfig::by_name(fields.as_object().unwrap()).unwrap();
    let told = pipeline.preview(&pab, &options).unwrap().layers();
    // SAFETY: the options are live.
    check(unsafe { cvx_generate_options_clear_image(options.0) }).unwrap();
    assert_eq!(pipeline.preview(&pab, &options).unwrap().layers(), told);

    let options = with_image();
    // SAFETY: the handles and the place are live.
    unsafe {
        check(cvx_generate_options_set_num_inference_steps(options.0, 8)).unwrap();
        let (runs, mut config) = ([options.0.cast_const()], null_mut());
        let tune = cvx_pipeline_tune_cache;
        check(tune(pipeline.0, runs.as_ptr(), 1, 20.0, &mut config)).unwrap();
        check(cvx_pipeline_enable_cache(pipeline.0, config)).unwrap();
        cvx_cache_config_free(config);
    }
    pipeline.generate(&options).unwrap();
    let layers = pipeline.stats().unwrap().layers();
    assert!(layers.iter().any(|step| !step.contains('1')), "{layers:?}");
}

/// `cvx_generate_options_set_image` with these arguments, and what it failed with.
fn set_image(
    options: &Options,
    data: *const c_void,
    size: [i32; 2],
    stride: usize,
    format: i32,
) -> Result<()> {
    // SAFETY: the options are live; `data` holds what the tests below say.
    check(unsafe {
        cvx_generate_options_set_image(options.0, data, size[0], size[1], stride, format)
    })
}

#[test]
fn images_that_cannot_be_are_refused() {
    let options = short();
    let bytes = [7u8; 64];
    let floats = [0.5f32; 16];
    let (bytes, numbers): (*const c_void, *const c_void) =
        (bytes.as_ptr().cast(), floats.as_ptr().cast());
    let (rgb, rgba, f32) = (CVX_PIXELS_RGB8, CVX_PIXELS_RGBA8, CVX_PIXELS_F32);
    for (data, size, stride, format, code, part) in [
        (null(), [2, 2], 0, rgb, CVX_ERROR_NULL_ARGUMENT, "data"),
        (bytes, [0, 2], 0, rgb, CVX_ERROR_INVALID_ARGUMENT, "width"),
        (bytes, [2, 0], 0, rgb, CVX_ERROR_INVALID_ARGUMENT, "height"),
        (bytes, [-1, 2], 0, rgb, CVX_ERROR_INVALID_ARGUMENT, "width"),
        (bytes, [2, 16_385], 0, rgb, CVX_ERROR_INVALID_ARGUMENT, "height"),
        (bytes, [2, 2], 5, rgb, CVX_ERROR_INVALID_ARGUMENT, "stride_bytes must lie in [6"),
        (bytes, [2, 2], 7, rgba, CVX_ERROR_INVALID_ARGUMENT, "stride_bytes must lie in [8"),
        (bytes, [2, 2], usize::MAX, rgb, CVX_ERROR_INVALID_ARGUMENT, "stride_bytes"),
        (numbers, [2, 2], 25, f32, CVX_ERROR_INVALID_ARGUMENT, "stride_bytes must be a multiple"),
        (numbers.wrapping_byte_add(1), [1, 1], 0, f32, CVX_ERROR_INVALID_ARGUMENT, "aligned"),
        (bytes, [2, 2], 0, 0, CVX_ERROR_INVALID_ARGUMENT, "format"),
        (bytes, [2, 2], 0, 4, CVX_ERROR_INVALID_ARGUMENT, "found 4"),
    ] {
        let failure = refused(set_image(&options, data, size, stride, format));
        assert_eq!(failure.code, code, "{failure}");
        assert!(failure.message.contains(part), "{failure}");
    }
    for bad in [1.5f32, -0.25, f32::NAN] {
        let floats = [0.5, 0.5, 0.5, 0.5, bad, 0.5];
        let failure = refused(set_image(&options, floats.as_ptr().cast(), [2, 1], 0, f32));
        assert!(failure.message.contains("row 0, column 1"), "{failure}");
    }
    // SAFETY: NULL is refused.
    let failure =
        refused(check(unsafe { cvx_generate_options_set_image(null_mut(), bytes, 2, 2, 0, rgb) }));
    assert_eq!(failure.code, CVX_ERROR_NULL_ARGUMENT);
}

/// The same picture with room between its rows, with alpha, and freed before the run.
#[test]
fn strides_and_alpha_do_not_matter_and_pixels_are_copied() {
    let pipeline = Pipeline::load(&pipeline_folder("1.5-5b-i2v")).unwrap();
    let (width, height) = (13usize, 9usize);
    let value = |at: usize| (at * 37 % 251) as u8;
    let run = |data: Vec<u8>, stride: usize, format| {
        let mut options = short();
        options.size(48, 32).num_frames(5);
        let size = [width as i32, height as i32];
        set_image(&options, data.as_ptr().cast(), size, stride, format).unwrap();
        drop(data);
        pipeline.generate(&options).unwrap().latents().unwrap()
    };
    let dense: Vec<u8> = (0..width * height * 3).map(value).collect();
    let expected = run(dense.clone(), 0, CVX_PIXELS_RGB8);
    let mut other = dense.clone();
    other[100] ^= 0x80;
    assert_ne!(run(other, 0, CVX_PIXELS_RGB8), expected);

    // The last row ends with its last pixel: there is nothing after it.
    let stride = width * 3 + 11;
    let mut spaced = vec![255; stride * (height - 1) + width * 3];
    for (row, pixels) in dense.chunks(width * 3).enumerate() {
        spaced[row * stride..][..width * 3].copy_from_slice(pixels);
    }
    assert_eq!(run(spaced, stride, CVX_PIXELS_RGB8), expected);

    let alpha: Vec<u8> =
        dense.chunks(3).enumerate().flat_map(|(i, p)| [p[0], p[1], p[2], i as u8]).collect();
    assert_eq!(run(alpha, width * 4, CVX_PIXELS_RGBA8), expected);
}
