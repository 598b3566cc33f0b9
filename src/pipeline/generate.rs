//! One run, start to end (`CogVideoXPipeline.__call__`).

use super::components::Components;
use super::denoise::Denoiser;
use super::request::Request;
use super::{decode, encode, latents, GenerateOptions, Output, Pipeline};
use crate::cache::Uncached;
use crate::runtime::rng::Generator;
use crate::runtime::Control;
use crate::schedulers;
use crate::video::Video;
use crate::Result;
use tch::Tensor;

pub(super) fn generate(
    pipeline: &Pipeline,
    options: &GenerateOptions,
    control: &Control,
) -> Result<Video> {
    let _no_grad = tch::no_grad_guard();
    let components = &*pipeline.components;
    let request = Request::resolve(&components.folder, options, control)?;
    let mut scheduler =
        schedulers::scheduler(&components.folder.scheduler, &request.steps, options.eta)?;
    control.check()?;

    let prompt_embeds = prompt_embeddings(components, &request, control)?;
    let transformer = components.transformer(control)?;
    let mut generator = Generator::new(options.seed)?;
    let noise = latents::prepare(&request, components.placement, &mut generator)?;
    let mut cache = Uncached;
    let latents = Denoiser {
        request: &request,
        transformer: &transformer,
        scheduler: scheduler.as_mut(),
        cache: &mut cache,
        generator: &mut generator,
        control,
    }
    .run(noise, &prompt_embeds)?;

    if options.output == Output::Latents {
        return Ok(Video { latents: Some(latents), frames: None });
    }
    let padding = request.size.padding_frames;
    let kept = latents.f_narrow(1, padding, request.size.latent_frames - padding)?;
    let frames = decode::decode(components, &kept, &options.decode, control)?;
    Ok(Video { latents: Some(latents), frames: Some(frames) })
}

/// The prompt's embeddings once per video; guided, the negative prompt's before them.
fn prompt_embeddings(
    components: &Components,
    request: &Request,
    control: &Control,
) -> Result<Tensor> {
    let options = request.options;
    let negative = options.negative_prompt.as_deref().unwrap_or("");
    let texts: &[&str] =
        if request.guided { &[negative, &options.prompt] } else { &[&options.prompt] };
    let embeddings = encode::encode(components, texts, request.sequence_length, control)?;
    Ok(embeddings.f_repeat_interleave_self_int(options.num_videos, 0, None)?)
}
