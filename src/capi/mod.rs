//! The C boundary: one file per C object, and nothing outside this folder is `extern "C"`.
//!
//! The doc comments of the items that are exported are the comments of
//! `include/cogvideox.h`, so they speak to the C programmer. What an exported function does
//! is one or two lines between the plumbing of these files:
//!
//! | file | what it is for |
//! | --- | --- |
//! | `panic` | the one funnel that every function runs in: errors become objects, panics too |
//! | `error` | `cvx_error`, and the one mapping from [`crate::Error`] to codes |
//! | `handle`, `handle_words` | what handles point to, and whether it is alive |
//! | `convert` | strings and slices checked by name; out-parameters |
//! | `floating_point` | the host's rounding and traps, set aside |
//! | `user_data` | callbacks with the host's pointer, freed exactly once |
//!
//! To add a function: write it in the file of its object, run its body in
//! [`panic::fallible`], take its parameters through [`convert`], and mark it `#[must_use]`
//! if it returns an error. To add a file: list it in `tests/header.rs` too, which makes the
//! header.

// C's naming, and pointers that are checked by the code rather than by the signature: what
// the caller must uphold is the header's contract, stated once at its top.
#![allow(non_camel_case_types, clippy::missing_safety_doc, reason = "C's interface, as above")]

mod convert;
mod floating_point;
mod handle;
mod handle_words;
mod panic;
mod user_data;

pub mod batch;
pub mod cache_callbacks;
pub mod cache_config;
pub mod cache_fields;
pub mod cache_json;
pub mod cache_stats;
pub mod calibration;
pub mod callbacks;
pub mod cancel_token;
pub mod capability;
pub mod communicator;
pub mod contact_sheet;
pub mod device;
pub mod device_frames;
pub mod error;
pub mod frames;
pub mod generate;
pub mod generate_options;
pub mod generate_settings;
pub mod image;
pub mod input_video;
pub mod job;
pub mod limits;
pub mod load_options;
pub mod memory_info;
pub mod pipeline;
pub mod pipeline_cache;
pub mod pipeline_info;
pub mod pipeline_lora;
pub mod pipeline_save;
pub mod pipeline_submit;
pub mod pipeline_tune;
pub mod plan;
pub mod prompt_embeddings;
pub mod scheduler_settings;
pub mod step;
pub mod version;
pub mod video;
pub mod video_encode;
pub mod video_memory;

pub use batch::*;
pub use cache_callbacks::*;
pub use cache_config::*;
pub use cache_fields::*;
pub use cache_json::*;
pub use cache_stats::*;
pub use calibration::*;
pub use callbacks::*;
pub use cancel_token::*;
pub use capability::*;
pub use communicator::*;
pub use contact_sheet::*;
pub use device::*;
pub use device_frames::*;
pub use error::*;
pub use frames::*;
pub use generate::*;
pub use generate_options::*;
pub use generate_settings::*;
pub use image::*;
pub use input_video::*;
pub use job::*;
pub use limits::*;
pub use load_options::*;
pub use memory_info::*;
pub use pipeline::*;
pub use pipeline_cache::*;
pub use pipeline_info::*;
pub use pipeline_lora::*;
pub use pipeline_save::*;
pub use pipeline_submit::*;
pub use pipeline_tune::*;
pub use plan::*;
pub use prompt_embeddings::*;
pub use scheduler_settings::*;
pub use step::*;
pub use user_data::cvx_free_callback;
pub use version::*;
pub use video::*;
pub use video_encode::*;
pub use video_memory::*;
