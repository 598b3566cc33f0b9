//! Frames as hosts take them, made where the frames lie: on a device by its own kernels.
//!
//! The bytes are those that [`super::pixels::Converter`] makes of the same numbers.

use super::pixels::Pixels;
use crate::Result;
use tch::{Kind, Tensor};

/// What a pixel's numbers are for libtorch.
pub fn kind(pixels: Pixels) -> Kind {
    match pixels {
        Pixels::Rgb8 | Pixels::Rgba8 | Pixels::Bgra8 => Kind::Uint8,
        Pixels::Rgba16F => Kind::Half,
        Pixels::F32 => Kind::Float,
    }
}

/// Writes frames `(frames, height, width, 3)`, float32 in `[0, 1]`, to `place`, which has as many
/// frames of as many pixels on the same device, [`Pixels::channels`] numbers each, in whatever
/// strides.
pub fn write(frames: &Tensor, pixels: Pixels, place: &Tensor) -> Result<()> {
    let mut colours = match pixels {
        Pixels::F32 | Pixels::Rgb8 => place.shallow_clone(),
        _ => place.f_narrow(3, 0, 3)?,
    };
    match pixels {
        Pixels::F32 | Pixels::Rgba16F => colours.f_copy_(frames)?,
        Pixels::Rgb8 | Pixels::Rgba8 => colours.f_copy_(&bytes(frames)?)?,
        Pixels::Bgra8 => colours.f_copy_(&bytes(frames)?.f_flip([3])?)?,
    };
    match pixels {
        Pixels::Rgba8 | Pixels::Bgra8 => drop(place.f_narrow(3, 3, 1)?.f_fill_(255)?),
        Pixels::Rgba16F => drop(place.f_narrow(3, 3, 1)?.f_fill_(1.0)?),
        Pixels::Rgb8 | Pixels::F32 => {}
    }
    Ok(())
}

/// As [`super::frames::rgb8`]: to nearest, ties to even, and 0 for NaN.
fn bytes(frames: &Tensor) -> Result<Tensor> {
    let rounded = frames.f_mul_scalar(255.0)?.f_round_()?.f_nan_to_num_(0.0, 255.0, 0.0)?;
    Ok(rounded.f_to_kind(Kind::Uint8)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::video::pixels::{Converter, Samples};
    use tch::Device;

    #[test]
    fn the_bytes_are_those_that_are_made_on_the_host() {
        // Ties of bytes among them, and what is no number.
        let mut floats: Vec<f32> = (0..1530).map(|i| i as f32 / 1529.0).collect();
        floats.extend([0.5 / 255.0, 1.5 / 255.0, f32::NAN]);
        let pixels = floats.len() as i64 / 3;
        let frames = Tensor::from_slice(&floats).view([1, 1, pixels, 3]);
        for format in [Pixels::Rgb8, Pixels::Rgba8, Pixels::Bgra8, Pixels::Rgba16F, Pixels::F32] {
            let channels = format.channels() as i64;
            let place = Tensor::zeros([1, 1, pixels, channels], (kind(format), Device::Cpu));
            write(&frames, format, &place).unwrap();
            let bytes = place.numel() * format.sample();
            // SAFETY: the tensor is dense and alive, and any bytes are bytes.
            let found = unsafe { std::slice::from_raw_parts(place.data_ptr().cast::<u8>(), bytes) };
            let mut converter = Converter::default();
            let expected = match converter.convert(&floats, format).unwrap() {
                Samples::Bytes(bytes) => bytes.to_vec(),
                Samples::Halfs(halfs) => halfs.iter().flat_map(|n| n.to_le_bytes()).collect(),
                Samples::Floats(floats) => floats.iter().flat_map(|n| n.to_le_bytes()).collect(),
            };
            let same = found.iter().zip(&expected).take_while(|(a, b)| a == b).count();
            // NaN has many patterns, and half precision has its own.
            let compared = if format.sample() == 1 { bytes } else { bytes - 4 * format.sample() };
            assert!(same >= compared, "{format:?} differs at {same} of {bytes}");
        }
    }
}
