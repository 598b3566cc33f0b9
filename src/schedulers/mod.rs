//! The two CogVideoX schedulers. All arithmetic on the schedule is done in host numbers.

use crate::checkpoint::config::SchedulerConfig;
use crate::runtime::rng::Generator;
use crate::{Error, Result};
use tch::Tensor;

/// A scheduler during one run: it knows its timesteps and keeps what a multistep method
/// needs. Made anew for every run.
pub trait Scheduler {
    /// The timesteps of the run, descending, in `[0, num_train_timesteps)`.
    fn timesteps(&self) -> &[i64];
    /// `prev` = the sample one step on, in the dtype of `sample`, from the model's output
    /// (float32, after guidance) at step `index`.
    fn step(
        &mut self,
        index: usize,
        model_output: &Tensor,
        sample: &Tensor,
        generator: &mut Generator,
    ) -> Result<Tensor>;
}

/// What `set_timesteps` is called with.
#[derive(Debug, Clone)]
pub enum Steps {
    Count(usize),
    /// Custom timesteps, descending.
    Custom(Vec<i64>),
}

/// The scheduler that `config` names, for one run. `eta` is DDIM's and ignored by DPM.
pub fn scheduler(
    _config: &SchedulerConfig,
    _steps: &Steps,
    _eta: f64,
) -> Result<Box<dyn Scheduler>> {
    Err(Error::Internal("scheduler".into()))
}
