//! The C functions with owners for their handles: what every binding writes once.

use super::cases::{Swapped, Tiles};
use super::goldens::{Array, Picture};
use cogvideox::capi::*;
use std::ffi::{CStr, CString};
use std::path::Path;
use std::ptr::{null, null_mut};

/// What a C function failed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub code: i32,
    pub message: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "error {}: {}", self.code, self.message)
    }
}

pub type Result<T> = std::result::Result<T, Failure>;

/// Takes over an error.
pub fn check(error: *mut cvx_error) -> Result<()> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: a live error, whose message lives as long as it does; freed once.
    unsafe {
        let code = cvx_error_code(error);
        let message = CStr::from_ptr(cvx_error_message(error)).to_str().unwrap().to_string();
        cvx_error_free(error);
        Err(Failure { code, message })
    }
}

/// What a call was refused with.
pub fn refused<T>(result: Result<T>) -> Failure {
    match result {
        Ok(_) => panic!("was not refused"),
        Err(failure) => failure,
    }
}

pub fn c_string(text: &str) -> CString {
    CString::new(text).unwrap()
}

pub fn c_path(path: &Path) -> CString {
    c_string(path.to_str().unwrap())
}

/// Which result a run ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Frames,
    Latents,
}

/// `cvx_generate_options`. Setters panic on an error: tests of errors call the C functions.
pub struct Options(pub *mut cvx_generate_options);

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: made by `cvx_generate_options_new`, freed once.
        unsafe { cvx_generate_options_free(self.0) }
    }
}

/// Calls a setter on live options.
macro_rules! set {
    ($self:ident, $setter:ident($($value:expr),*)) => {{
        // SAFETY: the options are live and used by one thread; the values live for the call.
        check(unsafe { $setter($self.0, $($value),*) }).unwrap();
        $self
    }};
}

/// Where pixels lie, their shape, and one of CVX_PIXELS_*.
fn pixels(picture: &Picture) -> (*const std::ffi::c_void, &[i64], i32) {
    match picture {
        Picture::Bytes(Array { shape, data }) if shape.last() == Some(&4) => {
            (data.as_ptr().cast(), shape, CVX_PIXELS_RGBA8)
        }
        Picture::Bytes(Array { shape, data }) => (data.as_ptr().cast(), shape, CVX_PIXELS_RGB8),
        Picture::Floats(Array { shape, data }) => (data.as_ptr().cast(), shape, CVX_PIXELS_F32),
    }
}

impl Options {
    pub fn new() -> Options {
        Options(cvx_generate_options_new())
    }

    /// A short run of a test folder: 9 frames of 48×32 pixels, latents as the result.
    pub fn short(steps: i32) -> Options {
        let mut options = Options::new();
        options
            .prompt("A panda plays a guitar.")
            .size(48, 32)
            .num_frames(9)
            .num_inference_steps(steps)
            .guidance_scale(6.0)
            .seed(3)
            .max_sequence_length(16)
            .output(Output::Latents);
        options
    }

    pub fn prompt(&mut self, prompt: &str) -> &mut Self {
        let prompt = c_string(prompt);
        set!(self, cvx_generate_options_set_prompt(prompt.as_ptr()))
    }

    pub fn negative_prompt(&mut self, prompt: &str) -> &mut Self {
        let prompt = c_string(prompt);
        set!(self, cvx_generate_options_set_negative_prompt(prompt.as_ptr()))
    }

    pub fn size(&mut self, width: i32, height: i32) -> &mut Self {
        set!(self, cvx_generate_options_set_size(width, height))
    }

    pub fn num_frames(&mut self, frames: i32) -> &mut Self {
        set!(self, cvx_generate_options_set_num_frames(frames))
    }

    pub fn num_inference_steps(&mut self, steps: i32) -> &mut Self {
        set!(self, cvx_generate_options_set_num_inference_steps(steps))
    }

    pub fn timesteps(&mut self, timesteps: &[i64]) -> &mut Self {
        set!(self, cvx_generate_options_set_timesteps(timesteps.as_ptr(), timesteps.len()))
    }

    pub fn guidance_scale(&mut self, scale: f64) -> &mut Self {
        set!(self, cvx_generate_options_set_guidance_scale(scale))
    }

