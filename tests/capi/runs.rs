//! Generating: what is reported, how it stops, and that a pipeline is as good after a run that
//! failed as before.

use crate::support::*;
use cogvideox::capi::*;
use std::ffi::c_void;
use std::ptr::{null, null_mut};

/// Sets a progress callback for one run.
fn follow(options: &Options, closure: &mut Closure) {
    // SAFETY: the callers keep the closure for as long as they run with the options.
    ok(unsafe {
        cvx_generate_options_set_progress_callback(
            options.0,
            Some(call_progress),
            closure.pointer(),
            None,
        )
    });
}

/// Runs with a progress callback.
fn run(
    pipeline: &Pipeline,
    options: &Options,
    on_progress: &mut dyn FnMut(&cvx_progress_info) -> i32,
) -> (i32, String) {
    let mut closure = Closure(on_progress);
    follow(options, &mut closure);
    let mut video = untouched::<cvx_video>();
    // SAFETY: as a host calls it.
    let result = unsafe {
        let result = code(cvx_pipeline_generate(pipeline.0, options.0, &mut video));
        ok(cvx_generate_options_set_progress_callback(options.0, None, null_mut(), None));
        result
    };
    if result.0 == CVX_OK {
        drop(Video(video));
    } else {
        assert_eq!(video, untouched(), "a failed call wrote its out-parameter");
    }
    result
}

#[test]
fn a_run_reports_every_stage_and_step() {
    let pipeline = Pipeline::load("2b");
    let mut reports = Vec::new();
    let result = run(&pipeline, &Options::small(3), &mut |info| {
        reports.push((info.stage, info.done, info.total, info.timestep));
        0
    });
    assert_eq!(result.0, CVX_OK, "{}", result.1);
    let mut stages: Vec<i32> = reports.iter().map(|report| report.0).collect();
    assert!(stages.is_sorted());
    stages.dedup();
    assert_eq!(stages, [CVX_STAGE_ENCODE, CVX_STAGE_DENOISE, CVX_STAGE_DECODE]);
    for stage in stages {
        let last = reports.iter().rfind(|report| report.0 == stage).unwrap();
        assert_eq!(last.1, last.2, "stage {stage} ends complete");
    }
    let steps: Vec<_> =
        reports.iter().filter(|report| report.0 == CVX_STAGE_DENOISE && report.1 > 0).collect();
    assert_eq!(
        steps.iter().map(|step| (step.1, step.2)).collect::<Vec<_>>(),
        [(1, 3), (2, 3), (3, 3)]
    );
    assert!(steps.is_sorted_by(|a, b| a.3 > b.3), "timesteps descend");
    assert!(steps.iter().all(|step| (0.0..1000.0).contains(&step.3)));
}

#[test]
fn the_seed_decides_and_stopped_runs_leave_no_trace() {
    let pipeline = Pipeline::load("5b");
    let options = Options::latents(3);
    let (first, shape) = latents(&generate(&pipeline, &options));
    assert_eq!(shape, [1, 3, 4, 4, 4], "the tests' VAEs halve thrice");
    assert!(first.iter().all(|value| value.is_finite()));

    // Cancelled before entry.
    // SAFETY: as a host calls it.
    unsafe {
        let token = cvx_cancel_token_new();
        cvx_cancel_token_cancel(token);
        cvx_cancel_token_cancel(token);
        assert_eq!(cvx_cancel_token_is_cancelled(token), 1);
        ok(cvx_generate_options_set_cancel_token(options.0, token));
        cvx_cancel_token_free(token);
    }
    let mut calls = 0;
    let (code, message) = run(&pipeline, &options, &mut |_| {
        calls += 1;
        0
    });
    assert_eq!((code, calls), (CVX_ERROR_CANCELLED, 0), "{message}");
    // SAFETY: as a host calls it.
    ok(unsafe { cvx_generate_options_set_cancel_token(options.0, null()) });
    assert_eq!(latents(&generate(&pipeline, &options)).0, first);

    // Stopped by the callback at each report in turn.
    let mut reports = 0;
    assert_eq!(
        run(&pipeline, &options, &mut |_| {
            reports += 1;
            0
        })
        .0,
        CVX_OK
    );
    for stop_at in 1..=reports {
        let mut calls = 0;
        let (code, message) = run(&pipeline, &options, &mut |_| {
            calls += 1;
            i32::from(calls == stop_at)
        });
        assert_eq!((code, calls), (CVX_ERROR_CANCELLED, stop_at), "{message}");
        assert!(message.contains("progress callback"), "{message}");
        assert_eq!(latents(&generate(&pipeline, &options)).0, first, "after stopping {stop_at}");
    }

    // A callback that cancels by token.
    // SAFETY: as a host calls it.
    unsafe {
        let token = cvx_cancel_token_new();
        ok(cvx_generate_options_set_cancel_token(options.0, token));
        let (code, message) = run(&pipeline, &options, &mut |info| {
            if info.stage == CVX_STAGE_DENOISE {
                cvx_cancel_token_cancel(token);
            }
            0
        });
        assert_eq!(code, CVX_ERROR_CANCELLED, "{message}");
        cvx_cancel_token_free(token);
        ok(cvx_generate_options_set_cancel_token(options.0, null()));
        ok(cvx_generate_options_set_seed(options.0, u64::MAX));
        assert_ne!(latents(&generate(&pipeline, &options)).0, first);
        ok(cvx_generate_options_set_seed(options.0, 0));
        assert_eq!(latents(&generate(&pipeline, &options)).0, first);
    }
}

