//! The pipeline: load, encode the prompt, prepare latents, denoise, decode.
//!
//! A port of `CogVideoXPipeline` (diffusers 0.42.1, pipelines/cogvideo/pipeline_cogvideox.py).
//! One file per part of its `__call__`:
//!
//! | file | reference |
//! | --- | --- |
//! | `request` | `check_inputs` and the defaults at the top of `__call__` |
//! | `encode` | `encode_prompt`, `_get_t5_prompt_embeds` |
//! | `latents` | `prepare_latents`, the padding frames of the 1.5 family |
//! | `denoise` | the denoising loop, guidance |
//! | `decode` | `decode_latents`, `postprocess_video` |

mod components;
mod decode;
mod denoise;
mod encode;
mod generate;
mod latents;
mod load;
mod options;
mod request;

pub use load::{LoadOptions, Residency};
pub use options::{GenerateOptions, Output};

use crate::cache::{CacheConfig, CacheStats, Preview, SharedStats};
use crate::checkpoint::PipelineFolder;
use crate::models::vae::DecodeOptions;
use crate::runtime::control::LogFn;
use crate::runtime::{warnings, Control, Placement};
use crate::video::Video;
use crate::{Error, Result};
use components::Components;
use parking_lot::Mutex;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use tch::Tensor;

/// A loaded pipeline. Pipelines made by [`Pipeline::share`] read the same weights and have a
/// cache and a run of their own.
///
/// Every method takes `&self` and may be called from any thread; one run at a time: a second
/// call that would run a network answers [`Error::Busy`] while the first is under way.
pub struct Pipeline {
    components: Arc<Components>,
    log: Option<LogFn>,
    running: AtomicBool,
    /// What the next run is cached with.
    cache: Mutex<Option<CacheConfig>>,
    /// Of the last run, or of the one under way.
    stats: Mutex<Option<SharedStats>>,
}

impl Pipeline {
    /// Loads a diffusers pipeline folder. Progress ([`crate::runtime::Stage::Load`]) is in
    /// bytes of weights; `control.log` is kept and serves later runs that bring none.
    pub fn load(folder: &Path, options: &LoadOptions, control: &Control) -> Result<Pipeline> {
        let components = warnings::to_log(control, || load::load(folder, options, control))?;
        Ok(Pipeline::over(Arc::new(components), control.log.clone()))
    }

    /// Another pipeline over the same weights, with a cache and a run of its own.
    pub fn share(&self) -> Pipeline {
        Pipeline::over(Arc::clone(&self.components), self.log.clone())
    }

    fn over(components: Arc<Components>, log: Option<LogFn>) -> Pipeline {
        Pipeline {
            components,
            log,
            running: AtomicBool::new(false),
            cache: Mutex::new(None),
            stats: Mutex::new(None),
        }
    }

    /// Generates. However the run ends, the pipeline is usable afterwards.
    pub fn generate(&self, options: &GenerateOptions, control: &Control) -> Result<Video> {
        let _run = self.begin_run()?;
        let control = self.with_log(control);
        warnings::to_log(&control, || generate::generate(self, options, &control))
    }

    /// The ids that `text` becomes: exactly `max_sequence_length` of them, default the
    /// transformer config's `max_text_seq_length`.
    pub fn tokenize(
        &self,
        text: &str,
        max_sequence_length: Option<i64>,
        control: &Control,
    ) -> Result<Vec<i64>> {
        let length = request::sequence_length(self.folder(), max_sequence_length)?;
        self.components.tokenizer.encode(text, length, &self.with_log(control))
    }

    /// The text encoder's output for `text`: `(1, max_sequence_length, d_model)`.
    pub fn encode_prompt(
        &self,
        text: &str,
        max_sequence_length: Option<i64>,
        control: &Control,
    ) -> Result<Tensor> {
        let _run = self.begin_run()?;
        let length = request::sequence_length(self.folder(), max_sequence_length)?;
        let control = self.with_log(control);
        let work = || encode::encode(&self.components, &[text], length, &control);
        warnings::to_log(&control, work)
    }

