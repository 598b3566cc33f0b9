//! Weights of one component, read from safetensors files.

use super::fields::quoted;
use super::files::{Place, WeightFiles};
use super::progress::LoadProgress;
use super::save::SCALE;
use super::streaming::{Rooms, Streaming};
use crate::backend::{
    Backend, DeviceKernels, Epilogue, MatmulPrecision, Quantization, QuantizedMatrix, Rows, Weight,
};
use crate::runtime::shim::mapped;
use crate::runtime::{Control, Placement};
use crate::{Error, Result};
use parking_lot::Mutex;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use tch::{Device, Kind, Tensor};

/// Tensors are read in parts of at most this many bytes: after each of them progress is reported
/// and a cancel token is heeded.
/// Small in tests, so that small tensors have several parts.
const PART_BYTES: usize = if cfg!(test) { 64 } else { 32 << 20 };
/// Matrices that are quantized are read in parts of at most this many elements, in float32.
const QUANTIZED_PART: i64 = if cfg!(test) { 64 } else { 8 << 20 };

/// The tensors of one component: a single safetensors file or the shards of an
/// index.
pub struct WeightStore {
    pub placement: Placement,
    /// How the weights of repeated blocks are kept.
    pub streaming: Streaming,
    /// Kernels that the networks may use.
    pub kernels: Option<DeviceKernels>,
    pub(super) files: Arc<WeightFiles>,
    pub(super) control: Control,
    progress: LoadProgress,
    /// How matrices are stored at places where that is free.
    pub(super) quantization: Option<Quantization>,
    /// In which the products are made of matrices at places where that is free.
    pub matmul_precision: MatmulPrecision,
    /// Names that were asked for.
    taken: Mutex<BTreeSet<String>>,
    loaded_bytes: AtomicU64,
}

impl WeightStore {
    /// Opens `<folder>/<stem>[.<variant>].safetensors` or the shards that
    /// `<stem>.safetensors.index[.<variant>].json` names.
    pub fn open(
        folder: &Path,
        stem: &str,
        variant: Option<&str>,
        placement: Placement,
        control: &Control,
    ) -> Result<WeightStore> {
        let files = WeightFiles::open(folder, stem, variant)?;
        Ok(WeightStore::new(files, placement, control, &LoadProgress::default()))
    }

    /// Reads from `files` into `placement`. The bytes of the files are added to the total of
    /// `progress`, which counts over all stores that share it.
    pub fn new(
        files: WeightFiles,
        placement: Placement,
        control: &Control,
        progress: &LoadProgress,
    ) -> WeightStore {
        progress.expect(files.bytes());
        WeightStore {
            progress: progress.clone(),
            ..WeightStore::again(Arc::new(files), placement, control)
        }
    }

    /// Reads once more from files that another store has read.
    pub(super) fn again(
        files: Arc<WeightFiles>,
        placement: Placement,
        control: &Control,
    ) -> WeightStore {
        WeightStore {
            placement,
            streaming: Streaming::default(),
            kernels: None,
            files,
            control: control.clone(),
            progress: LoadProgress::default(),
            quantization: None,
            matmul_precision: MatmulPrecision::default(),
            taken: Mutex::default(),
            loaded_bytes: AtomicU64::new(0),
        }
    }

    /// The same, which stores matrices so at places that are [`Weights::quantizable`].
    pub fn quantized(self, quantization: Option<Quantization>) -> WeightStore {
        WeightStore { quantization, ..self }
    }

    /// Bytes of all tensors in the files.
    pub fn bytes(&self) -> u64 {
        self.files.bytes()
    }

    /// Bytes that what was handed out so far takes in memory, as it is stored there.
    pub fn loaded_bytes(&self) -> u64 {
        self.loaded_bytes.load(Ordering::Relaxed)
    }

    /// More than those: what a part keeps by itself.
    pub(super) fn add_loaded_bytes(&self, bytes: u64) {
        self.loaded_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The files, which stay open with the others that hold them.
    pub fn files(&self) -> Arc<WeightFiles> {
        Arc::clone(&self.files)
    }

    pub fn root(&self) -> Weights<'_> {
        Weights { store: self, prefix: String::new(), quantizable: false, rooms: None }
    }

