//! From latents to frames (`decode_latents`, pipeline_cogvideox.py:363, and
//! `VideoProcessor.postprocess_video`).

use super::components::Components;
use super::device_frames::DeviceDelivery;
use super::frames::{Delivery, Extent};
use super::{memory, GenerateOptions};
use crate::checkpoint::folder::Component;
use crate::models::vae::{DecodeOptions, FrameChunk, Tiling, VaeDecoder};
use crate::parallel::Team;
use crate::runtime::device::{self, Ready};
use crate::runtime::process::WorkKind;
use crate::runtime::{dim, pieces, Control, LogLevel};
use crate::video::Video;
use crate::{Error, Result};
use tch::{Device, Kind, Tensor};

/// Latents `(videos, frames, channels, height, width)` to frames
/// `(videos, frames, height, width, 3)`, float32 in `[0, 1]`, in host memory unless the options
/// leave them on the device. The video has no latents.
pub(super) fn decode(
    components: &Components,
    latents: &Tensor,
    options: &GenerateOptions,
    team: &Team,
    control: &Control,
) -> Result<Video> {
    let _no_grad = tch::no_grad_guard();
    let vae = components.vae(control)?;
    static DECODING: WorkKind = WorkKind::new();
    DECODING.begins();
    let run = Run { components, decoder: &vae.decoder, latents, options, team, control };
    let result = run.decode();
    drop(vae);
    components.done_with(Component::Vae);
    result
}

/// The smallest tiles that memory is saved with, in pixels.
const SMALLEST_TILE: i64 = 64;

struct Run<'a> {
    components: &'a Components,
    decoder: &'a VaeDecoder,
    latents: &'a Tensor,
    options: &'a GenerateOptions,
    team: &'a Team,
    control: &'a Control,
}

impl Run<'_> {
    /// In the tiles that the options ask for; or, where memory is to be saved, in those that fit,
    /// and in tiles after all if it was too little.
    fn decode(&self) -> Result<Video> {
        let mut how = self.options.decode;
        // The ranks of a team cut alike, as the options say.
        let own = self.team.is_alone() && how.tiling.is_none();
        let saves = own && self.components.saves_memory();
        if saves {
            how.tiling = self.tiles_that_fit()?;
        }
        let mut delivered = false;
        match self.decode_with(&how, &mut delivered) {
            Err(Error::OutOfMemory(message)) if saves && how.tiling.is_none() && !delivered => {
                self.control.log(
                    LogLevel::Warning,
                    format!("decoding again in tiles, since it did not fit as a whole: {message}"),
                );
                // What the first attempt leaves with the allocator may lie in the way.
                crate::runtime::device::empty_cache(self.components.placements.vae.device)?;
                how.tiling = Some(Tiling::default());
                self.decode_with(&how, &mut delivered)
            }
            result => result,
        }
    }

    /// None if the frames can be decoded whole in the memory that there is; else tiles of the default
    /// size, or the largest below that fit.
    fn tiles_that_fit(&self) -> Result<Option<Tiling>> {
        let Some(free) = self.components.free_memory(Component::Vae)? else { return Ok(None) };
        let size = self.latents.size();
        let &[_, frames, _, height, width] = size.as_slice() else { return Ok(None) };
        let folder = &self.components.folder;
        let fits = |tiling: Option<Tiling>| {
            let options = DecodeOptions { tiling, ..self.options.decode };
            let sides = [frames, height, width];
            memory::decoder_bytes(folder, self.components.placements.vae, &options, sides) <= free
        };
        if fits(None) {
            return Ok(None);
        }
        let mut tiling = Tiling::default();
        let mut side = folder.vae.sample_height.min(folder.vae.sample_width) / 4;
        while !fits(Some(tiling)) && side >= SMALLEST_TILE {
            tiling.tile_sample_min_height = Some(side);
            tiling.tile_sample_min_width = Some(side);
            side /= 2;
        }
        let tile = tiling
            .tile_sample_min_height
            .map_or("of half the model's size".into(), |side| format!("of {side} pixels"));
        self.control.log(
            LogLevel::Info,
            format!("decoding in tiles {tile}: {free} bytes of memory are free for it"),
        );
        Ok(Some(tiling))
    }

    fn decode_with(&self, how: &DecodeOptions, delivered: &mut bool) -> Result<Video> {
        let Run { components, decoder, latents, options, team, control } = *self;
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
        options.frames.check(extent, placement.device)?;
        let mut delivery = Delivery::new(&options.frames, extent)?;
        let on_device = DeviceDelivery::new(&options.frames.device, extent, placement.device)?;
        let home = if options.frames.on_device { placement.device } else { Device::Cpu };
        let size = [videos, frames, height, width, colours];
        let video = Tensor::f_empty(size, (Kind::Float, home))?;
        // Group by group, so that beside the video only one group of frames is held.
        decoder.decode_chunks_with(team, &scaled, how, control, &mut |chunk| {
            // [-1, 1] to [0, 1] in float32: half precision has fewer steps near 1 than near 0.
            let group = chunk.frames.f_permute([0, 2, 3, 4, 1])?;
            let count = dim(&group, 1)?;
            let place = video.f_narrow(0, chunk.video, 1)?.f_narrow(1, chunk.first_frame, count)?;
            let handed_out = match &on_device {
                Some(delivery) => Some(delivery.begin(chunk.video, chunk.first_frame, count)?),
                None => None,
            };
            let cost = height * width * colours * 5 * pieces::ELEMENT;
            pieces::each(placement.device, count, cost, control, |start, count| {
                let part = group
                    .f_narrow(1, start, count)?
                    .f_to_kind(Kind::Float)?
                    .f_mul_scalar(0.5)?
                    .f_add_scalar_(0.5)?
                    .f_clamp_(0.0, 1.0)?;
                if let Some(group) = &handed_out {
                    group.write(start, &part)?;
                }
                let part = part.f_to_device(home)?;
                Ok(place.f_narrow(1, start, count)?.f_copy_(&part)?)
            })?;
            *delivered = true;
            if let (Some(delivery), Some(group)) = (&on_device, handed_out) {
                delivery.deliver(group)?;
            }
            delivery.deliver(chunk.video, chunk.first_frame, &place)
        })?;
        let host = &options.frames.device;
        host.let_host_wait(placement.device)?;
        let (stream, ready) = if options.frames.on_device && host.host_can_wait() {
            // The host's next work is behind it all, so nobody waits.
            (device::stream_of(placement.device)?, Ready::mark(placement.device)?)
        } else {
            // Nothing of it is under way any more when the host gets it.
            (device::finish_stream(&video)?, None)
        };
        let kernels = components.computes_with(placement.device)?.to_string();
        Ok(Video { latents: None, frames: Some(video), stream, ready, kernels })
    }
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
