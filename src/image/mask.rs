//! What of a video is made anew.

use super::check_size;
use crate::{Error, Result};
use std::fmt;

/// From which byte on a pixel is made anew: half of the whole, as diffusers' `VaeImageProcessor`
/// binarises masks (diffusers 0.42.1 image_processor.py:582).
const THRESHOLD: u8 = 128;

/// For each pixel of some frames of one size whether it is made anew. Of one frame, it holds for all
/// of a video's.
#[derive(Clone, PartialEq)]
pub struct Mask {
    width: usize,
    height: usize,
    /// Row by row, frame by frame: 1 where it is made anew, else 0.
    made: Vec<u8>,
}

impl Mask {
    /// From bytes, row by row and frame by frame: 0 to 127 stay, 128 to 255 are made anew.
    ///
    /// Errors: [`Error::InvalidArgument`] if a side is 0 or too long, and where the bytes are no whole
    /// frames.
    pub fn new(width: usize, height: usize, bytes: &[u8]) -> Result<Mask> {
        check_size(width, height)?;
        if bytes.is_empty() || !bytes.len().is_multiple_of(width * height) {
            return Err(Error::InvalidArgument(format!(
                "mask of {width} × {height}: expected whole frames, found {} bytes",
                bytes.len()
            )));
        }
        let made = bytes.iter().map(|&byte| u8::from(byte >= THRESHOLD)).collect();
        Ok(Mask { width, height, made })
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn height(&self) -> usize {
        self.height
    }

    /// How many frames there are; never 0.
    pub fn count(&self) -> i64 {
        (self.made.len() / (self.width * self.height)) as i64
    }

    /// Row by row and frame by frame: 1 where a pixel is made anew, else 0.
    pub fn made(&self) -> &[u8] {
        &self.made
    }

    /// Whether everything is made anew.
    pub fn is_whole(&self) -> bool {
        self.made.iter().all(|&made| made == 1)
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} masks of {} × {}", self.count(), self.width, self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_half_of_bytes_is_made_anew() {
        let mask = Mask::new(2, 1, &[0, 127, 128, 255]).unwrap();
        assert_eq!((mask.count(), mask.made()), (2, &[0, 0, 1, 1][..]));
        assert!(!mask.is_whole() && Mask::new(1, 1, &[200]).unwrap().is_whole());
        assert_eq!(format!("{mask:?}"), "2 masks of 2 × 1");
        for (width, height, bytes) in [(0, 1, 0), (2, 2, 0), (2, 2, 5), (1, 99_999, 99_999)] {
            let mask = Mask::new(width, height, &vec![0; bytes]);
            assert!(matches!(mask, Err(Error::InvalidArgument(_))), "{width} × {height}");
        }
    }
}
