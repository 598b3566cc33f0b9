//! Jobs: their order, their states, cancelling, waiting.

use crate::job_support::*;
use crate::support::*;
use cogvideox::capi::*;
use std::ptr::null_mut;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

#[test]
fn jobs_of_one_pipeline_run_one_after_another_in_order() {
    let pipeline = Pipeline::load("2b");
    let held = Options::latents(2);
    let gate = Gate::of(&held);
    let ends = Arc::new(Mutex::new(Vec::new()));
    let told = |name: &'static str| {
        let ends = Arc::clone(&ends);
        move |status: &cvx_job_status| {
            ends.lock().unwrap().push((name, status.state, status.fraction, status.struct_size));
        }
    };
    let began = Instant::now();
    let first = submit_then(&pipeline, &held, told("first"));
    let second = submit_then(&pipeline, &Options::latents(3), told("second"));
    let third = submit_then(&pipeline, &Options::small(1), told("third"));
    assert!(began.elapsed().as_secs_f64() < 1.0, "submitting does not wait");

    gate.entered();
    let [a, b, c] = [&first, &second, &third].map(Job::status);
    assert_eq!([a.state, b.state, c.state], [CVX_JOB_RUNNING, CVX_JOB_QUEUED, CVX_JOB_QUEUED]);
    assert_eq!([a.jobs_ahead, b.jobs_ahead, c.jobs_ahead], [0, 1, 2]);
    assert_eq!((a.stage, a.timestep), (CVX_STAGE_ENCODE, -1.0));
    assert!(a.seconds > 0.0 && a.fraction < 0.5, "{a:?}");
    for waiting in [b, c] {
        let nothing = (waiting.stage, waiting.done, waiting.total, waiting.timestep);
        assert_eq!(nothing, (0, 0, 0, -1.0));
        assert_eq!((waiting.fraction, waiting.seconds), (0.0, 0.0));
    }

    drop(gate);
    assert_eq!(third.wait(LONG), CVX_JOB_SUCCEEDED);
    for job in [&first, &second] {
        assert_eq!(job.state(), CVX_JOB_SUCCEEDED, "what was submitted before has ended before");
    }
    let (then, last) = (second.status(), third.status());
    assert_eq!((then.stage, then.done, then.total), (CVX_STAGE_DENOISE, 3, 3));
    assert_eq!((last.stage, last.fraction, last.jobs_ahead), (CVX_STAGE_DECODE, 1.0, 0));
    thread::sleep(std::time::Duration::from_millis(5));
    assert_eq!(third.status().seconds, last.seconds, "time stands still at the end");
    soon("the last callback", || ends.lock().unwrap().len() == 3);
    let size = size_of::<cvx_job_status>() as u32;
    let ended = |name| (name, CVX_JOB_SUCCEEDED, 1.0, size);
    assert_eq!(*ends.lock().unwrap(), ["first", "second", "third"].map(ended));

    // What they made is what the pipeline makes.
    let expected = latents(&generate(&pipeline, &Options::latents(3)));
    assert_eq!(latents(&second.video()), expected);
}

#[test]
fn a_jobs_frames_are_those_of_generate() {
    for family in ["2b", "5b", "1.5-5b"] {
        let pipeline = Pipeline::load(family);
        let options = Options::small(2);
        // SAFETY: as a host calls it.
        ok(unsafe { cvx_generate_options_set_num_videos(options.0, 2) });
        let job = submit(&pipeline, &options);
        let video = job.video();
        let expected = generate(&pipeline, &options);
        assert_eq!(rgb8(&video), rgb8(&expected), "{family}");
        assert_eq!(latents(&video), latents(&expected), "{family}");
    }
}

#[test]
fn options_are_copied_when_a_job_is_submitted() {
    let pipeline = Pipeline::load("2b");
    let held = Options::latents(1);
    let gate = Gate::of(&held);
    let _first = submit(&pipeline, &held);
    let options = Options::latents(2);
    let job = submit(&pipeline, &options);
    // SAFETY: as a host calls it.
    ok(unsafe { cvx_generate_options_set_seed(options.0, 9) });
    let changed = submit(&pipeline, &options);
    drop(options);
    drop(gate);
    let (found, other) = (latents(&job.video()), latents(&changed.video()));
    let expected = latents(&generate(&pipeline, &Options::latents(2)));
    assert_eq!(found, expected);
    assert_ne!(other, expected);
}

