//! The networks of a pipeline and when each is in memory.

use super::embeddings_cache::EmbeddingsCache;
use super::load::{Residency, StreamingModes};
use super::memory;
use super::placements::Placements;
use super::preview::Projection;
use super::quantization::Quantizations;
use crate::backend::{CudaKernels, DeviceKernels, Kernels, MatmulPrecision};
use crate::checkpoint::folder::{Component, Task};
use crate::checkpoint::progress::LoadProgress;
use crate::checkpoint::{PipelineFolder, WeightFiles, WeightStore, Weights};
use crate::models::t5::T5Encoder;
use crate::models::tiny_decoder::TinyDecoder;
use crate::models::transformer::Transformer;
use crate::models::vae::{Content, Vae, VaeEncoder, ENCODER_UNUSED_PREFIXES};
use crate::runtime::loss::Loss;
use crate::runtime::shim::mapped::KeptPages;
use crate::runtime::threads::Threads;
use crate::runtime::{
    device, device_threads, warnings, Control, DType, LogLevel, ReadOnly, Shared,
};
use crate::tokenizer::T5Tokenizer;
use crate::{Error, Result};
use parking_lot::{Mutex, ReentrantMutex};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use tch::Device;

/// What pipelines that share weights share.
pub(super) struct Components {
    pub folder: PipelineFolder,
    pub placements: Placements,
    pub residency: Residency,
    pub variant: Option<String>,
    /// How matrices are stored.
    pub quantizations: Quantizations,
    /// In which the products of text encoder and transformer are made on the CPU.
    pub matmul_precision: MatmulPrecision,
    pub streaming: StreamingModes,
    /// On the devices that have some.
    kernels: Vec<DeviceKernels>,
    /// What the pipeline was to make do with.
    pub memory_budget: Option<u64>,
    /// Threads that work is shared among; 0 leaves that to libtorch.
    pub num_threads: i32,
    pub tokenizer: T5Tokenizer,
    text_encoder: Slot<T5Encoder>,
    transformer: Slot<Transformer>,
    vae: Slot<Vae>,
    /// The VAE's encoder where most runs need none: read when a run first encodes a video.
    video_encoder: Slot<VaeEncoder>,
    /// The embeddings of the last prompts.
    pub embeddings: Mutex<EmbeddingsCache>,
    /// What previews are decoded with, if not by the projection.
    pub preview_decoder: Option<Shared<TinyDecoder>>,
    /// How latents become previews, once that was asked for.
    pub projection: Mutex<Option<Projection>>,
    /// Whether their device is lost.
    loss: Loss,
}

/// A network and the bytes of its weights; empty until loaded and after release.
struct Slot<T: ReadOnly> {
    network: Mutex<Option<Shared<T>>>,
    bytes: AtomicU64,
    /// Held while the network is loaded, so that two pipelines over one set of weights never
    /// load it twice. Asking how much is loaded does not wait for it, and the thread that
    /// loads may come by again: it calls the host's callbacks on the way.
    loading: ReentrantMutex<Cell<bool>>,
}

impl<T: ReadOnly> Slot<T> {
    fn empty() -> Self {
        Slot {
            network: Mutex::new(None),
            bytes: AtomicU64::new(0),
            loading: ReentrantMutex::new(Cell::new(false)),
        }
    }

    /// The network, loaded by `load` if it is not there.
    fn get_or_load(&self, load: impl FnOnce() -> Result<(T, u64)>) -> Result<Shared<T>> {
        let turn = self.loading.lock();
        if turn.get() {
            return Err(Error::Busy(
                "a callback asked for the weights that are being loaded: generate after it".into(),
            ));
        }
        if let Some(network) = self.network.lock().as_ref() {
            return Ok(network.clone());
        }
        let (network, bytes) = {
            let _loading = Loading::begin(&turn);
            load()?
        };
        let network = Shared::new(network);
        *self.network.lock() = Some(network.clone());
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(network)
    }

