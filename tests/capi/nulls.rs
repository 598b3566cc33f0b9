//! NULL and other things that are no pointers, for every function of the header.

use crate::support::*;
use cogvideox::capi::*;
use std::ffi::CStr;
use std::ptr::{null, null_mut};

#[track_caller]
fn null_argument(parameter: &str, error: *mut cvx_error) {
    fails(CVX_ERROR_NULL_ARGUMENT, &[&format!("{parameter} must not be NULL")], error);
}

#[test]
fn freeing_null_does_nothing() {
    // SAFETY: NULL is allowed.
    unsafe {
        cvx_error_free(null_mut());
        cvx_cancel_token_free(null_mut());
        cvx_load_options_free(null_mut());
        cvx_generate_options_free(null_mut());
        cvx_pipeline_free(null_mut());
        cvx_video_free(null_mut());
        cvx_job_free(null_mut());
        cvx_calibration_free(null_mut());
        cvx_plan_free(null_mut());
        cvx_image_free(null_mut());
        cvx_communicator_free(null_mut());
    }
}

#[test]
fn what_cannot_fail_answers_nothing_for_null() {
    // SAFETY: NULL is allowed.
    unsafe {
        assert_eq!(cvx_error_code(null()), CVX_OK);
        assert_eq!(CStr::from_ptr(cvx_calibration_json(null())), c"");
        assert_eq!(CStr::from_ptr(cvx_plan_text(null())), c"");
        assert_eq!(CStr::from_ptr(cvx_plan_json(null())), c"");
        assert_eq!(cvx_cache_stats_estimated_seconds(null()), 0.0);
        assert_eq!(cvx_cache_stats_estimated_psnr(null()), 0.0);
        assert_eq!(CStr::from_ptr(cvx_error_message(null())), c"");
        cvx_cancel_token_cancel(null());
        assert_eq!(cvx_cancel_token_is_cancelled(null()), 0);
        for text in [cvx_pipeline_family, cvx_pipeline_device, cvx_pipeline_dtype] {
            assert_eq!(CStr::from_ptr(text(null())), c"");
        }
        for number in [
            cvx_pipeline_default_width,
            cvx_pipeline_default_height,
            cvx_pipeline_default_num_frames,
            cvx_pipeline_default_num_inference_steps,
            cvx_pipeline_default_max_sequence_length,
            cvx_pipeline_text_embed_dim,
            cvx_pipeline_num_attention_layers,
        ] {
            assert_eq!(number(null()), 0);
        }
        assert_eq!(cvx_pipeline_task(null()), 0);
        assert_eq!(cvx_has_capability(null()), 0);
        assert!(!CStr::from_ptr(cvx_capabilities()).is_empty());
        assert_eq!((cvx_communicator_rank(null()), cvx_communicator_num_ranks(null())), (-1, 0));
        assert_eq!((cvx_image_width(null()), cvx_image_height(null())), (0, 0));
        assert_eq!(cvx_pipeline_default_fps(null()), 0.0);
        assert_eq!(cvx_pipeline_default_guidance_scale(null()), 0.0);
        assert!(cvx_pipeline_attention_layer_name(null(), 0).is_null());
        assert_eq!(cvx_pipeline_weight_bytes(null()), 0);
        assert_eq!(cvx_pipeline_num_adapters(null()), 0);
        assert!(cvx_pipeline_adapter_name(null(), 0).is_null());
        assert_eq!(cvx_pipeline_adapter_weight(null(), 0), 0.0);
        assert_eq!(CStr::from_ptr(cvx_video_kernels(null())), c"");
        for number in [cvx_video_count, cvx_video_num_frames, cvx_video_width, cvx_video_height] {
            assert_eq!(number(null()), 0);
        }
        assert!(cvx_video_frames_device(null()).is_null());
        cvx_job_cancel(null());
        assert_eq!(cvx_job_poll(null(), null_mut()), CVX_JOB_NONE);
    }
}

