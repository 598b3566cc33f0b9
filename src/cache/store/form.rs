//! How kept tensors lie in memory, and what they take.

use crate::{Error, Result};
use tch::Kind;

/// How a tensor is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache) struct Store {
    /// Of its numbers; float8 ones have a float32 scale for each row of the last dimension.
    pub kind: Kind,
    /// In host memory, wherever the model computes.
    pub on_host: bool,
}

impl Store {
    /// Whether numbers have scales.
    pub fn is_scaled(self) -> bool {
        self.kind == Kind::Float8e4m3fn
    }
}

/// In this dtype, where the model computes.
impl From<Kind> for Store {
    fn from(kind: Kind) -> Store {
        Store { kind, on_host: false }
    }
}

/// Bytes of a tensor of this shape that is kept so.
pub(in crate::cache) fn bytes_of(size: &[i64], store: impl Into<Store>) -> Result<u64> {
    let store = store.into();
    let element = u64::try_from(store.kind.elt_size_in_bytes()).unwrap_or(u64::MAX);
    let product = |sides: &[i64], of: u64| {
        sides
            .iter()
            .try_fold(of, |bytes, &n| u64::try_from(n).ok().and_then(|n| bytes.checked_mul(n)))
    };
    let numbers = product(size, element);
    let scales = match size.split_last() {
        Some((_, rows)) if store.is_scaled() => product(rows, 4),
        _ => Some(0),
    };
    numbers
        .zip(scales)
        .and_then(|(numbers, scales)| numbers.checked_add(scales))
        .ok_or_else(|| Error::InvalidArgument(format!("shape {size:?}: its bytes overflow")))
}
