//! FasterCache's unconditional branch: kept as two frequency bands of what it differs by from
//! the conditional branch, and rebuilt from them (arXiv 2410.19355 section 3.3, equations 9-11;
//! diffusers 0.42.1 hooks/faster_cache.py:306-351 and 638-654).
//!
//! The reference works in the frequency domain on every step: it transforms the conditional
//! output, adds the kept spectra of both bands, and transforms back. The Fourier transform is
//! linear, so the same result comes from keeping the bands of
//! `delta = unconditional - conditional` as they look in space:
//!
//! ```text
//! unconditional = conditional + low(delta) * product of low weights
//!                             + high(delta) * product of high weights
//! low(x)        = inverse FFT of (FFT of x inside the disc),   high(x) = x - low(x)
//! ```
//!
//! Transforms are needed at full steps only, and a skipped step costs two multiplications and
//! two additions per value. The disc is the reference's: radius `min(height, width) / 5`
//! (integer division) around the zero frequency. The reference shifts the zero frequency to
//! `(height / 2, width / 2)` and measures from there, which is the same distance for even and
//! odd sizes. It shifts the frame dimension as well and shifts it back later: that cancels out.
//! The disc is symmetric, so a band of a real signal is real, and half of the spectrum (a real
//! transform) is enough.
//!
//! The bands are taken over the last two dimensions of `(batch, frames, channels, height,
//! width)`; whether frames or channels come first (`tensor_format`) changes nothing.

use crate::cache::store::{CachedTensor, MemoryCounter};
use crate::runtime::device::upload;
use crate::runtime::dim;
use crate::Result;
use tch::{Device, Kind, Tensor};

/// 1 inside the disc and 0 outside, for the outputs of one size: made once, and used by every full
/// step of a run.
#[derive(Debug)]
pub(super) struct Disc {
    mask: Tensor,
    height: i64,
    width: i64,
}

impl Disc {
    /// For outputs of the size, and on the device, of `output` `(…, height, width)`.
    pub fn of(output: &Tensor) -> Result<Disc> {
        let (height, width) = (dim(output, -2)?, dim(output, -1)?);
        Ok(Disc { mask: mask(height, width, output.device())?, height, width })
    }

    /// The frequencies of `delta` inside it, as they look in space.
    fn low_band(&self, delta: &Tensor) -> Result<Tensor> {
        let size = [self.height, self.width];
        let spectrum = delta.f_fft_rfft2(None::<&[i64]>, [-2, -1], "backward")?;
        Ok(spectrum.f_mul(&self.mask)?.f_fft_irfft2(size.as_slice(), [-2, -1], "backward")?)
    }
}

/// `unconditional - conditional` of the last full step, in float32, split into two bands that
/// carry the gains of the steps since.
#[derive(Debug)]
pub(super) struct FrequencyDelta {
    low: CachedTensor,
    high: CachedTensor,
}

impl FrequencyDelta {
    /// Splits the difference of two outputs `(batch, frames, channels, height, width)`.
    pub fn split(
        unconditional: &Tensor,
        conditional: &Tensor,
        disc: &Disc,
        memory: &MemoryCounter,
    ) -> Result<FrequencyDelta> {
        let delta = unconditional
            .f_to_kind(Kind::Float)?
            .f_sub(&conditional.f_to_kind(Kind::Float)?)?
            .f_contiguous()?;
        let low = disc.low_band(&delta)?;
        let high = delta.f_sub(&low)?;
        Ok(FrequencyDelta {
            low: CachedTensor::share(&low, Kind::Float, memory)?,
            high: CachedTensor::share(&high, Kind::Float, memory)?,
        })
    }

    /// The unconditional output beside this conditional one, in its dtype. The weights stay
    /// with the bands, so that the gains of successive steps multiply (the reference does so).
    pub fn rebuild(
        &mut self,
        conditional: &Tensor,
        low_weight: f64,
        high_weight: f64,
    ) -> Result<Tensor> {
        for (band, weight) in [(&mut self.low, low_weight), (&mut self.high, high_weight)] {
            if weight != 1.0 {
                let _ = band.tensor_mut()?.f_mul_scalar_(weight)?;
            }
        }
        let mut sum = self.low.read()?.f_add(&self.high.read()?)?;
        let sum = sum.f_add_(&conditional.f_to_kind(Kind::Float)?)?;
        Ok(sum.f_to_kind(conditional.f_kind()?)?)
    }
}

