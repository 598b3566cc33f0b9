//! Calls as a C host makes them, and what the tests share.

use cogvideox::capi::*;
use std::ffi::{c_char, c_void, CStr, CString};
use std::path::PathBuf;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};

/// Frees the error and returns its code and message; `CVX_OK` for success.
pub fn code(error: *mut cvx_error) -> (i32, String) {
    // SAFETY: NULL or an error of our own.
    unsafe {
        let code = cvx_error_code(error);
        let message = CStr::from_ptr(cvx_error_message(error)).to_str().unwrap().to_string();
        cvx_error_free(error);
        assert!(!message.contains(|c: char| c.is_control()), "more than a line: {message:?}");
        assert_eq!(message.is_empty(), code == CVX_OK);
        (code, message)
    }
}

/// The call succeeds.
#[track_caller]
pub fn ok(error: *mut cvx_error) {
    assert_eq!(code(error), (CVX_OK, String::new()));
}

/// The call fails with `expected`, and its message holds each of `words`.
#[track_caller]
pub fn fails(expected: i32, words: &[&str], error: *mut cvx_error) {
    let (code, message) = code(error);
    assert_eq!(code, expected, "{message}");
    for word in words {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
}

/// What an out-parameter holds before a call, to see whether it was written.
pub fn untouched<T>() -> *mut T {
    std::ptr::without_provenance_mut(0xabc0)
}

pub fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

/// A string that the library answered.
pub fn text(pointer: *const c_char) -> String {
    // SAFETY: a string of the library.
    unsafe { CStr::from_ptr(pointer) }.to_str().unwrap().to_string()
}

pub const NOT_UTF8: &CStr = c"caf\xe9";

/// A folder of one of the tests' tiny random pipelines.
pub fn folder(family: &str) -> CString {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pipelines").join(family);
    c(path.to_str().unwrap())
}

/// A pipeline handle that frees itself.
pub struct Pipeline(pub *mut cvx_pipeline);

impl Pipeline {
    pub fn load(family: &str) -> Pipeline {
        let mut pipeline = null_mut();
        // SAFETY: as a host calls it.
        ok(unsafe { cvx_pipeline_load(folder(family).as_ptr(), null(), &mut pipeline) });
        assert!(!pipeline.is_null());
        Pipeline(pipeline)
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        // SAFETY: freed once, here.
        unsafe { cvx_pipeline_free(self.0) }
    }
}

/// Generate options that free themselves: the smallest run there is, unless changed.
pub struct Options(pub *mut cvx_generate_options);

impl Options {
    pub fn small(steps: i32) -> Options {
        // SAFETY: as a host calls it.
        unsafe {
            let options = cvx_generate_options_new();
            ok(cvx_generate_options_set_prompt(options, c"a red ball".as_ptr()));
            ok(cvx_generate_options_set_size(options, 32, 32));
            ok(cvx_generate_options_set_num_frames(options, 9));
            ok(cvx_generate_options_set_num_inference_steps(options, steps));
            ok(cvx_generate_options_set_max_sequence_length(options, 8));
            Options(options)
        }
    }

    pub fn latents(steps: i32) -> Options {
        let options = Options::small(steps);
        // SAFETY: as a host calls it.
        ok(unsafe { cvx_generate_options_set_output(options.0, CVX_OUTPUT_LATENTS) });
        options
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: freed once, here.
        unsafe { cvx_generate_options_free(self.0) }
    }
}

/// A video handle that frees itself.
pub struct Video(pub *mut cvx_video);

impl Drop for Video {
    fn drop(&mut self) {
        // SAFETY: freed once, here.
        unsafe { cvx_video_free(self.0) }
    }
}

pub fn generate(pipeline: &Pipeline, options: &Options) -> Video {
    let mut video = null_mut();
    // SAFETY: as a host calls it.
    ok(unsafe { cvx_pipeline_generate(pipeline.0, options.0, &mut video) });
    assert!(!video.is_null());
    Video(video)
}

pub fn latents(video: &Video) -> (Vec<f32>, [i64; 5]) {
    let (mut data, mut shape) = (null(), [0; 5]);
    // SAFETY: as a host calls it; the numbers live as long as the video.
    unsafe {
        ok(cvx_video_latents(video.0, &mut data, shape.as_mut_ptr()));
        let count = shape.iter().product::<i64>() as usize;
        (std::slice::from_raw_parts(data, count).to_vec(), shape)
    }
}

/// Counts how often it was freed as somebody's user_data.
#[derive(Default)]
pub struct Freed(AtomicU32);

impl Freed {
    pub fn pointer(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    pub fn times(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

pub unsafe extern "C" fn count_free(user_data: *mut c_void) {
    // SAFETY: the tests pass a `Freed` that outlives its use.
    unsafe { &*user_data.cast::<Freed>() }.0.fetch_add(1, Ordering::SeqCst);
}

pub unsafe extern "C" fn go_on(_: *const cvx_progress_info, _: *mut c_void) -> i32 {
    0
}

pub unsafe extern "C" fn ignore_log(_: *const cvx_log_info, _: *mut c_void) {}

/// What a closure needs to be called through C as a progress callback: pass [`call_progress`]
/// and [`Closure::pointer`].
pub struct Closure<'a>(pub &'a mut dyn FnMut(&cvx_progress_info) -> i32);

impl Closure<'_> {
    pub fn pointer(&mut self) -> *mut c_void {
        std::ptr::from_mut(self).cast()
    }
}

pub unsafe extern "C" fn call_progress(info: *const cvx_progress_info, data: *mut c_void) -> i32 {
    // SAFETY: the tests pass a `Closure` that outlives the run.
    unsafe { (*data.cast::<Closure>()).0(&*info) }
}
