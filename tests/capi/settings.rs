//! What setters refuse: the message names the parameter, its range and what was found.

use crate::support::*;
use cogvideox::capi::*;
use std::ptr::{null, null_mut};

/// Calls a setter on options of its own.
#[track_caller]
fn load(set: impl FnOnce(*mut cvx_load_options) -> *mut cvx_error) -> (i32, String) {
    // SAFETY: made and freed here.
    unsafe {
        let options = cvx_load_options_new();
        let result = code(set(options));
        cvx_load_options_free(options);
        result
    }
}

#[track_caller]
fn refused((code, message): (i32, String), words: &[&str]) {
    assert_eq!(code, CVX_ERROR_INVALID_ARGUMENT, "{message}");
    for word in words {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
}

#[test]
fn devices_dtypes_and_variants() {
    let device = |text: &str| {
        let text = c(text);
        // SAFETY: as a host calls it.
        load(|options| unsafe { cvx_load_options_set_device(options, text.as_ptr()) })
    };
    for good in ["cpu", "cuda", "auto", "cuda:0", "cuda:12"] {
        assert_eq!(device(good).0, CVX_OK, "{good}");
    }
    for bad in ["", "CPU", "gpu", "cuda:", "cuda:-1", "cuda:x", "cuda:99999999999", "cpu "] {
        refused(device(bad), &["device", "cuda:N", &format!("{bad:?}")]);
    }
    let dtype = |text: &str| {
        let text = c(text);
        // SAFETY: as a host calls it.
        load(|options| unsafe { cvx_load_options_set_dtype(options, text.as_ptr()) })
    };
    for good in ["auto", "f32", "f16", "bf16"] {
        assert_eq!(dtype(good).0, CVX_OK, "{good}");
    }
    refused(dtype("float32"), &["dtype", "bf16", "float32"]);
    let kernels = |text: &str| {
        let text = c(text);
        // SAFETY: as a host calls it.
        load(|options| unsafe { cvx_load_options_set_cuda_kernels(options, text.as_ptr()) })
    };
    for good in ["libtorch", "fused"] {
        assert_eq!(kernels(good).0, CVX_OK, "{good}");
    }
    refused(kernels("Fused"), &["kernels", "libtorch", "fused", "\"Fused\""]);
    let variant = |text: &str| {
        let text = c(text);
        // SAFETY: as a host calls it.
        load(|options| unsafe { cvx_load_options_set_variant(options, text.as_ptr()) })
    };
    assert_eq!(variant("fp16").0, CVX_OK);
    // SAFETY: as a host calls it.
    assert_eq!(load(|o| unsafe { cvx_load_options_set_variant(o, null()) }).0, CVX_OK);
    refused(variant("../../etc"), &["variant", "../../etc"]);
    refused(variant(""), &["variant", "[1, 64]"]);
    refused(variant(&"x".repeat(65)), &["variant", "found 65"]);
    // SAFETY: as a host calls it.
    let demand = |n| load(|o| unsafe { cvx_load_options_set_text_encoder_on_demand(o, n) });
    assert_eq!((demand(0).0, demand(1).0), (CVX_OK, CVX_OK));
    refused(demand(2), &["on_demand", "0 or 1", "found 2"]);
}

#[test]
fn invalid_utf8_is_named_with_its_place() {
    let options = Options::small(1);
    // SAFETY: as a host calls it.
    unsafe {
        let text = NOT_UTF8.as_ptr();
        let expect = |parameter: &str, error| {
            fails(CVX_ERROR_INVALID_UTF8, &[parameter, "invalid byte at 3"], error);
        };
        expect("prompt", cvx_generate_options_set_prompt(options.0, text));
        expect("negative_prompt", cvx_generate_options_set_negative_prompt(options.0, text));
        let load = cvx_load_options_new();
        expect("device", cvx_load_options_set_device(load, text));
        expect("dtype", cvx_load_options_set_dtype(load, text));
        expect("variant", cvx_load_options_set_variant(load, text));
        cvx_load_options_free(load);
        let mut pipeline = std::ptr::null_mut();
        expect("folder", cvx_pipeline_load(text, null(), &mut pipeline));
        assert!(pipeline.is_null());
    }
}

#[test]
fn numbers_outside_their_range_are_refused() {
    let options = Options::small(1);
    let o = options.0;
    let nan = f64::NAN;
    // SAFETY: as a host calls it.
    unsafe {
        let refuse = |words: &[&str], error| fails(CVX_ERROR_INVALID_ARGUMENT, words, error);
        ok(cvx_generate_options_set_size(o, 0, 0));
        ok(cvx_generate_options_set_size(o, CVX_MAX_SIDE, 8));
        refuse(&["width", "[8, 16384]", "0"], cvx_generate_options_set_size(o, 0, 64));
        refuse(&["height", "-64"], cvx_generate_options_set_size(o, 64, -64));
        refuse(&["height", "multiple of 8", "63"], cvx_generate_options_set_size(o, 64, 63));
        refuse(&["width", "16392"], cvx_generate_options_set_size(o, 16392, 64));
        ok(cvx_generate_options_set_num_frames(o, 0));
        refuse(&["num_frames", "-1"], cvx_generate_options_set_num_frames(o, -1));
        ok(cvx_generate_options_set_num_frames(o, CVX_MAX_FRAMES));
        let more = cvx_generate_options_set_num_frames(o, CVX_MAX_FRAMES + 1);
        refuse(&["num_frames", "[0, 4096]", "4097"], more);
        let steps = cvx_generate_options_set_num_inference_steps;
        refuse(&["num_inference_steps", "[1, 100000]", "0"], steps(o, 0));
        refuse(&["num_inference_steps", "100001"], steps(o, 100_001));
        let guidance = cvx_generate_options_set_guidance_scale;
        ok(guidance(o, -3.5));
        refuse(&["guidance_scale", "NaN"], guidance(o, nan));
        refuse(&["guidance_scale", "inf"], guidance(o, f64::INFINITY));
        refuse(&["use_dynamic_cfg", "2"], cvx_generate_options_set_use_dynamic_cfg(o, 2));
        refuse(&["eta", "[0, 1]", "1.5"], cvx_generate_options_set_eta(o, 1.5));
        refuse(&["eta", "NaN"], cvx_generate_options_set_eta(o, nan));
        let length = cvx_generate_options_set_max_sequence_length;
        ok(length(o, 0));
        ok(length(o, CVX_MAX_SEQUENCE_LENGTH));
        refuse(&["max_sequence_length", "8193"], length(o, CVX_MAX_SEQUENCE_LENGTH + 1));
        ok(cvx_generate_options_set_num_videos(o, CVX_MAX_VIDEOS));
        let more = cvx_generate_options_set_num_videos(o, CVX_MAX_VIDEOS + 1);
        refuse(&["num_videos", "[1, 256]", "257"], more);
        refuse(&["num_videos", "[1, 256]", "0"], cvx_generate_options_set_num_videos(o, 0));
        refuse(&["output", "CVX_OUTPUT_LATENTS", "9"], cvx_generate_options_set_output(o, 9));
        refuse(&["enabled", "-1"], cvx_generate_options_set_vae_tiling(o, -1));
        refuse(&["enabled", "7"], cvx_generate_options_set_vae_slicing(o, 7));
        let tile = cvx_generate_options_set_vae_tile;
        ok(tile(o, 240, 360, 0.2, -1.0));
        refuse(&["tile_sample_min_height", "4"], tile(o, 4, 0, -1.0, -1.0));
        refuse(&["tile_overlap_factor_width", "[0, 1)", "1"], tile(o, 0, 0, -1.0, 1.0));
        refuse(&["tile_overlap_factor_height", "NaN"], tile(o, 0, 0, nan, 0.0));
    }
}

#[test]
fn prompts_of_a_quarter_mebibyte_are_the_longest_for_options_and_runs_alike() {
    let options = Options::latents(1);
    let pipeline = Pipeline::load("2b");
    let longest = c(&"a ".repeat(128 << 10));
    let longer = c(&"a".repeat((256 << 10) + 1));
    // SAFETY: as a host calls it.
    unsafe {
        ok(cvx_generate_options_set_prompt(options.0, longest.as_ptr()));
        fails(
            CVX_ERROR_INVALID_ARGUMENT,
            &["length of prompt", "[0, 262144]", "262145"],
            cvx_generate_options_set_prompt(options.0, longer.as_ptr()),
        );
        fails(
            CVX_ERROR_INVALID_ARGUMENT,
            &["length of negative_prompt", "262145"],
            cvx_generate_options_set_negative_prompt(options.0, longer.as_ptr()),
        );
    }
    // What the options take, the run takes.
    drop(generate(&pipeline, &options));
}

#[test]
fn messages_repeat_no_more_than_a_little_of_the_hosts_texts() {
    let long = c(&"x".repeat(2 << 20));
    let (mut config, mut pipeline) = (null_mut(), null_mut());
    // SAFETY: as a host calls it.
    unsafe {
        let load = cvx_load_options_new();
        for error in [
            cvx_load_options_set_device(load, long.as_ptr()),
            cvx_load_options_set_dtype(load, long.as_ptr()),
            cvx_cache_config_new(long.as_ptr(), null(), &mut config),
            cvx_cache_config_new(c"pab".as_ptr(), long.as_ptr(), &mut config),
            cvx_video_check_path(long.as_ptr(), 8.0),
            cvx_pipeline_load(long.as_ptr(), load, &mut pipeline),
        ] {
            let (code, message) = code(error);
            assert_ne!(code, CVX_OK);
            assert!(message.len() < 3000, "{} bytes: {}", message.len(), &message[..200]);
        }
        cvx_load_options_free(load);
    }
}

#[test]
fn timesteps_descend() {
    let options = Options::small(1);
    let set = |timesteps: &[i64]| {
        // SAFETY: as a host calls it.
        unsafe {
            cvx_generate_options_set_timesteps(options.0, timesteps.as_ptr(), timesteps.len())
        }
    };
    ok(set(&[999, 500, 0]));
    ok(set(&[]));
    fails(CVX_ERROR_INVALID_ARGUMENT, &["timesteps[1]", "found 999"], set(&[999, 999]));
    fails(CVX_ERROR_INVALID_ARGUMENT, &["timesteps[2]", "found 600"], set(&[999, 500, 600]));
    fails(CVX_ERROR_INVALID_ARGUMENT, &["timesteps[0]", "found -1"], set(&[-1]));
    // SAFETY: the count is refused before the array is looked at.
    let endless =
        unsafe { cvx_generate_options_set_timesteps(options.0, [1].as_ptr(), usize::MAX) };
    fails(CVX_ERROR_INVALID_ARGUMENT, &["count of timesteps"], endless);
}

#[test]
fn shapes_of_latents_are_checked_before_the_data_is_read() {
    let options = Options::small(1);
    let one = [0f32];
    let set = |shape: &[i64]| {
        // SAFETY: every shape with more than one number is refused before the data is read.
        unsafe {
            cvx_generate_options_set_latents(options.0, one.as_ptr(), shape.as_ptr(), shape.len())
        }
    };
    ok(set(&[1, 1, 1, 1, 1]));
    let refuse = |words: &[&str], error| fails(CVX_ERROR_INVALID_ARGUMENT, words, error);
    refuse(&["rank", "[5, 5]", "4"], set(&[1, 1, 1, 1]));
    refuse(&["shape[2]", "found 0"], set(&[1, 1, 0, 1, 1]));
    refuse(&["shape[4]", "found -8"], set(&[1, 1, 1, 1, -8]));
    refuse(&["2147483648", "65536"], set(&[65536, 65536, 65536, 65536, 65536]));
    refuse(&["shape[0]"], set(&[i64::MAX, 2, 1, 1, 1]));
    // An address that no float can have.
    let odd = one.as_ptr().wrapping_byte_add(1);
    // SAFETY: refused before the data is read.
    let error = unsafe { cvx_generate_options_set_latents(options.0, odd, [1i64; 5].as_ptr(), 5) };
    refuse(&["data", "aligned"], error);
}