    /// Errors with the names of tensors that were never asked for, unless below one of
    /// `unused_prefixes` (`encoder` stands for `encoder.…`). Their bytes count as done.
    pub fn finish(self, unused_prefixes: &[&str]) -> Result<()> {
        let taken = self.taken.into_inner();
        let left: Vec<(&String, &Place)> =
            self.files.places.iter().filter(|(name, _)| !taken.contains(*name)).collect();
        let below = |name: &str, prefix: &str| {
            let rest = name.strip_prefix(prefix.trim_end_matches('.'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let surplus: Vec<&(&String, &Place)> = left
            .iter()
            .filter(|(name, _)| !unused_prefixes.iter().any(|prefix| below(name, prefix)))
            .collect();
        if let Some((_, place)) = surplus.first() {
            let names: Vec<String> = surplus.iter().take(3).map(|(name, _)| quoted(name)).collect();
            let more = if surplus.len() > names.len() { ", …" } else { "" };
            return Err(Error::InvalidCheckpoint(format!(
                "{}: expected only tensors that the config asks for, found {} more: {}{more}",
                self.files.path_of(place).display(),
                surplus.len(),
                names.join(", ")
            )));
        }
        let unread = left.iter().map(|(_, place)| place.bytes as u64).sum();
        self.progress.advance(unread, &self.control)
    }

    fn find(&self, name: &str) -> Result<&Place> {
        self.files.places.get(name).ok_or_else(|| {
            Error::InvalidCheckpoint(format!(
                "{}: tensor {}: expected by the config, found none",
                self.files.name().display(),
                quoted(name)
            ))
        })
    }

    /// The place of tensor `name`, which must have `shape`.
    fn expect(&self, name: &str, shape: &[i64]) -> Result<&Place> {
        let place = self.find(name)?;
        if place.shape != shape {
            return Err(Error::InvalidCheckpoint(format!(
                "{}: tensor {}: expected shape {shape:?} by the config, found {:?}",
                self.files.path_of(place).display(),
                quoted(name),
                place.shape
            )));
        }
        Ok(place)
    }

    /// Room for `shape` in memory of its own, not yet filled; `passing`: for numbers that are soon stored
    /// otherwise.
    fn room(&self, name: &str, shape: &[i64], kind: Kind, passing: bool) -> Result<Tensor> {
        let room = match self.placement.device {
            Device::Cpu if passing => mapped::passing_room(shape, kind),
            Device::Cpu => mapped::room(shape, kind),
            device => Tensor::f_empty(shape, (kind, device)).map_err(Error::from),
        };
        room.map_err(|e| e.context(format_args!("tensor {} {shape:?}", quoted(name))))
    }

    /// Reads the tensor at `place` into `target`, which is contiguous and of its shape; unless
    /// `rooms` have it.
    fn read(
        &self,
        name: &str,
        place: &Place,
        target: &Tensor,
        rooms: Option<&dyn Rooms>,
    ) -> Result<()> {
        self.control.check()?;
        if place.dtype.is_codes() && target.f_kind()? != place.dtype.kind() {
            return Err(Error::InvalidCheckpoint(format!(
                "{}: tensor {}: expected numbers, or codes of the matrices beside it, found {:?}",
                self.files.path_of(place).display(),
                quoted(name),
                place.dtype.kind()
            )));
        }
        if let Some(bytes) = rooms.map_or(Ok(None), |rooms| rooms.fill(name, place, target))? {
            self.mark_taken(name);
            return self.advance(bytes);
        }
        let first = self.mark_taken(name);
        self.read_part(name, place, first, target)?;
        let held = target.numel() * target.f_kind()?.elt_size_in_bytes();
        self.add_loaded_bytes(held as u64);
        Ok(())
    }

    /// Reads what is at `place` into `target`, which is contiguous and of as many elements. Its
    /// bytes count for the progress if this is the `first` time.
    fn read_part(&self, name: &str, place: &Place, first: bool, target: &Tensor) -> Result<()> {
        self.control.check()?;
        if place.bytes == 0 {
            return Ok(());
        }
        let flat = target.f_view([-1i64].as_slice())?;
        let (of_block, size) = place.dtype.block();
        let step = (PART_BYTES / size).max(1) * size;
        let mut done = 0usize;
        while done < place.bytes {
            let part = (place.bytes - done).min(step);
            let from = i64::try_from(done / size * of_block).unwrap_or(i64::MAX);
            let elements = part / size * of_block;
            let target = flat.f_narrow(0, from, i64::try_from(elements).unwrap_or(i64::MAX))?;
            self.files
                .read(place, done / size * of_block, &target)
                .map_err(|e| e.context(format_args!("tensor {}", quoted(name))))?;
            done += part;
            self.progress.advance(if first { part as u64 } else { 0 }, &self.control)?;
        }
        Ok(())
    }

    /// The matrices at `places`, which are of one shape, as one that has the rows of one after those
    /// of the other. They are read in parts: none of them is in memory whole.
    pub(super) fn quantize(
        &self,
        quantization: Quantization,
        places: &[(&String, &Place)],
        kind: Kind,
    ) -> Result<QuantizedMatrix> {
        let too_large = || Error::Internal(format!("a matrix of {places:?}"));
        let shape = places.first().map(|(_, place)| place.shape.split_first());
        let Some(Some((&rows, inputs))) = shape else { return Err(too_large()) };
        let columns: i64 = inputs.iter().product();
        let all = i64::try_from(places.len()).ok().and_then(|n| n.checked_mul(rows));
        let all = all.ok_or_else(too_large)?;
        let options = (kind, self.placement.device);
        let part = (QUANTIZED_PART / columns.max(1)).clamp(1, rows.max(1));
        QuantizedMatrix::from_rows(quantization, [all, columns], options, |matrix| {
            for (module, (name, place)) in places.iter().enumerate() {
                let first = self.mark_taken(name);
                let mut start = 0;
                while start < rows {
                    let count = part.min(rows - start);
                    let read = self.room(name, &[count, columns], Kind::Float, true)?;
                    let rows_of = place.rows(start, count)?;
                    self.read_part(name, &rows_of, first, &read)?;
                    let written = matrix.write(module as i64 * rows + start, &read);
                    written.map_err(|e| {
                        let file = self.files.path_of(place).display();
                        e.context(format_args!("{file}: tensor {}", quoted(name)))
                    })?;
                    start += count;
                }
            }
            Ok(())
        })
    }

    /// Bytes of the files that are done.
    pub(super) fn advance(&self, bytes: u64) -> Result<()> {
        self.progress.advance(bytes, &self.control)
    }

    /// Whether this is the first time that `name` is read.
    fn mark_taken(&self, name: &str) -> bool {
        self.taken.lock().insert(name.to_string())
    }
}

/// The linear layer that a network asks for: [`Weights::linear`].
#[derive(Debug, Clone, Copy)]
pub struct LinearSpec<'a> {
    /// The modules below the place whose outputs the layer computes side by side, in this order;
    /// `""` is the place itself.
    pub modules: &'a [&'a str],
    /// Of the `weight` of each module: outputs first; all that follow are inputs, so that a
    /// convolution over single pixels or whole patches is a linear layer too.
    pub shape: &'a [i64],
    /// Whether each module has a `bias` `(outputs)`.
    pub bias: bool,
    /// In which it is computed; `None` is the placement's.
    pub kind: Option<Kind>,
    pub epilogue: Epilogue,
    /// How many rows it is mostly given.
    pub rows: Rows,
}

/// The parts of a linear layer.
pub struct LinearParts {
    /// `(modules × outputs, inputs)`.
    pub weight: Weight,
    /// `(modules × outputs)`.
    pub bias: Option<Tensor>,
}

/// The names of matrices that a network lets be quantized, noted while it is loaded without being
/// read.
#[derive(Default)]
pub struct MatrixNames(RefCell<BTreeSet<String>>);

impl MatrixNames {
    pub fn take(self) -> BTreeSet<String> {
        self.0.into_inner()
    }
}

impl Rooms for MatrixNames {
    fn room(&self, shape: &[i64], kind: Kind) -> Result<Option<Tensor>> {
        super::streaming::no_room(shape, kind).map(Some)
    }

