//! The pictures that a video starts from: their pixels, bringing them to the size of a run, reading
//! them from a file.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `lanczos` | resizing, with Pillow's numbers |
//! | `clip` | several of one size: a video |
//! | `mask` | what of a video is made anew |
//! | `file` | PNG and JPEG |
//! | `orientation` | which way up a photograph is |

mod clip;
mod file;
mod lanczos;
mod mask;
mod orientation;

pub use clip::Clip;
pub use mask::Mask;

use crate::{Error, Result};
use std::fmt;

/// The longest side of an image.
pub const MAX_SIDE: usize = 16_384;
/// Red, green and blue.
const CHANNELS: usize = 3;

/// A picture of red, green and blue, rows from top to bottom, densely packed.
#[derive(Clone, PartialEq)]
pub struct Image {
    width: usize,
    height: usize,
    pixels: Pixels,
}

#[derive(Clone, PartialEq)]
pub enum Pixels {
    /// 0 to 255.
    Bytes(Vec<u8>),
    /// 0 to 1.
    Floats(Vec<f32>),
}

impl Image {
    /// Errors: [`Error::InvalidArgument`] if a side is 0 or longer than [`MAX_SIDE`], if there are
    /// not three numbers for each pixel, and if a floating-point one is not in [0, 1].
    pub fn new(width: usize, height: usize, pixels: Pixels) -> Result<Image> {
        check_size(width, height)?;
        let (found, expected) = (pixels.len(), width * height * CHANNELS);
        if found != expected {
            return Err(Error::InvalidArgument(format!(
                "image of {width} × {height}: expected {expected} numbers, found {found}"
            )));
        }
        if let Pixels::Floats(values) = &pixels {
            if let Some(at) = values.iter().position(|value| !(0.0..=1.0).contains(value)) {
                let (row, column) = (at / CHANNELS / width, at / CHANNELS % width);
                return Err(Error::InvalidArgument(format!(
                    "image: expected numbers in [0, 1], found {} in row {row}, column {column}",
                    values.get(at).copied().unwrap_or_default()
                )));
            }
        }
        Ok(Image { width, height, pixels })
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn height(&self) -> usize {
        self.height
    }

    pub fn pixels(&self) -> &Pixels {
        &self.pixels
    }

    /// The pixels as bytes, to tell pictures apart.
    pub fn bytes(&self) -> Vec<u8> {
        match &self.pixels {
            Pixels::Bytes(bytes) => bytes.clone(),
            Pixels::Floats(floats) => floats.iter().flat_map(|f| f.to_le_bytes()).collect(),
        }
    }

    /// The image at another size, not keeping its proportions: what diffusers' `VideoProcessor`
    /// makes of a picture (diffusers 0.42.1 image_processor.py:495). Bytes become the bytes that
    /// Pillow's Lanczos filter gives. Floating-point numbers become what it gives for planes of
    /// those, cut to [0, 1]; diffusers takes their nearest neighbours instead.
    pub fn resized(&self, width: usize, height: usize) -> Result<Image> {
        check_size(width, height)?;
        let (from, to) = ([self.width, self.height], [width, height]);
        let pixels = match &self.pixels {
            Pixels::Bytes(bytes) => Pixels::Bytes(lanczos::resize(bytes, from, to)?),
            Pixels::Floats(floats) => Pixels::Floats(lanczos::resize(floats, from, to)?),
        };
        Ok(Image { width, height, pixels })
    }

    /// All numbers in [0, 1].
    pub fn into_floats(self) -> Result<Vec<f32>> {
        match self.pixels {
            Pixels::Floats(floats) => Ok(floats),
            Pixels::Bytes(bytes) => {
                let mut floats = room(bytes.len())?;
                floats.extend(bytes.iter().map(|&byte| f32::from(byte) / 255.0));
                Ok(floats)
            }
        }
    }
}

impl Pixels {
    fn len(&self) -> usize {
        match self {
            Pixels::Bytes(bytes) => bytes.len(),
            Pixels::Floats(floats) => floats.len(),
        }
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.pixels {
            Pixels::Bytes(_) => "bytes",
            Pixels::Floats(_) => "floats",
        };
        write!(f, "Image of {} × {} in {kind}", self.width, self.height)
    }
}

fn check_size(width: usize, height: usize) -> Result<()> {
    for (name, side) in [("width", width), ("height", height)] {
        if !(1..=MAX_SIDE).contains(&side) {
            return Err(Error::InvalidArgument(format!(
                "image {name}: expected 1 to {MAX_SIDE}, found {side}"
            )));
        }
    }
    Ok(())
}

/// Room for `count` elements.
fn room<T>(count: usize) -> Result<Vec<T>> {
    let mut room = Vec::new();
    room.try_reserve_exact(count)
        .map_err(|_| Error::OutOfMemory(format!("image: no memory for {count} numbers")))?;
    Ok(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_counts_and_numbers_are_checked() {
        let message = |image: Result<Image>| match image {
            Err(Error::InvalidArgument(message)) => message,
            other => panic!("{other:?}"),
        };
        let bytes = |width, height, count| Image::new(width, height, Pixels::Bytes(vec![0; count]));
        assert!(message(bytes(0, 4, 0)).contains("width: expected 1 to 16384, found 0"));
        assert!(message(bytes(4, 16_385, 0)).contains("height"));
        assert!(message(bytes(2, 2, 11)).contains("expected 12 numbers, found 11"));
        for bad in [f32::NAN, -0.01, 1.01, f32::INFINITY] {
            let mut floats = vec![0.5; 2 * 3 * 3];
            floats[3 * 3 + 1] = bad;
            let found = message(Image::new(2, 3, Pixels::Floats(floats)));
            assert!(found.contains("row 1, column 1"), "{found}");
        }
        let image = bytes(2, 2, 12).unwrap();
        assert!(message(image.resized(0, 1)).contains("width"));
        assert_eq!(format!("{image:?}"), "Image of 2 × 2 in bytes");
    }

    #[test]
    fn bytes_are_divided_by_255() {
        let image = Image::new(1, 1, Pixels::Bytes(vec![0, 51, 255])).unwrap();
        assert_eq!(image.into_floats().unwrap(), [0.0, 0.2, 1.0]);
    }
}
