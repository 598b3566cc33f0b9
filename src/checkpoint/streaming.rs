//! Weights of repeated blocks that are not kept where they compute: each block is read, or copied
//! from host memory, while the block before it computes.
//!
//! A block is loaded by the same code whether it stays or not. What differs is where its tensors
//! go and come from, which [`Rooms`] say: into the memory of a block that has done its part, from
//! the files or from the host's copy. So a network that streams computes with the same numbers.
//!
//! Files are held open from the load on and read by position, not through a memory map: see
//! `weight_file`. What happens to them meanwhile is an error of the run that reads them, or
//! nothing where they are removed or replaced by others: an open file stays what it is.

use super::files::{Place, Stored};
use super::host::{HostWeights, Wanted};
use super::weight_file::WeightFile;
use super::{WeightFiles, WeightStore, Weights};
use crate::backend::{DeviceKernels, MatmulPrecision, Quantization};
use crate::runtime::device::CopyStream;
use crate::runtime::{device::rounded, Control, DType, LogLevel, Placement, ReadOnly};
use crate::{Error, Result};
use std::cell::{Cell, RefCell};
use std::mem::take;
use std::sync::Arc;
use tch::{Device, Kind, Tensor};

/// How the weights of a network's blocks are kept between their uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Streaming {
    /// Where they compute, in the dtype that they compute in.
    #[default]
    Resident,
    /// In their files, which the system's page cache may hold.
    File,
    /// In host memory: in the file's dtype for networks on the CPU, else in that of the computation
    /// and such that the device reads it by itself.
    Host,
}

impl Streaming {
    const ALL: [Streaming; 3] = [Streaming::Resident, Streaming::File, Streaming::Host];

    /// The name a host uses: "resident", "file" or "host".
    pub fn name(self) -> &'static str {
        match self {
            Streaming::Resident => "resident",
            Streaming::File => "file",
            Streaming::Host => "host",
        }
    }

    /// What a host asks for. Errors: [`Error::InvalidArgument`] for another name.
    pub fn parse(name: &str) -> Result<Streaming> {
        Self::ALL.into_iter().find(|mode| mode.name() == name).ok_or_else(|| {
            Error::InvalidArgument(format!(
                "streaming mode must be one of {:?}, found {name:?}",
                Self::ALL.map(Streaming::name)
            ))
        })
    }
}

/// Where the tensors of a block go and come from, if not into memory of their own and from the
/// files.
pub(super) trait Rooms {
    /// Room for a tensor; `None`: it is to be made.
    fn room(&self, shape: &[i64], kind: Kind) -> Result<Option<Tensor>>;

    /// Told of room that was made.
    fn made(&self, room: &Tensor);

    /// Room for a matrix that is to be stored in another layout, until the next one is asked for or
    /// [`Rooms::keep_scratch`]. `None`: it takes a room as others do.
    fn scratch(&self, _shape: &[i64], _kind: Kind) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// The matrix in it has stayed as it is, and is in use.
    fn keep_scratch(&self) {}

    /// Fills a part of a room with tensor `name`. `None`: it is to be read from its file; else how
    /// many bytes of the file count as read now.
    fn fill(&self, name: &str, place: &Place, target: &Tensor) -> Result<Option<u64>>;

    /// The place of tensor `name`, where there are no files.
    fn place(&self, _name: &str, _shape: &[i64]) -> Option<Place> {
        None
    }

    /// Told of each matrix that may be quantized.
    fn quantizable(&self, _name: &str) {}

    /// Whether nothing is read: only names and shapes are checked.
    fn are_empty(&self) -> bool {
        false
    }
}

/// The memory of one block, kept for the next one.
#[derive(Default)]
pub struct Slot {
    rooms: Vec<Tensor>,
    /// Through which matrices pass that are stored in another layout.
    scratch: Option<Tensor>,
}

/// The weights of the blocks of one network that streams them.
pub struct BlockWeights {
    files: Arc<WeightFiles>,
    placement: Placement,
    /// The place of the blocks, such as `transformer_blocks`.
    prefix: String,
    /// Of each block its tensors, and in what they are wanted.
    tensors: Vec<Vec<Wanted>>,
    host: Option<HostWeights>,
    /// How their matrices are stored.
    quantization: Option<Quantization>,
    kernels: Option<DeviceKernels>,
    matmul_precision: MatmulPrecision,
}

