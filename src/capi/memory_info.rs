//! What is in memory now.

use super::convert::write_struct;
use super::error::cvx_error;
use super::handle::borrow;
use super::panic::fallible;
use super::pipeline::cvx_pipeline;
use crate::pipeline::MemoryUse;

/// What a pipeline has in memory, in bytes, as cvx_pipeline_memory tells it. Later versions may add
/// fields at the end: read a field only if struct_size reaches beyond it. Since 0.1.
#[repr(C)]
pub struct cvx_memory_info {
    /// Set it to the struct's size before cvx_pipeline_memory, which writes no more than that and
    /// leaves here how many bytes it wrote.
    pub struct_size: u32,
    /// 1 while a run, or other work that another call would be BUSY for, is under way, else 0.
    pub working: i32,
    /// As cvx_pipeline_weight_bytes: weights that are in memory, shared with clones.
    pub weight_bytes: u64,
    /// Embeddings of the last prompts (cvx_load_options_set_prompt_cache_size), shared with clones.
    pub prompt_bytes: u64,
    /// What the cache of the run under way keeps now; 0 between runs.
    pub cache_bytes: u64,
    /// The most that the cache of the last run, or of the one under way, kept.
    pub cache_bytes_peak: u64,
    /// What libtorch has handed out on the pipeline's device, to all of this process: the weights
    /// among it, and what runs work with. 0 on the CPU.
    pub device_bytes: u64,
    /// The most that it has handed out there. 0 on the CPU.
    pub device_bytes_peak: u64,
    /// What of this process lies in the machine's memory: on the CPU the weights, what runs work with,
    /// and all else that the host has. 0 where the system does not tell.
    pub process_bytes: u64,
    /// The most that it was. 0 where the system does not tell.
    pub process_bytes_peak: u64,
}

/// Writes what the pipeline has in memory now to *out_info, as far as its struct_size reaches, which
/// must be set before. cvx_pipeline_estimate_memory tells what a run will take.
///
/// Errors: NULL_ARGUMENT; INVALID_ARGUMENT for a struct_size that does not reach beyond itself.
/// Threads: any, also while the pipeline generates, whose run it does not wait for. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_pipeline_memory(
    pipeline: *const cvx_pipeline,
    out_info: *mut cvx_memory_info,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let pipeline = unsafe { borrow(pipeline, "pipeline")? };
        let MemoryUse {
            working,
            weights,
            prompts,
            cache,
            cache_peak,
            device,
            device_peak,
            process,
            process_peak,
        } = pipeline.pipeline.memory_use()?;
        let info = cvx_memory_info {
            struct_size: size_of::<cvx_memory_info>() as u32,
            working: i32::from(working),
            weight_bytes: weights,
            prompt_bytes: prompts,
            cache_bytes: cache,
            cache_bytes_peak: cache_peak,
            device_bytes: device,
            device_bytes_peak: device_peak,
            process_bytes: process,
            process_bytes_peak: process_peak,
        };
        // SAFETY: by the contract of the header; the struct begins with its size.
        unsafe { write_struct(&info, out_info, "out_info") }
    })
}
