//! A run that computes everything and keeps the model's outputs.

use crate::cache::config::CacheConfig;
use crate::cache::fields::Field;
use crate::cache::forward::{ForwardCache, RunCache};
use crate::cache::report::{Forecast, Foresight, LayerState};
use crate::cache::run_info::RunInfo;
use crate::cache::storage_options::StorageOptions;
use crate::cache::technique::{RunContext, Technique};
use crate::Result;
use parking_lot::Mutex;
use std::sync::Arc;
use tch::{Device, Kind, Tensor};

/// Where the outputs go: one a step, `(whole batch, …)` float32 on the CPU.
#[derive(Debug, Clone, Default)]
pub struct Recording(Arc<Mutex<Vec<Tensor>>>);

impl Recording {
    /// A config whose runs are recorded here, each instead of the one before.
    pub fn config(&self) -> CacheConfig {
        CacheConfig::of_technique("recording", Box::new(self.clone()))
    }

    /// What was recorded last; the recording is empty afterwards.
    pub fn take(&self) -> Vec<Tensor> {
        std::mem::take(&mut self.0.lock())
    }
}

impl Technique for Recording {
    fn name(&self) -> &'static str {
        "Recording"
    }

    fn fields(&mut self) -> Vec<Field<'_>> {
        Vec::new()
    }

    fn boxed(&self) -> Box<dyn Technique> {
        Box::new(self.clone())
    }

    fn validate(&self, _layers: &[String]) -> Result<()> {
        Ok(())
    }

    fn forecast(&self, run: &RunInfo, _storage: &StorageOptions) -> Result<Forecast> {
        Ok(Forecast::of_steps(Foresight::Exact, run, |_| false, |_, _| LayerState::Computed))
    }

    fn start(&self, _context: RunContext<'_>) -> Result<Box<dyn RunCache>> {
        self.take();
        Ok(Box::new(self.clone()))
    }
}

impl ForwardCache for Recording {}

impl RunCache for Recording {
    fn end_step(&mut self, output: Tensor) -> Result<Tensor> {
        // A copy in any case: the caller goes on with the output.
        let copy = output.f_to_device(Device::Cpu)?.f_to_dtype(Kind::Float, false, true)?;
        self.0.lock().push(copy);
        Ok(output)
    }
}
