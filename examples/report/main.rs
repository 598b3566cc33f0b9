//! Measures the library on the demo model, through its C functions.
//!
//! `caching` compares every caching technique's presets, skip ranges and windows with the
//! uncached run and writes a page with tables, the raw numbers, a chart and a contact sheet
//! (`make report`). `judge` generates every prompt that the demo model knows and says how many
//! are fulfilled (`make judge`); `judge-image-to-video` and `judge-lora` do that for the two models
//! that were made from it. `--help` lists the options.

#![allow(
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a program: it prints, and may panic where its own lists are too short"
)]

mod adapter;
mod caching;
mod clip;
mod command_line;
#[cfg(test)]
mod goldens;
mod handles;
mod image_to_video;
mod judge;
mod machine;
mod progress;
mod prompts;
mod quality;
mod settings;
#[cfg(test)]
mod tests;
mod whole_model;
mod written;

use command_line::{Command, Task};
use std::process::ExitCode;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let command = match command_line::parse(std::env::args().skip(1)) {
        Ok(Some(command)) => command,
        Ok(None) => {
            print!("{}", command_line::HELP);
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("report: {message}");
            return ExitCode::from(2);
        }
    };
    match run(&command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("report: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(Command { task, options }: &Command) -> Result<()> {
    match task {
        Task::Caching => caching::run(options),
        Task::Judge => whole_model::run(options),
        Task::JudgeImageToVideo => image_to_video::run(options),
        Task::JudgeLora => adapter::run(options),
    }
}
