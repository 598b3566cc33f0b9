//! What a run was asked for, checked and with every default filled in, before anything is
//! allocated (`check_inputs` and the top of `__call__`, pipeline_cogvideox.py:405 and :600).

use super::frames::Extent;
use super::limits::{MAX_FRAMES, MAX_SEQUENCE_LENGTH, MAX_SIDE, MAX_VIDEOS};
use super::GenerateOptions;
use crate::checkpoint::config::{Family, TransformerConfig};
use crate::checkpoint::folder::Task;
use crate::checkpoint::PipelineFolder;
use crate::models::vae::VaeDecoder;
use crate::runtime::number::Short;
use crate::runtime::{Control, LogLevel};
use crate::schedulers::Steps;
use crate::{Error, Result};

/// How much of a video is made anew unless the options say otherwise
/// (pipeline_cogvideox_video2video.py:583).
const DEFAULT_STRENGTH: f64 = 0.8;

/// Width and height that the 1.5 family was made for.
const MADE_FOR_1_5: [i64; 2] = [1360, 768];

/// The size of a run, in pixels and in latents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub latent_frames: i64,
    /// Latent frames put in front so that `patch_size_t` divides them (the 1.5 family); they
    /// are denoised with the rest and dropped before decoding. Counted in `latent_frames`.
    pub padding_frames: i64,
    pub channels: i64,
    pub latent_height: i64,
    pub latent_width: i64,
}

/// A checked run.
pub(super) struct Request<'a> {
    pub options: &'a GenerateOptions,
    pub size: Size,
    /// Frames that the run is asked for.
    pub frames: i64,
    pub steps: Steps,
    /// How many of the first steps are left out, since the run begins with a video.
    pub skipped: usize,
    /// How much of the video is made anew; 1 without a video.
    pub strength: f64,
    /// `guidance_scale > 1`: the batch is `[unconditional; conditional]`.
    pub guided: bool,
    pub sequence_length: usize,
}

impl<'a> Request<'a> {
    pub fn resolve(
        folder: &PipelineFolder,
        options: &'a GenerateOptions,
        control: &Control,
    ) -> Result<Request<'a>> {
        let frames = num_frames(options)?;
        let size = Size::resolve(folder, options.width, options.height, frames)?;
        let frames = frames.unwrap_or(folder.transformer.sample_frames);
        let latent_frames = size.latent_frames - size.padding_frames;
        let follows = options.video.is_some() || options.control_video.is_some();
        let parts = folder.task == Task::Inpainting && options.encodes();
        if (follows || parts) && size.padding_frames > 0 {
            return Err(unpatched(folder, &size, frames));
        }
        warn_of_size(folder, &size, control);
        let made = VaeDecoder::decoded_frames(&folder.vae, latent_frames).unwrap_or(frames);
        if made != frames {
            control.log(
                LogLevel::Warning,
                format!(
                    "num_frames {frames} becomes {made}, which is what the VAE makes of its \
                     {latent_frames} latent frames"
                ),
            );
        }
        several(options)?;
        if !options.guidance_scale.is_finite() {
            return Err(Error::InvalidArgument(format!(
                "guidance_scale must be a finite number, found {}",
                Short(options.guidance_scale)
            )));
        }
        if !(0.0..=1.0).contains(&options.eta) {
            return Err(Error::InvalidArgument(format!(
                "eta must lie in [0, 1], found {}",
                Short(options.eta)
            )));
        }
        if !options.lora_scale.is_finite() {
            return Err(Error::InvalidArgument(format!(
                "lora_scale must be a finite number, found {}",
                Short(options.lora_scale)
            )));
        }
        let steps = match &options.timesteps {
            Some(timesteps) => Steps::Custom(timesteps.clone()),
            None => {
                let count = options.num_inference_steps;
                within("num_inference_steps", count, 1, folder.scheduler.num_train_timesteps)?;
                Steps::Count(count as usize)
            }
        };
        let (strength, skipped) = strength(folder, options, &steps)?;
        if let Some(latents) = &options.latents {
            let expected = size.latent_dims(options.videos());
            let found = latents.size();
            if found != expected {
                return Err(Error::InvalidArgument(format!(
                    "latents must be (videos, frames, channels, height, width) = {expected:?} \
                     for this size, found {found:?}"
                )));
            }
        }
        let sequence_length = match text_length(folder, options)? {
            Some(length) => length,
            None => sequence_length(folder, options.max_sequence_length)?,
        };
        let own = folder.transformer.max_text_seq_length;
        if folder.transformer.positions.learned() && sequence_length as i64 != own {
            return Err(learned_positions("max_sequence_length", own, sequence_length as i64));
        }
        let guided = options.guidance_scale > 1.0;
        Ok(Request { options, size, frames, steps, skipped, strength, guided, sequence_length })
    }
}

