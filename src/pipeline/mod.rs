//! The pipeline: load, encode the prompt, prepare latents, denoise, decode.
//!
//! A port of `CogVideoXPipeline` (diffusers 0.42.1, pipelines/cogvideo/pipeline_cogvideox.py), of
//! `CogVideoXImageToVideoPipeline` (pipeline_cogvideox_image2video.py), which differs from it in
//! what `image` does, and of `CogVideoXVideoToVideoPipeline` (pipeline_cogvideox_video2video.py),
//! which does so in how `latents` begin, and of `CogVideoXFunControlPipeline`
//! (pipeline_cogvideox_fun_control.py), in what goes beside them. One file per part of their `__call__`:
//!
//! | file | reference |
//! | --- | --- |
//! | `request` | `check_inputs` and the defaults at the top of `__call__` |
//! | `source` | no part of the reference, which has a class for each task: what a run begins with |
//! | `encode` | `encode_prompt`, `_get_t5_prompt_embeds` |
//! | `embeddings_cache` | no part of the reference: the embeddings of the last prompts |
//! | `image` | the image's part of `prepare_latents` |
//! | `control` | `prepare_control_latents` |
//! | `inpaint` | no part of the reference: the authors' pipeline for CogVideoX-Fun's "InP" models |
//! | `video` | pictures through the VAE's encoder |
//! | `latents` | `prepare_latents`, the padding frames of the 1.5 family |
//! | `denoise` | the denoising loop, guidance |
//! | `step` | `callback_on_step_end` |
//! | `preview`, `state` | no part of the reference: latents as pictures, runs that are left and resumed |
//! | `parallel` | no part of the reference: the ranks that runs are shared among |
//! | `placements` | no part of the reference: a device and a dtype for each network |
//! | `save` | `save_pretrained` |
//! | `quantization` | no part of the reference: how each network's matrices are stored |
//! | `decode` | `decode_latents`, `postprocess_video` |
//! | `lora` | `load_lora_weights` and the like |
//! | `limits` | no part of the reference: the most that a run may be asked for |
//! | `turns` | no part of the reference: one run at a time |
//! | `plan` | no part of the reference: what a run will need in each way of keeping the weights |
//! | `memory`, `memory_use` | no part of the reference: what a run will need, what is in memory now |
//! | `frames`, `device_frames` | no part of the reference: frames handed out as they are decoded, in host memory and on the device |

mod calibrate;
mod components;
mod control;
mod decode;
mod denoise;
mod dense_memory;
pub mod device_frames;
mod embeddings_cache;
mod encode;
pub mod frames;
mod generate;
mod image;
mod inpaint;
mod latents;
pub mod limits;
mod load;
mod lora;
mod memory;
mod memory_use;
mod options;
mod parallel;
mod placements;
pub mod plan;
mod preview;
mod quantization;
mod request;
mod save;
mod source;
mod state;
pub mod step;
mod tune;
mod turns;
mod video;

pub use load::{LoadOptions, Processes, Residency, StreamingModes, MAX_RANKS};
pub use lora::Adapters;
pub use memory_use::MemoryUse;
pub use options::{GenerateOptions, Output};
pub use placements::{PlacementChange, PlacementChanges};
pub use quantization::Quantizations;
pub use tune::Tuned;

use crate::cache::tuning::Calibration;
use crate::cache::{CacheConfig, CacheStats, Preview, SharedStats};
use crate::checkpoint::PipelineFolder;
use crate::parallel::Team;
use crate::runtime::control::LogFn;
use crate::runtime::process::Work;
use crate::runtime::{device_threads, warnings, Control, Placement};
use crate::video::Video;
use crate::{Error, Result};
use components::Components;
use parallel::Parallel;
use parking_lot::Mutex;
use placements::Placements;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tch::Tensor;
use turns::{Taken, Turns};

/// A loaded pipeline. Pipelines made by [`Pipeline::share`] read the same weights and have a
/// cache and a run of their own.
///
/// Every method takes `&self` and may be called from any thread; one run at a time: a second
/// call that would run a network returns [`Error::Busy`] while the first is under way.
pub struct Pipeline {
    /// What the next run's transformer is adapted with. It goes before the components, which give
    /// memory back to the device.
    adapters: Mutex<Adapters>,
    components: Arc<Components>,
    /// With whom runs are shared.
    parallel: Arc<Parallel>,
    log: Option<LogFn>,
    turns: Turns,
    /// What the next run is cached with.
    cache: Mutex<Option<CacheConfig>>,
    /// Of the last run, or of the one under way.
    stats: Mutex<Option<SharedStats>>,
}

impl Pipeline {
    /// Loads a diffusers pipeline folder. Progress ([`crate::runtime::Stage::Load`]) is in
    /// bytes of weights; `control.log` is kept and serves later runs that bring none.
    pub fn load(folder: &Path, options: &LoadOptions, control: &Control) -> Result<Pipeline> {
        let _work = Work::begin()?;
        let home = Placements::foretold_home(&options.device, &options.placements);
        let load = || warnings::to_log(control, || load::load(folder, options, control));
        let (components, parallel) = device_threads::on(home, load)?;
        let adapters = Adapters::default();
        Ok(Pipeline::over(components, Arc::new(parallel), adapters, control.log.clone()))
    }

