//! Loaded networks that several pipelines and threads read at once.

use std::ops::Deref;
use std::sync::Arc;

/// A network behind a reference count, readable from many threads.
///
/// tch marks `Tensor` as `Send` but not `Sync`, because a tensor can be changed through a
/// shared reference. The networks held here never are: they are built once, then only read.
pub struct Shared<T>(Arc<T>);

// SAFETY: `T` is a loaded network, whose tensors are only read after it was built (forward
// passes take `&self` and write to tensors of their own). libtorch allows concurrent reads
// of one tensor, and its reference counts are atomic. `Send` and `Sync` of everything else
// in a network is ordinary data.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub fn new(value: T) -> Self {
        Shared(Arc::new(value))
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Shared(Arc::clone(&self.0))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}
