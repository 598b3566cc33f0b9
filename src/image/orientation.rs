//! Which way up a photograph is: the orientation of its EXIF data (CIPA DC-008, tag 0x0112).

use super::{room, CHANNELS};
use crate::Result;

/// Tag and type (16-bit number) of the orientation in a TIFF directory.
const ORIENTATION: u16 = 0x0112;
const SHORT: u16 = 3;

/// How the rows and columns of a picture lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Orientation {
    /// Rows and columns change places, before they are reversed.
    transposed: bool,
    /// Columns of the result run from right to left.
    mirrored: bool,
    /// Rows of the result run from bottom to top.
    flipped: bool,
}

impl Orientation {
    /// What EXIF data says; as it is where that says nothing, or can't be read.
    pub fn of_exif(exif: &[u8]) -> Orientation {
        let turned = |transposed, mirrored, flipped| Orientation { transposed, mirrored, flipped };
        match value(exif) {
            Some(2) => turned(false, true, false),
            Some(3) => turned(false, true, true),
            Some(4) => turned(false, false, true),
            Some(5) => turned(true, false, false),
            Some(6) => turned(true, true, false),
            Some(7) => turned(true, true, true),
            Some(8) => turned(true, false, true),
            _ => Orientation::default(),
        }
    }

    /// `rgb` of size `[width, height]` the right way up, and its size then.
    pub fn apply(self, rgb: Vec<u8>, [width, height]: [usize; 2]) -> Result<(Vec<u8>, [usize; 2])> {
        if self == Orientation::default() {
            return Ok((rgb, [width, height]));
        }
        let [wide, tall] = if self.transposed { [height, width] } else { [width, height] };
        let mut out = room(rgb.len())?;
        for y in 0..tall {
            let y = if self.flipped { tall - 1 - y } else { y };
            for x in 0..wide {
                let x = if self.mirrored { wide - 1 - x } else { x };
                let at = if self.transposed { x * width + y } else { y * width + x };
                out.extend(rgb.iter().skip(at * CHANNELS).take(CHANNELS));
            }
        }
        Ok((out, [wide, tall]))
    }
}

/// The number behind the tag.
fn value(exif: &[u8]) -> Option<u16> {
    // In JPEG files the TIFF structure comes after this.
    let tiff = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let little = match tiff.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let short = |at: usize| -> Option<u16> {
        let bytes: [u8; 2] = tiff.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let long = |at: usize| -> Option<usize> {
        let bytes: [u8; 4] = tiff.get(at..at.checked_add(4)?)?.try_into().ok()?;
        let value = if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) };
        usize::try_from(value).ok()
    };
    let directory = long(4)?;
    for entry in 0..usize::from(short(directory)?) {
        let at = directory.checked_add(2 + 12 * entry)?;
        if short(at)? == ORIENTATION {
            return if short(at + 2)? == SHORT { short(at + 8) } else { None };
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exif(little: bool, entries: &[(u16, u16, u16)]) -> Vec<u8> {
        let short = |value: u16| if little { value.to_le_bytes() } else { value.to_be_bytes() };
        let long = |value: u32| if little { value.to_le_bytes() } else { value.to_be_bytes() };
        let mut all = if little { b"II*\0".to_vec() } else { b"MM\0*".to_vec() };
        all.extend(long(8));
        all.extend(short(entries.len() as u16));
        for &(tag, kind, value) in entries {
            all.extend([short(tag), short(kind)].concat());
            all.extend(long(1));
            all.extend([short(value), [0, 0]].concat());
        }
        all
    }

    #[test]
    fn the_eight_orientations_are_turned_upright() {
        // 2 × 3 pixels a to f, as a camera stores them; by orientation the rows that are seen.
        let stored = b"abcdef".iter().flat_map(|&c| [c; 3]).collect::<Vec<u8>>();
        let seen = [
            "ab cd ef", "ba dc fe", "fe dc ba", "ef cd ab", "ace bdf", "eca fdb", "fdb eca",
            "bdf ace",
        ];
        for (orientation, seen) in (1..).zip(seen) {
            for little in [true, false] {
                let exif = exif(little, &[(0x010f, 2, 7), (ORIENTATION, SHORT, orientation)]);
                let prefixed = [b"Exif\0\0", exif.as_slice()].concat();
                for exif in [exif, prefixed] {
                    let upright = Orientation::of_exif(&exif);
                    let (rgb, [width, _]) = upright.apply(stored.clone(), [2, 3]).unwrap();
                    let pixels: Vec<u8> = rgb.chunks(3).map(|pixel| pixel[0]).collect();
                    let rows: Vec<&str> =
                        pixels.chunks(width).map(|row| std::str::from_utf8(row).unwrap()).collect();
                    assert_eq!(rows.join(" "), seen, "orientation {orientation}");
                }
            }
        }
    }

    #[test]
    fn data_that_says_nothing_or_is_damaged_changes_nothing() {
        let good = exif(true, &[(ORIENTATION, SHORT, 6)]);
        assert_ne!(Orientation::of_exif(&good), Orientation::default());
        for length in 0..good.len() - 2 {
            assert_eq!(Orientation::of_exif(&good[..length]), Orientation::default());
        }
        for entries in [[(ORIENTATION, 4, 6)], [(ORIENTATION, SHORT, 9)], [(0x0113, SHORT, 6)]] {
            assert_eq!(Orientation::of_exif(&exif(false, &entries)), Orientation::default());
        }
        let mut far = good;
        far[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Orientation::of_exif(&far), Orientation::default());
    }
}
