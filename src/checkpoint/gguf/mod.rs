//! GGUF files (ggml docs/gguf.md, versions 2 and 3): names, shapes and places of their tensors.
//!
//! A reader of our own: those that are to be had as libraries either bring a tensor library of their
//! own (candle-core) or take the lengths of a file at their word, and what is needed is the header
//! alone. Every length is bounded, and every place is checked to be in the file.

mod blocks;
mod names;

pub(super) use blocks::BlockFormat;
pub(super) use names::checkpoint_name;

use super::fields::{io, open_file, quoted};
use crate::{Error, Result};
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

const MAGIC: [u8; 4] = *b"GGUF";
/// Of a header. T5's has its vocabulary, a megabyte.
const MAX_HEADER_BYTES: u64 = 64 << 20;
const MAX_TENSORS: u64 = 1 << 16;
const MAX_FIELDS: u64 = 1 << 16;
const MAX_NAME_BYTES: u64 = 1 << 10;
/// Arrays in arrays.
const MAX_DEPTH: usize = 4;

/// Where a tensor lies in its file.
#[derive(Debug)]
pub(super) struct GgufTensor {
    pub name: String,
    pub format: BlockFormat,
    /// Slowest first, as everywhere here; a file has them the other way round.
    pub shape: Vec<i64>,
    pub start: usize,
    pub bytes: usize,
}

/// Whether the file at `path` begins as a GGUF file does.
pub(super) fn is_gguf(path: &Path) -> Result<bool> {
    let (mut file, length) = open_file(path)?;
    let mut magic = [0; 4];
    if length < 4 {
        return Ok(false);
    }
    file.read_exact(&mut magic).map_err(|e| io(path, &e))?;
    Ok(magic == MAGIC)
}

/// The tensors of the file at `path`. Errors: [`Error::InvalidCheckpoint`] for a damaged file,
/// [`Error::UnsupportedModel`] for another version or format of tensors; both name what is at fault.
pub(super) fn tensors(path: &Path) -> Result<Vec<GgufTensor>> {
    let (file, length) = open_file(path)?;
    let mut header = Header { path, file: BufReader::new(file), at: 0, length };
    if header.bytes::<4>()? != MAGIC {
        return Err(header.damaged("a GGUF file", "another kind of file"));
    }
    let version = header.u32()?;
    if !(2..=3).contains(&version) {
        // A file of the other byte order has the version's byte at the other end.
        let found = format!("version {version}");
        return Err(Error::UnsupportedModel(header.message("GGUF version 2 or 3", &found)));
    }
    let (count, fields) = (header.u64()?, header.u64()?);
    for (what, found, most) in [("tensors", count, MAX_TENSORS), ("fields", fields, MAX_FIELDS)] {
        if found > most {
            return Err(header.damaged(&format!("at most {most} {what}"), &found.to_string()));
        }
    }
    let mut alignment = 32u64;
    for _ in 0..fields {
        let name = header.string(MAX_HEADER_BYTES)?;
        let kind = header.u32()?;
        if name == "general.alignment" && kind == 4 {
            alignment = header.u32()?.into();
            if !alignment.is_power_of_two() || alignment > 1 << 20 {
                return Err(header.damaged("an alignment", &alignment.to_string()));
            }
        } else {
            header.skip_value(kind, 0)?;
        }
    }
    let mut found = Vec::new();
    for _ in 0..count {
        found.push(header.tensor()?);
    }
    let data = header.at.next_multiple_of(alignment);
    found.into_iter().map(|(tensor, offset)| header.placed(tensor, data, offset)).collect()
}

struct Header<'a> {
    path: &'a Path,
    file: BufReader<File>,
    /// Bytes read.
    at: u64,
    length: u64,
}

