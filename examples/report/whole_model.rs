//! `report judge`: how many of the demo model's prompts are fulfilled, uncached.

use crate::command_line::Options;
use crate::handles::Pipeline;
use crate::judge::{judge, Verdict};
use crate::machine::{today, Clock, Machine};
use crate::progress::Progress;
use crate::prompts::{even_sample, Prompt, BACKGROUNDS, COLORS, DIRECTIONS, SHAPES};
use crate::Result;
use serde_json::json;
use std::fs;

pub const PAGE: &str = "demo-model-judged.md";
pub const NUMBERS: &str = "demo-model-judged.json";

/// A clip and what was found of it.
struct Judged {
    prompt: Prompt,
    seed: u64,
    verdict: Verdict,
}

/// How many of some clips fulfil their prompt.
struct Count {
    name: String,
    fulfilled: usize,
    clips: usize,
}

impl Count {
    fn of<'a>(name: &str, good: impl Iterator<Item = bool> + 'a) -> Count {
        let (mut fulfilled, mut clips) = (0, 0);
        for good in good {
            fulfilled += usize::from(good);
            clips += 1;
        }
        Count { name: name.to_string(), fulfilled, clips }
    }

    fn percent(&self) -> f64 {
        100.0 * self.fulfilled as f64 / self.clips.max(1) as f64
    }
}

pub fn run(options: &Options) -> Result<()> {
    let mut pipeline = Pipeline::load(&options.model)?;
    let steps = options.steps.unwrap_or(pipeline.default_steps());
    let judged = generate(&mut pipeline, options, steps)?;
    let counts = counts(&judged);
    let guidance = pipeline.default_guidance_scale();
    let conditions = json!({
        "date": today(),
        "machine": Machine::this_one(),
        "model": options.model.display().to_string(),
        "weight_bytes": pipeline.weight_bytes(),
        "steps": steps,
        "guidance_scale": guidance,
        "prompts": options.prompts.min(crate::prompts::ALL),
        "clips_of_each_prompt": options.seeds,
        "seeds": "1000 k + p for clip k of prompt p, both from 0",
    });
    let page = page(&conditions, &counts, &judged);
    let numbers = serde_json::to_string_pretty(&numbers(conditions, &counts, &judged))? + "\n";
    fs::write(options.output.join(PAGE), &page)?;
    fs::write(options.output.join(NUMBERS), numbers)?;
    print!("{}", table(&counts));
    for name in [PAGE, NUMBERS] {
        println!("wrote {}", options.output.join(name).display());
    }
    match &counts[0] {
        total if total.percent() < options.at_least => Err(format!(
            "expected at least {} percent of the clips to fulfil their prompt, found {:.1}",
            options.at_least,
            total.percent()
        )
        .into()),
        _ => Ok(()),
    }
}

/// Every clip by itself: one call of the library, with a seed of its own.
fn generate(pipeline: &mut Pipeline, options: &Options, steps: i32) -> Result<Vec<Judged>> {
    let mut prompts = even_sample(options.prompts);
    prompts.sort_by_key(Prompt::number);
    let mut progress = Progress::of(prompts.len() * options.seeds);
    let mut judged = Vec::new();
    for k in 0..options.seeds {
        for prompt in &prompts {
            let seed = (1000 * k + prompt.number()) as u64;
            let run = pipeline.generate(&prompt.to_string(), seed, steps, Clock::Wall)?;
            let verdict = judge(&run.video.shown()?, prompt);
            judged.push(Judged { prompt: *prompt, seed, verdict });
            progress.advance(&prompt.to_string());
        }
    }
    Ok(judged)
}

/// The total first, then the judge's parts, then the words.
fn counts(judged: &[Judged]) -> Vec<Count> {
    let mut counts = vec![Count::of("all", judged.iter().map(|one| one.verdict.all()))];
    for (place, part) in Verdict::PARTS.into_iter().enumerate() {
        counts.push(Count::of(part, judged.iter().map(|one| one.verdict.parts()[place])));
    }
    let words = COLORS.iter().map(|named| named.0).chain(SHAPES);
    let words = words.chain(DIRECTIONS.iter().map(|named| named.0));
    for word in words.chain(BACKGROUNDS.iter().map(|named| named.0)) {
        let with_word = judged.iter().filter(|one| one.prompt.words().contains(&word));
        counts.push(Count::of(word, with_word.map(|one| one.verdict.all())));
    }
    counts
}

fn table(counts: &[Count]) -> String {
    let mut table = String::new();
    let (parts, words) = counts.split_at(1 + Verdict::PARTS.len());
    for (head, counts) in [("part of the prompt", parts), ("prompts with the word", words)] {
        table +=
            &format!("| {head} | fulfilled | of clips | percent |\n| --- | --- | --- | --- |\n");
        for count in counts.iter().filter(|count| count.clips > 0) {
            let Count { name, fulfilled, clips } = count;
            table += &format!("| {name} | {fulfilled} | {clips} | {:.1} |\n", count.percent());
        }
        table += "\n";
    }
    table
}

fn page(conditions: &serde_json::Value, counts: &[Count], judged: &[Judged]) -> String {
    let mut page = format!(
        "# The demo model, judged\n\n\
         Made by `make judge` on {}; do not edit. {} of the 288 prompts, {} clips of each, every \
         clip generated by itself, uncached, {} steps, guidance {}, from `{}`. Seeds: {}. The \
         judge's rules are at the top of `examples/demo-model/judge.py`; *all* means every part \
         at once.\n\n{}",
        conditions["date"].as_str().unwrap_or_default(),
        conditions["prompts"],
        conditions["clips_of_each_prompt"],
        conditions["steps"],
        conditions["guidance_scale"],
        conditions["model"].as_str().unwrap_or_default(),
        conditions["seeds"].as_str().unwrap_or_default(),
        table(counts),
    );
    let mut failures = judged.iter().filter(|one| !one.verdict.all()).peekable();
    if failures.peek().is_some() {
        page +=
            "The clips that are not fulfilled:\n\n| seed | prompt | not |\n| --- | --- | --- |\n";
    }
    for Judged { prompt, seed, verdict } in failures {
        page += &format!("| {seed} | {prompt} | {} |\n", verdict.wrong().join(", "));
    }
    page.trim_end().to_string() + "\n"
}

fn numbers(
    conditions: serde_json::Value,
    counts: &[Count],
    judged: &[Judged],
) -> serde_json::Value {
    let count = |count: &Count| {
        let numbers = json!({ "fulfilled": count.fulfilled, "clips": count.clips });
        (count.name.clone(), numbers)
    };
    let (parts, words) = counts.split_at(1 + Verdict::PARTS.len());
    let object = |counts: &[Count]| counts.iter().map(count).collect::<serde_json::Map<_, _>>();
    let clip = |one: &Judged| {
        json!({
            "prompt": one.prompt.to_string(),
            "seed": one.seed,
            "fulfilled": one.verdict.all(),
            "wrong": one.verdict.wrong(),
        })
    };
    json!({
        "conditions": conditions,
        "parts": object(parts),
        "words": object(words),
        "clips": judged.iter().map(clip).collect::<Vec<_>>(),
    })
}
