//! A contact sheet of several videos.

use super::convert::{slice, text, within};
use super::error::cvx_error;
use super::handle::borrow;
use super::panic::fallible;
use super::video::cvx_video;
use crate::video::contact_sheet;
use std::ffi::c_char;
use std::path::Path;

/// Writes one .png picture to compare videos by eye: a row for each of the count videos (the
/// first video of each), with columns frames of it, evenly spaced from its first to its last.
/// The videos must have one size; small ones are enlarged. path is UTF-8 and ends in .png. As
/// with cvx_video_save, a failure leaves no half-written file.
///
/// Errors: NULL_ARGUMENT, INVALID_UTF8, INVALID_ARGUMENT (no videos, sizes that differ, no
/// frames, a sheet of more than 32768 pixels a side, ending), NOT_FOUND (the parent folder),
/// IO. Threads: any. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_video_save_contact_sheet(
    videos: *const *const cvx_video,
    count: usize,
    columns: i32,
    path: *const c_char,
) -> *mut cvx_error {
    fallible(|| {
        within("count", count, 1..=1024)?;
        let columns = within("columns", columns, 1..=1024)?;
        // SAFETY: by the contract of the header.
        let (videos, path) = unsafe { (slice(videos, count, "videos")?, text(path, "path")?) };
        let mut rows = Vec::with_capacity(count);
        for (index, &video) in videos.iter().enumerate() {
            // SAFETY: by the contract of the header.
            let video = unsafe { borrow(video, &format!("videos[{index}]"))? };
            rows.push(video.clip(&video.state.lock(), 0)?);
        }
        Ok(contact_sheet::save(&rows, columns as usize, Path::new(path))?)
    })
}
