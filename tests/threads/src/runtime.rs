//! As in the library.

#[path = "../../../src/runtime/control.rs"]
pub mod control;
pub use crate::stubs::{pace, waiting};
pub use control::{CancelToken, Control, Progress, Stage};

#[cfg(loom)]
pub use crate::stubs::{process, reserve};

#[cfg(not(loom))]
pub use crate::stubs::shim;
#[cfg(not(loom))]
#[path = "../../../src/runtime/device_threads.rs"]
pub mod device_threads;
#[cfg(not(loom))]
#[path = "../../../src/runtime/inside.rs"]
pub mod inside;
#[cfg(not(loom))]
#[path = "../../../src/runtime/panics.rs"]
pub(crate) mod panics;
#[cfg(not(loom))]
#[path = "../../../src/runtime/process.rs"]
pub mod process;
#[cfg(not(loom))]
#[path = "../../../src/runtime/reserve.rs"]
pub mod reserve;
