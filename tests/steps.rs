//! The step callback: the same numbers as diffusers' `callback_on_step_end`
//! (tests/goldens/maker/step_callbacks.py), what it may do and what is refused; previews; runs that
//! are left after a step and gone on with.

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
use common::cases::{Case, Swapped};
use common::compare::Report;
use common::goldens::{manifest, pipeline_folder, Array, Goldens, FAMILIES};
use common::handles::{c_path, check, test_device, Options, Output, Pipeline, Result};
use std::ffi::c_void;
use std::path::Path;
use std::ptr::{null, null_mut};
use std::slice::from_raw_parts;

const LATENTS: f64 = 1e-4;

/// What a test does after a step.
type Act<'a> = dyn FnMut(&cvx_step_end_info) -> i32 + 'a;

unsafe extern "C" fn act(info: *const cvx_step_end_info, user_data: *mut c_void) -> i32 {
    // SAFETY: the library's struct, and the closure that was given with the callback.
    unsafe { (*user_data.cast::<&mut Act>())(&*info) }
}

/// Runs with a step callback, and takes it away again.
fn with_callback(
    options: &Options,
    callback: &mut Act,
    run: impl FnOnce() -> Result<Array<f32>>,
) -> Result<Array<f32>> {
    let mut callback: &mut Act = callback;
    let place = (&raw mut callback).cast();
    let (set, none) = (cvx_generate_options_set_step_callback, null_mut());
    // SAFETY: the closure outlives the run, and nothing of it is left in the options.
    check(unsafe { set(options.0, Some(act), place, None) }).unwrap();
    let result = run();
    // SAFETY: as above.
    check(unsafe { set(options.0, None, none, None) }).unwrap();
    result
}

fn run(pipeline: &Pipeline, options: &Options, callback: &mut Act) -> Result<Array<f32>> {
    with_callback(options, callback, || pipeline.generate(options)?.latents())
}

fn latents_of(step: *mut cvx_step) -> Array<f32> {
    let (mut data, mut shape) = (null(), [0i64; 5]);
    // SAFETY: as a host calls it in its callback.
    let data = unsafe {
        check(cvx_step_latents(step, &mut data, shape.as_mut_ptr())).unwrap();
        std::slice::from_raw_parts(data, shape.iter().product::<i64>() as usize)
    };
    Array { shape: shape.to_vec(), data: data.to_vec() }
}

fn set_latents(step: *mut cvx_step, latents: &Array<f32>) -> Result<()> {
    let (data, shape) = (latents.data.as_ptr(), latents.shape.as_ptr());
    // SAFETY: as long as the shape says.
    check(unsafe { cvx_step_set_latents(step, data, shape, latents.shape.len()) })
}

fn short(steps: i32) -> Options {
    let mut options = Options::new();
    options
        .prompt("a red robot sleeps")
        .size(48, 32)
        .num_frames(5)
        .num_inference_steps(steps)
        .max_sequence_length(12)
        .seed(9)
        .output(Output::Latents);
    options
}

fn dpm(options: &mut Options) -> &mut Options {
    let scheduler = Some("dpm".into());
    options.swapped(&Swapped { scheduler, ..Swapped::default() })
}

fn refused<T>(result: Result<T>, code: i32, words: &[&str]) {
    let Err(failure) = result else { panic!("was not refused: {words:?}") };
    assert_eq!(failure.code, code, "{failure}");
    for word in words {
        assert!(failure.message.contains(word), "no {word:?} in: {failure}");
    }
}