/// `(height, width / 2 + 1)`: the layout of a real transform,
/// where row r holds the frequency r or r - height, whichever is nearer to zero.
fn mask(height: i64, width: i64, device: Device) -> Result<Tensor> {
    let radius = height.min(width) / 5;
    let columns = width / 2 + 1;
    let mut inside = Vec::new();
    for row in 0..height {
        let y = row.min(height - row);
        inside.extend((0..columns).map(|x| f32::from(y * y + x * x <= radius * radius)));
    }
    upload(&Tensor::f_from_slice(&inside)?.f_view([height, columns])?, device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::testing::{difference, noise};

    /// The reference's way: complex spectra, shifted over every dimension, masked around the
    /// centre, kept apart, added to the conditional spectra and transformed back.
    struct Reference {
        low: Tensor,
        high: Tensor,
    }

    fn reference_split(x: &Tensor) -> Result<(Tensor, Tensor)> {
        let flat = x.f_flatten(0, 1)?;
        let shifted = flat
            .f_fft_fft2(None::<&[i64]>, [-2, -1], "backward")?
            .f_fft_fftshift(None::<&[i64]>)?;
        let size = flat.size();
        let (height, width) = (size[2], size[3]);
        let radius = height.min(width) / 5;
        let mask: Vec<f32> = (0..height * width)
            .map(|i| {
                let (y, x) = (i / width - height / 2, i % width - width / 2);
                f32::from(x * x + y * y <= radius * radius)
            })
            .collect();
        let mask = Tensor::f_from_slice(&mask)?.f_view([1, 1, height, width])?;
        let rest = mask.f_ones_like()?.f_sub(&mask)?;
        Ok((shifted.f_mul(&mask)?, shifted.f_mul(&rest)?))
    }

    impl Reference {
        fn split(unconditional: &Tensor, conditional: &Tensor) -> Result<Reference> {
            let (low_u, high_u) = reference_split(unconditional)?;
            let (low_c, high_c) = reference_split(conditional)?;
            Ok(Reference { low: low_u.f_sub(&low_c)?, high: high_u.f_sub(&high_c)? })
        }

        fn rebuild(&mut self, conditional: &Tensor, low: f64, high: f64) -> Result<Tensor> {
            self.low = self.low.f_mul_scalar(low)?;
            self.high = self.high.f_mul_scalar(high)?;
            let (low_c, high_c) = reference_split(conditional)?;
            let sum = self.low.f_add(&low_c)?.f_add(&self.high.f_add(&high_c)?)?;
            Ok(sum
                .f_fft_ifftshift(None::<&[i64]>)?
                .f_fft_ifft2(None::<&[i64]>, [-2, -1], "backward")?
                .f_real()?
                .f_view(conditional.size().as_slice())?)
        }
    }

    #[test]
    fn rebuilding_in_space_equals_the_reference_in_frequency() -> Result<()> {
        for (height, width) in
            [(8, 8), (8, 12), (7, 9), (10, 15), (15, 10), (4, 4), (1, 6), (60, 90)]
        {
            let shape = [2, 3, 4, height, width];
            let u = noise(&shape, 1, Kind::Float)?;
            let c = noise(&shape, 2, Kind::Float)?;
            let memory = MemoryCounter::default();
            let mut ours = FrequencyDelta::split(&u, &c, &Disc::of(&u)?, &memory)?;
            let mut theirs = Reference::split(&u, &c)?;
            for (seed, (low, high)) in (3..).zip([(1.1, 1.0), (1.1, 1.1), (0.7, -2.0), (1.0, 1.0)])
            {
                let next = noise(&shape, seed, Kind::Float)?;
                let a = ours.rebuild(&next, low, high)?;
                let b = theirs.rebuild(&next, low, high)?;
                let error = difference(&a, &b)?;
                assert!(error < 1e-5, "{height}x{width} weights {low} {high}: {error}");
            }
            let values = (2 * 3 * 4 * height * width) as u64;
            assert_eq!(memory.now(), 2 * 4 * values);
        }
        Ok(())
    }

    #[test]
    fn without_gains_the_unconditional_half_comes_back_in_its_dtype() -> Result<()> {
        let shape = [1, 2, 3, 6, 10];
        let u = noise(&shape, 1, Kind::BFloat16)?;
        let c = noise(&shape, 2, Kind::BFloat16)?;
        let mut delta = FrequencyDelta::split(&u, &c, &Disc::of(&u)?, &MemoryCounter::default())?;
        let back = delta.rebuild(&c, 1.0, 1.0)?;
        assert_eq!(back.f_kind()?, Kind::BFloat16);
        let error = difference(&back, &u)?;
        assert!(error < 0.04, "{error}");
        Ok(())
    }
}
