//! How far a run is as one number.

use crate::pipeline::{GenerateOptions, Output};
use crate::runtime::{Progress, Stage};

/// What reading a text encoder on demand takes, and running it, as denoising steps.
const ENCODE: f64 = 1.0;
/// What decoding takes.
const DECODE: f64 = 4.0;
/// A run that has not ended is not whole, whatever it last reported.
const ALMOST: f64 = 0.999;

/// The stages of a run, measured in denoising steps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Course {
    steps: f64,
    decode: f64,
}

impl Course {
    pub fn of(options: &GenerateOptions) -> Course {
        let steps = options
            .timesteps
            .as_ref()
            .map_or(options.num_inference_steps as f64, |timesteps| timesteps.len() as f64);
        let decode = if options.output == Output::Frames { DECODE } else { 0.0 };
        Course { steps: steps.max(1.0), decode }
    }

    /// The part of the run that is done at this report, below 1.
    pub fn fraction(&self, progress: &Progress) -> f64 {
        let part = (progress.done as f64 / progress.total.max(1) as f64).clamp(0.0, 1.0);
        let done = match progress.stage {
            Stage::Load => 0.0,
            Stage::Encode => ENCODE * part,
            Stage::Denoise => ENCODE + self.steps * part,
            Stage::Decode => ENCODE + self.steps + self.decode * part,
        };
        (done / (ENCODE + self.steps + self.decode)).min(ALMOST)
    }
}