    pub fn use_dynamic_cfg(&mut self, dynamic: bool) -> &mut Self {
        set!(self, cvx_generate_options_set_use_dynamic_cfg(dynamic.into()))
    }

    pub fn eta(&mut self, eta: f64) -> &mut Self {
        set!(self, cvx_generate_options_set_eta(eta))
    }

    pub fn seed(&mut self, seed: u64) -> &mut Self {
        set!(self, cvx_generate_options_set_seed(seed))
    }

    pub fn num_videos(&mut self, videos: i32) -> &mut Self {
        set!(self, cvx_generate_options_set_num_videos(videos))
    }

    pub fn max_sequence_length(&mut self, length: i32) -> &mut Self {
        set!(self, cvx_generate_options_set_max_sequence_length(length))
    }

    pub fn output(&mut self, output: Output) -> &mut Self {
        let output = match output {
            Output::Frames => CVX_OUTPUT_FRAMES,
            Output::Latents => CVX_OUTPUT_LATENTS,
        };
        set!(self, cvx_generate_options_set_output(output))
    }

    pub fn latents(&mut self, latents: &Array<f32>) -> &mut Self {
        let (data, shape) = (latents.data.as_ptr(), latents.shape.as_ptr());
        set!(self, cvx_generate_options_set_latents(data, shape, latents.shape.len()))
    }

    pub fn image(&mut self, picture: &Picture) -> &mut Self {
        let (data, shape, format) = pixels(picture);
        let (height, width) = (shape[0] as i32, shape[1] as i32);
        set!(self, cvx_generate_options_set_image(data, width, height, 0, format))
    }

    pub fn video(&mut self, frames: &Picture) -> &mut Self {
        let (data, shape, format) = pixels(frames);
        let [count, height, width] = [0, 1, 2].map(|side| shape[side] as i32);
        set!(self, cvx_generate_options_set_video(data, width, height, count, 0, 0, format))
    }

    pub fn control_video(&mut self, frames: &Picture) -> &mut Self {
        let (data, shape, format) = pixels(frames);
        let [count, height, width] = [0, 1, 2].map(|side| shape[side] as i32);
        set!(self, cvx_generate_options_set_control_video(data, width, height, count, 0, 0, format))
    }

    pub fn mask(&mut self, mask: &Array<u8>) -> &mut Self {
        let [count, height, width] = [0, 1, 2].map(|side| mask.shape[side] as i32);
        let data = mask.data.as_ptr();
        set!(self, cvx_generate_options_set_mask(data, width, height, count, 0, 0))
    }

    pub fn last_image(&mut self, picture: &Picture) -> &mut Self {
        let (data, shape, format) = pixels(picture);
        let (height, width) = (shape[0] as i32, shape[1] as i32);
        set!(self, cvx_generate_options_set_last_image(data, width, height, 0, format))
    }

    pub fn prompts<T: AsRef<str>>(&mut self, prompts: &[T]) -> &mut Self {
        let texts: Vec<CString> = prompts.iter().map(|text| c_string(text.as_ref())).collect();
        let pointers: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
        set!(self, cvx_generate_options_set_prompts(pointers.as_ptr(), pointers.len()))
    }

    pub fn negative_prompts<T: AsRef<str>>(&mut self, prompts: &[T]) -> &mut Self {
        let texts: Vec<CString> = prompts.iter().map(|text| c_string(text.as_ref())).collect();
        let pointers: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
        set!(self, cvx_generate_options_set_negative_prompts(pointers.as_ptr(), pointers.len()))
    }

    pub fn seeds(&mut self, seeds: &[u64]) -> &mut Self {
        set!(self, cvx_generate_options_set_seeds(seeds.as_ptr(), seeds.len()))
    }

    pub fn strength(&mut self, strength: f64) -> &mut Self {
        set!(self, cvx_generate_options_set_strength(strength))
    }

    pub fn tiles(&mut self, tiles: &Tiles) -> &mut Self {
        set!(
            self,
            cvx_generate_options_set_vae_tile(
                tiles.tile_sample_min_height,
                tiles.tile_sample_min_width,
                tiles.tile_overlap_factor_height,
                tiles.tile_overlap_factor_width
            )
        )
    }

