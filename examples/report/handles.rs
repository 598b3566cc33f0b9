//! The C functions that the report needs, with owners for their handles.

use crate::clip::Clip;
use crate::machine::Clock;
use crate::Result;
use cogvideox::capi::*;
use std::cell::Cell;
use std::ffi::{c_char, c_void, CStr, CString};
use std::path::Path;
use std::ptr::{null, null_mut};

/// Takes over an error: its one line of text.
fn check(error: *mut cvx_error) -> Result<()> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: a live error, whose message lives as long as it does; freed once.
    unsafe {
        let message = CStr::from_ptr(cvx_error_message(error)).to_string_lossy().into_owned();
        cvx_error_free(error);
        Err(message.into())
    }
}

/// A copy of a text that a handle owns.
///
/// # Safety
/// `text` is NULL or ends in NUL, and lives for the call.
unsafe fn owned(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller's.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

fn c_path(path: &Path) -> Result<CString> {
    Ok(CString::new(path.to_str().ok_or("a path that is not UTF-8")?)?)
}

/// A number that a C function returns about a live pipeline.
macro_rules! ask {
    ($self:ident, $function:ident) => {
        // SAFETY: the handle is live.
        unsafe { $function($self.0) }
    };
}

/// `cvx_cache_config`.
pub struct CacheConfig(*mut cvx_cache_config);

impl Drop for CacheConfig {
    fn drop(&mut self) {
        // SAFETY: made by the library, freed once.
        unsafe { cvx_cache_config_free(self.0) }
    }
}

impl CacheConfig {
    pub fn new(technique: &str, preset: &str) -> Result<CacheConfig> {
        let (technique, preset) = (CString::new(technique)?, CString::new(preset)?);
        let mut config = null_mut();
        // SAFETY: texts and place live for the call.
        check(unsafe { cvx_cache_config_new(technique.as_ptr(), preset.as_ptr(), &mut config) })?;
        Ok(CacheConfig(config))
    }

    /// As [`cvx_cache_config_to_json`] writes it.
    pub fn from_json(json: &str) -> Result<CacheConfig> {
        let json = CString::new(json)?;
        let mut config = null_mut();
        // SAFETY: text and place live for the call.
        check(unsafe { cvx_cache_config_from_json(json.as_ptr(), &mut config) })?;
        Ok(CacheConfig(config))
    }

    /// `value` is written as JSON.
    pub fn set_field(&mut self, field: &str, value: &str) -> Result<()> {
        let (field, value) = (CString::new(field)?, CString::new(value)?);
        // SAFETY: the config is live and nobody else's; both texts live for the call.
        check(unsafe { cvx_cache_config_set_field(self.0, field.as_ptr(), value.as_ptr()) })
    }

    pub fn set_attention_skip_range(&mut self, n: i32) -> Result<()> {
        // SAFETY: the config is live and nobody else's.
        check(unsafe { cvx_cache_config_set_spatial_attention_block_skip_range(self.0, n) })
    }

    pub fn set_attention_window(&mut self, (low, high): (i32, i32)) -> Result<()> {
        // SAFETY: the config is live and nobody else's.
        check(unsafe {
            cvx_cache_config_set_spatial_attention_timestep_skip_range(self.0, low, high)
        })
    }

    pub fn set_unconditional_skip_range(&mut self, n: i32) -> Result<()> {
        // SAFETY: the config is live and nobody else's.
        check(unsafe { cvx_cache_config_set_unconditional_batch_skip_range(self.0, n) })
    }

    pub fn set_unconditional_window(&mut self, (low, high): (i32, i32)) -> Result<()> {
        // SAFETY: the config is live and nobody else's.
        check(unsafe {
            cvx_cache_config_set_unconditional_batch_timestep_skip_range(self.0, low, high)
        })
    }
}

/// `cvx_pipeline`, on the CPU.
pub struct Pipeline(*mut cvx_pipeline);

impl Drop for Pipeline {
    fn drop(&mut self) {
        // SAFETY: made by the library, freed once.
        unsafe { cvx_pipeline_free(self.0) }
    }
}

impl Pipeline {
    pub fn load(folder: &Path) -> Result<Pipeline> {
        let folder = c_path(folder)?;
        let mut pipeline = null_mut();
        // SAFETY: text and place live for the call.
        check(unsafe { cvx_pipeline_load(folder.as_ptr(), null(), &mut pipeline) })?;
        Ok(Pipeline(pipeline))
    }

    /// Such as "CogVideoX 1.0, rotary".
    pub fn family(&self) -> String {
        // SAFETY: the pipeline is live, and so is its text; so below.
        unsafe { owned(cvx_pipeline_family(self.0)) }
    }

    pub fn device(&self) -> String {
        // SAFETY: as above.
        unsafe { owned(cvx_pipeline_device(self.0)) }
    }

    pub fn dtype(&self) -> String {
        // SAFETY: as above.
        unsafe { owned(cvx_pipeline_dtype(self.0)) }
    }

    pub fn weight_bytes(&self) -> u64 {
        ask!(self, cvx_pipeline_weight_bytes)
    }

    /// Width, height and frames of a video.
    pub fn default_size(&self) -> (i32, i32, i32) {
        let (width, height) =
            (ask!(self, cvx_pipeline_default_width), ask!(self, cvx_pipeline_default_height));
        (width, height, ask!(self, cvx_pipeline_default_num_frames))
    }

    pub fn default_steps(&self) -> i32 {
        ask!(self, cvx_pipeline_default_num_inference_steps)
    }

    pub fn default_guidance_scale(&self) -> f64 {
        ask!(self, cvx_pipeline_default_guidance_scale)
    }

    /// Caches the next runs, or does not.
    pub fn set_cache(&mut self, config: Option<&CacheConfig>) -> Result<()> {
        // SAFETY: both handles are live.
        check(unsafe {
            match config {
                Some(config) => cvx_pipeline_enable_cache(self.0, config.0),
                None => cvx_pipeline_disable_cache(self.0),
            }
        })
    }

    /// Adds an adapter, which is in force from the next run on.
    pub fn load_lora(&mut self, path: &Path) -> Result<()> {
        let path = c_path(path)?;
        // SAFETY: the pipeline is live, and the text for the call.
        check(unsafe { cvx_pipeline_load_lora(self.0, path.as_ptr(), null()) })
    }

    /// Generates one video with the pipeline's defaults, and says how long that took.
    pub fn generate(&mut self, prompt: &str, seed: u64, steps: i32, clock: Clock) -> Result<Run> {
        self.generate_from(None, prompt, seed, steps, clock)
    }

    /// The same from a picture, the one frame of a clip.
    pub fn generate_from(
        &mut self,
        picture: Option<&Clip>,
        prompt: &str,
        seed: u64,
        steps: i32,
        clock: Clock,
    ) -> Result<Run> {
        let prompt = CString::new(prompt)?;
        let ends = Ends { clock, encoding: Cell::default(), denoising: Cell::default() };
        let ends_pointer = (&raw const ends).cast_mut().cast::<c_void>();
        let options = cvx_generate_options_new();
        let mut video = null_mut();
        let started = clock.now();
        // SAFETY: options and pipeline are live; `ends` outlives the run, which is over with the
        // call; the options, which keep a pointer to it, are freed before it is.
        let result = unsafe {
            let result = check(cvx_generate_options_set_prompt(options, prompt.as_ptr()))
                .and_then(|()| check(cvx_generate_options_set_seed(options, seed)))
                .and_then(|()| check(cvx_generate_options_set_num_inference_steps(options, steps)))
                .and_then(|()| picture.map_or(Ok(()), |picture| set_picture(options, picture)))
                .and_then(|()| {
                    check(cvx_generate_options_set_progress_callback(
                        options,
                        Some(note_the_time),
                        ends_pointer,
                        None,
                    ))
                })
                .and_then(|()| check(cvx_pipeline_generate(self.0, options, &mut video)));
            cvx_generate_options_free(options);
            result
        };
        result?;
        let seconds = clock.now() - started;
        let encoded = ends.encoding.get().unwrap_or(started);
        let denoising_seconds = ends.denoising.get().map_or(0.0, |end| end - encoded);
        let mut stats = null_mut();
        // SAFETY: the pipeline is live, and so is the place.
        check(unsafe { cvx_pipeline_cache_stats(self.0, &mut stats) })?;
        Ok(Run { video: Video(video), stats: Stats(stats), seconds, denoising_seconds })
    }
}

impl Pipeline {
    /// Calibrates with one run for each prompt, seeds from 1 on.
    pub fn calibrate(&mut self, prompts: &[String], steps: i32) -> Result<Calibration> {
        let mut runs = Vec::with_capacity(prompts.len());
        for (prompt, seed) in prompts.iter().zip(1..) {
            let mut options = Options::with_steps(steps)?;
            options.ask(prompt, seed)?;
            runs.push(options);
        }
        let handles: Vec<*const cvx_generate_options> =
            runs.iter().map(|run| run.0.cast_const()).collect();
        let mut calibration = null_mut();
        // SAFETY: all handles are live, and so is the place.
        check(unsafe {
            cvx_pipeline_calibrate(self.0, handles.as_ptr(), handles.len(), &mut calibration)
        })?;
        Ok(Calibration(calibration))
    }

    /// What is expected of a run with `config`: seconds, and PSNR where it is known.
    pub fn estimate(
        &self,
        config: &CacheConfig,
        calibration: &Calibration,
        steps: i32,
    ) -> Result<(f64, Option<f64>)> {
        let options = Options::with_steps(steps)?;
        let mut stats = null_mut();
        // SAFETY: all handles are live, and so is the place.
        check(unsafe {
            cvx_pipeline_estimate_cache(self.0, config.0, options.0, calibration.0, &mut stats)
        })?;
        let stats = Stats(stats);
        // SAFETY: the statistics are live.
        let (seconds, psnr) = unsafe {
            (cvx_cache_stats_estimated_seconds(stats.0), cvx_cache_stats_estimated_psnr(stats.0))
        };
        Ok((seconds, (psnr != 0.0).then_some(psnr)))
    }
}

/// `cvx_calibration`.
pub struct Calibration(*mut cvx_calibration);

impl Drop for Calibration {
    fn drop(&mut self) {
        // SAFETY: made by the library, freed once.
        unsafe { cvx_calibration_free(self.0) }
    }
}

/// `cvx_generate_options`.
struct Options(*mut cvx_generate_options);

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: made by the library, freed once.
        unsafe { cvx_generate_options_free(self.0) }
    }
}

