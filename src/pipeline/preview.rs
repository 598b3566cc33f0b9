//! Latents as pictures without the VAE: a linear map from the channels of a latent pixel to R, G, B.
//! What that map is follows from the VAE itself: once for the weights, a few small random latents
//! are decoded, and the map is fitted to what they become by least squares. The idea is that of the
//! tables that programs carry for known VAEs; fitting needs no table, and works for any folder.

use super::components::Components;
use crate::checkpoint::folder::Component;
use crate::models::vae::DecodeOptions;
use crate::runtime::rng::Generator;
use crate::runtime::Control;
use crate::video::frames::reserve;
use crate::{Error, Result};
use tch::{Device, Kind, Tensor};

/// Latents that the map is fitted to: so many pictures of so many fields in height and width, each
/// of so many latent pixels. A field has one colour: the VAE looks at neighbours too, and what is
/// fitted is what a latent means where they agree with it.
const PICTURES: i64 = 12;
const FIELDS: i64 = 3;
const FIELD: i64 = 4;
/// Keeps the fit from following channels that change nothing.
const RIDGE: f64 = 1e-3;

/// The map: a matrix `(channels, 3)` and what is added, in float32 on the pipeline's device; R, G, B
/// from 0 to 1.
pub(super) struct Projection {
    matrix: Tensor,
    offset: Tensor,
}

/// `latents` `(videos, frames, channels, height, width)` without the first `padding` frames as bytes
/// `(videos, frames, height, width, 3)`. The first call for the weights fits the map.
pub(super) fn rgb8(
    components: &Components,
    latents: &Tensor,
    padding: i64,
    control: &Control,
) -> Result<([i64; 5], Vec<u8>)> {
    let [videos, frames, _, height, width] = <[i64; 5]>::try_from(latents.size())
        .map_err(|found| Error::Internal(format!("latents of shape {found:?}")))?;
    let kept = latents.f_narrow(1, padding, frames - padding)?;
    if let Some(decoder) = &components.preview_decoder {
        let frames = decoder.decode(&kept)?.f_permute([0, 1, 3, 4, 2])?;
        return bytes_of(frames.f_contiguous()?);
    }
    let colours = {
        let mut kept = components.projection.lock();
        if kept.is_none() {
            *kept = Some(fit(components, control)?);
        }
        let projection = kept.as_ref().ok_or_else(|| Error::Internal("no projection".into()))?;
        latents
            .f_narrow(1, padding, frames - padding)?
            .f_to_kind(Kind::Float)?
            .f_permute([0, 1, 3, 4, 2])?
            .f_matmul(&projection.matrix)?
            .f_add_(&projection.offset)?
    };
    let shape = [videos, frames - padding, height, width, 3];
    bytes_of(colours.f_view(shape)?)
}

/// Numbers from 0 to 1 `(videos, frames, height, width, 3)` as bytes on the host.
fn bytes_of(mut colours: Tensor) -> Result<([i64; 5], Vec<u8>)> {
    let shape = <[i64; 5]>::try_from(colours.size())
        .map_err(|found| Error::Internal(format!("a preview of shape {found:?}")))?;
    let bytes = colours
        .f_clamp_(0.0, 1.0)?
        .f_mul_scalar_(255.0)?
        .f_round_()?
        .f_to_kind(Kind::Uint8)?
        .f_to_device(Device::Cpu)?
        .f_contiguous()?;
    let mut pixels = Vec::new();
    reserve(&mut pixels, bytes.numel())?;
    pixels.resize(bytes.numel(), 0u8);
    bytes.f_copy_data(&mut pixels, bytes.numel())?;
    Ok((shape, pixels))
}

