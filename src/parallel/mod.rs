//! Several ranks that compute one run together.
//!
//! A **rank** is a device with a thread of this process, or a process of its own. All ranks run the
//! same program on the same options. Two things are shared out among them, alone or together
//! ([`Layout`]):
//!
//! - **guidance**: the conditional half of the batch goes through the model on one group of ranks,
//!   the unconditional half on another;
//! - **sequence**: within a group each rank has a part of the text and video tokens; for attention
//!   they are exchanged for heads and back (Ulysses, arXiv 2309.14509).
//!
//! The model's output is gathered once a step, so that every rank has all of it, and does with it
//! what a single one would: caches that work on outputs, guidance, the scheduler's step. What works
//! on tokens works on the rank's own. What is decided by data is decided by all ranks together.
//!
//! How ranks reach each other is a [`Communicator`]'s business; nothing above knows which it is:
//!
//! | file | what is in it |
//! | --- | --- |
//! | `communicator` | what ranks ask of each other |
//! | `devices` | threads of one process: tensors are handed over |
//! | `host` | processes that the host connects, through host memory |
//! | `nccl` | processes with a CUDA device each, through NCCL |
//! | `cost` | what sharing costs and saves, by arithmetic |
//! | `degrees` | how many ranks for guidance, and how many for the sequence |
//! | `team` | a rank's place in a run: who runs, what all agree on, what is counted |
//! | `shard` | a rank's part of the tokens: what the model asks |
//! | `ranks` | ranks as threads, of which a failing one ends all |

mod communicator;
pub mod cost;
pub mod degrees;
pub mod devices;
pub mod host;
pub mod nccl;
pub mod ranks;
mod shard;
mod team;

pub use communicator::Communicator;
pub use degrees::{Degrees, Layout};
pub use shard::Shard;
pub use team::{Among, Half, Team, Traffic};
