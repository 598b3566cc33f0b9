//! What becomes of work when the process ends or is forked. Each case is a process of its own:
//! this test binary, which runs one test with an order in its environment.

use crate::support::*;
use cogvideox::capi::*;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::process::{Command, Output};
use std::ptr::{null, null_mut};
use std::time::Duration;

const ORDER: &str = "CVX_TEST_ORDER";

/// Runs `child` with `order` in a process of its own.
fn run(child: &str, order: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("process::{child}"), "--nocapture", "--test-threads", "1"])
        .env(ORDER, order)
        .output()
        .unwrap()
}

fn order() -> Option<Vec<u64>> {
    let order = std::env::var(ORDER).ok()?;
    Some(order.split(' ').map(|number| number.parse().unwrap()).collect())
}

/// A run of many steps with frames, which goes on for seconds.
fn long_options() -> Options {
    let options = Options::small(500);
    // SAFETY: as a host calls it.
    ok(unsafe { cvx_generate_options_set_size(options.0, 64, 64) });
    options
}

#[test]
fn end_in_child() {
    let Some(order) = order() else { return };
    let [kind, milliseconds] = order[..] else { panic!("{order:?}") };
    let pipeline = Pipeline::load("2b");
    let options = if kind == 3 { Options::small(1) } else { long_options() };
    let mut job = null_mut();
    // SAFETY: as a host calls it; the callbacks need no data.
    unsafe {
        if kind == 2 {
            // A run on a thread of the host's.
            let (pipeline, options) = (pipeline.0.addr(), options.0.addr());
            std::thread::spawn(move || {
                let mut video = null_mut();
                let pipeline = std::ptr::with_exposed_provenance_mut(pipeline);
                let options = std::ptr::with_exposed_provenance::<cvx_generate_options>(options);
                cvx_error_free(cvx_pipeline_generate(pipeline, options, &mut video));
            });
        } else {
            for _ in 0..3 {
                let error =
                    cvx_pipeline_submit(pipeline.0, options.0, None, null_mut(), None, &mut job);
                ok(error);
            }
        }
    }
    std::thread::sleep(Duration::from_millis(milliseconds));
    if kind == 1 {
        // SAFETY: as a host calls it: the job and the pipeline go first.
        unsafe { cvx_job_free(job) };
        drop((options, pipeline));
    } else {
        std::mem::forget((options, pipeline));
    }
    println!("ends");
    std::process::exit(7);
}

#[test]
fn a_process_ends_in_order_while_work_goes_on() {
    // 0: jobs; 1: jobs whose handles are freed; 2: a run of the host's; 3: short jobs.
    for kind in 0..4 {
        for milliseconds in [0, 1, 3, 7, 15, 40, 90] {
            let Output { status, stdout, stderr } =
                run("end_in_child", &format!("{kind} {milliseconds}"));
            let (stdout, stderr) =
                (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
            let case = format!("kind {kind}, after {milliseconds} ms: {stdout} {stderr}");
            assert_eq!(status.code(), Some(7), "{case} {status}");
            assert!(stdout.contains("ends") && stderr.is_empty(), "{case}");
        }
    }
}

#[test]
fn fork_in_child() {
    if order().is_none() {
        return;
    }
    // SAFETY: as a host calls it; the child calls what the header allows, and ends.
    unsafe {
        let pipeline = Pipeline::load("2b");
        let options = Options::latents(1);
        drop(generate(&pipeline, &options));
        let mut job = null_mut();
        ok(cvx_pipeline_submit(pipeline.0, options.0, None, null_mut(), None, &mut job));
        let child = libc::fork();
        if child == 0 {
            libc::alarm(60);
            let refused = |error| {
                let (code, message) = code(error);
                code == CVX_ERROR_DEVICE_UNAVAILABLE && message.contains("forked")
            };
            let (mut video, mut second, mut other) = (null_mut(), null_mut(), null_mut());
            let refusals = [
                refused(cvx_pipeline_generate(pipeline.0, options.0, &mut video)),
                refused(cvx_pipeline_load(folder("2b").as_ptr(), null(), &mut second)),
                refused(cvx_pipeline_submit(
                    pipeline.0,
                    options.0,
                    None,
                    null_mut(),
                    None,
                    &mut other,
                )),
            ];
            // The exit handler leaves the parent's threads alone.
            std::process::exit(if refusals == [true; 3] { 5 } else { 6 });
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert!(libc::WIFEXITED(status), "{status}");
        assert_eq!(libc::WEXITSTATUS(status), 5);
        // The parent goes on.
        ok(cvx_job_wait(job, -1.0, null_mut()));
        cvx_job_free(job);
        drop(generate(&pipeline, &options));
    }
}

#[test]
fn a_forked_child_is_told_that_it_cannot_work() {
    let output = run("fork_in_child", "0");
    let text = [output.stdout, output.stderr].map(|t| String::from_utf8_lossy(&t).into_owned());
    assert!(output.status.success(), "{text:?}");
}

#[test]
fn numbers_in_child() {
    let Some(order) = order() else { return };
    let [threads] = order[..] else { panic!("{order:?}") };
    let mut pipeline = null_mut();
    // SAFETY: as a host calls it.
    unsafe {
        let options = cvx_load_options_new();
        ok(cvx_load_options_set_num_threads(options, threads as i32));
        ok(cvx_pipeline_load(folder("2b").as_ptr(), options, &mut pipeline));
        cvx_load_options_free(options);
    }
    // Of some size, so that work is shared at all.
    let options = Options::small(3);
    // SAFETY: as a host calls it.
    ok(unsafe { cvx_generate_options_set_size(options.0, 128, 96) });
    let video = generate(&Pipeline(pipeline), &options);
    // SAFETY: the text lives as long as the video.
    println!("@@{}", text(unsafe { cvx_video_kernels(video.0) }));
    let mut hash = DefaultHasher::new();
    for number in latents(&video).0 {
        number.to_bits().hash(&mut hash);
    }
    println!("@@{:x}", hash.finish());
}

/// What `cvx_video_kernels` says and what the latents are, with `threads` of the pipeline in a
/// process whose own setting is `own`.
fn numbers(threads: u64, own: &str) -> Vec<String> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "process::numbers_in_child", "--nocapture", "--test-threads", "1"])
        .env(ORDER, threads.to_string())
        .env("OMP_NUM_THREADS", own)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> =
        text.lines().filter_map(|line| line.split_once("@@")).map(|(_, l)| l.into()).collect();
    assert_eq!(lines.len(), 2, "{text}");
    lines
}

#[test]
fn a_number_of_threads_decides_the_bytes_whatever_the_processs_own_is() {
    for threads in [1, 2] {
        let expected = numbers(threads, "1");
        assert!(expected[0].contains(&format!(" {threads} thread")), "{expected:?}");
        for own in ["2", "3"] {
            assert_eq!(numbers(threads, own), expected, "{threads} threads, {own} of its own");
        }
    }
}
