//! The image that a video starts from: `cvx_generate_options_set_image`, and `cvx_image`, which is
//! one read from a file.

use super::convert::{slice, text, within, Out};
use super::error::{cvx_error, Failure, Result};
use super::frames::{pixels_of, CVX_PIXELS_RGB8, CVX_PIXELS_RGBA8};
use super::generate_options::cvx_generate_options;
use super::handle::{borrow, borrow_mut, free, peek};
use super::panic::{fallible, infallible};
use crate::image::{self, Image};
use crate::video::frames::reserve;
use crate::video::pixels::Pixels;
use crate::video::save;
use std::ffi::{c_char, c_void};
use std::path::Path;
use std::sync::Arc;

/// The longest side of an image, in pixels.
const MAX_SIDE: i32 = image::MAX_SIDE as i32;
const STRIDE: &str = "stride_bytes";

/// A picture that was read from a file by cvx_image_load, freed by cvx_image_free. It does not
/// change.
///
/// Since 0.1.
pub struct cvx_image {
    image: Image,
}

/// The image that an image-to-video pipeline (see cvx_pipeline_task) starts its video from; it
/// must be set there. A pipeline for inpainting takes one as the first frame. It may not be set for other
/// pipelines.
///
/// Row y starts at data + y * stride_bytes, rows from top to bottom; format is one of
/// CVX_PIXELS_*. Alpha is dropped, as it is: put a transparent picture on a background first.
/// Floats lie in [0, 1] and are aligned to 4 bytes, and so is stride_bytes then. A stride_bytes of
/// 0 stands for densely packed rows. The pixels are copied: they may be freed or changed at once.
/// width and height are from 1 to 16384 and need not be those of the run: the image is resized to
/// them, without keeping its proportions, as diffusers resizes pictures (in 8 bits by Pillow's
/// Lanczos filter, to the byte; floats by the same filter, not rounded).
///
/// Errors: NULL_ARGUMENT, INVALID_ARGUMENT (size, stride, format, a float outside [0, 1]); the
/// image that was set before stays. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_set_image(
    options: *mut cvx_generate_options,
    data: *const c_void,
    width: i32,
    height: i32,
    stride_bytes: usize,
    format: i32,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let options = unsafe { borrow_mut(options, "options")? };
        // SAFETY: by the contract of the header.
        let image = unsafe { picture(data, width, height, stride_bytes, format)? };
        options.options.image = Some(image);
        Ok(())
    })
}

/// A copy of a host's picture.
///
/// # Safety
/// `data` is NULL or holds the rows that the other parameters say.
pub(super) unsafe fn picture(
    data: *const c_void,
    width: i32,
    height: i32,
    stride_bytes: usize,
    format: i32,
) -> Result<Arc<Image>> {
    let format = pixels_of("format", format)?;
    let (width, height, layout) = layout(width, height, (STRIDE, stride_bytes), format)?;
    // SAFETY: the caller's.
    let pixels = unsafe {
        match format {
            Pixels::F32 => image::Pixels::Floats(floats(data, layout, STRIDE)?),
            _ => image::Pixels::Bytes(bytes(data, layout, format.channels())?),
        }
    };
    Ok(Arc::new(Image::new(width, height, pixels)?))
}

/// Takes the image away again.
///
/// Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_generate_options_clear_image(
    options: *mut cvx_generate_options,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        unsafe { borrow_mut(options, "options")? }.options.image = None;
        Ok(())
    })
}

/// Width and height, and how their rows lie: bytes of a row, rows, bytes from one to the next, which
/// is a row for a stride of 0. `name` is the stride's parameter.
pub(super) fn layout(
    width: i32,
    height: i32,
    (name, stride_bytes): (&str, usize),
    format: Pixels,
) -> Result<(usize, usize, [usize; 3])> {
    let width = within("width", width, 1..=MAX_SIDE)? as usize;
    let height = within("height", height, 1..=MAX_SIDE)? as usize;
    let row = width * format.size();
    let stride = if stride_bytes == 0 { row } else { stride_bytes };
    within(name, stride, row..=isize::MAX as usize / height)?;
    Ok((width, height, [row, height, stride]))
}

/// The first three of `channels` bytes of each pixel.
///
/// # Safety
/// `data` is NULL or holds `height` rows of `row` bytes, each `stride` bytes after the one before.
pub(super) unsafe fn bytes(
    data: *const c_void,
    [row, height, stride]: [usize; 3],
    channels: usize,
) -> Result<Vec<u8>> {
    // The last row may end with its last pixel.
    let size = stride * (height - 1) + row;
    // SAFETY: the caller's.
    let data = unsafe { slice(data.cast::<u8>(), size, "data")? };
    let mut rgb = Vec::new();
    reserve(&mut rgb, row / channels * 3 * height)?;
    for row in data.chunks(stride).map(|line| line.get(..row).unwrap_or(line)) {
        if channels == 3 {
            rgb.extend_from_slice(row);
        } else {
            let colours = row.chunks_exact(channels).filter_map(|pixel| pixel.get(..3));
            colours.for_each(|colours| rgb.extend_from_slice(colours));
        }
    }
    Ok(rgb)
}