    /// Decodes latents `(videos, frames, channels, height, width)` as a run ends with them.
    pub fn decode_latents(
        &self,
        latents: &Tensor,
        options: &DecodeOptions,
        control: &Control,
    ) -> Result<Video> {
        let _run = self.begin_run()?;
        let control = self.with_log(control);
        let work = || decode::decode(&self.components, latents, options, &control);
        let frames = warnings::to_log(&control, work)?;
        Ok(Video { latents: Some(latents.shallow_clone()), frames: Some(frames) })
    }

    /// Caches the next runs with `config`, instead of what was enabled before.
    ///
    /// Errors: [`Error::InvalidArgument`] if block identifiers match no attention module,
    /// [`Error::Busy`] while a run is under way.
    pub fn enable_cache(&self, config: &CacheConfig) -> Result<()> {
        let _no_run = self.begin_run()?;
        config.validate(&self.attention_names())?;
        // Dropped after the lock: a host frees its callbacks' user data there, and may call.
        let previous = self.cache.lock().replace(config.clone());
        drop(previous);
        Ok(())
    }

    /// Computes everything from the next run on; [`Error::Busy`] while one is under way.
    pub fn disable_cache(&self) -> Result<()> {
        let _no_run = self.begin_run()?;
        let previous = self.cache.lock().take();
        drop(previous);
        Ok(())
    }

    /// What is enabled, if anything is.
    pub fn cache_config(&self) -> Option<CacheConfig> {
        self.cache.lock().clone()
    }

    /// The statistics of the last run, however it ended, or of the run under way; `None`
    /// before the first.
    pub fn cache_stats(&self) -> Option<CacheStats> {
        self.stats.lock().as_ref().map(SharedStats::snapshot)
    }

    /// What a run with `options` would compute and reuse under `config`, without running it.
    pub fn preview_cache(
        &self,
        config: &CacheConfig,
        options: &GenerateOptions,
    ) -> Result<Preview> {
        let shape = generate::preview_shape(self, options)?;
        let share = self.cache_stats().and_then(|stats| stats.attention_share);
        config.preview(&shape.course, Some(&shape), share)
    }

    pub fn folder(&self) -> &PipelineFolder {
        &self.components.folder
    }

    pub fn placement(&self) -> Placement {
        self.components.placement
    }

    /// Bytes of weights of the components that are loaded now.
    pub fn weight_bytes(&self) -> u64 {
        self.components.weight_bytes()
    }

    /// The attention modules a cache can select, by their checkpoint names.
    pub fn attention_names(&self) -> Vec<String> {
        let layers = self.folder().transformer.num_layers;
        (0..layers).map(crate::models::transformer::attention_name).collect()
    }

    /// Latent frames (padding included), channels, height and width of a run of this size;
    /// `None` takes the folder's default.
    pub fn latent_shape(
        &self,
        num_frames: Option<i64>,
        height: Option<i64>,
        width: Option<i64>,
    ) -> Result<[i64; 4]> {
        let size = request::Size::resolve(self.folder(), width, height, num_frames)?;
        Ok([size.latent_frames, size.channels, size.latent_height, size.latent_width])
    }

    fn with_log(&self, control: &Control) -> Control {
        let mut control = control.clone();
        control.log = control.log.or_else(|| self.log.clone());
        control
    }

    fn begin_run(&self) -> Result<Run<'_>> {
        self.running
            .compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire)
            .map(|_| Run(&self.running))
            .map_err(|_| {
                Error::Busy(
                    "the pipeline is generating already: wait for it, or generate on a clone"
                        .into(),
                )
            })
    }
}

/// Marks the pipeline as running until dropped, however the run ends.
struct Run<'a>(&'a AtomicBool);

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
