//! Pictures from files: PNG and JPEG, told apart by their first bytes.

use super::orientation::Orientation;
use super::{room, Image, Pixels, CHANNELS, MAX_SIDE};
use crate::runtime::files::open_regular;
use crate::{Error, Result};
use png::{ColorType, DecodingError, Limits, Transformations};
use std::fmt::Display;
use std::io::{BufRead, ErrorKind, Read, Seek};
use std::path::Path;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

/// The largest file that is read. A picture with sides of [`MAX_SIDE`] in 8 bits is no larger.
const MAX_BYTES: u64 = 1 << 30;
/// What a PNG decoder may take beside the pixels.
const PNG_LIMIT: usize = 1 << 30;
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const JPEG: &[u8] = b"\xff\xd8\xff";

impl Image {
    /// Reads a picture as bytes of red, green and blue: grey and palettes become colours, 16 bits
    /// become 8, alpha is dropped, and a photograph is turned the way up that its EXIF data says
    /// (as `load_image`, diffusers 0.42.1 utils/loading_utils.py:26). A JPEG file's pixels may
    /// differ by a few levels from those of another decoder.
    ///
    /// Errors, all with the path: [`Error::NotFound`], [`Error::Io`], and
    /// [`Error::InvalidArgument`] for other formats, damaged files and sides beyond [`MAX_SIDE`].
    pub fn load(path: &Path) -> Result<Image> {
        read(path).and_then(|bytes| decode(&bytes)).map_err(|error| error.context(path.display()))
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => Error::NotFound("expected a picture, found nothing".into()),
        ErrorKind::OutOfMemory => Error::OutOfMemory(error.to_string()),
        _ => Error::Io(error.to_string()),
    };
    let (file, length) = open_regular(path).map_err(failed)?.map_err(|found| {
        Error::InvalidArgument(format!("expected a PNG or JPEG file, found {found}"))
    })?;
    let mut bytes = room(usize::try_from(length.min(MAX_BYTES)).unwrap_or(0))?;
    // One byte more than may be: then it is known that there are more.
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::InvalidArgument(format!("expected at most {MAX_BYTES} bytes")));
    }
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> Result<Image> {
    let decoded = if bytes.starts_with(PNG) {
        png(std::io::Cursor::new(bytes))?
    } else if bytes.starts_with(JPEG) {
        jpeg(bytes)?
    } else {
        return Err(Error::InvalidArgument(
            "expected a PNG or JPEG file, found another format".into(),
        ));
    };
    let (rgb, [width, height]) = decoded.orientation.apply(decoded.rgb, decoded.size)?;
    Image::new(width, height, Pixels::Bytes(rgb))
}

struct Decoded {
    rgb: Vec<u8>,
    /// Width and height, as the file has them.
    size: [usize; 2],
    orientation: Orientation,
}

fn png(bytes: impl BufRead + Seek) -> Result<Decoded> {
    let failed = |error: DecodingError| match error {
        DecodingError::LimitsExceeded => Error::OutOfMemory("PNG: too large".into()),
        other => damaged("PNG", other),
    };
    let mut decoder = png::Decoder::new_with_limits(bytes, Limits { bytes: PNG_LIMIT });
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    let mut reader = decoder.read_info().map_err(failed)?;
    let info = reader.info();
    let size = checked([info.width as usize, info.height as usize])?;
    let exif = info.exif_metadata.as_ref();
    let mut orientation = exif.map_or_else(Default::default, |exif| Orientation::of_exif(exif));
    let length =
        reader.output_buffer_size().ok_or_else(|| Error::OutOfMemory("PNG: too large".into()))?;
    let mut pixels = room(length)?;
    pixels.resize(length, 0);
    let frame = reader.next_frame(&mut pixels).map_err(failed)?;
    // The chunk may also come after the pixels.
    reader.finish().map_err(failed)?;
    if let Some(exif) = reader.info().exif_metadata.as_ref() {
        orientation = Orientation::of_exif(exif);
    }
    pixels.truncate(frame.buffer_size());
    let rgb = match frame.color_type {
        ColorType::Rgb => pixels,
        ColorType::Rgba => colours(&pixels, 4, &[0, 1, 2], size)?,
        ColorType::Grayscale => colours(&pixels, 1, &[0, 0, 0], size)?,
        ColorType::GrayscaleAlpha => colours(&pixels, 2, &[0, 0, 0], size)?,
        ColorType::Indexed => return Err(Error::Internal("PNG: a palette was left".into())),
    };
    Ok(Decoded { rgb, size, orientation })
}