    pub fn swapped(&mut self, swapped: &Swapped) -> &mut Self {
        let text = |text: &Option<String>| text.as_deref().map(c_string);
        let pointer = |text: &Option<CString>| text.as_ref().map_or(null(), |text| text.as_ptr());
        let (scheduler, spacing) = (text(&swapped.scheduler), text(&swapped.timestep_spacing));
        let scale = swapped.snr_shift_scale.unwrap_or(0.0);
        let rescale = swapped.rescale_betas_zero_snr.map_or(-1, i32::from);
        let this = set!(self, cvx_generate_options_set_scheduler(pointer(&scheduler)));
        let this = set!(this, cvx_generate_options_set_timestep_spacing(pointer(&spacing)));
        let this = set!(this, cvx_generate_options_set_snr_shift_scale(scale));
        set!(this, cvx_generate_options_set_rescale_betas_zero_snr(rescale))
    }

    pub fn lora_scale(&mut self, scale: f64) -> &mut Self {
        set!(self, cvx_generate_options_set_lora_scale(scale))
    }

    pub fn slicing(&mut self) -> &mut Self {
        set!(self, cvx_generate_options_set_vae_slicing(1))
    }
}

/// Where these tests compute: on the CPU, or where CVX_TEST_DEVICE says, which may be several devices
/// with commas between them.
pub fn test_device() -> String {
    std::env::var("CVX_TEST_DEVICE").unwrap_or_else(|_| "cpu".into())
}

/// Sets the device, or the devices; and what computes there, where CVX_TEST_CUDA_KERNELS says.
///
/// # Safety
/// The options are live.
pub unsafe fn set_device(options: *mut cvx_load_options, device: &CStr) -> *mut cvx_error {
    if let Ok(kernels) = std::env::var("CVX_TEST_CUDA_KERNELS") {
        let kernels = CString::new(kernels).expect("a text");
        // SAFETY: the caller's; the text lives for the call.
        let error = unsafe { cvx_load_options_set_cuda_kernels(options, kernels.as_ptr()) };
        assert!(error.is_null(), "{kernels:?}");
    }
    // SAFETY: the caller's; the text lives for the call.
    unsafe {
        match device.to_bytes().contains(&b',') {
            true => cvx_load_options_set_devices(options, device.as_ptr()),
            false => cvx_load_options_set_device(options, device.as_ptr()),
        }
    }
}

/// `cvx_pipeline`, in float32, on the CPU unless CVX_TEST_DEVICE names another device.
pub struct Pipeline(pub *mut cvx_pipeline);

// SAFETY: the header lets a pipeline be used from any thread; these tests move it between
// threads and use it from one at a time.
unsafe impl Send for Pipeline {}

impl Drop for Pipeline {
    fn drop(&mut self) {
        // SAFETY: made by the library, freed once.
        unsafe { cvx_pipeline_free(self.0) }
    }
}

impl Pipeline {
    pub fn load(folder: &Path) -> Result<Pipeline> {
        Pipeline::load_variant(folder, None)
    }

    /// Loads the weight files of `variant`, such as `fp16`.
    pub fn load_variant(folder: &Path, variant: Option<&str>) -> Result<Pipeline> {
        Pipeline::load_with(folder, variant, &Swapped::default())
    }

    /// Loads with components quantized, and other options that `change` sets.
    pub fn load_quantized(
        folder: &Path,
        quantizations: &[(&str, &str)],
        change: impl FnOnce(*mut cvx_load_options) -> Result<()>,
    ) -> Result<Pipeline> {
        tch::set_num_threads(1);
        let (folder, device) = (c_path(folder), c_string(&test_device()));
        let mut pipeline = null_mut();
        // SAFETY: strings and places live for the calls; the options are freed once.
        unsafe {
            let options = cvx_load_options_new();
            check(cvx_load_options_set_device(options, device.as_ptr()))?;
            check(cvx_load_options_set_dtype(options, c"f32".as_ptr()))?;
            for (component, kind) in quantizations {
                let (component, kind) = (c_string(component), c_string(kind));
                let (component, kind) = (component.as_ptr(), kind.as_ptr());
                check(cvx_load_options_set_component_quantization(options, component, kind))?;
            }
            let result = change(options)
                .and_then(|()| check(cvx_pipeline_load(folder.as_ptr(), options, &mut pipeline)));
            cvx_load_options_free(options);
            result?;
        }
        Ok(Pipeline(pipeline))
    }

