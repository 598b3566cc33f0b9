//! Loading a pipeline folder.

use super::components::{Components, OpenFiles};
use super::embeddings_cache::{EmbeddingsCache, DEFAULT_ENTRIES};
use super::parallel::Parallel;
use super::placements::{PlacementChanges, Placements};
use super::plan::Plan;
use super::quantization::Quantizations;
use super::save;
use super::GenerateOptions;
use crate::backend::{CudaKernels, MatmulPrecision};
use crate::checkpoint::config::SchedulerOverrides;
use crate::checkpoint::folder::{Component, WeightPaths};
use crate::checkpoint::{PipelineFolder, Streaming};
use crate::models::tiny_decoder::TinyDecoder;
use crate::parallel::{Communicator, Degrees};
use crate::runtime::threads::Threads;
use crate::runtime::{device, reserve, Control, DType, LogLevel, Placement, Shared};
use crate::tokenizer::T5Tokenizer;
use crate::{Error, Result};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tch::Device;

/// The most ranks that share a run.
pub const MAX_RANKS: usize = 1024;

/// Which components stay in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Residency {
    /// All, from load to the pipeline's end.
    #[default]
    All,
    /// The text encoder is read when a prompt is encoded and released right after; the
    /// transformer and the VAE are read at the first run, after that. So the encoder of a
    /// first run is never in memory together with them, at the price of reading it again for
    /// every new prompt.
    TextEncoderOnDemand,
    /// Each is read when a run comes to its part and leaves when that is done, so that no two are
    /// in memory together.
    OneAtATime,
}

/// How the blocks of the networks that have some are kept between their uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamingModes {
    pub text_encoder: Streaming,
    pub transformer: Streaming,
}

impl StreamingModes {
    /// That of the component of this name. Errors: [`Error::InvalidArgument`] for another, and for
    /// the VAE, which has no such blocks.
    pub fn of(&mut self, component: &str) -> Result<&mut Streaming> {
        match component {
            "text_encoder" => Ok(&mut self.text_encoder),
            "transformer" => Ok(&mut self.transformer),
            other => Err(Error::InvalidArgument(format!(
                "component must be \"text_encoder\" or \"transformer\", whose weights can be \
                 streamed, found {other:?}"
            ))),
        }
    }

    pub(super) fn get(self, component: Component) -> Streaming {
        match component {
            Component::TextEncoder => self.text_encoder,
            Component::Transformer => self.transformer,
            Component::Vae => Streaming::Resident,
        }
    }
}

#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// "cpu", "cuda", "cuda:N" or "auto".
    pub device: String,
    /// The devices that share each run, of which the first is [`LoadOptions::device`]; fewer than
    /// two: that one alone.
    pub devices: Vec<String>,
    /// How they share it.
    pub degrees: Degrees,
    /// The processes that share each run, instead of devices.
    pub communicator: Option<Processes>,
    /// "auto", "f32", "f16" or "bf16".
    pub dtype: String,
    /// The `variant` of the weight files, as in `model.fp16.safetensors`.
    pub variant: Option<String>,
    pub residency: Residency,
    /// How many prompts' embeddings are kept.
    pub prompt_cache_size: usize,
    /// Threads that the pipeline's work is shared among; 0 leaves that to libtorch.
    pub num_threads: i32,
    /// How many bytes of the device the process may take: see [`device::limit_memory`].
    pub max_device_memory: Option<u64>,
    /// How the weights of each network's blocks are kept.
    pub streaming: StreamingModes,
    /// What memory there is: the way of keeping weights is the fastest that fits, in place of
    /// `residency` and `streaming`.
    pub memory_budget: Option<u64>,
    /// What decoding is to make do with, in tiles if need be.
    pub tiles_within: Option<u64>,
    /// Components that are elsewhere, or compute in another dtype.
    pub placements: PlacementChanges,
    /// Files with the weights of components, in place of the folder's.
    pub weights: WeightPaths,
    /// How the matrices of components are stored.
    pub quantizations: Quantizations,
    /// In which products are made where float32 is computed on the CPU.
    pub matmul_precision: MatmulPrecision,
    /// What computes between matrix products on CUDA devices.
    pub cuda_kernels: CudaKernels,
    /// The file of a tiny decoder that previews are made with; `None`: the folder's own, if it has one.
    pub preview_decoder: Option<PathBuf>,
    /// What the runs' scheduler has in place of what the folder says.
    pub scheduler: SchedulerOverrides,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions {
            device: "auto".into(),
            devices: Vec::new(),
            degrees: Degrees::default(),
            communicator: None,
            dtype: "auto".into(),
            variant: None,
            residency: Residency::All,
            prompt_cache_size: DEFAULT_ENTRIES,
            num_threads: 0,
            streaming: StreamingModes::default(),
            memory_budget: None,
            tiles_within: None,
            placements: PlacementChanges::default(),
            quantizations: Quantizations::default(),
            matmul_precision: MatmulPrecision::default(),
            cuda_kernels: CudaKernels::default(),
            weights: WeightPaths::default(),
            max_device_memory: None,
            preview_decoder: None,
            scheduler: SchedulerOverrides::default(),
        }
    }
}

