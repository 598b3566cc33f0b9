//! A tensor that a run keeps, and the count of all of them.
//!
//! Every kept tensor owns storage of exactly its own size: a half of a batch is copied, since a
//! view would keep the whole batch alive. What is kept is counted when it enters and leaves, so
//! the count can be compared with what an allocator says.

use super::form::{bytes_of, Store};
use super::spill::{Spill, Spilled};
use crate::backend::{Quantization, QuantizedMatrix};
use crate::{Error, Result};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use tch::{Device, Kind, Tensor};

/// Bytes kept now and at most, readable while a run goes on.
#[derive(Debug, Clone, Default)]
pub(in crate::cache) struct MemoryCounts(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    all: Count,
    on_host: Count,
}

#[derive(Debug, Default)]
struct Count {
    now: AtomicU64,
    peak: AtomicU64,
}

impl Count {
    fn add(&self, bytes: u64) {
        let now = self.now.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        self.peak.fetch_max(now, Ordering::Relaxed);
    }

    fn remove(&self, bytes: u64) {
        self.now.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn read(&self) -> [u64; 2] {
        [self.now.load(Ordering::Relaxed), self.peak.load(Ordering::Relaxed)]
    }
}

impl MemoryCounts {
    pub fn now(&self) -> u64 {
        self.0.all.read()[0]
    }

    pub fn peak(&self) -> u64 {
        self.0.all.read()[1]
    }

    /// Of all bytes those that are kept in host memory because that was asked for: now, at most.
    pub fn on_host(&self) -> [u64; 2] {
        self.0.on_host.read()
    }
}

/// What one run keeps: the count of it, and the way to host memory.
#[derive(Debug, Clone, Default)]
pub(in crate::cache) struct MemoryCounter {
    counts: MemoryCounts,
    spill: Spill,
}

impl MemoryCounter {
    /// The count alone, which may outlive the run.
    pub fn counts(&self) -> MemoryCounts {
        self.counts.clone()
    }

    #[cfg(test)]
    pub fn now(&self) -> u64 {
        self.counts.now()
    }

    #[cfg(test)]
    pub fn peak(&self) -> u64 {
        self.counts.peak()
    }
}

/// A tensor whose bytes are counted as long as it lives.
#[derive(Debug)]
pub(in crate::cache) struct CachedTensor {
    held: Held,
    /// What the model computes in; the stored dtype may be a smaller one.
    kind: Kind,
    bytes: u64,
    on_host: bool,
    counts: MemoryCounts,
}

#[derive(Debug)]
enum Held {
    Tensor(Tensor),
    /// Rows of the last dimension, of a tensor of this size.
    Scaled(Scaled, Vec<i64>),
    Spilled(Spilled),
    /// Codes and scales.
    SpilledScaled([Spilled; 2], Vec<i64>),
}

/// Float8 numbers with a scale for each row.
struct Scaled(QuantizedMatrix);

impl std::fmt::Debug for Scaled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scaled").finish_non_exhaustive()
    }
}

impl CachedTensor {
    /// Keeps a copy of `tensor`.
    pub fn copy(
        tensor: &Tensor,
        store: impl Into<Store>,
        counter: &MemoryCounter,
    ) -> Result<CachedTensor> {
        let store = store.into();
        if store.is_scaled() {
            return CachedTensor::scaled(tensor, store, counter);
        }
        // `copy = true` also for the same dtype, so that a view's base can go.
        let copy = tensor.f_to_dtype(store.kind, false, true)?;
        CachedTensor::enter(copy, tensor.f_kind()?, store, counter)
    }

    /// Keeps `tensor` itself where it has the dtype already. It must own its storage, and
    /// nobody may write to it any more.
    pub fn share(
        tensor: &Tensor,
        store: impl Into<Store>,
        counter: &MemoryCounter,
    ) -> Result<CachedTensor> {
        let store = store.into();
        if tensor.f_kind()? != store.kind {
            return CachedTensor::copy(tensor, store, counter);
        }
        CachedTensor::enter(tensor.f_alias()?, store.kind, store, counter)
    }