#[test]
fn a_callback_that_calls_back_is_told_that_the_pipeline_is_busy() {
    let pipeline = Pipeline::load("2b");
    let options = Options::small(1);
    let inner = Options::latents(1);
    let expected = latents(&generate(&pipeline, &inner)).0;
    let mut stages = Vec::new();
    let (code, message) = run(&pipeline, &options, &mut |info| {
        stages.push(info.stage);
        let p = pipeline.0;
        // SAFETY: as a host calls it.
        unsafe {
            let mut video = untouched::<cvx_video>();
            let busy = |error| fails(CVX_ERROR_BUSY, &["generating already"], error);
            busy(cvx_pipeline_generate(p, inner.0, &mut video));
            let mut floats = vec![7f32; 8 * cvx_pipeline_text_embed_dim(p) as usize];
            let count = floats.len();
            busy(cvx_pipeline_encode_prompt(p, c"a".as_ptr(), 8, floats.as_mut_ptr(), count));
            let (data, shape) = ([0f32; 64], [1i64, 1, 4, 4, 4]);
            busy(cvx_pipeline_decode_latents(
                p,
                data.as_ptr(),
                shape.as_ptr(),
                5,
                null(),
                &mut video,
            ));
            assert_eq!((video, floats[0]), (untouched(), 7.0));
            // What only asks goes on, and so does a clone.
            let mut ids = [-1i64; 8];
            ok(cvx_pipeline_tokenize(p, c"a".as_ptr(), ids.as_mut_ptr(), 8));
            assert!(ids.iter().all(|&id| id >= 0));
            assert!(cvx_pipeline_weight_bytes(p) > 0);
            let mut clone = null_mut();
            ok(cvx_pipeline_clone(p, &mut clone));
            let clone = Pipeline(clone);
            assert_eq!(latents(&generate(&clone, &inner)).0, expected);
        }
        0
    });
    assert_eq!(code, CVX_OK, "{message}");
    assert!(stages.contains(&CVX_STAGE_ENCODE) && stages.contains(&CVX_STAGE_DECODE));
}

#[test]
fn a_callback_that_frees_its_pipeline_does_not_crash_the_host() {
    let pipeline = Pipeline::load("2b");
    let handle = pipeline.0;
    let options = Options::small(1);
    let mut freed = false;
    let mut on_progress = |_: &cvx_progress_info| {
        if !std::mem::replace(&mut freed, true) {
            // SAFETY: a mistake of the host that the header says is survived.
            unsafe { cvx_pipeline_free(handle) };
        }
        0
    };
    let mut closure = Closure(&mut on_progress);
    follow(&options, &mut closure);
    std::mem::forget(pipeline);
    let mut video = null_mut();
    // SAFETY: the handle is alive when the call starts.
    ok(unsafe { cvx_pipeline_generate(handle, options.0, &mut video) });
    let video = Video(video);
    // SAFETY: as a host calls it.
    assert_eq!(unsafe { cvx_video_num_frames(video.0) }, 9);
}