#[test]
fn communicators_of_null_are_named() {
    // SAFETY: NULL is what is tested.
    unsafe {
        let none: *mut cvx_communicator = null_mut();
        null_argument(
            "communicator",
            cvx_communicator_set_all_gather(none, None, null_mut(), None),
        );
        null_argument("communicator", cvx_communicator_set_broadcast(none, None, null_mut(), None));
        null_argument("communicator", cvx_communicator_set_barrier(none, None, null_mut(), None));
        null_argument("communicator", cvx_communicator_set_abort(none, None, null_mut(), None));
        null_argument("communicator", cvx_communicator_abort(none, CVX_ERROR_IO, c"?".as_ptr()));
        null_argument("communicator", cvx_communicator_reset(none));
        let mut made = null_mut();
        null_argument("all_to_all", cvx_communicator_new(0, 2, None, null_mut(), None, &mut made));
        null_argument(
            "out_communicator",
            cvx_communicator_new(0, 2, None, null_mut(), None, null_mut()),
        );
        null_argument("out_id", cvx_nccl_unique_id(null_mut(), 128));
        let nccl = cvx_communicator_new_nccl(0, 2, null(), 128, c"cuda".as_ptr(), &mut made);
        null_argument("unique_id", nccl);
    }
}

#[test]
fn load_options_of_null_are_named() {
    // SAFETY: NULL is what is tested.
    unsafe {
        let none = null_mut();
        null_argument("options", cvx_load_options_set_device(none, c"cpu".as_ptr()));
        null_argument("options", cvx_load_options_set_dtype(none, c"f32".as_ptr()));
        let component = c"vae".as_ptr();
        null_argument("options", cvx_load_options_set_component_device(none, component, null()));
        null_argument("options", cvx_load_options_set_component_dtype(none, component, null()));
        let weights = cvx_load_options_set_component_weights;
        null_argument("options", weights(none, component, null()));
        let quantize = cvx_load_options_set_component_quantization;
        null_argument("options", quantize(none, component, null()));
        null_argument("options", cvx_load_options_set_variant(none, null()));
        null_argument("options", cvx_load_options_set_scheduler(none, null()));
        null_argument("options", cvx_load_options_set_timestep_spacing(none, null()));
        null_argument("options", cvx_load_options_set_snr_shift_scale(none, 1.0));
        null_argument("options", cvx_load_options_set_rescale_betas_zero_snr(none, 0));
        null_argument("options", cvx_load_options_set_text_encoder_on_demand(none, 0));
        let kernels = cvx_load_options_set_cuda_kernels;
        null_argument("options", kernels(none, c"fused".as_ptr()));
        null_argument("options", cvx_load_options_set_offload(none, 1));
        null_argument("options", cvx_load_options_set_memory_budget(none, 1));
        null_argument("options", cvx_load_options_set_cpu_matmul_precision(none, component));
        let streaming = cvx_load_options_set_weight_streaming;
        null_argument("options", streaming(none, component, c"file".as_ptr()));
        null_argument("options", cvx_load_options_set_prompt_cache_size(none, 0));
        null_argument("options", cvx_load_options_set_preview_decoder(none, null()));
        null_argument("options", cvx_load_options_set_num_threads(none, 0));
        null_argument("options", cvx_load_options_set_devices(none, null()));
        null_argument("options", cvx_load_options_set_parallel(none, 0, 0));
        null_argument("options", cvx_load_options_set_communicator(none, null()));
        null_argument("options", cvx_load_options_set_max_device_memory(none, 1));
        null_argument(
            "options",
            cvx_load_options_set_progress_callback(none, None, null_mut(), None),
        );
        null_argument("options", cvx_load_options_set_log_callback(none, None, null_mut(), None));
        null_argument("options", cvx_load_options_set_cancel_token(none, null()));
        let options = cvx_load_options_new();
        null_argument("device", cvx_load_options_set_device(options, null()));
        null_argument("dtype", cvx_load_options_set_dtype(options, null()));
        null_argument("precision", cvx_load_options_set_cpu_matmul_precision(options, null()));
        null_argument("kernels", cvx_load_options_set_cuda_kernels(options, null()));
        null_argument("plan", cvx_plan_apply(null(), options));
        let mut plan = untouched();
        let make = cvx_plan_new;
        null_argument("folder", make(null(), null(), null(), null(), 0, &mut plan));
        assert_eq!(plan, untouched());
        null_argument("out_plan", make(c"x".as_ptr(), null(), null(), null(), 0, null_mut()));
        null_argument("component", weights(options, null(), c"x".as_ptr()));
        null_argument("component", quantize(options, null(), c"int8".as_ptr()));
        null_argument("component", streaming(options, null(), c"file".as_ptr()));
        null_argument("mode", streaming(options, component, null()));
        cvx_load_options_free(options);
    }
}