// SAFETY: the files are read by position, and what is kept in host memory is written before the
// value is there and then only read. Everything else is plain.
unsafe impl ReadOnly for BlockWeights {}

impl BlockWeights {
    /// The weights of `count` blocks below `weights`, each at its number. `load` is what will load
    /// a block: it is called for each, and every tensor that it asks for is checked, and read where
    /// it is kept in host memory. That is so, too, where matrices are quantized that are not in the
    /// files: each is once, here.
    pub fn open<B>(
        weights: &Weights,
        count: usize,
        load: impl Fn(&Weights) -> Result<B>,
    ) -> Result<BlockWeights> {
        let store = weights.store;
        let (mut tensors, mut bytes) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for index in 0..count {
            let list = Listed::default();
            load(&weights.at(index).into_rooms(&list))?;
            tensors.push(list.found.into_inner());
            bytes.push(list.bytes.get());
        }
        let mut blocks = BlockWeights {
            files: Arc::clone(&store.files),
            placement: store.placement,
            prefix: weights.name().to_string(),
            tensors,
            host: None,
            quantization: store.quantization.filter(|_| weights.quantizable),
            kernels: store.kernels.clone(),
            matmul_precision: store.matmul_precision,
        };
        let mut all: Vec<_> = blocks.tensors.iter().flatten().cloned().collect();
        let makes =
            all.iter().any(|wanted| blocks.files.made_of(&wanted.name, wanted.kind).is_some());
        if makes && store.streaming == Streaming::File {
            let log = format!(
                "{}: the blocks' matrices are quantized once, and kept in host memory: the files do \
                 not have them so",
                blocks.prefix
            );
            store.control.log(LogLevel::Info, log);
        }
        if !makes && store.streaming != Streaming::Host {
            bytes.into_iter().try_for_each(|bytes| store.advance(bytes))?;
            return Ok(blocks);
        }
        if blocks.placement.device == Device::Cpu {
            for Wanted { name, kind, .. } in &mut all {
                if Quantization::of_codes(*kind).is_none() {
                    *kind = blocks.files.places.get(name).map_or(*kind, |p| p.dtype.kind());
                }
            }
        }
        let host = HostWeights::read(
            &blocks.files,
            &all,
            blocks.placement.device,
            &|name, place| {
                let wanted = blocks.quantization.ok_or_else(|| blocks.no_block(0))?;
                store.quantize(wanted, &[(name, place)], Kind::Float)
            },
            &store.control,
            &mut |bytes| store.advance(bytes),
        )?;
        store.add_loaded_bytes(host.bytes());
        blocks.host = Some(host);
        Ok(blocks)
    }

    pub fn count(&self) -> usize {
        self.tensors.len()
    }

    pub fn device(&self) -> Device {
        self.placement.device
    }

    /// Whether blocks come from host memory, rather than from the files.
    pub fn are_in_memory(&self) -> bool {
        self.host.is_some()
    }

    /// Errors: [`Error::InvalidCheckpoint`] if a file that blocks are still read from was written to.
    pub fn check_unchanged(&self) -> Result<()> {
        match self.host {
            Some(_) => Ok(()),
            None => self.files.files.iter().try_for_each(WeightFile::check_unchanged),
        }
    }

    /// Block `index` from its file into memory that the device reads by itself.
    pub fn stage(&self, index: usize, control: &Control) -> Result<HostWeights> {
        let tensors = self.tensors.get(index).ok_or_else(|| self.no_block(index))?;
        let none = |_: &String, _: &Place| Err(self.no_block(index));
        let device = self.placement.device;
        HostWeights::read(&self.files, tensors, device, &none, control, &mut |_| Ok(()))
    }

