//! The page with the tables, and the short table for the README.

use super::measure::Measured;
use super::{Conditions, CHART, NUMBERS, SHEET};
use crate::machine::Clock;
use crate::settings::{Setting, Technique, Window};

/// The whole page, in Markdown.
pub fn page(conditions: &Conditions, measured: &[Measured]) -> String {
    let mut page = format!(
        "# What caching does\n\n\
         Made by `make report` on {}; do not edit. The raw numbers, clip by clip, are in \
         [{NUMBERS}]({NUMBERS}).\n\n{}\n",
        conditions.date,
        how_it_was_measured(conditions)
    );
    page += &format!(
        "![Speed-up against PSNR, a color for each technique]({CHART})\n\n\
         ![Frames of one clip, a row for each setting]({SHEET})\n\n"
    );
    let of = |wanted: &dyn Fn(&Setting) -> bool| -> Vec<&Measured> {
        measured.iter().filter(|one| wanted(&one.setting)).collect()
    };
    page += "## Presets\n\n";
    let presets = of(&|setting| matches!(setting, Setting::Uncached | Setting::Preset(..)));
    page += &table("", &presets, conditions.steps, |one| {
        let technique =
            one.setting.technique().map_or(String::new(), |t| format!("{}, ", t.label()));
        format!("{technique}{}", one.setting.label())
    });
    for technique in Technique::OF_ATTENTION {
        page += &format!(
            "\n## {}: skip ranges and windows\n\nThe other fields are the defaults of diffusers. {}\n\n",
            technique.label(),
            windows(technique)
        );
        let rows = of(&|setting| matches!(setting, Setting::SkipRange(t, ..) if *t == technique));
        page += &table("skip range, window", &rows, conditions.steps, |one| one.setting.label());
    }
    page += "\n## FasterCache: how often the unconditional half runs\n\n\
             `unconditional_batch_skip_range`; the other fields are the defaults of diffusers.\n\n";
    let rows = of(&|setting| matches!(setting, Setting::UnconditionalSkipRange(_)));
    page += &table("skip range", &rows, conditions.steps, |one| one.setting.label());
    page += "\n## Whole steps and blocks, and tuned schedules\n\n\
             One number of each technique from mild to strong; MagCache with ratios measured on \
             this model, TaylorSeer with derivatives in float32, TeaCache with the coefficients of \
             CogVideoX-5b. *Tuned*: schedules that `make tune` made for a median PSNR, with prompts \
             and seeds of their own.\n\n";
    page += "CFG-Cache with other techniques in `with`.\n\n";
    let rows = of(&|setting| matches!(setting, Setting::Written(_)));
    page += &table("", &rows, conditions.steps, |one| {
        let technique = one.setting.technique().map_or("", Technique::label);
        format!("{technique}, {}", one.setting.label())
    });
    page += &estimates(conditions, measured);
    page += "\n## Checks\n\n\
             The uncached run once more, and caches that compute everything: equal frames, and \
             speed-ups that say how far the times stray and what a cache costs by itself.\n\n";
    let rows = of(&|setting| matches!(setting, Setting::Again | Setting::ComputesAll(_)));
    page += &table("", &rows, conditions.steps, |one| {
        let technique =
            one.setting.technique().map_or(String::new(), |t| format!("{}, ", t.label()));
        format!("{technique}{}", one.setting.label())
    });
    page
}

fn how_it_was_measured(conditions: &Conditions) -> String {
    let Conditions { machine, model, family, device, dtype, steps, guidance_scale, .. } =
        conditions;
    let (width, height, frames) = conditions.size;
    let clips = conditions.clips.len();
    format!(
        "| | |\n| --- | --- |\n\
         | machine | {machine} |\n\
         | model | `{model}` ({family}, {dtype} on {device}, {:.1} MB of weights) |\n\
         | clips | {width}×{height}, {frames} frames, {steps} steps, guidance {guidance_scale} |\n\
         | sample | {clips} clips, colors, shapes, directions and backgrounds evenly; prompts and \
         seeds in [{NUMBERS}]({NUMBERS}) |\n\n\
         For each clip the settings run in turn, one at a time, the uncached run first and the \
         others from another one on for each clip, after a first run that does not count. Times, \
         speed-ups, PSNR and SSIM are medians over the clips. *Time* is {time} from the prompt to \
         the last frame, with text encoder and VAE, which no cache speeds up; *denoising* is the \
         speed-up of the denoising steps alone, and *predicted* what the library's cost model \
         makes of the schedule and the measured share of attention; *expected* is the PSNR that a \
         calibration told before the runs. PSNR (all channels) and SSIM \
         (Wang et al. 2004: brightness, Gaussian window of 11×11, σ 1.5) compare frames with \
         those of the uncached run; ∞ means equal in every bit. *Fulfilled* counts the clips that \
         show what their prompt says, by the rules of \
         `examples/demo-model/judge.py`. *Attention reused* counts calls of attention modules, \
         *halves rebuilt* the steps without an unconditional half.\n",
        conditions.weight_bytes as f64 / 1e6,
        time = time(conditions),
    )
}

fn time(conditions: &Conditions) -> &'static str {
    match conditions.clock {
        Clock::Wall => "that on the wall",
        Clock::Processor => "processor time, all threads together,",
    }
}