#[test]
fn images_of_null_are_named() {
    let (mut image, mut data) = (untouched(), null());
    // SAFETY: NULL is what is tested.
    unsafe {
        null_argument("path", cvx_image_load(null(), &mut image));
        null_argument("out_image", cvx_image_load(c"a.png".as_ptr(), null_mut()));
        null_argument("image", cvx_image_rgb8(null(), &mut data, null_mut()));
    }
    assert_eq!(image, untouched());
}

#[test]
fn generate_options_of_null_are_named() {
    // SAFETY: NULL is what is tested.
    unsafe {
        let none = null_mut();
        for error in [
            cvx_generate_options_set_prompt(none, c"".as_ptr()),
            cvx_generate_options_set_negative_prompt(none, null()),
            cvx_generate_options_set_size(none, 64, 64),
            cvx_generate_options_set_num_frames(none, 1),
            cvx_generate_options_set_num_inference_steps(none, 1),
            cvx_generate_options_set_timesteps(none, null(), 0),
            cvx_generate_options_set_guidance_scale(none, 1.0),
            cvx_generate_options_set_lora_scale(none, 1.0),
            cvx_generate_options_set_memory_check(none, 1),
            cvx_generate_options_set_use_dynamic_cfg(none, 0),
            cvx_generate_options_set_eta(none, 0.0),
            cvx_generate_options_set_seed(none, 0),
            cvx_generate_options_set_scheduler(none, null()),
            cvx_generate_options_set_timestep_spacing(none, null()),
            cvx_generate_options_set_snr_shift_scale(none, 1.0),
            cvx_generate_options_set_rescale_betas_zero_snr(none, 0),
            cvx_generate_options_set_max_sequence_length(none, 1),
            cvx_generate_options_set_num_videos(none, 1),
            cvx_generate_options_set_latents(none, null(), null(), 0),
            cvx_generate_options_set_prompt_embeddings(none, null(), 0, 0),
            cvx_generate_options_set_negative_prompt_embeddings(none, null(), 0, 0),
            cvx_generate_options_set_image(none, null(), 1, 1, 0, CVX_PIXELS_RGB8),
            cvx_generate_options_clear_image(none),
            cvx_generate_options_set_video(none, null(), 1, 1, 1, 0, 0, CVX_PIXELS_RGB8),
            cvx_generate_options_set_strength(none, 1.0),
            cvx_generate_options_set_control_video(none, null(), 1, 1, 1, 0, 0, CVX_PIXELS_RGB8),
            cvx_generate_options_set_mask(none, null(), 1, 1, 1, 0, 0),
            cvx_generate_options_set_last_image(none, null(), 1, 1, 0, CVX_PIXELS_RGB8),
            cvx_generate_options_set_prompts(none, null(), 0),
            cvx_generate_options_set_negative_prompts(none, null(), 0),
            cvx_generate_options_set_seeds(none, null(), 0),
            cvx_generate_options_set_output(none, CVX_OUTPUT_FRAMES),
            cvx_generate_options_set_vae_tiling(none, 0),
            cvx_generate_options_set_vae_tile(none, 0, 0, -1.0, -1.0),
            cvx_generate_options_set_vae_slicing(none, 0),
            cvx_generate_options_set_progress_callback(none, None, null_mut(), None),
            cvx_generate_options_set_log_callback(none, None, null_mut(), None),
            cvx_generate_options_set_cancel_token(none, null()),
            cvx_generate_options_set_frames_callback(none, 1, None, null_mut(), None),
            cvx_generate_options_set_frames_buffer(none, 1, null_mut(), 0, 0, 0),
            cvx_generate_options_set_device_frames_callback(none, 1, None, null_mut(), None),
            cvx_generate_options_set_device_frames_buffer(none, 1, null_mut(), 0, 0, 0),
            cvx_generate_options_set_stream(none, null_mut()),
            cvx_generate_options_set_wait_event(none, null_mut()),
            cvx_generate_options_set_record_event(none, null_mut()),
            cvx_generate_options_set_frames_on_device(none, 0),
        ] {
            null_argument("options", error);
        }
        let options = Options::small(1);
        null_argument("prompt", cvx_generate_options_set_prompt(options.0, null()));
        null_argument("timesteps", cvx_generate_options_set_timesteps(options.0, null(), 2));
        null_argument("prompts", cvx_generate_options_set_prompts(options.0, null(), 2));
        let two = [c"a".as_ptr(), null()];
        let set = cvx_generate_options_set_prompts;
        null_argument("prompts[1]", set(options.0, two.as_ptr(), 2));
        let set = cvx_generate_options_set_negative_prompts;
        null_argument("negative_prompts", set(options.0, null(), 1));
        null_argument("seeds", cvx_generate_options_set_seeds(options.0, null(), 1));
        let data = [0f32];
        null_argument(
            "shape",
            cvx_generate_options_set_latents(options.0, data.as_ptr(), null(), 5),
        );
    }
}

