//! What an inpainting model is given beside the noise: a mask, and the latents of what the mask leaves.
//!
//! diffusers has no pipeline for it. This is the computation of the authors' own, CogVideoX-Fun
//! (github.com/aigc-apps/VideoX-Fun, commit 804a425, videox_fun/pipeline/
//! pipeline_cogvideox_fun_inpaint.py:960, and videox_fun/utils/utils.py:277 for first and last frames).

use super::components::Components;
use super::request::Request;
use super::source::Parts;
use super::video;
use crate::image::{Image, Mask};
use crate::runtime::rng::Generator;
use crate::runtime::{Control, Placement};
use crate::Result;
use tch::{Device, Kind, Tensor};

/// How much noise is added to what is left where the model was trained so (`noise_aug_strength`).
const NOISE: f64 = 0.0563;
/// What pixels that are made anew are given as.
const MADE: f64 = -1.0;

/// `(videos, frames, 1 + channels, height, width)`: the mask, 1 where something is kept, and the latents.
/// Where everything is made anew, zeros.
pub(super) fn latents(
    components: &Components,
    request: &Request,
    parts: Parts,
    generator: &mut Generator,
    control: &Control,
) -> Result<Tensor> {
    let Placement { device, dtype } = components.placements.transformer;
    let options = request.options;
    let [videos, frames, channels, height, width] = request.size.latent_dims(options.videos());
    let whole = match parts {
        Parts::Nothing => true,
        Parts::Ends(..) => false,
        Parts::Masked(_, mask) => mask.is_whole(),
    };
    let dims = [videos, frames, 1 + channels, height, width];
    if whole {
        return Ok(Tensor::f_zeros(dims, (dtype.kind(), device))?);
    }
    let (pixels, made) = pixels(components, request, parts)?;
    let pixels = match components.folder.transformer.add_noise_in_inpaint_model {
        true => noisy(&pixels, generator)?,
        false => pixels,
    };
    let mean = video::posterior_of(components, request, &pixels, control)?.mean;
    let kept = kept(&made, [frames, height, width])?;
    let scale = components.folder.vae.scaling_factor;
    let latents = [kept.f_to_device(mean.device())?.f_to_kind(mean.f_kind()?)?, mean];
    let latents = Tensor::f_cat(&latents, 1)?
        .f_mul_scalar(scale)?
        .f_permute([0, 2, 1, 3, 4])?
        .f_to_device(device)?
        .f_to_kind(dtype.kind())?;
    Ok(latents.f_expand(dims, false)?)
}

/// The frames `(1, 3, frames, height, width)` in [-1, 1], -1 where they are made anew, and
/// `(1, 1, frames, height, width)`, which is 1 there and else 0; both float32 on the CPU.
fn pixels(components: &Components, request: &Request, parts: Parts) -> Result<(Tensor, Tensor)> {
    let [height, width] = request.size.pixels(&components.folder);
    match parts {
        Parts::Masked(video, mask) => {
            let pixels = video::frames(video.frames(), height, width)?;
            let made = resized(mask, height, width)?;
            let made = made.f_expand([1, 1, video.count(), height, width], false)?;
            let pixels = pixels.f_where_self(
                &made.f_eq(0.0)?,
                &Tensor::f_full(Vec::<i64>::new(), MADE, (Kind::Float, Device::Cpu))?,
            )?;
            Ok((pixels, made.f_contiguous()?))
        }
        Parts::Nothing | Parts::Ends(..) => {
            let count = request.frames;
            let options = (Kind::Float, Device::Cpu);
            let pixels = Tensor::f_full([1, 3, count, height, width], MADE, options)?;
            let made = Tensor::f_ones([1, 1, count, height, width], options)?;
            let put = |image: Option<&Image>, at: i64| -> Result<()> {
                let Some(image) = image else { return Ok(()) };
                let frame = video::frames(std::slice::from_ref(image), height, width)?;
                pixels.f_narrow(2, at, 1)?.f_copy_(&frame)?;
                let _ = made.f_narrow(2, at, 1)?.f_zero_()?;
                Ok(())
            };
            if let Parts::Ends(first, last) = parts {
                put(first, 0)?;
                put(last, count - 1)?;
            }
            Ok((pixels, made))
        }
    }
}

/// The mask at the size of the run, by its nearest pixels: `(1, 1, frames, height, width)`, 1 where
/// something is made anew.
fn resized(mask: &Mask, height: i64, width: i64) -> Result<Tensor> {
    let sides = [mask.count(), 1, mask.height() as i64, mask.width() as i64];
    let made = Tensor::f_from_slice(mask.made())?.f_view(sides)?.f_to_kind(Kind::Float)?;
    let made = made.f_upsample_nearest2d([height, width], None, None)?;
    Ok(made.f_permute([1, 0, 2, 3])?.f_unsqueeze(0)?)
}

/// Noise on what is left, not on what is made anew.
fn noisy(pixels: &Tensor, generator: &mut Generator) -> Result<Tensor> {
    let noise = generator.randn_of(0, &pixels.size(), Kind::Float, Device::Cpu)?;
    let noise = noise.f_mul_scalar(NOISE)?.f_masked_fill(&pixels.f_eq(MADE)?, 0.0)?;
    Ok(pixels.f_add(&noise)?)
}

/// 1 where something is kept, at the size of the latents: the first frame for itself, since the VAE
/// makes a latent frame of it alone, and the others together (`resize_mask`, there line 222).
fn kept(made: &Tensor, [frames, height, width]: [i64; 3]) -> Result<Tensor> {
    let kept = made.f_neg()?.f_add_scalar(1.0)?;
    let resized = |part: Tensor, frames: i64| {
        part.f_upsample_trilinear3d([frames, height, width], false, None, None, None)
    };
    let count = crate::runtime::dim(&kept, 2)?;
    let first = resized(kept.f_narrow(2, 0, 1)?, 1)?;
    if frames == 1 {
        return Ok(first);
    }
    let others = resized(kept.f_narrow(2, 1, count - 1)?, frames - 1)?;
    Ok(Tensor::f_cat(&[first, others], 2)?)
}