    fn made(&self, _: &Tensor) {}

    fn fill(&self, _: &str, _: &Place, _: &Tensor) -> Result<Option<u64>> {
        Ok(Some(0))
    }

    fn quantizable(&self, name: &str) {
        self.0.borrow_mut().insert(name.to_string());
    }

    fn are_empty(&self) -> bool {
        true
    }
}

/// Of the tensors `names`, each of `shape`, with the rows of one after those of the other.
fn whole_shape(names: &[String], shape: &[i64]) -> Result<Vec<i64>> {
    let (Some(first), Some((&rows, rest))) = (names.first(), shape.split_first()) else {
        return Err(Error::Internal("tensors to stack: expected one at least".into()));
    };
    let all = i64::try_from(names.len()).ok().and_then(|n| n.checked_mul(rows));
    let all = all.ok_or_else(|| Error::Internal(format!("{first}: {rows} rows")))?;
    Ok([&[all], rest].concat())
}

/// A place in the module tree of a component; names are those of the checkpoint.
#[derive(Clone)]
pub struct Weights<'a> {
    pub(super) store: &'a WeightStore,
    prefix: String,
    /// Whether the backend may store matrices in fewer bits here.
    pub(super) quantizable: bool,
    /// Where tensors go, if not into memory of their own.
    rooms: Option<&'a dyn Rooms>,
}

