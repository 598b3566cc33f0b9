//! A contact sheet: one row a video, one column a moment, as one picture to compare by eye.

use super::save::save_one;
use super::{png, Clip};
use crate::{Error, Result};
use std::path::Path;
use std::sync::Arc;

/// Pixels between pictures and around them.
const GAP: usize = 4;
const BACKGROUND: u8 = 24;
/// Small pictures are enlarged by a whole factor to about this many pixels a side.
const COMFORTABLE_SIDE: usize = 160;
/// The longest side of a sheet.
const LONGEST_SIDE: usize = 32_768;

/// Writes `rows` to `path`, which must end in `.png`: each row shows `columns` frames of its
/// clip, evenly spaced from the first to the last. The clips must have one size.
pub fn save(rows: &[Arc<Clip>], columns: usize, path: &Path) -> Result<()> {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    if !ending.eq_ignore_ascii_case("png") {
        return Err(Error::InvalidArgument(format!(
            "path of a contact sheet must end in .png, found {:?}",
            path.display().to_string()
        )));
    }
    let sheet = draw(rows, columns)?;
    save_one(path, |sink| png::write(sheet.width, sheet.height, &sheet.rgb8, sink))
}

struct Sheet {
    width: usize,
    height: usize,
    rgb8: Vec<u8>,
}

fn draw(rows: &[Arc<Clip>], columns: usize) -> Result<Sheet> {
    let Some(first) = rows.first() else {
        return Err(Error::InvalidArgument("a contact sheet needs a video, found none".into()));
    };
    if columns == 0 {
        return Err(Error::InvalidArgument("a contact sheet needs a column, found 0".into()));
    }
    let (width, height) = (first.width(), first.height());
    if let Some(odd) = rows.iter().find(|row| (row.width(), row.height()) != (width, height)) {
        return Err(Error::InvalidArgument(format!(
            "videos of a contact sheet must have one size: expected {width}x{height}, found {}x{}",
            odd.width(),
            odd.height()
        )));
    }
    let factor = (COMFORTABLE_SIDE / width.max(height).max(1)).max(1);
    let side = |pictures: usize, pixels: usize| {
        pixels
            .checked_mul(factor)
            .and_then(|pixels| pixels.checked_add(GAP))
            .and_then(|cell| cell.checked_mul(pictures))
            .and_then(|all| all.checked_add(GAP))
            .filter(|&side| side <= LONGEST_SIDE)
            .ok_or_else(|| {
                Error::InvalidArgument(format!(
                    "a contact sheet may have sides up to {LONGEST_SIDE} pixels; {pictures} \
                     pictures of {pixels} are more"
                ))
            })
    };
    let (sheet_width, sheet_height) = (side(columns, width)?, side(rows.len(), height)?);
    let mut rgb8 = Vec::new();
    let bytes = sheet_width * sheet_height * 3;
    rgb8.try_reserve_exact(bytes)
        .map_err(|_| Error::OutOfMemory(format!("no {bytes} bytes of memory for a sheet")))?;
    rgb8.resize(bytes, BACKGROUND);
    let mut sheet = Sheet { width: sheet_width, height: sheet_height, rgb8 };
    for (row, clip) in rows.iter().enumerate() {
        let frames = clip.frames().len();
        for column in 0..columns {
            let picture = clip.frames().nth(moment(column, columns, frames)).unwrap_or_default();
            let left = GAP + column * (width * factor + GAP);
            let top = GAP + row * (height * factor + GAP);
            sheet.place(picture, width, factor, left, top);
        }
    }
    Ok(sheet)
}

/// The frame shown in `column`: the first in the first, the last in the last.
fn moment(column: usize, columns: usize, frames: usize) -> usize {
    match columns {
        1 => 0,
        _ => (column * frames.saturating_sub(1) + (columns - 1) / 2) / (columns - 1),
    }
}

impl Sheet {
    /// Copies `picture`, each of its pixels as a square of `factor` pixels.
    fn place(&mut self, picture: &[u8], width: usize, factor: usize, left: usize, top: usize) {
        let mut line = Vec::with_capacity(width * factor * 3);
        for (row, pixels) in picture.chunks_exact(width * 3).enumerate() {
            line.clear();
            for pixel in pixels.chunks_exact(3) {
                (0..factor).for_each(|_| line.extend_from_slice(pixel));
            }
            for copy in 0..factor {
                let start = ((top + row * factor + copy) * self.width + left) * 3;
                if let Some(target) = self.rgb8.get_mut(start..start + line.len()) {
                    target.copy_from_slice(&line);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clip(width: usize, height: usize, frames: &[u8]) -> Arc<Clip> {
        let rgb8 = frames.iter().flat_map(|&v| vec![v; width * height * 3]).collect();
        Arc::new(Clip::new(width, height, frames.len(), rgb8).unwrap())
    }

    #[test]
    fn rows_are_videos_and_columns_run_from_the_first_frame_to_the_last() {
        let rows = [clip(80, 40, &[10, 20, 30]), clip(80, 40, &[40, 50])];
        let sheet = draw(&rows, 3).unwrap();
        // 160 wide: enlarged twice.
        assert_eq!((sheet.width, sheet.height), (3 * 164 + 4, 2 * 84 + 4));
        let at = |x: usize, y: usize| sheet.rgb8[(y * sheet.width + x) * 3];
        assert_eq!([at(4, 4), at(163, 83), at(168, 4), at(332, 4)], [10, 10, 20, 30]);
        assert_eq!([at(4, 88), at(168, 88), at(332, 88)], [40, 50, 50]);
        assert_eq!([at(3, 3), at(164, 4), at(0, 87)], [BACKGROUND; 3]);
    }

    #[test]
    fn what_makes_no_sheet_is_named() {
        let message = |rows: &[Arc<Clip>], columns| match draw(rows, columns) {
            Err(Error::InvalidArgument(message)) => message,
            _ => panic!("a sheet"),
        };
        assert!(message(&[], 3).contains("found none"));
        assert!(message(&[clip(8, 8, &[1])], 0).contains("found 0"));
        assert!(message(&[clip(8, 8, &[1]), clip(8, 16, &[1])], 1).contains("found 8x16"));
        assert!(message(&[clip(8, 8, &[1])], usize::MAX / 2).contains("up to 32768"));
    }
}