impl Request<'_> {
    /// The frames that the run ends with.
    pub fn extent(&self, folder: &PipelineFolder) -> Result<Extent> {
        let (size, videos) = (self.size, self.options.videos());
        let [height, width] = size.pixels(folder);
        let frames =
            VaeDecoder::decoded_frames(&folder.vae, size.latent_frames - size.padding_frames);
        Extent::new([videos, frames.unwrap_or(0), height, width])
    }
}

impl Size {
    pub fn resolve(
        folder: &PipelineFolder,
        width: Option<i64>,
        height: Option<i64>,
        num_frames: Option<i64>,
    ) -> Result<Size> {
        let transformer = &folder.transformer;
        let scale = spatial_scale(folder);
        let [own_width, own_height] =
            [transformer.sample_width, transformer.sample_height].map(|side| side * scale);
        let (width, height) = (width.unwrap_or(own_width), height.unwrap_or(own_height));
        let num_frames = num_frames.unwrap_or(transformer.sample_frames);
        // The reference asks for multiples of 8 and then fails inside the transformer where a
        // patch does not fit; asking for whole patches says it up front.
        let multiple = scale * transformer.patch_size;
        for (name, value, own) in [("width", width, own_width), ("height", height, own_height)] {
            if transformer.positions.learned() && value != own {
                return Err(learned_positions(name, own, value));
            }
            within(name, value, multiple, MAX_SIDE)?;
            if value % multiple != 0 {
                return Err(Error::InvalidArgument(format!(
                    "{name} must be a multiple of {multiple} (VAE scale {scale} × patch {}), \
                     found {value}",
                    transformer.patch_size
                )));
            }
        }
        within("num_frames", num_frames, 1, MAX_FRAMES)?;
        let latent_frames = (num_frames - 1) / folder.vae.temporal_compression_ratio + 1;
        let padding_frames = match transformer.patch_size_t {
            Some(patch) => (patch - latent_frames % patch) % patch,
            None => 0,
        };
        Ok(Size {
            latent_frames: latent_frames + padding_frames,
            padding_frames,
            channels: folder.vae.latent_channels,
            latent_height: height / scale,
            latent_width: width / scale,
        })
    }

    /// Height and width of the frames.
    pub fn pixels(&self, folder: &PipelineFolder) -> [i64; 2] {
        let scale = spatial_scale(folder);
        [self.latent_height.saturating_mul(scale), self.latent_width.saturating_mul(scale)]
    }

    /// The latents of `videos` videos: `(videos, frames, channels, height, width)`.
    pub fn latent_dims(&self, videos: i64) -> [i64; 5] {
        [videos, self.latent_frames, self.channels, self.latent_height, self.latent_width]
    }

    /// Tokens of one video: its patches.
    pub fn video_tokens(&self, transformer: &TransformerConfig) -> i64 {
        let patch = transformer.patch_size;
        let frames = self.latent_frames / transformer.patch_size_t.unwrap_or(1);
        frames * (self.latent_height / patch) * (self.latent_width / patch)
    }
}

/// `vae_scale_factor_spatial`: the VAE halves height and width between its blocks.
pub(super) fn spatial_scale(folder: &PipelineFolder) -> i64 {
    1 << folder.vae.block_out_channels.len().saturating_sub(1)
}

