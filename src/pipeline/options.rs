//! What a run is asked to do: the arguments of `__call__` of diffusers' CogVideoX pipelines.

use super::frames::FrameOutput;
use super::step::StepCallback;
use crate::checkpoint::config::SchedulerOverrides;
use crate::image::{Clip, Image, Mask};
use crate::models::vae::DecodeOptions;
use crate::runtime::SharedTensor;
use std::path::PathBuf;
use std::sync::Arc;

/// What a run returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Output {
    #[default]
    Frames,
    /// Latents only; the VAE does not run.
    Latents,
}

/// Options of one run. `None` means the default that `CogVideoXPipeline.__call__` has, also in
/// image to video, where the reference's own default is 49 frames whatever the model.
#[derive(Debug, Clone)]
pub struct GenerateOptions {
    pub prompt: String,
    /// A prompt for each video, in place of `prompt`; none: `prompt` is that of all.
    pub prompts: Vec<String>,
    /// Default: the empty prompt. Ignored without guidance.
    pub negative_prompt: Option<String>,
    /// A negative prompt for each video, in place of `negative_prompt`; none: that is of all.
    pub negative_prompts: Vec<String>,
    /// The prompt's embeddings `(length, text_embed_dim)` instead of the prompt: `prompt_embeds`.
    pub prompt_embeddings: Option<SharedTensor>,
    /// The same for the negative prompt: `negative_prompt_embeds`.
    pub negative_prompt_embeddings: Option<SharedTensor>,
    /// Pixels, divisible by 8. Default: `sample_width * 2^(VAE blocks - 1)`, likewise height.
    pub width: Option<i64>,
    pub height: Option<i64>,
    /// Default: the transformer config's `sample_frames`.
    pub num_frames: Option<i64>,
    pub num_inference_steps: i64,
    /// Custom timesteps, strictly descending; wins over `num_inference_steps`.
    pub timesteps: Option<Vec<i64>>,
    /// `<= 1` means no guidance.
    pub guidance_scale: f64,
    pub use_dynamic_cfg: bool,
    /// DDIM's η in [0, 1]; DPM ignores it.
    pub eta: f64,
    pub seed: u64,
    /// A seed for each video, in place of `seed`, from which all draw as one batch where there are none.
    pub seeds: Vec<u64>,
    /// What the scheduler of this run has in place of what the pipeline was loaded with.
    pub scheduler: SchedulerOverrides,
    /// Tokens of the prompt. Default: the transformer config's `max_text_seq_length`.
    pub max_sequence_length: Option<i64>,
    /// What the weights of the active LoRA adapters are multiplied by:
    /// `attention_kwargs={"scale": …}`.
    pub lora_scale: f64,
    /// How many videos: 1, or as many as there are `prompts`, or any number of one prompt.
    pub num_videos: i64,
    /// Initial latents `(num_videos, latent frames, channels, height / 8, width / 8)` instead
    /// of noise.
    pub latents: Option<SharedTensor>,
    /// What an image-to-video pipeline starts from: there must be one there, and none elsewhere.
    pub image: Option<Arc<Image>>,
    /// The video that a run begins with, for text-to-video and video-to-video models.
    pub video: Option<Arc<Clip>>,
    /// What a control model's video follows.
    pub control_video: Option<Arc<Clip>>,
    /// What of `video` an inpainting model makes.
    pub mask: Option<Arc<Mask>>,
    /// The last frame, for inpainting models, whose first is `image`.
    pub last_image: Option<Arc<Image>>,
    /// How much of `video` is made anew, in [0, 1]: 1 is all of it. Default: 0.8, and 1 of inpainting
    /// models.
    pub strength: Option<f64>,
    /// Called after each denoising step.
    pub step_callback: Option<StepCallback>,
    /// The file of a run like this one that was left after a step, to go on from there.
    pub resume: Option<PathBuf>,
    pub output: Output,
    pub decode: DecodeOptions,
    /// Refuse a run that can't fit into the memory there is, before anything is computed.
    pub memory_check: bool,
    /// Where frames go as they are decoded, and where they stay.
    pub frames: FrameOutput,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        GenerateOptions {
            prompt: String::new(),
            prompts: Vec::new(),
            negative_prompt: None,
            negative_prompts: Vec::new(),
            prompt_embeddings: None,
            negative_prompt_embeddings: None,
            width: None,
            height: None,
            num_frames: None,
            num_inference_steps: 50,
            timesteps: None,
            guidance_scale: 6.0,
            use_dynamic_cfg: false,
            eta: 0.0,
            seed: 0,
            seeds: Vec::new(),
            scheduler: SchedulerOverrides::default(),
            max_sequence_length: None,
            lora_scale: 1.0,
            num_videos: 1,
            latents: None,
            image: None,
            video: None,
            control_video: None,
            mask: None,
            last_image: None,
            strength: None,
            step_callback: None,
            resume: None,
            output: Output::Frames,
            decode: DecodeOptions::default(),
            memory_check: true,
            frames: FrameOutput::default(),
        }
    }
}

impl GenerateOptions {
    /// Whether pictures go through the VAE's encoder.
    pub fn encodes(&self) -> bool {
        let images = self.image.is_some() || self.last_image.is_some();
        images || self.video.is_some() || self.control_video.is_some()
    }

    /// How many videos the run makes.
    pub fn videos(&self) -> i64 {
        match self.prompts.len() {
            0 => self.num_videos,
            prompts => prompts as i64,
        }
    }

    /// The prompt of each video, or the one of all.
    pub fn prompt_texts(&self) -> Vec<&str> {
        match self.prompts.as_slice() {
            [] => vec![&self.prompt],
            prompts => prompts.iter().map(String::as_str).collect(),
        }
    }

    /// The negative prompt of each video, or the one of all.
    pub fn negative_texts(&self) -> Vec<&str> {
        match self.negative_prompts.as_slice() {
            [] => vec![self.negative_prompt.as_deref().unwrap_or_default()],
            prompts => prompts.iter().map(String::as_str).collect(),
        }
    }
}
