//! The denoising loop (pipeline_cogvideox.py:715).

use super::components::Components;
use super::request::Request;
use super::state::Signature;
use super::step::{NextSteps, StepAnswer, StepCallback, StepChanges, StepEnd};
use super::GenerateOptions;
use crate::cache::{RunCache, Step, StepAction};
use crate::guidance::{Branches, GuidanceBatch};
use crate::models::transformer::Transformer;
use crate::parallel::{Among, Team};
use crate::runtime::rng::Generator;
use crate::runtime::{Control, Progress, Stage, Stop};
use crate::schedulers::Scheduler;
use crate::{Error, Result};
use std::ops::ControlFlow;
use std::sync::Arc;
use tch::{Kind, Tensor};

/// What the loop works with.
pub(super) struct Denoiser<'a> {
    pub request: &'a Request<'a>,
    pub transformer: &'a Transformer,
    pub scheduler: &'a mut dyn Scheduler,
    pub cache: &'a mut dyn RunCache,
    pub generator: &'a mut Generator,
    /// What the model is given beside the latents, in channels behind theirs: the image's latents.
    pub beside: Option<&'a Tensor>,
    /// How many steps are done already, in a run that is resumed. The cache knows of the others
    /// alone.
    pub done: usize,
    /// What the next step is guided with, before dynamic CFG.
    pub guidance_scale: f64,
    /// What the host's look at a step may need; present with a step callback.
    pub watched: Option<Watched>,
    /// The ranks of the run, all of which go through this loop together: each has the latents and the
    /// model's whole output, and does the same with them.
    pub team: &'a Arc<Team>,
    pub control: &'a Control,
}

/// What a step callback's functions work with.
pub(super) struct Watched {
    pub callback: StepCallback,
    pub components: Arc<Components>,
    pub signature: Arc<Signature>,
}

