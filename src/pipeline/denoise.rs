//! The denoising loop (pipeline_cogvideox.py:715).

use super::request::Request;
use super::GenerateOptions;
use crate::cache::{RunCache, Step, StepAction};
use crate::guidance::{Branches, GuidanceBatch};
use crate::models::transformer::Transformer;
use crate::runtime::rng::Generator;
use crate::runtime::{Control, Progress, Stage};
use crate::schedulers::Scheduler;
use crate::Result;
use tch::{Kind, Tensor};

/// What the loop works with.
pub(super) struct Denoiser<'a> {
    pub request: &'a Request<'a>,
    pub transformer: &'a Transformer,
    pub scheduler: &'a mut dyn Scheduler,
    pub cache: &'a mut dyn RunCache,
    pub generator: &'a mut Generator,
    /// What the model is given beside the latents, as many channels and of the same size.
    pub image_latents: Option<&'a Tensor>,
    pub control: &'a Control,
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
        let batch = self.batch();
        let conditional = if batch.guided { Some(all.conditional(batch)?) } else { None };

        let timesteps = self.scheduler.timesteps().to_vec();
        let total = timesteps.len();
        let times = self.transformer.time_embeddings(&timesteps)?;
        for (index, (&timestep, time)) in timesteps.iter().zip(&times).enumerate() {
            self.control.check()?;
            let step = Step { index, total, timestep: timestep as f64, branches: Branches::All };
            let output = match self.cache.begin_step(&step)? {
                StepAction::Predicted(output) => output,
                StepAction::Run(branches) => {
                    let conditioning = match (branches, &conditional) {
                        (Branches::ConditionalOnly, Some(half)) => half,
                        _ => &all,
                    };
                    let output = self.transformer.forward_at(
                        &self.model_input(&latents)?,
                        conditioning,
                        time,
                        self.cache,
                        self.control,
                    )?;
                    self.cache.end_step(output)?
                }
            };
            let scale = guidance_scale(self.request.options, timestep, total);
            let output = batch.combine(output.f_to_kind(Kind::Float)?, scale)?;
            latents =
                self.scheduler.step(index, &output, &latents, self.generator)?.f_to_kind(kind)?;
            self.control.report(Progress {
                stage: Stage::Denoise,
                done: index as u64 + 1,
                total: total as u64,
                timestep: Some(timestep as f64),
            })?;
        }
        Ok(latents)
    }

    /// The latents, and the image's after them. Both halves of the guidance are given the same.
    fn model_input(&self, latents: &Tensor) -> Result<Tensor> {
        match self.image_latents {
            Some(image) => Ok(Tensor::f_cat(&[latents, image], 2)?),
            None => Ok(latents.shallow_clone()),
        }
    }

    fn batch(&self) -> GuidanceBatch {
        GuidanceBatch { videos: self.request.options.num_videos, guided: self.request.guided }
    }
}

/// The guidance scale of one step of a run of `steps`.
pub(super) fn guidance_scale(options: &GenerateOptions, timestep: i64, steps: usize) -> f64 {
    if options.use_dynamic_cfg {
        dynamic_guidance_scale(options.guidance_scale, timestep, steps)
    } else {
        options.guidance_scale
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
