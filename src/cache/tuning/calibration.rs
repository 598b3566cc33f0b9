//! What dense runs say about predictions: how far off each would be, and what that does to the
//! result.
//!
//! With `c` the conditional output of a step and `d` what the unconditional one is more, guidance
//! of scale `w` makes `c + (1 - w) d` of them. A prediction is a sum of outputs of other steps with
//! weights, so its mean squared error is a quadratic form in the products of the outputs with each
//! other. Those few numbers are all that is kept of a run, whatever the size of the model.

use crate::guidance::GuidanceBatch;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// Values that are multiplied at a time, in float64.
const VALUES: i64 = 1 << 16;

/// The mean products of the outputs of all steps with each other, over one or more runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OutputErrors {
    steps: usize,
    /// `c·c`, `c·d` and `d·d`, each steps × steps.
    conditional: Vec<f64>,
    mixed: Vec<f64>,
    difference: Vec<f64>,
    /// The guidance scale of each step.
    scales: Vec<f64>,
    runs: usize,
}

impl OutputErrors {
    /// From the outputs of one dense run, `(whole batch, …)` each, and the guidance scale of each
    /// step.
    pub fn of_run(
        outputs: &[Tensor],
        batch: GuidanceBatch,
        scales: Vec<f64>,
    ) -> Result<OutputErrors> {
        let steps = outputs.len();
        if steps == 0 || scales.len() != steps {
            return Err(Error::Internal(format!(
                "calibration: {steps} outputs and {} guidance scales",
                scales.len()
            )));
        }
        let mut conditional = Vec::with_capacity(steps);
        let mut difference = Vec::with_capacity(steps);
        for output in outputs {
            if batch.guided {
                let (u, c) = batch.split(output)?;
                difference.push(u.f_sub(&c)?.f_reshape([-1])?);
                conditional.push(c.f_reshape([-1])?);
            } else {
                difference.push(output.f_zeros_like()?.f_reshape([-1])?);
                conditional.push(output.f_reshape([-1])?);
            }
        }
        Ok(OutputErrors {
            steps,
            conditional: products(&conditional, &conditional)?,
            mixed: products(&conditional, &difference)?,
            difference: products(&difference, &difference)?,
            scales,
            runs: 1,
        })
    }

    /// The sum of two, as if both runs were one. Errors: [`Error::InvalidArgument`] for runs of
    /// different numbers of steps.
    pub fn together_with(mut self, other: &OutputErrors) -> Result<OutputErrors> {
        if self.steps != other.steps {
            return Err(Error::InvalidArgument(format!(
                "num_inference_steps: expected {} in all runs that are tuned on, found {}",
                self.steps, other.steps
            )));
        }
        for (mine, theirs) in [
            (&mut self.conditional, &other.conditional),
            (&mut self.mixed, &other.mixed),
            (&mut self.difference, &other.difference),
        ] {
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
        }
        self.runs += other.runs;
        Ok(self)
    }

    pub fn steps(&self) -> usize {
        self.steps
    }

    /// The guidance scale of a step.
    pub fn scale(&self, step: usize) -> f64 {
        self.scales.get(step).copied().unwrap_or(1.0)
    }

    /// The root mean squared error of step `step`'s guided output if its conditional half is the
    /// sum of those of other steps by `conditional`, and the difference by `difference` (`(step,
    /// weight)` each). `None`: it is computed.
    pub fn error(
        &self,
        step: usize,
        conditional: Option<&[(usize, f64)]>,
        difference: Option<&[(usize, f64)]>,
    ) -> f64 {
        let minus = |weights: Option<&[(usize, f64)]>, scale: f64| -> Vec<(usize, f64)> {
            let Some(weights) = weights else { return Vec::new() };
            let predicted = weights.iter().map(|(step, weight)| (*step, weight * scale));
            predicted.chain([(step, -scale)]).collect()
        };
        let scale = 1.0 - self.scales.get(step).copied().unwrap_or(1.0);
        let (c, d) = (minus(conditional, 1.0), minus(difference, scale));
        let form = |products: &[f64], left: &[(usize, f64)], right: &[(usize, f64)]| -> f64 {
            let at = |i: usize, j: usize| products.get(i * self.steps + j).copied().unwrap_or(0.0);
            left.iter().flat_map(|(i, a)| right.iter().map(move |(j, b)| a * b * at(*i, *j))).sum()
        };
        let sum = form(&self.conditional, &c, &c)
            + 2.0 * form(&self.mixed, &c, &d)
            + form(&self.difference, &d, &d);
        (sum.max(0.0) / self.runs as f64).sqrt()
    }
}