    fn release(&self) {
        let network = self.network.lock().take();
        self.bytes.store(0, Ordering::Relaxed);
        drop(network);
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Marks a slot as being loaded until dropped, however loading ends.
struct Loading<'a>(&'a Cell<bool>);

impl Loading<'_> {
    fn begin(flag: &Cell<bool>) -> Loading<'_> {
        flag.set(true);
        Loading(flag)
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Components {
    pub fn new(
        folder: PipelineFolder,
        placements: Placements,
        residency: Residency,
        variant: Option<String>,
        tokenizer: T5Tokenizer,
        embeddings: EmbeddingsCache,
    ) -> Components {
        Components {
            folder,
            placements,
            residency,
            variant,
            quantizations: Quantizations::default(),
            matmul_precision: MatmulPrecision::default(),
            streaming: StreamingModes::default(),
            kernels: Vec::new(),
            memory_budget: None,
            num_threads: 0,
            tokenizer,
            text_encoder: Slot::empty(),
            transformer: Slot::empty(),
            vae: Slot::empty(),
            video_encoder: Slot::empty(),
            embeddings: Mutex::new(embeddings),
            preview_decoder: None,
            projection: Mutex::new(None),
            loss: Loss::default(),
        }
    }

    /// The text encoder, loaded now if it is not in memory; so with the other two.
    /// The same folder's components on another device, not loaded yet.
    pub fn on_device(&self, device: Device) -> Result<Components> {
        let mut components = Components::new(
            self.folder.clone(),
            self.placements.on_device(device),
            self.residency,
            self.variant.clone(),
            T5Tokenizer::load(&self.folder.tokenizer())?,
            EmbeddingsCache::new(0),
        );
        components.num_threads = self.num_threads;
        components.streaming = self.streaming;
        components.quantizations = self.quantizations;
        components.matmul_precision = self.matmul_precision;
        Ok(components)
    }

    /// Loads the kernels that are wanted, where devices can take them; where not, libtorch's operators
    /// do, and the log says why.
    pub fn load_kernels(&mut self, wanted: CudaKernels, control: &Control) -> Result<()> {
        if wanted == CudaKernels::Libtorch {
            return Ok(());
        }
        let devices = self.placements.devices();
        if !devices.iter().any(|device| device.is_cuda()) {
            let note = "fused kernels are asked for; they are for CUDA devices alone";
            control.log(LogLevel::Info, note);
        }
        for device in devices {
            match DeviceKernels::load(device) {
                Ok(kernels) => self.kernels.extend(kernels),
                Err(lost @ Error::DeviceLost(_)) => return Err(lost),
                Err(error) => control.log(
                    LogLevel::Warning,
                    format!(
                        "fused kernels can't be loaded on {}, so libtorch's compute: {error}",
                        device::device_name(device)
                    ),
                ),
            }
        }
        Ok(())
    }

    fn kernels_on(&self, device: Device) -> Option<&DeviceKernels> {
        self.kernels.iter().find(|kernels| kernels.device() == device)
    }

    /// What computes on a device of the pipeline's.
    pub fn computes_with(&self, device: Device) -> Result<Kernels> {
        let kernels = Kernels::of(device, self.kernels_on(device).is_some())?;
        Ok(kernels.with_products(self.matmul_precision))
    }

    pub fn text_encoder(&self, control: &Control) -> Result<Shared<T5Encoder>> {
        self.text_encoder.get_or_load(|| {
            self.build(self.store(Component::TextEncoder, control)?, |weights| {
                T5Encoder::load(&self.folder.text_encoder, weights)
            })
        })
    }

    pub fn transformer(&self, control: &Control) -> Result<Shared<Transformer>> {
        self.transformer.get_or_load(|| {
            self.build(self.store(Component::Transformer, control)?, |weights| {
                Transformer::load(&self.folder.transformer, weights)
            })
        })
    }

    pub fn vae(&self, control: &Control) -> Result<Shared<Vae>> {
        self.vae.get_or_load(|| {
            self.build(self.store(Component::Vae, control)?, |weights| {
                Vae::load(&self.folder.vae, weights, self.encodes())
            })
        })
    }

    /// Loads what another rank's device needs: the transformer and the VAE.
    pub fn load_for_rank(&self, control: &Control) -> Result<()> {
        self.transformer(control)?;
        self.vae(control)?;
        Ok(())
    }

    /// Work with the VAE's encoder, which is loaded now if it is not in memory.
    pub fn encode<T>(
        &self,
        control: &Control,
        work: impl FnOnce(&VaeEncoder) -> Result<T>,
    ) -> Result<T> {
        if self.encodes().is_some() {
            let vae = self.vae(control)?;
            let encoder = vae.encoder.as_ref();
            return work(encoder.ok_or_else(|| Error::Internal("the VAE has no encoder".into()))?);
        }
        let encoder = self.video_encoder.get_or_load(|| {
            let Opened { store, .. } = self.store(Component::Vae, control)?;
            let encoder = VaeEncoder::load(&self.folder.vae, &store.root(), Content::Videos)?;
            let bytes = store.loaded_bytes();
            store.finish(ENCODER_UNUSED_PREFIXES)?;
            Ok((encoder, bytes))
        })?;
        work(&encoder)
    }

    /// Loads all three from files that are open already, with one progress over their bytes.
    pub fn load_all(&self, files: OpenFiles, control: &Control) -> Result<()> {
        let progress = LoadProgress::default();
        let store = |component, files| {
            let placement = self.placements.of(component);
            let store = WeightStore::new(files, placement, control, &progress);
            let mut store = store.quantized(self.quantizations.of(component));
            store.streaming = self.streaming.get(component);
            store.matmul_precision = self.matmul_precision;
            store.kernels = self.kernels_on(placement.device).cloned();
            Opened { component, store }
        };
        let text_encoder = store(Component::TextEncoder, files.text_encoder);
        let transformer = store(Component::Transformer, files.transformer);
        let vae = store(Component::Vae, files.vae);
        self.text_encoder.get_or_load(|| {
            self.build(text_encoder, |w| T5Encoder::load(&self.folder.text_encoder, w))
        })?;
        self.transformer.get_or_load(|| {
            self.build(transformer, |w| Transformer::load(&self.folder.transformer, w))
        })?;
        let vae = || self.build(vae, |w| Vae::load(&self.folder.vae, w, self.encodes()));
        self.vae.get_or_load(vae)?;
        Ok(())
    }

    /// The component has done its part in a run: it leaves memory, where its residency says so.
    /// Whoever uses it still, as a clone does, keeps it until then.
    pub fn done_with(&self, component: Component) {
        let leaves = match self.residency {
            Residency::All => false,
            Residency::TextEncoderOnDemand => component == Component::TextEncoder,
            Residency::OneAtATime => true,
        };
        if !leaves {
            return;
        }
        match component {
            Component::TextEncoder => self.text_encoder.release(),
            Component::Transformer => self.transformer.release(),
            Component::Vae => {
                self.vae.release();
                self.video_encoder.release();
            }
        }
        self.return_memory();
    }

    /// What weights that are gone leave behind goes back to the device's driver. Memory that can't
    /// be given back is no reason to fail: libtorch uses it again.
    fn return_memory(&self) {
        if !self.loss.is_known() {
            for device in self.placements.devices() {
                let _ = device_threads::on(device, || device::empty_cache(device));
            }
        }
    }

    /// [`Error::DeviceLost`] once a device of the weights is lost.
    pub fn check_device(&self) -> Result<()> {
        self.at_home(|| self.loss.check(&self.placements.devices()))
    }

    /// Does `work` where work on the components' device is done: on a thread of its own, or here.
    pub fn at_home<T>(&self, work: impl FnOnce() -> T) -> T {
        device_threads::on(self.placements.home(), work)
    }

    /// Work with the weights, unless their device is lost; whether it is lost then is noted.
    pub fn work<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.work_with(self.num_threads, work)
    }

