//! The latents of the image that a run starts from (`prepare_latents`, diffusers 0.42.1
//! pipelines/cogvideo/pipeline_cogvideox_image2video.py:343).

use super::components::Components;
use super::request::Request;
use super::video;
use crate::checkpoint::config::VaeConfig;
use crate::image::Image;
use crate::runtime::rng::Generator;
use crate::runtime::Control;
use crate::Result;
use tch::Tensor;

/// Latents `(videos, frames, channels, height, width)` of a run's image: the image's in the first frame, zeros in all others. They are a sample of the VAE's distribution,
/// one for each video.
///
/// The frames that the 1.5 family has in front for padding count: in the reference, the image is
/// in the first of those.
pub(super) fn latents(
    components: &Components,
    request: &Request,
    image: &Image,
    generator: &mut Generator,
    control: &Control,
) -> Result<Tensor> {
    let posterior = video::posterior(components, request, std::slice::from_ref(image), control)?;
    let scale = scale(&components.folder.vae);
    let (videos, placement) = (request.options.videos(), components.placements.transformer);
    let dims = request.size.latent_dims(videos);
    let latents = Tensor::f_zeros(dims, (placement.dtype.kind(), placement.device))?;
    for video in 0..videos {
        let sample = posterior.sample(generator, video as usize)?.f_permute([0, 2, 1, 3, 4])?;
        latents.f_narrow(0, video, 1)?.f_narrow(1, 0, 1)?.f_copy_(&sample.f_mul_scalar(scale)?)?;
    }
    Ok(latents)
}

/// What an image's latents are multiplied by.
fn scale(config: &VaeConfig) -> f64 {
    match config.invert_scale_latents {
        // The 1.5 family was trained on latents divided by the factor.
        true => 1.0 / config.scaling_factor,
        false => config.scaling_factor,
    }
}
