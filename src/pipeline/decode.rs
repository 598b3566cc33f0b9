//! From latents to frames (`decode_latents`, pipeline_cogvideox.py:363, and
//! `VideoProcessor.postprocess_video`).

use super::components::Components;
use super::frames::{Delivery, Extent};
use super::GenerateOptions;
use crate::models::vae::FrameChunk;
use crate::parallel::Team;
use crate::runtime::device::{self, StreamHandle};
use crate::runtime::process::WorkKind;
use crate::runtime::{dim, pieces, Control};
use crate::{Error, Result};
use tch::{Device, Kind, Tensor};

/// Latents `(videos, frames, channels, height, width)` to frames
/// `(videos, frames, height, width, 3)`, float32 in `[0, 1]`, in host memory unless the options
/// leave them on the device; and the stream that they were made on.
pub(super) fn decode(
    components: &Components,
    latents: &Tensor,
    options: &GenerateOptions,
    team: &Team,
    control: &Control,
) -> Result<(Tensor, StreamHandle)> {
    let _no_grad = tch::no_grad_guard();
    let vae = components.vae(control)?;
    let decoder = &vae.decoder;
    static DECODING: WorkKind = WorkKind::new();
    DECODING.begins();
    let found = latents.size();
    let channels = components.folder.vae.latent_channels;
    if found.len() != 5 || found.get(2) != Some(&channels) || found.contains(&0) {
        return Err(Error::InvalidArgument(format!(
            "latents must be (videos, frames, {channels} channels, height, width), found {found:?}"
        )));
    }
    let placement = components.placements.vae;
    let scaled = scaled(components, latents)?;
    let [videos, colours, frames, height, width] = decoder.output_shape(&scaled.size())?;
    let extent = Extent::new([videos, frames, height, width])?;
    let mut delivery = Delivery::new(&options.frames, extent)?;
    let home = if options.frames.on_device { placement.device } else { Device::Cpu };
    let size = [videos, frames, height, width, colours];
    let video = Tensor::f_empty(size, (Kind::Float, home))?;
    // Group by group, so that beside the video only one group of frames is held.
    decoder.decode_chunks_with(team, &scaled, &options.decode, control, &mut |chunk| {
        // [-1, 1] to [0, 1] in float32: half precision has fewer steps near 1 than near 0.
        let group = chunk.frames.f_permute([0, 2, 3, 4, 1])?;
        let count = dim(&group, 1)?;
        let place = video.f_narrow(0, chunk.video, 1)?.f_narrow(1, chunk.first_frame, count)?;
        let cost = height * width * colours * 5 * pieces::ELEMENT;
        pieces::each(placement.device, count, cost, control, |start, count| {
            let part = group
                .f_narrow(1, start, count)?
                .f_to_kind(Kind::Float)?
                .f_mul_scalar(0.5)?
                .f_add_scalar_(0.5)?
                .f_clamp_(0.0, 1.0)?
                .f_to_device(home)?;
            Ok(place.f_narrow(1, start, count)?.f_copy_(&part)?)
        })?;
        delivery.deliver(chunk.video, chunk.first_frame, &place)
    })?;
    // Nothing of it is under way any more when the host gets it.
    let stream = device::finish_stream(&video)?;
    Ok((video, stream))
}

/// What a rank does of a decode whose frames another one puts together: some of its tiles.
pub(super) fn help(
    components: &Components,
    latents: &Tensor,
    options: &GenerateOptions,
    team: &Team,
    control: &Control,
) -> Result<()> {
    if options.decode.tiling.is_none() {
        return Ok(());
    }
    let _no_grad = tch::no_grad_guard();
    let vae = components.vae(control)?;
    let scaled = scaled(components, latents)?;
    let mut none = |_: &FrameChunk| Err(Error::Internal("VAE: frames on a rank that helps".into()));
    vae.decoder.decode_chunks_with(team, &scaled, &options.decode, control, &mut none)
}

/// As the decoder takes them.
fn scaled(components: &Components, latents: &Tensor) -> Result<Tensor> {
    let placement = components.placements.vae;
    Ok(latents
        .f_to_device(placement.device)?
        .f_to_kind(placement.dtype.kind())?
        .f_permute([0, 2, 1, 3, 4])?
        .f_mul_scalar(1.0 / components.folder.vae.scaling_factor)?)
}