    /// Block `index`, into the memory of `slot`, which is then its own; from `staged`, else from
    /// where the weights are kept. With `copies`, the block is there once that stream has got so
    /// far.
    pub fn load<B>(
        &self,
        index: usize,
        slot: &mut Slot,
        (staged, copies): (Option<&HostWeights>, Option<&CopyStream>),
        control: &Control,
        load: &dyn Fn(&Weights) -> Result<B>,
    ) -> Result<B> {
        if index >= self.count() {
            return Err(self.no_block(index));
        }
        // A part of a run, whose progress it is not.
        let control = Control { progress: None, ..control.clone() };
        let store = WeightStore::again(Arc::clone(&self.files), self.placement, &control);
        let mut store = store.quantized(self.quantization);
        store.kernels = self.kernels.clone();
        store.matmul_precision = self.matmul_precision;
        let rooms = Reused {
            free: RefCell::new(take(&mut slot.rooms)),
            used: RefCell::default(),
            scratch: RefCell::new(slot.scratch.take()),
            host: staged.or(self.host.as_ref()),
            copies,
        };
        let place = store.root().at(&self.prefix).at(index).quantizable();
        let block = load(&place.into_rooms(&rooms));
        if block.is_err() {
            // Copies may be under way into rooms that go back to the allocator now.
            copies.map_or(Ok(()), CopyStream::join)?;
        }
        *slot = Slot { rooms: rooms.used.into_inner(), scratch: rooms.scratch.into_inner() };
        block
    }

    fn no_block(&self, index: usize) -> Error {
        Error::Internal(format!("{}: block {index} of {}", self.prefix, self.count()))
    }
}

/// What the weights of one network take where it computes, in bytes as a CUDA device's allocator hands
/// them out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WeightSizes {
    /// Of what is no block.
    pub around: u64,
    /// Of each block.
    pub blocks: Vec<u64>,
}

impl WeightSizes {
    pub fn bytes(&self) -> u64 {
        self.blocks.iter().fold(self.around, |all, &block| all.saturating_add(block))
    }

    /// What the blocks take that are on their way at the same time.
    pub fn two_blocks(&self) -> u64 {
        let most = self.blocks.iter().copied().max().unwrap_or(0);
        most.saturating_mul(self.blocks.len().min(2) as u64)
    }
}

/// The sizes of what `load` asks for, whatever it is, with matrices stored as `quantization` says: there
/// are no files, and nothing is allocated.
pub fn imagined(
    placement: Placement,
    quantization: Option<Quantization>,
    load: impl FnOnce(&Weights) -> Result<()>,
) -> Result<WeightSizes> {
    let _no_grad = tch::no_grad_guard();
    let files = Arc::new(WeightFiles::none());
    let store = WeightStore::again(files, placement, &Control::default()).quantized(quantization);
    let rooms = Imagined::default();
    load(&store.root().into_rooms(&rooms))?;
    Ok(rooms.sizes.into_inner())
}

/// Adds up what is asked for.
#[derive(Default)]
struct Imagined {
    /// Of the room that was asked for last, until it is known whose it is.
    room: Cell<u64>,
    sizes: RefCell<WeightSizes>,
}

impl Rooms for Imagined {
    fn room(&self, shape: &[i64], kind: Kind) -> Result<Option<Tensor>> {
        let elements = shape.iter().fold(1i64, |all, &side| all.saturating_mul(side));
        let bytes = rounded(elements.saturating_mul(kind.elt_size_in_bytes() as i64));
        self.room.set(self.room.get().saturating_add(u64::try_from(bytes).unwrap_or(0)));
        no_room(shape, kind).map(Some)
    }

    fn made(&self, _: &Tensor) {}

    fn fill(&self, name: &str, _: &Place, _: &Tensor) -> Result<Option<u64>> {
        let bytes = self.room.take();
        let mut sizes = self.sizes.borrow_mut();
        // `transformer_blocks.N.…`, `encoder.block.N.…`
        let after = ["transformer_blocks.", "encoder.block."];
        let after = after.into_iter().find_map(|prefix| name.strip_prefix(prefix));
        let block = after.and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
        // The table of the first block's positions is the whole encoder's.
        match block.filter(|_| !name.contains("relative_attention_bias")) {
            None => sizes.around = sizes.around.saturating_add(bytes),
            Some(block) => {
                if sizes.blocks.len() <= block {
                    sizes.blocks.resize(block + 1, 0);
                }
                if let Some(size) = sizes.blocks.get_mut(block) {
                    *size = size.saturating_add(bytes);
                }
            }
        }
        Ok(Some(0))
    }