    /// As [`Components::work`], shared among another number of threads.
    pub fn work_with<T>(&self, threads: i32, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.at_home(|| {
            self.check_device()?;
            let _threads = Threads::limit(threads)?;
            self.loss.note(&self.placements.devices(), work)
        })
    }

    /// [`Components::work`], with libtorch's warnings in the log.
    pub fn logged<T>(&self, control: &Control, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.at_home(|| warnings::to_log(control, || self.work(work)))
    }

    /// Whether runs decode in tiles where that saves memory that there is not.
    pub fn saves_memory(&self) -> bool {
        self.memory_budget.is_some() || self.residency == Residency::OneAtATime
    }

    /// What can still be had where a component is: of the device, and of the budget. `None` where
    /// neither is known.
    pub fn free_memory(&self, component: Component) -> Result<Option<u64>> {
        let device = self.placements.of(component).device;
        let free = memory::free(device)?;
        let used = match device::memory(device)? {
            Some(memory) => memory.allocated,
            None => self.weight_bytes(),
        };
        let left = self.memory_budget.map(|budget| budget.saturating_sub(used));
        Ok([free, left].into_iter().flatten().min())
    }

    pub fn weight_bytes(&self) -> u64 {
        let vae = self.vae.bytes() + self.video_encoder.bytes();
        self.text_encoder.bytes() + self.transformer.bytes() + vae
    }

