//! What a run keeps between steps, counted to the byte.

mod attention_history;
mod blocks_residual;
mod cached_tensor;
mod form;
mod spill;

pub(super) use attention_history::{AttentionHistory, Past};
pub(super) use blocks_residual::BlocksResidual;
pub(super) use cached_tensor::{CachedTensor, MemoryCounter, MemoryCounts};
pub(super) use form::{bytes_of, Store};
