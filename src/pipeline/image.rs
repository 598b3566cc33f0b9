//! The latents of the image that a run starts from (`prepare_latents`, diffusers 0.42.1
//! pipelines/cogvideo/pipeline_cogvideox_image2video.py:343).

use super::components::Components;
use super::request::Request;
use crate::image::Image;
use crate::runtime::process::WorkKind;
use crate::runtime::rng::Generator;
use crate::runtime::Control;
use crate::{Error, Result};
use tch::Tensor;

/// Latents `(videos, frames, channels, height, width)` of the run's image, if it has one: the
/// image's in the first frame, zeros in all others. They are a sample of the VAE's distribution,
/// one for each video.
///
/// The frames that the 1.5 family has in front for padding count: in the reference, the image is
/// in the first of those.
pub(super) fn latents(
    components: &Components,
    request: &Request,
    generator: &mut Generator,
    control: &Control,
) -> Result<Option<Tensor>> {
    let Some(image) = &request.options.image else { return Ok(None) };
    let vae = components.vae(control)?;
    let encoder = vae
        .encoder
        .as_ref()
        .ok_or_else(|| Error::Internal("image to video: the VAE has no encoder".into()))?;
    let [height, width] = request.size.pixels(&components.folder);
    let frame = frame(image, height, width)?;
    static ENCODING: WorkKind = WorkKind::new();
    ENCODING.begins();
    let tiling = request.options.decode.tiling.as_ref();
    let posterior = encoder.encode(&frame, tiling, control)?;

    let config = &components.folder.vae;
    let scale = match config.invert_scale_latents {
        // The 1.5 family was trained on latents divided by the factor.
        true => 1.0 / config.scaling_factor,
        false => config.scaling_factor,
    };
    let (videos, placement) = (request.options.num_videos, components.placements.transformer);
    let dims = request.size.latent_dims(videos);
    let latents = Tensor::f_zeros(dims, (placement.dtype.kind(), placement.device))?;
    for video in 0..videos {
        let sample = posterior.sample(generator)?.f_permute([0, 2, 1, 3, 4])?;
        latents.f_narrow(0, video, 1)?.f_narrow(1, 0, 1)?.f_copy_(&sample.f_mul_scalar(scale)?)?;
    }
    Ok(Some(latents))
}

/// The image as one frame `(1, 3, 1, height, width)` in [-1, 1].
fn frame(image: &Image, height: i64, width: i64) -> Result<Tensor> {
    let side = |side: i64| usize::try_from(side).unwrap_or(usize::MAX);
    let floats = image.resized(side(width), side(height))?.into_floats()?;
    let frame = Tensor::f_from_slice(&floats)?.f_view([1, 1, height, width, 3])?;
    Ok(frame.f_mul_scalar(2.0)?.f_sub_scalar(1.0)?.f_permute([0, 4, 1, 2, 3])?)
}