#[test]
fn progress_of_a_job_never_falls_and_is_whole_only_at_the_end() {
    let pipeline = Pipeline::load("5b");
    let options = Options::small(4);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let handle = Arc::new(Mutex::new(None::<Sent<*mut cvx_job>>));
    let (inside, job_of) = (Arc::clone(&seen), Arc::clone(&handle));
    on_progress(&options, move |info| {
        if let Some(job) = *job_of.lock().unwrap() {
            let status = status_of(job.get());
            let reported = (info.stage, info.done, info.total);
            let polled = (status.stage, status.done, status.total);
            inside.lock().unwrap().push((status, reported == polled));
        }
        0
    });
    let mut hold = handle.lock().unwrap();
    let job = submit(&pipeline, &options);
    *hold = Some(Sent::new(job.0));
    drop(hold);
    assert_eq!(job.wait(LONG), CVX_JOB_SUCCEEDED);
    let seen = seen.lock().unwrap();
    assert!(seen.len() > 6, "{} reports", seen.len());
    assert!(seen.iter().all(|(status, same)| *same && status.state == CVX_JOB_RUNNING));
    assert!(seen.is_sorted_by_key(|(status, _)| status.fraction));
    assert!(seen.is_sorted_by_key(|(status, _)| status.seconds));
    let last = seen.last().unwrap().0.fraction;
    assert!(last > 0.9 && last < 1.0, "{last}");
    assert_eq!(job.status().fraction, 1.0);
}

#[test]
fn a_queued_job_is_cancelled_at_once_and_never_runs() {
    let pipeline = Pipeline::load("2b");
    let held = Options::latents(1);
    let gate = Gate::of(&held);
    let ends = Arc::new(Mutex::new(Vec::new()));
    let told = |name: &'static str| {
        let ends = Arc::clone(&ends);
        move |status: &cvx_job_status| ends.lock().unwrap().push((name, status.state))
    };
    let first = submit_then(&pipeline, &held, told("first"));
    let options = Options::latents(1);
    let ran = freed();
    let count = Sent::new(ran.pointer());
    on_progress(&options, move |_| {
        // SAFETY: the counter is never freed.
        unsafe { count_free(count.get()) };
        0
    });
    let second = submit_then(&pipeline, &options, told("second"));
    let third = submit_then(&pipeline, &Options::latents(1), told("third"));
    let fourth = submit_then(&pipeline, &Options::latents(1), told("fourth"));
    gate.entered();
    third.cancel();
    second.cancel();
    second.cancel();
    for job in [&second, &third] {
        assert_eq!(job.state(), CVX_JOB_CANCELLED, "at once");
        assert_eq!(job.wait(-1.0), CVX_JOB_CANCELLED);
        for _ in 0..2 {
            fails(CVX_ERROR_CANCELLED, &["before it began to run"], job.take().0);
        }
    }
    let status = second.status();
    assert_eq!((status.stage, status.fraction, status.seconds), (0, 0.0, 0.0));
    assert_eq!(fourth.status().jobs_ahead, 1, "those that are cancelled run no more");
    assert!(ends.lock().unwrap().is_empty(), "callbacks come from the worker, which runs");
    drop(gate);
    assert_eq!(fourth.wait(LONG), CVX_JOB_SUCCEEDED);
    assert_eq!(first.state(), CVX_JOB_SUCCEEDED);
    soon("the last callback", || ends.lock().unwrap().len() == 4);
    let expected = [
        ("first", CVX_JOB_SUCCEEDED),
        ("third", CVX_JOB_CANCELLED),
        ("second", CVX_JOB_CANCELLED),
        ("fourth", CVX_JOB_SUCCEEDED),
    ];
    assert_eq!(*ends.lock().unwrap(), expected, "the cancelled before the next run");
    assert_eq!(ran.times(), 0);
}

#[test]
fn a_running_job_is_cancelled_in_every_way_and_the_next_is_whole() {
    let pipeline = Pipeline::load("2b");
    let small = Options::latents(2);
    let expected = latents(&generate(&pipeline, &small));
    for (way, word) in [
        ("job", "the job was cancelled while it ran"),
        ("token", "cancelled by its token"),
        ("callback", "progress callback"),
    ] {
        let options = Options::latents(900);
        let steps = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&steps);
        on_progress(&options, move |info| {
            if info.stage == CVX_STAGE_DENOISE {
                *counted.lock().unwrap() = info.done;
            }
            i32::from(way == "callback" && info.stage == CVX_STAGE_DENOISE && info.done == 2)
        });
        let token = cvx_cancel_token_new();
        // SAFETY: as a host calls it.
        ok(unsafe { cvx_generate_options_set_cancel_token(options.0, token) });
        let job = submit(&pipeline, &options);
        let next = submit(&pipeline, &small);
        soon("the second step", || *steps.lock().unwrap() >= 2);
        match way {
            "job" => job.cancel(),
            // SAFETY: as a host calls it.
            "token" => unsafe { cvx_cancel_token_cancel(token) },
            _ => {}
        }
        assert_eq!(job.wait(LONG), CVX_JOB_CANCELLED, "{way}");
        // SAFETY: as a host calls it.
        unsafe { cvx_cancel_token_free(token) };
        assert!(*steps.lock().unwrap() < 900, "{way}: it ran to its end");
        for _ in 0..2 {
            fails(CVX_ERROR_CANCELLED, &[word], job.take().0);
        }
        let status = job.status();
        assert!(status.fraction < 1.0 && status.seconds > 0.0, "{status:?}");
        assert_eq!(status.stage, CVX_STAGE_DENOISE);
        assert_eq!(latents(&next.video()), expected, "{way}");
    }
}

