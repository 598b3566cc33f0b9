//! The measurements.

use super::Conditions;
use crate::clip::{median, Clip};
use crate::handles::{Pipeline, Run};
use crate::judge::{judge, Verdict};
use crate::progress::Progress;
use crate::prompts::{Prompt, ALL};
use crate::quality::{psnr, ssim};
use crate::settings::Setting;
use crate::Result;

/// What was measured of one setting.
pub struct Measured {
    pub setting: Setting,
    /// The technique's fields, under diffusers' names; null without a cache.
    pub fields: serde_json::Value,
    /// In the order of the clips that were asked for.
    pub clips: Vec<OfClip>,
    /// Calls of attention modules in one clip, and those of them that were not computed.
    pub attention_calls: i32,
    pub attention_reused: i32,
    /// Steps of one clip on which the unconditional half was rebuilt.
    pub rebuilt_halves: usize,
    pub cache_bytes_peak: u64,
    /// What a calibration with other prompts expected, before the runs; `None` for no cache.
    pub estimate: Option<Estimate>,
}

/// What was expected of a setting.
#[derive(Debug, Clone, Copy)]
pub struct Estimate {
    pub seconds: f64,
    /// `None` where what a run computes decides.
    pub psnr: Option<f64>,
}

/// What was measured of one clip.
pub struct OfClip {
    pub seconds: f64,
    pub denoising_seconds: f64,
    /// Times as fast as the uncached clip.
    pub speed_up: f64,
    pub denoising_speed_up: f64,
    /// Of denoising, by the library's cost model.
    pub predicted_speed_up: f64,
    /// In dB against the uncached clip; infinite if every number is equal.
    pub psnr: f64,
    pub ssim: f64,
    pub verdict: Verdict,
}

impl Measured {
    /// The median over the clips.
    pub fn median(&self, of: fn(&OfClip) -> f64) -> f64 {
        median(self.clips.iter().map(of))
    }

    /// Clips that fulfil their prompt.
    pub fn fulfilled(&self) -> usize {
        self.clips.iter().filter(|clip| clip.verdict.all()).count()
    }
}

/// The uncached run of a clip.
struct Reference {
    clip: Clip,
    seconds: f64,
    denoising_seconds: f64,
}

/// Measures every setting on every clip. `settings` begin with the uncached run.
pub fn measure(
    pipeline: &mut Pipeline,
    conditions: &Conditions,
    settings: &[Setting],
) -> Result<Vec<Measured>> {
    let estimates = estimates(pipeline, conditions, settings)?;
    let (steps, clock) = (conditions.steps, conditions.clock);
    let mut progress = Progress::of(settings.len() * conditions.clips.len());
    let mut all: Vec<Measured> = Vec::new();
    for (index, asked) in conditions.clips.iter().enumerate() {
        let prompt = asked.prompt.to_string();
        if index == 0 {
            // Memory is found and threads are started once.
            pipeline.generate(&prompt, asked.seed, steps, clock)?;
        }
        let mut reference = None;
        for place in order(settings.len(), index) {
            let setting = settings[place];
            pipeline.set_cache(setting.config()?.as_ref())?;
            let run = pipeline.generate(&prompt, asked.seed, steps, clock)?;
            let clip = run.video.clip()?;
            let verdict = judge(&run.video.shown()?, &asked.prompt);
            let reference = reference.get_or_insert_with(|| Reference {
                clip: clip.clone(),
                seconds: run.seconds,
                denoising_seconds: run.denoising_seconds,
            });
            if index == 0 {
                all.push(Measured::of_first(setting, &run, estimates[place])?);
            }
            all[place].clips.push(OfClip {
                seconds: run.seconds,
                denoising_seconds: run.denoising_seconds,
                speed_up: reference.seconds / run.seconds,
                denoising_speed_up: reference.denoising_seconds / run.denoising_seconds,
                predicted_speed_up: run.stats.predicted_speed_up(),
                psnr: psnr(&reference.clip, &clip),
                ssim: ssim(&reference.clip, &clip),
                verdict,
            });
            progress.advance(&prompt);
        }
    }
    pipeline.set_cache(None)?;
    Ok(all)
}

/// What is expected of each setting, from a calibration with prompts that are not measured. Runs of
/// one step can't be calibrated.
fn estimates(
    pipeline: &mut Pipeline,
    conditions: &Conditions,
    settings: &[Setting],
) -> Result<Vec<Option<Estimate>>> {
    let measured: Vec<usize> = conditions.clips.iter().map(|asked| asked.prompt.number()).collect();
    let others = (0..ALL).map(|k| (k * 47 + 5) % ALL).filter(|number| !measured.contains(number));
    let prompts: Vec<String> = others
        .take(conditions.calibrated_on)
        .map(|number| Prompt::at(number).to_string())
        .collect();
    if prompts.is_empty() || conditions.steps < 2 {
        return Ok(vec![None; settings.len()]);
    }
    let calibration = pipeline.calibrate(&prompts, conditions.steps)?;
    let estimate = |setting: &Setting| {
        let Some(config) = setting.config()? else { return Ok(None) };
        let (seconds, psnr) = pipeline.estimate(&config, &calibration, conditions.steps)?;
        Ok(Some(Estimate { seconds, psnr }))
    };
    settings.iter().map(estimate).collect()
}

/// The places of the settings in the order in which they run for a clip: the first first, for the
/// others are compared with it; the others in a turn that begins elsewhere for every clip, so
/// that none always runs late.
fn order(settings: usize, clip: usize) -> impl Iterator<Item = usize> {
    let others = settings - 1;
    (0..settings).map(move |k| match k {
        0 => 0,
        _ => 1 + (k - 1 + clip * 19) % others,
    })
}

impl Measured {
    /// What is the same for all clips, from the first: the schedule does not know the prompt.
    fn of_first(setting: Setting, run: &Run, estimate: Option<Estimate>) -> Result<Measured> {
        let (computed, reused) = run.stats.attention_calls();
        Ok(Measured {
            setting,
            fields: run.stats.settings()?,
            clips: Vec::new(),
            attention_calls: computed + reused,
            attention_reused: reused,
            rebuilt_halves: run.stats.rebuilt_halves(),
            cache_bytes_peak: run.stats.bytes_peak(),
            estimate,
        })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_setting_runs_once_for_a_clip_and_the_first_first() {
        for clip in 0..50 {
            let mut order: Vec<usize> = super::order(45, clip).collect();
            assert_eq!(order[0], 0);
            assert_eq!(order[1] == 1, clip % 44 == 0);
            order.sort();
            assert_eq!(order, (0..45).collect::<Vec<_>>());
        }
    }
}
