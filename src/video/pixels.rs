//! Frames as hosts take them: bytes or numbers, with or without alpha.

use super::frames;
use crate::{Error, Result};
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
}

impl Pixels {
    /// Bytes or numbers of a pixel.
    pub fn channels(self) -> usize {
        match self {
            Pixels::Rgb8 | Pixels::F32 => 3,
            Pixels::Rgba8 => 4,
        }
    }

    /// Bytes of a pixel.
    pub fn size(self) -> usize {
        match self {
            Pixels::Rgb8 | Pixels::Rgba8 => self.channels(),
            Pixels::F32 => self.channels() * size_of::<f32>(),
        }
    }
}

/// Frames in host memory, one after another, rows from top to bottom, densely packed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Samples<'a> {
    Bytes(&'a [u8]),
    Floats(&'a [f32]),
}

impl<'a> Samples<'a> {
    /// How many bytes they take.
    pub fn size(self) -> usize {
        match self {
            Samples::Bytes(bytes) => bytes.len(),
            Samples::Floats(floats) => size_of_val(floats),
        }
    }

    /// The samples in a range of bytes, which must begin and end between two samples.
    pub fn slice(self, bytes: Range<usize>) -> Result<Samples<'a>> {
        let found = match self {
            Samples::Bytes(all) => all.get(bytes.clone()).map(Samples::Bytes),
            Samples::Floats(all) => {
                let size = size_of::<f32>();
                let whole = bytes.start.is_multiple_of(size) && bytes.end.is_multiple_of(size);
                let range = bytes.start / size..bytes.end / size;
                all.get(range).filter(|_| whole).map(Samples::Floats)
            }
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
}

impl Converter {
    /// `floats` are R, G, B of pixel after pixel, in `[0, 1]`.
    pub fn convert<'a>(&'a mut self, floats: &'a [f32], pixels: Pixels) -> Result<Samples<'a>> {
        if pixels == Pixels::F32 {
            return Ok(Samples::Floats(floats));
        }
        self.bytes.clear();
        let bytes = (floats.len() / 3).saturating_mul(pixels.channels());
        frames::reserve(&mut self.bytes, bytes)?;
        if pixels == Pixels::Rgb8 {
            self.bytes.extend(floats.iter().copied().map(frames::byte));
        } else {
            for pixel in floats.chunks_exact(3) {
                self.bytes.extend(pixel.iter().copied().map(frames::byte));
                self.bytes.push(255);
            }
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
