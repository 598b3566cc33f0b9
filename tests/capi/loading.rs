//! Loading: what a pipeline says of itself, progress, stopping, what cannot be loaded.

use crate::support::*;
use cogvideox::capi::*;
use std::ptr::{null, null_mut};

#[test]
fn a_pipeline_says_what_it_is() {
    for (family, words, size, frames, fps, layers) in [
        ("2b", ["CogVideoX 1.0", "sine-cosine", "2 layers", "DDIM"], (12, 8), 9, 8.0, 2),
        ("5b", ["CogVideoX 1.0", "rotary", "3 layers", "DDIM"], (10, 6), 13, 8.0, 3),
        ("1.5-5b", ["CogVideoX 1.5", "rotary", "2 layers", "DDIM"], (26, 20), 9, 16.0, 2),
    ] {
        let pipeline = Pipeline::load(family);
        let p = pipeline.0;
        // SAFETY: as a host calls it.
        unsafe {
            let said = text(cvx_pipeline_family(p));
            for word in words {
                assert!(said.contains(word), "{word:?} in {said:?}");
            }
            assert_eq!(text(cvx_pipeline_device(p)), "cpu");
            assert_eq!(text(cvx_pipeline_dtype(p)), "f32");
            let mut shape = [0i64; 5];
            let mut padding = -1;
            let out = shape.as_mut_ptr();
            ok(cvx_pipeline_latent_shape(p, 3, 0, 0, 0, out, &mut padding));
            assert_eq!((shape[0], shape[3], shape[4]), (3, size.1, size.0), "{family}");
            let scale = cvx_pipeline_default_width(p) / size.0 as i32;
            assert_eq!(cvx_pipeline_default_height(p), size.1 as i32 * scale);
            assert_eq!(cvx_pipeline_default_num_frames(p), frames);
            assert_eq!(i64::from(padding) + i64::from(frames - 1) / 4 + 1, shape[1]);
            assert_eq!(padding, i32::from(family == "1.5-5b"));
            assert_eq!(cvx_pipeline_default_fps(p), fps);
            assert_eq!(cvx_pipeline_default_num_inference_steps(p), 50);
            assert_eq!(cvx_pipeline_default_guidance_scale(p), 6.0);
            assert!(cvx_pipeline_default_max_sequence_length(p) > 0);
            assert!(cvx_pipeline_text_embed_dim(p) > 0);
            assert_eq!(cvx_pipeline_num_attention_layers(p), layers);
            for layer in 0..layers {
                let name = text(cvx_pipeline_attention_layer_name(p, layer));
                assert_eq!(name, format!("transformer_blocks.{layer}.attn1"));
            }
            for layer in [-1, layers, i32::MAX] {
                assert!(cvx_pipeline_attention_layer_name(p, layer).is_null());
            }
            assert!(cvx_pipeline_weight_bytes(p) > 100_000);

            let refuse = |words: &[&str], error| fails(CVX_ERROR_INVALID_ARGUMENT, words, error);
            shape = [7; 5];
            let out = shape.as_mut_ptr();
            refuse(&["num_videos"], cvx_pipeline_latent_shape(p, 0, 0, 0, 0, out, null_mut()));
            refuse(&["width"], cvx_pipeline_latent_shape(p, 1, 31, 32, 5, out, null_mut()));
            refuse(&["both"], cvx_pipeline_latent_shape(p, 1, 0, 32, 5, out, null_mut()));
            refuse(&["num_frames"], cvx_pipeline_latent_shape(p, 1, 32, 32, -5, out, null_mut()));
            assert_eq!(shape, [7; 5]);
        }
    }
}

#[test]
fn loading_reports_bytes_and_can_be_stopped() {
    let path = folder("5b-sharded");
    let mut reports: Vec<(i32, u64, u64)> = Vec::new();
    let mut on_progress = |info: &cvx_progress_info| {
        assert_eq!(info.struct_size as usize, std::mem::size_of::<cvx_progress_info>());
        assert_eq!(info.timestep, -1.0);
        reports.push((info.stage, info.done, info.total));
        0
    };
    let mut closure = Closure(&mut on_progress);
    let data = closure.pointer();
    let mut pipeline = untouched::<cvx_pipeline>();
    // SAFETY: as a host calls it; the closures outlive the loads.
    unsafe {
        let options = cvx_load_options_new();
        ok(cvx_load_options_set_progress_callback(options, Some(call_progress), data, None));
        ok(cvx_pipeline_load(path.as_ptr(), options, &mut pipeline));
        let bytes = cvx_pipeline_weight_bytes(pipeline);
        cvx_pipeline_free(pipeline);
        let (_, done, total) = *reports.last().unwrap();
        assert_eq!(done, total);
        assert!(total >= bytes / 2, "{total} bytes of files, {bytes} of weights");
        assert!(reports.iter().all(|report| (report.0, report.2) == (CVX_STAGE_LOAD, total)));
        assert!(reports.is_sorted_by_key(|report| report.1));

        pipeline = untouched::<cvx_pipeline>();
        let mut calls = 0;
        let mut stop = |_: &cvx_progress_info| {
            calls += 1;
            -1
        };
        let mut closure = Closure(&mut stop);
        let data = closure.pointer();
        ok(cvx_load_options_set_progress_callback(options, Some(call_progress), data, None));
        let error = cvx_pipeline_load(path.as_ptr(), options, &mut pipeline);
        fails(CVX_ERROR_CANCELLED, &["progress callback"], error);
        assert_eq!((calls, pipeline), (1, untouched()));

        ok(cvx_load_options_set_progress_callback(options, None, null_mut(), None));
        let token = cvx_cancel_token_new();
        cvx_cancel_token_cancel(token);
        ok(cvx_load_options_set_cancel_token(options, token));
        cvx_cancel_token_free(token);
        let error = cvx_pipeline_load(path.as_ptr(), options, &mut pipeline);
        fails(CVX_ERROR_CANCELLED, &["token"], error);
        assert_eq!(pipeline, untouched());

        ok(cvx_load_options_set_cancel_token(options, null()));
        ok(cvx_pipeline_load(path.as_ptr(), options, &mut pipeline));
        cvx_pipeline_free(pipeline);
        cvx_load_options_free(options);
    }
}

#[test]
fn what_cannot_be_loaded_is_named() {
    let empty = tempfile::tempdir().unwrap();
    let empty = c(empty.path().to_str().unwrap());
    let mut pipeline = untouched::<cvx_pipeline>();
    // SAFETY: as a host calls it.
    unsafe {
        let error = cvx_pipeline_load(c"/no/such/folder".as_ptr(), null(), &mut pipeline);
        fails(CVX_ERROR_NOT_FOUND, &["/no/such/folder"], error);
        let error = cvx_pipeline_load(empty.as_ptr(), null(), &mut pipeline);
        fails(CVX_ERROR_NOT_FOUND, &["model_index.json"], error);
        let options = cvx_load_options_new();
        ok(cvx_load_options_set_device(options, c"cuda:65535".as_ptr()));
        let error = cvx_pipeline_load(folder("2b").as_ptr(), options, &mut pipeline);
        fails(CVX_ERROR_DEVICE_UNAVAILABLE, &[], error);
        cvx_load_options_free(options);
    }
    assert_eq!(pipeline, untouched());
}
