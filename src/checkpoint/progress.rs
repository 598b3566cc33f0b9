//! One progress count over several components.

use crate::runtime::{Control, Progress, Stage};
use crate::Result;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// Bytes of weight files read so far, and to be read in all. Clones count together, so that a
/// pipeline that opens all its components before it reads the first one reports one total.
#[derive(Debug, Clone, Default)]
pub struct LoadProgress(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    done: AtomicU64,
    total: AtomicU64,
}

impl LoadProgress {
    /// Bytes read, or found not to be needed.
    pub fn done(&self) -> u64 {
        self.0.done.load(Ordering::Relaxed)
    }

    /// Bytes of tensors in all the files that were added so far.
    pub fn total(&self) -> u64 {
        self.0.total.load(Ordering::Relaxed)
    }

    pub(crate) fn expect(&self, bytes: u64) {
        self.0.total.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts `bytes` and reports through `control`, whose answer may stop the load.
    pub(crate) fn advance(&self, bytes: u64, control: &Control) -> Result<()> {
        let done = self.0.done.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        control.report(Progress { stage: Stage::Load, done, total: self.total(), timestep: None })
    }
}