impl Denoiser<'_> {
    /// From noise to latents, both `(videos, frames, channels, height, width)`.
    /// `prompt_embeds` is `(videos, …)` or, guided, `(2 × videos, …)`: unconditional first.
    pub fn run(&mut self, mut latents: Tensor, prompt_embeds: &Tensor) -> Result<Tensor> {
        let kind = latents.f_kind()?;
        let size = self.request.size;
        let all = self.transformer.condition(
            prompt_embeds,
            size.latent_frames,
            size.latent_height,
            size.latent_width,
        )?;
        let all = all.shared(self.team)?;
        let watched = self.team.told_by_first(Among::All, || Ok(self.watched.is_some().into()))?;
        let batch = self.batch();
        let conditional = if batch.guided { Some(all.conditional(batch)?) } else { None };

        let timesteps = self.scheduler.timesteps().to_vec();
        let total = timesteps.len();
        let times = self.transformer.time_embeddings(&timesteps)?;
        for (index, (&timestep, time)) in timesteps.iter().zip(&times).enumerate().skip(self.done) {
            self.control.check()?;
            let step = Step {
                index: index - self.done,
                total: total - self.done,
                timestep: timestep as f64,
                branches: Branches::All,
            };
            let output = match self.cache.begin_step(&step)? {
                StepAction::Predicted(output) => output,
                StepAction::Run(branches) => {
                    let conditioning = match (branches, &conditional) {
                        (Branches::ConditionalOnly, Some(half)) => half,
                        _ => &all,
                    };
                    self.team.begin_step(branches);
                    let output = match self.team.runs() {
                        true => self.transformer.forward_at(
                            &self.model_input(&latents)?,
                            conditioning,
                            time,
                            self.cache,
                            self.control,
                        )?,
                        false => self.transformer.forward_elsewhere(conditioning)?,
                    };
                    self.cache.end_step(output)?
                }
            };
            let scale = guidance_scale(self.request.options, self.guidance_scale, timestep, total);
            let output = batch.combine(output.f_to_kind(Kind::Float)?, scale)?;
            latents =
                self.scheduler.step(index, &output, &latents, self.generator)?.f_to_kind(kind)?;
            if watched == 1.0 {
                let at = StepPlace { index, total, timestep, scale };
                latents = self.end_step(&at, latents)?;
            }
            self.control.report(Progress {
                stage: Stage::Denoise,
                done: index as u64 + 1,
                total: total as u64,
                timestep: Some(timestep as f64),
            })?;
        }
        Ok(latents)
    }

    /// Shows the host the step on rank 0, and returns the latents that the run goes on with on all.
    fn end_step(&mut self, at: &StepPlace, latents: Tensor) -> Result<Tensor> {
        let latents = match self.team.rank() {
            0 => self.show_step(at, latents)?,
            _ => latents,
        };
        if self.team.is_alone() {
            return Ok(latents);
        }
        let scale = self.guidance_scale;
        self.guidance_scale = self.team.told_by_first(Among::All, || Ok(scale))?;
        self.team.broadcast(latents.f_contiguous()?)
    }

    fn show_step(&mut self, at: &StepPlace, latents: Tensor) -> Result<Tensor> {
        let Some(watched) = &self.watched else { return Ok(latents) };
        self.control.check()?;
        let end = StepEnd {
            index: at.index,
            total: at.total,
            timestep: at.timestep,
            guidance_scale: at.scale,
            guided: self.request.guided,
            latents: latents.shallow_clone(),
            next: NextSteps {
                guidance_scale: self.guidance_scale,
                generator: self.generator.state()?,
                scheduler: self.scheduler.state(),
                signature: Arc::clone(&watched.signature),
                padding_frames: self.request.size.padding_frames,
            },
            changes: StepChanges::default(),
            shared: Arc::clone(&watched.components),
            control: self.control.clone(),
        };
        let place = || format!("step callback at step {} of {}", at.index, at.total);
        let StepAnswer { changes, flow } = (watched.callback.0)(end);
        match flow {
            ControlFlow::Continue(()) => {}
            ControlFlow::Break(Stop::Asked) => {
                return Err(Error::Cancelled(format!("stopped by the {}", place())));
            }
            ControlFlow::Break(Stop::Failed(error)) => return Err(error.context(place())),
        }
        self.guidance_scale = changes.guidance_scale.unwrap_or(self.guidance_scale);
        Ok(changes.latents.unwrap_or(latents))
    }

    /// The latents, and what goes beside them. Both halves of the guidance are given the same.
    fn model_input(&self, latents: &Tensor) -> Result<Tensor> {
        match self.beside {
            Some(beside) => Ok(Tensor::f_cat(&[latents, beside], 2)?),
            None => Ok(latents.shallow_clone()),
        }
    }

    fn batch(&self) -> GuidanceBatch {
        GuidanceBatch { videos: self.request.options.videos(), guided: self.request.guided }
    }
}

/// Which step has ended, and what it was guided with.
struct StepPlace {
    index: usize,
    total: usize,
    timestep: i64,
    scale: f64,
}

/// The guidance scale of one step of a run of `steps` that is guided with `scale`.
pub(super) fn guidance_scale(
    options: &GenerateOptions,
    scale: f64,
    timestep: i64,
    steps: usize,
) -> f64 {
    if options.use_dynamic_cfg {
        dynamic_guidance_scale(scale, timestep, steps)
    } else {
        scale
    }
}

/// The guidance scale of one step under dynamic CFG (pipeline_cogvideox.py:741). The formula
/// mixes the training timestep with the number of steps, as the reference does; it is kept,
/// because the same seed must give the same video.
fn dynamic_guidance_scale(guidance_scale: f64, timestep: i64, steps: usize) -> f64 {
    let steps = steps as f64;
    let progress = (steps - timestep as f64) / steps;
    1.0 + guidance_scale * ((1.0 - (std::f64::consts::PI * progress.powi(5)).cos()) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::dynamic_guidance_scale;

    #[test]
    fn dynamic_guidance_follows_the_reference_formula() {
        // Python: 1 + 6 * ((1 - math.cos(math.pi * ((20 - t) / 20) ** 5.0)) / 2)
        for (timestep, expected) in [(20, 1.0), (10, 1.0144458199834092), (0, 7.0)] {
            let scale = dynamic_guidance_scale(6.0, timestep, 20);
            assert!((scale - expected).abs() < 1e-12, "{timestep}: {scale}");
        }
    }
}
