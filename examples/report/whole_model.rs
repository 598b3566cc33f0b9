//! `report judge`: how many of the demo model's prompts are fulfilled, uncached; and what the
//! reports on the models made from it have in common with that one.

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
pub struct Judged {
    pub prompt: Prompt,
    pub seed: u64,
    pub verdict: Verdict,
    /// Whether it begins with its picture, where it was made from one.
    pub kept: Option<bool>,
}

impl Judged {
    /// The prompt is, and the picture is kept if there was one.
    pub fn fulfilled(&self) -> bool {
        self.verdict.all() && self.kept != Some(false)
    }

    /// What is not.
    fn wrong(&self) -> Vec<&'static str> {
        let kept = (self.kept == Some(false)).then_some("first frame");
        self.verdict.wrong().into_iter().chain(kept).collect()
    }
}

/// How many of some clips fulfil their prompt.
pub struct Count {
    name: String,
    fulfilled: usize,
    clips: usize,
}

impl Count {
    pub fn of<'a>(name: &str, good: impl Iterator<Item = bool> + 'a) -> Count {
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
    let conditions = conditions(&pipeline, options, steps);
    let page = page(&conditions, &counts, &judged);
    let numbers = numbers(conditions, &counts, &judged);
    write(options, [PAGE, NUMBERS], &page, &numbers)?;
    print!("{}", table(&counts));
    at_least(options, &counts[0])
}

/// What was run, on what.
pub fn conditions(pipeline: &Pipeline, options: &Options, steps: i32) -> serde_json::Value {
    json!({
        "date": today(),
        "machine": Machine::this_one(),
        "model": options.model.display().to_string(),
        "weight_bytes": pipeline.weight_bytes(),
        "steps": steps,
        "guidance_scale": pipeline.default_guidance_scale(),
        "prompts": options.prompts,
        "clips_of_each_prompt": options.seeds,
        "seeds": "1000 k + p for clip k of prompt p, both from 0",
    })
}

/// Writes a page and its numbers.
pub fn write(
    options: &Options,
    names: [&str; 2],
    page: &str,
    numbers: &serde_json::Value,
) -> Result<()> {
    let numbers = serde_json::to_string_pretty(numbers)? + "\n";
    for (name, text) in names.into_iter().zip([page, &numbers]) {
        fs::write(options.output.join(name), text)?;
        println!("wrote {}", options.output.join(name).display());
    }
    Ok(())
}

/// An error if fewer are fulfilled than was asked for.
pub fn at_least(options: &Options, total: &Count) -> Result<()> {
    match total {
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
            judged.push(Judged { prompt: *prompt, seed, verdict, kept: None });
            progress.advance(&prompt.to_string());
        }
    }
    Ok(judged)
}

/// The total first, then the judge's parts, then the words.
fn counts(judged: &[Judged]) -> Vec<Count> {
    let mut counts = of_parts(judged);
    counts.extend(of_words(judged));
    counts
}

/// The total, then the judge's parts.
pub fn of_parts(judged: &[Judged]) -> Vec<Count> {
    let mut counts = vec![Count::of("all", judged.iter().map(Judged::fulfilled))];
    for (place, part) in Verdict::PARTS.into_iter().enumerate() {
        counts.push(Count::of(part, judged.iter().map(|one| one.verdict.parts()[place])));
    }
    counts
}

/// The words that come up.
pub fn of_words(judged: &[Judged]) -> Vec<Count> {
    let words = COLORS.iter().map(|named| named.0).chain(SHAPES);
    let words = words.chain(DIRECTIONS.iter().map(|named| named.0));
    let words = words.chain(BACKGROUNDS.iter().map(|named| named.0));
    let count = |word: &'static str| {
        let with_word = judged.iter().filter(move |one| one.prompt.words().contains(&word));
        Count::of(word, with_word.map(Judged::fulfilled))
    };
    words.map(count).filter(|count| count.clips > 0).collect()
}

fn table(counts: &[Count]) -> String {
    let (parts, words) = counts.split_at(1 + Verdict::PARTS.len());
    rows("part of the prompt", parts) + &rows("prompts with the word", words)
}

/// A table with a row a count.
pub fn rows(head: &str, counts: &[Count]) -> String {
    let mut rows =
        format!("| {head} | fulfilled | of clips | percent |\n| --- | --- | --- | --- |\n");
    for count in counts.iter().filter(|count| count.clips > 0) {
        let Count { name, fulfilled, clips } = count;
        rows += &format!("| {name} | {fulfilled} | {clips} | {:.1} |\n", count.percent());
    }
    rows + "\n"
}

fn page(conditions: &serde_json::Value, counts: &[Count], judged: &[Judged]) -> String {
    let page = format!(
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
    (page + &failures(judged)).trim_end().to_string() + "\n"
}

/// The clips that are not fulfilled; empty if there is none.
pub fn failures(judged: &[Judged]) -> String {
    let mut failures = judged.iter().filter(|one| !one.fulfilled()).peekable();
    let mut table = String::new();
    if failures.peek().is_some() {
        table +=
            "The clips that are not fulfilled:\n\n| seed | prompt | not |\n| --- | --- | --- |\n";
    }
    for one in failures {
        table += &format!("| {} | {} | {} |\n", one.seed, one.prompt, one.wrong().join(", "));
    }
    table
}

fn numbers(
    conditions: serde_json::Value,
    counts: &[Count],
    judged: &[Judged],
) -> serde_json::Value {
    let (parts, words) = counts.split_at(1 + Verdict::PARTS.len());
    json!({
        "conditions": conditions,
        "parts": by_name(parts),
        "words": by_name(words),
        "clips": clips(judged),
    })
}

/// Counts by their names.
pub fn by_name(counts: &[Count]) -> serde_json::Value {
    let count = |count: &Count| {
        let numbers = json!({ "fulfilled": count.fulfilled, "clips": count.clips });
        (count.name.clone(), numbers)
    };
    counts.iter().map(count).collect::<serde_json::Map<_, _>>().into()
}

/// The clips one by one.
pub fn clips(judged: &[Judged]) -> Vec<serde_json::Value> {
    let clip = |one: &Judged| {
        json!({
            "prompt": one.prompt.to_string(),
            "seed": one.seed,
            "fulfilled": one.fulfilled(),
            "wrong": one.wrong(),
        })
    };
    judged.iter().map(clip).collect()
}
