//! Pipelines whose weights come from GGUF files. What single blocks stand for is tested where they
//! are read.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use cogvideox::capi::*;
use common::goldens::{golden, pipeline_folder, Array};
use common::handles::{c_path, c_string, check, Options, Pipeline, Result};
use std::path::Path;

fn load(files: &[(&str, &Path)], quantizations: &[(&str, &str)], mode: &str) -> Result<Pipeline> {
    let place = tempfile::tempdir().unwrap();
    // A folder without the weights that come from elsewhere.
    let folder = place.path().join("pipeline");
    copy(&pipeline_folder("5b"), &folder);
    for (component, _) in files {
        for name in ["model.safetensors", "diffusion_pytorch_model.safetensors"] {
            let _ = std::fs::remove_file(folder.join(component).join(name));
        }
    }
    Pipeline::load_quantized(&folder, quantizations, |options| {
        for (component, path) in files {
            let (component, path) = (c_string(component), c_path(path));
            let (component, path) = (component.as_ptr(), path.as_ptr());
            // SAFETY: the options and the strings are live.
            check(unsafe { cvx_load_options_set_component_weights(options, component, path) })?;
        }
        for component in [c"transformer", c"text_encoder"] {
            let mode = c_string(mode);
            // SAFETY: the options and the strings are live.
            check(unsafe {
                cvx_load_options_set_weight_streaming(options, component.as_ptr(), mode.as_ptr())
            })?;
        }
        Ok(())
    })
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

fn latents(pipeline: &Pipeline) -> Array<f32> {
    let mut options = Options::short(3);
    options.num_frames(5);
    pipeline.generate(&options).unwrap().latents().unwrap()
}

/// Root mean square of the difference over that of `expected`.
fn away(found: &Array<f32>, expected: &Array<f32>) -> f64 {
    let square = |sum: f64, x: f64| sum + x * x;
    let pairs = found.data.iter().zip(&expected.data);
    let off = pairs.map(|(a, b)| f64::from(a - b)).fold(0.0, square);
    (off / expected.data.iter().map(|&x| f64::from(x)).fold(0.0, square)).sqrt()
}

#[test]
fn a_transformer_and_a_text_encoder_come_from_gguf_files() {
    let whole = latents(&Pipeline::load(&pipeline_folder("5b")).unwrap());
    let (transformer, t5) = (golden("gguf/transformer.gguf"), golden("gguf/text_encoder.gguf"));
    let files: [(&str, &Path); 2] = [("transformer", &transformer), ("text_encoder", &t5)];
    for part in [&files[..], &files[..1], &files[1..]] {
        let found = latents(&load(part, &[], "resident").unwrap());
        let off = away(&found, &whole);
        // A mixture of formats, the worst of them in four bits.
        assert!(off > 0.0 && off < 0.4, "{part:?}: {off}");
    }

    let pipeline = load(&files, &[], "resident").unwrap();
    let plain = latents(&pipeline);
    assert_eq!(latents(&pipeline.another().unwrap()), plain);
    for mode in ["file", "host"] {
        assert_eq!(latents(&load(&files, &[], mode).unwrap()), plain, "{mode}");
    }
    let quantized = load(&files, &[("transformer", "int8")], "resident").unwrap();
    let found = latents(&quantized);
    assert!(found != plain && away(&found, &plain) < 0.05, "{}", away(&found, &plain));
}

#[test]
fn what_came_from_gguf_is_saved_as_the_numbers_it_stands_for() {
    let place = tempfile::tempdir().unwrap();
    let transformer = golden("gguf/transformer.gguf");
    let folder = pipeline_folder("5b");
    for kind in [None, Some("int8")] {
        let quantizations: Vec<_> = kind.map(|kind| ("transformer", kind)).into_iter().collect();
        let pipeline = Pipeline::load_quantized(&folder, &quantizations, |options| {
            let path = c_path(&transformer);
            // SAFETY: the options and the string are live.
            check(unsafe {
                cvx_load_options_set_component_weights(
                    options,
                    c"transformer".as_ptr(),
                    path.as_ptr(),
                )
            })
        })
        .unwrap();
        let saved = place.path().join(kind.unwrap_or("whole"));
        let path = c_path(&saved);
        // SAFETY: the pipeline and the string are live.
        check(unsafe { cvx_pipeline_save(pipeline.0, path.as_ptr()) }).unwrap();
        assert_eq!(latents(&Pipeline::load(&saved).unwrap()), latents(&pipeline), "{kind:?}");
    }
}

#[test]
fn safetensors_files_serve_too_and_files_that_do_not_fit_are_named() {
    let own = pipeline_folder("5b").join("transformer/diffusion_pytorch_model.safetensors");
    let whole = latents(&Pipeline::load(&pipeline_folder("5b")).unwrap());
    let found = load(&[("transformer", &own)], &[], "resident").unwrap();
    assert_eq!(latents(&found), whole);

    let (t5, none) = (golden("gguf/text_encoder.gguf"), golden("gguf/none.gguf"));
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    for (path, code, words) in [
        (&t5, CVX_ERROR_INVALID_CHECKPOINT, ["text_encoder.gguf", "expected by the config"]),
        (&none, CVX_ERROR_NOT_FOUND, ["none.gguf", "found none"]),
        (&readme, CVX_ERROR_INVALID_CHECKPOINT, ["README.md", "safetensors"]),
    ] {
        let failure = load(&[("transformer", path)], &[], "resident").map(drop).unwrap_err();
        assert_eq!(failure.code, code, "{failure}");
        assert!(words.iter().all(|word| failure.message.contains(word)), "{failure}");
    }
    let failure = load(&[("unet", &t5)], &[], "resident").map(drop).unwrap_err();
    assert_eq!(failure.code, CVX_ERROR_INVALID_ARGUMENT);
    assert!(failure.message.contains("unet"), "{failure}");
    let failure = load(&[("vae", Path::new(""))], &[], "resident").map(drop).unwrap_err();
    assert_eq!(failure.code, CVX_ERROR_INVALID_ARGUMENT, "{failure}");
}