#[test]
fn pipelines_of_null_are_named_and_nothing_is_written() {
    let options = Options::small(1);
    let path = folder("2b");
    // SAFETY: NULL is what is tested; a dangling place shows that nothing is written.
    unsafe {
        let mut pipeline = untouched::<cvx_pipeline>();
        null_argument("folder", cvx_pipeline_load(null(), null(), &mut pipeline));
        null_argument("out_pipeline", cvx_pipeline_load(path.as_ptr(), null(), null_mut()));
        null_argument("pipeline", cvx_pipeline_clone(null(), &mut pipeline));
        assert_eq!(pipeline, untouched());

        for error in [
            cvx_pipeline_load_lora(null_mut(), c"a".as_ptr(), null()),
            cvx_pipeline_set_adapters(null_mut(), [c"a".as_ptr()].as_ptr(), null(), 1),
            cvx_pipeline_enable_lora(null_mut(), 1),
            cvx_pipeline_fuse_lora(null_mut(), 1.0),
            cvx_pipeline_unfuse_lora(null_mut()),
            cvx_pipeline_unload_lora(null_mut()),
        ] {
            null_argument("pipeline", error);
        }

        let mut video = untouched::<cvx_video>();
        null_argument("pipeline", cvx_pipeline_generate(null_mut(), options.0, &mut video));
        let mut job = untouched::<cvx_job>();
        null_argument(
            "pipeline",
            cvx_pipeline_submit(null_mut(), options.0, None, null_mut(), None, &mut job),
        );
        assert_eq!(job, untouched());
        let (run, mut calibration) = ([options.0.cast_const()], untouched::<cvx_calibration>());
        let calibrated = cvx_pipeline_calibrate(null_mut(), run.as_ptr(), 1, &mut calibration);
        null_argument("pipeline", calibrated);
        null_argument("json", cvx_calibration_from_json(null(), &mut calibration));
        let no_place = cvx_calibration_from_json(c"{}".as_ptr(), null_mut());
        null_argument("out_calibration", no_place);
        assert_eq!(calibration, untouched());
        let (mut ids, mut floats, shape) = ([7i64; 4], [7f32; 4], [1i64; 5]);
        null_argument(
            "pipeline",
            cvx_pipeline_tokenize(null(), c"a".as_ptr(), ids.as_mut_ptr(), 4),
        );
        null_argument(
            "pipeline",
            cvx_pipeline_encode_prompt(null_mut(), c"a".as_ptr(), 1, floats.as_mut_ptr(), 4),
        );
        let (text, out) = (c"a".as_ptr(), floats.as_mut_ptr());
        let followed = cvx_pipeline_encode_prompt_with(null_mut(), text, 1, out, 4, null());
        null_argument("pipeline", followed);
        null_argument(
            "pipeline",
            cvx_pipeline_decode_latents(
                null_mut(),
                floats.as_ptr(),
                shape.as_ptr(),
                5,
                null(),
                &mut video,
            ),
        );
        null_argument(
            "pipeline",
            cvx_pipeline_latent_shape(null(), 1, 0, 0, 0, ids.as_mut_ptr(), null_mut()),
        );
        assert_eq!((video, ids, floats), (untouched(), [7; 4], [7.0; 4]));
    }
}

