//! How a run's outputs are kept.

use super::run_info::RunInfo;
use crate::runtime::DType;
use tch::Kind;

/// How outputs are kept, whatever the technique.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StorageOptions {
    /// The most bytes that a run may keep; layers that don't fit compute. Default: no limit.
    pub max_cache_bytes: Option<u64>,
    /// The dtype of kept outputs. Default: what the model computes in. float16 halves float32's
    /// bytes; its values end at 65504, where bfloat16 keeps float32's range.
    pub cache_dtype: Option<DType>,
}

impl StorageOptions {
    /// The dtype of kept outputs in a run; float32 where the model's is not known.
    pub(super) fn kind(&self, run: &RunInfo) -> Kind {
        match (self.cache_dtype, &run.sizes) {
            (Some(dtype), _) => dtype.kind(),
            (None, Some(sizes)) => sizes.dtype,
            (None, None) => Kind::Float,
        }
    }

    /// The most bytes that a run may keep.
    pub(super) fn budget(&self) -> u64 {
        self.max_cache_bytes.unwrap_or(u64::MAX)
    }
}
