//! The manifests: one whole run per case, every argument in a plain field.

use super::goldens::Goldens;
use super::handles::{Options, Output};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tiles {
    #[serde(default)]
    pub tile_sample_min_height: i32,
    #[serde(default)]
    pub tile_sample_min_width: i32,
    #[serde(default = "own")]
    pub tile_overlap_factor_height: f64,
    #[serde(default = "own")]
    pub tile_overlap_factor_width: f64,
}

fn own() -> f64 {
    -1.0
}

/// What `from_config` changes of a scheduler.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Swapped {
    pub scheduler: Option<String>,
    pub timestep_spacing: Option<String>,
    pub snr_shift_scale: Option<f64>,
    pub rescale_betas_zero_snr: Option<bool>,
}

/// A case of `runs.json`, `caches.json`, `block_caches.json` or `lora/runs.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    pub family: String,
    /// A file of `schedulers/` in place of the folder's own.
    pub scheduler: Option<String>,
    /// What is changed of the folder's own.
    #[serde(default)]
    pub swapped: Option<Swapped>,
    pub prompt: String,
    pub negative_prompt: Option<String>,
    pub width: Option<i32>,
    pub height: Option<i32>,
    pub num_frames: Option<i32>,
    pub num_inference_steps: i32,
    pub guidance_scale: f64,
    pub use_dynamic_cfg: bool,
    pub eta: f64,
    pub seed: u64,
    pub num_videos: i32,
    pub max_sequence_length: i32,
    pub initial_latents: bool,
    pub tiling: Option<Tiles>,
    pub slicing: bool,
    /// The picture that an image-to-video run starts from.
    #[serde(default)]
    pub image: Option<String>,
    /// The video that a video-to-video run starts from, and how much of it is made anew.
    #[serde(default)]
    pub video: Option<String>,
    #[serde(default)]
    pub strength: Option<f64>,
    /// The video that a control model's follows; what of a video is made anew; the last frame.
    #[serde(default)]
    pub control_video: Option<String>,
    #[serde(default)]
    pub mask: Option<String>,
    #[serde(default)]
    pub last_image: Option<String>,
    /// Of each video, in place of those of all.
    #[serde(default)]
    pub prompts: Vec<String>,
    #[serde(default)]
    pub negative_prompts: Vec<String>,
    #[serde(default)]
    pub seeds: Vec<u64>,
    /// What its tensors are called, up to the dot.
    pub tensors: String,
    /// Whether there are frames besides latents, and every how many rows and columns of them.
    #[serde(default)]
    pub frames: bool,
    #[serde(default)]
    pub frames_stride: usize,
    /// The cache's fields that differ from diffusers' defaults.
    #[serde(default)]
    pub cache: Map<String, Value>,
    /// By step, by layer: '1' computed, '0' reused.
    #[serde(default)]
    pub computed: Vec<String>,
    /// By step: '1' where the whole guidance batch ran.
    #[serde(default)]
    pub unconditional: String,
    /// By step, by layer: '1' where the block ran, its attention was computed, its feed-forward
    /// layer was. The latter two are empty where they are as the first.
    #[serde(default)]
    pub blocks: Vec<String>,
    #[serde(default)]
    pub attention: Vec<String>,
    #[serde(default)]
    pub feed_forward: Vec<String>,
    /// What a calibration run measured.
    #[serde(default)]
    pub ratios: Option<Vec<f64>>,
    /// By how much caching, or adapters, moved the latents.
    #[serde(default)]
    pub moved: f64,
    /// What is done with adapters before the run: functions and their arguments.
    #[serde(default)]
    pub prepare: Vec<Vec<Value>>,
    /// `attention_kwargs={"scale": …}`.
    #[serde(default)]
    pub lora_scale: Option<f64>,
}

impl Case {
    /// The options of the run.
    pub fn options(&self, goldens: &Goldens, output: Output) -> Options {
        let mut options = Options::new();
        options
            .prompt(&self.prompt)
            .num_inference_steps(self.num_inference_steps)
            .guidance_scale(self.guidance_scale)
            .use_dynamic_cfg(self.use_dynamic_cfg)
            .eta(self.eta)
            .seed(self.seed)
            .num_videos(self.num_videos)
            .max_sequence_length(self.max_sequence_length)
            .output(output);
        if let Some(swapped) = &self.swapped {
            options.swapped(swapped);
        }
        if let Some(scale) = self.lora_scale {
            options.lora_scale(scale);
        }
        if let Some(negative) = &self.negative_prompt {
            options.negative_prompt(negative);
        }
        if let (Some(width), Some(height)) = (self.width, self.height) {
            options.size(width, height);
        }
        if let Some(frames) = self.num_frames {
            options.num_frames(frames);
        }
        if self.initial_latents {
            options.latents(&goldens.f32(&format!("{}.initial", self.tensors)));
        }
        if let Some(tiles) = &self.tiling {
            options.tiles(tiles);
        }
        if self.slicing {
            options.slicing();
        }
        if let Some(name) = &self.image {
            options.image(&goldens.image(name));
        }
        if let Some(name) = &self.video {
            options.video(&goldens.picture(&format!("video.{name}")));
        }
        if let Some(name) = &self.control_video {
            options.control_video(&goldens.picture(&format!("video.{name}")));
        }
        if let Some(name) = &self.mask {
            options.mask(goldens.u8(&format!("mask.{name}")));
        }
        if let Some(name) = &self.last_image {
            options.last_image(&goldens.image(name));
        }
        options.prompts(&self.prompts).negative_prompts(&self.negative_prompts).seeds(&self.seeds);
        if let Some(strength) = self.strength {
            options.strength(strength);
        }
        options
    }
}
