//! The latents of the video that a control model's video follows (`prepare_control_latents`,
//! diffusers 0.42.1 pipelines/cogvideo/pipeline_cogvideox_fun_control.py:362).

use super::components::Components;
use super::request::Request;
use super::video;
use crate::image::Clip;
use crate::runtime::Control;
use crate::Result;
use tch::Tensor;

/// Latents `(videos, frames, channels, height, width)`: the mean of their distribution, the same for
/// each video of the run.
pub(super) fn latents(
    components: &Components,
    request: &Request,
    video: &Clip,
    control: &Control,
) -> Result<Tensor> {
    let placement = components.placements.transformer;
    let mean = video::posterior(components, request, video.frames(), control)?.mean;
    let latents = mean
        .f_mul_scalar(components.folder.vae.scaling_factor)?
        .f_permute([0, 2, 1, 3, 4])?
        .f_to_device(placement.device)?
        .f_to_kind(placement.dtype.kind())?;
    Ok(latents.f_expand(request.size.latent_dims(request.options.videos()), false)?)
}
