//! Jobs beside each other, beside runs of the host, and from inside callbacks.

use crate::job_support::*;
use crate::support::*;
use cogvideox::capi::*;
use std::ptr::null_mut;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

#[test]
fn clones_run_their_jobs_at_once() {
    let pipeline = Pipeline::load("5b");
    let expected = latents(&generate(&pipeline, &Options::latents(3)));
    let mut clone = null_mut();
    // SAFETY: as a host calls it.
    ok(unsafe { cvx_pipeline_clone(pipeline.0, &mut clone) });
    let clone = Pipeline(clone);
    let jobs: Vec<_> = [&pipeline, &clone]
        .map(|pipeline| {
            let options = Options::latents(3);
            let gate = Gate::of(&options);
            (submit(pipeline, &options), gate)
        })
        .into();
    for (_, gate) in &jobs {
        gate.entered();
    }
    assert!(jobs.iter().all(|(job, _)| job.state() == CVX_JOB_RUNNING), "both at once");
    assert!(jobs.iter().all(|(job, _)| job.status().jobs_ahead == 0));
    drop(pipeline);
    drop(clone);
    for (job, gate) in jobs {
        drop(gate);
        assert_eq!(latents(&job.video()), expected);
    }
}

#[test]
fn the_host_is_told_that_the_pipeline_is_busy_while_a_job_runs() {
    let pipeline = Pipeline::load("2b");
    let held = Options::latents(1);
    let gate = Gate::of(&held);
    let job = submit(&pipeline, &held);
    gate.entered();
    let other = Options::latents(1);
    // SAFETY: as a host calls it.
    unsafe {
        let mut video = untouched();
        let busy = |error| fails(CVX_ERROR_BUSY, &["generating already"], error);
        busy(cvx_pipeline_generate(pipeline.0, other.0, &mut video));
        assert_eq!(video, untouched());
        let config = cvx_pab_config_new();
        busy(cvx_pipeline_enable_cache(pipeline.0, config));
        cvx_cache_config_free(config);
        busy(cvx_pipeline_disable_cache(pipeline.0));
    }
    drop(gate);
    assert_eq!(job.wait(LONG), CVX_JOB_SUCCEEDED);
    // Whoever waited for the job finds the pipeline free.
    drop(generate(&pipeline, &other));
}

#[test]
fn a_job_waits_for_the_hosts_own_run_and_may_be_cancelled_meanwhile() {
    let pipeline = Pipeline::load("2b");
    let held = Options::latents(1);
    let gate = Gate::of(&held);
    let sent = Sent::new((pipeline.0, held.0));
    let host = thread::spawn(move || {
        let (pipeline, options) = sent.get();
        let mut video = null_mut();
        // SAFETY: as a host calls it.
        ok(unsafe { cvx_pipeline_generate(pipeline, options, &mut video) });
        drop(Video(video));
    });
    gate.entered();
    let (told, ended) = channel();
    let first = submit_then(&pipeline, &Options::latents(1), move |status| {
        let _ = told.send(status.state);
    });
    let second = submit(&pipeline, &Options::latents(2));
    assert_eq!(second.wait(0.05), CVX_JOB_QUEUED);
    assert_eq!([&first, &second].map(|job| job.status().jobs_ahead), [0, 1]);
    first.cancel();
    // Although the host's run goes on.
    let state = ended.recv_timeout(Duration::from_secs_f64(LONG));
    assert_eq!(state, Ok(CVX_JOB_CANCELLED));
    assert_eq!(second.status().jobs_ahead, 0);
    drop(gate);
    host.join().unwrap();
    drop(second.video());
}

