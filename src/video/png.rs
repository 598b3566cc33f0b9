//! `.png`: one file per frame, lossless.

use crate::{Error, Result};
use png::{BitDepth, ColorType, Encoder, EncodingError, SrgbRenderingIntent};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Digits of a frame's number where the path does not say.
const DIGITS: usize = 4;
const MOST_DIGITS: usize = 9;

/// Writes one frame, 8-bit RGB, tagged sRGB.
pub fn write(width: usize, height: usize, rgb8: &[u8], sink: &mut impl Write) -> Result<()> {
    let side = |value: usize| {
        u32::try_from(value)
            .map_err(|_| Error::InvalidArgument(format!("a .png side may not be {value}")))
    };
    let mut encoder = Encoder::new(sink, side(width)?, side(height)?);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_source_srgb(SrgbRenderingIntent::Perceptual);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(rgb8).map_err(failed)?;
    writer.finish().map_err(failed)
}

fn failed(error: EncodingError) -> Error {
    match error {
        EncodingError::IoError(error) => Error::Io(error.to_string()),
        EncodingError::LimitsExceeded => Error::OutOfMemory("no memory for a .png frame".into()),
        other => Error::Internal(format!("PNG encoder: {other}")),
    }
}

/// The file of each frame: `name.png` becomes `name_0000.png`, `name_0001.png`, …, with more
/// digits if there are more frames; in a pattern, `%d` or `%0Nd` in the file's name says where
/// the number goes, and `%%` is a percent sign.
pub fn paths(path: &Path, frames: usize) -> Result<Vec<PathBuf>> {
    let (before, digits, after) = numbering(path)?;
    Ok((0..frames)
        .map(|index| path.with_file_name(format!("{before}{index:0digits$}{after}")))
        .collect())
}

/// A folder that has the name of a frame, whatever its number.
pub fn folder_in_the_way(path: &Path) -> Result<Option<PathBuf>> {
    let (before, digits, after) = numbering(path)?;
    let is_frame = |name: &str| {
        let number = name.strip_prefix(before.as_str()).and_then(|n| n.strip_suffix(&after));
        let value = number.filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        let value = value.and_then(|number| number.parse::<u32>().ok());
        value.is_some_and(|value| number == Some(&format!("{value:0digits$}")))
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    // A folder that may be written to need not be readable; then it can't be told.
    let entries = std::fs::read_dir(parent.unwrap_or(Path::new("."))).into_iter().flatten();
    Ok(entries
        .flatten()
        .find(|entry| entry.file_name().to_str().is_some_and(is_frame) && entry.path().is_dir())
        .map(|entry| entry.path()))
}

/// What stands before and after the number of a frame, and its digits.
fn numbering(path: &Path) -> Result<(String, usize, String)> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    Ok(match pattern(name)? {
        Some(parts) => parts,
        None => {
            let (stem, ending) = name.rsplit_once('.').unwrap_or((name, "png"));
            (format!("{stem}_"), DIGITS, format!(".{ending}"))
        }
    })
}

/// What stands before and after the number in a pattern, and its digits; `None` if `name` has
/// no percent sign.
fn pattern(name: &str) -> Result<Option<(String, usize, String)>> {
    let wrong = || {
        Error::InvalidArgument(format!(
            "a .png path may have one %d or %0Nd (N up to {MOST_DIGITS}) in its file name, and \
             %% for a percent sign; found {name:?}"
        ))
    };
    let mut parts = [String::new(), String::new()];
    let mut digits = None;
    let mut rest = name;
    while let Some((text, tail)) = rest.split_once('%') {
        let part = if digits.is_some() { &mut parts[1] } else { &mut parts[0] };
        part.push_str(text);
        if let Some(tail) = tail.strip_prefix('%') {
            part.push('%');
            rest = tail;
            continue;
        }
        let (number, tail) = tail.split_once('d').ok_or_else(wrong)?;
        let count = match number.strip_prefix('0') {
            Some(count) => count.parse().ok().filter(|count| (1..=MOST_DIGITS).contains(count)),
            None => number.is_empty().then_some(1),
        };
        if digits.replace(count.ok_or_else(wrong)?).is_some() {
            return Err(wrong());
        }
        rest = tail;
    }
    let [before, mut after] = parts;
    match digits {
        Some(digits) => {
            after.push_str(rest);
            Ok(Some((before, digits, after)))
        }
        None if name.contains('%') => Err(wrong()),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str, frames: usize) -> Vec<String> {
        let paths = paths(Path::new(path), frames).unwrap();
        paths.iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn frames_are_numbered_behind_the_name_or_where_the_pattern_says() {
        assert_eq!(names("out/a.b.png", 2), ["out/a.b_0000.png", "out/a.b_0001.png"]);
        assert_eq!(names("f-%02d.png", 2), ["f-00.png", "f-01.png"]);
        assert_eq!(names("%d.PNG", 11)[10], "10.PNG");
        assert_eq!(names("100%%-%03d.png", 1), ["100%-000.png"]);
        assert_eq!(names("x.png", 10_001)[10_000], "x_10000.png");
    }

    #[test]
    fn a_bad_pattern_is_named() {
        for path in ["%5d.png", "%d%d.png", "%x.png", "100%.png", "%00d.png", "%010d.png", "%%.png"]
        {
            let error = paths(Path::new(path), 1).unwrap_err();
            assert!(error.to_string().contains(&format!("{path:?}")), "{error}");
        }
    }
}