/// This process's end of a [`Communicator`] between processes.
#[derive(Clone)]
pub struct Processes(pub Arc<dyn Communicator>);

impl fmt::Debug for Processes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.0.rank(), self.0.size())
    }
}

impl LoadOptions {
    /// Checks the devices that `text` names, with commas between them, and takes them; none takes
    /// those that were set before away.
    ///
    /// Errors: [`Error::InvalidArgument`].
    pub fn set_devices(&mut self, text: Option<&str>) -> Result<()> {
        let Some(text) = text else {
            self.devices = Vec::new();
            return Ok(());
        };
        let devices: Vec<String> = text.split(',').map(|name| name.trim().to_string()).collect();
        for (number, device) in devices.iter().enumerate() {
            let named = device::check_name(device);
            named.map_err(|error| error.context(format_args!("devices[{number}]")))?;
        }
        if devices.len() > MAX_RANKS {
            return Err(Error::InvalidArgument(format!(
                "devices: expected at most {MAX_RANKS}, found {}",
                devices.len()
            )));
        }
        if let Some(first) = devices.first() {
            self.device = first.clone();
        }
        self.devices = devices;
        Ok(())
    }

    /// With whom runs are to be shared, as far as that is known without loading.
    fn check_parallel(&self, heads: i64) -> Result<()> {
        let ranks = match &self.communicator {
            Some(_) if self.devices.len() > 1 => {
                return Err(Error::InvalidArgument(
                    "devices and communicator: expected one of them, found both: a process that \
                     shares its runs with others has one device"
                        .into(),
                ));
            }
            Some(Processes(communicator)) => communicator.size(),
            None => self.devices.len().max(1),
        };
        if ranks > 1 || self.degrees != Degrees::default() {
            self.degrees.check(ranks, heads)?;
        }
        let moved = &self.placements;
        if self.devices.len() > 1
            && (moved.transformer.device.is_some() || moved.vae.device.is_some())
        {
            return Err(Error::InvalidArgument(
                "devices: expected the transformer and the VAE on each of them, found a device for \
                 a component of its own"
                    .into(),
            ));
        }
        Ok(())
    }
}