/// The bytes at `places` of each pixel of `channels` bytes.
fn colours(
    pixels: &[u8],
    channels: usize,
    places: &[usize; CHANNELS],
    [width, height]: [usize; 2],
) -> Result<Vec<u8>> {
    let mut rgb = room(width * height * CHANNELS)?;
    for pixel in pixels.chunks_exact(channels) {
        rgb.extend(places.iter().filter_map(|&place| pixel.get(place)));
    }
    Ok(rgb)
}

fn jpeg(bytes: &[u8]) -> Result<Decoded> {
    let failed = |error| damaged("JPEG", error);
    // A file that ends too early, or has other data in between, is an error.
    let options = DecoderOptions::default()
        .set_max_width(MAX_SIDE)
        .set_max_height(MAX_SIDE)
        .set_strict_mode(true)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(failed)?;
    let (width, height) = decoder.dimensions().ok_or_else(|| damaged("JPEG", "it has no size"))?;
    let size = checked([width, height])?;
    let mut rgb = room(width * height * CHANNELS)?;
    rgb.resize(width * height * CHANNELS, 0);
    match decoder.output_buffer_size() {
        Some(length) if length == rgb.len() => decoder.decode_into(&mut rgb).map_err(failed)?,
        other => return Err(damaged("JPEG", format!("it has {other:?} bytes of colours"))),
    }
    let exif = decoder.exif();
    let orientation = exif.map_or_else(Default::default, |exif| Orientation::of_exif(exif));
    Ok(Decoded { rgb, size, orientation })
}

fn checked(size: [usize; 2]) -> Result<[usize; 2]> {
    let [width, height] = size;
    super::check_size(width, height)?;
    Ok(size)
}

fn damaged(format: &str, error: impl Display) -> Error {
    Error::InvalidArgument(format!("expected a sound {format} file: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::SafeTensors;
    use std::path::PathBuf;

    fn goldens() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens")
    }

    /// Against `tests/goldens/make.py images`. A JPEG decoder may round its cosine transform
    /// and spread its colours in its own way.
    #[test]
    fn pipes_and_files_of_proc_do_not_block() {
        crate::runtime::files::testing::reads_regular_files_only(|path| Image::load(path).err());
    }

    #[test]
    fn files_are_read_as_pillow_reads_them() {
        let file = std::fs::read(goldens().join("images.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&file).unwrap();
        let mut read = 0;
        for (name, expected) in tensors.tensors() {
            let Some(name) = name.strip_prefix("file.") else { continue };
            let image = Image::load(&goldens().join("images").join(name)).unwrap();
            assert_eq!([image.height, image.width, 3], *expected.shape(), "{name}");
            let Pixels::Bytes(bytes) = image.pixels() else { panic!("{name}") };
            let differences = bytes.iter().zip(expected.data()).map(|(a, b)| a.abs_diff(*b));
            let (most, sum) =
                differences.fold((0, 0u64), |(most, sum), d| (most.max(d), sum + u64::from(d)));
            let mean = sum as f64 / bytes.len() as f64;
            println!("{name}: at most {most}, {mean:.3} in the mean");
            if name.ends_with(".png") {
                assert_eq!(most, 0, "{name}");
            } else {
                assert!(most <= 8 && mean < 1.0, "{name}: {most}, {mean}");
            }
            read += 1;
        }
        assert_eq!(read, 15);
    }

    #[test]
    fn what_is_no_sound_picture_is_refused_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            match Image::load(&path) {
                Err(Error::InvalidArgument(message)) => {
                    assert!(message.contains(name), "{message}");
                    message
                }
                other => panic!("{name}: {other:?}"),
            }
        };
        assert!(refused("empty", b"").contains("PNG or JPEG"));
        assert!(refused("text.png", b"hello").contains("another format"));
        for name in ["rgb.png", "rgb.jpg", "progressive.jpeg"] {
            let whole = std::fs::read(goldens().join("images").join(name)).unwrap();
            for part in [9, whole.len() / 3, whole.len() - 40] {
                let message = refused(name, &whole[..part]);
                assert!(message.contains("expected a sound"), "{name}, {part}: {message}");
            }
        }
        // A size that no memory holds, and one beyond the bound.
        let mut header = std::fs::read(goldens().join("images/rgb.png")).unwrap();
        header[16..20].copy_from_slice(&0x7fff_ffffu32.to_be_bytes());
        refused("huge.png", &header);
        let missing = Image::load(&folder.path().join("missing.png"));
        assert!(matches!(missing, Err(Error::NotFound(m)) if m.contains("missing.png")));
        let directory = Image::load(folder.path());
        assert!(
            matches!(directory, Err(Error::InvalidArgument(m)) if m.ends_with("found a folder"))
        );
    }
}