/// The mean products of rows with each other, in float64: errors are small differences of large
/// products.
fn products(left: &[Tensor], right: &[Tensor]) -> Result<Vec<f64>> {
    let steps = left.len() as i64;
    let values = left.first().map_or(0, |row| row.numel() as i64).max(1);
    let mut sum = Tensor::f_zeros([steps, steps], (Kind::Double, tch::Device::Cpu))?;
    let mut start = 0;
    while start < values {
        let count = VALUES.min(values - start);
        let part = |rows: &[Tensor]| -> Result<Tensor> {
            let parts: std::result::Result<Vec<Tensor>, tch::TchError> =
                rows.iter().map(|row| row.f_narrow(0, start, count)).collect();
            Ok(Tensor::f_stack(&parts?, 0)?.f_to_kind(Kind::Double)?)
        };
        sum = sum.f_add_(&part(left)?.f_matmul(&part(right)?.f_transpose(0, 1)?)?)?;
        start += count;
    }
    let mean = sum.f_div_scalar(values as f64)?.f_reshape([-1])?;
    Ok(Vec::<f64>::try_from(mean)?)
}

/// What it does to the final latents if one step alone leaves something out, by step: root mean
/// squared error there. What is left out is taken from the step before.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Omission(Vec<f64>);

impl Omission {
    /// From probed steps, filled in between.
    pub fn new(steps: usize, probes: &[(usize, f64)]) -> Omission {
        Omission(between(steps, probes))
    }

    pub fn at(&self, step: usize) -> f64 {
        self.0.get(step).copied().unwrap_or(f64::INFINITY)
    }
}

/// What errors and omissions do to the final latents.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Effects {
    /// For each step, what an error of its guided output does: root mean squared error there over
    /// root mean squared error here.
    pub sensitivity: Vec<f64>,
    /// The attention of all blocks is left out.
    pub attention: Omission,
    /// All blocks are left out.
    pub blocks: Omission,
}

impl Effects {
    /// Of `probes`, `(step, sensitivity)` by step; nothing is known yet of parts of a step.
    pub fn new(steps: usize, probes: &[(usize, f64)]) -> Effects {
        Effects { sensitivity: between(steps, probes), ..Effects::default() }
    }
}

/// How long the parts of an uncached run take, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Seconds {
    /// Before the first step.
    pub encode: f64,
    /// All steps.
    pub denoise: f64,
    /// After the last step.
    pub decode: f64,
}

/// What a model, with a scheduler, a number of steps and a guidance, has shown of itself: what the
/// solver and the estimates work from. The same for every config.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Calibration {
    /// [`Calibration::FORMAT`].
    format: String,
    pub layers: usize,
    pub guided: bool,
    pub errors: OutputErrors,
    /// Over all runs together: a step in which one prompt's video turns out otherwise counts as
    /// much as that does, so that schedules stay away from it.
    pub effects: Effects,
    /// The median over the runs: what a typical prompt sees, for estimates.
    pub typical: Effects,
    /// The PSNR of a typical video, in decibels, whose latents are off by 1 (root mean square), as
    /// the probes had it.
    pub psnr_of_one: f64,
    pub seconds: Seconds,
    /// Attention's part of a full step.
    pub attention_share: f64,
}

impl Calibration {
    /// What the file says it is.
    const FORMAT: &'static str = "libcogvideox calibration 1";

    /// Of errors and `probes`, `(step, sensitivity)` by step; nothing is known yet of parts of a
    /// step and of time.
    pub fn new(errors: OutputErrors, probes: &[(usize, f64)], guided: bool) -> Calibration {
        Calibration {
            format: Calibration::FORMAT.to_string(),
            layers: 0,
            guided,
            effects: Effects::new(errors.steps(), probes),
            typical: Effects::new(errors.steps(), probes),
            psnr_of_one: 0.0,
            seconds: Seconds::default(),
            attention_share: 0.5,
            errors,
        }
    }

    pub fn steps(&self) -> usize {
        self.errors.steps()
    }

    /// Errors: [`Error::InvalidArgument`] if it was made for runs of other steps, of another model
    /// or, `guided`, with guidance for runs without or the other way round.
    pub fn check(&self, steps: usize, layers: usize, guided: bool) -> Result<()> {
        for (what, found, expected) in [
            ("steps", self.steps(), steps),
            ("blocks", self.layers, layers),
            ("guidance (1: on)", self.guided.into(), guided.into()),
        ] {
            if found != expected {
                return Err(Error::InvalidArgument(format!(
                    "calibration: expected one of runs like this, with {what} {expected}, found \
                     {found}"
                )));
            }
        }
        Ok(())
    }

