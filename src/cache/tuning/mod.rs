//! Schedules made from what a model does: calibration measures it, a solver finds the cheapest
//! schedule for a bound on the error, and whoever runs the model checks it by running
//! (`pipeline::tune`).
//!
//! The idea is LeMiCa's (arXiv 2511.00090): the steps that are computed are a path through the
//! run, and what an omission costs at the end is known beforehand from one dense run. It is carried
//! further here: to the halves of the guidance batch, to predictions instead of repetitions, and
//! to attention and blocks. The same numbers estimate any other technique's run before it is run.

mod calibration;
mod estimate;
mod path;
mod recording;
mod solver;

pub use calibration::{Calibration, Effects, Omission, OutputErrors, Seconds};
pub use recording::Recording;
pub use solver::{solve, Solution, Word};
