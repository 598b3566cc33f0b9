//! Previews by a tiny decoder in the layout of taecvx, against its computation in PyTorch
//! (tests/goldens/maker/tiny_decoder.py), and files that are none.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use cogvideox::capi::*;
use common::compare::{Report, RGB8};
use common::goldens::{golden, pipeline_folder, Array, Goldens};
use common::handles::{c_path, c_string, check, test_device, Options, Pipeline, Result};
use std::ffi::c_void;
use std::path::Path;
use std::ptr::{null, null_mut};

fn load(decoder: &Path) -> Result<Pipeline> {
    load_from(&pipeline_folder("2b"), Some(decoder))
}

/// A folder, with a file in place of its own decoder.
fn load_from(folder: &Path, decoder: Option<&Path>) -> Result<Pipeline> {
    tch::set_num_threads(1);
    let (folder, decoder) = (c_path(folder), decoder.map(c_path));
    let (device, mut pipeline) = (c_string(&test_device()), null_mut());
    // SAFETY: strings and places live for the calls; the options are freed once.
    unsafe {
        let options = cvx_load_options_new();
        check(cvx_load_options_set_device(options, device.as_ptr()))?;
        check(cvx_load_options_set_dtype(options, c"f32".as_ptr()))?;
        let decoder = decoder.as_ref().map_or(null(), |path| path.as_ptr());
        check(cvx_load_options_set_preview_decoder(options, decoder))?;
        let result = check(cvx_pipeline_load(folder.as_ptr(), options, &mut pipeline));
        cvx_load_options_free(options);
        result?;
    }
    Ok(Pipeline(pipeline))
}

/// Latents that a step is given, and its preview of them.
struct Step {
    latents: Array<f32>,
    preview: Option<Array<u8>>,
}

unsafe extern "C" fn look(info: *const cvx_step_end_info, step: *mut c_void) -> i32 {
    // SAFETY: `info` is alive, the step outlives the run; the memory is as long as the shape says.
    unsafe {
        let (handle, step) = ((*info).handle, &mut *step.cast::<Step>());
        let (numbers, shape) = (step.latents.data.as_ptr(), step.latents.shape.as_ptr());
        check(cvx_step_set_latents(handle, numbers, shape, 5)).unwrap();
        let (mut data, mut shape) = (null(), vec![0i64; 5]);
        check(cvx_step_preview_rgb8(handle, &mut data, shape.as_mut_ptr())).unwrap();
        let count = shape.iter().product::<i64>() as usize;
        let data = std::slice::from_raw_parts(data, count).to_vec();
        step.preview = Some(Array { shape, data });
    }
    0
}

/// The preview of a step that is given these latents.
fn preview(pipeline: &Pipeline, latents: Array<f32>, frames: i32) -> Array<u8> {
    let mut step = Step { latents, preview: None };
    let mut options = Options::short(1);
    options.num_frames(frames);
    let set = cvx_generate_options_set_step_callback;
    // SAFETY: the step outlives the options.
    check(unsafe { set(options.0, Some(look), (&raw mut step).cast(), None) }).unwrap();
    pipeline.generate(&options).unwrap();
    drop(options);
    step.preview.unwrap()
}

#[test]
fn previews_are_the_frames_of_the_tiny_decoder() {
    let pipeline = load(&golden("tiny_decoder/weights.safetensors")).unwrap();
    let goldens = Goldens::open("tiny_decoder/runs.safetensors");
    let mut report = Report::default();
    for (name, frames) in [("odd", 9), ("even", 5)] {
        let latents = goldens.f32(&format!("{name}.latents"));
        let found = preview(&pipeline, latents, frames);
        assert_eq!(found.shape, goldens.u8(&format!("{name}.frames")).shape);
        report.absolute(name, &found, goldens.u8(&format!("{name}.frames")), RGB8);
    }
    report.finish("previews by a tiny decoder");
}

#[test]
fn files_that_are_no_such_decoder_are_named() {
    let failed = |path: &Path, code: i32, parts: &[&str]| {
        let failure = match load(path) {
            Ok(_) => panic!("{} was loaded", path.display()),
            Err(failure) => failure,
        };
        assert_eq!(failure.code, code, "{failure}");
        for part in parts {
            assert!(failure.message.contains(part), "no {part:?} in {failure}");
        }
    };
    failed(Path::new("no/such/file"), CVX_ERROR_NOT_FOUND, &["no/such/file"]);
    failed(&golden("make.py"), CVX_ERROR_INVALID_CHECKPOINT, &["make.py", "safetensors"]);
    let vae = pipeline_folder("2b").join("vae/diffusion_pytorch_model.safetensors");
    let parts = ["decoder.1.weight", "taecvx", "found none"];
    failed(&vae, CVX_ERROR_INVALID_CHECKPOINT, &parts);
}

/// A copy of a pipeline folder: its components are links.
fn folder_with(decoder: Option<&[u8]>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(pipeline_folder("2b")).unwrap() {
        let entry = entry.unwrap();
        std::os::unix::fs::symlink(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    if let Some(bytes) = decoder {
        std::fs::write(folder.path().join("taecvx.safetensors"), bytes).unwrap();
    }
    folder
}

#[test]
fn the_decoder_of_a_folder_is_used_by_itself_and_saved_with_it() {
    let file = golden("tiny_decoder/weights.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    let latents = || Goldens::open("tiny_decoder/runs.safetensors").f32("odd.latents");
    let expected = preview(&load(&file).unwrap(), latents(), 9);

    let folder = folder_with(Some(&bytes));
    let pipeline = load_from(folder.path(), None).unwrap();
    let found = preview(&pipeline, latents(), 9);
    assert_eq!((&found.shape, &found.data), (&expected.shape, &expected.data));
    // Without one: a latent frame and a latent pixel each.
    let plain = preview(&load_from(folder_with(None).path(), None).unwrap(), latents(), 9);
    assert_eq!(plain.shape[1] * plain.shape[2] * 8, 3 * expected.shape[2]);

    let saved = folder.path().join("saved");
    let path = c_path(&saved);
    // SAFETY: the pipeline is live, the text lives for the call.
    check(unsafe { cvx_pipeline_save(pipeline.0, path.as_ptr()) }).unwrap();
    assert_eq!(std::fs::read(saved.join("taecvx.safetensors")).unwrap(), bytes);
}

#[test]
fn a_damaged_decoder_of_a_folder_is_named_and_the_option_comes_first() {
    let file = golden("tiny_decoder/weights.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.truncate(bytes.len() / 2);
    let folder = folder_with(Some(&bytes));
    let Err(failure) = load_from(folder.path(), None) else {
        panic!("half a file was loaded");
    };
    assert_eq!(failure.code, CVX_ERROR_INVALID_CHECKPOINT, "{failure}");
    assert!(failure.message.contains("taecvx.safetensors"), "{failure}");
    // What the option names is read instead.
    load_from(folder.path(), Some(&file)).unwrap();
}
