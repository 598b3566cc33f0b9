//! One safetensors file, read by position.
//!
//! Weights are read into their tensors with pread. Not through a memory map: a file that shrinks
//! while it is mapped, or a drive that fails, raises SIGBUS in whoever touches the lost pages,
//! and takes the host down. A read tells the same as an error.

use super::fields::{io, open_file, reserve};
use super::files::Stored;
use super::gguf::BlockFormat;
use crate::{Error, Result};
use safetensors::tensor::Metadata;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tch::{Device, Tensor};

/// The largest header that is parsed. That of CogVideoX-5b has 130 kilobytes; the format
/// itself allows 100 megabytes, which would parse into gigabytes.
const MAX_HEADER_BYTES: u64 = 16 << 20;
/// The header's length, little-endian, at the start of the file.
const LENGTH_BYTES: usize = 8;
/// Numbers that are converted on the host are read in pieces of this many bytes: few enough that
/// libtorch's threads, which meet after each, do not wait for each other in vain on a busy
/// machine. Small in tests, so that small tensors have several pieces.
const PIECE_BYTES: usize = if cfg!(test) { 16 } else { 8 << 20 };

pub(super) struct WeightFile {
    path: PathBuf,
    file: File,
    /// When it was opened.
    length: u64,
    /// When it was written last, as it was opened.
    modified: Option<SystemTime>,
    pub metadata: Metadata,
    /// Where the tensors begin.
    pub data_start: usize,
}

impl std::fmt::Debug for WeightFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WeightFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl WeightFile {
    /// Opens `path`, reads its header and checks that the tensors fill the rest of the file.
    pub fn open(path: &Path) -> Result<WeightFile> {
        let (file, length) = open_file(path)?;
        let damaged = |found: String| {
            Error::InvalidCheckpoint(format!(
                "{}: expected a safetensors file, found {found}",
                path.display()
            ))
        };
        if length < LENGTH_BYTES as u64 {
            return Err(damaged(format!("{length} bytes")));
        }
        let mut head = [0; LENGTH_BYTES];
        read(path, &file, length, 0, &mut head)?;
        let header = u64::from_le_bytes(head);
        if header > MAX_HEADER_BYTES {
            return Err(damaged(format!(
                "a header of {header} bytes, of at most {MAX_HEADER_BYTES}"
            )));
        }
        let data_start = header + LENGTH_BYTES as u64;
        if data_start > length {
            return Err(damaged(format!("a header of {header} bytes in a file of {length}")));
        }
        let mut text = Vec::new();
        reserve(&mut text, header, path)?;
        text.resize(header as usize, 0);
        read(path, &file, length, LENGTH_BYTES as u64, &mut text)?;
        let text = std::str::from_utf8(&text)
            .map_err(|e| damaged(format!("a header that is not UTF-8 text: {e}")))?;
        // Checks, too, that the tensors lie one behind another and are as long as they should.
        let metadata: Metadata =
            serde_json::from_str(text).map_err(|e| damaged(format!("a header with {e}")))?;
        let (tensors, rest) = (metadata.data_len() as u64, length - data_start);
        if tensors != rest {
            return Err(damaged(format!(
                "{rest} bytes of tensors, where its header says {tensors}"
            )));
        }
        let data_start = data_start as usize;
        let modified = file.metadata().and_then(|now| now.modified()).ok();
        Ok(WeightFile { path: path.to_path_buf(), file, length, modified, metadata, data_start })
    }

    /// Opens `path`, whose tensors are known otherwise.
    pub fn plain(path: &Path) -> Result<WeightFile> {
        let (file, length) = open_file(path)?;
        let modified = file.metadata().and_then(|now| now.modified()).ok();
        let metadata = Metadata::new(None, Vec::new())
            .map_err(|e| Error::Internal(format!("an empty header: {e}")))?;
        let path = path.to_path_buf();
        Ok(WeightFile { path, file, length, modified, metadata, data_start: 0 })
    }

    /// [`Error::InvalidCheckpoint`] if the file was written to since it was opened. One that was
    /// removed, or replaced by another of its name, is still the one that was opened.
    pub fn check_unchanged(&self) -> Result<()> {
        let now = self.file.metadata().map_err(|error| io(&self.path, &error))?;
        if now.len() != self.length {
            return Err(self.shorter(now.len()));
        }
        if self.modified.is_some() && now.modified().ok() != self.modified {
            return Err(Error::InvalidCheckpoint(format!(
                "{}: expected the file as it was opened, found that it was written to since: load \
                 the pipeline again",
                self.path.display()
            )));
        }
        Ok(())
    }

