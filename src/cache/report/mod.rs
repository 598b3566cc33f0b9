//! What a run will do, what it does, and what that saves.

mod clock;
mod cost;
mod forecast;
mod recorder;
mod stats;
mod trace;

pub use cost::{AttentionShare, ShareSource, Units};
pub use forecast::{Estimate, Foresight, Preview};
pub use stats::{CacheStats, Exchanged, SharedStats};
pub use trace::{LayerCounts, LayerState, StepTrace, Trace, Unconditional};

pub(super) use forecast::Forecast;
pub(super) use recorder::Recorder;
