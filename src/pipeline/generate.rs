//! One run, start to end (`CogVideoXPipeline.__call__`, `CogVideoXImageToVideoPipeline.__call__`).

use super::components::Components;
use super::denoise::Denoiser;
use super::request::Request;
use super::{decode, encode, image, latents, memory, Adapters, GenerateOptions, Output, Pipeline};
use crate::cache::{self, CacheConfig, RunInfo, Sizes};
use crate::checkpoint::PipelineFolder;
use crate::guidance::GuidanceBatch;
use crate::models::vae::{VaeDecoder, VaeEncoder};
use crate::runtime::device::StreamHandle;
use crate::runtime::process::WorkKind;
use crate::runtime::rng::Generator;
use crate::runtime::Control;
use crate::schedulers::{self, Scheduler};
use crate::video::Video;
use crate::Result;
use tch::Tensor;

pub(super) fn generate(
    pipeline: &Pipeline,
    options: &GenerateOptions,
    adapters: &Adapters,
    control: &Control,
) -> Result<Video> {
    let _no_grad = tch::no_grad_guard();
    let components = &*pipeline.components;
    let request = Request::resolve(&components.folder, options, control)?;
    request.check_image(&components.folder)?;
    let mut scheduler = scheduler(&components.folder, &request)?;
    check_frames(&components.folder, &request)?;
    control.check()?;
    let config = pipeline.cache.lock().clone();
    let mut info = run_info(pipeline, &request, scheduler.timesteps());
    if options.memory_check {
        let (folder, placement) = (&components.folder, components.placements.transformer);
        let needed = memory::estimate(folder, placement, &request, config.as_ref(), &info);
        memory::check(placement, options, needed)?;
    }

    let prompt_embeds = prompt_embeddings(components, &request, control)?;
    let transformer = adapters.transformer(components, options.lora_scale, control)?;
    let mut generator = Generator::new(options.seed)?;
    // An image's latents are drawn before the noise.
    let image_latents = image::latents(components, &request, &mut generator, control)?;
    let noise = latents::prepare(&request, components.placements.transformer, &mut generator)?;
    if config.as_ref().is_some_and(CacheConfig::needs_time_embeddings) {
        info.time_embedding_changes = Some(transformer.time_embedding_changes(&info.timesteps)?);
    }
    // What the run keeps dies with `run`, however this function is left; its statistics stay.
    let mut run = cache::start(config.as_ref(), &info, control)?;
    *pipeline.stats.lock() = Some(run.stats.clone());
    static DENOISING: WorkKind = WorkKind::new();
    DENOISING.begins();
    let latents = Denoiser {
        request: &request,
        transformer: &transformer,
        scheduler: scheduler.as_mut(),
        cache: run.cache.as_mut(),
        generator: &mut generator,
        image_latents: image_latents.as_ref(),
        control,
    }
    .run(noise, &prompt_embeds)?;

    drop(run);

    if options.output == Output::Latents {
        return Ok(Video { latents: Some(latents), frames: None, stream: StreamHandle::default() });
    }
    let padding = request.size.padding_frames;
    let kept = latents.f_narrow(1, padding, request.size.latent_frames - padding)?;
    let (frames, stream) = decode::decode(components, &kept, options, control)?;
    Ok(Video { latents: Some(latents), frames: Some(frames), stream })
}

/// [`memory::estimate`] of a run that [`check`] has nothing against.
pub(super) fn estimate_memory(pipeline: &Pipeline, options: &GenerateOptions) -> Result<u64> {
    let folder = pipeline.folder();
    let request = Request::resolve(folder, options, &Control::default())?;
    let scheduler = scheduler(folder, &request)?;
    let config = pipeline.cache.lock().clone();
    let info = run_info(pipeline, &request, scheduler.timesteps());
    Ok(memory::estimate(folder, pipeline.placement(), &request, config.as_ref(), &info))
}

/// What can be wrong with `options` before anything is computed.
pub(super) fn check(pipeline: &Pipeline, options: &GenerateOptions) -> Result<()> {
    let folder = pipeline.folder();
    let request = Request::resolve(folder, options, &Control::default())?;
    request.check_image(folder)?;
    scheduler(folder, &request)?;
    check_frames(folder, &request)
}

/// The scheduler of the run: the pipeline's, changed as the options say.
fn scheduler(folder: &PipelineFolder, request: &Request) -> Result<Box<dyn Scheduler>> {
    let config = folder.scheduler.with(&request.options.scheduler);
    schedulers::scheduler(&config, &request.steps, request.options.eta)
}

/// Tiles must fit the image and the frames of the run, and the host's memory hold them.
fn check_frames(folder: &PipelineFolder, request: &Request) -> Result<()> {
    let (options, size) = (request.options, request.size);
    if let (Some(_), Some(tiling)) = (&options.image, &options.decode.tiling) {
        let [height, width] = size.pixels(folder);
        VaeEncoder::check_tiles(&folder.vae, tiling, height, width)?;
    }
    if options.output == Output::Latents {
        return Ok(());
    }
    VaeDecoder::check_tiles(&folder.vae, &options.decode, size.latent_height, size.latent_width)?;
    options.frames.check(request.extent(folder)?)
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

/// The run that `options` ask for, as a cache needs to know it.
pub(super) fn preview_run(
    pipeline: &Pipeline,
    config: &CacheConfig,
    options: &GenerateOptions,
) -> Result<RunInfo> {
    let folder = pipeline.folder();
    let request = Request::resolve(folder, options, &Control::default())?;
    let scheduler = scheduler(folder, &request)?;
    let mut info = run_info(pipeline, &request, scheduler.timesteps());
    if config.needs_time_embeddings() {
        let _no_grad = tch::no_grad_guard();
        let (adapters, control) = (pipeline.adapters(), Control::default());
        let transformer =
            adapters.transformer(&pipeline.components, options.lora_scale, &control)?;
        info.time_embedding_changes = Some(transformer.time_embedding_changes(&info.timesteps)?);
    }
    Ok(info)
}

fn run_info(pipeline: &Pipeline, request: &Request, timesteps: &[i64]) -> RunInfo {
    let folder = pipeline.folder();
    let videos = request.options.num_videos;
    let text_tokens = request.sequence_length as i64;
    RunInfo {
        layers: pipeline.attention_names(),
        timesteps: timesteps.to_vec(),
        num_train_timesteps: folder.scheduler.num_train_timesteps,
        batch: GuidanceBatch { videos, guided: request.guided },
        branches: Vec::new(),
        family: Some(folder.transformer.family()),
        sizes: Some(Sizes {
            text_tokens,
            tokens: text_tokens + request.size.video_tokens(&folder.transformer),
            hidden_size: folder.transformer.num_attention_heads
                * folder.transformer.attention_head_dim,
            dtype: pipeline.placement().dtype.kind(),
            device: pipeline.placement().device,
            output: request.size.latent_dims(videos).to_vec(),
        }),
        time_embedding_changes: None,
    }
}