    /// Another pipeline over the same weights, with the adapters that this one has now, and a cache
    /// and a run of its own.
    ///
    /// Errors: [`Error::DeviceLost`], as of everything that needs the weights.
    pub fn share(&self) -> Result<Pipeline> {
        self.components.check_device()?;
        let (components, parallel) = (Arc::clone(&self.components), Arc::clone(&self.parallel));
        Ok(Pipeline::over(components, parallel, self.adapters(), self.log.clone()))
    }

    fn over(
        components: Arc<Components>,
        parallel: Arc<Parallel>,
        adapters: Adapters,
        log: Option<LogFn>,
    ) -> Pipeline {
        Pipeline {
            components,
            parallel,
            adapters: Mutex::new(adapters),
            log,
            turns: Turns::default(),
            cache: Mutex::new(None),
            stats: Mutex::new(None),
        }
    }

    /// Generates. However the run ends, the pipeline is usable afterwards.
    pub fn generate(&self, options: &GenerateOptions, control: &Control) -> Result<Video> {
        self.begin()?.generate(options, &self.adapters(), control)
    }

    /// The same errors that [`Pipeline::generate`] would begin with, without a run: options
    /// that this pipeline cannot honour.
    pub fn check(&self, options: &GenerateOptions) -> Result<()> {
        self.components.check_device()?;
        generate::check(self, options)
    }

    /// How many bytes a run with `options` takes at its peak, beside the weights, on the pipeline's
    /// device; with what is enabled now. The same errors as [`Pipeline::check`].
    pub fn estimate_memory(&self, options: &GenerateOptions) -> Result<u64> {
        self.check(options)?;
        generate::estimate_memory(self, options)
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
        let _turn = self.begin()?;
        let length = request::sequence_length(self.folder(), max_sequence_length)?;
        let control = self.with_log(control);
        let work = || encode::encode(&self.components, &[text], length, &control);
        let embeddings = self.components.logged(&control, work)?;
        let found = embeddings.into_iter().next();
        found.ok_or_else(|| Error::Internal("no embeddings of a prompt".into()))
    }

    /// Decodes latents `(videos, frames, channels, height, width)` as a run ends with them. Of
    /// the options, `decode` and `frames` matter.
    pub fn decode_latents(
        &self,
        latents: &Tensor,
        options: &GenerateOptions,
        control: &Control,
    ) -> Result<Video> {
        let _turn = self.begin()?;
        let control = self.with_log(control);
        let work = || decode::decode(&self.components, latents, options, &Team::alone(), &control);
        let mut video = self.components.logged(&control, work)?;
        video.latents = Some(latents.shallow_clone());
        Ok(video)
    }

    /// Caches the next runs with `config`, instead of what was enabled before.
    ///
    /// Errors: [`Error::InvalidArgument`] if block identifiers match no attention module,
    /// [`Error::Busy`] while a run is under way.
    pub fn enable_cache(&self, config: &CacheConfig) -> Result<()> {
        let turn = self.begin()?;
        self.components.check_device()?;
        config.validate(&self.attention_names())?;
        let previous = self.cache.lock().replace(config.clone());
        // Dropped after the lock and the turn: a host frees its callbacks' user data there, and
        // may call.
        drop(turn);
        drop(previous);
        Ok(())
    }

    /// Computes everything from the next run on; [`Error::Busy`] while one is under way.
    pub fn disable_cache(&self) -> Result<()> {
        let turn = self.begin()?;
        let previous = self.cache.lock().take();
        drop(turn);
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
        let run = self.components.work(|| generate::preview_run(self, config, options))?;
        let share = self.cache_stats().and_then(|stats| stats.attention_share);
        config.preview(&run, share)
    }

    /// [`Pipeline::preview_cache`] with what `calibration` says of such a run.
    pub fn estimate_cache(
        &self,
        config: &CacheConfig,
        options: &GenerateOptions,
        calibration: &Calibration,
    ) -> Result<Preview> {
        let run = self.components.work(|| generate::preview_run(self, config, options))?;
        config.estimate(&run, calibration)
    }

    pub fn folder(&self) -> &PipelineFolder {
        &self.components.folder
    }

    pub fn placement(&self) -> Placement {
        self.components.placements.transformer
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

    /// Takes the pipeline's turn. Errors: [`Error::Busy`] while another holds it, and those of
    /// [`crate::runtime::process::check`].
    pub fn begin(&self) -> Result<Turn<'_>> {
        let work = Work::begin()?;
        let taken = self.turns.take().ok_or_else(|| {
            Error::Busy(
                "the pipeline is generating already: wait for it, or generate on a clone".into(),
            )
        })?;
        Ok(Turn { pipeline: self, _taken: taken, _work: work })
    }

    /// Waits until nobody holds the turn, or until `most` is over.
    pub fn wait_idle(&self, most: Duration) {
        self.turns.wait_idle(most);
    }
}

/// Whoever holds it is the only one to run the pipeline, until it is dropped, however the run
/// ends.
pub struct Turn<'a> {
    pipeline: &'a Pipeline,
    _taken: Taken<'a>,
    /// Ends after the turn.
    _work: Work,
}

impl Turn<'_> {
    /// As [`Pipeline::generate`], with the adapters of another moment.
    pub fn generate(
        &self,
        options: &GenerateOptions,
        adapters: &Adapters,
        control: &Control,
    ) -> Result<Video> {
        let control = self.pipeline.with_log(control);
        let work = || generate::generate(self.pipeline, options, adapters, &control);
        self.pipeline.components.logged(&control, work)
    }
}