#[test]
fn runs_with_a_callback_are_those_of_diffusers() {
    let cases: Vec<Case> = manifest("steps/runs.json");
    let mut report = Report::default();
    for family in FAMILIES {
        let goldens = Goldens::open(format!("steps/{family}.safetensors"));
        let pipeline = Pipeline::load(&pipeline_folder(family)).unwrap();
        for case in cases.iter().filter(|case| case.family == family) {
            assert!(case.moved > 100.0 * LATENTS, "{}", case.name);
            let mut seen = Vec::new();
            let mut callback = |info: &cvx_step_end_info| {
                assert_eq!(info.struct_size as usize, size_of::<cvx_step_end_info>());
                assert_eq!(info.num_steps, case.num_inference_steps);
                seen.push(info.step);
                for action in &case.prepare {
                    let (after, number) = (action[1].as_i64(), action[2].as_f64().unwrap());
                    if after != Some(info.step.into()) {
                        continue;
                    }
                    if action[0] == "scale" {
                        let mut latents = latents_of(info.handle);
                        latents.data.iter_mut().for_each(|value| *value *= number as f32);
                        set_latents(info.handle, &latents).unwrap();
                        assert_eq!(latents_of(info.handle), latents);
                    } else {
                        // SAFETY: as a host calls it in its callback.
                        check(unsafe { cvx_step_set_guidance_scale(info.handle, number) }).unwrap();
                    }
                }
                0
            };
            let options = case.options(&goldens, Output::Latents);
            let what = format!("{family}, {}", case.name);
            match run(&pipeline, &options, &mut callback) {
                Ok(latents) => {
                    let expected = goldens.f64(&format!("{}.latents", case.tensors));
                    report.absolute(&what, &latents, expected, LATENTS);
                }
                Err(error) => report.fail(&what, error),
            }
            assert_eq!(seen, (0..case.num_inference_steps).collect::<Vec<_>>());
        }
    }
    report.finish("step callbacks");
}

#[test]
fn a_callback_that_only_looks_changes_nothing_and_sees_what_the_run_ends_with() {
    for family in FAMILIES {
        let pipeline = Pipeline::load(&pipeline_folder(family)).unwrap();
        let options = short(3);
        let expected = pipeline.generate(&options).unwrap().latents().unwrap();
        let (mut all, mut guidance, mut timesteps) = (Vec::new(), Vec::new(), Vec::new());
        let made = run(&pipeline, &options, &mut |info| {
            all.push(latents_of(info.handle));
            guidance.push(info.guidance_scale);
            timesteps.push(info.timestep);
            let mut tensor = null_mut();
            // SAFETY: as a host calls it in its callback.
            unsafe {
                check(cvx_step_latents_dlpack(info.handle, &mut tensor)).unwrap();
                // dlpack.h: data, device (two int32), ndim, dtype, shape, strides, offset, …, deleter.
                let fields = tensor.cast::<usize>();
                let seen = all.last().unwrap();
                let ndim = *fields.add(2).cast::<i32>() as usize;
                let shape = from_raw_parts(*fields.add(3) as *const i64, ndim);
                assert_eq!(shape, seen.shape, "{family}");
                // Memory of a device is none that the host may read.
                let cpu = *fields.add(1).cast::<i32>() == 1;
                assert_eq!(cpu, test_device().starts_with("cpu"));
                if cpu {
                    let data = (*fields + *fields.add(5)) as *const f32;
                    assert_eq!(from_raw_parts(data, seen.data.len()), seen.data, "{family}");
                }
                let deleter = *fields.add(7);
                let deleter: unsafe extern "C" fn(*mut c_void) = std::mem::transmute(deleter);
                deleter(tensor.cast());
            }
            // Calling back is refused, the rest of the run is not.
            refused(pipeline.generate(&short(1)).map(|_| ()), CVX_ERROR_BUSY, &[]);
            0
        })
        .unwrap();
        assert_eq!(made, expected, "{family}");
        assert_eq!(all.last(), Some(&expected));
        assert_ne!(all[0], all[1]);
        assert_eq!(guidance, [6.0; 3]);
        assert!(timesteps.windows(2).all(|pair| pair[0] > pair[1]), "{timesteps:?}");
    }
}

#[test]
fn a_callback_stops_the_run_which_leaves_the_pipeline_usable() {
    let pipeline = Pipeline::load(&pipeline_folder("2b")).unwrap();
    let options = short(5);
    let mut calls = 0;
    let stopped = run(&pipeline, &options, &mut |info| {
        calls += 1;
        i32::from(info.step == 1)
    });
    refused(stopped, CVX_ERROR_CANCELLED, &["step callback", "step 1 of 5"]);
    assert_eq!(calls, 2);
    pipeline.generate(&options).unwrap();
}