    /// Loads in a dtype, such as `bf16`, which the CPU computes in float32.
    pub fn load_in(folder: &Path, dtype: &str) -> Result<Pipeline> {
        tch::set_num_threads(1);
        let (folder, dtype, device) = (c_path(folder), c_string(dtype), c_string(&test_device()));
        let mut pipeline = null_mut();
        // SAFETY: strings and places live for the calls; the options are freed once.
        unsafe {
            let options = cvx_load_options_new();
            check(set_device(options, &device))?;
            check(cvx_load_options_set_dtype(options, dtype.as_ptr()))?;
            let result = check(cvx_pipeline_load(folder.as_ptr(), options, &mut pipeline));
            cvx_load_options_free(options);
            result?;
        }
        Ok(Pipeline(pipeline))
    }

    /// Loads for as many devices, which are one and the same (on CUDA "cuda:0,cuda:1", in turn), with
    /// the degrees of guidance and sequence; 0 leaves them to the library.
    pub fn load_on(
        folder: &Path,
        devices: usize,
        guidance: i32,
        sequence: i32,
    ) -> Result<Pipeline> {
        tch::set_num_threads(1);
        let name = |number: usize| match test_device() {
            device if device == "cuda" => format!("cuda:{}", number % 2),
            device => device,
        };
        let names = c_string(&(0..devices).map(name).collect::<Vec<_>>().join(","));
        let (folder, mut pipeline) = (c_path(folder), null_mut());
        // SAFETY: strings and places live for the calls; the options are freed once.
        unsafe {
            let options = cvx_load_options_new();
            check(cvx_load_options_set_devices(options, names.as_ptr()))?;
            check(cvx_load_options_set_dtype(options, c"f32".as_ptr()))?;
            check(cvx_load_options_set_parallel(options, guidance, sequence))?;
            let result = check(cvx_pipeline_load(folder.as_ptr(), options, &mut pipeline));
            cvx_load_options_free(options);
            result?;
        }
        Ok(Pipeline(pipeline))
    }

    /// Loads with `swapped` changed of the folder's scheduler.
    pub fn load_swapped(folder: &Path, swapped: &Swapped) -> Result<Pipeline> {
        Pipeline::load_with(folder, None, swapped)
    }

    fn load_with(folder: &Path, variant: Option<&str>, swapped: &Swapped) -> Result<Pipeline> {
        // The networks are tiny and the tests run side by side: on a busy machine, threads that
        // wait for each other inside every operation cost a hundred times what they save.
        tch::set_num_threads(1);
        let folder = c_path(folder);
        let variant = variant.map(c_string);
        let device = c_string(&test_device());
        let mut pipeline = null_mut();
        // SAFETY: strings and places live for the calls; the options are freed once.
        unsafe {
            let options = cvx_load_options_new();
            check(set_device(options, &device))?;
            check(cvx_load_options_set_dtype(options, c"f32".as_ptr()))?;
            if let Some(variant) = &variant {
                check(cvx_load_options_set_variant(options, variant.as_ptr()))?;
            }
            let text = |text: &Option<String>| text.as_deref().map(c_string);
            if let Some(scheduler) = text(&swapped.scheduler) {
                check(cvx_load_options_set_scheduler(options, scheduler.as_ptr()))?;
            }
            if let Some(spacing) = text(&swapped.timestep_spacing) {
                check(cvx_load_options_set_timestep_spacing(options, spacing.as_ptr()))?;
            }
            if let Some(scale) = swapped.snr_shift_scale {
                check(cvx_load_options_set_snr_shift_scale(options, scale))?;
            }
            if let Some(rescale) = swapped.rescale_betas_zero_snr {
                check(cvx_load_options_set_rescale_betas_zero_snr(options, rescale.into()))?;
            }
            let result = check(cvx_pipeline_load(folder.as_ptr(), options, &mut pipeline));
            cvx_load_options_free(options);
            result?;
        }
        Ok(Pipeline(pipeline))
    }

