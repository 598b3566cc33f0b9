//! Schedules made from what a model does: calibration measures it, a solver finds the cheapest
//! schedule for a bound on the error, and whoever runs the model checks it by running
//! (`pipeline::tune`).
//!
//! The idea is LeMiCa's (arXiv 2511.00090): the steps that are computed are a path through the
//! run, and what an omission costs at the end is known beforehand from one dense run. It is carried
//! further here: to the halves of the guidance batch, and to predictions instead of repetitions.

mod calibration;
mod recording;
mod solver;

pub use calibration::{Calibration, OutputErrors};
pub use recording::Recording;
pub use solver::{solve, Solution};
