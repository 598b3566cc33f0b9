//! What a pipeline has in memory now, told at any time.

use super::Pipeline;
use crate::runtime::{device, memory};
use crate::Result;

/// In bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Whether a run, or other work that takes the pipeline's turn, is under way.
    pub working: bool,
    /// Of weights, shared with all pipelines over them.
    pub weights: u64,
    /// Of embeddings of the last prompts, shared as well.
    pub prompts: u64,
    /// What the cache of the run under way keeps; 0 between runs.
    pub cache: u64,
    /// The most that the cache of the last run, or of the one under way, kept.
    pub cache_peak: u64,
    /// What libtorch has handed out on the device to this process, now and at most; 0 on the CPU.
    pub device: u64,
    pub device_peak: u64,
    /// Of the whole process that lie in the machine's memory, now and at most.
    pub process: u64,
    pub process_peak: u64,
}

impl Pipeline {
    /// Errors: [`crate::Error::DeviceLost`].
    pub fn memory_use(&self) -> Result<MemoryUse> {
        let components = &self.components;
        let place = self.placement().device;
        let device = components.at_home(|| device::memory(place))?;
        let (cache, cache_peak) = self.stats.lock().as_ref().map_or((0, 0), |stats| stats.bytes());
        let process = memory::of_process();
        Ok(MemoryUse {
            working: self.turns.is_taken(),
            weights: components.weight_bytes(),
            prompts: components.embeddings.lock().held() as u64,
            cache,
            cache_peak,
            device: device.map_or(0, |memory| memory.allocated),
            device_peak: device.map_or(0, |memory| memory.peak),
            process: process.now,
            process_peak: process.peak,
        })
    }
}
