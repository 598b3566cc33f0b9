//! Handles that were freed, are of another type, or are none: refused as far as can be told.

use crate::support::*;
use cogvideox::capi::*;
use std::ffi::CStr;
use std::ptr::{null, null_mut};

#[test]
fn of_another_type_they_are_refused_by_name() {
    let pipeline = Pipeline::load("2b");
    let options = Options::latents(1);
    // SAFETY: wrong handles are what is tested; they are live ones of this library.
    unsafe {
        let token = cvx_cancel_token_new();
        let config = cvx_pab_config_new();
        let load = cvx_load_options_new();
        let mut video = untouched();
        let refuse = |word: &str, error| {
            fails(CVX_ERROR_INVALID_ARGUMENT, &[word, "live", "freed, or something else"], error);
        };
        refuse("cvx_pipeline", cvx_pipeline_generate(token.cast(), options.0, &mut video));
        refuse("cvx_generate_options", cvx_pipeline_generate(pipeline.0, load.cast(), &mut video));
        refuse("cvx_cache_config", cvx_pipeline_enable_cache(pipeline.0, options.0.cast()));
        refuse("cvx_cancel_token", cvx_load_options_set_cancel_token(load, config.cast()));
        refuse(
            "cvx_load_options",
            cvx_pipeline_load(folder("2b").as_ptr(), options.0.cast(), untouched::<u64>().cast()),
        );
        let mut data = null();
        refuse("cvx_video", cvx_video_frames_rgb8(config.cast(), 0, &mut data, null_mut()));
        refuse("cvx_job", cvx_job_wait(token.cast(), 0.0, null_mut()));
        assert_eq!(video, untouched());
        // What cannot fail returns what it does for NULL.
        assert_eq!(cvx_error_code(token.cast()), CVX_OK);
        assert_eq!(cvx_job_poll(options.0.cast(), null_mut()), CVX_JOB_NONE);
        assert_eq!(cvx_video_width(config.cast()), 0);
        assert_eq!(CStr::from_ptr(cvx_pipeline_family(load.cast())), c"");
        // Freed as another type, they stay.
        cvx_video_free(config.cast());
        cvx_pipeline_free(token.cast());
        cvx_error_free(load.cast());
        ok(cvx_pipeline_enable_cache(pipeline.0, config));
        ok(cvx_load_options_set_cancel_token(load, token));
        cvx_load_options_free(load);
        cvx_cache_config_free(config);
        cvx_cancel_token_free(token);
    }
    drop(generate(&pipeline, &options));
}

#[test]
fn freed_and_made_up_ones_are_refused() {
    let pipeline = Pipeline::load("2b");
    // SAFETY: mistakes are what is tested; the memory is readable.
    unsafe {
        let mut clone = null_mut();
        ok(cvx_pipeline_clone(pipeline.0, &mut clone));
        let options = cvx_generate_options_new();
        cvx_pipeline_free(clone);
        cvx_generate_options_free(options);
        let mut video = null_mut();
        let refused = |error| code(error).0 == CVX_ERROR_INVALID_ARGUMENT;
        assert!(refused(cvx_pipeline_disable_cache(clone)));
        assert!(refused(cvx_pipeline_generate(pipeline.0, options, &mut video)));
        assert!(refused(cvx_generate_options_set_seed(options, 1)));
        // Twice freed is once.
        cvx_pipeline_free(clone);
        cvx_generate_options_free(options);

        let words = [7u64; 64];
        assert!(refused(cvx_pipeline_disable_cache(words.as_ptr().cast_mut().cast())));
        let odd = words.as_ptr().cast::<u8>().add(3).cast_mut();
        assert!(refused(cvx_pipeline_disable_cache(odd.cast())));
        assert!(video.is_null());
    }
    drop(generate(&pipeline, &Options::latents(1)));
}