/// What a callback saw, to be looked at after the run: a callback must not panic.
type Seen = Arc<Mutex<Vec<(&'static str, i32)>>>;

#[test]
fn callbacks_of_a_job_may_call_back() {
    let pipeline = Pipeline::load("2b");
    let options = Options::latents(1);
    let handles = Arc::new(Mutex::new(None::<Sent<(*mut cvx_pipeline, *mut cvx_job)>>));
    let seen = Seen::default();
    let (inside, found) = (Arc::clone(&handles), Arc::clone(&seen));
    let inner = Options::latents(1);
    let inner_handle = Sent::new(inner.0);
    let mut first = true;
    on_progress(&options, move |_| {
        let Some(handles) = *inside.lock().unwrap() else { return 0 };
        if !std::mem::replace(&mut first, false) {
            return 0;
        }
        let (pipeline, job) = handles.get();
        let mut seen = found.lock().unwrap();
        // SAFETY: as a host calls it.
        unsafe {
            let (mut video, mut state) = (null_mut(), -1);
            let options = inner_handle.get();
            seen.push(("generate", code(cvx_pipeline_generate(pipeline, options, &mut video)).0));
            seen.push(("wait", code(cvx_job_wait(job, 1.0, &mut state)).0));
            seen.push(("wait for ever", code(cvx_job_wait(job, -1.0, null_mut())).0));
            seen.push(("state", state));
            seen.push(("wait 0", code(cvx_job_wait(job, 0.0, &mut state)).0));
            seen.push(("state then", state));
            seen.push(("poll", cvx_job_poll(job, null_mut())));
            seen.push(("take", code(cvx_job_take_video(job, &mut video)).0));
            let mut other = null_mut();
            let p = pipeline;
            let submitted = cvx_pipeline_submit(p, options, None, null_mut(), None, &mut other);
            seen.push(("submit", code(submitted).0));
            seen.push(("wait for the other", code(cvx_job_wait(other, -1.0, null_mut())).0));
            cvx_job_cancel(other);
            seen.push(("wait for the cancelled", code(cvx_job_wait(other, -1.0, &mut state)).0));
            seen.push(("state of the other", state));
            cvx_job_free(other);
        }
        0
    });
    let mut hold = handles.lock().unwrap();
    let job = submit(&pipeline, &options);
    *hold = Some(Sent::new((pipeline.0, job.0)));
    drop(hold);
    assert_eq!(job.wait(LONG), CVX_JOB_SUCCEEDED);
    let expected = [
        ("generate", CVX_ERROR_BUSY),
        ("wait", CVX_ERROR_BUSY),
        ("wait for ever", CVX_ERROR_BUSY),
        ("state", -1),
        ("wait 0", CVX_OK),
        ("state then", CVX_JOB_RUNNING),
        ("poll", CVX_JOB_RUNNING),
        ("take", CVX_ERROR_BUSY),
        ("submit", CVX_OK),
        ("wait for the other", CVX_ERROR_BUSY),
        ("wait for the cancelled", CVX_OK),
        ("state of the other", CVX_JOB_CANCELLED),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[test]
fn handles_may_be_freed_inside_callbacks() {
    // In a callback of the run: the job is cancelled by that.
    let pipeline = Pipeline::load("2b");
    let options = Options::latents(900);
    let handles = Arc::new(Mutex::new(None::<Sent<(*mut cvx_pipeline, *mut cvx_job)>>));
    let inside = Arc::clone(&handles);
    let (ended, end) = channel();
    on_progress(&options, move |_| {
        if let Some(handles) = inside.lock().unwrap().take() {
            let (pipeline, job) = handles.get();
            // SAFETY: freed here only; the test gave its handles away.
            unsafe {
                cvx_job_free(job);
                cvx_pipeline_free(pipeline);
            }
        }
        0
    });
    let mut hold = handles.lock().unwrap();
    let job = submit_then(&pipeline, &options, move |status| {
        let _ = ended.send((status.state, status.fraction < 1.0));
    });
    *hold = Some(Sent::new((pipeline.0, job.0)));
    std::mem::forget((pipeline, job));
    drop(hold);
    let end = end.recv_timeout(Duration::from_secs_f64(LONG));
    assert_eq!(end, Ok((CVX_JOB_CANCELLED, true)));

    // In the job callback: everything of the job is at hand there, and the next run may start.
    let pipeline = Pipeline::load("2b");
    let handles = Arc::new(Mutex::new(None::<Sent<(*mut cvx_pipeline, *mut cvx_job)>>));
    let inside = Arc::clone(&handles);
    let seen = Seen::default();
    let found = Arc::clone(&seen);
    let inner = Options::latents(1);
    let inner_handle = Sent::new(inner.0);
    let (done, is_done) = channel();
    let mut hold = handles.lock().unwrap();
    let job = submit_then(&pipeline, &Options::latents(1), move |status| {
        let Some(handles) = inside.lock().unwrap().take() else { return };
        let (pipeline, job) = handles.get();
        let mut seen = found.lock().unwrap();
        // SAFETY: as a host calls it; freed here only.
        unsafe {
            seen.push(("told", status.state));
            seen.push(("poll", cvx_job_poll(job, null_mut())));
            let mut state = -1;
            seen.push(("wait", code(cvx_job_wait(job, -1.0, &mut state)).0));
            seen.push(("state", state));
            let mut video = null_mut();
            seen.push(("take", code(cvx_job_take_video(job, &mut video)).0));
            cvx_video_free(video);
            let options = inner_handle.get();
            seen.push(("generate", code(cvx_pipeline_generate(pipeline, options, &mut video)).0));
            cvx_video_free(video);
            cvx_job_free(job);
            cvx_pipeline_free(pipeline);
        }
        let _ = done.send(());
    });
    *hold = Some(Sent::new((pipeline.0, job.0)));
    std::mem::forget((pipeline, job));
    drop(hold);
    is_done.recv_timeout(Duration::from_secs_f64(LONG)).unwrap();
    let expected = [
        ("told", CVX_JOB_SUCCEEDED),
        ("poll", CVX_JOB_SUCCEEDED),
        ("wait", CVX_OK),
        ("state", CVX_JOB_SUCCEEDED),
        ("take", CVX_OK),
        ("generate", CVX_OK),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[test]
fn all_callbacks_of_a_pipelines_jobs_come_on_one_thread_of_its_own() {
    let pipeline = Pipeline::load("2b");
    let threads = Arc::new(Mutex::new(Vec::new()));
    let note = || {
        let threads = Arc::clone(&threads);
        move || threads.lock().unwrap().push(thread::current().id())
    };
    let mut jobs = Vec::new();
    for _ in 0..2 {
        let options = Options::small(1);
        let (progress, frames, end) = (note(), note(), note());
        on_progress(&options, move |_| {
            progress();
            0
        });
        on_frames(&options, CVX_PIXELS_F32, move |_| {
            frames();
            0
        });
        jobs.push(submit_then(&pipeline, &options, move |_| end()));
    }
    for job in &jobs {
        drop(job.video());
    }
    soon("both callbacks", || {
        let threads = threads.lock().unwrap();
        assert!(threads.iter().all(|&thread| thread == threads[0]));
        assert_ne!(threads[0], thread::current().id());
        threads.len() > 10
    });
}

#[test]
fn jobs_are_cached_and_counted_like_other_runs() {
    let pipeline = Pipeline::load("2b");
    let options = Options::latents(6);
    let stats = || {
        let mut stats = null_mut();
        // SAFETY: as a host calls it; the text lives as long as the statistics.
        unsafe {
            ok(cvx_pipeline_cache_stats(pipeline.0, &mut stats));
            let found = (
                text(cvx_cache_stats_technique(stats)),
                cvx_cache_stats_num_steps(stats),
                cvx_cache_stats_layer_count(stats, 0, CVX_LAYER_COMPUTED),
                cvx_cache_stats_layer_count(stats, 0, CVX_LAYER_REUSED),
                cvx_cache_stats_bytes_peak(stats),
            );
            cvx_cache_stats_free(stats);
            found
        }
    };
    let plain = latents(&submit(&pipeline, &options).video());
    let (technique, steps, computed, reused, peak) = stats();
    assert_eq!((technique.as_str(), steps, computed, reused, peak), ("", 6, 6, 0, 0));
    // SAFETY: as a host calls it.
    unsafe {
        let config = cvx_pab_config_new();
        ok(cvx_cache_config_set_spatial_attention_block_skip_range(config, 2));
        ok(cvx_cache_config_set_spatial_attention_timestep_skip_range(config, -1, 1000));
        ok(cvx_pipeline_enable_cache(pipeline.0, config));
        cvx_cache_config_free(config);
    }
    let cached = latents(&submit(&pipeline, &options).video());
    let of_job = stats();
    assert!(of_job.3 > 0, "{of_job:?}");
    assert_ne!(cached, plain);
    assert_eq!(latents(&generate(&pipeline, &options)), cached);
    assert_eq!(stats(), of_job);
}
