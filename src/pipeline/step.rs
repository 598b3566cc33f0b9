//! The end of a denoising step, where the host may look at the latents and change what comes
//! (`callback_on_step_end`, pipeline_cogvideox.py:766).

use super::components::Components;
use super::preview;
use super::state::{RunState, Signature};
use crate::runtime::device::upload;
use crate::runtime::number::Short;
use crate::runtime::{Control, Stop};
use crate::{Error, Result};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use tch::{Device, Kind, Tensor};

/// Called after each denoising step with what the run is then.
#[derive(Clone)]
pub struct StepCallback(pub Arc<dyn Fn(StepEnd) -> StepAnswer + Send + Sync>);

impl std::fmt::Debug for StepCallback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StepCallback")
    }
}

/// What the host makes of a step.
pub struct StepAnswer {
    /// What the run goes on with.
    pub changes: StepChanges,
    pub flow: ControlFlow<Stop>,
}

/// What a host changed; `None` leaves it as it is.
#[derive(Default)]
pub struct StepChanges {
    pub latents: Option<Tensor>,
    pub guidance_scale: Option<f64>,
}

/// A denoising step that has just finished.
pub struct StepEnd {
    /// From 0 to `total` less 1.
    pub index: usize,
    pub total: usize,
    /// The training timestep that the step began at.
    pub timestep: i64,
    /// What the step was guided with, under dynamic CFG what that made of it.
    pub guidance_scale: f64,
    pub(super) guided: bool,
    pub(super) latents: Tensor,
    pub(super) next: NextSteps,
    pub(super) changes: StepChanges,
    pub(super) shared: Arc<Components>,
    pub(super) control: Control,
}

/// What the rest of the run depends on beside the latents.
pub(super) struct NextSteps {
    /// Before dynamic CFG.
    pub guidance_scale: f64,
    pub generator: Tensor,
    pub scheduler: Vec<(&'static str, Tensor)>,
    pub signature: Arc<Signature>,
    /// Latent frames in front that are dropped before decoding.
    pub padding_frames: i64,
}

impl StepEnd {
    /// `(videos, frames, channels, height, width)` in the pipeline's dtype and on its device: what
    /// the next step starts from. Nobody may write to it.
    pub fn latents(&self) -> &Tensor {
        self.changes.latents.as_ref().unwrap_or(&self.latents)
    }

    /// The latents in host memory, float32, dense; themselves where they are that already.
    pub fn host_latents(&self) -> Result<Tensor> {
        Ok(self.latents().f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()?)
    }

    /// Goes on with `latents` instead. Errors: [`Error::InvalidArgument`] for another shape.
    pub fn set_latents(&mut self, latents: &Tensor) -> Result<()> {
        let _no_grad = tch::no_grad_guard();
        let (expected, found) = (self.latents.size(), latents.size());
        if found != expected {
            return Err(Error::InvalidArgument(format!(
                "latents: expected (videos, frames, channels, height, width) = {expected:?} as the \
                 run has, found {found:?}"
            )));
        }
        let (kind, device) = (self.latents.f_kind()?, self.latents.device());
        self.changes.latents = Some(upload(latents, device)?.f_to_kind(kind)?);
        Ok(())
    }

    /// Guides with `scale` from the next step on; under dynamic CFG it is what guidance grows to.
    /// Errors: [`Error::InvalidArgument`] for a number that is not finite, and in a run that began
    /// without guidance: it has no unconditional half.
    pub fn set_guidance_scale(&mut self, scale: f64) -> Result<()> {
        if !scale.is_finite() {
            return Err(Error::InvalidArgument(format!(
                "guidance_scale must be a finite number, found {}",
                Short(scale)
            )));
        }
        if !self.guided {
            return Err(Error::InvalidArgument(format!(
                "guidance_scale: expected a run with guidance (a scale above 1 at its start), found \
                 one without while {} was asked for",
                Short(scale)
            )));
        }
        self.changes.guidance_scale = Some(scale);
        Ok(())
    }

    /// The latents as a picture: `(videos, latent frames, height, width, 3)` bytes at latent
    /// resolution, without padding frames; see [`preview`].
    pub fn preview(&self) -> Result<([i64; 5], Vec<u8>)> {
        let _no_grad = tch::no_grad_guard();
        preview::rgb8(&self.shared, self.latents(), self.next.padding_frames, &self.control)
    }

    /// Writes what a run needs to go on from here to `path`.
    pub fn save(&self, path: &Path) -> Result<()> {
        let state = RunState {
            next_step: self.index + 1,
            guidance_scale: self.changes.guidance_scale.unwrap_or(self.next.guidance_scale),
            latents: self.latents().shallow_clone(),
            generator: self.next.generator.shallow_clone(),
            scheduler: self
                .next
                .scheduler
                .iter()
                .map(|(name, tensor)| (name.to_string(), tensor.shallow_clone()))
                .collect(),
        };
        state.save(path, &self.next.signature)
    }

    /// Ends the look: what the host makes of the step.
    pub fn answer(self, flow: ControlFlow<Stop>) -> StepAnswer {
        StepAnswer { changes: self.changes, flow }
    }
}
