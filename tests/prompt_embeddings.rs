//! Embeddings in place of prompts, and the cache of them.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use cogvideox::capi::*;
use common::goldens::{pipeline_folder, Array};
use common::handles::{c_path, c_string, check, Failure, Options, Output, Pipeline, Result};
use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::Mutex;

const PROMPT: &str = "a red robot sleeps";
const NEGATIVE: &str = "blurry";
const LENGTH: usize = 12;

type Setter =
    unsafe extern "C" fn(*mut cvx_generate_options, *const f32, usize, usize) -> *mut cvx_error;

fn short() -> Options {
    let mut options = Options::new();
    options.size(48, 32).num_frames(5).num_inference_steps(2).output(Output::Latents).seed(3);
    options
}

fn with_text() -> Options {
    let mut options = short();
    options.prompt(PROMPT).negative_prompt(NEGATIVE).max_sequence_length(LENGTH as i32);
    options
}

fn give(options: &Options, set: Setter, embeddings: &Array<f32>) -> Result<()> {
    let dim = *embeddings.shape.last().unwrap() as usize;
    let (data, length) = (embeddings.data.as_ptr(), embeddings.data.len() / dim);
    // SAFETY: the options are live, the data is as long as it says.
    check(unsafe { set(options.0, data, length, dim) })
}

fn refused<T>(result: Result<T>, words: &[&str]) {
    let Err(failure) = result else { panic!("was not refused") };
    assert_eq!(failure.code, CVX_ERROR_INVALID_ARGUMENT, "{failure}");
    for word in words {
        assert!(failure.message.contains(word), "no {word:?} in: {failure}");
    }
}

fn latents(pipeline: &Pipeline, options: &Options) -> Array<f32> {
    pipeline.generate(options).unwrap().latents().unwrap()
}

/// Loads with a cache of so many prompts, and the text encoder on demand or not.
fn load(family: &str, on_demand: bool, prompts: i32) -> Pipeline {
    tch::set_num_threads(1);
    let device = std::env::var("CVX_TEST_DEVICE").unwrap_or_else(|_| "cpu".into());
    let (folder, device) = (c_path(&pipeline_folder(family)), c_string(&device));
    let dtype = c_string("f32");
    let mut pipeline = null_mut();
    // SAFETY: strings and places live for the calls; the options are freed once.
    unsafe {
        let options = cvx_load_options_new();
        check(cvx_load_options_set_device(options, device.as_ptr())).unwrap();
        check(cvx_load_options_set_dtype(options, dtype.as_ptr())).unwrap();
        check(cvx_load_options_set_text_encoder_on_demand(options, on_demand.into())).unwrap();
        check(cvx_load_options_set_prompt_cache_size(options, prompts)).unwrap();
        let result = check(cvx_pipeline_load(folder.as_ptr(), options, &mut pipeline));
        cvx_load_options_free(options);
        result.unwrap();
    }
    Pipeline(pipeline)
}

/// The stages of a run, with how often each was reported, and its latents.
fn stages(pipeline: &Pipeline, options: &Options) -> (Vec<(i32, u64, u64)>, Array<f32>) {
    unsafe extern "C" fn note(info: *const cvx_progress_info, seen: *mut c_void) -> i32 {
        // SAFETY: the library's struct, and the list that was given with the callback.
        let (info, seen) = unsafe { (&*info, &*seen.cast::<Mutex<Vec<(i32, u64, u64)>>>()) };
        seen.lock().unwrap().push((info.stage, info.done, info.total));
        0
    }
    let seen: Mutex<Vec<(i32, u64, u64)>> = Mutex::default();
    let place = std::ptr::from_ref(&seen).cast_mut().cast();
    // SAFETY: the list outlives the callback, which is taken away again.
    let made = unsafe {
        check(cvx_generate_options_set_progress_callback(options.0, Some(note), place, None))
            .unwrap();
        let made = latents(pipeline, options);
        check(cvx_generate_options_set_progress_callback(options.0, None, null_mut(), None))
            .unwrap();
        made
    };
    (seen.into_inner().unwrap(), made)
}

fn of_stage(seen: &[(i32, u64, u64)], stage: i32) -> Vec<(u64, u64)> {
    seen.iter().filter(|seen| seen.0 == stage).map(|seen| (seen.1, seen.2)).collect()
}