    /// Keeps `tensor` itself.
    fn enter(
        tensor: Tensor,
        kind: Kind,
        store: Store,
        counter: &MemoryCounter,
    ) -> Result<CachedTensor> {
        let bytes = bytes_of(&tensor.size(), store)?;
        let held = match store.on_host && tensor.device() != Device::Cpu {
            true => Held::Spilled(counter.spill.put(&tensor)?),
            false => Held::Tensor(tensor),
        };
        Ok(CachedTensor::counted(held, kind, bytes, store, counter))
    }

    /// Keeps float8 numbers of `tensor`.
    fn scaled(tensor: &Tensor, store: Store, counter: &MemoryCounter) -> Result<CachedTensor> {
        let (kind, size) = (tensor.f_kind()?, tensor.size());
        let bytes = bytes_of(&size, store)?;
        let columns = size.last().copied().unwrap_or(1);
        let rows = QuantizedMatrix::of_rows(Quantization::Fp8, &tensor.f_reshape([-1, columns])?)?;
        let held = match store.on_host && tensor.device() != Device::Cpu {
            true => {
                let put = |part: &Tensor| counter.spill.put(part);
                Held::SpilledScaled([put(rows.codes())?, put(rows.scale())?], size)
            }
            false => Held::Scaled(Scaled(rows), size),
        };
        Ok(CachedTensor::counted(held, kind, bytes, store, counter))
    }

    fn counted(
        held: Held,
        kind: Kind,
        bytes: u64,
        store: Store,
        counter: &MemoryCounter,
    ) -> CachedTensor {
        let (counts, on_host) = (counter.counts(), store.on_host);
        counts.0.all.add(bytes);
        if on_host {
            counts.0.on_host.add(bytes);
        }
        CachedTensor { held, kind, bytes, on_host, counts }
    }

    /// The output in the dtype that the model computes in.
    pub fn read(&self) -> Result<Tensor> {
        let stored = self.stored()?;
        if stored.f_kind()? == self.kind {
            Ok(stored)
        } else {
            Ok(stored.f_to_dtype(self.kind, false, false)?)
        }
    }

    /// The output in the dtype that it is kept in; of float8 numbers, as [`CachedTensor::read`]. Not
    /// to be written to.
    pub fn stored(&self) -> Result<Tensor> {
        let dense = |rows: &QuantizedMatrix, size: &[i64]| -> Result<Tensor> {
            Ok(rows.dense()?.f_view(size)?)
        };
        match &self.held {
            Held::Tensor(tensor) => Ok(tensor.f_alias()?),
            Held::Scaled(Scaled(rows), size) => dense(rows, size),
            Held::Spilled(spilled) => spilled.take(),
            Held::SpilledScaled([codes, scale], size) => {
                let columns = size.last().copied().unwrap_or(1);
                self.fetch()?;
                let (codes, scale) = (codes.take()?, scale.take()?);
                let fp8 = Quantization::Fp8;
                let rows = QuantizedMatrix::from_parts(fp8, codes, scale, columns, self.kind)?;
                dense(&rows, size)
            }
        }
    }

    /// It is read soon: what is in host memory begins to come back. Does not wait.
    pub fn fetch(&self) -> Result<()> {
        match &self.held {
            Held::Tensor(_) | Held::Scaled(..) => Ok(()),
            Held::Spilled(spilled) => spilled.fetch(),
            Held::SpilledScaled(parts, _) => parts.iter().try_for_each(Spilled::fetch),
        }
    }

    /// The tensor itself, in the dtype that it is kept in. Errors: [`Error::Internal`] for one that is
    /// not kept as numbers where the model computes.
    pub fn tensor(&self) -> Result<&Tensor> {
        match &self.held {
            Held::Tensor(tensor) => Ok(tensor),
            other => Err(Error::Internal(format!("cache: {other:?} is no tensor here"))),
        }
    }

    /// As [`CachedTensor::tensor`], for arithmetic in place that leaves its size.
    pub fn tensor_mut(&mut self) -> Result<&mut Tensor> {
        match &mut self.held {
            Held::Tensor(tensor) => Ok(tensor),
            other => Err(Error::Internal(format!("cache: {other:?} is no tensor here"))),
        }
    }
}