impl Options {
    fn with_steps(steps: i32) -> Result<Options> {
        let options = Options(cvx_generate_options_new());
        // SAFETY: the options are live.
        check(unsafe { cvx_generate_options_set_num_inference_steps(options.0, steps) })?;
        Ok(options)
    }

    fn ask(&mut self, prompt: &str, seed: u64) -> Result<()> {
        let prompt = CString::new(prompt)?;
        // SAFETY: the options are live, and the text is for the call.
        unsafe {
            check(cvx_generate_options_set_prompt(self.0, prompt.as_ptr()))?;
            check(cvx_generate_options_set_seed(self.0, seed))
        }
    }
}

/// Gives options the one frame of a clip as their image.
fn set_picture(options: *mut cvx_generate_options, picture: &Clip) -> Result<()> {
    let byte = |value: &f64| (value * 255.0).round() as u8;
    let bytes: Vec<u8> = picture.pixels.iter().flatten().map(byte).collect();
    let [width, height] = [picture.width, picture.height].map(|side| side as i32);
    // SAFETY: the options are the caller's and live; the bytes are as many as is said, and copied.
    check(unsafe {
        let data = bytes.as_ptr().cast();
        cvx_generate_options_set_image(options, data, width, height, 0, CVX_PIXELS_RGB8)
    })
}

