//! What several owners read: loaded networks, which pipelines and threads read at once, and tensors
//! that options hand on.

use std::ops::Deref;
use std::sync::Arc;
use tch::Tensor;

/// What may be read from many threads at once although it holds tensors.
///
/// tch marks `Tensor` as `Send` but not `Sync`, because a tensor can be changed through a shared
/// reference.
///
/// # Safety
/// Whoever implements it vouches that nothing changes a tensor of a value once it is built, and
/// that everything else in it is `Send` and `Sync` on its own: no cells, no reference counts
/// without atomics. libtorch allows concurrent reads of one tensor, and its reference counts are
/// atomic.
pub unsafe trait ReadOnly {}

/// A network behind a reference count, readable from many threads.
pub struct Shared<T: ReadOnly>(Arc<T>);

// SAFETY: what `ReadOnly` vouches for.
unsafe impl<T: ReadOnly> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: ReadOnly> Sync for Shared<T> {}

impl<T: ReadOnly> Shared<T> {
    pub fn new(value: T) -> Self {
        Shared(Arc::new(value))
    }
}

impl<T: ReadOnly> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Shared(Arc::clone(&self.0))
    }
}

impl<T: ReadOnly> Deref for Shared<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// A tensor that nobody writes to any more: clones share its memory.
#[derive(Debug)]
pub struct SharedTensor(Tensor);

// SAFETY: nobody writes to the tensor, and libtorch allows concurrent reads of one.
unsafe impl Sync for SharedTensor {}

impl From<Tensor> for SharedTensor {
    fn from(tensor: Tensor) -> Self {
        SharedTensor(tensor)
    }
}

impl Clone for SharedTensor {
    fn clone(&self) -> Self {
        SharedTensor(self.0.shallow_clone())
    }
}

impl Deref for SharedTensor {
    type Target = Tensor;
    fn deref(&self) -> &Tensor {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn clones_of_a_tensor_share_its_memory() {
        let tensor = SharedTensor::from(Tensor::f_zeros([3], (Kind::Float, Device::Cpu)).unwrap());
        assert_eq!(tensor.clone().data_ptr(), tensor.data_ptr());
        assert_eq!(tensor.clone().size(), [3]);
    }
}