impl Drop for CachedTensor {
    fn drop(&mut self) {
        self.counts.0.all.remove(self.bytes);
        if self.on_host {
            self.counts.0.on_host.remove(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::testing::{difference, noise};
    use tch::Device;

    #[test]
    fn a_kept_half_owns_its_half_alone() -> Result<()> {
        let counter = MemoryCounter::default();
        let whole = Tensor::f_arange(24, (Kind::Float, Device::Cpu))?.f_view([2, 3, 4])?;
        let kept = CachedTensor::copy(&whole.f_narrow(0, 1, 1)?, Kind::Float, &counter)?;
        assert_eq!(counter.now(), 12 * 4);
        // A copy starts its own storage, where a view starts in the middle of another's.
        assert_ne!(kept.tensor()?.data_ptr(), whole.f_narrow(0, 1, 1)?.data_ptr());
        let expected = Tensor::f_arange_start(12, 24, (Kind::Float, Device::Cpu))?;
        assert!(kept.read()?.f_view([12])?.f_equal(&expected)?);
        drop(kept);
        assert_eq!((counter.now(), counter.peak()), (0, 48));
        Ok(())
    }

    #[test]
    fn a_smaller_dtype_takes_fewer_bytes_and_reads_back_in_the_models() -> Result<()> {
        let counter = MemoryCounter::default();
        let output = noise(&[1, 5, 8], 1, Kind::Float)?;
        let kept = CachedTensor::copy(&output, Kind::Half, &counter)?;
        assert_eq!(counter.now(), 40 * 2);
        let back = kept.read()?;
        assert_eq!(back.f_kind()?, Kind::Float);
        assert!(difference(&back, &output)? < 1e-3);
        Ok(())
    }

    #[test]
    fn float8_numbers_have_a_scale_for_each_row() -> Result<()> {
        let counter = MemoryCounter::default();
        let scales = Tensor::f_from_slice(&[1e-4f32, 1.0, 3e4])?.f_view([1, 3, 1])?;
        let output = noise(&[1, 3, 8], 1, Kind::Float)?.f_mul(&scales)?;
        let kept = CachedTensor::copy(&output, Kind::Float8e4m3fn, &counter)?;
        assert_eq!(counter.now(), 3 * 8 + 3 * 4);
        let off = kept.read()?.f_sub(&output)?.f_abs()?;
        // Half a unit in the last of four digits, of each row's own numbers.
        let most = output.f_abs()?.f_amax([-1i64].as_slice(), true)?;
        let within = off.f_le_tensor(
            &output.f_abs()?.f_div_scalar(16.0)?.f_maximum(&most.f_div_scalar(458752.0)?)?,
        )?;
        assert_eq!(within.f_all()?.f_int64_value(&[])?, 1);
        assert!(off.f_sum(Kind::Float)?.f_double_value(&[])? > 0.0);
        // What is no number stays none, and takes its row alone with it.
        let broken = output.copy();
        let _ = broken.f_get(0)?.f_get(1)?.f_get(2)?.f_fill_(f64::NAN)?;
        let back = CachedTensor::copy(&broken, Kind::Float8e4m3fn, &counter)?.read()?;
        let whole = back.f_isfinite()?.f_all_dim(-1, false)?.f_view([-1])?;
        assert_eq!(Vec::<bool>::try_from(whole)?, [true, false, true]);
        Ok(())
    }

    #[test]
    fn what_is_kept_on_the_host_is_counted_apart() -> Result<()> {
        let counter = MemoryCounter::default();
        let output = noise(&[2, 4], 1, Kind::Float)?;
        let kept =
            CachedTensor::copy(&output, Store { kind: Kind::Half, on_host: true }, &counter)?;
        let _other = CachedTensor::copy(&output, Kind::Float, &counter)?;
        assert_eq!((counter.now(), counter.counts().on_host()), (16 + 32, [16, 16]));
        kept.fetch()?;
        assert!(difference(&kept.read()?, &output)? < 1e-2);
        drop(kept);
        assert_eq!((counter.now(), counter.counts().on_host()), (32, [0, 16]));
        Ok(())
    }

    #[test]
    fn bytes_that_overflow_are_refused() {
        assert!(bytes_of(&[i64::MAX, 4], Kind::Float).is_err());
        assert!(bytes_of(&[-1], Kind::Float).is_err());
        assert!(bytes_of(&[i64::MAX, 1], Kind::Float8e4m3fn).is_err());
        assert_eq!(bytes_of(&[2, 3], Kind::BFloat16).ok(), Some(12));
        assert_eq!(bytes_of(&[2, 3], Kind::Float8e4m3fn).ok(), Some(2 * 3 + 2 * 4));
    }
}
