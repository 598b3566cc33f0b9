//! `report judge-lora`: the pink prompts with the adapter and without it, and what it does to the
//! other colors.

use crate::command_line::Options;
use crate::handles::Pipeline;
use crate::judge::judge;
use crate::machine::Clock;
use crate::progress::Progress;
use crate::prompts::{even_sample, Prompt, ALL, OF_A_COLOR};
use crate::whole_model::{
    at_least, by_name, clips, conditions, failures, of_parts, of_words, rows, write, Count, Judged,
};
use crate::Result;
use serde_json::json;

pub const PAGE: &str = "demo-model-lora-judged.md";
pub const NUMBERS: &str = "demo-model-lora-judged.json";

/// Whether a pink prompt was kept from the training: `held_out` of
/// examples/demo-model/training/train_lora.py.
fn held_out(prompt: &Prompt) -> bool {
    prompt.places[1..].iter().sum::<usize>().is_multiple_of(4)
}

fn generate(
    pipeline: &mut Pipeline,
    prompts: &[Prompt],
    seeds: usize,
    steps: i32,
    progress: &mut Progress,
) -> Result<Vec<Judged>> {
    let mut judged = Vec::new();
    for k in 0..seeds {
        for prompt in prompts {
            let (text, seed) = (prompt.to_string(), (1000 * k + prompt.number()) as u64);
            let run = pipeline.generate(&text, seed, steps, Clock::Wall)?;
            let verdict = judge(&run.video.shown()?, prompt);
            judged.push(Judged { prompt: *prompt, seed, verdict, kept: None });
            progress.advance(&text);
        }
    }
    Ok(judged)
}

pub fn run(options: &Options) -> Result<()> {
    let mut pipeline = Pipeline::load(&options.model)?;
    let steps = options.steps.unwrap_or(pipeline.default_steps());
    // Spread over the 48, however few: 11 shares no factor with them.
    let pink = |n: usize| Prompt::at(ALL + n * 11 % OF_A_COLOR);
    let mut prompts: Vec<Prompt> = (0..options.prompts).map(pink).collect();
    prompts.sort_by_key(Prompt::number);
    let mut others = even_sample(options.prompts);
    others.sort_by_key(Prompt::number);

    let mut progress = Progress::of((2 * options.seeds + 2) * prompts.len());
    let without = generate(&mut pipeline, &prompts, options.seeds, steps, &mut progress)?;
    let others_without = generate(&mut pipeline, &others, 1, steps, &mut progress)?;
    pipeline.load_lora(&options.lora)?;
    let with = generate(&mut pipeline, &prompts, options.seeds, steps, &mut progress)?;
    let others_with = generate(&mut pipeline, &others, 1, steps, &mut progress)?;

    let (parts, words) = (of_parts(&with), of_words(&with));
    let of_training = [("that the training had", false), ("kept from the training", true)];
    let of_training = of_training.map(|(name, held)| {
        let some = with.iter().filter(move |one| held_out(&one.prompt) == held);
        Count::of(name, some.map(Judged::fulfilled))
    });
    let alone = of_parts(&without);
    let kept = [("without the adapter", &others_without), ("with the adapter", &others_with)]
        .map(|(name, clips)| Count::of(name, clips.iter().map(Judged::fulfilled)));
    let mut conditions = conditions(&pipeline, options, steps);
    conditions["lora"] = options.lora.display().to_string().into();
    conditions["seeds"] = "1000 k + p for clip k of prompt p, k from 0, p from 288".into();
    let text = |name: &str| conditions[name].as_str().unwrap_or_default().to_string();
    let tables = format!(
        "With the adapter:\n\n{}{}{}The same prompts and seeds without it:\n\n{}\
         Prompts of the demo model's own colors, one clip of each:\n\n{}",
        rows("part of the prompt", &parts),
        rows("prompts", &of_training),
        rows("prompts with the word", &words),
        rows("part of the prompt", &alone),
        rows("the model", &kept),
    );
    let page = format!(
        "# The demo model's adapter, judged\n\n\
         Made by `make judge` on {}; do not edit. {} of the 48 prompts for pink, {} clips of each, \
         uncached, {} steps, guidance {}, from `{}` and `{}`. Seeds: {}. The judge's rules are at \
         the top of `examples/demo-model/judge.py`; *all* means every part at once.\n\n{tables}{}",
        text("date"),
        conditions["prompts"],
        conditions["clips_of_each_prompt"],
        conditions["steps"],
        conditions["guidance_scale"],
        text("model"),
        text("lora"),
        text("seeds"),
        failures(&with).replace("The clips that", "The clips with the adapter that"),
    );
    let numbers = json!({
        "conditions": conditions,
        "parts": by_name(&parts),
        "training": by_name(&of_training),
        "words": by_name(&words),
        "without": by_name(&alone),
        "other_colors": by_name(&kept),
        "clips": clips(&with),
        "clips_without": clips(&without),
    });
    write(options, [PAGE, NUMBERS], &(page.trim_end().to_string() + "\n"), &numbers)?;
    print!("{tables}");
    at_least(options, &parts[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_background_of_each_shape_and_direction_is_held_out() {
        let held: Vec<Prompt> = (ALL..ALL + OF_A_COLOR).map(Prompt::at).filter(held_out).collect();
        assert_eq!(held.len(), 12);
        assert_eq!(held[0].to_string(), "a pink ball moves right on a black background");
    }
}