fn fit(components: &Components, control: &Control) -> Result<Projection> {
    // The run's progress is not that of this decoding; its cancelling is.
    let quiet = Control { progress: None, ..control.clone() };
    let vae = components.vae(&quiet)?;
    let config = &components.folder.vae;
    let (placement, channels) = (components.placements.vae, config.latent_channels);
    // One latent frame is one frame.
    let size = [PICTURES, channels, 1, FIELDS, FIELDS];
    let fields = Generator::new(0)?.randn(&size, Kind::Float, Device::Cpu)?;
    let latents = fields
        .f_repeat_interleave_self_int(FIELD, 3, None)?
        .f_repeat_interleave_self_int(FIELD, 4, None)?;
    let scaled = latents
        .f_mul_scalar(1.0 / config.scaling_factor)?
        .f_to_device(placement.device)?
        .f_to_kind(placement.dtype.kind())?;
    let decoded = vae.decoder.decode(&scaled, &DecodeOptions::default(), &quiet)?;
    drop(vae);
    components.done_with(Component::Vae);
    let ratio = 1i64 << config.block_out_channels.len().saturating_sub(1);
    let side = FIELDS * FIELD;
    // The mean colour of each latent pixel, then that of the middle of each field.
    let colours = decoded
        .f_to_device(Device::Cpu)?
        .f_to_kind(Kind::Float)?
        .f_select(2, 0)?
        .f_mul_scalar(0.5)?
        .f_add_scalar(0.5)?
        .f_clamp(0.0, 1.0)?
        .f_contiguous()?
        .f_view([PICTURES, 3, side, ratio, side, ratio])?
        .f_mean_dim([3i64, 5].as_slice(), false, Kind::Float)?
        .f_view([PICTURES, 3, FIELDS, FIELD, FIELDS, FIELD])?
        .f_narrow(3, 1, FIELD - 2)?
        .f_narrow(5, 1, FIELD - 2)?
        .f_mean_dim([3i64, 5].as_slice(), false, Kind::Float)?;
    let rows = |tensor: &Tensor, width: i64| -> Result<Vec<f64>> {
        let rows = tensor.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_view([-1])?;
        let rows = Vec::<f32>::try_from(rows)?;
        debug_assert_eq!(rows.len() as i64 % width, 0);
        Ok(rows.into_iter().map(f64::from).collect())
    };
    let inputs = rows(&fields.f_select(2, 0)?, channels)?;
    let outputs = rows(&colours, 3)?;
    let solution = least_squares(&inputs, &outputs, channels as usize)?;
    let (matrix, offset) = solution
        .split_at_checked(3 * channels as usize)
        .ok_or_else(|| Error::Internal("preview: a short solution".into()))?;
    // Latents are the transformer's.
    let home = components.placements.transformer.device;
    let upload = |numbers: &[f64], shape: &[i64]| -> Result<Tensor> {
        let numbers: Vec<f32> = numbers.iter().map(|&number| number as f32).collect();
        Ok(Tensor::f_from_slice(&numbers)?.f_view(shape)?.f_to_device(home)?)
    };
    Ok(Projection { matrix: upload(matrix, &[channels, 3])?, offset: upload(offset, &[3])? })
}

/// The matrix `(n + 1, 3)`, row by row, that takes each row of `inputs` (n numbers, and a 1 after
/// them) nearest to that of `outputs` (3 numbers): the normal equations by Gaussian elimination.
fn least_squares(inputs: &[f64], outputs: &[f64], n: usize) -> Result<Vec<f64>> {
    let (size, width) = (n + 1, n + 1 + 3);
    // [XᵀX + ridge | XᵀY]
    let mut system = vec![vec![0.0f64; width]; size];
    let mut count = 0.0;
    for (input, output) in inputs.chunks_exact(n).zip(outputs.chunks_exact(3)) {
        let row: Vec<f64> =
            input.iter().copied().chain([1.0]).chain(output.iter().copied()).collect();
        for (line, &factor) in system.iter_mut().zip(&row) {
            line.iter_mut().zip(&row).for_each(|(place, value)| *place += factor * value);
        }
        count += 1.0;
    }
    // Not on the offset.
    for (at, line) in system.iter_mut().enumerate().take(n) {
        if let Some(place) = line.get_mut(at) {
            *place += RIDGE * count;
        }
    }
    for at in 0..size {
        let largest = (at..size)
            .max_by(|&a, &b| {
                let value = |row: usize| {
                    system.get(row).and_then(|line| line.get(at)).map_or(0.0, |value| value.abs())
                };
                value(a).total_cmp(&value(b))
            })
            .unwrap_or(at);
        system.swap(at, largest);
        let pivot_line = system.get(at).cloned().unwrap_or_default();
        let pivot = pivot_line.get(at).copied().unwrap_or(0.0);
        if pivot == 0.0 || !pivot.is_finite() {
            return Err(Error::Internal("preview: the VAE's colours cannot be fitted".into()));
        }
        for (row, line) in system.iter_mut().enumerate() {
            let scale = line.get(at).copied().unwrap_or(0.0) / pivot;
            if row == at || scale == 0.0 {
                continue;
            }
            line.iter_mut().zip(&pivot_line).for_each(|(place, value)| *place -= scale * value);
        }
    }
    let mut solution = Vec::with_capacity(3 * size);
    for (at, line) in system.iter().enumerate() {
        let pivot = line.get(at).copied().unwrap_or(1.0);
        solution.extend(line.iter().skip(size).map(|value| value / pivot));
    }
    Ok(solution)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_map_is_found_again() {
        let weights = [[0.5, -0.2, 0.1], [0.0, 0.3, -0.4]];
        let offset = [0.4, 0.5, 0.6];
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for i in 0..40 {
            let input = [(f64::from(i) * 0.7).sin(), (f64::from(i) * 1.3).cos()];
            inputs.extend(input);
            for colour in 0..3 {
                let sum = input[0] * weights[0][colour] + input[1] * weights[1][colour];
                outputs.push(offset[colour] + sum);
            }
        }
        let found = least_squares(&inputs, &outputs, 2).unwrap();
        let expected = [weights.concat(), offset.to_vec()].concat();
        for (found, expected) in found.iter().zip(&expected) {
            // The ridge draws a little towards 0.
            assert!((found - expected).abs() < 5e-3, "{found} {expected}");
        }
        assert_eq!(found.len(), 9);
        let zeros = [0.0; 6];
        assert!(least_squares(&zeros[..0], &zeros[..0], 2).is_err());
    }
}