#[test]
fn what_cannot_be_is_refused_and_the_run_goes_on_as_it_was() {
    let pipeline = Pipeline::load(&pipeline_folder("2b")).unwrap();
    let mut options = short(2);
    let expected = pipeline.generate(&options).unwrap().latents().unwrap();
    let invalid = CVX_ERROR_INVALID_ARGUMENT;
    let mut kept = null_mut();
    let made = run(&pipeline, &options, &mut |info| {
        let (step, mut latents) = (info.handle, latents_of(info.handle));
        kept = step;
        latents.data[3] = f32::NAN;
        refused(set_latents(step, &latents), invalid, &["latents", "finite"]);
        latents.data[3] = f32::INFINITY;
        refused(set_latents(step, &latents), invalid, &["latents", "finite"]);
        let shape = latents.shape.clone();
        let other = Array { shape: vec![1, 1, 1, 1, 2], data: vec![0.0; 2] };
        let words = [format!("expected (videos, frames, channels, height, width) = {shape:?}")];
        refused(set_latents(step, &other), invalid, &[&words[0], "[1, 1, 1, 1, 2]"]);
        // SAFETY: as a host calls it in its callback.
        unsafe {
            for scale in [f64::NAN, f64::INFINITY, 1e7] {
                let set = check(cvx_step_set_guidance_scale(step, scale));
                refused(set, invalid, &["guidance_scale", &scale.to_string()]);
            }
            let saved = check(cvx_step_save(step, c"/no/such/folder/a".as_ptr()));
            refused(saved, CVX_ERROR_NOT_FOUND, &["/no/such/folder"]);
            let null_argument = CVX_ERROR_NULL_ARGUMENT;
            refused(check(cvx_step_save(step, null())), null_argument, &["path"]);
            let set = check(cvx_step_set_latents(step, null(), null(), 5));
            refused(set, null_argument, &["shape"]);
            let read = check(cvx_step_latents(step, null_mut(), null_mut()));
            refused(read, null_argument, &["out_data"]);
        }
        0
    })
    .unwrap();
    assert_eq!(made, expected);
    // Out of its callback the handle is none.
    // SAFETY: what is tested is that this is told apart.
    let late = check(unsafe { cvx_step_set_guidance_scale(kept, 2.0) });
    refused(late, invalid, &["step", "cvx_step", "freed"]);

    options.guidance_scale(1.0);
    run(&pipeline, &options, &mut |info| {
        // SAFETY: as a host calls it in its callback.
        let set = check(unsafe { cvx_step_set_guidance_scale(info.handle, 3.0) });
        refused(set, invalid, &["guidance_scale", "without"]);
        0
    })
    .unwrap();
}

#[test]
fn the_user_data_is_freed_once() {
    unsafe extern "C" fn count(user_data: *mut c_void) {
        // SAFETY: the counter below.
        unsafe { *user_data.cast::<u32>() += 1 };
    }
    unsafe extern "C" fn look(_: *const cvx_step_end_info, _: *mut c_void) -> i32 {
        0
    }
    let mut freed = 0u32;
    let place = (&raw mut freed).cast();
    let options = short(1);
    // SAFETY: as a host calls it.
    unsafe {
        let set = cvx_generate_options_set_step_callback;
        check(set(options.0, Some(look), place, Some(count))).unwrap();
        check(set(options.0, Some(look), place, Some(count))).unwrap();
        assert_eq!(freed, 1);
        check(set(options.0, None, place, Some(count))).unwrap();
        assert_eq!(freed, 3);
        let error = check(set(null_mut(), Some(look), place, Some(count)));
        refused(error, CVX_ERROR_NULL_ARGUMENT, &["options"]);
        assert_eq!(freed, 4);
    }
}

