//! From latents to frames (`decode_latents`, pipeline_cogvideox.py:363, and
//! `VideoProcessor.postprocess_video`).

use super::components::Components;
use crate::models::vae::DecodeOptions;
use crate::runtime::Control;
use crate::{Error, Result};
use tch::{Device, Kind, Tensor};

/// Latents `(videos, frames, channels, height, width)` to frames
/// `(videos, frames, height, width, 3)`, float32 in `[0, 1]`, in host memory.
pub(super) fn decode(
    components: &Components,
    latents: &Tensor,
    options: &DecodeOptions,
    control: &Control,
) -> Result<Tensor> {
    let _no_grad = tch::no_grad_guard();
    let vae = components.vae(control)?;
    let found = latents.size();
    let channels = components.folder.vae.latent_channels;
    if found.len() != 5 || found[2] != channels || found.contains(&0) {
        return Err(Error::InvalidArgument(format!(
            "latents must be (videos, frames, {channels} channels, height, width), found {found:?}"
        )));
    }
    let placement = components.placement;
    let scaled = latents
        .f_to_device(placement.device)?
        .f_to_kind(placement.dtype.kind())?
        .f_permute([0, 2, 1, 3, 4])?
        .f_mul_scalar(1.0 / components.folder.vae.scaling_factor)?;
    let [videos, colours, frames, height, width] = vae.output_shape(&scaled.size())?;
    let size = [videos, frames, height, width, colours];
    let video = Tensor::f_empty(size, (Kind::Float, Device::Cpu))?;
    // Group by group, so that beside the video only one group of frames is held.
    vae.decode_chunks(&scaled, options, control, &mut |chunk| {
        // [-1, 1] to [0, 1] before leaving the device, so that half as many bytes travel there.
        let group = chunk
            .frames
            .f_permute([0, 2, 3, 4, 1])?
            .f_mul_scalar(0.5)?
            .f_add_scalar_(0.5)?
            .f_clamp_(0.0, 1.0)?
            .f_to_device(Device::Cpu)?;
        let count = group.size().get(1).copied().unwrap_or(0);
        let place = video.f_narrow(0, chunk.video, 1)?;
        Ok(place.f_narrow(1, chunk.first_frame, count)?.f_copy_(&group)?)
    })?;
    Ok(video)
}