    fn shorter(&self, found: u64) -> Error {
        Error::InvalidCheckpoint(format!(
            "{}: expected {} bytes as when it was opened, found {found}",
            self.path.display(),
            self.length
        ))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads `elements` numbers of `dtype` from byte `start` on into `target`, which is
    /// one-dimensional, dense, of that length, on any device and of any dtype.
    ///
    /// Errors: [`Error::InvalidCheckpoint`] if the file has become shorter than it was.
    pub fn read_into(
        &self,
        start: usize,
        elements: usize,
        dtype: Stored,
        target: &mut Tensor,
    ) -> Result<()> {
        if let Stored::Blocks(format) = dtype {
            return self.read_blocks(start, elements, format, target);
        }
        let kind = dtype.kind();
        let size = kind.elt_size_in_bytes();
        let device = target.device();
        if device == Device::Cpu && target.f_kind()? == kind {
            return self.read_bytes(start, elements, size, target);
        }
        // Converted where it is used: libtorch would do it on the host.
        let piece = if device == Device::Cpu { PIECE_BYTES / size } else { elements };
        let staging = Tensor::f_empty([piece.min(elements) as i64], (kind, Device::Cpu))?;
        let mut done = 0;
        while done < elements {
            let count = piece.min(elements - done);
            let source = staging.f_narrow(0, 0, count as i64)?;
            self.read_bytes(start.saturating_add(done * size), count, size, &source)?;
            let mut target = target.f_narrow(0, done as i64, count as i64)?;
            target.f_copy_(&source.f_to_device(device)?)?;
            done += count;
        }
        Ok(())
    }

    /// As [`WeightFile::read_into`], of whole blocks.
    fn read_blocks(
        &self,
        start: usize,
        elements: usize,
        format: BlockFormat,
        target: &mut Tensor,
    ) -> Result<()> {
        let (of_block, size) = format.block();
        if !elements.is_multiple_of(of_block) || elements > target.numel() {
            return Err(Error::Internal(format!("{elements} elements of {format:?}")));
        }
        let piece = (PIECE_BYTES / 4 / of_block).max(1) * of_block;
        let mut bytes = vec![0u8; piece.min(elements) / of_block * size];
        let mut numbers = vec![0f32; piece.min(elements)];
        let mut done = 0;
        while done < elements {
            let count = piece.min(elements - done);
            let first = start.saturating_add(done / of_block * size);
            let (Some(bytes), Some(numbers)) =
                (bytes.get_mut(..count / of_block * size), numbers.get_mut(..count))
            else {
                return Err(Error::Internal(format!("{count} of {piece} elements")));
            };
            self.read_exact(first as u64, bytes)?;
            format.decode(bytes, numbers);
            let source = Tensor::f_from_slice(numbers)?.f_to_device(target.device())?;
            target.f_narrow(0, done as i64, count as i64)?.f_copy_(&source)?;
            done += count;
        }
        Ok(())
    }

    /// Fills `into` with the bytes from `start` on, as they are.
    pub fn read_exact(&self, start: u64, into: &mut [u8]) -> Result<()> {
        read(&self.path, &self.file, self.length, start, into)
    }

    /// Reads into a dense tensor on the host.
    fn read_bytes(&self, start: usize, elements: usize, size: usize, into: &Tensor) -> Result<()> {
        let bytes = elements.checked_mul(size).filter(|_| elements <= into.numel());
        let (Some(bytes), true) = (bytes, into.is_contiguous()) else {
            return Err(Error::Internal(format!(
                "{}: {elements} elements at {start} for {into:?}",
                self.path.display()
            )));
        };
        let data = into.data_ptr().cast::<u8>();
        if bytes == 0 || data.is_null() {
            return Ok(());
        }
        // SAFETY: the tensor is dense, on the host, has at least `bytes` bytes, any pattern of
        // which is valid, and was made for this: nobody else reads or writes it yet.
        let bytes = unsafe { std::slice::from_raw_parts_mut(data, bytes) };
        read(&self.path, &self.file, self.length, start as u64, bytes)
    }
}

/// Fills `into` from byte `start` of a file that had `length` bytes.
fn read(path: &Path, file: &File, length: u64, start: u64, into: &mut [u8]) -> Result<()> {
    file.read_exact_at(into, start).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => {
            let found = file.metadata().map_or("fewer".into(), |now| now.len().to_string());
            Error::InvalidCheckpoint(format!(
                "{}: expected {length} bytes as when it was opened, found {found}",
                path.display()
            ))
        }
        _ => io(path, &error),
    })
}
