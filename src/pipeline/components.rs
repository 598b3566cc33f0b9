//! The networks of a pipeline and when each is in memory.

use super::load::Residency;
use crate::checkpoint::{PipelineFolder, WeightStore, Weights};
use crate::models::t5::T5Encoder;
use crate::models::transformer::Transformer;
use crate::models::vae::VaeDecoder;
use crate::runtime::{Control, Placement, Shared};
use crate::tokenizer::T5Tokenizer;
use crate::Result;
use parking_lot::Mutex;
use tch::Tensor;

/// What pipelines that share weights share.
pub(super) struct Components {
    pub folder: PipelineFolder,
    pub placement: Placement,
    pub residency: Residency,
    pub variant: Option<String>,
    pub tokenizer: T5Tokenizer,
    text_encoder: Slot<T5Encoder>,
    transformer: Slot<Transformer>,
    vae: Slot<VaeDecoder>,
    /// With the text encoder on demand, the last embeddings: asking for the same prompt
    /// again must not read the encoder again.
    pub last_embeddings: Mutex<Option<(EmbeddingKey, Tensor)>>,
}

/// The texts and the sequence length that embeddings were computed for.
pub(super) type EmbeddingKey = (Vec<String>, usize);

/// A network and the bytes of its weights; empty until loaded and after release.
struct Slot<T>(Mutex<Option<(Shared<T>, u64)>>);

impl<T> Slot<T> {
    fn empty() -> Self {
        Slot(Mutex::new(None))
    }

    /// The network, loaded by `load` if it is not there. The lock is held meanwhile, so that
    /// two pipelines over one set of weights never load it twice.
    fn get_or_load(&self, load: impl FnOnce() -> Result<(T, u64)>) -> Result<Shared<T>> {
        let mut slot = self.0.lock();
        if let Some((network, _)) = slot.as_ref() {
            return Ok(network.clone());
        }
        let (network, bytes) = load()?;
        let network = Shared::new(network);
        *slot = Some((network.clone(), bytes));
        Ok(network)
    }

    fn release(&self) {
        self.0.lock().take();
    }

    fn bytes(&self) -> u64 {
        self.0.lock().as_ref().map_or(0, |(_, bytes)| *bytes)
    }
}

impl Components {
    pub fn new(
        folder: PipelineFolder,
        placement: Placement,
        residency: Residency,
        variant: Option<String>,
        tokenizer: T5Tokenizer,
    ) -> Components {
        Components {
            folder,
            placement,
            residency,
            variant,
            tokenizer,
            text_encoder: Slot::empty(),
            transformer: Slot::empty(),
            vae: Slot::empty(),
            last_embeddings: Mutex::new(None),
        }
    }

    pub fn text_encoder(&self, control: &Control) -> Result<Shared<T5Encoder>> {
        self.text_encoder.get_or_load(|| {
            self.load_from("text_encoder", "model", &[], control, |weights| {
                T5Encoder::load(&self.folder.text_encoder, weights)
            })
        })
    }

    pub fn transformer(&self, control: &Control) -> Result<Shared<Transformer>> {
        self.transformer.get_or_load(|| {
            self.load_from("transformer", "diffusion_pytorch_model", &[], control, |weights| {
                Transformer::load(&self.folder.transformer, weights)
            })
        })
    }

    pub fn vae(&self, control: &Control) -> Result<Shared<VaeDecoder>> {
        // The folder holds the whole autoencoder; only its decoder is used.
        let unused = &["encoder", "quant_conv"];
        self.vae.get_or_load(|| {
            self.load_from("vae", "diffusion_pytorch_model", unused, control, |weights| {
                VaeDecoder::load(&self.folder.vae, weights)
            })
        })
    }

    pub fn release_text_encoder(&self) {
        self.text_encoder.release();
    }

    pub fn weight_bytes(&self) -> u64 {
        self.text_encoder.bytes() + self.transformer.bytes() + self.vae.bytes()
    }

    fn load_from<T>(
        &self,
        component: &str,
        stem: &str,
        unused_prefixes: &[&str],
        control: &Control,
        build: impl FnOnce(&Weights) -> Result<T>,
    ) -> Result<(T, u64)> {
        let folder = self.folder.root.join(component);
        let store =
            WeightStore::open(&folder, stem, self.variant.as_deref(), self.placement, control)?;
        let network = build(&store.root())?;
        store.finish(unused_prefixes)?;
        Ok((network, 0))
    }
}
