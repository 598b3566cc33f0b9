//! What every part needs from the process it runs in: a device, random numbers of its own,
//! and a way to be told to stop. Nothing here changes process-wide state, but for the exit
//! handler of [`process`].

pub mod ahead;
pub mod control;
pub mod cuda;
pub mod device;
pub mod device_threads;
pub mod devices;
pub(crate) mod failures;
pub(crate) mod files;
pub mod inside;
pub mod loss;
pub mod memory;
pub(crate) mod number;
mod openmp;
pub mod pace;
pub(crate) mod panics;
pub mod pieces;
pub mod process;
pub mod reserve;
pub mod rng;
pub mod shape;
pub mod shared;
pub mod shim;
pub mod threads;
mod versions;
pub mod waiting;
pub mod warnings;

pub use control::{CancelToken, Control, LogLevel, Progress, Stage, Stop};
pub use device::{DType, Placement};
pub use shape::dim;
pub use shared::{ReadOnly, Shared, SharedTensor};
pub use shim::host_objects::MemoryPlace;
pub(crate) use shim::modules;