#[test]
fn a_token_that_is_cancelled_before_ends_the_job_when_its_turn_comes() {
    let pipeline = Pipeline::load("2b");
    let options = Options::latents(1);
    // SAFETY: as a host calls it.
    unsafe {
        let token = cvx_cancel_token_new();
        cvx_cancel_token_cancel(token);
        ok(cvx_generate_options_set_cancel_token(options.0, token));
        cvx_cancel_token_free(token);
    }
    let job = submit(&pipeline, &options);
    assert_eq!(job.wait(LONG), CVX_JOB_CANCELLED);
    fails(CVX_ERROR_CANCELLED, &["token"], job.take().0);
}

#[test]
fn waiting_ends_with_the_job_or_with_the_time() {
    let pipeline = Pipeline::load("2b");
    let held = Options::latents(1);
    let gate = Gate::of(&held);
    let job = submit(&pipeline, &held);
    let queued = submit(&pipeline, &Options::latents(1));
    gate.entered();
    for (seconds, most) in [(0.0, 0.05), (-0.0, 0.05), (1e-9, 0.05), (0.1, 60.0)] {
        let began = Instant::now();
        assert_eq!(job.wait(seconds), CVX_JOB_RUNNING);
        assert_eq!(queued.wait(seconds), CVX_JOB_QUEUED);
        let took = began.elapsed().as_secs_f64();
        assert!((2.0 * seconds..most + 2.0).contains(&took), "{seconds}: {took}");
    }
    let mut state = 7;
    // SAFETY: as a host calls it.
    unsafe {
        let error = cvx_job_wait(job.0, f64::NAN, &mut state);
        fails(CVX_ERROR_INVALID_ARGUMENT, &["seconds", "NaN"], error);
        assert_eq!(state, 7);
        ok(cvx_job_wait(job.0, 0.0, null_mut()));
    }
    fails(CVX_ERROR_BUSY, &["has not ended"], job.take().0);
    fails(CVX_ERROR_BUSY, &["has not ended"], queued.take().0);

    // Several wait at once, also without end.
    let waits: Vec<_> = [-1.0, f64::INFINITY, f64::NEG_INFINITY, 1e300, LONG]
        .map(|seconds| {
            let sent = Sent::new(queued.0);
            thread::spawn(move || {
                let mut state = -1;
                // SAFETY: as a host calls it; the job is freed after the threads are done.
                ok(unsafe { cvx_job_wait(sent.get(), seconds, &mut state) });
                state
            })
        })
        .into();
    thread::sleep(std::time::Duration::from_millis(20));
    assert!(waits.iter().all(|wait| !wait.is_finished()));
    drop(gate);
    for wait in waits {
        assert_eq!(wait.join().unwrap(), CVX_JOB_SUCCEEDED);
    }
    assert_eq!(job.wait(0.0), CVX_JOB_SUCCEEDED, "ended already");
}

#[test]
fn polling_writes_as_much_as_the_host_has_room_for() {
    let pipeline = Pipeline::load("2b");
    let job = submit(&pipeline, &Options::latents(1));
    assert_eq!(job.wait(LONG), CVX_JOB_SUCCEEDED);
    let whole = size_of::<cvx_job_status>();
    assert_eq!(whole, 56);
    for (size, written) in [(0, 0), (3, 0), (8, 8), (16, 16), (whole, whole), (whole + 40, whole)] {
        let mut room = [0xeeu8; 128];
        room[..4].copy_from_slice(&(size as u32).to_ne_bytes());
        // Aligned as a host's struct is.
        let mut words = [0u64; 16];
        // SAFETY: as large as `room`.
        unsafe { std::ptr::copy(room.as_ptr(), words.as_mut_ptr().cast(), 128) };
        // SAFETY: more room than `size` says.
        let state = unsafe { cvx_job_poll(job.0, words.as_mut_ptr().cast()) };
        assert_eq!(state, CVX_JOB_SUCCEEDED);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert!(bytes[written.max(4)..].iter().all(|&byte| byte == 0xee), "{size}: {bytes:?}");
        let found = u32::from_ne_bytes(bytes[..4].try_into().unwrap()) as usize;
        assert_eq!(found, if written == 0 { size } else { written });
        if written > 0 {
            assert_eq!(bytes[4..8], CVX_JOB_SUCCEEDED.to_ne_bytes());
        }
    }
    let nobody = status_of(std::ptr::null());
    assert_eq!((nobody.state, nobody.timestep, nobody.fraction), (CVX_JOB_NONE, -1.0, 0.0));
}