/// The preview of a step.
fn preview(step: *mut cvx_step) -> Array<u8> {
    let (mut data, mut shape) = (null(), [0i64; 5]);
    // SAFETY: as a host calls it in its callback.
    let data = unsafe {
        check(cvx_step_preview_rgb8(step, &mut data, shape.as_mut_ptr())).unwrap();
        std::slice::from_raw_parts(data, shape.iter().product::<i64>() as usize)
    };
    Array { shape: shape.to_vec(), data: data.to_vec() }
}

#[test]
fn previews_have_the_size_of_latents_and_change_nothing() {
    for family in FAMILIES {
        let pipeline = Pipeline::load(&pipeline_folder(family)).unwrap();
        let options = short(2);
        let expected = pipeline.generate(&options).unwrap().latents().unwrap();
        let mut seen = Vec::new();
        let made = run(&pipeline, &options, &mut |info| {
            seen.push(preview(info.handle));
            assert_eq!(preview(info.handle), seen[seen.len() - 1]);
            0
        })
        .unwrap();
        assert_eq!(made, expected);
        // The 1.5 family's padding is not shown: 5 frames are 2 latent frames.
        assert_eq!(seen[1].shape, [1, 2, 4, 6, 3], "{family}");
        assert_ne!(seen[0], seen[1]);
    }
}

/// The demo model's VAE has been trained, so its pictures show what a preview is worth.
#[test]
fn a_preview_resembles_the_video() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pipeline = Pipeline::load(&root.join("examples/demo-model/pipeline")).unwrap();
    let mut options = Options::new();
    options.prompt("a red ball moves right on a black background").num_inference_steps(12).seed(4);
    let mut last = None;
    let mut video = None;
    with_callback(
        &options,
        &mut |info| {
            last = Some(preview(info.handle));
            0
        },
        || {
            video = Some(pipeline.generate(&options)?);
            Ok(Array { shape: vec![], data: vec![] })
        },
    )
    .unwrap();
    let (last, frames) = (last.unwrap(), video.unwrap().frames_rgb8().unwrap());
    let [_, latent_frames, height, width, _] = [0, 1, 2, 3, 4].map(|i| last.shape[i] as usize);
    let [_, count, full_height, full_width, _] = [0, 1, 2, 3, 4].map(|i| frames.shape[i] as usize);
    let (ratio, stretch) = (full_height / height, (count - 1) / (latent_frames - 1));
    let (mut error, mut spread, mut n) = (0.0, 0.0, 0.0);
    let mean = frames.data.iter().map(|&v| f64::from(v)).sum::<f64>() / frames.data.len() as f64;
    for f in 0..latent_frames {
        for (y, x, c) in (0..height * width * 3).map(|i| (i / 3 / width, i / 3 % width, i % 3)) {
            let mut sum = 0.0;
            for (dy, dx) in (0..ratio * ratio).map(|i| (i / ratio, i % ratio)) {
                let row = (f * stretch * full_height + y * ratio + dy) * full_width;
                sum += f64::from(frames.data[(row + x * ratio + dx) * 3 + c]);
            }
            let wanted = sum / (ratio * ratio) as f64;
            let found = f64::from(last.data[((f * height + y) * width + x) * 3 + c]);
            error += (wanted - found).powi(2);
            spread += (wanted - mean).powi(2);
            n += 1.0;
        }
    }
    let psnr = 10.0 * (255.0f64.powi(2) / (error / n)).log10();
    assert!(
        psnr > 18.0 && error < 0.5 * spread,
        "{psnr:.1} dB, {:.2} of the spread",
        error / spread
    );
}

/// Saves after step `at`, with what `change` does first, and returns the unbroken run's latents.
fn saved(
    pipeline: &Pipeline,
    options: &Options,
    at: i32,
    path: &Path,
    change: &mut dyn FnMut(&cvx_step_end_info),
) -> Array<f32> {
    let path = c_path(path);
    run(pipeline, options, &mut |info| {
        if info.step == at {
            change(info);
            // SAFETY: as a host calls it in its callback.
            check(unsafe { cvx_step_save(info.handle, path.as_ptr()) }).unwrap();
        }
        0
    })
    .unwrap()
}