pub(super) fn load(
    root: &Path,
    options: &LoadOptions,
    control: &Control,
) -> Result<(Arc<Components>, Parallel)> {
    let _no_grad = tch::no_grad_guard();
    control.check()?;
    let mut folder = PipelineFolder::open(root)?;
    for warning in &folder.warnings {
        control.log(LogLevel::Warning, warning.clone());
    }
    folder.scheduler = folder.scheduler.with(&options.scheduler);
    folder.weights = options.weights.clone();
    options.check_parallel(folder.transformer.num_attention_heads)?;
    let quantizations = options.quantizations.over(save::stored(&folder))?;
    // All headers are read before any weight, so that a damaged folder is told at once.
    let files = OpenFiles::open(&folder, options.variant.as_deref())?;
    let (device, dtype) = (&options.device, &options.dtype);
    let placements = Placements::resolve(device, dtype, files.dtype(), &options.placements)?;
    quantizations.check(&placements)?;
    let precision = options.matmul_precision;
    if placements.all().iter().any(|placement| placement.device == Device::Cpu) {
        precision.check()?;
    }
    let placement = placements.transformer;
    if ["f16", "bf16"].contains(&options.dtype.as_str()) && placement.dtype == DType::F32 {
        control.log(
            LogLevel::Info,
            format!("dtype {} asked for; on the CPU float32 is computed", options.dtype),
        );
    }
    let on_cuda = placements.all().into_iter().find(|placement| placement.device.is_cuda());
    for warning in on_cuda.unwrap_or(placement).warnings() {
        control.log(LogLevel::Warning, warning);
    }
    if let Some(bytes) = options.max_device_memory {
        let mut limited = false;
        for device in placements.devices() {
            limited |= device::limit_memory(device, bytes)?;
        }
        if !limited {
            let note = "max_device_memory is set; the CPU's memory has no such limit";
            control.log(LogLevel::Info, note);
        }
    }
    let (mut residency, mut streaming) = (options.residency, options.streaming);
    if options.memory_budget.is_some() {
        let run = GenerateOptions::default();
        let budget = options.memory_budget;
        let plan = Plan::of(&folder, placement, quantizations, &run, None, budget)?;
        let choice = plan.choose()?;
        (residency, streaming) = (choice.mode.residency, choice.mode.streaming);
        control.log(
            LogLevel::Info,
            format!(
                "memory budget of {} bytes: weights are kept as in \"{}\", where a run takes {} at \
                 its peak",
                options.memory_budget.unwrap_or(0),
                choice.mode.name,
                choice.peak()
            ),
        );
    }
    let tokenizer = T5Tokenizer::load(&folder.tokenizer())?;
    let embeddings = EmbeddingsCache::new(options.prompt_cache_size);
    let variant = options.variant.clone();
    let mut components =
        Components::new(folder, placements, residency, variant, tokenizer, embeddings);
    components.num_threads = options.num_threads;
    components.quantizations = quantizations;
    components.matmul_precision = precision;
    components.load_kernels(options.cuda_kernels, control)?;
    components.streaming = streaming;
    components.memory_budget = options.memory_budget.or(options.tiles_within);
    let preview_decoder = match &options.preview_decoder {
        Some(path) => Some(path.clone()),
        None => components.folder.preview_decoder()?,
    };
    if let Some(path) = preview_decoder {
        let channels = components.folder.vae.latent_channels;
        let decoder = TinyDecoder::load(&path, channels, placement.device)?;
        control.log(LogLevel::Info, format!("previews are made by {}", path.display()));
        components.preview_decoder = Some(Shared::new(decoder));
    }
    let _threads = Threads::limit(options.num_threads)?;
    if residency == Residency::All {
        components.load_all(files, control)?;
    }
    let kernels = components.computes_with(placement.device)?;
    if let Some(warning) = kernels.warning() {
        control.log(LogLevel::Warning, warning);
    }
    control.log(LogLevel::Info, format!("computes with {kernels}"));
    control.log(
        LogLevel::Info,
        format!(
            "loaded {} on {:?} in {:?}: {} bytes of weights in memory",
            root.display(),
            placement.device,
            placement.dtype,
            components.weight_bytes()
        ),
    );
    reserve::check()?;
    let components = Arc::new(components);
    let parallel = match &options.communicator {
        Some(Processes(communicator)) => {
            Parallel::processes(options.degrees, Arc::clone(communicator))
        }
        None if options.devices.len() > 1 => {
            let others = load_others(&components, options, control)?;
            Parallel::devices(options.degrees, others)
        }
        None => Parallel::alone(),
    };
    Ok((components, parallel))
}

/// The components of the ranks from 1 on. Those of one device are the same.
fn load_others(
    first: &Arc<Components>,
    options: &LoadOptions,
    control: &Control,
) -> Result<Vec<Arc<Components>>> {
    let mut all = vec![Arc::clone(first)];
    for (rank, device) in options.devices.iter().enumerate().skip(1) {
        let on_device = |error: Error| error.context(format_args!("devices[{rank}]"));
        let dtype = first.placements.transformer.dtype;
        let there = Placement::resolve(device, &options.dtype, dtype).map_err(on_device)?;
        let same = all.iter().find(|of| of.placements.transformer.device == there.device);
        if let Some(same) = same {
            all.push(Arc::clone(same));
            continue;
        }
        let mut components = first.on_device(there.device).map_err(on_device)?;
        components.load_kernels(options.cuda_kernels, control).map_err(on_device)?;
        if options.residency == Residency::All {
            components.load_for_rank(control).map_err(on_device)?;
        }
        all.push(Arc::new(components));
    }
    Ok(all.into_iter().skip(1).collect())
}