#[test]
fn a_loaded_pipeline_still_wants_its_other_arguments() {
    let pipeline = Pipeline::load("2b");
    let options = Options::small(1);
    // SAFETY: NULL is what is tested.
    unsafe {
        let mut video = untouched::<cvx_video>();
        null_argument("out_pipeline", cvx_pipeline_clone(pipeline.0, null_mut()));
        null_argument("path", cvx_pipeline_load_lora(pipeline.0, null(), null()));
        let set = cvx_pipeline_set_adapters;
        null_argument("names", set(pipeline.0, null(), null(), 1));
        null_argument("names[0]", set(pipeline.0, [null()].as_ptr(), null(), 1));
        null_argument("options", cvx_pipeline_generate(pipeline.0, null(), &mut video));
        let (p, mut job) = (pipeline.0, untouched::<cvx_job>());
        let submit = |options, out| cvx_pipeline_submit(p, options, None, null_mut(), None, out);
        null_argument("options", submit(null(), &mut job));
        null_argument("out_job", submit(options.0, null_mut()));
        assert_eq!(job, untouched());
        null_argument("out_video", cvx_pipeline_generate(pipeline.0, options.0, null_mut()));
        let (mut ids, mut floats, shape) = ([7i64; 4], [7f32; 4], [1i64; 5]);
        null_argument("text", cvx_pipeline_tokenize(pipeline.0, null(), ids.as_mut_ptr(), 4));
        null_argument("out_ids", cvx_pipeline_tokenize(pipeline.0, c"".as_ptr(), null_mut(), 4));
        null_argument(
            "text",
            cvx_pipeline_encode_prompt(pipeline.0, null(), 1, floats.as_mut_ptr(), 4),
        );
        null_argument(
            "out_embeddings",
            cvx_pipeline_encode_prompt(pipeline.0, c"".as_ptr(), 1, null_mut(), 1 << 20),
        );
        null_argument(
            "data",
            cvx_pipeline_decode_latents(pipeline.0, null(), shape.as_ptr(), 5, null(), &mut video),
        );
        null_argument(
            "shape",
            cvx_pipeline_decode_latents(pipeline.0, floats.as_ptr(), null(), 5, null(), &mut video),
        );
        null_argument("out_bytes", cvx_pipeline_estimate_memory(pipeline.0, null(), null_mut()));
        null_argument("folder", cvx_pipeline_save(pipeline.0, null()));
        null_argument("pipeline", cvx_pipeline_save(null(), c"x".as_ptr()));
        null_argument(
            "out_shape",
            cvx_pipeline_latent_shape(pipeline.0, 1, 0, 0, 0, null_mut(), null_mut()),
        );
        assert_eq!((video, ids, floats), (untouched(), [7; 4], [7.0; 4]));
    }
}

#[test]
fn videos_of_null_are_named() {
    // SAFETY: NULL is what is tested.
    unsafe {
        let (mut bytes, mut floats, mut stride) = (null(), null(), 7usize);
        for accessor in [cvx_video_frames_rgb8, cvx_video_frames_rgba8] {
            null_argument("video", accessor(null(), 0, &mut bytes, &mut stride));
        }
        null_argument("video", cvx_video_frames_f32(null(), 0, &mut floats, &mut stride));
        let mut shape = [7i64; 5];
        null_argument("video", cvx_video_latents(null(), &mut floats, shape.as_mut_ptr()));
        null_argument("video", cvx_video_save(null(), 0, c"a.mp4".as_ptr(), 8.0));
        null_argument("path", cvx_video_check_path(null(), 8.0));
        let sheet = cvx_video_save_contact_sheet;
        null_argument("videos", sheet(null(), 1, 1, c"a.png".as_ptr()));
        null_argument("path", sheet([null()].as_ptr(), 1, 1, null()));
        assert_eq!((bytes.is_null(), floats.is_null(), stride, shape), (true, true, 7, [7; 5]));
        let mut tensor = untouched();
        null_argument("video", cvx_video_frames_dlpack(null(), 0, CVX_PIXELS_F32, &mut tensor));
        null_argument("video", cvx_video_latents_dlpack(null(), &mut tensor));
        let (mut data, mut size) = (null(), 7usize);
        null_argument(
            "video",
            cvx_video_device_frames(null(), 0, &mut data, &mut size, null_mut()),
        );
        assert_eq!((tensor, data.is_null(), size), (untouched(), true, 7));
    }
}

#[test]
fn jobs_of_null_are_named_and_nothing_is_written() {
    // SAFETY: NULL is what is tested.
    unsafe {
        let mut state = 7;
        null_argument("job", cvx_job_wait(null(), 0.0, &mut state));
        let mut video = untouched::<cvx_video>();
        null_argument("job", cvx_job_take_video(null_mut(), &mut video));
        assert_eq!((state, video), (7, untouched()));
    }
}