impl Header<'_> {
    fn message(&self, expected: &str, found: &str) -> String {
        format!("{}: expected {expected}, found {found}", self.path.display())
    }

    fn damaged(&self, expected: &str, found: &str) -> Error {
        Error::InvalidCheckpoint(self.message(expected, found))
    }

    /// Fails unless `more` bytes can be part of the header.
    fn room(&self, more: u64) -> Result<()> {
        let end = self.at.checked_add(more);
        match end.filter(|&end| end <= self.length.min(MAX_HEADER_BYTES)) {
            Some(_) => Ok(()),
            None => {
                let most = self.length.min(MAX_HEADER_BYTES);
                let expected = format!("a GGUF header of at most {most} bytes");
                Err(self.damaged(&expected, &format!("{more} more after {}", self.at)))
            }
        }
    }

    fn fill(&mut self, into: &mut [u8]) -> Result<()> {
        self.room(into.len() as u64)?;
        self.file.read_exact(into).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => self.damaged("a whole GGUF file", "its end"),
            _ => io(self.path, &error),
        })?;
        self.at += into.len() as u64;
        Ok(())
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    fn string(&mut self, most: u64) -> Result<String> {
        let length = self.u64()?;
        if length > most {
            return Err(
                self.damaged(&format!("a name of at most {most} bytes"), &length.to_string())
            );
        }
        self.room(length)?;
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| self.damaged("text in UTF-8", "other bytes"))
    }

    fn skip(&mut self, bytes: u64) -> Result<()> {
        self.room(bytes)?;
        let skipped = std::io::copy(&mut (&mut self.file).take(bytes), &mut std::io::sink());
        let skipped = skipped.map_err(|e| io(self.path, &e))?;
        if skipped != bytes {
            return Err(self.damaged("a whole GGUF file", "its end"));
        }
        self.at += bytes;
        Ok(())
    }

    /// Passes over the value of a field.
    fn skip_value(&mut self, kind: u32, depth: usize) -> Result<()> {
        let fixed = |kind| match kind {
            0 | 1 | 7 => Some(1u64),
            2 | 3 => Some(2),
            4..=6 => Some(4),
            10..=12 => Some(8),
            _ => None,
        };
        match (kind, fixed(kind)) {
            (_, Some(bytes)) => self.skip(bytes),
            (8, _) => {
                let length = self.u64()?;
                self.skip(length)
            }
            (9, _) if depth < MAX_DEPTH => {
                let (of, count) = (self.u32()?, self.u64()?);
                if let Some(bytes) = fixed(of) {
                    return self.skip(bytes.saturating_mul(count));
                }
                // Each has a length of its own, so there can't be more of them than bytes.
                self.room(count.saturating_mul(8))?;
                (0..count).try_for_each(|_| self.skip_value(of, depth + 1))
            }
            _ => Err(self.damaged("a type of GGUF fields", &kind.to_string())),
        }
    }

    /// The next tensor, not placed yet, and its offset.
    fn tensor(&mut self) -> Result<(GgufTensor, u64)> {
        let name = self.string(MAX_NAME_BYTES)?;
        let sides = self.u32()?;
        if sides > 8 {
            let expected = format!("at most 8 dimensions of tensor {}", quoted(&name));
            return Err(self.damaged(&expected, &sides.to_string()));
        }
        let mut shape = Vec::new();
        for _ in 0..sides {
            let side = self.u64()?;
            let fits = i64::try_from(side).ok().filter(|&side| side <= 1 << 40);
            let expected = || format!("smaller dimensions of tensor {}", quoted(&name));
            shape.push(fits.ok_or_else(|| self.damaged(&expected(), &side.to_string()))?);
        }
        let number = self.u32()?;
        let format = BlockFormat::of(number).ok_or_else(|| {
            let expected = format!("tensor {} in one of {}", quoted(&name), BlockFormat::NAMES);
            Error::UnsupportedModel(self.message(&expected, &format!("ggml type {number}")))
        })?;
        let offset = self.u64()?;
        Ok((GgufTensor { name, format, shape, start: 0, bytes: 0 }, offset))
    }

    /// Puts a tensor to its place behind the header, which ends at `data`.
    fn placed(&self, mut tensor: GgufTensor, data: u64, offset: u64) -> Result<GgufTensor> {
        let name = quoted(&tensor.name);
        let (elements, bytes) = tensor.format.block();
        let row = tensor.shape.first().copied().unwrap_or(1);
        let all = tensor.shape.iter().try_fold(1i64, |all, &side| all.checked_mul(side));
        let whole = row % elements as i64 == 0;
        let size = all
            .filter(|_| whole)
            .and_then(|all| u64::try_from(all / elements as i64).ok()?.checked_mul(bytes as u64));
        let start = data.checked_add(offset);
        let end = start.zip(size).and_then(|(start, size)| start.checked_add(size));
        match (start, size, end) {
            (Some(start), Some(size), Some(end)) if end <= self.length => {
                tensor.start = start as usize;
                tensor.bytes = size as usize;
                tensor.shape.reverse();
                Ok(tensor)
            }
            _ => Err(self.damaged(
                &format!("tensor {name} in whole blocks in the file's {} bytes", self.length),
                &format!("{:?} of {:?} at {offset}", tensor.shape, tensor.format),
            )),
        }
    }
}