    fn place(&self, _: &str, shape: &[i64]) -> Option<Place> {
        Some(Place {
            file: 0,
            dtype: Stored::Numbers(DType::F32),
            shape: shape.to_vec(),
            start: 0,
            bytes: 0,
            second: None,
        })
    }

    fn are_empty(&self) -> bool {
        true
    }
}

/// Notes what is asked for, and reads nothing.
#[derive(Default)]
struct Listed {
    found: RefCell<Vec<Wanted>>,
    /// Of the files.
    bytes: Cell<u64>,
}

impl Rooms for Listed {
    fn room(&self, shape: &[i64], kind: Kind) -> Result<Option<Tensor>> {
        no_room(shape, kind).map(Some)
    }

    fn made(&self, _: &Tensor) {}

    fn fill(&self, name: &str, place: &Place, target: &Tensor) -> Result<Option<u64>> {
        let (name, kind, elements) = (name.to_string(), target.f_kind()?, target.numel());
        self.found.borrow_mut().push(Wanted { name, kind, elements });
        self.bytes.set(self.bytes.get().saturating_add(place.bytes as u64));
        Ok(Some(0))
    }

    fn are_empty(&self) -> bool {
        true
    }
}

/// One number that stands for all of a tensor's.
pub(super) fn no_room(shape: &[i64], kind: Kind) -> Result<Tensor> {
    // Not zeros: some kinds can't be filled.
    let one = Tensor::f_empty([0i64; 0].as_slice(), (kind, Device::Cpu))?;
    Ok(one.f_expand(shape, false)?)
}

/// The memory of another block, filled anew.
struct Reused<'a> {
    free: RefCell<Vec<Tensor>>,
    used: RefCell<Vec<Tensor>>,
    scratch: RefCell<Option<Tensor>>,
    host: Option<&'a HostWeights>,
    copies: Option<&'a CopyStream>,
}

impl Rooms for Reused<'_> {
    fn room(&self, shape: &[i64], kind: Kind) -> Result<Option<Tensor>> {
        let mut free = self.free.borrow_mut();
        let fits = |room: &Tensor| room.kind() == kind && room.size() == shape;
        let Some(at) = free.iter().position(fits) else { return Ok(None) };
        let room = free.remove(at);
        self.made(&room);
        Ok(Some(room))
    }

    fn made(&self, room: &Tensor) {
        self.used.borrow_mut().push(room.shallow_clone());
    }

    fn scratch(&self, shape: &[i64], kind: Kind) -> Result<Option<Tensor>> {
        let elements = shape.iter().product();
        let mut scratch = self.scratch.borrow_mut();
        let fits = |room: &&Tensor| room.kind() == kind && room.numel() as i64 >= elements;
        let room = match scratch.as_ref().filter(fits) {
            Some(room) => room.f_narrow(0, 0, elements)?,
            None => {
                // The smaller one goes first.
                *scratch = None;
                let room = Tensor::f_empty([elements], (kind, Device::Cpu))?;
                *scratch = Some(room.shallow_clone());
                room
            }
        };
        Ok(Some(room.f_view(shape)?))
    }

    fn keep_scratch(&self) {
        self.used.borrow_mut().extend(self.scratch.take());
    }

    fn fill(&self, name: &str, _: &Place, target: &Tensor) -> Result<Option<u64>> {
        let Some(host) = self.host else { return Ok(None) };
        let flat = target.f_view([-1i64].as_slice())?;
        host.each_part(name, &mut |first, part| {
            let mut target = flat.f_narrow(0, first as i64, part.numel() as i64)?;
            match self.copies {
                Some(copies) => copies.copy(&mut target, part),
                None => Ok(target.f_copy_(part)?),
            }
        })?;
        Ok(Some(0))
    }
}
