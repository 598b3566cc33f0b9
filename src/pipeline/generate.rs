//! One run, start to end: `__call__` of diffusers' CogVideoX pipelines.

use super::components::Components;
use super::denoise::{Denoiser, Watched};
use super::parallel::{self, RankRun};
use super::request::Request;
use super::source::{Parts, Source};
use super::state::{Expected, RunState, Signature};
use super::{control, inpaint};
use super::{decode, encode, image, latents, memory, Adapters, GenerateOptions, Output, Pipeline};
use crate::cache::{self, CacheConfig, RunInfo, Sizes};
use crate::checkpoint::folder::Component;
use crate::checkpoint::PipelineFolder;
use crate::guidance::GuidanceBatch;
use crate::image::Image;
use crate::models::vae::{VaeDecoder, VaeEncoder};
use crate::parallel::degrees::Shape;
use crate::parallel::{Layout, Shard, Team};
use crate::runtime::device::{self, upload, StreamHandle};
use crate::runtime::process::WorkKind;
use crate::runtime::rng::Generator;
use crate::runtime::{dim, Control, LogLevel, Placement};
use crate::schedulers::{self, Scheduler};
use crate::video::Video;
use crate::Result;
use std::sync::Arc;
use tch::Tensor;

/// One run, on all ranks of the pipeline.
pub(super) fn generate(
    pipeline: &Pipeline,
    options: &GenerateOptions,
    adapters: &Adapters,
    control: &Control,
) -> Result<Video> {
    let parallel = Arc::clone(&pipeline.parallel);
    if parallel.is_alone() {
        return generate_alone(pipeline, options, adapters, control);
    }
    let layout = layout(pipeline, options)?;
    parallel.run(&pipeline.components, layout, control, |rank| {
        generate_on(pipeline, options, adapters, &rank)
    })
}

/// One run on the pipeline's first device alone.
pub(super) fn generate_alone(
    pipeline: &Pipeline,
    options: &GenerateOptions,
    adapters: &Adapters,
    control: &Control,
) -> Result<Video> {
    let rank = RankRun {
        components: Arc::clone(&pipeline.components),
        team: Team::alone(),
        control: control.clone(),
        delivers: true,
    };
    generate_on(pipeline, options, adapters, &rank)
}

