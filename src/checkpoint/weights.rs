//! Weights of one component, read from safetensors files.

use super::fields::quoted;
use super::files::{Place, WeightFiles};
use super::progress::LoadProgress;
use super::streaming::{Rooms, Streaming};
use crate::backend::{Epilogue, Weight};
use crate::runtime::{Control, Placement};
use crate::{Error, Result};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use tch::{Kind, Tensor};

/// Tensors are read in parts of at most this many bytes: after each of them progress is reported
/// and a cancel token is heeded.
/// Small in tests, so that small tensors have several parts.
const PART_BYTES: usize = if cfg!(test) { 64 } else { 32 << 20 };

/// The tensors of one component: a single safetensors file or the shards of an
/// index.
pub struct WeightStore {
    pub placement: Placement,
    /// How the weights of repeated blocks are kept.
    pub streaming: Streaming,
    pub(super) files: Arc<WeightFiles>,
    pub(super) control: Control,
    progress: LoadProgress,
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
            files,
            control: control.clone(),
            progress: LoadProgress::default(),
            taken: Mutex::default(),
            loaded_bytes: AtomicU64::new(0),
        }
    }

    /// Bytes of all tensors in the files.
    pub fn bytes(&self) -> u64 {
        self.files.bytes()
    }

    /// Bytes that the tensors handed out so far take in memory, in their own dtypes.
    pub fn loaded_bytes(&self) -> u64 {
        self.loaded_bytes.load(Ordering::Relaxed)
    }

    /// More than those: what a part keeps by itself.
    pub(super) fn add_loaded_bytes(&self, bytes: u64) {
        self.loaded_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn root(&self) -> Weights<'_> {
        Weights { store: self, prefix: String::new(), rooms: None }
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

    /// Room for `shape` in memory of its own, not yet filled.
    fn room(&self, name: &str, shape: &[i64], kind: Kind) -> Result<Tensor> {
        let room = Tensor::f_empty(shape, (kind, self.placement.device));
        room.map_err(|e| Error::from(e).context(format_args!("tensor {} {shape:?}", quoted(name))))
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
        if let Some(bytes) = rooms.map_or(Ok(None), |rooms| rooms.fill(name, place, target))? {
            self.mark_taken(name);
            return self.advance(bytes);
        }
        let file = self.files.files.get(place.file).ok_or_else(|| {
            Error::Internal(format!("tensor {}: no file {}", quoted(name), place.file))
        })?;
        let first = self.mark_taken(name);
        if place.bytes == 0 {
            return Ok(());
        }
        let flat = target.f_view([-1i64].as_slice())?;
        let size = place.dtype.kind().elt_size_in_bytes();
        let mut done = 0usize;
        while done < place.bytes {
            let part = (place.bytes - done).min(PART_BYTES);
            let from = i64::try_from(done / size).unwrap_or(i64::MAX);
            let elements = part / size;
            let mut target = flat.f_narrow(0, from, i64::try_from(elements).unwrap_or(i64::MAX))?;
            let start = place.start.saturating_add(done);
            file.read_into(start, elements, place.dtype, &mut target)
                .map_err(|e| e.context(format_args!("tensor {}", quoted(name))))?;
            done += part;
            self.progress.advance(if first { part as u64 } else { 0 }, &self.control)?;
        }
        let held = place.bytes / size * target.f_kind()?.elt_size_in_bytes();
        self.loaded_bytes.fetch_add(held as u64, Ordering::Relaxed);
        Ok(())
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
}

/// The parts of a linear layer.
pub struct LinearParts {
    /// `(modules × outputs, inputs)`.
    pub weight: Weight,
    /// `(modules × outputs)`.
    pub bias: Option<Tensor>,
}

/// A place in the module tree of a component; names are those of the checkpoint.
#[derive(Clone)]
pub struct Weights<'a> {
    pub(super) store: &'a WeightStore,
    prefix: String,
    /// Where tensors go, if not into memory of their own.
    rooms: Option<&'a dyn Rooms>,
}

impl<'a> Weights<'a> {
    /// The place called `name` below this one.
    pub fn at(&self, name: impl Display) -> Weights<'a> {
        Weights { store: self.store, prefix: self.full(name), rooms: self.rooms }
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
        let name = self.full(name);
        let place = self.store.expect(&name, shape)?;
        let tensor = self.room(&name, shape, kind)?;
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
        let dense = self.stacked(&named("weight"), spec.shape, kind)?;
        let bias = match spec.bias {
            true => Some(self.stacked(&named("bias"), &[*outputs], kind)?),
            false => None,
        };
        let dense = if spec.shape.len() > 2 { dense.f_flatten(1, -1)? } else { dense };
        if self.rooms.is_some_and(Rooms::are_empty) {
            return Ok(LinearParts { weight: Weight::Dense(dense), bias });
        }
        Ok(LinearParts { weight: Weight::store(dense, spec.epilogue)?, bias })
    }

    /// The tensors `names`, each of exactly `shape`, joined along dimension 0 without a second
    /// copy: the result is allocated once and each tensor is read into its part.
    pub(super) fn stacked(&self, names: &[String], shape: &[i64], kind: Kind) -> Result<Tensor> {
        let places: Vec<&Place> =
            names.iter().map(|name| self.store.expect(name, shape)).collect::<Result<_>>()?;
        let (Some(first), Some((&rows, rest))) = (names.first(), shape.split_first()) else {
            return Err(Error::Internal(format!("{}: nothing to stack", self.prefix)));
        };
        let all = i64::try_from(names.len()).ok().and_then(|n| n.checked_mul(rows));
        let all = all.ok_or_else(|| Error::Internal(format!("{first}: {rows} rows")))?;
        let whole = [&[all], rest].concat();
        let tensor = self.room(first, &whole, kind)?;
        for ((name, place), row) in
            names.iter().zip(places).zip((0..all).step_by(rows.max(1) as usize))
        {
            self.store.read(name, place, &tensor.f_narrow(0, row, rows)?, self.rooms)?;
        }
        Ok(tensor)
    }

    /// Room for the tensor `name`.
    fn room(&self, name: &str, shape: &[i64], kind: Kind) -> Result<Tensor> {
        if let Some(rooms) = self.rooms {
            if let Some(room) = rooms.room(shape, kind)? {
                return Ok(room);
            }
        }
        let room = self.store.room(name, shape, kind)?;
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
