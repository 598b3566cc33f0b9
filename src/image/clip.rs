//! A video that a run starts from or is led by: pictures of one size, in their order.

use super::Image;
use crate::{Error, Result};
use std::fmt;

/// At least one picture; all have one size.
#[derive(Clone, PartialEq)]
pub struct Clip {
    frames: Vec<Image>,
}

impl Clip {
    /// Errors: [`Error::InvalidArgument`] without pictures, and where one has another size than the
    /// first.
    pub fn new(frames: Vec<Image>) -> Result<Clip> {
        let Some(first) = frames.first() else {
            return Err(Error::InvalidArgument(
                "video: expected at least one frame, found none".into(),
            ));
        };
        let size = (first.width, first.height);
        if let Some(at) = frames.iter().position(|frame| (frame.width, frame.height) != size) {
            let found = frames.get(at).map_or((0, 0), |frame| (frame.width, frame.height));
            return Err(Error::InvalidArgument(format!(
                "video: expected frames of {} × {} like the first, found {} × {} in frame {at}",
                size.0, size.1, found.0, found.1
            )));
        }
        Ok(Clip { frames })
    }

    pub fn frames(&self) -> &[Image] {
        &self.frames
    }

    /// How many frames there are; never 0.
    pub fn count(&self) -> i64 {
        self.frames.len() as i64
    }

    pub fn width(&self) -> usize {
        self.frames.first().map_or(0, Image::width)
    }

    pub fn height(&self) -> usize {
        self.frames.first().map_or(0, Image::height)
    }
}

impl fmt::Debug for Clip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} frames of {} × {}", self.frames.len(), self.width(), self.height())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Pixels;
    use super::*;

    #[test]
    fn frames_are_of_one_size() {
        let image = |width, height| {
            Image::new(width, height, Pixels::Bytes(vec![7; width * height * 3])).unwrap()
        };
        let clip = Clip::new(vec![image(2, 3), image(2, 3)]).unwrap();
        assert_eq!((clip.count(), clip.width(), clip.height()), (2, 2, 3));
        assert_eq!(format!("{clip:?}"), "2 frames of 2 × 3");
        let message = |clip: Result<Clip>| match clip {
            Err(Error::InvalidArgument(message)) => message,
            other => panic!("{other:?}"),
        };
        assert!(message(Clip::new(Vec::new())).contains("at least one frame"));
        let mixed = message(Clip::new(vec![image(2, 3), image(2, 3), image(3, 2)]));
        assert!(mixed.contains("2 × 3") && mixed.contains("3 × 2 in frame 2"), "{mixed}");
    }
}
