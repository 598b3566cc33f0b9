//! user_data is freed exactly once, whatever happens.

use crate::support::*;
use cogvideox::capi::*;
use std::ffi::c_void;
use std::ptr::{null, null_mut};

#[test]
fn with_the_options_that_hold_it() {
    let freed = [(); 4].map(|()| Freed::default());
    // SAFETY: as a host calls it.
    unsafe {
        let load = cvx_load_options_new();
        let generate = cvx_generate_options_new();
        let [a, b, c, d] = [0, 1, 2, 3].map(|i: usize| freed[i].pointer());
        let free = Some(count_free as unsafe extern "C" fn(*mut c_void));
        ok(cvx_load_options_set_progress_callback(load, Some(go_on), a, free));
        ok(cvx_load_options_set_log_callback(load, Some(ignore_log), b, free));
        ok(cvx_generate_options_set_progress_callback(generate, Some(go_on), c, free));
        ok(cvx_generate_options_set_log_callback(generate, Some(ignore_log), d, free));
        assert_eq!(freed.each_ref().map(Freed::times), [0; 4]);
        cvx_load_options_free(load);
        assert_eq!(freed.each_ref().map(Freed::times), [1, 1, 0, 0]);
        cvx_generate_options_free(generate);
        assert_eq!(freed.each_ref().map(Freed::times), [1; 4]);
    }
}

#[test]
fn when_it_is_replaced_or_taken_away() {
    let (first, second, third) = (Freed::default(), Freed::default(), Freed::default());
    // SAFETY: as a host calls it.
    unsafe {
        let options = cvx_generate_options_new();
        let set = |callback, data, free| {
            ok(cvx_generate_options_set_progress_callback(options, callback, data, free));
        };
        set(Some(go_on), first.pointer(), Some(count_free));
        set(Some(go_on), second.pointer(), Some(count_free));
        assert_eq!((first.times(), second.times()), (1, 0));
        set(None, null_mut(), None);
        assert_eq!((first.times(), second.times()), (1, 1));
        // A user_data without a function has no use, so it is freed at once.
        set(None, third.pointer(), Some(count_free));
        assert_eq!(third.times(), 1);
        // Without a free function there is nothing to call.
        set(Some(go_on), third.pointer(), None);
        cvx_generate_options_free(options);
        assert_eq!((first.times(), second.times(), third.times()), (1, 1, 1));
    }
}

#[test]
fn when_the_setter_fails() {
    let freed = Freed::default();
    let (data, free) = (freed.pointer(), Some(count_free as unsafe extern "C" fn(*mut c_void)));
    // SAFETY: NULL is what is tested.
    unsafe {
        for error in [
            cvx_load_options_set_progress_callback(null_mut(), Some(go_on), data, free),
            cvx_load_options_set_log_callback(null_mut(), Some(ignore_log), data, free),
            cvx_generate_options_set_progress_callback(null_mut(), Some(go_on), data, free),
            cvx_generate_options_set_log_callback(null_mut(), Some(ignore_log), data, free),
        ] {
            fails(CVX_ERROR_NULL_ARGUMENT, &["options"], error);
        }
    }
    assert_eq!(freed.times(), 4);
}

#[test]
fn after_the_run_that_uses_it_even_if_its_options_are_gone() {
    let pipeline = Pipeline::load("2b");
    let options = Options::latents(2);
    let freed = Freed::default();

    struct Host<'a> {
        options: *mut cvx_generate_options,
        freed: &'a Freed,
        during: u32,
    }
    unsafe extern "C" fn drop_options(_: *const cvx_progress_info, data: *mut c_void) -> i32 {
        // SAFETY: the host below; the options are freed once, and the run has its own copy.
        unsafe {
            let host = &mut *data.cast::<Host>();
            cvx_generate_options_free(std::mem::replace(&mut host.options, null_mut()));
            host.during += host.freed.times();
        }
        0
    }
    unsafe extern "C" fn free_host(data: *mut c_void) {
        // SAFETY: the host below, whose counter outlives it.
        unsafe { count_free((*data.cast::<Host>()).freed.pointer()) }
    }
    let mut host = Host { options: options.0, freed: &freed, during: 0 };
    let data = std::ptr::from_mut(&mut host).cast();
    // The callback frees the options.
    let handle = options.0;
    std::mem::forget(options);
    let mut video = null_mut();
    // SAFETY: as a host calls it.
    unsafe {
        ok(cvx_generate_options_set_progress_callback(
            handle,
            Some(drop_options),
            data,
            Some(free_host),
        ));
        ok(cvx_pipeline_generate(pipeline.0, handle, &mut video));
    }
    drop(Video(video));
    assert!(host.options.is_null());
    assert_eq!((host.during, freed.times()), (0, 1));
}

#[test]
fn with_the_last_pipeline_that_logs_through_it() {
    let freed = Freed::default();
    // SAFETY: as a host calls it.
    unsafe {
        let options = cvx_load_options_new();
        ok(cvx_load_options_set_log_callback(
            options,
            Some(ignore_log),
            freed.pointer(),
            Some(count_free),
        ));
        let (mut pipeline, mut clone) = (null_mut(), null_mut());
        ok(cvx_pipeline_load(folder("2b").as_ptr(), options, &mut pipeline));
        ok(cvx_pipeline_clone(pipeline, &mut clone));
        cvx_load_options_free(options);
        cvx_pipeline_free(pipeline);
        assert_eq!(freed.times(), 0);
        cvx_pipeline_free(clone);
        assert_eq!(freed.times(), 1);
    }
}

