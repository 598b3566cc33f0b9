//! From float frames to bytes, as `VaeImageProcessor.numpy_to_pil` does it
//! (diffusers 0.42.1, image_processor.py:129).

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
    let frames = frames.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()?;
    let count = frames.numel();
    let mut bytes = reserve(count)?;
    // SAFETY: a contiguous float32 tensor on the host, which lives until the end of the loop.
    let floats = unsafe { std::slice::from_raw_parts(frames.data_ptr().cast::<f32>(), count) };
    bytes.extend(floats.iter().map(|&value| (value * 255.0).round_ties_even() as u8));
    Ok(bytes)
}

/// RGB to RGBA, opaque.
pub fn rgba8(rgb: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = reserve((rgb.len() / 3).saturating_mul(4))?;
    for pixel in rgb.chunks_exact(3) {
        bytes.extend_from_slice(pixel);
        bytes.push(255);
    }
    Ok(bytes)
}

/// An empty vector with room for `bytes`; too many of them is an error, not an abort.
pub fn reserve(bytes: usize) -> Result<Vec<u8>> {
    let mut room = Vec::new();
    room.try_reserve_exact(bytes)
        .map_err(|_| Error::OutOfMemory(format!("no {bytes} bytes of memory for frames")))?;
    Ok(room)
}