    fn store(&self, component: Component, control: &Control) -> Result<Opened> {
        let files = self.folder.weight_files(component, self.variant.as_deref())?;
        let progress = LoadProgress::default();
        let placement = self.placements.of(component);
        let store = WeightStore::new(files, placement, control, &progress);
        let mut store = store.quantized(self.quantizations.of(component));
        store.streaming = self.streaming.get(component);
        store.matmul_precision = self.matmul_precision;
        store.kernels = self.kernels_on(placement.device).cloned();
        Ok(Opened { component, store })
    }

    /// The network and the bytes its weights take in memory.
    fn build<T>(
        &self,
        opened: Opened,
        load: impl FnOnce(&Weights) -> Result<T>,
    ) -> Result<(T, u64)> {
        let network = {
            let _pages = KeptPages::keep();
            load(&opened.store.root())?
        };
        let bytes = opened.store.loaded_bytes();
        opened.store.finish(self.unused_prefixes(opened.component))?;
        Ok((network, bytes))
    }

    /// What all runs need the VAE's encoder for, if they do.
    fn encodes(&self) -> Option<Content> {
        encoded(self.folder.task)
    }

    /// Parts of a component's files that are not read: the folder holds the whole autoencoder, of
    /// which text to video only decodes.
    fn unused_prefixes(&self, component: Component) -> &'static [&'static str] {
        match component {
            Component::Vae => Vae::unused_prefixes(self.encodes()),
            _ => &[],
        }
    }
}

/// What all runs of a task encode, if anything.
pub(super) fn encoded(task: Task) -> Option<Content> {
    match task {
        Task::TextToVideo => None,
        Task::ImageToVideo => Some(Content::Images),
        Task::VideoToVideo | Task::Control | Task::Inpainting => Some(Content::Videos),
    }
}

impl Drop for Components {
    fn drop(&mut self) {
        self.text_encoder.release();
        self.transformer.release();
        self.vae.release();
        self.video_encoder.release();
        self.embeddings.lock().clear();
        drop(self.projection.lock().take());
        self.preview_decoder = None;
        self.kernels.clear();
        self.return_memory();
    }
}

/// A component whose weight files are open.
struct Opened {
    component: Component,
    store: WeightStore,
}

/// The weight files of all components, their headers read and checked.
pub(super) struct OpenFiles {
    text_encoder: WeightFiles,
    transformer: WeightFiles,
    vae: WeightFiles,
}

impl OpenFiles {
    pub fn open(folder: &PipelineFolder, variant: Option<&str>) -> Result<OpenFiles> {
        Ok(OpenFiles {
            text_encoder: folder.weight_files(Component::TextEncoder, variant)?,
            transformer: folder.weight_files(Component::Transformer, variant)?,
            vae: folder.weight_files(Component::Vae, variant)?,
        })
    }

    /// The dtype that "auto" goes by: the transformer's, which decides speed and quality.
    pub fn dtype(&self) -> DType {
        self.transformer.dtype()
    }
}
