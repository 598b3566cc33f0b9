//! The two CogVideoX schedulers: [`ddim`] and [`dpm`].
//!
//! Everything that depends on the schedule alone is worked out when a scheduler is made, on
//! the host, in the type in which diffusers keeps it (float64 for `scaled_linear` betas,
//! float32 for the others), so that the multipliers of each step are within a rounding of
//! diffusers', and the same bits on every machine ([`precision`]). A step then multiplies
//! tensors by host numbers: nothing is read back from the device.

mod betas;
mod ddim;
mod dpm;
mod noising;
mod precision;
mod prediction;
mod timesteps;

#[cfg(test)]
mod goldens;

use crate::checkpoint::config::{SchedulerClass, SchedulerConfig};
use crate::runtime::number::Short;
use crate::runtime::rng::Generator;
use crate::{Error, Result};
use tch::Tensor;

/// The standard deviation of the noise that a run starts from: 1 for both schedulers
/// (diffusers 0.42.1 schedulers/scheduling_ddim_cogvideox.py:224), so noise needs no scaling.
pub const INIT_NOISE_SIGMA: f64 = 1.0;

/// A scheduler during one run: it knows its timesteps and keeps what a multistep method
/// needs. Made anew for every run.
pub trait Scheduler {
    /// The timesteps of the run, strictly descending, in `[0, num_train_timesteps)`.
    fn timesteps(&self) -> &[i64];

    /// What the first step starts from where a run begins with a video: `original`, clean latents, and
    /// `noise` of their shape and dtype, mixed as noisy as the first timestep wants them (`add_noise`,
    /// diffusers 0.42.1 schedulers/scheduling_ddim_cogvideox.py:428).
    ///
    /// Errors: [`Error::OutOfMemory`].
    fn add_noise(&self, original: &Tensor, noise: &Tensor) -> Result<Tensor>;

    /// The sample one step on, from the model's output at step `index`.
    ///
    /// `model_output` is float32, after guidance, of the shape of `sample`. The answer is
    /// float32; the caller converts it to its own dtype, as the pipeline of diffusers does
    /// (pipelines/cogvideo/pipeline_cogvideox.py:763). Steps must come in order, each once.
    /// `generator` is drawn from by DPM alone, in the dtype of `sample`.
    ///
    /// Errors: [`Error::Internal`] for an index outside the run or out of order,
    /// [`Error::OutOfMemory`].
    fn step(
        &mut self,
        index: usize,
        model_output: &Tensor,
        sample: &Tensor,
        generator: &mut Generator,
    ) -> Result<Tensor>;

    /// The names of what a step leaves behind for later ones.
    fn keeps(&self) -> &'static [&'static str] {
        &[]
    }

    /// What the steps so far left behind, by name: float32, of the shape of the sample. Nobody may
    /// write to it.
    fn state(&self) -> Vec<(&'static str, Tensor)> {
        Vec::new()
    }

    /// Takes back what [`Scheduler::state`] answered after the step before the next one.
    ///
    /// Errors: [`Error::Internal`] for another name.
    fn restore(&mut self, name: &str, _value: Tensor) -> Result<()> {
        Err(Error::Internal(format!("the scheduler keeps no {name}")))
    }
}

/// What `set_timesteps` is called with.
#[derive(Debug, Clone)]
pub enum Steps {
    /// So many steps, in `[1, num_train_timesteps]`, spaced as the config's
    /// `timestep_spacing` says.
    Count(usize),
    /// Custom timesteps, strictly descending, in `[0, num_train_timesteps)`.
    ///
    /// Neither class of diffusers takes a list. Here each step leads to the next entry and
    /// the last one to the clean sample. (With a count diffusers steps by
    /// `num_train_timesteps / count` rounded down, wherever the next timestep lies, and so
    /// does [`Steps::Count`]; the two agree when the spacing is even.)
    Custom(Vec<i64>),
}

/// The scheduler that `config` names, for one run.
///
/// `skipped` of the first steps are left out, fewer than there are.
///
/// `eta` in `[0, 1]` is checked and otherwise ignored: `step` of both classes takes it and
/// never uses it, and neither clips, whatever `clip_sample` says
/// (scheduling_ddim_cogvideox.py:331, scheduling_dpm_cogvideox.py:420). Parity wins over
/// the name.
///
/// Errors: [`Error::InvalidArgument`] for steps or eta out of range,
/// [`Error::UnsupportedModel`] where `prediction_type` says nothing about the sample at a timestep,
/// [`Error::InvalidCheckpoint`] for betas that make no schedule.
pub fn scheduler(
    config: &SchedulerConfig,
    steps: &Steps,
    skipped: usize,
    eta: f64,
) -> Result<Box<dyn Scheduler>> {
    if !(0.0..=1.0).contains(&eta) {
        return Err(Error::InvalidArgument(format!("eta must be in [0, 1], found {}", Short(eta))));
    }
    Ok(match config.class {
        SchedulerClass::Ddim => Box::new(ddim::Ddim::new(config, steps, skipped)?),
        SchedulerClass::Dpm => Box::new(dpm::Dpm::new(config, steps, skipped)?),
    })
}