    /// The PSNR, in decibels, that goes with an error of the final latents; infinite for none.
    pub fn psnr(&self, error: f64) -> f64 {
        self.psnr_of_one - 20.0 * error.log10()
    }

    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|error| Error::Internal(format!("calibration as JSON: {error}")))
    }

    /// Reads what [`Calibration::to_json`] writes. Errors: [`Error::InvalidArgument`].
    pub fn from_json(text: &str) -> Result<Calibration> {
        let invalid = |problem: String| Error::InvalidArgument(format!("calibration: {problem}"));
        let read: Calibration = serde_json::from_str(text)
            .map_err(|error| invalid(format!("expected what a calibration wrote: {error}")))?;
        if read.format != Calibration::FORMAT {
            return Err(invalid(format!(
                "format: expected {:?}, found {:?}",
                Calibration::FORMAT,
                read.format.chars().take(80).collect::<String>()
            )));
        }
        let (steps, errors) = (read.steps(), &read.errors);
        for (name, found, expected) in [
            ("conditional", errors.conditional.len(), steps.saturating_mul(steps)),
            ("mixed", errors.mixed.len(), steps.saturating_mul(steps)),
            ("difference", errors.difference.len(), steps.saturating_mul(steps)),
            ("scales", errors.scales.len(), steps),
            ("effects.sensitivity", read.effects.sensitivity.len(), steps),
            ("effects.attention", read.effects.attention.0.len(), steps),
            ("effects.blocks", read.effects.blocks.0.len(), steps),
            ("typical.sensitivity", read.typical.sensitivity.len(), steps),
            ("typical.attention", read.typical.attention.0.len(), steps),
            ("typical.blocks", read.typical.blocks.0.len(), steps),
        ] {
            if found != expected || steps == 0 {
                return Err(invalid(format!(
                    "{name}: expected {expected} numbers for {steps} steps, found {found}"
                )));
            }
        }
        if !(0.0..=1.0).contains(&read.attention_share) || errors.runs == 0 {
            return Err(invalid(format!(
                "attention_share and runs: expected a number from 0 to 1 and at least one run, \
                 found {} and {}",
                read.attention_share, errors.runs
            )));
        }
        Ok(read)
    }
}

/// Values by step from probed ones: straight lines between their logarithms, the ends go on as they
/// are. `probes` are `(step, value)` by step.
fn between(steps: usize, probes: &[(usize, f64)]) -> Vec<f64> {
    let at = |step: usize| -> f64 {
        let before = probes.iter().rev().find(|(probed, _)| *probed <= step);
        let after = probes.iter().find(|(probed, _)| *probed >= step);
        match (before, after) {
            (Some((a, x)), Some((b, y))) if a < b => {
                let t = (step - a) as f64 / (b - a) as f64;
                ((1.0 - t) * x.ln() + t * y.ln()).exp()
            }
            (Some((_, x)), _) | (None, Some((_, x))) => *x,
            (None, None) => 1.0,
        }
    };
    (0..steps).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::testing::noise;

    #[test]
    fn the_error_of_a_prediction_is_what_comparing_tensors_gives() -> Result<()> {
        let batch = GuidanceBatch { videos: 1, guided: true };
        let outputs =
            (0..4).map(|step| noise(&[2, 3, 50], step, Kind::Float)).collect::<Result<Vec<_>>>()?;
        let errors = OutputErrors::of_run(&outputs, batch, vec![6.0; 4])?;
        let guided = |c: &Tensor, d: &Tensor| c + d * (1.0 - 6.0);
        let half = |step: usize| -> Result<(Tensor, Tensor)> {
            let (u, c) = batch.split(outputs.get(step).expect("a step"))?;
            Ok((c.shallow_clone(), u - c))
        };
        let (c, d): (Vec<_>, Vec<_>) =
            (0..4).map(half).collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let rms = |x: Tensor| x.square().mean(Kind::Double).double_value(&[]).sqrt();
        let predicted = guided(&(&c[2] * 2.0 - &c[1]), &(&d[2] * 1.5 - &d[0] * 0.5));
        let expected = rms(predicted - guided(&c[3], &d[3]));
        let found = errors.error(3, Some(&[(2, 2.0), (1, -1.0)]), Some(&[(2, 1.5), (0, -0.5)]));
        assert!((found / expected - 1.0).abs() < 1e-5, "{found} {expected}");
        // The conditional half is computed, the difference repeated.
        let expected = rms(guided(&c[3], &d[2]) - guided(&c[3], &d[3]));
        let found = errors.error(3, None, Some(&[(2, 1.0)]));
        assert!((found / expected - 1.0).abs() < 1e-5, "{found} {expected}");
        assert_eq!(errors.error(3, None, None), 0.0);
        Ok(())
    }

    #[test]
    fn sensitivities_between_probes_lie_between_them() -> Result<()> {
        let batch = GuidanceBatch { videos: 1, guided: false };
        assert!(OutputErrors::of_run(&[], batch, vec![]).is_err());
        let outputs = (0..5).map(|s| noise(&[1, 4], s, Kind::Float)).collect::<Result<Vec<_>>>()?;
        let errors = OutputErrors::of_run(&outputs, batch, vec![1.0; 5])?;
        let calibration = Calibration::new(errors, &[(1, 1.0), (3, 4.0)], false);
        let expected = [1.0, 1.0, 2.0, 4.0, 4.0];
        for (found, expected) in calibration.effects.sensitivity.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        Ok(())
    }
}
