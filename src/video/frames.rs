//! From float frames to bytes, as `VaeImageProcessor.numpy_to_pil` does it
//! (diffusers 0.42.1, image_processor.py:129).

use crate::runtime::dim;
use crate::{Error, Result};
use tch::{Device, Kind, Tensor};

/// Videos, frames, height and width of frames `(videos, frames, height, width, 3)`.
pub fn size(frames: &Tensor) -> Result<(i64, i64, i64, i64)> {
    match frames.size()[..] {
        [videos, count, height, width, 3] => Ok((videos, count, height, width)),
        ref found => Err(Error::Internal(format!(
            "frames must be (videos, frames, height, width, 3), found {found:?}"
        ))),
    }
}

/// One video's frames `(frames, height, width, 3)` in `[0, 1]` as bytes: scaled by 255 in
/// float32 and rounded to nearest, ties to even, as numpy's `round` does. NaN becomes 0.
pub fn rgb8(frames: &Tensor) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reserve(&mut bytes, frames.numel())?;
    let count = dim(frames, 0)?;
    let mut floats = Vec::new();
    for index in 0..count {
        let frame = frames
            .f_get(index)?
            .f_to_device(Device::Cpu)?
            .f_to_kind(Kind::Float)?
            .f_contiguous()?;
        floats.resize(frame.numel(), 0f32);
        frame.f_copy_data(&mut floats, frame.numel())?;
        bytes.extend(floats.iter().copied().map(byte));
    }
    Ok(bytes)
}

/// The byte of a number: see [`rgb8`].
pub(super) fn byte(value: f32) -> u8 {
    (value * 255.0).round_ties_even() as u8
}

/// RGB to RGBA, opaque.
pub fn rgba8(rgb: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reserve(&mut bytes, (rgb.len() / 3).saturating_mul(4))?;
    for pixel in rgb.chunks_exact(3) {
        bytes.extend_from_slice(pixel);
        bytes.push(255);
    }
    Ok(bytes)
}

/// Room for `count` more elements; too many of them is an error, not an abort.
pub fn reserve<T>(memory: &mut Vec<T>, count: usize) -> Result<()> {
    memory.try_reserve_exact(count).map_err(|_| {
        let bytes = count.saturating_mul(size_of::<T>());
        Error::OutOfMemory(format!("no {bytes} bytes of memory for frames"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_become_the_bytes_that_numpy_makes_of_them() {
        // (x * 255).round().astype("uint8") of numpy 2.4: 0.5 / 255 rounds to even, 0.
        let half = 0.5 / 255.0;
        let floats = [0.0f32, 1.0, 0.5, half, 3.0 * half, 0.999];
        let frames = Tensor::from_slice(&floats).view([1, 1, 2, 3]);
        assert_eq!(rgb8(&frames).unwrap(), [0, 255, 128, 0, 2, 255]);
    }

    #[test]
    fn rgba_is_rgb_with_255() {
        assert_eq!(rgba8(&[1, 2, 3, 4, 5, 6]).unwrap(), [1, 2, 3, 255, 4, 5, 6, 255]);
    }
}
