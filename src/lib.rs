//! libcogvideox: CogVideoX text, image and video to video, with training-free caching, behind C.
//!
//! The crate is built as a shared library whose only exported symbols are the `cvx_*`
//! functions of [`capi`]; everything below that boundary is ordinary Rust that knows
//! nothing of C:
//!
//! | module | what lives there |
//! | --- | --- |
//! | [`capi`] | the C boundary: one file per C object |
//! | [`pipeline`] | load, encode the prompt, prepare latents, denoise, decode |
//! | [`jobs`] | runs that wait their turn on a thread of the pipeline's own |
//! | [`parallel`] | several ranks that compute one run together |
//! | [`models`] | T5 encoder, CogVideoX transformer, VAE |
//! | [`schedulers`] | CogVideoX DDIM and DPM |
//! | [`cache`] | what is computed in a step and what is taken from memory |
//! | [`guidance`] | the guidance batch and its two halves |
//! | [`backend`] | what computes: kernels and libtorch's operators behind one door |
//! | [`checkpoint`] | pipeline folders, configs, safetensors |
//! | [`tokenizer`] | T5 tokenizer from `spiece.model` or `tokenizer.json` |
//! | [`image`] | the image that a video starts from |
//! | [`video`] | frames and the files they are written to |
//! | [`runtime`] | devices, random numbers, cancellation, progress, the C++ shim |

pub mod backend;
pub mod cache;
pub mod capabilities;
pub mod capi;
pub mod checkpoint;
pub mod error;
pub mod guidance;
pub mod image;
pub mod jobs;
pub mod models;
pub mod parallel;
pub mod pipeline;
pub mod runtime;
pub mod schedulers;
pub mod tokenizer;
pub mod video;

pub use error::{Error, Result};
