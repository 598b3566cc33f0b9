//! `report caching`: what caching costs and saves.
//!
//! For each clip of an even sample of prompts, every setting generates it in turn, one at a
//! time and warm, so that whatever slows the machine down for a while slows all of them.

mod chart;
mod measure;
mod numbers;
mod page;
mod readme;
mod sheet;

use crate::command_line::Options;
use crate::handles::Pipeline;
use crate::machine::{today, Clock, Machine};
use crate::prompts::{even_sample, Prompt};
use crate::settings::Setting;
use crate::Result;
use std::fs;

pub const PAGE: &str = "caching.md";
pub const NUMBERS: &str = "caching.json";
pub const CHART: &str = "caching-speed-quality.svg";
pub const SHEET: &str = "caching-contact-sheet.png";

/// What all measurements of a report have in common.
pub struct Conditions {
    pub date: String,
    pub machine: Machine,
    pub clock: Clock,
    /// As it was named on the command line.
    pub model: String,
    pub family: String,
    pub device: String,
    pub dtype: String,
    pub weight_bytes: u64,
    /// Width, height and frames of a clip.
    pub size: (i32, i32, i32),
    pub steps: i32,
    pub guidance_scale: f64,
    pub clips: Vec<Asked>,
    /// With how many other prompts estimates are made.
    pub calibrated_on: usize,
}

/// What a clip was asked to show, and with which seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    pub prompt: Prompt,
    pub seed: u64,
}

impl Conditions {
    pub fn new(pipeline: &Pipeline, options: &Options) -> Conditions {
        Conditions {
            date: today(),
            machine: Machine::this_one(),
            clock: options.clock,
            model: options.model.display().to_string(),
            family: pipeline.family(),
            device: pipeline.device(),
            dtype: pipeline.dtype(),
            weight_bytes: pipeline.weight_bytes(),
            size: pipeline.default_size(),
            steps: options.steps.unwrap_or(pipeline.default_steps()),
            guidance_scale: pipeline.default_guidance_scale(),
            clips: asked(options),
            calibrated_on: options.prompts.div_ceil(4),
        }
    }
}

/// The clips of a run, prompt by prompt; see the command line's help for their seeds.
fn asked(options: &Options) -> Vec<Asked> {
    let of_prompt = |prompt: Prompt| {
        (0..options.seeds).map(move |k| Asked { prompt, seed: (1000 * k + prompt.number()) as u64 })
    };
    even_sample(options.prompts).into_iter().flat_map(of_prompt).collect()
}

pub fn run(options: &Options) -> Result<()> {
    if let Some(path) = &options.readme {
        readme::check(path)?; // Before minutes of work.
    }
    let mut pipeline = Pipeline::load(&options.model)?;
    let conditions = Conditions::new(&pipeline, options);
    let measured = measure::measure(&mut pipeline, &conditions, &Setting::all(conditions.steps))?;
    let at = |name: &str| options.output.join(name);
    fs::write(at(NUMBERS), numbers::json(&conditions, &measured)?)?;
    fs::write(at(PAGE), page::page(&conditions, &measured))?;
    chart::draw(&conditions, &measured, &at(CHART))?;
    sheet::draw(&mut pipeline, &conditions, &measured, &at(SHEET))?;
    if let Some(path) = &options.readme {
        readme::put(path, &page::excerpt(&conditions, &measured))?;
    }
    print!("{}", page::excerpt(&conditions, &measured));
    for name in [NUMBERS, PAGE, CHART, SHEET] {
        println!("wrote {}", at(name).display());
    }
    Ok(())
}