impl<'a> Weights<'a> {
    /// The place called `name` below this one.
    pub fn at(&self, name: impl Display) -> Weights<'a> {
        Weights { prefix: self.full(name), ..*self }
    }

    /// The same place, below which the matrices of linear layers are stored as the component's
    /// quantization says, if it has one.
    pub fn quantizable(&self) -> Weights<'a> {
        Weights { prefix: self.prefix.clone(), quantizable: true, ..*self }
    }

    /// The same place, from which nothing is read: tensors are checked and told to `names`.
    pub fn only_named(self, names: &'a MatrixNames) -> Weights<'a> {
        self.into_rooms(names)
    }

    /// The same place; its tensors go where `rooms` say.
    pub(super) fn into_rooms(self, rooms: &'a dyn Rooms) -> Weights<'a> {
        Weights { rooms: Some(rooms), ..self }
    }

    /// How the weights of repeated blocks below this place are kept.
    pub fn streaming(&self) -> Streaming {
        self.store.streaming
    }

    /// The full checkpoint name of this place, such as `transformer_blocks.0.attn1`.
    pub fn name(&self) -> &str {
        &self.prefix
    }

    pub fn placement(&self) -> Placement {
        self.store.placement
    }

    /// What a network with these weights computes with.
    pub fn backend(&self) -> Backend {
        Backend::of(self.store.placement, self.store.kernels.as_ref())
    }

    /// Whether the files have a tensor `name` below this place.
    pub fn has(&self, name: &str) -> bool {
        self.store.files.places.contains_key(&self.full(name))
    }

    /// The tensor `name` below this place: it must have exactly `shape`; returned in the
    /// placement's dtype and device, in memory of its own.
    ///
    /// Errors: [`Error::InvalidCheckpoint`] naming file, tensor, expected and found;
    /// [`Error::OutOfMemory`]; [`Error::Cancelled`], asked at least every 32 MiB.
    pub fn tensor(&self, name: &str, shape: &[i64]) -> Result<Tensor> {
        self.tensor_as(name, shape, self.store.placement.dtype.kind())
    }

    /// As [`Weights::tensor`], in `kind`.
    pub fn tensor_as(&self, name: &str, shape: &[i64], kind: Kind) -> Result<Tensor> {
        self.read(name, shape, kind, false)
    }

    /// The same for one that is soon stored otherwise, whose memory then serves the next; `None` is
    /// the placement's kind.
    pub fn passing(&self, name: &str, shape: &[i64], kind: Option<Kind>) -> Result<Tensor> {
        let kind = kind.unwrap_or(self.store.placement.dtype.kind());
        self.read(name, shape, kind, true)
    }

    fn read(&self, name: &str, shape: &[i64], kind: Kind, passing: bool) -> Result<Tensor> {
        let name = self.full(name);
        let place = &self.place(&name, shape)?;
        let tensor = self.room(&name, shape, kind, passing)?;
        self.store.read(&name, place, &tensor, self.rooms)?;
        Ok(tensor)
    }

    /// The weight and bias of a linear layer below this place, in the storage that the backend
    /// multiplies with: the one way in which every network asks for one. The tensors are checked
    /// as by [`Weights::tensor`].
    pub fn linear(&self, spec: &LinearSpec) -> Result<LinearParts> {
        let kind = spec.kind.unwrap_or(self.store.placement.dtype.kind());
        let Some((outputs, _)) = spec.shape.split_first() else {
            return Err(Error::Internal(format!("{}: a matrix without outputs", self.prefix)));
        };
        let named = |part: &str| -> Vec<String> {
            let name = |module: &&str| match module.is_empty() {
                true => self.full(part),
                false => self.full(format_args!("{module}.{part}")),
            };
            spec.modules.iter().map(name).collect()
        };
        let names = named("weight");
        if let Some(rooms) = self.rooms.filter(|_| self.quantizable) {
            names.iter().for_each(|name| rooms.quantizable(name));
        }
        let wanted = self.store.quantization.filter(|_| self.quantizable);
        let weight = match wanted {
            _ if self.has_codes(&names) => {
                Weight::Quantized(self.stored(&names, spec.shape, kind)?)
            }
            Some(quantization) => Weight::Quantized(match self.rooms {
                Some(rooms) => self.made(rooms, quantization, &names, spec.shape, kind)?,
                None => self.quantized(quantization, &names, spec.shape, kind)?,
            }),
            None => {
                let whole = whole_shape(&names, spec.shape)?;
                let elements = whole.iter().product();
                let precision = match self.quantizable {
                    true => self.store.matmul_precision,
                    false => MatmulPrecision::Float32,
                };
                let packs = kind == Kind::Float
                    && self.store.placement.device == Device::Cpu
                    && Weight::is_packed(elements, spec.epilogue, spec.rows, precision);
                let scratch = match self.rooms.filter(|_| packs) {
                    Some(rooms) => rooms.scratch(&whole, kind)?,
                    None => None,
                };
                let of_scratch = scratch.is_some();
                let dense = self.stacked_in((scratch, packs), &names, spec.shape, kind)?;
                let matrix = spec.shape.len() == 2;
                let dense = if matrix { dense } else { dense.f_flatten(1, -1)? };
                let weight = match self.rooms.is_some_and(Rooms::are_empty) {
                    true => Weight::Dense(dense),
                    false => Weight::store_for(dense, spec.epilogue, spec.rows, precision)?,
                };
                if let (true, Weight::Dense(_), Some(rooms)) = (of_scratch, &weight, self.rooms) {
                    rooms.keep_scratch();
                }
                if self.rooms.is_none() {
                    self.store.loaded_bytes.fetch_sub(weight.bytes_saved(), Ordering::Relaxed);
                }
                weight
            }
        };
        let bias = match spec.bias {
            true => Some(self.stacked(&named("bias"), &[*outputs], kind)?),
            false => None,
        };
        Ok(LinearParts { weight, bias })
    }

    /// Whether the matrix that begins with the first of `names` is quantized in its file.
    fn has_codes(&self, names: &[String]) -> bool {
        let place = names.first().and_then(|name| self.store.files.places.get(name));
        place.is_some_and(|place| place.dtype.is_codes())
    }

    /// The matrices `names`, each of `shape`, as one: as `save` has written them.
    fn stored(&self, names: &[String], shape: &[i64], kind: Kind) -> Result<QuantizedMatrix> {
        let wrong = |found: String| {
            Err(Error::InvalidCheckpoint(format!(
                "{}: tensor {}: expected codes of a matrix {shape:?}, found {found}",
                self.store.files.name().display(),
                names.first().map_or("", String::as_str),
            )))
        };
        let (Some(first), &[rows, columns]) = (names.first(), shape) else {
            return wrong("codes of a matrix".into());
        };
        let codes = self.store.find(first)?.dtype.kind();
        let Some(stored) = Quantization::of_codes(codes) else {
            return wrong(format!("{codes:?}"));
        };
        // What they are in memory may be more than they are in the file.
        let wanted = self.store.quantization.filter(|wanted| wanted.stored() == stored);
        let quantization = wanted.unwrap_or(stored);
        let [(codes, codes_shape), (scale, scale_shape)] =
            QuantizedMatrix::layout(quantization, rows, columns);
        let scales: Vec<String> = names.iter().map(|name| format!("{name}{SCALE}")).collect();
        let codes = self.stacked(names, &codes_shape, codes)?;
        let scale = self.stacked(&scales, &scale_shape, scale)?;
        QuantizedMatrix::from_parts(quantization, codes, scale, columns, kind)
    }

    /// The tensors `names`, each of exactly `shape`, as one matrix that has the rows of one after
    /// those of the other. They are read in parts: none of them is in memory whole.
    fn quantized(
        &self,
        quantization: Quantization,
        names: &[String],
        shape: &[i64],
        kind: Kind,
    ) -> Result<QuantizedMatrix> {
        let places: Vec<(&String, &Place)> = names
            .iter()
            .map(|name| Ok((name, self.store.expect(name, shape)?)))
            .collect::<Result<_>>()?;
        let matrix = self.store.quantize(quantization, &places, kind)?;
        self.store.add_loaded_bytes(matrix.bytes()?);
        Ok(matrix)
    }

    /// The tensors `names`, each of exactly `shape`, as one quantized matrix whose codes and scales
    /// are in `rooms`, as those that [`WeightStore::quantize`] has made of them.
    fn made(
        &self,
        rooms: &dyn Rooms,
        quantization: Quantization,
        names: &[String],
        shape: &[i64],
        kind: Kind,
    ) -> Result<QuantizedMatrix> {
        let no_matrix = || Error::Internal(format!("{}: a matrix of {shape:?}", self.prefix));
        let places: Vec<Place> =
            names.iter().map(|name| self.place(name, shape)).collect::<Result<_>>()?;
        let (&rows, inputs) = shape.split_first().ok_or_else(no_matrix)?;
        let columns: i64 = inputs.iter().product();
        let scales: Vec<String> = names.iter().map(|name| format!("{name}{SCALE}")).collect();
        let filled = |names: &[String], (kind, [rows, width]): (Kind, [i64; 2]), of_file: bool| {
            let all = i64::try_from(names.len()).ok().and_then(|n| n.checked_mul(rows));
            let first = names.first().ok_or_else(no_matrix)?;
            let whole = self.room(first, &[all.ok_or_else(no_matrix)?, width], kind, false)?;
            for (number, (name, place)) in names.iter().zip(&places).enumerate() {
                self.store.control.check()?;
                let place = Place { bytes: if of_file { place.bytes } else { 0 }, ..place.clone() };
                let target = whole.f_narrow(0, number as i64 * rows, rows)?;
                rooms.fill(name, &place, &target)?.ok_or_else(no_matrix)?;
                self.store.mark_taken(name);
            }
            Ok::<_, Error>(whole)
        };
        let [of_codes, of_scale] = QuantizedMatrix::layout(quantization, rows, columns);
        let (codes, scale) = (filled(names, of_codes, true)?, filled(&scales, of_scale, false)?);
        QuantizedMatrix::from_parts(quantization, codes, scale, columns, kind)
    }

    /// The tensors `names`, each of exactly `shape`, joined along dimension 0 without a second
    /// copy: the result is allocated once and each tensor is read into its part.
    pub(super) fn stacked(&self, names: &[String], shape: &[i64], kind: Kind) -> Result<Tensor> {
        self.stacked_in((None, false), names, shape, kind)
    }

    /// The same in `room`, if there is one, else in memory of its own, `passing` or not.
    fn stacked_in(
        &self,
        (room, passing): (Option<Tensor>, bool),
        names: &[String],
        shape: &[i64],
        kind: Kind,
    ) -> Result<Tensor> {
        let places: Vec<Place> =
            names.iter().map(|name| self.place(name, shape)).collect::<Result<_>>()?;
        let whole = whole_shape(names, shape)?;
        let (Some(first), Some(&rows), Some(&all)) = (names.first(), shape.first(), whole.first())
        else {
            return Err(Error::Internal(format!("{}: nothing to stack", self.prefix)));
        };
        let tensor = match room {
            Some(room) => room,
            None => self.room(first, &whole, kind, passing)?,
        };
        for ((name, place), row) in
            names.iter().zip(places).zip((0..all).step_by(rows.max(1) as usize))
        {
            self.store.read(name, &place, &tensor.f_narrow(0, row, rows)?, self.rooms)?;
        }
        Ok(tensor)
    }

    /// The place of tensor `name`, which must have `shape`.
    fn place(&self, name: &str, shape: &[i64]) -> Result<Place> {
        match self.rooms.and_then(|rooms| rooms.place(name, shape)) {
            Some(place) => Ok(place),
            None => self.store.expect(name, shape).cloned(),
        }
    }

    /// Room for the tensor `name`.
    fn room(&self, name: &str, shape: &[i64], kind: Kind, passing: bool) -> Result<Tensor> {
        if let Some(rooms) = self.rooms {
            if let Some(room) = rooms.room(shape, kind)? {
                return Ok(room);
            }
        }
        let room = self.store.room(name, shape, kind, passing)?;
        if let Some(rooms) = self.rooms {
            rooms.made(&room);
        }
        Ok(room)
    }

    fn full(&self, name: impl Display) -> String {
        if self.prefix.is_empty() {
            name.to_string()
        } else {
            format!("{}.{name}", self.prefix)
        }
    }
}
