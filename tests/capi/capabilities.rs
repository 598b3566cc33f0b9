//! What the library says that it can do, against what it does; and what it says of its memory.

use crate::job_support::on_progress;
use crate::support::*;
use cogvideox::capi::*;
use std::mem::{size_of, MaybeUninit};
use std::ptr::{null, null_mut};
use std::sync::{Arc, Mutex};

fn has(name: &str) -> bool {
    // SAFETY: a text.
    unsafe { cvx_has_capability(c(name).as_ptr()) == 1 }
}

/// The names of a group, without it.
fn group(name: &str) -> Vec<String> {
    let prefix = format!("{name}.");
    let names = text(cvx_capabilities());
    names.split(' ').filter_map(|name| name.strip_prefix(&prefix)).map(str::to_string).collect()
}

#[test]
fn every_name_is_known_and_no_other() {
    let names = text(cvx_capabilities());
    let names: Vec<&str> = names.split(' ').collect();
    assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
    assert!(names.iter().all(|name| has(name)));
    assert!(!has("") && !has("save.webm") && !has("save") && !has(&names.join(" ")));
    // SAFETY: neither is text, and both may be asked for.
    unsafe {
        assert_eq!(cvx_has_capability(null()), 0);
        assert_eq!(cvx_has_capability(NOT_UTF8.as_ptr()), 0);
    }
}

/// Every name of a group is taken by the function that it is about, and one that is not is refused.
fn agrees(name: &str, other: &str, takes: impl Fn(&str) -> *mut cvx_error) {
    let names = group(name);
    assert!(!names.is_empty(), "{name}");
    for value in &names {
        ok(takes(value));
    }
    assert!(!names.iter().any(|value| value == other));
    assert_ne!(code(takes(other)).0, CVX_OK, "{name}.{other}");
}

#[test]
fn what_it_can_do_is_what_its_functions_take() {
    // SAFETY: as a host calls it.
    unsafe {
        let load = cvx_load_options_new();
        agrees("dtype", "f64", |name| cvx_load_options_set_dtype(load, c(name).as_ptr()));
        agrees("device", "abacus", |name| match name {
            // Where there is none, a load says so.
            "cpu" | "cuda" => cvx_load_options_set_device(load, c(name).as_ptr()),
            other => cvx_load_options_set_device(load, c(other).as_ptr()),
        });
        agrees("scheduler", "euler", |name| cvx_load_options_set_scheduler(load, c(name).as_ptr()));
        agrees("streaming", "cloud", |name| {
            cvx_load_options_set_weight_streaming(load, c"transformer".as_ptr(), c(name).as_ptr())
        });
        agrees("quantization", "int2", |name| {
            let component = c"transformer";
            cvx_load_options_set_component_quantization(load, component.as_ptr(), c(name).as_ptr())
        });
        cvx_load_options_free(load);
        agrees("cache", "abacus", |name| {
            let mut config = null_mut();
            let error = cvx_cache_config_new(c(name).as_ptr(), null(), &mut config);
            if error.is_null() {
                cvx_cache_config_free(config);
            }
            error
        });
        let folder = std::env::temp_dir();
        agrees("save", "webm", |name| {
            let path = c(folder.join(format!("a.{name}")).to_str().unwrap());
            cvx_video_check_path(path.as_ptr(), 8.0)
        });
    }
}

fn empty(struct_size: usize) -> cvx_memory_info {
    // SAFETY: numbers, for which zero is allowed.
    let mut info: cvx_memory_info = unsafe { MaybeUninit::zeroed().assume_init() };
    info.struct_size = u32::try_from(struct_size).unwrap();
    info
}

fn memory(pipeline: *const cvx_pipeline) -> cvx_memory_info {
    let mut info = empty(size_of::<cvx_memory_info>());
    // SAFETY: a live pipeline, and a struct of the size that it says.
    ok(unsafe { cvx_pipeline_memory(pipeline, &mut info) });
    assert_eq!(info.struct_size as usize, size_of::<cvx_memory_info>());
    info
}

#[test]
fn memory_is_told_between_runs_and_while_one_is_under_way() {
    let pipeline = Pipeline::load("2b");
    // SAFETY: as a host calls it.
    unsafe {
        let mut config = null_mut();
        ok(cvx_cache_config_new(c"pab".as_ptr(), null(), &mut config));
        ok(cvx_cache_config_set_spatial_attention_block_skip_range(config, 2));
        ok(cvx_cache_config_set_spatial_attention_timestep_skip_range(config, 0, 1000));
        ok(cvx_pipeline_enable_cache(pipeline.0, config));
        cvx_cache_config_free(config);
    }
    let before = memory(pipeline.0);
    // SAFETY: a live pipeline.
    assert_eq!(before.weight_bytes, unsafe { cvx_pipeline_weight_bytes(pipeline.0) });
    assert!(before.weight_bytes > 0 && before.process_bytes > before.weight_bytes);
    assert!(before.process_bytes_peak >= before.process_bytes);
    assert_eq!((before.working, before.prompt_bytes, before.cache_bytes), (0, 0, 0));
    assert_eq!(before.cache_bytes_peak, 0);

    let options = Options::small(4);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (noted, handle) = (Arc::clone(&seen), pipeline.0 as usize);
    on_progress(&options, move |info| {
        if info.stage == CVX_STAGE_DENOISE {
            let now = memory(handle as *const cvx_pipeline);
            noted.lock().unwrap().push((now.working, now.cache_bytes, now.prompt_bytes));
        }
        0
    });
    drop(generate(&pipeline, &options));
    let seen = seen.lock().unwrap().clone();
    assert!(
        !seen.is_empty()
            && seen.iter().all(|(working, _, prompts)| { *working == 1 && *prompts > 0 }),
        "{seen:?}"
    );
    let most = seen.iter().map(|(_, cache, _)| *cache).max().unwrap();
    assert!(most > 0, "{seen:?}");

    let after = memory(pipeline.0);
    assert_eq!((after.working, after.cache_bytes), (0, 0));
    assert!(after.cache_bytes_peak >= most && after.prompt_bytes > 0);
}

#[test]
fn an_older_host_gets_the_fields_of_memory_that_it_knows() {
    let pipeline = Pipeline::load("2b");
    let mut info = empty(16);
    info.prompt_bytes = 7;
    // SAFETY: a live pipeline, and a struct that is larger than it says.
    unsafe {
        ok(cvx_pipeline_memory(pipeline.0, &mut info));
        assert_eq!((info.struct_size, info.prompt_bytes), (16, 7));
        assert_eq!(info.weight_bytes, cvx_pipeline_weight_bytes(pipeline.0));
        let words = ["out_info->struct_size"];
        fails(CVX_ERROR_INVALID_ARGUMENT, &words, cvx_pipeline_memory(pipeline.0, &mut empty(4)));
    }
}