#[test]
fn a_run_with_the_embeddings_of_its_prompts_is_the_run_with_the_prompts() {
    for family in ["2b", "5b", "1.5-5b"] {
        let pipeline = Pipeline::load(&pipeline_folder(family)).unwrap();
        let expected = latents(&pipeline, &with_text());
        let positive = pipeline.encode_prompt(PROMPT, LENGTH).unwrap();
        let negative = pipeline.encode_prompt(NEGATIVE, LENGTH).unwrap();
        assert_ne!(positive.data, negative.data);

        let both = short();
        give(&both, cvx_generate_options_set_prompt_embeddings, &positive).unwrap();
        give(&both, cvx_generate_options_set_negative_prompt_embeddings, &negative).unwrap();
        assert_eq!(latents(&pipeline, &both).data, expected.data, "{family}");

        let mut one = short();
        one.negative_prompt(NEGATIVE);
        give(&one, cvx_generate_options_set_prompt_embeddings, &positive).unwrap();
        assert_eq!(latents(&pipeline, &one).data, expected.data, "{family}: negative text");

        let mut other = short();
        other.prompt(PROMPT);
        give(&other, cvx_generate_options_set_negative_prompt_embeddings, &negative).unwrap();
        assert_eq!(latents(&pipeline, &other).data, expected.data, "{family}: positive text");

        // Another prompt shows, and the text comes back.
        give(&both, cvx_generate_options_set_prompt_embeddings, &negative).unwrap();
        assert_ne!(latents(&pipeline, &both).data, expected.data);
        // SAFETY: the options are live.
        unsafe {
            let none = null();
            check(cvx_generate_options_set_prompt_embeddings(both.0, none, 0, 0)).unwrap();
            check(cvx_generate_options_set_negative_prompt_embeddings(both.0, none, 0, 0)).unwrap();
        }
        let mut both = both;
        both.prompt(PROMPT).negative_prompt(NEGATIVE).max_sequence_length(LENGTH as i32);
        assert_eq!(latents(&pipeline, &both).data, expected.data, "{family}: text again");
    }
}

#[test]
fn without_guidance_one_side_is_enough_and_several_videos_share_it() {
    let pipeline = Pipeline::load(&pipeline_folder("2b")).unwrap();
    let mut text = with_text();
    text.guidance_scale(1.0).num_videos(2);
    let expected = latents(&pipeline, &text);
    let mut options = short();
    options.guidance_scale(1.0).num_videos(2);
    let embeddings = pipeline.encode_prompt(PROMPT, LENGTH).unwrap();
    give(&options, cvx_generate_options_set_prompt_embeddings, &embeddings).unwrap();
    let (seen, made) = stages(&pipeline, &options);
    assert_eq!(made.data, expected.data);
    assert_eq!(of_stage(&seen, CVX_STAGE_ENCODE), []);
}

#[test]
fn a_text_encoder_on_demand_is_not_read_for_embeddings() {
    let whole = Pipeline::load(&pipeline_folder("2b")).unwrap();
    let expected = latents(&whole, &with_text());
    let positive = whole.encode_prompt(PROMPT, LENGTH).unwrap();
    let negative = whole.encode_prompt(NEGATIVE, LENGTH).unwrap();

    let text = load("2b", true, 8);
    let (seen, made) = stages(&text, &with_text());
    assert_eq!(made.data, expected.data);
    let with_encoder =
        of_stage(&seen, CVX_STAGE_LOAD).iter().map(|load| load.1).collect::<Vec<_>>();

    let pipeline = load("2b", true, 8);
    let options = short();
    give(&options, cvx_generate_options_set_prompt_embeddings, &positive).unwrap();
    give(&options, cvx_generate_options_set_negative_prompt_embeddings, &negative).unwrap();
    let (seen, made) = stages(&pipeline, &options);
    assert_eq!(made.data, expected.data);
    assert_eq!(of_stage(&seen, CVX_STAGE_ENCODE), []);
    let mut without = of_stage(&seen, CVX_STAGE_LOAD).iter().map(|load| load.1).collect::<Vec<_>>();
    without.dedup();
    let mut with_encoder = with_encoder;
    with_encoder.dedup();
    assert_eq!(without.len(), 1, "the transformer alone");
    assert_eq!(with_encoder.len(), 2, "the encoder, then the transformer");
    assert_eq!(with_encoder[1], without[0]);
}

