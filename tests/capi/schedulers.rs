//! Which scheduler steps: what the setters refuse, and what a folder that contradicts itself says.

use crate::support::*;
use cogvideox::capi::*;
use std::ffi::{c_char, c_void, CString};
use std::path::Path;
use std::ptr::{null, null_mut};

/// The four setters of one kind of options, on options of their own.
struct Setters {
    name: &'static str,
    scheduler: fn(*const c_char) -> *mut cvx_error,
    spacing: fn(*const c_char) -> *mut cvx_error,
    scale: fn(f64) -> *mut cvx_error,
    rescale: fn(i32) -> *mut cvx_error,
}

/// Calls a setter on new options, which are freed again.
macro_rules! on_new {
    ($new:ident, $free:ident, $setter:ident) => {
        |value| {
            // SAFETY: as a host calls it.
            unsafe {
                let options = $new();
                let error = $setter(options, value);
                $free(options);
                error
            }
        }
    };
}

const BOTH: [Setters; 2] = [
    Setters {
        name: "load",
        scheduler: on_new!(
            cvx_load_options_new,
            cvx_load_options_free,
            cvx_load_options_set_scheduler
        ),
        spacing: on_new!(
            cvx_load_options_new,
            cvx_load_options_free,
            cvx_load_options_set_timestep_spacing
        ),
        scale: on_new!(
            cvx_load_options_new,
            cvx_load_options_free,
            cvx_load_options_set_snr_shift_scale
        ),
        rescale: on_new!(
            cvx_load_options_new,
            cvx_load_options_free,
            cvx_load_options_set_rescale_betas_zero_snr
        ),
    },
    Setters {
        name: "generate",
        scheduler: on_new!(
            cvx_generate_options_new,
            cvx_generate_options_free,
            cvx_generate_options_set_scheduler
        ),
        spacing: on_new!(
            cvx_generate_options_new,
            cvx_generate_options_free,
            cvx_generate_options_set_timestep_spacing
        ),
        scale: on_new!(
            cvx_generate_options_new,
            cvx_generate_options_free,
            cvx_generate_options_set_snr_shift_scale
        ),
        rescale: on_new!(
            cvx_generate_options_new,
            cvx_generate_options_free,
            cvx_generate_options_set_rescale_betas_zero_snr
        ),
    },
];

#[test]
fn other_schedulers_spacings_and_numbers_are_refused() {
    let refuse = |words: &[&str], error| fails(CVX_ERROR_INVALID_ARGUMENT, words, error);
    for Setters { name, scheduler, spacing, scale, rescale } in BOTH {
        println!("{name}");
        for good in ["ddim", "dpm"] {
            ok(scheduler(c(good).as_ptr()));
        }
        ok(scheduler(null()));
        refuse(&["scheduler", "\"ddim\" or \"dpm\"", "\"euler\""], scheduler(c("euler").as_ptr()));
        refuse(&["scheduler", "\"\""], scheduler(c("").as_ptr()));
        fails(CVX_ERROR_INVALID_UTF8, &["scheduler"], scheduler(NOT_UTF8.as_ptr()));
        for good in ["leading", "linspace", "trailing"] {
            ok(spacing(c(good).as_ptr()));
        }
        ok(spacing(null()));
        refuse(&["timestep_spacing", "trailing", "\"karras\""], spacing(c("karras").as_ptr()));
        for good in [0.0, 1e-6, 3.0, 1e6] {
            ok(scale(good));
        }
        for bad in [-1.0, 1e-7, 2e6, f64::NAN, f64::INFINITY] {
            refuse(&["snr_shift_scale", "1000000", &bad.to_string()], scale(bad));
        }
        for good in [-1, 0, 1] {
            ok(rescale(good));
        }
        refuse(&["rescale_betas_zero_snr", "-1, 0 or 1", "found 2"], rescale(2));
    }
}

unsafe extern "C" fn warnings(info: *const cvx_log_info, data: *mut c_void) {
    // SAFETY: the list outlives what logs into it.
    unsafe {
        if (*info).level == CVX_LOG_WARNING {
            (*data.cast::<Vec<String>>()).push(text((*info).message));
        }
    }
}

/// A copy of the 2b folder, links but for `file`, in which `from` is `to`.
fn changed(file: &str, from: &str, to: &str) -> tempfile::TempDir {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pipelines/2b");
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(&source).unwrap().flatten() {
        let name = entry.file_name();
        let target = folder.path().join(&name);
        if !Path::new(file).starts_with(&name) {
            std::os::unix::fs::symlink(entry.path(), target).unwrap();
        } else if entry.path().is_dir() {
            std::fs::create_dir(&target).unwrap();
            for inner in std::fs::read_dir(entry.path()).unwrap().flatten() {
                std::fs::copy(inner.path(), target.join(inner.file_name())).unwrap();
            }
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
    let path = folder.path().join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from} is not in {file}");
    std::fs::write(&path, text.replace(from, to)).unwrap();
    folder
}

#[test]
fn what_a_folder_is_forgiven_is_logged() {
    for (file, from, to, words) in [
        (
            "model_index.json",
            "CogVideoXDDIMScheduler",
            "CogVideoXDPMScheduler",
            ["scheduler_config.json", "CogVideoXDDIMScheduler", "CogVideoXDPMScheduler"],
        ),
        (
            "vae/config.json",
            "{",
            "{\"mid_block_add_attention\": true,",
            ["vae/config.json", "mid_block_add_attention", "passed over"],
        ),
        (
            "transformer/config.json",
            "{",
            "{\"add_noise_in_another_model\": true,",
            ["transformer/config.json", "add_noise_in_another_model", "passed over"],
        ),
    ] {
        let folder = changed(file, from, to);
        let path = CString::new(folder.path().to_str().unwrap()).unwrap();
        let mut list = Vec::<String>::new();
        let mut pipeline = null_mut();
        // SAFETY: as a host calls it; the list outlives the pipeline.
        unsafe {
            let load = cvx_load_options_new();
            let data = std::ptr::from_mut(&mut list).cast();
            ok(cvx_load_options_set_device(load, c"cpu".as_ptr()));
            ok(cvx_load_options_set_log_callback(load, Some(warnings), data, None));
            ok(cvx_pipeline_load(path.as_ptr(), load, &mut pipeline));
            cvx_load_options_free(load);
            let pipeline = Pipeline(pipeline);
            let dpm = text(cvx_pipeline_family(pipeline.0)).contains("DPM");
            assert_eq!(dpm, file == "model_index.json");
        }
        assert_eq!(list.len(), 1, "{list:?}");
        for word in words {
            assert!(list[0].contains(word), "no {word:?} in {}", list[0]);
        }
    }
}
