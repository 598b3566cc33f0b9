//! Weights in host memory, for networks that copy their blocks to where they compute as they use
//! them.
//!
//! They lie end to end in slabs of one size, and a tensor may begin in one and end in the next:
//! memory that a device reads by itself ("pinned") is handed out by libtorch in powers of two,
//! so that tensors of their own would take up to twice of what they hold.

use super::fields::quoted;
use super::files::Place;
use super::save::SCALE;
use super::WeightFiles;
use crate::backend::QuantizedMatrix;
use crate::runtime::device;
use crate::runtime::Control;
use crate::{Error, Result};
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};

/// Small in tests, so that small tensors lie in several.
const SLAB_BYTES: usize = if cfg!(test) { 256 } else { 64 << 20 };
/// Tensors begin at multiples of it, so that no number of them lies in two slabs.
const ALIGNMENT: usize = 64;

/// A tensor to be read, and in what it is wanted.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub name: String,
    pub kind: Kind,
    pub elements: usize,
}

/// Some tensors of one component.
pub struct HostWeights {
    /// Bytes, each one-dimensional.
    slabs: Vec<Tensor>,
    places: BTreeMap<String, HostPlace>,
}

/// Where a tensor lies.
struct HostPlace {
    /// Over all slabs.
    offset: usize,
    kind: Kind,
    elements: usize,
}

impl HostWeights {
    /// Reads the tensors `wanted`, each converted to its kind; `quantize` makes codes and scales that
    /// are not in the files. The memory is such that `reader`, where that is a CUDA device, reads it
    /// by itself. `follow` is told bytes of the files as they are read.
    pub(super) fn read(
        files: &WeightFiles,
        wanted: &[Wanted],
        reader: Device,
        quantize: &dyn Fn(&String, &Place) -> Result<QuantizedMatrix>,
        control: &Control,
        follow: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<HostWeights> {
        let mut places = BTreeMap::new();
        let mut end = 0usize;
        for &Wanted { ref name, kind, elements } in wanted {
            let offset = end;
            let bytes = elements.checked_mul(kind.elt_size_in_bytes());
            let next = bytes.and_then(|bytes| offset.checked_add(bytes));
            let next = next.and_then(|next| next.checked_next_multiple_of(ALIGNMENT));
            end = next.ok_or_else(|| Error::Internal(format!("{}: too large", quoted(name))))?;
            places.insert(name.clone(), HostPlace { offset, kind, elements });
        }
        let mut weights = HostWeights { slabs: Vec::new(), places };
        let mut made = 0;
        while made < end {
            let bytes = (end - made).min(SLAB_BYTES);
            weights.slabs.push(device::host_bytes(bytes, reader)?);
            made += bytes;
        }
        for Wanted { name, kind, .. } in wanted {
            if let Some((matrix, place)) = files.made_of(name, *kind) {
                // Scales come with their codes.
                if name == matrix {
                    control.check()?;
                    let made = quantize(matrix, place)?;
                    weights.put(name, made.codes())?;
                    weights.put(&format!("{name}{SCALE}"), made.scale())?;
                    follow(place.bytes as u64)?;
                }
                continue;
            }
            let place = files.places.get(name).ok_or_else(|| no_tensor(name))?;
            let (of_block, size) = place.dtype.block();
            if of_block > 1 {
                // A slab may end within a block.
                let whole = Tensor::f_empty([place.elements() as i64], (Kind::Float, Device::Cpu))?;
                files
                    .read(place, 0, &whole)
                    .map_err(|e| e.context(format_args!("tensor {}", quoted(name))))?;
                weights.each_part(name, &mut |first, part| {
                    control.check()?;
                    let numbers = whole.f_narrow(0, first as i64, part.numel() as i64)?;
                    Ok(part.shallow_clone().f_copy_(&numbers)?)
                })?;
                follow(place.bytes as u64)?;
                continue;
            }
            weights.each_part(name, &mut |first, part| {
                control.check()?;
                files
                    .read(place, first, part)
                    .map_err(|e| e.context(format_args!("tensor {}", quoted(name))))?;
                follow((part.numel() * size) as u64)
            })?;
        }
        Ok(weights)
    }

    /// Copies `tensor` to where tensor `name` is.
    fn put(&self, name: &str, tensor: &Tensor) -> Result<()> {
        let flat = tensor.f_view([-1i64].as_slice())?;
        self.each_part(name, &mut |first, part| {
            let numbers = flat.f_narrow(0, first as i64, part.numel() as i64)?;
            Ok(part.shallow_clone().f_copy_(&numbers)?)
        })
    }

    /// Bytes that the tensors take.
    pub(super) fn bytes(&self) -> u64 {
        self.slabs.iter().map(|slab| slab.numel() as u64).sum()
    }

    /// Hands out tensor `name` in parts, each with the number of the element that it begins with.
    pub(super) fn each_part(
        &self,
        name: &str,
        part: &mut dyn FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<()> {
        let place = self.places.get(name).ok_or_else(|| no_tensor(name))?;
        let size = place.kind.elt_size_in_bytes();
        let mut done = 0;
        while done < place.elements {
            let at = place.offset + done * size;
            let (slab, within) = (at / SLAB_BYTES, at % SLAB_BYTES);
            let slab = self.slabs.get(slab).ok_or_else(|| no_tensor(name))?;
            let elements = ((SLAB_BYTES - within) / size).min(place.elements - done);
            let bytes = slab.f_narrow(0, within as i64, (elements * size) as i64)?;
            part(done, &bytes.f_view_dtype(place.kind)?)?;
            done += elements;
        }
        Ok(())
    }
}

fn no_tensor(name: &str) -> Error {
    Error::Internal(format!("host weights: no tensor {}", quoted(name)))
}
