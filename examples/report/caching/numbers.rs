//! The raw numbers, for programs.

use super::measure::{Measured, OfClip};
use super::Conditions;
use crate::judge::Verdict;
use crate::machine::Clock;
use crate::Result;
use serde_json::{json, Map, Value};

/// One JSON object: `conditions`, `clips` (prompt and seed of each) and `settings`. A setting has
/// medians over the clips and, in `clips`, the numbers of each clip in the same order. An
/// infinite PSNR is null: the clips are equal, or expected to be. Estimates are those before the
/// runs. Times are in seconds
/// on the wall, or of processor time if the conditions say so.
pub fn json(conditions: &Conditions, measured: &[Measured]) -> Result<String> {
    let (width, height, frames) = conditions.size;
    let clips = conditions.clips.iter();
    let report = json!({
        "conditions": {
            "date": conditions.date,
            "machine": conditions.machine,
            "processor_time": conditions.clock == Clock::Processor,
            "model": conditions.model,
            "family": conditions.family,
            "device": conditions.device,
            "dtype": conditions.dtype,
            "weight_bytes": conditions.weight_bytes,
            "width": width,
            "height": height,
            "frames": frames,
            "steps": conditions.steps,
            "guidance_scale": conditions.guidance_scale,
        },
        "clips": clips
            .map(|asked| json!({ "prompt": asked.prompt.to_string(), "seed": asked.seed }))
            .collect::<Vec<_>>(),
        "settings": measured.iter().map(setting).collect::<Vec<_>>(),
    });
    Ok(serde_json::to_string_pretty(&report)? + "\n")
}

fn setting(measured: &Measured) -> Value {
    json!({
        "id": measured.setting.id(),
        "technique": measured.setting.technique().map(|technique| technique.id()),
        "fields": measured.fields,
        "seconds": measured.median(|clip| clip.seconds),
        "denoising_seconds": measured.median(|clip| clip.denoising_seconds),
        "speed_up": measured.median(|clip| clip.speed_up),
        "denoising_speed_up": measured.median(|clip| clip.denoising_speed_up),
        "predicted_speed_up": measured.median(|clip| clip.predicted_speed_up),
        "psnr": measured.median(|clip| clip.psnr),
        "ssim": measured.median(|clip| clip.ssim),
        "fulfilled": measured.fulfilled(),
        "attention_calls": measured.attention_calls,
        "attention_reused": measured.attention_reused,
        "rebuilt_halves": measured.rebuilt_halves,
        "cache_bytes_peak": measured.cache_bytes_peak,
        "estimated_seconds": measured.estimate.map(|estimate| estimate.seconds),
        "estimated_psnr": measured.estimate.and_then(|estimate| estimate.psnr),
        "clips": measured.clips.iter().map(clip).collect::<Vec<_>>(),
    })
}

fn clip(clip: &OfClip) -> Value {
    let parts = Verdict::PARTS.into_iter().zip(clip.verdict.parts());
    json!({
        "seconds": clip.seconds,
        "denoising_seconds": clip.denoising_seconds,
        "predicted_speed_up": clip.predicted_speed_up,
        "psnr": clip.psnr,
        "ssim": clip.ssim,
        "judged": parts.map(|(part, good)| (part.into(), good.into())).collect::<Map<_, _>>(),
    })
}
