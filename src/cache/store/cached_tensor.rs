//! A tensor that a run keeps, and the count of all of them.
//!
//! Every kept tensor owns storage of exactly its own size: a half of a batch is copied, since a
//! view would keep the whole batch alive. What is kept is counted when it enters and leaves, so
//! the count can be compared with what an allocator says.

use crate::{Error, Result};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use tch::{Kind, Tensor};

/// Bytes kept now and at most, readable while a run goes on.
#[derive(Debug, Clone, Default)]
pub(in crate::cache) struct MemoryCounter(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    now: AtomicU64,
    peak: AtomicU64,
}

impl MemoryCounter {
    pub fn now(&self) -> u64 {
        self.0.now.load(Ordering::Relaxed)
    }

    pub fn peak(&self) -> u64 {
        self.0.peak.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: u64) {
        let now = self.0.now.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        self.0.peak.fetch_max(now, Ordering::Relaxed);
    }

    fn remove(&self, bytes: u64) {
        self.0.now.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A tensor whose bytes are counted as long as it lives.
#[derive(Debug)]
pub(in crate::cache) struct CachedTensor {
    tensor: Tensor,
    /// What the model computes in; the stored dtype may be a smaller one.
    kind: Kind,
    bytes: u64,
    counter: MemoryCounter,
}

impl CachedTensor {
    /// Keeps a copy of `tensor` in dtype `store`.
    pub fn copy(tensor: &Tensor, store: Kind, counter: &MemoryCounter) -> Result<CachedTensor> {
        // `copy = true` also for the same dtype, so that a view's base can go.
        let copy = tensor.f_to_dtype(store, false, true)?;
        CachedTensor::enter(copy, tensor.f_kind()?, counter)
    }

    /// Keeps `tensor` itself where it has the dtype already. It must own its storage, and
    /// nobody may write to it any more.
    pub fn share(tensor: &Tensor, store: Kind, counter: &MemoryCounter) -> Result<CachedTensor> {
        if tensor.f_kind()? != store {
            return CachedTensor::copy(tensor, store, counter);
        }
        CachedTensor::enter(tensor.f_alias()?, store, counter)
    }

    fn enter(tensor: Tensor, kind: Kind, counter: &MemoryCounter) -> Result<CachedTensor> {
        let bytes = bytes_of(&tensor.size(), tensor.f_kind()?)?;
        counter.add(bytes);
        Ok(CachedTensor { tensor, kind, bytes, counter: counter.clone() })
    }

    /// The output in the dtype that the model computes in.
    pub fn read(&self) -> Result<Tensor> {
        if self.tensor.f_kind()? == self.kind {
            Ok(self.tensor.f_alias()?)
        } else {
            Ok(self.tensor.f_to_dtype(self.kind, false, false)?)
        }
    }

    /// The tensor itself, in the dtype that it is kept in.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// The tensor itself, for arithmetic in place that leaves its size.
    pub fn tensor_mut(&mut self) -> &mut Tensor {
        &mut self.tensor
    }
}

impl Drop for CachedTensor {
    fn drop(&mut self) {
        self.counter.remove(self.bytes);
    }
}

/// Bytes of a tensor of this shape and dtype.
pub(in crate::cache) fn bytes_of(size: &[i64], kind: Kind) -> Result<u64> {
    let element = u64::try_from(kind.elt_size_in_bytes()).unwrap_or(u64::MAX);
    size.iter()
        .try_fold(element, |bytes, &n| u64::try_from(n).ok().and_then(|n| bytes.checked_mul(n)))
        .ok_or_else(|| Error::InvalidArgument(format!("shape {size:?}: its bytes overflow")))
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
        assert_ne!(kept.tensor.data_ptr(), whole.f_narrow(0, 1, 1)?.data_ptr());
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
    fn bytes_that_overflow_are_refused() {
        assert!(bytes_of(&[i64::MAX, 4], Kind::Float).is_err());
        assert!(bytes_of(&[-1], Kind::Float).is_err());
        assert_eq!(bytes_of(&[2, 3], Kind::BFloat16).ok(), Some(12));
    }
}
