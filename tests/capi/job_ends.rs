//! How jobs end: videos taken once, failures, handles freed in every state, and what the host
//! gave them given back exactly once.

use crate::job_support::*;
use crate::support::*;
use cogvideox::capi::*;
use std::ffi::c_void;
use std::ptr::{null, null_mut};

unsafe extern "C" fn ignore_end(_: *const cvx_job_status, _: *mut c_void) {}
unsafe extern "C" fn ignore_frames(_: *const cvx_frames_info, _: *mut c_void) -> i32 {
    0
}

const FREE: cvx_free_callback = Some(count_free);

#[test]
fn a_video_is_taken_once_and_outlives_its_job() {
    let pipeline = Pipeline::load("2b");
    let job = submit(&pipeline, &Options::small(1));
    let video = job.video();
    for _ in 0..2 {
        fails(CVX_ERROR_INVALID_ARGUMENT, &["taken already"], job.take().0);
    }
    assert_eq!(job.state(), CVX_JOB_SUCCEEDED);
    job.cancel();
    assert_eq!(job.state(), CVX_JOB_SUCCEEDED, "an end is final");
    drop(job);
    drop(pipeline);
    assert_eq!(rgb8(&video).len(), 9 * 32 * 32 * 3);
}

/// A cache whose timestep callback returns what no timestep is.
fn enable_failing_cache(pipeline: &Pipeline) {
    unsafe extern "C" fn nan(_: *const cvx_step_info, _: *mut c_void) -> f64 {
        f64::NAN
    }
    // SAFETY: as a host calls it.
    unsafe {
        let config = cvx_pab_config_new();
        ok(cvx_cache_config_set_spatial_attention_block_skip_range(config, 2));
        ok(cvx_cache_config_set_current_timestep_callback(config, Some(nan), null_mut(), None));
        ok(cvx_pipeline_enable_cache(pipeline.0, config));
        cvx_cache_config_free(config);
    }
}

#[test]
fn a_failed_job_keeps_its_error_and_the_next_is_whole() {
    let pipeline = Pipeline::load("2b");
    let options = Options::latents(2);
    let expected = latents(&generate(&pipeline, &options));
    enable_failing_cache(&pipeline);
    let failing = submit(&pipeline, &options);
    assert_eq!(failing.wait(LONG), CVX_JOB_FAILED);
    // SAFETY: as a host calls it.
    ok(unsafe { cvx_pipeline_disable_cache(pipeline.0) });
    let next = submit(&pipeline, &options);
    for _ in 0..3 {
        fails(CVX_ERROR_CALLBACK_FAILED, &["NaN"], failing.take().0);
    }
    assert!(failing.status().fraction < 1.0);
    assert_eq!(latents(&next.video()), expected);

    // More memory than any machine has, which is found when the run is under way; where the
    // kernel promises memory that it does not have, no program can tell.
    let promises = std::fs::read_to_string("/proc/sys/vm/overcommit_memory").unwrap_or_default();
    if promises.trim() == "1" {
        return;
    }
    let huge = Options::latents(1);
    // SAFETY: as a host calls it.
    unsafe {
        ok(cvx_generate_options_set_size(huge.0, 16384, 16384));
        ok(cvx_generate_options_set_num_frames(huge.0, 4096));
        ok(cvx_generate_options_set_num_videos(huge.0, 256));
    }
    let huge = submit(&pipeline, &huge);
    let next = submit(&pipeline, &options);
    assert_eq!(huge.wait(LONG), CVX_JOB_FAILED);
    for _ in 0..2 {
        fails(CVX_ERROR_OUT_OF_MEMORY, &["memory"], huge.take().0);
    }
    assert_eq!(latents(&next.video()), expected);
}