/// What one rank does of a run.
fn generate_on(
    pipeline: &Pipeline,
    options: &GenerateOptions,
    adapters: &Adapters,
    rank: &RankRun,
) -> Result<Video> {
    let _no_grad = tch::no_grad_guard();
    let RankRun { components, team, control, .. } = rank;
    let components = &**components;
    let request = Request::resolve(&components.folder, options, control)?;
    let source = Source::of(&components.folder, options)?;
    let mut scheduler = scheduler(&components.folder, &request)?;
    check_frames(components, &request)?;
    let signature = signature(components, &request, scheduler.as_ref(), adapters);
    let config = pipeline.cache.lock().clone();
    parallel::agree(team, &signature, config.as_ref())?;
    let resumed = resumed(components, &request, scheduler.as_mut(), &signature)?;
    control.check()?;
    if options.memory_check && team.rank() == 0 {
        let info = run_info(pipeline, &request, scheduler.timesteps(), &Team::alone());
        let (folder, placement) = (&components.folder, components.placements.transformer);
        let quantizations = components.quantizations;
        let cache = config.as_ref();
        let needed = memory::estimate(folder, placement, quantizations, &request, cache, &info);
        memory::check(placement, options, needed)?;
    }

    let kernels = components.computes_with(components.placements.transformer.device)?;
    if let Some(warning) = kernels.warning() {
        control.log(LogLevel::Warning, warning);
    }
    let kernels = kernels.to_string();
    // What the other networks make, rank 0 makes for all.
    let prompt_embeds = match team.rank() {
        0 => prompt_embeddings(components, &request, control)?,
        _ => empty_embeddings(components, &request)?,
    };
    let prompt_embeds = team.broadcast(prompt_embeds)?;
    let mut generator = match options.seeds.as_slice() {
        [] => Generator::new(options.seed)?,
        seeds => Generator::each(seeds)?,
    };
    // An image's latents are drawn before the noise.
    let made = MadeByFirst { components, team };
    let beside =
        match source {
            Source::Image(image) => Some(made.latents(|| {
                image::latents(components, &request, image, &mut generator, control)
            })?),
            Source::Control(video) => {
                Some(made.latents(|| control::latents(components, &request, video, control))?)
            }
            Source::Parts(parts) => Some(made.latents(|| {
                inpaint::latents(components, &request, parts, &mut generator, control)
            })?),
            Source::Prompt | Source::Video(_) => None,
        };
    let (start, done, guidance_scale) = match resumed {
        Some(state) => {
            if config.is_some() && state.next_step < scheduler.timesteps().len() {
                control.log(
                    LogLevel::Warning,
                    "resume: the cache starts anew here, so that the video is not that of an \
                     unbroken run with it, to the byte",
                );
            }
            generator.set_state(&state.generator)?;
            (state.latents, state.next_step, state.guidance_scale)
        }
        None => {
            let video = match source {
                Source::Video(video) => Some(video),
                // All anew, it begins with noise alone, as the authors' pipeline does.
                Source::Parts(Parts::Masked(video, _)) if request.strength < 1.0 => Some(video),
                Source::Prompt | Source::Image(_) | Source::Control(_) | Source::Parts(_) => None,
            };
            let mut start = latents::Start {
                components,
                request: &request,
                scheduler: scheduler.as_ref(),
                generator: &mut generator,
                control,
            };
            (made.latents(|| start.prepare(video))?, 0, options.guidance_scale)
        }
    };
    if !matches!(source, Source::Prompt) {
        components.done_with(Component::Vae);
    }
    if !team.is_alone() {
        generator.set_state(&team.broadcast(generator.state()?)?)?;
    }
    let transformer = adapters.transformer(components, options.lora_scale, control)?;
    let timesteps = scheduler.timesteps().get(done..).unwrap_or_default();
    // Nothing is left to cache where all steps are done.
    let config = config.filter(|_| !timesteps.is_empty());
    let mut info = run_info(pipeline, &request, timesteps, team);
    if let (Some(sizes), Some(placement)) =
        (&mut info.sizes, Some(components.placements.transformer))
    {
        sizes.device = placement.device;
    }
    if config.as_ref().is_some_and(CacheConfig::needs_time_embeddings) {
        let changes = transformer.time_embedding_changes(&info.timesteps)?;
        // The same on all ranks, whatever their devices make of it.
        let changes = team.broadcast(Tensor::f_from_slice(&changes)?)?;
        info.time_embedding_changes = Some(Vec::<f64>::try_from(changes)?);
    }
    // What the run keeps dies with `run`, however this function is left; its statistics stay.
    let mut run = cache::start(config.as_ref(), &info, team, control)?;
    if team.rank() == 0 {
        *pipeline.stats.lock() = Some(run.stats.clone());
    }
    static DENOISING: WorkKind = WorkKind::new();
    DENOISING.begins();
    let latents = Denoiser {
        request: &request,
        transformer: &transformer,
        scheduler: scheduler.as_mut(),
        cache: run.cache.as_mut(),
        generator: &mut generator,
        beside: beside.as_ref(),
        done,
        guidance_scale,
        watched: options.step_callback.clone().map(|callback| Watched {
            callback,
            components: Arc::clone(&pipeline.components),
            signature: Arc::new(signature),
        }),
        team,
        control,
    }
    .run(start, &prompt_embeds);
    parallel::merge(team, &run.stats, latents.is_ok())?;
    let latents = latents?;

    drop(run);
    drop(transformer);
    components.done_with(Component::Transformer);

    if options.output == Output::Latents {
        // Nothing of them is under way any more when the host gets them.
        let stream = device::finish_stream(&latents)?;
        return Ok(Video { latents: Some(latents), frames: None, stream, ready: None, kernels });
    }
    let padding = request.size.padding_frames;
    let kept = latents.f_narrow(1, padding, request.size.latent_frames - padding)?;
    let video = match rank.delivers {
        true => decode::decode(components, &kept, options, team, control)?,
        false => {
            decode::help(components, &kept, options, team, control)?;
            let stream = StreamHandle::default();
            Video { latents: None, frames: None, stream, ready: None, kernels: String::new() }
        }
    };
    team.finish()?;
    Ok(Video { latents: Some(latents), kernels, ..video })
}

