//! One memory-mapped safetensors file.
//!
//! Weights are copied out of the map, once, rather than used in place: a file that shrinks
//! while it is mapped raises SIGBUS in whoever touches the lost pages, which for weights in
//! place would be any later run of the host; most weights are converted or fused anyway; and
//! the tensors of a device that is not the CPU are copies by nature. The copied pages are
//! handed back at once, so that the process never holds a tensor twice.

use super::fields::{io, open_file};
use crate::runtime::DType;
use crate::{Error, Result};
use memmap2::{Advice, Mmap, MmapOptions, UncheckedAdvice};
use safetensors::tensor::Metadata;
use safetensors::SafeTensors;
use std::fs::File;
use std::path::{Path, PathBuf};
use tch::{Device, Tensor};

/// The largest header that is parsed. That of CogVideoX-5b has 130 kilobytes; the format
/// itself allows 100 megabytes, which would parse into gigabytes.
const MAX_HEADER_BYTES: u64 = 16 << 20;
/// The header's length, little-endian, at the start of the file.
const LENGTH_BYTES: usize = 8;

pub(super) struct MappedFile {
    path: PathBuf,
    file: File,
    map: Mmap,
    pub metadata: Metadata,
    /// Where the tensors begin.
    pub data_start: usize,
}

impl std::fmt::Debug for MappedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MappedFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl MappedFile {
    pub fn open(path: &Path) -> Result<MappedFile> {
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
        // SAFETY: the map is private and read-only, and this process never writes to the file.
        // Another process may: the bytes are only ever read as numbers, for which any bit
        // pattern is valid, or parsed by code that checks them; shrinking is dealt with in
        // `check_length`.
        let map =
            unsafe { MmapOptions::new().map_copy_read_only(&file) }.map_err(|e| io(path, &e))?;
        let head: [u8; LENGTH_BYTES] = match map.get(..LENGTH_BYTES).map(TryInto::try_into) {
            Some(Ok(head)) => head,
            _ => return Err(damaged(format!("{} bytes", map.len()))),
        };
        let header = u64::from_le_bytes(head);
        if header > MAX_HEADER_BYTES {
            return Err(damaged(format!(
                "a header of {header} bytes, of at most {MAX_HEADER_BYTES}"
            )));
        }
        let (header, metadata) =
            SafeTensors::read_metadata(&map).map_err(|e| damaged(e.to_string()))?;
        let data_start =
            header.checked_add(LENGTH_BYTES).ok_or_else(|| damaged("too long a header".into()))?;
        // Only a hint: tensors are read about in the order of the file.
        let _ = map.advise(Advice::Sequential);
        Ok(MappedFile { path: path.to_path_buf(), file, map, metadata, data_start })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Copies `elements` numbers of `dtype` from byte `start` on into `target`, which is
    /// one-dimensional, of that length, on any device and of any dtype.
    pub fn copy_into(
        &self,
        start: usize,
        elements: usize,
        dtype: DType,
        target: &mut Tensor,
    ) -> Result<()> {
        self.check_length()?;
        let kind = dtype.kind();
        let size = kind.elt_size_in_bytes();
        let bytes = elements
            .checked_mul(size)
            .and_then(|length| start.checked_add(length))
            .and_then(|end| self.map.get(start..end));
        let (Some(bytes), Ok(length)) = (bytes, i64::try_from(elements)) else {
            return Err(Error::Internal(format!(
                "{}: {elements} elements at {start} lie outside of the file",
                self.path.display()
            )));
        };
        if bytes.is_empty() {
            return Ok(());
        }
        let source = if bytes.as_ptr().align_offset(size) == 0 {
            // SAFETY: `bytes` is aligned for `kind`, holds `length` of its elements, any bit
            // pattern of which is valid, and outlives the tensor, which ends with this
            // function and is only read from.
            unsafe { Tensor::f_from_blob(bytes.as_ptr(), &[length], &[1], kind, Device::Cpu)? }
        } else {
            // The format lets tensors begin at any byte, libtorch's loops do not.
            Tensor::f_from_data_size(bytes, &[length], kind)?
        };
        let device = target.device();
        if device != Device::Cpu && target.f_kind()? != kind {
            // Converted on the device: libtorch would do it on the host.
            target.f_copy_(&source.f_to_device(device)?)?;
        } else {
            target.f_copy_(&source)?;
        }
        drop(source);
        self.release(start, bytes.len());
        Ok(())
    }

    /// The file must be as long as when it was mapped: touching pages beyond its end raises
    /// SIGBUS in the host. What remains is the moment between this check and the copy.
    fn check_length(&self) -> Result<()> {
        let length = self.file.metadata().map_err(|e| io(&self.path, &e))?.len();
        if length < self.map.len() as u64 {
            return Err(Error::InvalidCheckpoint(format!(
                "{}: expected {} bytes as when it was opened, found {length}",
                self.path.display(),
                self.map.len()
            )));
        }
        Ok(())
    }

    /// Hands the pages of a part of the file back to the system. Failing to is harmless.
    fn release(&self, start: usize, length: usize) {
        // SAFETY: the map is file-backed and nobody writes to it, so pages that are dropped
        // come back with the same contents when they are touched again.
        let _ =
            unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, length) };
    }
}
