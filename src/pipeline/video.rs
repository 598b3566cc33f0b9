//! Pictures through the VAE's encoder (`VideoProcessor.preprocess_video`, diffusers 0.42.1
//! video_processor.py:28).

use super::components::Components;
use super::request::Request;
use crate::image::Image;
use crate::models::vae::Posterior;
use crate::runtime::process::WorkKind;
use crate::runtime::Control;
use crate::Result;
use tch::{Device, Kind, Tensor};

/// The distribution of the latents of `pictures`, one video of them, at the size of the run.
pub(super) fn posterior(
    components: &Components,
    request: &Request,
    pictures: &[Image],
    control: &Control,
) -> Result<Posterior> {
    let [height, width] = request.size.pixels(&components.folder);
    posterior_of(components, request, &frames(pictures, height, width)?, control)
}

/// The distribution of the latents of frames `(1, 3, frames, height, width)` in [-1, 1].
pub(super) fn posterior_of(
    components: &Components,
    request: &Request,
    frames: &Tensor,
    control: &Control,
) -> Result<Posterior> {
    components.encode(control, |encoder| {
        static ENCODING: WorkKind = WorkKind::new();
        ENCODING.begins();
        encoder.encode(frames, request.options.decode.tiling.as_ref(), control)
    })
}

/// The pictures as frames `(1, 3, frames, height, width)` in [-1, 1].
pub(super) fn frames(pictures: &[Image], height: i64, width: i64) -> Result<Tensor> {
    let side = |side: i64| usize::try_from(side).unwrap_or(usize::MAX);
    let count = pictures.len() as i64;
    let frames = Tensor::f_empty([1, count, height, width, 3], (Kind::Float, Device::Cpu))?;
    for (index, picture) in (0..).zip(pictures) {
        let floats = picture.resized(side(width), side(height))?.into_floats()?;
        let frame = Tensor::f_from_slice(&floats)?.f_view([height, width, 3])?;
        frames.f_select(0, 0)?.f_select(0, index)?.f_copy_(&frame)?;
    }
    let mut frames = frames;
    Ok(frames.f_mul_scalar_(2.0)?.f_sub_scalar_(1.0)?.f_permute([0, 4, 1, 2, 3])?)
}
