//! Runs that wait their turn: a queue per pipeline, worked through by one thread.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `job` | one run from the host's side: its state, its end, its result |
//! | `queue` | what waits, in order, and who is told when it has ended |
//! | `worker` | the thread |
//! | `course` | how far a run is as one number |
//!
//! Locks: the queue's is taken before a job's, and neither is held while a run, a callback of
//! the host or a destructor of what the host gave is under way. So all of them may call back
//! into the queue, and free its jobs, from anywhere.

mod course;
mod job;
mod queue;
mod worker;

pub use job::{Job, State, Status};
pub use queue::{OnEnd, Queue, Work};
pub use worker::Guard;