#[test]
fn when_loading_fails() {
    let freed = Freed::default();
    // SAFETY: as a host calls it.
    unsafe {
        let options = cvx_load_options_new();
        let (data, free) = (freed.pointer(), Some(count_free as unsafe extern "C" fn(*mut c_void)));
        ok(cvx_load_options_set_log_callback(options, Some(ignore_log), data, free));
        let mut pipeline = null_mut();
        let error = cvx_pipeline_load(c"/no/such/folder".as_ptr(), options, &mut pipeline);
        fails(CVX_ERROR_NOT_FOUND, &["/no/such/folder"], error);
        assert!(pipeline.is_null());
        assert_eq!(freed.times(), 0);
        cvx_load_options_free(options);
    }
    assert_eq!(freed.times(), 1);
    // SAFETY: as a host calls it: without options, a log callback is nobody's.
    let error = unsafe { cvx_pipeline_load(c"".as_ptr(), null(), null_mut()) };
    fails(CVX_ERROR_NULL_ARGUMENT, &["out_pipeline"], error);
}

/// What its free function sets once more, from inside the setter that replaces it.
struct Again {
    options: *mut cvx_generate_options,
    load: *mut cvx_load_options,
    config: *mut cvx_cache_config,
    which: usize,
    freed: Freed,
    next: Freed,
}

unsafe extern "C" fn free_and_set_again(data: *mut c_void) {
    // SAFETY: the `Again` below, which outlives its use.
    unsafe {
        let again = &*data.cast::<Again>();
        count_free(again.freed.pointer());
        ok(set_any(again, again.next.pointer(), Some(count_free)));
    }
}

unsafe fn set_any(again: &Again, data: *mut c_void, free: cvx_free_callback) -> *mut cvx_error {
    let &Again { options, load, config, .. } = again;
    unsafe extern "C" fn step(_: *const cvx_step_info, _: *mut c_void) -> f64 {
        1.0
    }
    // SAFETY: as a host calls it.
    unsafe {
        match again.which {
            0 => cvx_generate_options_set_progress_callback(options, Some(go_on), data, free),
            1 => cvx_generate_options_set_log_callback(options, Some(ignore_log), data, free),
            2 => cvx_load_options_set_progress_callback(load, Some(go_on), data, free),
            3 => cvx_load_options_set_log_callback(load, Some(ignore_log), data, free),
            _ => cvx_cache_config_set_current_timestep_callback(config, Some(step), data, free),
        }
    }
}

#[test]
fn when_its_free_function_sets_again() {
    for which in 0..5 {
        // SAFETY: as a host calls it.
        unsafe {
            let again = Again {
                options: cvx_generate_options_new(),
                load: cvx_load_options_new(),
                config: cvx_pab_config_new(),
                which,
                freed: Freed::default(),
                next: Freed::default(),
            };
            let last = Freed::default();
            let data = std::ptr::from_ref(&again).cast_mut().cast();
            ok(set_any(&again, data, Some(free_and_set_again)));
            // The free function sets `next`, which so is what comes last.
            ok(set_any(&again, last.pointer(), Some(count_free)));
            let times = || [&again.freed, &last, &again.next].map(Freed::times);
            assert_eq!(times(), [1, 1, 0], "setter {which}");
            cvx_generate_options_free(again.options);
            cvx_load_options_free(again.load);
            cvx_cache_config_free(again.config);
            assert_eq!(times(), [1, 1, 1], "setter {which}");
        }
    }
}

#[test]
fn when_its_free_function_enables_the_cache_again() {
    struct Host {
        pipeline: *mut cvx_pipeline,
        config: *mut cvx_cache_config,
        freed: Freed,
    }
    unsafe extern "C" fn step(_: *const cvx_step_info, _: *mut c_void) -> f64 {
        1.0
    }
    unsafe extern "C" fn enable(data: *mut c_void) {
        // SAFETY: the host below, which outlives its use.
        unsafe {
            let host = &*data.cast::<Host>();
            count_free(host.freed.pointer());
            ok(cvx_pipeline_enable_cache(host.pipeline, host.config));
        }
    }
    let pipeline = Pipeline::load("2b");
    // SAFETY: as a host calls it.
    unsafe {
        let config = cvx_pab_config_new();
        let host = Host { pipeline: pipeline.0, config, freed: Freed::default() };
        let data = std::ptr::from_ref(&host).cast_mut().cast();
        let first = cvx_pab_config_new();
        ok(cvx_cache_config_set_current_timestep_callback(first, Some(step), data, Some(enable)));
        ok(cvx_pipeline_enable_cache(pipeline.0, first));
        cvx_cache_config_free(first);
        assert_eq!(host.freed.times(), 0);
        ok(cvx_pipeline_disable_cache(pipeline.0));
        assert_eq!(host.freed.times(), 1);
        cvx_cache_config_free(config);
    }
}