fn resume(options: &Options, path: Option<&Path>) {
    let path = path.map(c_path);
    let pointer = path.as_ref().map_or(null(), |path| path.as_ptr());
    // SAFETY: the options are live, the path lives for the call.
    check(unsafe { cvx_generate_options_set_resume(options.0, pointer) }).unwrap();
}

#[test]
fn a_run_that_is_resumed_gives_the_bytes_of_the_unbroken_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    for family in FAMILIES {
        let pipeline = Pipeline::load(&pipeline_folder(family)).unwrap();
        for with_dpm in [false, true] {
            for (at, videos, guidance) in [(0, 1, 6.0), (2, 2, 6.0), (3, 1, 1.0), (5, 1, 6.0)] {
                let what = format!("{family}, DPM {with_dpm}, after step {at}");
                let mut options = short(6);
                options.num_videos(videos).guidance_scale(guidance);
                if with_dpm {
                    dpm(&mut options);
                } else {
                    let scheduler = Some("ddim".into());
                    options.swapped(&Swapped { scheduler, ..Swapped::default() });
                }
                let unbroken = saved(&pipeline, &options, at, &path, &mut |_| {});
                // Another handle, which has made no run.
                let other = Pipeline::load(&pipeline_folder(family)).unwrap();
                resume(&options, Some(&path));
                let mut steps = Vec::new();
                let made = run(&other, &options, &mut |info| {
                    steps.push((info.step, info.num_steps));
                    0
                })
                .unwrap();
                assert_eq!(made, unbroken, "{what}");
                assert_eq!(steps, (at + 1..6).map(|step| (step, 6)).collect::<Vec<_>>(), "{what}");
                resume(&options, None);
                let again = pipeline.generate(&options).unwrap().latents().unwrap();
                assert_eq!(again, unbroken, "{what}");
            }
        }
    }
}

#[test]
fn what_a_callback_changed_is_kept_and_a_resumed_run_can_be_saved_again() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let pipeline = Pipeline::load(&pipeline_folder("5b")).unwrap();
    let mut options = short(6);
    dpm(&mut options).use_dynamic_cfg(true);
    let unbroken = saved(&pipeline, &options, 1, &first, &mut |info| {
        let mut latents = latents_of(info.handle);
        latents.data.iter_mut().for_each(|value| *value *= 0.9);
        set_latents(info.handle, &latents).unwrap();
        // SAFETY: as a host calls it in its callback.
        check(unsafe { cvx_step_set_guidance_scale(info.handle, 3.0 + 0.1) }).unwrap();
    });
    resume(&options, Some(&first));
    let made = saved(&pipeline, &options, 3, &second, &mut |_| {});
    assert_eq!(made, unbroken);
    resume(&options, Some(&second));
    assert_eq!(pipeline.generate(&options).unwrap().latents().unwrap(), unbroken);
}

#[test]
fn image_to_video_is_resumed_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let pipeline = Pipeline::load(&pipeline_folder("1.5-5b-i2v")).unwrap();
    let picture = |value: u8| {
        common::goldens::Picture::Bytes(Array { shape: vec![2, 2, 3], data: vec![value; 12] })
    };
    let mut options = short(4);
    dpm(&mut options).image(&picture(90));
    let unbroken = saved(&pipeline, &options, 1, &path, &mut |_| {});
    resume(&options, Some(&path));
    assert_eq!(pipeline.generate(&options).unwrap().latents().unwrap(), unbroken);
    options.image(&picture(91));
    refused(
        pipeline.generate(&options).map(|_| ()),
        CVX_ERROR_INVALID_ARGUMENT,
        &["image", "hash"],
    );
}