/// The checked sequence length, default the transformer config's `max_text_seq_length`
/// (226 in the published folders, which is also the reference's default).
pub(super) fn sequence_length(folder: &PipelineFolder, asked: Option<i64>) -> Result<usize> {
    let length = asked.unwrap_or(folder.transformer.max_text_seq_length);
    within("max_sequence_length", length, 1, MAX_SEQUENCE_LENGTH)?;
    Ok(length as usize)
}

/// The length of the embeddings that are given, `None` without. As in `check_inputs`
/// (pipeline_cogvideox.py:443), embeddings and a text exclude each other, and the embeddings of the
/// prompt and of the negative prompt have one shape; a text beside embeddings gets their length.
fn text_length(folder: &PipelineFolder, options: &GenerateOptions) -> Result<Option<usize>> {
    let dim = folder.transformer.text_embed_dim;
    let negative = options.negative_prompt.as_deref().unwrap_or_default();
    let given = [
        ("prompt", options.prompt.as_str(), &options.prompt_embeddings),
        ("negative_prompt", negative, &options.negative_prompt_embeddings),
    ];
    let mut length: Option<(&str, i64)> = None;
    for (name, text, embeddings) in given {
        let Some(embeddings) = embeddings else { continue };
        if !text.is_empty() {
            return Err(Error::InvalidArgument(format!(
                "{name}: expected none beside {name}_embeddings, found {} bytes of text",
                text.len()
            )));
        }
        let found = match embeddings.size()[..] {
            [found, width] if width == dim => found,
            ref shape => {
                return Err(Error::InvalidArgument(format!(
                    "{name}_embeddings: expected (sequence length, {dim}), found {shape:?}"
                )))
            }
        };
        if let Some((other, expected)) = length.filter(|(_, expected)| *expected != found) {
            return Err(Error::InvalidArgument(format!(
                "{name}_embeddings: expected {expected} tokens as in {other}_embeddings, found \
                 {found}"
            )));
        }
        if let Some(asked) = options.max_sequence_length.filter(|asked| *asked != found) {
            return Err(Error::InvalidArgument(format!(
                "{name}_embeddings: expected {asked} tokens, which is max_sequence_length, found \
                 {found}"
            )));
        }
        length = Some((name, found));
    }
    match length {
        Some((_, length)) => sequence_length(folder, Some(length)).map(Some),
        None => Ok(None),
    }
}

/// How many frames the run is asked for: those of its video, if it has one.
fn num_frames(options: &GenerateOptions) -> Result<Option<i64>> {
    let video = options.video.as_ref().or(options.control_video.as_ref());
    let Some(video) = video else { return Ok(options.num_frames) };
    match options.num_frames.filter(|asked| *asked != video.count()) {
        None => Ok(Some(video.count())),
        Some(asked) => Err(Error::InvalidArgument(format!(
            "num_frames: expected {}, as many as the video has, found {asked}",
            video.count()
        ))),
    }
}

/// The 1.5 family's configs say 300 × 300 latents, 2400 × 2400 pixels, and its models were made for
/// 1360 × 768: what a run of more than twice as many pixels gives is not what its host expects, and it
/// takes many times as long.
fn warn_of_size(folder: &PipelineFolder, size: &Size, control: &Control) {
    let [height, width] = size.pixels(folder);
    let made_for = match folder.transformer.family() {
        Family::CogVideoX1_5 | Family::CogVideoX1_5ImageToVideo => MADE_FOR_1_5,
        Family::CogVideoX2b | Family::CogVideoX5b => return,
    };
    let [most_width, most_height] = made_for;
    if height.saturating_mul(width) > 2 * most_width * most_height {
        control.log(
            LogLevel::Warning,
            format!(
                "size: the model was made for {most_width} × {most_height}, whatever its config says; \
                 {width} × {height} takes far longer, and may show less"
            ),
        );
    }
}