#[test]
fn what_can_be_found_wrong_at_once_is_not_queued() {
    let pipeline = Pipeline::load("2b");
    let user_data = freed();
    let mut pixels = vec![0u8; 100];
    type Spoil<'a> = &'a dyn Fn(*mut cvx_generate_options) -> *mut cvx_error;
    let buffer = Sent::new(pixels.as_mut_ptr());
    // SAFETY: as a host calls them.
    let spoils: [(&[&str], Spoil); 5] = unsafe {
        [
            (&["width", "40"], &|o| cvx_generate_options_set_size(o, 40, 32)),
            (&["num_inference_steps", "2000"], &|o| {
                cvx_generate_options_set_num_inference_steps(o, 2000)
            }),
            (&["latents", "[1, 1, 1, 1, 1]"], &|o| {
                cvx_generate_options_set_latents(o, [0f32].as_ptr(), [1i64; 5].as_ptr(), 5)
            }),
            (&["frames buffer", "27648", "100"], &|o| {
                let data = buffer.get().cast();
                cvx_generate_options_set_frames_buffer(o, CVX_PIXELS_RGB8, data, 100, 0, 0)
            }),
            (&["tile_sample_min_height", "tile_overlap_factor_height"], &|o| {
                cvx_generate_options_set_vae_tile(o, 8, 8, 0.9, 0.9)
            }),
        ]
    };
    for (index, (words, spoil)) in spoils.iter().enumerate() {
        let options = Options::small(1);
        ok(spoil(options.0));
        let mut job = untouched();
        // SAFETY: as a host calls it.
        unsafe {
            let p = pipeline.0;
            let data = user_data.pointer();
            let error = cvx_pipeline_submit(p, options.0, Some(ignore_end), data, FREE, &mut job);
            fails(CVX_ERROR_INVALID_ARGUMENT, words, error);
            assert_eq!(job, untouched());
            assert_eq!(user_data.times(), index as u32 + 1, "given back at once");
            let mut video = untouched();
            let error = cvx_pipeline_generate(p, options.0, &mut video);
            fails(CVX_ERROR_INVALID_ARGUMENT, words, error);
        }
    }
    // SAFETY: NULL is what is tested.
    unsafe {
        let options = Options::latents(1);
        let (p, o, mut job) = (pipeline.0, options.0.cast_const(), untouched());
        let before = user_data.times();
        let data = user_data.pointer();
        let end: cvx_job_callback = Some(ignore_end);
        fails(
            CVX_ERROR_NULL_ARGUMENT,
            &["pipeline"],
            cvx_pipeline_submit(null_mut(), o, end, data, FREE, &mut job),
        );
        fails(
            CVX_ERROR_NULL_ARGUMENT,
            &["options"],
            cvx_pipeline_submit(p, null(), end, data, FREE, &mut job),
        );
        fails(
            CVX_ERROR_NULL_ARGUMENT,
            &["out_job"],
            cvx_pipeline_submit(p, o, end, data, FREE, null_mut()),
        );
        assert_eq!((job, user_data.times()), (untouched(), before + 3));
    }
    drop(submit(&pipeline, &Options::latents(1)).video());
}

/// The host's things that one job holds.
struct Held {
    progress: &'static Freed,
    log: &'static Freed,
    frames: &'static Freed,
    end: &'static Freed,
}

impl Held {
    /// Submits a job that holds them alone: its options are freed.
    fn submit(pipeline: &Pipeline, options: Options) -> (Held, Job) {
        let held = Held { progress: freed(), log: freed(), frames: freed(), end: freed() };
        let mut job = null_mut();
        // SAFETY: as a host calls it.
        unsafe {
            let o = options.0;
            let data = [held.progress, held.log, held.frames, held.end].map(Freed::pointer);
            ok(cvx_generate_options_set_progress_callback(o, Some(go_on), data[0], FREE));
            ok(cvx_generate_options_set_log_callback(o, Some(ignore_log), data[1], FREE));
            ok(cvx_generate_options_set_frames_callback(
                o,
                CVX_PIXELS_RGB8,
                Some(ignore_frames),
                data[2],
                FREE,
            ));
            ok(cvx_pipeline_submit(pipeline.0, o, Some(ignore_end), data[3], FREE, &mut job));
        }
        (held, Job(job))
    }

    fn times(&self) -> [u32; 4] {
        [self.progress, self.log, self.frames, self.end].map(Freed::times)
    }

    #[track_caller]
    fn given_back(&self) {
        soon("everything is given back", || self.times() == [1; 4]);
    }
}