#[test]
fn the_pieces_by_themselves_are_those_of_the_whole() {
    let pipeline = Pipeline::load("2b");
    let p = pipeline.0;
    let options = Options::small(2);
    let video = generate(&pipeline, &options);
    let (numbers, shape) = latents(&video);
    // SAFETY: as a host calls it; frames live as long as their videos.
    unsafe {
        let mut again = null_mut();
        ok(cvx_pipeline_decode_latents(
            p,
            numbers.as_ptr(),
            shape.as_ptr(),
            5,
            options.0,
            &mut again,
        ));
        let again = Video(again);
        let frames = |video: &Video| {
            let (mut data, mut stride) = (null(), 0);
            ok(cvx_video_frames_f32(video.0, 0, &mut data, &mut stride));
            assert_eq!(stride, 32 * 3 * 4);
            std::slice::from_raw_parts(data, 9 * 32 * 32 * 3).to_vec()
        };
        assert_eq!(frames(&video), frames(&again));

        let mut ids = [-1i64; 12];
        ok(cvx_pipeline_tokenize(p, c"a red ball".as_ptr(), ids.as_mut_ptr(), 10));
        assert_eq!(ids[10..], [-1, -1], "no more than asked for is written");
        assert_eq!(ids[9], 0, "padded");
        let end = ids.iter().position(|&id| id == 1).expect("an end of sequence");
        assert!(ids[end + 1..10].iter().all(|&id| id == 0));

        let width = cvx_pipeline_text_embed_dim(p) as usize;
        let mut floats = vec![f32::NAN; 10 * width + 3];
        let (data, room) = (floats.as_mut_ptr(), floats.len());
        ok(cvx_pipeline_encode_prompt(p, c"a red ball".as_ptr(), 10, data, room));
        assert!(floats[..10 * width].iter().all(|value| value.is_finite()));
        assert!(floats[10 * width..].iter().all(|value| value.is_nan()));
        let token = cvx_cancel_token_new();
        let options = Options::small(1);
        ok(cvx_generate_options_set_cancel_token(options.0, token));
        let mut again = vec![f32::NAN; 10 * width];
        let (text, whole) = (c"a red ball".as_ptr(), again.len());
        let out = again.as_mut_ptr();
        ok(cvx_pipeline_encode_prompt_with(p, text, 10, out, whole, options.0));
        assert_eq!(again, floats[..10 * width]);
        cvx_cancel_token_cancel(token);
        again.fill(f32::NAN);
        let (text, out) = (c"another ball".as_ptr(), again.as_mut_ptr());
        let error = cvx_pipeline_encode_prompt_with(p, text, 10, out, whole, options.0);
        fails(CVX_ERROR_CANCELLED, &["token"], error);
        assert!(again.iter().all(|number| number.is_nan()), "a cancelled call wrote");
        ok(cvx_pipeline_encode_prompt_with(p, text, 10, again.as_mut_ptr(), whole, null()));
        cvx_cancel_token_free(token);
        let short = 10 * width - 1;
        fails(
            CVX_ERROR_INVALID_ARGUMENT,
            &["capacity", &short.to_string()],
            cvx_pipeline_encode_prompt(p, c"".as_ptr(), 10, data, short),
        );
        let error = cvx_pipeline_encode_prompt(p, NOT_UTF8.as_ptr(), 10, data, room);
        fails(CVX_ERROR_INVALID_UTF8, &["text"], error);
        for length in [0, 8193, usize::MAX] {
            let error = cvx_pipeline_tokenize(p, c"a".as_ptr(), ids.as_mut_ptr(), length);
            fails(CVX_ERROR_INVALID_ARGUMENT, &["length", &length.to_string()], error);
        }
        let mut none = null_mut();
        let wrong = [1i64, 1, 3, 2, 2];
        let error =
            cvx_pipeline_decode_latents(p, numbers.as_ptr(), wrong.as_ptr(), 5, null(), &mut none);
        fails(CVX_ERROR_INVALID_ARGUMENT, &["latents", "4 channels"], error);
        assert!(none.is_null());
    }
}

#[test]
fn latents_given_replace_the_seeds_noise() {
    let pipeline = Pipeline::load("2b");
    let options = Options::latents(2);
    let noise: Vec<f32> =
        (0..3 * 4 * 4 * 4).map(|i| ((i * 37 % 101) as f32 - 50.0) / 25.0).collect();
    let shape = [1i64, 3, 4, 4, 4];
    // SAFETY: as a host calls it.
    unsafe {
        let set = |shape: &[i64; 5]| {
            cvx_generate_options_set_latents(options.0, noise.as_ptr(), shape.as_ptr(), 5)
        };
        ok(set(&shape));
        let first = latents(&generate(&pipeline, &options)).0;
        ok(cvx_generate_options_set_seed(options.0, 99));
        assert_eq!(latents(&generate(&pipeline, &options)).0, first, "DDIM without eta");
        ok(set(&[1, 1, 4, 4, 4]));
        let mut video = untouched::<cvx_video>();
        let error = cvx_pipeline_generate(pipeline.0, options.0, &mut video);
        fails(
            CVX_ERROR_INVALID_ARGUMENT,
            &["latents", "[1, 3, 4, 4, 4]", "[1, 1, 4, 4, 4]"],
            error,
        );
        assert_eq!(video, untouched());
        ok(cvx_generate_options_set_latents(options.0, null(), null(), 0));
        assert_ne!(latents(&generate(&pipeline, &options)).0, first);
    }
}

