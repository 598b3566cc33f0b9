//! Pipeline folders as diffusers saves them: the index, the configs, the weights.
//!
//! Everything here reads files that somebody else wrote, so every length is bounded and every
//! product checked before anything is allocated, and a file that contradicts itself or
//! another one is an error that names file, field or tensor, what was expected and what was
//! found.
//!
//! | file | what it does |
//! | --- | --- |
//! | `folder` | `model_index.json`, the classes, what the configs must agree about |
//! | `config/` | one file per component: fields, defaults, limits |
//! | `fields` | typed reading of one JSON object |
//! | `files` | which weight files a component has: variants, shards, index |
//! | `weight_file` | one safetensors file, read by position |
//! | `gguf/` | GGUF files: header, names, blocks |
//! | `original` | the names of the original model, and what they are here |
//! | `lora/` | adapter files: the layouts of their keys, their metadata, their factors |
//! | `save` | weights written to a file, quantized where that is wanted |
//! | `streaming`, `host` | weights of blocks that are read as they are used, or kept on the host |
//! | `weights` | tensors by name, copied once into the pipeline's dtype and device |

pub mod config;
pub(crate) mod fields;
pub mod files;
pub mod folder;
mod gguf;
mod host;
pub mod lora;
mod original;
pub mod progress;
pub mod save;
pub mod streaming;
mod weight_file;
pub mod weights;

pub use files::WeightFiles;
pub use folder::PipelineFolder;
pub use host::HostWeights;
pub use progress::LoadProgress;
pub use streaming::{BlockWeights, Streaming};
pub use weights::{MatrixNames, WeightStore, Weights};

/// What configs call the method of the quantized weights that `save` writes.
pub const QUANTIZATION_METHOD: &str = "libcogvideox";

#[cfg(test)]
mod tests;