#[test]
fn shapes_and_texts_beside_them_that_do_not_fit_are_named() {
    let pipeline = Pipeline::load(&pipeline_folder("2b")).unwrap();
    let positive = pipeline.encode_prompt(PROMPT, LENGTH).unwrap();
    let dim = *positive.shape.last().unwrap();
    let set = cvx_generate_options_set_prompt_embeddings;
    let set_negative = cvx_generate_options_set_negative_prompt_embeddings;
    let run = |options: &Options| pipeline.generate(options).map(|_| ());

    let options = short();
    let narrow = Array { shape: vec![1, dim - 1], data: vec![0.5; dim as usize - 1] };
    give(&options, set, &narrow).unwrap();
    let expected = format!("expected (sequence length, {dim})");
    refused(run(&options), &["prompt_embeddings", &expected, &format!("[1, {}]", dim - 1)]);

    let mut options = short();
    give(&options, set, &positive).unwrap();
    options.prompt(PROMPT);
    refused(run(&options), &["prompt: expected none", "18 bytes"]);
    options.prompt("").max_sequence_length(LENGTH as i32 + 1);
    refused(run(&options), &["expected 13 tokens", "max_sequence_length", "found 12"]);
    options.max_sequence_length(LENGTH as i32);
    let longer = pipeline.encode_prompt(NEGATIVE, LENGTH + 2).unwrap();
    give(&options, set_negative, &longer).unwrap();
    options.max_sequence_length(0);
    refused(run(&options), &["negative_prompt_embeddings", "expected 12", "found 14"]);
    options.negative_prompt(NEGATIVE);
    refused(run(&options), &["negative_prompt: expected none", "6 bytes"]);

    // What the setters see themselves, and that nothing was lost.
    let numbers = [1.0, f32::NAN, 2.0, 3.0];
    // SAFETY: as long as it says.
    unsafe {
        let data = numbers.as_ptr();
        let nan = check(set(options.0, data, 2, 2));
        refused(nan, &["prompt_embeddings[0][1]", "finite", "NaN"]);
        refused(check(set_negative(options.0, data, 0, 2)), &["sequence_length", "found 0"]);
        refused(check(set(options.0, data, 2, 0)), &["dim", "found 0"]);
        refused(check(set(options.0, data, 8193, 2)), &["sequence_length", "8192", "8193"]);
        refused(check(set(options.0, data, 2, 65537)), &["dim", "65536", "65537"]);
        check(set_negative(options.0, null(), 0, 0)).unwrap();
    }
    options.negative_prompt("");
    run(&options).unwrap();
}

#[test]
fn what_was_encoded_is_kept_and_changes_nothing() {
    for on_demand in [false, true] {
        let (kept, without) = (load("2b", on_demand, 2), load("2b", on_demand, 0));
        let options = with_text();
        let (first, expected) = stages(&kept, &options);
        let (second, made) = stages(&kept, &options);
        assert_eq!(made.data, expected.data);
        // Two texts the first time, one stage over both; then all of it is there.
        let encoded = of_stage(&first, CVX_STAGE_ENCODE);
        let total = encoded[0].1;
        let counted: Vec<u64> = encoded.iter().map(|report| report.0).collect();
        assert_eq!(counted, (1..=total).collect::<Vec<_>>());
        let again = of_stage(&second, CVX_STAGE_ENCODE);
        assert_eq!(again, [(total / 2, total / 2)]);
        assert_eq!(of_stage(&second, CVX_STAGE_LOAD), []);

        let (none, made) = stages(&without, &options);
        assert_eq!(made.data, expected.data);
        assert_eq!(of_stage(&none, CVX_STAGE_ENCODE), encoded);
        let (none, made) = stages(&without, &options);
        assert_eq!(made.data, expected.data);
        assert_eq!(of_stage(&none, CVX_STAGE_ENCODE), encoded);
        assert_eq!(of_stage(&none, CVX_STAGE_LOAD).is_empty(), !on_demand);

        // Another negative prompt alone is encoded, and the oldest text goes.
        let mut other = with_text();
        other.negative_prompt("dark");
        let (seen, _) = stages(&kept, &other);
        assert_eq!(of_stage(&seen, CVX_STAGE_ENCODE).len() as u64, total / 2);
        let (seen, made) = stages(&kept, &options);
        assert_eq!(of_stage(&seen, CVX_STAGE_ENCODE).len() as u64, total / 2);
        assert_eq!(made.data, expected.data);
    }
    // SAFETY: the options are live until freed.
    unsafe {
        let options = cvx_load_options_new();
        for prompts in [-1, 1025] {
            let failure = check(cvx_load_options_set_prompt_cache_size(options, prompts));
            let Err(Failure { code, message }) = failure else { panic!("was not refused") };
            assert_eq!(code, CVX_ERROR_INVALID_ARGUMENT);
            assert!(message.contains("prompts") && message.contains("1024"), "{message}");
        }
        cvx_load_options_free(options);
    }
}