/// What rank 0 makes for all: other networks than the transformer run there alone, and random numbers
/// are drawn there.
struct MadeByFirst<'a> {
    components: &'a Components,
    team: &'a Team,
}

impl MadeByFirst<'_> {
    /// Latents, in five dimensions, which `make` makes on rank 0.
    fn latents(&self, make: impl FnOnce() -> Result<Tensor>) -> Result<Tensor> {
        if self.team.is_alone() {
            return make();
        }
        let made = match self.team.rank() {
            0 => Some(make()?.f_contiguous()?),
            _ => None,
        };
        let size = made.as_ref().map_or(vec![0; 5], Tensor::size);
        let size = Vec::<i64>::try_from(self.team.broadcast(Tensor::f_from_slice(&size)?)?)?;
        let Placement { device, dtype } = self.components.placements.transformer;
        let latents = match made {
            Some(made) => made,
            None => Tensor::f_empty(size.as_slice(), (dtype.kind(), device))?,
        };
        self.team.broadcast(latents)
    }
}

/// As large as the embeddings of a run, for what other ranks are sent.
fn empty_embeddings(components: &Components, request: &Request) -> Result<Tensor> {
    let Placement { device, dtype } = components.placements.transformer;
    let halves = if request.guided { 2 } else { 1 };
    let size = [
        halves * request.options.videos(),
        request.sequence_length as i64,
        components.folder.transformer.text_embed_dim,
    ];
    Ok(Tensor::f_empty(size, (dtype.kind(), device))?)
}

/// How the pipeline's ranks are laid out in a run with `options`.
fn layout(pipeline: &Pipeline, options: &GenerateOptions) -> Result<Layout> {
    let folder = pipeline.folder();
    let request = Request::resolve(folder, options, &Control::default())?;
    let scheduler = scheduler(folder, &request)?;
    let config = pipeline.cache.lock().clone();
    let info = run_info(pipeline, &request, scheduler.timesteps(), &Team::alone());
    // A config that does not fit the run is told by the run itself.
    let preview = config.and_then(|config| config.preview(&info, None).ok());
    let halves_apart = preview.is_some_and(|preview| preview.trace.halves_apart());
    let shape = Shape { guided: request.guided, halves_apart };
    Ok(pipeline.parallel.layout(folder.transformer.num_attention_heads, shape))
}

/// What the run depends on, but for the weights.
fn signature(
    components: &Components,
    request: &Request,
    scheduler: &dyn Scheduler,
    adapters: &Adapters,
) -> Signature {
    let (folder, options) = (&components.folder, request.options);
    let mut signature = Signature::default();
    signature.add("model", format!("{:?}", folder.transformer.family()));
    signature.add_hash("transformer config", format!("{:?}", folder.transformer).as_bytes());
    signature.add("dtype", components.placements.transformer.dtype.name());
    let adapters: Vec<String> = adapters
        .list()
        .filter_map(|(name, weight)| Some(format!("{name:?} × {}", weight? * options.lora_scale)))
        .collect();
    signature
        .add("adapters", if adapters.is_empty() { "none".into() } else { adapters.join(", ") });
    let mut prompts = vec![("prompt", options.prompt_texts(), &options.prompt_embeddings)];
    if request.guided {
        let negative = options.negative_texts();
        prompts.push(("negative_prompt", negative, &options.negative_prompt_embeddings));
    }
    for (name, texts, embeddings) in prompts {
        match embeddings {
            Some(given) => signature.add_hash(name, &numbers(given)),
            // No text holds a NUL.
            None => signature.add_hash(name, texts.join("\0").as_bytes()),
        }
    }
    signature.add("max_sequence_length", request.sequence_length);
    signature.add("latents", format!("{:?}", request.size.latent_dims(options.videos())));
    match options.seeds.as_slice() {
        [] => signature.add("seed", options.seed),
        seeds => signature.add("seeds", format!("{seeds:?}")),
    }
    signature.add("guidance_scale", options.guidance_scale);
    signature.add("use_dynamic_cfg", options.use_dynamic_cfg);
    let config = folder.scheduler.with(&options.scheduler);
    signature.add("scheduler", config.class.name());
    signature.add_hash("scheduler config", format!("{config:?}").as_bytes());
    signature.add("timesteps", format!("{:?}", scheduler.timesteps()));
    for (name, clip) in [("video", &options.video), ("control_video", &options.control_video)] {
        let Some(clip) = clip else { continue };
        signature.add(name, format!("{clip:?}"));
        signature.add_hash_of(&format!("{name} frames"), clip.frames().iter().map(Image::bytes));
    }
    if options.video.is_some() {
        signature.add("strength", request.strength);
    }
    if let Some(mask) = &options.mask {
        signature.add("mask", format!("{mask:?}"));
        signature.add_hash("mask pixels", mask.made());
    }
    for (name, image) in [("image", &options.image), ("last_image", &options.last_image)] {
        let Some(image) = image else { continue };
        signature.add(&format!("{name} size"), format!("{}x{}", image.width(), image.height()));
        signature.add_hash(name, &image.bytes());
    }
    signature
}