    pub fn generate(&self, options: &Options) -> Result<Video> {
        let mut video = null_mut();
        // SAFETY: both handles are live.
        check(unsafe { cvx_pipeline_generate(self.0, options.0, &mut video) })?;
        Ok(Video(video))
    }

    pub fn tokenize(&self, text: &str, length: usize) -> Result<Vec<i64>> {
        let text = c_string(text);
        let mut ids = vec![-1i64; length];
        // SAFETY: there is room for `length` ids.
        check(unsafe { cvx_pipeline_tokenize(self.0, text.as_ptr(), ids.as_mut_ptr(), length) })?;
        Ok(ids)
    }

    pub fn encode_prompt(&self, text: &str, length: usize) -> Result<Array<f32>> {
        // SAFETY: the pipeline is live.
        let width = unsafe { cvx_pipeline_text_embed_dim(self.0) } as usize;
        let text = c_string(text);
        let mut data = vec![f32::NAN; length * width];
        let (out, room) = (data.as_mut_ptr(), data.len());
        // SAFETY: there is `room`.
        check(unsafe { cvx_pipeline_encode_prompt(self.0, text.as_ptr(), length, out, room) })?;
        Ok(Array { shape: vec![1, length as i64, width as i64], data })
    }

    pub fn decode_latents(&self, latents: &Array<f32>, options: Option<&Options>) -> Result<Video> {
        let mut video = null_mut();
        let options = options.map_or(null(), |options| options.0.cast_const());
        let (data, shape) = (latents.data.as_ptr(), latents.shape.as_ptr());
        let rank = latents.shape.len();
        // SAFETY: data and shape live for the call and are as long as they say.
        check(unsafe {
            cvx_pipeline_decode_latents(self.0, data, shape, rank, options, &mut video)
        })?;
        Ok(Video(video))
    }
}

/// `cvx_video`.
pub struct Video(pub *mut cvx_video);

impl Drop for Video {
    fn drop(&mut self) {
        // SAFETY: made by the library, freed once.
        unsafe { cvx_video_free(self.0) }
    }
}

impl Video {
    fn frame_shape(&self) -> [i64; 5] {
        // SAFETY: the video is live.
        unsafe {
            [
                cvx_video_count(self.0).into(),
                cvx_video_num_frames(self.0).into(),
                cvx_video_height(self.0).into(),
                cvx_video_width(self.0).into(),
                3,
            ]
        }
    }

    pub fn latents(&self) -> Result<Array<f32>> {
        let mut data = null();
        let mut shape = [0i64; 5];
        // SAFETY: the places live for the call; the data lives as long as the video and has
        // as many numbers as its shape says.
        let data = unsafe {
            check(cvx_video_latents(self.0, &mut data, shape.as_mut_ptr()))?;
            std::slice::from_raw_parts(data, shape.iter().product::<i64>() as usize)
        };
        Ok(Array { shape: shape.to_vec(), data: data.to_vec() })
    }

    /// The frames of all videos, read row by row with the stride that the library returns.
    fn frames<T: Copy>(
        &self,
        get: unsafe extern "C" fn(
            *const cvx_video,
            i32,
            *mut *const T,
            *mut usize,
        ) -> *mut cvx_error,
    ) -> Result<Array<T>> {
        let shape = self.frame_shape();
        let [count, frames, height, width, channels] = shape.map(|side| side as usize);
        let mut all = Vec::new();
        for index in 0..count {
            let mut data = null();
            let mut stride = 0;
            // SAFETY: the places live for the call.
            check(unsafe { get(self.0, index as i32, &mut data, &mut stride) })?;
            for row in 0..frames * height {
                // SAFETY: by the header, row `r` of the video starts `r` strides in and has
                // `width` pixels.
                let row = unsafe {
                    let start = data.cast::<u8>().add(row * stride).cast::<T>();
                    std::slice::from_raw_parts(start, width * channels)
                };
                all.extend_from_slice(row);
            }
        }
        Ok(Array { shape: shape.to_vec(), data: all })
    }

    pub fn frames_rgb8(&self) -> Result<Array<u8>> {
        self.frames(cvx_video_frames_rgb8)
    }

    pub fn frames_f32(&self) -> Result<Array<f32>> {
        self.frames(cvx_video_frames_f32)
    }
}