/// How many videos there are, and what there must be one of for each.
fn several(options: &GenerateOptions) -> Result<()> {
    within("num_videos", options.num_videos, 1, MAX_VIDEOS)?;
    let prompts = options.prompts.len() as i64;
    if prompts > 0 {
        within("prompts", prompts, 1, MAX_VIDEOS)?;
        if options.num_videos != 1 && options.num_videos != prompts {
            return Err(Error::InvalidArgument(format!(
                "num_videos: expected 1 or {prompts}, as many as there are prompts, found {}",
                options.num_videos
            )));
        }
    }
    let alone = [
        ("prompts", prompts > 0, "prompt_embeddings", options.prompt_embeddings.is_some()),
        ("prompts", prompts > 0, "prompt", !options.prompt.is_empty()),
        (
            "negative_prompts",
            !options.negative_prompts.is_empty(),
            "negative_prompt_embeddings",
            options.negative_prompt_embeddings.is_some(),
        ),
        (
            "negative_prompts",
            !options.negative_prompts.is_empty(),
            "negative_prompt",
            options.negative_prompt.as_ref().is_some_and(|text| !text.is_empty()),
        ),
    ];
    if let Some((many, _, one, _)) = alone.iter().find(|(_, many, _, one)| *many && *one) {
        return Err(Error::InvalidArgument(format!(
            "{many}: expected none beside {one}, found some"
        )));
    }
    let videos = options.videos();
    let each = [
        ("negative_prompts", options.negative_prompts.len() as i64),
        ("seeds", options.seeds.len() as i64),
    ];
    match each.iter().find(|(_, found)| *found > 0 && *found != videos) {
        None => Ok(()),
        Some((name, found)) => Err(Error::InvalidArgument(format!(
            "{name}: expected {videos}, one for each video, found {found}"
        ))),
    }
}

/// A video is not padded to whole patches over time, as noise is: the model would see frames that
/// nobody gave (diffusers 0.42.1 pipelines/cogvideo/pipeline_cogvideox_video2video.py:731).
fn unpatched(folder: &PipelineFolder, size: &Size, found: i64) -> Error {
    let ratio = folder.vae.temporal_compression_ratio;
    let patch = folder.transformer.patch_size_t.unwrap_or(1);
    let given = size.latent_frames - size.padding_frames;
    // So many latent frames come of a range of frames.
    let range = |latents: i64| format!("{} to {}", (latents - 1) * ratio + 1, latents * ratio);
    let more = size.latent_frames;
    let fits = match more - patch {
        0 => range(more),
        fewer => format!("{} or {}", range(fewer), range(more)),
    };
    Error::InvalidArgument(format!(
        "frames of the video: expected a number whose latent frames make whole patches of {patch}, \
         such as {fits}, found {found}, which make {given}"
    ))
}

/// How much of the video is made anew, and how many steps that leaves out (`get_timesteps`,
/// diffusers 0.42.1 pipelines/cogvideo/pipeline_cogvideox_video2video.py:419).
fn strength(
    folder: &PipelineFolder,
    options: &GenerateOptions,
    steps: &Steps,
) -> Result<(f64, usize)> {
    let own = if folder.task == Task::Inpainting { 1.0 } else { DEFAULT_STRENGTH };
    let asked = options.strength.unwrap_or(own);
    if !(0.0..=1.0).contains(&asked) {
        return Err(Error::InvalidArgument(format!(
            "strength must lie in [0, 1], found {}",
            Short(asked)
        )));
    }
    if options.video.is_none() {
        return Ok((1.0, 0));
    }
    let count = match steps {
        Steps::Count(count) => *count,
        Steps::Custom(timesteps) => timesteps.len(),
    };
    // Rounded down, as Python's int().
    let made = ((count as f64 * asked) as usize).min(count);
    if made == 0 && count > 0 {
        return Err(Error::InvalidArgument(format!(
            "strength: expected one that leaves a step of {count} to make, at least {}, found {}",
            1.0 / count as f64,
            Short(asked)
        )));
    }
    Ok((asked, count - made))
}

/// Learned positions are for one size (diffusers 0.42.1 models/embeddings.py:553).
fn learned_positions(name: &str, own: i64, found: i64) -> Error {
    Error::InvalidArgument(format!(
        "{name}: expected {own}, since the model's positions are learned, found {found}"
    ))
}

fn within(name: &str, value: i64, low: i64, high: i64) -> Result<()> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(Error::InvalidArgument(format!("{name} must lie in [{low}, {high}], found {value}")))
}
