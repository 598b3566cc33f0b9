//! Kept tensors in host memory, beside a CUDA device that computes.
//!
//! Copies are made by a stream of their own. Nobody waits for them on the host: what the device
//! computes next with a tensor, or in its memory, is put behind the copy. Memory goes from one tensor
//! to the next, since all copies from and to it are made in their order.

use crate::runtime::device::{copy_stream, host_bytes, CopyMark, CopyStream};
use crate::{Error, Result};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tch::{Device, Kind, Tensor};

/// Memory that a device reads by itself is handed out in powers of two: large tensors lie in several
/// pieces, of which the last alone is rounded up.
const PIECE_BYTES: usize = 32 << 20;

/// What a run has spilled.
#[derive(Clone, Default)]
pub(super) struct Spill(Arc<Mutex<Option<State>>>);

impl std::fmt::Debug for Spill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spill").finish_non_exhaustive()
    }
}

struct State {
    copies: CopyStream,
    device: Device,
    /// Memory that is free, by its size.
    free: BTreeMap<usize, Vec<Tensor>>,
    /// What is on its way to the host, its bytes, and when it will be there; the oldest first.
    leaving: VecDeque<(Tensor, usize, CopyMark)>,
    /// The most bytes of a tensor that has left.
    largest: usize,
}

/// A tensor in host memory.
pub(super) struct Spilled {
    spill: Spill,
    pieces: Vec<Tensor>,
    bytes: usize,
    kind: Kind,
    size: Vec<i64>,
    /// On the device again, or on its way there.
    back: Mutex<Option<(Tensor, CopyMark)>>,
}

impl std::fmt::Debug for Spilled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spilled").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Spill {
    /// Begins to copy `tensor`, which nobody writes to any more, to host memory.
    pub fn put(&self, tensor: &Tensor) -> Result<Spilled> {
        let source = tensor.f_contiguous()?;
        let (kind, size) = (source.f_kind()?, source.size());
        let bytes = source.f_view([-1i64].as_slice())?.f_view_dtype(Kind::Uint8)?;
        let mut state = self.0.lock();
        if state.is_none() {
            *state = State::new(tensor.device())?;
        }
        let state = state.as_mut().ok_or_else(|| Error::Internal("a spill on the CPU".into()))?;
        let pieces = state.leave(source, &bytes)?;
        let (spill, back) = (self.clone(), Mutex::default());
        Ok(Spilled { spill, pieces, bytes: bytes.numel(), kind, size, back })
    }
}

impl State {
    fn new(device: Device) -> Result<Option<State>> {
        let state = |copies| State {
            copies,
            device,
            free: BTreeMap::new(),
            leaving: VecDeque::new(),
            largest: 0,
        };
        Ok(copy_stream(device)?.map(state))
    }

    /// Copies `bytes`, those of `source`, to pieces of host memory.
    fn leave(&mut self, source: Tensor, bytes: &Tensor) -> Result<Vec<Tensor>> {
        let (all, mut done, mut pieces) = (bytes.numel(), 0, Vec::new());
        self.settle(all)?;
        self.copies.follow()?;
        while done < all {
            let count = PIECE_BYTES.min(all - done);
            let mut piece = self.room(count)?;
            let copied =
                self.copies.copy(&mut piece, &bytes.f_narrow(0, done as i64, count as i64)?);
            if copied.is_err() {
                self.copies.join()?;
            }
            copied?;
            pieces.push(piece);
            done += count;
        }
        let mark = self.copies.mark()?;
        self.leaving.push_back((source, all, mark));
        Ok(pieces)
    }

    /// Makes room for `more` bytes beside what is on its way, of which two of the largest may be: what
    /// the device computes from here on comes behind older ones, whose memory is used again then. They
    /// were put there a layer ago, and are there by now as like as not.
    fn settle(&mut self, more: usize) -> Result<()> {
        self.largest = self.largest.max(more);
        let mut on_their_way: usize = self.leaving.iter().map(|(_, bytes, _)| bytes).sum();
        while on_their_way + more > 2 * self.largest {
            let Some((source, bytes, mark)) = self.leaving.pop_front() else { break };
            self.copies.wait_for(&mark)?;
            drop(source);
            on_their_way -= bytes;
        }
        Ok(())
    }

    fn room(&mut self, bytes: usize) -> Result<Tensor> {
        match self.free.get_mut(&bytes).and_then(Vec::pop) {
            Some(room) => Ok(room),
            None => host_bytes(bytes, self.device).map_err(|error| {
                error.context("host memory for a cache (cache_location \"host\")")
            }),
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // The memory that copies are under way from is used again behind them.
        let _ = self.copies.join();
    }
}

impl Spilled {
    /// Begins to copy it back, if that has not begun.
    pub fn fetch(&self) -> Result<()> {
        let mut back = self.back.lock();
        if back.is_some() {
            return Ok(());
        }
        let state = self.spill.0.lock();
        let state = state.as_ref().ok_or_else(|| Error::Internal("a spill is gone".into()))?;
        let room = Tensor::f_empty([self.bytes as i64], (Kind::Uint8, state.device))?;
        // The room may have been something else until now.
        state.copies.follow()?;
        let mut done = 0;
        for piece in &self.pieces {
            let count = piece.numel();
            let mut target = room.f_narrow(0, done as i64, count as i64)?;
            let copied = state.copies.copy(&mut target, piece);
            if copied.is_err() {
                state.copies.join()?;
            }
            copied?;
            done += count;
        }
        *back = Some((room, state.copies.mark()?));
        Ok(())
    }

    /// The tensor on its device, in memory of its own.
    pub fn take(&self) -> Result<Tensor> {
        self.fetch()?;
        let back = self.back.lock().take();
        let (room, mark) =
            back.ok_or_else(|| Error::Internal("a spill that is not back".into()))?;
        self.wait_for(&mark)?;
        Ok(room.f_view_dtype(self.kind)?.f_view(self.size.as_slice())?)
    }

    fn wait_for(&self, mark: &CopyMark) -> Result<()> {
        self.spill.0.lock().as_ref().map_or(Ok(()), |state| state.copies.wait_for(mark))
    }
}

impl Drop for Spilled {
    fn drop(&mut self) {
        if let Some((room, mark)) = self.back.lock().take() {
            let _ = self.wait_for(&mark);
            drop(room);
        }
        if let Some(state) = self.spill.0.lock().as_mut() {
            for piece in self.pieces.drain(..) {
                state.free.entry(piece.numel()).or_default().push(piece);
            }
        }
    }
}
