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
            // Little beside a step.
            Stage::EncodeImage => ENCODE,
            Stage::Denoise => ENCODE + self.steps * part,
            // No job tunes.
            Stage::Tune => 0.0,
            Stage::Decode => ENCODE + self.steps + self.decode * part,
        };
        (done / (ENCODE + self.steps + self.decode)).min(ALMOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fraction(options: &GenerateOptions, stage: Stage, done: u64, total: u64) -> f64 {
        Course::of(options).fraction(&Progress { stage, done, total, timestep: None })
    }

    #[test]
    fn a_fraction_grows_through_the_stages_and_is_never_the_whole() {
        let options = GenerateOptions { num_inference_steps: 5, ..GenerateOptions::default() };
        let reports = [
            (Stage::Load, 9, 9, 0.0),
            (Stage::Encode, 1, 2, 0.05),
            (Stage::Encode, 2, 2, 0.1),
            (Stage::Denoise, 2, 5, 0.3),
            (Stage::Denoise, 5, 5, 0.6),
            (Stage::Decode, 1, 4, 0.7),
            (Stage::Decode, 4, 4, 0.999),
        ];
        for (stage, done, total, expected) in reports {
            let found = fraction(&options, stage, done, total);
            assert!((found - expected).abs() < 1e-12, "{stage:?} {done}: {found}");
        }
        let latents = GenerateOptions { output: Output::Latents, ..options };
        assert_eq!(fraction(&latents, Stage::Denoise, 5, 5), 0.999);
    }

    #[test]
    fn custom_timesteps_are_the_steps_and_odd_reports_stay_between_0_and_1() {
        let timesteps = Some(vec![900, 500, 100]);
        let options = GenerateOptions { timesteps, ..GenerateOptions::default() };
        assert_eq!(fraction(&options, Stage::Denoise, 2, 3), 3.0 / 8.0);
        assert_eq!(fraction(&options, Stage::Encode, 0, 0), 0.0);
        assert_eq!(fraction(&options, Stage::Decode, 7, 3), 0.999);
    }
}