#[test]
fn a_text_encoder_on_demand_changes_nothing_but_memory() {
    let whole = Pipeline::load("5b");
    let mut pipeline = null_mut();
    // SAFETY: as a host calls it.
    unsafe {
        let options = cvx_load_options_new();
        ok(cvx_load_options_set_text_encoder_on_demand(options, 1));
        ok(cvx_pipeline_load(folder("5b").as_ptr(), options, &mut pipeline));
        cvx_load_options_free(options);
    }
    let lean = Pipeline(pipeline);
    let options = Options::latents(2);
    let expected = latents(&generate(&whole, &options)).0;
    // While the encoder is read, the callback may ask how much is there.
    let mut stages = Vec::new();
    // SAFETY: as a host calls it.
    let (code, message) = run(&lean, &options, &mut |info| unsafe {
        stages.push(info.stage);
        i32::from(cvx_pipeline_weight_bytes(lean.0) == u64::MAX)
    });
    assert_eq!(code, CVX_OK, "{message}");
    assert!(stages.contains(&CVX_STAGE_LOAD), "{stages:?}");
    assert_eq!(latents(&generate(&lean, &options)).0, expected);
    // SAFETY: as a host calls it.
    unsafe {
        assert!(cvx_pipeline_weight_bytes(lean.0) < cvx_pipeline_weight_bytes(whole.0));
    }
}

#[test]
fn messages_go_to_the_run_or_else_to_the_pipeline() {
    unsafe extern "C" fn collect(info: *const cvx_log_info, data: *mut c_void) {
        // SAFETY: the lists below outlive what logs into them.
        unsafe {
            let info = &*info;
            assert_eq!(info.struct_size as usize, std::mem::size_of::<cvx_log_info>());
            let list = &mut *data.cast::<Vec<(i32, String)>>();
            list.push((info.level, text(info.message)));
        }
    }
    let (mut of_load, mut of_run) = (Vec::<(i32, String)>::new(), Vec::<(i32, String)>::new());
    let load_data = std::ptr::from_mut(&mut of_load).cast();
    let run_data = std::ptr::from_mut(&mut of_run).cast();
    let (mut pipeline, mut video) = (null_mut(), null_mut());
    let options = Options::latents(1);
    // SAFETY: as a host calls it; the lists outlive the pipeline.
    unsafe {
        let load = cvx_load_options_new();
        ok(cvx_load_options_set_log_callback(load, Some(collect), load_data, None));
        ok(cvx_pipeline_load(folder("2b").as_ptr(), load, &mut pipeline));
        cvx_load_options_free(load);
        let pipeline = Pipeline(pipeline);
        // 6 frames become 8, and the log says so.
        ok(cvx_generate_options_set_num_frames(options.0, 6));
        ok(cvx_pipeline_generate(pipeline.0, options.0, &mut video));
        drop(Video(video));
        ok(cvx_generate_options_set_log_callback(options.0, Some(collect), run_data, None));
        ok(cvx_pipeline_generate(pipeline.0, options.0, &mut video));
        drop(Video(video));
    }
    let about = |list: &[(i32, String)]| {
        list.iter()
            .filter(|(level, m)| *level == CVX_LOG_WARNING && m.contains("num_frames 6 becomes 8"))
            .count()
    };
    assert_eq!((about(&of_load), about(&of_run)), (1, 1), "{of_load:?} {of_run:?}");
}

#[test]
fn a_run_that_no_machine_can_hold_is_out_of_memory_and_the_next_one_fine() {
    // Where the kernel promises memory that it does not have, no program can tell.
    let promises = std::fs::read_to_string("/proc/sys/vm/overcommit_memory").unwrap_or_default();
    if promises.trim() == "1" {
        return;
    }
    let pipeline = Pipeline::load("5b");
    let huge = Options::latents(1);
    let small = Options::latents(1);
    let expected = latents(&generate(&pipeline, &small)).0;
    // SAFETY: as a host calls it.
    unsafe {
        // 2^42 numbers of noise.
        ok(cvx_generate_options_set_size(huge.0, 16384, 16384));
        ok(cvx_generate_options_set_num_frames(huge.0, 4096));
        ok(cvx_generate_options_set_num_videos(huge.0, 256));
        let mut video = untouched();
        let error = cvx_pipeline_generate(pipeline.0, huge.0, &mut video);
        fails(CVX_ERROR_OUT_OF_MEMORY, &["memory"], error);
        assert_eq!(video, untouched());
    }
    assert_eq!(latents(&generate(&pipeline, &small)).0, expected);
}
