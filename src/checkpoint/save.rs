//! Writing the weights of one component: as they lie in their files, but for matrices that are
//! quantized on the way.
//!
//! The layout of a quantized matrix `X.weight` `(outputs, inputs)`, which `weights` reads:
//!
//! | tensor | int8 | fp8 | int4 |
//! | --- | --- | --- | --- |
//! | `X.weight` | I8 `(outputs, inputs)` | F8_E4M3 `(outputs, inputs)` | U8 `(outputs, 16 groups)` |
//! | `X.weight_scale` | F32 `(outputs, 1)` | F32 `(outputs, 1)` | BF16 `(outputs, groups)` |
//!
//! A group is 32 inputs, the last one filled up with zeros. Of its 16 bytes, byte i has input i in
//! its low four bits and input 16 + i in its high ones; 8 stands for zero. An element is its code
//! (of int4, less 8) times its scale.

use super::fields::{io, quoted};
use super::files::{Place, WeightFiles};
use crate::backend::{Quantization, QuantizedMatrix};
use crate::runtime::Control;
use crate::{Error, Result};
use serde_json::{json, Map, Value};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// Tensors are copied in parts of this size.
const PART_BYTES: usize = if cfg!(test) { 64 } else { 8 << 20 };
/// Matrices are quantized in parts of this many elements.
const PART_ELEMENTS: i64 = if cfg!(test) { 64 } else { 8 << 20 };

/// What is behind the name of a matrix for the name of its scales.
pub(super) const SCALE: &str = "_scale";

/// A tensor of the new file.
struct Entry<'a> {
    name: String,
    dtype: &'static str,
    shape: Vec<i64>,
    bytes: u64,
    /// An element's.
    size: u64,
    from: From<'a>,
}

enum From<'a> {
    /// As it lies there.
    File(&'a Place),
    /// Codes of the matrix there; its scales are another entry, of this name.
    Codes(&'a Place, String),
    /// The numbers of the blocks there.
    Blocks(&'a Place),
    /// Written with the codes.
    Scales,
}

/// Writes all tensors of `files` to a new file at `path`, those called `matrices` quantized.
///
/// Errors: [`Error::InvalidCheckpoint`] for files that have changed and numbers that are not finite;
/// [`Error::Io`]; [`Error::Cancelled`].
pub fn write(
    path: &Path,
    files: &WeightFiles,
    quantization: Option<Quantization>,
    matrices: &BTreeSet<String>,
    control: &Control,
) -> Result<()> {
    let quantization = quantization.map(Quantization::stored);
    let mut entries = Vec::new();
    for (name, place) in &files.places {
        let matrix = matrices.contains(name) && !place.dtype.is_codes();
        match quantization.filter(|_| matrix) {
            Some(quantization) => entries.extend(quantized_entries(name, place, quantization)?),
            None if place.dtype.block().0 > 1 => entries.push(Entry {
                name: name.clone(),
                dtype: "F32",
                shape: place.shape.clone(),
                bytes: place.elements() as u64 * 4,
                size: 4,
                from: From::Blocks(place),
            }),
            None => entries.push(Entry {
                name: name.clone(),
                dtype: dtype_name(place.dtype.kind())?,
                shape: place.shape.clone(),
                bytes: place.bytes as u64,
                size: place.dtype.kind().elt_size_in_bytes() as u64,
                from: From::File(place),
            }),
        }
    }
    // Large elements first, so that each begins at a multiple of its size, which readers that map
    // the file want.
    entries.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.name.cmp(&b.name)));
    let (header, starts) = header(&entries);
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).open(path).map_err(|e| io(path, &e))?;
    let target = Target { path, file, data_start: header.len() as u64 };
    target.write(0, &header)?;
    for (entry, start) in entries.iter().zip(&starts) {
        control.check()?;
        match &entry.from {
            From::File(place) => copy(files, place, &target, *start, control)?,
            From::Scales => {}
            From::Blocks(place) => {
                let options = (Kind::Float, Device::Cpu);
                let numbers = Tensor::f_empty([place.elements() as i64], options)?;
                files.read(place, 0, &numbers)?;
                target.tensor(*start, &numbers)?;
            }
            From::Codes(place, scales) => {
                let quantization = quantization.ok_or_else(|| lost(&entry.name))?;
                let matrix = quantized(files, &entry.name, place, quantization, control)?;
                let at = entries.iter().position(|entry| entry.name == *scales);
                let scale_start = at.and_then(|at| starts.get(at));
                let scale_start = scale_start.ok_or_else(|| lost(scales))?;
                target.tensor(*start, matrix.codes())?;
                target.tensor(*scale_start, matrix.scale())?;
            }
        }
    }
    target.file.sync_all().map_err(|e| io(path, &e))
}

fn lost(name: &str) -> Error {
    Error::Internal(format!("saving {}: no place", quoted(name)))
}

/// The name of a dtype in the header of a file.
fn dtype_name(kind: Kind) -> Result<&'static str> {
    Ok(match kind {
        Kind::Float => "F32",
        Kind::Half => "F16",
        Kind::BFloat16 => "BF16",
        Kind::Int8 => "I8",
        Kind::Uint8 => "U8",
        Kind::Float8e4m3fn => "F8_E4M3",
        other => return Err(Error::Internal(format!("{other:?} in a file"))),
    })
}