/// The bytes of float32 numbers in host memory.
fn numbers(tensor: &Tensor) -> Vec<u8> {
    let mut numbers = vec![0f32; tensor.numel()];
    // Host memory, as it was copied from the host.
    if tensor.f_copy_data(&mut numbers, tensor.numel()).is_err() {
        return Vec::new();
    }
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// The state that the options want the run to go on from, brought to the pipeline's device; what
/// the scheduler keeps is its again.
fn resumed(
    components: &Components,
    request: &Request,
    scheduler: &mut dyn Scheduler,
    signature: &Signature,
) -> Result<Option<RunState>> {
    let Some(path) = &request.options.resume else { return Ok(None) };
    let shape = request.size.latent_dims(request.options.videos());
    let expected = Expected {
        signature,
        shape: &shape,
        dtype: components.placements.transformer.dtype,
        total: scheduler.timesteps().len(),
        scheduler: scheduler.keeps(),
    };
    let mut state = RunState::read(path, &expected)?;
    let device = components.placements.transformer.device;
    state.latents = upload(&state.latents, device)?;
    for (name, tensor) in &state.scheduler {
        scheduler.restore(name, upload(tensor, device)?)?;
    }
    Ok(Some(state))
}

/// [`memory::estimate`] of a run that [`check`] has nothing against.
pub(super) fn estimate_memory(pipeline: &Pipeline, options: &GenerateOptions) -> Result<u64> {
    let folder = pipeline.folder();
    let request = Request::resolve(folder, options, &Control::default())?;
    let scheduler = scheduler(folder, &request)?;
    let config = pipeline.cache.lock().clone();
    let info = run_info(pipeline, &request, scheduler.timesteps(), &Team::alone());
    let (placement, quantizations) = (pipeline.placement(), pipeline.components.quantizations);
    Ok(memory::estimate(folder, placement, quantizations, &request, config.as_ref(), &info))
}

/// What can be wrong with `options` before anything is computed.
pub(super) fn check(pipeline: &Pipeline, options: &GenerateOptions) -> Result<()> {
    let folder = pipeline.folder();
    let request = Request::resolve(folder, options, &Control::default())?;
    Source::of(folder, options)?;
    scheduler(folder, &request)?;
    check_frames(&pipeline.components, &request)
}

/// The scheduler of the run: the pipeline's, changed as the options say.
fn scheduler(folder: &PipelineFolder, request: &Request) -> Result<Box<dyn Scheduler>> {
    let config = folder.scheduler.with(&request.options.scheduler);
    schedulers::scheduler(&config, &request.steps, request.skipped, request.options.eta)
}

/// Tiles must fit the image and the frames of the run, and the host's memory hold them.
fn check_frames(components: &Components, request: &Request) -> Result<()> {
    let folder = &components.folder;
    let (options, size) = (request.options, request.size);
    if let (true, Some(tiling)) = (options.encodes(), &options.decode.tiling) {
        let [height, width] = size.pixels(folder);
        VaeEncoder::check_tiles(&folder.vae, tiling, height, width)?;
    }
    if options.output == Output::Latents {
        return Ok(());
    }
    VaeDecoder::check_tiles(&folder.vae, &options.decode, size.latent_height, size.latent_width)?;
    options.frames.check(request.extent(folder)?, components.placements.vae.device)
}

/// The prompt's embeddings once per video; guided, the negative prompt's before them.
fn prompt_embeddings(
    components: &Components,
    request: &Request,
    control: &Control,
) -> Result<Tensor> {
    let options = request.options;
    let both = [
        (options.negative_texts(), &options.negative_prompt_embeddings),
        (options.prompt_texts(), &options.prompt_embeddings),
    ];
    let parts = if request.guided { &both[..] } else { &both[1..] };
    let own = parts.iter().filter(|(_, given)| given.is_none());
    let texts: Vec<&str> = own.flat_map(|(texts, _)| texts).copied().collect();
    let mut encoded =
        encode::encode(components, &texts, request.sequence_length, control)?.into_iter();
    let Placement { device, dtype } = components.placements.transformer;
    let mut embeddings = Vec::with_capacity(parts.len());
    for (texts, given) in parts {
        let rows = match given {
            Some(given) => upload(given, device)?.f_to_kind(dtype.kind())?.f_unsqueeze(0)?,
            None => {
                let rows: Vec<Tensor> = encoded.by_ref().take(texts.len()).collect();
                Tensor::f_cat(&rows, 0)?
            }
        };
        // One for each video, or the one of all.
        let dims = [options.videos(), dim(&rows, 1)?, dim(&rows, 2)?];
        embeddings.push(rows.f_expand(dims, false)?);
    }
    Ok(Tensor::f_cat(&embeddings, 0)?)
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
    let mut info = run_info(pipeline, &request, scheduler.timesteps(), &Team::alone());
    if config.needs_time_embeddings() {
        let _no_grad = tch::no_grad_guard();
        let (adapters, control) = (pipeline.adapters(), Control::default());
        let transformer =
            adapters.transformer(&pipeline.components, options.lora_scale, &control)?;
        info.time_embedding_changes = Some(transformer.time_embedding_changes(&info.timesteps)?);
    }
    Ok(info)
}

/// How many steps a run makes.
pub(super) fn steps_of(folder: &PipelineFolder, request: &Request) -> Result<usize> {
    Ok(scheduler(folder, request)?.timesteps().len())
}

/// A run as a cache needs to know it, of a pipeline that is not loaded.
pub(super) fn imagined_run(
    folder: &PipelineFolder,
    placement: Placement,
    request: &Request,
) -> Result<RunInfo> {
    let scheduler = scheduler(folder, request)?;
    Ok(info_of(folder, placement, request, scheduler.timesteps(), &Team::alone()))
}

/// A run as a rank of `team` sees it.
fn run_info(pipeline: &Pipeline, request: &Request, timesteps: &[i64], team: &Team) -> RunInfo {
    info_of(pipeline.folder(), pipeline.placement(), request, timesteps, team)
}

fn info_of(
    folder: &PipelineFolder,
    placement: Placement,
    request: &Request,
    timesteps: &[i64],
    team: &Team,
) -> RunInfo {
    let layers = 0..folder.transformer.num_layers;
    let videos = request.options.videos();
    let all_text = request.sequence_length as i64;
    let all_video = request.size.video_tokens(&folder.transformer);
    let [text_tokens, video_tokens] = Shard::largest(team.layout().sequence, all_text, all_video);
    RunInfo {
        layers: layers.map(crate::models::transformer::attention_name).collect(),
        timesteps: timesteps.to_vec(),
        num_train_timesteps: folder.scheduler.num_train_timesteps,
        batch: GuidanceBatch { videos, guided: request.guided },
        half: team.half(),
        branches: Vec::new(),
        family: Some(folder.transformer.family()),
        sizes: Some(Sizes {
            text_tokens,
            tokens: text_tokens + video_tokens,
            own_text_tokens: Shard::own_text(team, all_text),
            hidden_size: folder.transformer.num_attention_heads
                * folder.transformer.attention_head_dim,
            dtype: placement.dtype.kind(),
            device: placement.device,
            output: request.size.latent_dims(videos).to_vec(),
        }),
        time_embedding_changes: None,
    }
}
