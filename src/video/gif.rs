//! `.gif`: animated, endless, each frame with the 256 colours that suit it best.

use super::Clip;
use crate::{Error, Result};
use gif::{Encoder, EncodingError, Frame, Repeat};
use std::io::Write;

/// How thoroughly colours are chosen, from 1 (slow) to 30: every tenth pixel is looked at.
/// Pictures of fewer pixels than the second number are small enough to look at them all.
const QUICK: i32 = 10;
const THOROUGH: i32 = 1;
const SMALL: usize = 256 * 256;
/// Delays below 2 hundredths of a second are shown as 10 by browsers.
const SHORTEST_DELAY: u16 = 2;

/// Writes `clip` at `fps`, which has been checked.
pub fn write(clip: &Clip, fps: f64, sink: &mut impl Write) -> Result<()> {
    let side = |value: usize| {
        u16::try_from(value)
            .map_err(|_| Error::InvalidArgument(format!("a .gif side may not be {value}")))
    };
    let (width, height) = (side(clip.width())?, side(clip.height())?);
    let speed = if clip.width() * clip.height() <= SMALL { THOROUGH } else { QUICK };
    let mut encoder = Encoder::new(sink, width, height, &[]).map_err(failed)?;
    encoder.set_repeat(Repeat::Infinite).map_err(failed)?;
    for (index, pixels) in clip.frames().enumerate() {
        let mut frame = Frame::from_rgb_speed(width, height, pixels, speed);
        frame.delay = delay(index, fps);
        encoder.write_frame(&frame).map_err(failed)?;
    }
    // The trailer is written here, where an error can be seen, and not when dropped.
    encoder.into_inner().map_err(|error| Error::Io(error.to_string()))?;
    Ok(())
}

/// Hundredths of a second that frame `index` is shown. The ends of frames are rounded rather
/// than their lengths, so that the whole keeps its length: at 8 fps 13, 12, 13, 12, …
fn delay(index: usize, fps: f64) -> u16 {
    let end = |frames: usize| (frames as f64 * 100.0 / fps).round();
    ((end(index + 1) - end(index)) as u16).max(SHORTEST_DELAY)
}

fn failed(error: EncodingError) -> Error {
    match error {
        EncodingError::Io(error) => Error::Io(error.to_string()),
        EncodingError::OutOfMemory => Error::OutOfMemory("no memory for a .gif frame".into()),
        other => Error::Internal(format!("GIF encoder: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_add_up_to_the_clips_length() {
        let total = |frames, fps| (0..frames).map(|i| u32::from(delay(i, fps))).sum::<u32>();
        assert_eq!(delay(0, 8.0), 13);
        assert_eq!(delay(1, 8.0), 12);
        assert_eq!(total(16, 8.0), 200);
        assert_eq!(total(30, 29.97), 100);
        assert_eq!(delay(3, 100.0), SHORTEST_DELAY);
        assert_eq!(delay(0, 0.1), 1000);
    }
}