#[test]
fn with_a_cache_a_resumed_run_begins_it_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let pipeline = Pipeline::load(&pipeline_folder("2b")).unwrap();
    let mut options = short(8);
    dpm(&mut options);
    let plain = saved(&pipeline, &options, 1, &path, &mut |_| {});
    resume(&options, Some(&path));
    let config = CacheConfig::by_name(
        serde_json::json!({"technique": "pab",
                           "spatial_attention_block_skip_range": 2})
        .as_object()
        .unwrap(),
    )
    .unwrap();
    pipeline.enable_cache(&config).unwrap();
    let cached = pipeline.generate(&options).unwrap().latents().unwrap();
    assert!(cached.data.iter().all(|value| value.is_finite()));
    assert_ne!(cached, plain);
    // Steps that are done already are none of the cache's.
    let mut stats = null_mut();
    // SAFETY: as a host calls it; freed once.
    unsafe {
        check(cvx_pipeline_cache_stats(pipeline.0, &mut stats)).unwrap();
        assert_eq!(cvx_cache_stats_num_steps(stats), 6);
        cvx_cache_stats_free(stats);
    }
    pipeline.disable_cache().unwrap();
    assert_eq!(pipeline.generate(&options).unwrap().latents().unwrap(), plain);
}

#[test]
fn the_state_of_another_run_and_what_is_none_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let pipeline = Pipeline::load(&pipeline_folder("2b")).unwrap();
    let mut options = short(4);
    dpm(&mut options);
    let unbroken = saved(&pipeline, &options, 1, &path, &mut |_| {});
    resume(&options, Some(&path));
    let generate = |options: &Options| pipeline.generate(options).map(|_| ());
    let invalid = CVX_ERROR_INVALID_ARGUMENT;
    let other = |words: &[&str], change: &dyn Fn(&mut Options)| {
        let mut options = short(4);
        dpm(&mut options);
        change(&mut options);
        resume(&options, Some(&path));
        refused(generate(&options), invalid, words);
    };
    other(&["seed", "9", "found 10"], &|o| {
        o.seed(10);
    });
    other(&["prompt", "hash"], &|o| {
        o.prompt("a blue robot sleeps");
    });
    other(&["negative_prompt", "hash"], &|o| {
        o.negative_prompt("blurry");
    });
    other(&["guidance_scale", "6", "found 5"], &|o| {
        o.guidance_scale(5.0);
    });
    other(&["timesteps"], &|o| {
        o.num_inference_steps(5);
    });
    other(&["latents", "[1, 2, 4, 4, 6]", "[2, 2, 4, 4, 6]"], &|o| {
        o.num_videos(2);
    });
    other(&["scheduler", "DDIM"], &|o| {
        let scheduler = Some("ddim".into());
        o.swapped(&Swapped { scheduler, ..Swapped::default() });
    });
    let other_family = Pipeline::load(&pipeline_folder("5b")).unwrap();
    refused(other_family.generate(&options).map(|_| ()), invalid, &["expected that of the run"]);

    // Damaged files.
    let whole = std::fs::read(&path).unwrap();
    let damage = |bytes: &[u8], code: i32, words: &[&str]| {
        std::fs::write(&path, bytes).unwrap();
        refused(generate(&options), code, words);
    };
    damage(&whole[..whole.len() - 1], invalid, &["state of a run"]);
    damage(b"", invalid, &["state of a run"]);
    damage(&[0xff; 64], invalid, &["state of a run"]);
    let text = |from: &str, to: &str| {
        let at = whole.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
        let mut bytes = whole.clone();
        bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        bytes
    };
    damage(&text("run state", "run stage"), invalid, &["format"]);
    damage(&text("\"latents\"", "\"latenta\""), invalid, &["tensor latents"]);
    damage(&text("old_pred", "new_pred"), invalid, &["scheduler.old_pred_original_sample"]);
    damage(&text("\"next_step\":\"2\"", "\"next_step\":\"9\""), invalid, &["next_step", "[1, 4]"]);
    std::fs::remove_file(&path).unwrap();
    refused(generate(&options), CVX_ERROR_NOT_FOUND, &["state"]);
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(pipeline.generate(&options).unwrap().latents().unwrap(), unbroken);
}
