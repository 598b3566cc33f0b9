//! The latents a run starts from (`prepare_latents`, diffusers 0.42.1
//! pipelines/cogvideo/pipeline_cogvideox.py:337 and pipeline_cogvideox_video2video.py:341).

use super::components::Components;
use super::request::Request;
use super::video;
use crate::image::Clip;
use crate::runtime::device::upload;
use crate::runtime::rng::Generator;
use crate::runtime::Control;
use crate::schedulers::Scheduler;
use crate::Result;
use tch::Tensor;

/// What the latents are made with.
pub(super) struct Start<'a> {
    pub components: &'a Components,
    pub request: &'a Request<'a>,
    pub scheduler: &'a dyn Scheduler,
    pub generator: &'a mut Generator,
    pub control: &'a Control,
}

impl Start<'_> {
    /// The given latents, or noise of the whole batch drawn at once from the run's generator, in
    /// the pipeline's dtype. Both CogVideoX schedulers have `init_noise_sigma` 1, so neither is
    /// scaled. With a `video`, its latents made noisy.
    pub fn prepare(&mut self, video: Option<&Clip>) -> Result<Tensor> {
        let placement = self.components.placements.transformer;
        let kind = placement.dtype.kind();
        if let Some(latents) = &self.request.options.latents {
            return Ok(upload(latents, placement.device)?.f_to_kind(kind)?.f_contiguous()?);
        }
        // A sample of the video is drawn before the noise.
        let clean = video.map(|video| self.clean(video)).transpose()?;
        let dims = self.request.size.latent_dims(self.request.options.videos());
        let noise = self.generator.randn(&dims, kind, placement.device)?;
        match clean {
            Some(clean) => Ok(self.scheduler.add_noise(&clean, &noise)?.f_to_kind(kind)?),
            None => Ok(noise),
        }
    }

    /// Samples of the latents of the video, one for each of the run's videos. They are multiplied by
    /// the scaling factor in the 1.5 family too: what inverts it there is the latents of images.
    fn clean(&mut self, video: &Clip) -> Result<Tensor> {
        let Start { components, request, control, .. } = self;
        let placement = components.placements.transformer;
        let posterior = video::posterior(components, request, video.frames(), control)?;
        let mut samples = Vec::new();
        for video in 0..request.options.videos() as usize {
            samples.push(posterior.sample(self.generator, video)?.f_to_device(placement.device)?);
        }
        let latents = Tensor::f_cat(&samples, 0)?.f_to_kind(placement.dtype.kind())?;
        let scale = components.folder.vae.scaling_factor;
        Ok(latents.f_permute([0, 2, 1, 3, 4])?.f_mul_scalar(scale)?)
    }
}
