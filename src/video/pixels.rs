//! Frames as hosts take them: bytes or numbers, with or without alpha.

use super::frames;
use crate::{Error, Result};
use half::f16;
use std::ops::Range;

/// What a pixel is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pixels {
    /// Three bytes: R, G, B.
    Rgb8,
    /// Four bytes: R, G, B and 255.
    Rgba8,
    /// Three numbers in `[0, 1]`.
    F32,
    /// Four bytes: B, G, R and 255.
    Bgra8,
    /// Four numbers in half precision: R, G, B in `[0, 1]`, and 1.
    Rgba16F,
}

/// 1 in half precision.
const HALF_ONE: u16 = 0x3c00;

impl Pixels {
    /// Bytes or numbers of a pixel.
    pub fn channels(self) -> usize {
        match self {
            Pixels::Rgb8 | Pixels::F32 => 3,
            Pixels::Rgba8 | Pixels::Bgra8 | Pixels::Rgba16F => 4,
        }
    }

    /// Bytes of a number: what addresses and strides are multiples of.
    pub fn sample(self) -> usize {
        match self {
            Pixels::Rgb8 | Pixels::Rgba8 | Pixels::Bgra8 => 1,
            Pixels::Rgba16F => size_of::<u16>(),
            Pixels::F32 => size_of::<f32>(),
        }
    }

    /// Bytes of a pixel.
    pub fn size(self) -> usize {
        self.channels() * self.sample()
    }
}

/// Frames in host memory, one after another, rows from top to bottom, densely packed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Samples<'a> {
    Bytes(&'a [u8]),
    /// The bits of numbers in half precision.
    Halfs(&'a [u16]),
    Floats(&'a [f32]),
}

/// A range of bytes of `all`, if it begins and ends between two of them.
fn whole<'a, T>(all: &'a [T], bytes: &Range<usize>) -> Option<&'a [T]> {
    let size = size_of::<T>();
    let whole = bytes.start.is_multiple_of(size) && bytes.end.is_multiple_of(size);
    all.get(bytes.start / size..bytes.end / size).filter(|_| whole)
}

impl<'a> Samples<'a> {
    /// How many bytes they take.
    pub fn size(self) -> usize {
        match self {
            Samples::Bytes(bytes) => bytes.len(),
            Samples::Halfs(halfs) => size_of_val(halfs),
            Samples::Floats(floats) => size_of_val(floats),
        }
    }

    /// The samples in a range of bytes, which must begin and end between two samples.
    pub fn slice(self, bytes: Range<usize>) -> Result<Samples<'a>> {
        let found = match self {
            Samples::Bytes(all) => whole(all, &bytes).map(Samples::Bytes),
            Samples::Halfs(all) => whole(all, &bytes).map(Samples::Halfs),
            Samples::Floats(all) => whole(all, &bytes).map(Samples::Floats),
        };
        found.ok_or_else(|| {
            Error::Internal(format!("bytes {bytes:?} of frames that have {}", self.size()))
        })
    }
}

/// Makes pixels of one kind after another from the same numbers, in memory that it keeps.
#[derive(Debug, Default)]
pub struct Converter {
    bytes: Vec<u8>,
    halfs: Vec<u16>,
}

impl Converter {
    /// `floats` are R, G, B of pixel after pixel, in `[0, 1]`.
    pub fn convert<'a>(&'a mut self, floats: &'a [f32], pixels: Pixels) -> Result<Samples<'a>> {
        if pixels == Pixels::F32 {
            return Ok(Samples::Floats(floats));
        }
        let count = (floats.len() / 3).saturating_mul(pixels.channels());
        let all = floats.chunks_exact(3);
        if pixels == Pixels::Rgba16F {
            self.halfs.clear();
            frames::reserve(&mut self.halfs, count)?;
            for pixel in all {
                self.halfs.extend(pixel.iter().map(|&value| f16::from_f32(value).to_bits()));
                self.halfs.push(HALF_ONE);
            }
            return Ok(Samples::Halfs(&self.halfs));
        }
        self.bytes.clear();
        frames::reserve(&mut self.bytes, count)?;
        match pixels {
            Pixels::Rgba8 => {
                for pixel in all {
                    self.bytes.extend(pixel.iter().copied().map(frames::byte));
                    self.bytes.push(255);
                }
            }
            Pixels::Bgra8 => {
                for pixel in all {
                    self.bytes.extend(pixel.iter().rev().copied().map(frames::byte));
                    self.bytes.push(255);
                }
            }
            _ => self.bytes.extend(floats.iter().copied().map(frames::byte)),
        }
        Ok(Samples::Bytes(&self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_made_of_the_same_numbers() {
        let floats = [0.0f32, 0.5, 1.0, 0.2, 0.4, 0.6];
        let mut converter = Converter::default();
        let rgba = converter.convert(&floats, Pixels::Rgba8).unwrap();
        assert_eq!(rgba, Samples::Bytes(&[0, 128, 255, 255, 51, 102, 153, 255]));
        let rgb = converter.convert(&floats, Pixels::Rgb8).unwrap();
        assert_eq!(rgb, Samples::Bytes(&[0, 128, 255, 51, 102, 153]));
        assert_eq!(rgb.size(), 2 * Pixels::Rgb8.size());
        let bgra = converter.convert(&floats, Pixels::Bgra8).unwrap();
        assert_eq!(bgra, Samples::Bytes(&[255, 128, 0, 255, 153, 102, 51, 255]));
        // 0.2, 0.4 and 0.6 as numpy's float16 rounds them.
        let halfs = converter.convert(&floats, Pixels::Rgba16F).unwrap();
        let expected = [0, 0x3800, 0x3c00, 0x3c00, 0x3266, 0x3666, 0x38cd, 0x3c00];
        assert_eq!(halfs, Samples::Halfs(&expected));
        assert_eq!(halfs.slice(2..6), Ok(Samples::Halfs(&expected[1..3])));
        assert!(halfs.slice(2..5).is_err());
        assert_eq!(halfs.size(), 2 * Pixels::Rgba16F.size());
        let numbers = converter.convert(&floats, Pixels::F32).unwrap();
        assert_eq!(numbers, Samples::Floats(&floats));
        assert_eq!(numbers.size(), 2 * Pixels::F32.size());
    }

    #[test]
    fn a_slice_lies_inside_and_between_samples() {
        let floats = [1.0f32, 2.0, 3.0];
        let samples = Samples::Floats(&floats);
        assert_eq!(samples.slice(4..12), Ok(Samples::Floats(&[2.0, 3.0])));
        assert!(samples.slice(4..11).is_err());
        assert!(samples.slice(4..16).is_err());
        assert_eq!(Samples::Bytes(&[1, 2, 3]).slice(1..2), Ok(Samples::Bytes(&[2])));
        assert!(Samples::Bytes(&[1, 2, 3]).slice(1..4).is_err());
    }
}