/// Floats of rows of `row` bytes; `name` is the stride's parameter.
///
/// # Safety
/// As for [`bytes`].
pub(super) unsafe fn floats(
    data: *const c_void,
    [row, height, stride]: [usize; 3],
    name: &str,
) -> Result<Vec<f32>> {
    let size = size_of::<f32>();
    if !stride.is_multiple_of(size) {
        return Err(Failure::invalid(format!(
            "{name} must be a multiple of {size} for floats, found {stride}"
        )));
    }
    let (row, stride) = (row / size, stride / size);
    // SAFETY: the caller's.
    let data = unsafe { slice(data.cast::<f32>(), stride * (height - 1) + row, "data")? };
    let mut rgb = Vec::new();
    reserve(&mut rgb, row * height)?;
    for row in data.chunks(stride).map(|line| line.get(..row).unwrap_or(line)) {
        rgb.extend_from_slice(row);
    }
    Ok(rgb)
}

/// Reads a picture from a .png or .jpeg file (told apart by what is in it), as 8-bit R, G, B: grey
/// and palettes become colours, 16 bits become 8, alpha is dropped, and a photograph is turned the
/// way up that its EXIF data says, as diffusers' load_image does. Colour profiles are not heeded.
/// On success *out_image is a new image, owned by the caller, freed with cvx_image_free; give its
/// pixels to cvx_generate_options_set_image.
///
/// Errors: NULL_ARGUMENT, INVALID_UTF8, NOT_FOUND, IO, INVALID_ARGUMENT (another format, a damaged
/// file, a side of more than 16384 pixels). Threads: any. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_image_load(
    path: *const c_char,
    out_image: *mut *mut cvx_image,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (path, out) = unsafe { (text(path, "path")?, Out::new(out_image, "out_image")?) };
        out.hand_over(cvx_image { image: Image::load(Path::new(path))? });
        Ok(())
    })
}

/// Width in pixels; 0 for NULL.
///
/// Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_image_width(image: *const cvx_image) -> i32 {
    // SAFETY: by the contract of the header; no side is longer than MAX_SIDE.
    infallible(0, || unsafe { peek(image) }.map_or(0, |image| image.image.width() as i32))
}

/// Height in pixels; 0 for NULL.
///
/// Threads: any. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_image_height(image: *const cvx_image) -> i32 {
    // SAFETY: by the contract of the header; no side is longer than MAX_SIDE.
    infallible(0, || unsafe { peek(image) }.map_or(0, |image| image.image.height() as i32))
}

/// The pixels as bytes R, G, B (CVX_PIXELS_RGB8). Row y starts at data + y * stride, with stride
/// in bytes. out_stride_or_null may be NULL. The memory belongs to the image and lives until
/// cvx_image_free.
///
/// Errors: NULL_ARGUMENT. Threads: any. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_image_rgb8(
    image: *const cvx_image,
    out_data: *mut *const u8,
    out_stride_or_null: *mut usize,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (image, out, stride) = unsafe {
            (
                borrow(image, "image")?,
                Out::new(out_data, "out_data")?,
                Out::optional(out_stride_or_null),
            )
        };
        let image::Pixels::Bytes(bytes) = image.image.pixels() else {
            return Err(Failure::internal("an image of a file has no bytes"));
        };
        out.write(bytes.as_ptr());
        if let Some(stride) = stride {
            stride.write(image.image.width() * 3);
        }
        Ok(())
    })
}

/// Writes pixels as one picture to path, which ends in .png. Row y starts at data + y *
/// stride_bytes, rows from top to bottom; format is CVX_PIXELS_RGB8 or CVX_PIXELS_RGBA8, of which
/// alpha is dropped. A stride_bytes of 0 stands for densely packed rows. width and height are from 1
/// to 16384. A file that is there already is replaced, whole or not at all.
///
/// Errors: NULL_ARGUMENT, INVALID_UTF8, INVALID_ARGUMENT (size, stride, format, ending), NOT_FOUND
/// (the parent folder), IO. Threads: any. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_image_save_png(
    path: *const c_char,
    data: *const c_void,
    width: i32,
    height: i32,
    stride_bytes: usize,
    format: i32,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let path = unsafe { text(path, "path")? };
        let format = pixels_of("format", format)?;
        if format == Pixels::F32 {
            return Err(Failure::invalid(format!(
                "format must be CVX_PIXELS_RGB8 ({CVX_PIXELS_RGB8}) or CVX_PIXELS_RGBA8 \
                 ({CVX_PIXELS_RGBA8}), found CVX_PIXELS_F32"
            )));
        }
        let (width, height, layout) = layout(width, height, (STRIDE, stride_bytes), format)?;
        // SAFETY: by the contract of the header.
        let rgb8 = unsafe { bytes(data, layout, format.channels())? };
        Ok(save::save_png(Path::new(path), width, height, &rgb8)?)
    })
}

/// Frees an image. Options that its pixels were given to keep their own. NULL is allowed and does
/// nothing.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_image_free(image: *mut cvx_image) {
    infallible((), || {
        // SAFETY: NULL or an image that `cvx_image_load` handed out, not freed yet.
        unsafe { free(image) }
    })
}