fn windows(technique: Technique) -> String {
    let between = |(low, high): (i32, i32)| format!("{low} < timestep < {high}");
    let say = |window: Window| match window.unconditional {
        None => format!("*{}*: {}", window.name, between(window.attention)),
        Some(unconditional) => format!(
            "*{}*: attention {}, unconditional half {}",
            window.name,
            between(window.attention),
            between(unconditional)
        ),
    };
    let windows: Vec<String> = technique.windows().into_iter().map(say).collect();
    format!("Windows: {}.", windows.join("; "))
}

fn table(head: &str, rows: &[&Measured], steps: i32, name: fn(&Measured) -> String) -> String {
    let mut table = format!(
        "| {head} | time | speed-up | denoising | predicted | PSNR | expected | SSIM | fulfilled \
         | attention reused | halves rebuilt | cache peak |\n\
         |{}\n",
        " --- |".repeat(12)
    );
    for one in rows {
        let rebuilt = match one.setting.technique() {
            Some(Technique::FasterCache | Technique::CfgCache | Technique::Tuned) => {
                format!("{} of {steps}", one.rebuilt_halves)
            }
            _ => "–".to_string(),
        };
        table += &format!(
            "| {} | {:.2} s | {:.2} | {:.2} | {:.2} | {} | {} | {:.3} | {} of {} | {} of {} | {rebuilt} \
             | {:.2} MB |\n",
            name(one),
            one.median(|clip| clip.seconds),
            one.median(|clip| clip.speed_up),
            one.median(|clip| clip.denoising_speed_up),
            one.median(|clip| clip.predicted_speed_up),
            decibels(one),
            expected(one),
            one.median(|clip| clip.ssim),
            one.fulfilled(),
            one.clips.len(),
            one.attention_reused,
            one.attention_calls,
            one.cache_bytes_peak as f64 / 1e6,
        );
    }
    table
}

fn decibels(one: &Measured) -> String {
    in_decibels(one.median(|clip| clip.psnr))
}

fn in_decibels(psnr: f64) -> String {
    match psnr {
        psnr if psnr.is_infinite() => "∞".to_string(),
        psnr => format!("{psnr:.1} dB"),
    }
}

fn expected(one: &Measured) -> String {
    one.estimate.and_then(|estimate| estimate.psnr).map_or("–".to_string(), in_decibels)
}

/// How far estimates were off, of all settings that have one.
fn estimates(conditions: &Conditions, measured: &[Measured]) -> String {
    let mut psnr: Vec<f64> = measured
        .iter()
        .filter_map(|one| {
            let off = one.estimate?.psnr? - one.median(|clip| clip.psnr);
            off.is_finite().then_some(off.abs())
        })
        .collect();
    let mut seconds: Vec<f64> = measured
        .iter()
        .filter_map(|one| Some((one.estimate?.seconds / one.median(|c| c.seconds) - 1.0).abs()))
        .collect();
    if psnr.is_empty() || seconds.is_empty() {
        return String::new();
    }
    psnr.sort_by(f64::total_cmp);
    seconds.sort_by(f64::total_cmp);
    let at = |sorted: &[f64], part: usize| sorted[(sorted.len() - 1) * part / 10];
    let mut text = format!(
        "\n## Estimates\n\n\
         Before the runs the pipeline was calibrated with {} other prompts \
         (`cvx_pipeline_calibrate`), and `cvx_pipeline_estimate_cache` told each setting's PSNR (the \
         column *expected*), seconds and bytes. Over the {} settings whose PSNR can be told, it was off by {:.1} \
         dB in the median and by {:.1} dB at the ninth tenth; bytes are told exactly.",
        conditions.calibrated_on,
        psnr.len(),
        at(&psnr, 5),
        at(&psnr, 9),
    );
    if conditions.clock == Clock::Wall {
        text += &format!(
            " Seconds, of {} settings, were off by {:.0} % and {:.0} %.",
            seconds.len(),
            100.0 * at(&seconds, 5),
            100.0 * at(&seconds, 9),
        );
    }
    text + "\n"
}

/// The table of the presets, short.
pub fn excerpt(conditions: &Conditions, measured: &[Measured]) -> String {
    let mut table = format!(
        "Medians over {} clips of the demo model, {} steps, on {} ({}); time is {} from the prompt \
         to the last frame.\n\n\
         | | time | speed-up | PSNR | SSIM | prompts fulfilled |\n|{}\n",
        conditions.clips.len(),
        conditions.steps,
        conditions.machine,
        conditions.date,
        time(conditions).trim_end_matches(','),
        " --- |".repeat(6)
    );
    for one in measured {
        let technique = match (one.setting, one.setting.technique()) {
            (Setting::Uncached, _) => String::new(),
            (Setting::Preset(..), Some(technique)) => format!("{}, ", technique.label()),
            (Setting::Written(_), Some(Technique::Tuned)) => "Tuned, ".to_string(),
            _ => continue,
        };
        table += &format!(
            "| {technique}{} | {:.2} s | {:.2} | {} | {:.3} | {} of {} |\n",
            one.setting.label(),
            one.median(|clip| clip.seconds),
            one.median(|clip| clip.speed_up),
            decibels(one),
            one.median(|clip| clip.ssim),
            one.fulfilled(),
            one.clips.len(),
        );
    }
    table
}