fn quantized_entries<'a>(
    name: &str,
    place: &'a Place,
    quantization: Quantization,
) -> Result<[Entry<'a>; 2]> {
    let [rows, columns] = matrix_size(place)?;
    let [codes, scale] = QuantizedMatrix::layout(quantization, rows, columns);
    let entry = |name: String, (kind, shape): (Kind, [i64; 2]), from| {
        let size = kind.elt_size_in_bytes() as u64;
        let bytes = shape.iter().product::<i64>() as u64 * size;
        let dtype = dtype_name(kind)?;
        Ok::<_, Error>(Entry { name, dtype, shape: shape.to_vec(), bytes, size, from })
    };
    let scales = format!("{name}{SCALE}");
    Ok([
        entry(name.to_string(), codes, From::Codes(place, scales.clone()))?,
        entry(scales, scale, From::Scales)?,
    ])
}

fn matrix_size(place: &Place) -> Result<[i64; 2]> {
    match place.shape[..] {
        [rows, columns] => Ok([rows, columns]),
        _ => Err(Error::Internal(format!("no matrix: {place:?}"))),
    }
}

/// The header with the length before it, and where each entry begins after it.
fn header(entries: &[Entry]) -> (Vec<u8>, Vec<u64>) {
    let mut fields = Map::new();
    // transformers and diffusers want to be told.
    fields.insert("__metadata__".into(), json!({ "format": "pt" }));
    let (mut end, mut starts) = (0u64, Vec::with_capacity(entries.len()));
    for Entry { name, dtype, shape, bytes, .. } in entries {
        starts.push(end);
        let offsets = [end, end + bytes];
        let place = json!({ "dtype": dtype, "shape": shape, "data_offsets": offsets });
        fields.insert(name.clone(), place);
        end += bytes;
    }
    let mut text = Value::Object(fields).to_string().into_bytes();
    // So that the tensors begin at a multiple of 8.
    text.resize(text.len().next_multiple_of(8), b' ');
    ([&(text.len() as u64).to_le_bytes()[..], &text].concat(), starts)
}

struct Target<'a> {
    path: &'a Path,
    file: File,
    data_start: u64,
}

impl Target<'_> {
    fn write(&self, at: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, at).map_err(|e| io(self.path, &e))
    }

    /// Writes a tensor on the host `start` bytes after the header.
    fn tensor(&self, start: u64, tensor: &Tensor) -> Result<()> {
        let flat = tensor.f_contiguous()?.f_view([-1i64].as_slice())?;
        let bytes = flat.f_view_dtype(Kind::Uint8)?;
        let mut buffer = vec![0u8; PART_BYTES.min(bytes.numel())];
        let mut done = 0;
        while done < bytes.numel() {
            let count = buffer.len().min(bytes.numel() - done);
            let part = bytes.f_narrow(0, done as i64, count as i64)?;
            part.f_copy_data_u8(&mut buffer, count)?;
            self.write(self.data_start + start + done as u64, buffer.get(..count).unwrap_or(&[]))?;
            done += count;
        }
        Ok(())
    }
}

/// Copies what is at `place` byte by byte.
fn copy(
    files: &WeightFiles,
    place: &Place,
    target: &Target,
    start: u64,
    control: &Control,
) -> Result<()> {
    let file = files.files.get(place.file).ok_or_else(|| lost("a file"))?;
    let mut buffer = vec![0u8; PART_BYTES.min(place.bytes)];
    let mut done = 0;
    while done < place.bytes {
        control.check()?;
        let (at, here) = place.at(done);
        let count = buffer.len().min(here);
        let Some(part) = buffer.get_mut(..count).filter(|part| !part.is_empty()) else {
            return Err(lost("a part"));
        };
        file.read_exact(at as u64, part)?;
        target.write(target.data_start + start + done as u64, part)?;
        done += count;
    }
    Ok(())
}

/// The matrix `name` at `place`, quantized on the host as a load does it.
fn quantized(
    files: &WeightFiles,
    name: &str,
    place: &Place,
    quantization: Quantization,
    control: &Control,
) -> Result<QuantizedMatrix> {
    let [rows, columns] = matrix_size(place)?;
    let file = files.files.get(place.file).ok_or_else(|| lost(name))?;
    let options = (Kind::Float, Device::Cpu);
    let step = (PART_ELEMENTS / columns.max(1)).clamp(1, rows.max(1));
    let made = QuantizedMatrix::from_rows(quantization, [rows, columns], options, |matrix| {
        let mut start = 0;
        while start < rows {
            control.check()?;
            let count = step.min(rows - start);
            let part = place.rows(start, count)?;
            let read = Tensor::f_empty([count, columns], options)?;
            files.read(&part, 0, &read.f_view([-1i64].as_slice())?)?;
            matrix.write(start, &read)?;
            start += count;
        }
        Ok(())
    });
    made.map_err(|e| e.context(format_args!("{}: tensor {}", file.path().display(), quoted(name))))
}