#[test]
fn a_job_is_freed_in_every_state_and_gives_back_what_it_holds_once() {
    let pipeline = Pipeline::load("2b");
    let gated = || {
        let options = Options::latents(1);
        let gate = Gate::of(&options);
        let first = submit(&pipeline, &options);
        gate.entered();
        (gate, first)
    };
    // Queued: cancelled, and told of it by the worker.
    let (gate, first) = gated();
    let (held, job) = Held::submit(&pipeline, Options::small(1));
    assert_eq!(job.state(), CVX_JOB_QUEUED);
    drop(job);
    assert_eq!(held.times(), [0; 4], "the worker gives it back");
    drop(gate);
    held.given_back();
    first.wait(LONG);

    // Running: cancelled.
    let (held, job) = Held::submit(&pipeline, Options::small(900));
    soon("it runs", || job.state() == CVX_JOB_RUNNING);
    drop(job);
    held.given_back();

    // Succeeded, with and without its video; by then only the job callback's may be held.
    for take in [false, true] {
        let (held, job) = Held::submit(&pipeline, Options::small(1));
        assert_eq!(job.wait(LONG), CVX_JOB_SUCCEEDED);
        assert_eq!(held.times()[..3], [1; 3], "before anybody who waits goes on");
        if take {
            drop(job.video());
        }
        drop(job);
        held.given_back();
    }

    // Cancelled and kept.
    let (gate, first) = gated();
    let (held, job) = Held::submit(&pipeline, Options::small(1));
    job.cancel();
    drop(gate);
    held.given_back();
    drop(job);
    first.wait(LONG);

    // Failed.
    enable_failing_cache(&pipeline);
    let (held, job) = Held::submit(&pipeline, Options::small(1));
    assert_eq!(job.wait(LONG), CVX_JOB_FAILED);
    drop(job);
    held.given_back();
    // Nothing is given back twice later on.
    thread_has_ended(pipeline);
    assert_eq!(held.times(), [1; 4]);
}

/// Frees a pipeline and waits until its worker has ended.
fn thread_has_ended(pipeline: Pipeline) {
    let options = Options::latents(1);
    let (held, job) = Held::submit(&pipeline, options);
    drop(pipeline);
    job.wait(LONG);
    held.given_back();
}

/// A pipeline, and what it logs through, which is freed with its weights.
fn pipeline_and_weights() -> (Pipeline, &'static Freed) {
    let weights = freed();
    let mut pipeline = null_mut();
    // SAFETY: as a host calls it.
    unsafe {
        let options = cvx_load_options_new();
        let data = weights.pointer();
        ok(cvx_load_options_set_log_callback(options, Some(ignore_log), data, FREE));
        ok(cvx_pipeline_load(folder("2b").as_ptr(), options, &mut pipeline));
        cvx_load_options_free(options);
    }
    (Pipeline(pipeline), weights)
}

#[test]
fn the_weights_of_a_pipeline_whose_jobs_have_ended_go_with_its_handle() {
    let (pipeline, weights) = pipeline_and_weights();
    let job = submit(&pipeline, &Options::small(1));
    let video = job.video();
    assert_eq!(weights.times(), 0);
    drop(pipeline);
    assert_eq!(weights.times(), 1, "there and then");
    assert_eq!(rgb8(&video).len(), 9 * 32 * 32 * 3);
}

#[test]
fn jobs_go_on_without_the_handle_of_their_pipeline() {
    let (pipeline, weights) = pipeline_and_weights();
    let expected = latents(&generate(&pipeline, &Options::latents(2)));
    let held = Options::latents(2);
    let gate = Gate::of(&held);
    let first = submit(&pipeline, &held);
    let others = [(); 3].map(|()| submit(&pipeline, &Options::latents(2)));
    gate.entered();
    drop(pipeline);
    assert_eq!(weights.times(), 0);
    drop(gate);
    assert_eq!(latents(&first.video()), expected);
    for job in &others {
        assert_eq!(latents(&job.video()), expected);
    }
    // Before anybody who waits goes on, although the handles of the jobs are still there.
    assert_eq!(weights.times(), 1, "the weights go with the last job");
    assert_eq!(others[0].state(), CVX_JOB_SUCCEEDED);
    others[0].cancel();
    assert_eq!(others[0].status().jobs_ahead, 0);
}

#[test]
fn without_a_callback_user_data_is_given_back_at_once() {
    let pipeline = Pipeline::load("2b");
    let user_data = freed();
    let mut job = null_mut();
    let options = Options::latents(1);
    // SAFETY: as a host calls it.
    unsafe {
        let (p, data) = (pipeline.0, user_data.pointer());
        ok(cvx_pipeline_submit(p, options.0, None, data, FREE, &mut job));
    }
    assert_eq!(user_data.times(), 1);
    drop(Job(job).video());
    assert_eq!(user_data.times(), 1);
}