#[test]
fn devices_of_null_are_named_and_nothing_is_written() {
    let size = u32::try_from(size_of::<cvx_device_info>()).unwrap();
    // SAFETY: NULL is what is tested; a struct of numbers and pointers may be all zero.
    unsafe {
        let mut info: cvx_device_info = std::mem::zeroed();
        info.struct_size = size;
        null_argument("out_devices", cvx_device_list_new(null_mut()));
        null_argument("devices", cvx_device_list_get(null(), 0, &mut info));
        null_argument("pipeline", cvx_pipeline_memory(null(), null_mut()));
        null_argument("device", cvx_device_trim(null()));
        assert!(info.device.is_null() && info.struct_size == size);
        assert_eq!(cvx_device_list_count(null()), 0);
        cvx_device_list_free(null_mut());
    }
}

#[test]
fn versions_agree() {
    // SAFETY: the text is static.
    let version = unsafe { CStr::from_ptr(cvx_version()) };
    assert_eq!(version.to_str(), Ok(env!("CARGO_PKG_VERSION")));
    assert_eq!(cvx_abi_version(), CVX_ABI_VERSION);
    ok(cvx_abi_check(CVX_ABI_VERSION));
    fails(CVX_ERROR_INVALID_ARGUMENT, &["header_abi", "99"], cvx_abi_check(99));
}

#[test]
fn devices_images_and_buffers_of_null_are_named_or_empty() {
    // SAFETY: NULL is what is tested.
    unsafe {
        let none = null_mut();
        cvx_device_list_free(null_mut());
        cvx_image_free(null_mut());
        cvx_buffer_free(null_mut());
        assert_eq!(cvx_device_list_count(null()), 0);
        let mut info: cvx_device_info = std::mem::zeroed();
        null_argument("devices", cvx_device_list_get(null(), 0, &mut info));
        null_argument("device", cvx_device_trim(null()));
        assert_eq!(cvx_pipeline_task(null()), 0);
        assert_eq!((cvx_image_width(null()), cvx_image_height(null())), (0, 0));
        null_argument("path", cvx_image_load(null(), &mut null_mut()));
        null_argument("image", cvx_image_rgb8(null(), &mut null(), null_mut()));
        null_argument("path", cvx_image_save_png(null(), null(), 1, 1, 0, CVX_PIXELS_RGB8));
        let path = c"/tmp/a.png".as_ptr();
        null_argument("data", cvx_image_save_png(path, null(), 1, 1, 0, CVX_PIXELS_RGB8));
        let image = cvx_generate_options_set_image(none, null(), 1, 1, 0, CVX_PIXELS_RGB8);
        null_argument("options", image);
        null_argument("options", cvx_generate_options_clear_image(none));
        assert!(cvx_buffer_data(null()).is_null());
        assert_eq!(cvx_buffer_size(null()), 0);
        let buffer = cvx_video_encode_buffer(null(), 0, c"gif".as_ptr(), 8.0, &mut null_mut());
        null_argument("video", buffer);
        let encode = cvx_video_encode(null(), 0, c"gif".as_ptr(), 8.0, None, null_mut(), None);
        null_argument("video", encode);
    }
}

#[test]
fn steps_of_null_are_named() {
    // SAFETY: NULL is what is tested.
    unsafe {
        let none = null_mut();
        let set = cvx_generate_options_set_step_callback(null_mut(), None, null_mut(), None);
        null_argument("options", set);
        null_argument("options", cvx_generate_options_set_resume(null_mut(), null()));
        null_argument("step", cvx_step_latents(none, &mut null(), &mut 0));
        null_argument("step", cvx_step_latents_dlpack(none, &mut null_mut()));
        null_argument("step", cvx_step_set_guidance_scale(none, 1.0));
        null_argument("step", cvx_step_preview_rgb8(none, &mut null(), &mut 0));
        null_argument("step", cvx_step_save(none, c"a".as_ptr()));
        null_argument("step", cvx_step_set_latents(none, &0.0, [1i64; 5].as_ptr(), 5));
    }
}

/// Functions of the caches have their own tests, in `tests/cache_capi.rs`.
#[test]
fn no_function_of_the_header_is_forgotten_here() {
    let header = include_str!("../../include/cogvideox.h");
    let here = include_str!("nulls.rs");
    // These take no pointer.
    let without = ["_new(", "cvx_error_code_name("];
    for word in header.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '(')) {
        if !word.starts_with("cvx_") || !word.contains('(') || word.contains("cache") {
            continue;
        }
        let Some((name, _)) = word.split_once('(') else { continue };
        if !without.iter().any(|part| word.contains(part)) {
            assert!(here.contains(name), "{name} is not called with NULL");
        }
    }
}