/// When stages of a run ended.
struct Ends {
    clock: Clock,
    encoding: Cell<Option<f64>>,
    denoising: Cell<Option<f64>>,
}

unsafe extern "C" fn note_the_time(info: *const cvx_progress_info, ends: *mut c_void) -> i32 {
    // SAFETY: the library's info lives for the call, and `ends` for the run, which calls back on
    // the thread that started it.
    let (info, ends) = unsafe { (&*info, &*ends.cast::<Ends>()) };
    match info.stage {
        CVX_STAGE_ENCODE => ends.encoding.set(Some(ends.clock.now())),
        CVX_STAGE_DENOISE => ends.denoising.set(Some(ends.clock.now())),
        _ => {}
    }
    0
}

/// What a run made, what it computed and how long it took.
pub struct Run {
    pub video: Video,
    pub stats: Stats,
    /// From the prompt to the last frame.
    pub seconds: f64,
    /// Of that the denoising steps, which is what caching is about.
    pub denoising_seconds: f64,
}

/// `cvx_cache_stats`.
pub struct Stats(*mut cvx_cache_stats);

impl Drop for Stats {
    fn drop(&mut self) {
        // SAFETY: made by the library, freed once.
        unsafe { cvx_cache_stats_free(self.0) }
    }
}

impl Stats {
    /// How many calls of attention modules were computed, and how many were not.
    pub fn attention_calls(&self) -> (i32, i32) {
        // SAFETY: the statistics are live; so below.
        let count = |state| unsafe { cvx_cache_stats_layer_count(self.0, -1, state) };
        let saved =
            [CVX_LAYER_REUSED, CVX_LAYER_APPROXIMATED, CVX_LAYER_SKIPPED, CVX_LAYER_PREDICTED];
        let computed = count(CVX_LAYER_COMPUTED) + count(CVX_LAYER_FEED_FORWARD_PREDICTED);
        (computed, saved.map(count).iter().sum())
    }

    /// Steps on which the unconditional half was rebuilt instead of computed.
    pub fn rebuilt_halves(&self) -> usize {
        // SAFETY: as above.
        unsafe {
            (0..cvx_cache_stats_num_steps(self.0))
                .map(|step| cvx_cache_stats_unconditional(self.0, step))
                .filter(|&state| state == CVX_UNCONDITIONAL_REBUILT)
                .count()
        }
    }

    pub fn bytes_peak(&self) -> u64 {
        ask!(self, cvx_cache_stats_bytes_peak)
    }

    pub fn predicted_speed_up(&self) -> f64 {
        ask!(self, cvx_cache_stats_predicted_speed_up)
    }

    /// The settings that the run had, by diffusers' names of the fields.
    pub fn settings(&self) -> Result<serde_json::Value> {
        // SAFETY: the statistics are live, and so is their text.
        let text = unsafe { owned(cvx_cache_stats_json(self.0)) };
        let mut stats: serde_json::Value = serde_json::from_str(&text)?;
        Ok(stats["settings"].take())
    }
}

/// `cvx_video` of one video.
pub struct Video(*mut cvx_video);

impl Drop for Video {
    fn drop(&mut self) {
        // SAFETY: made by the library, freed once.
        unsafe { cvx_video_free(self.0) }
    }
}

impl Video {
    /// The frames as they were decoded.
    pub fn clip(&self) -> Result<Clip> {
        self.frames(cvx_video_frames_f32, f64::from)
    }

    /// The frames as a viewer is shown them, in 256 levels.
    pub fn shown(&self) -> Result<Clip> {
        self.frames(cvx_video_frames_rgb8, |byte: u8| f64::from(byte) / 255.0)
    }

    fn frames<T: Copy>(
        &self,
        get: unsafe extern "C" fn(
            *const cvx_video,
            i32,
            *mut *const T,
            *mut usize,
        ) -> *mut cvx_error,
        number: fn(T) -> f64,
    ) -> Result<Clip> {
        let (mut data, mut stride) = (null(), 0);
        let frames = ask!(self, cvx_video_num_frames) as usize;
        let height = ask!(self, cvx_video_height) as usize;
        let width = ask!(self, cvx_video_width) as usize;
        // SAFETY: the places live for the call.
        check(unsafe { get(self.0, 0, &mut data, &mut stride) })?;
        let mut pixels = Vec::with_capacity(frames * height * width);
        for row in 0..frames * height {
            // SAFETY: by the header, row `row` starts so many strides, in bytes, in and has
            // `width` pixels.
            let row = unsafe {
                let start = data.cast::<u8>().add(row * stride).cast::<T>();
                std::slice::from_raw_parts(start, width * 3)
            };
            pixels.extend(row.chunks_exact(3).map(|p| [p[0], p[1], p[2]].map(number)));
        }
        Ok(Clip { frames, height, width, pixels })
    }
}

/// Writes a picture with a row of `columns` frames for each of the videos.
pub fn save_contact_sheet(videos: &[Video], columns: i32, path: &Path) -> Result<()> {
    let handles: Vec<*const cvx_video> = videos.iter().map(|video| video.0.cast_const()).collect();
    let path = c_path(path)?;
    // SAFETY: the videos are live, and there are as many as it says.
    check(unsafe {
        cvx_video_save_contact_sheet(handles.as_ptr(), handles.len(), columns, path.as_ptr())
    })
}
