//! Training-free caching: the cache decides, the model asks.
//!
//! # Why this shape
//!
//! Techniques skip work at three grains: a whole step (the output is predicted and the model does
//! not run, or only its conditional half does), a range of blocks (what they would have added is
//! added from memory), a module of a block (attention or feed-forward; its output is taken from
//! memory). The denoising loop and the transformer ask at each of the three, and every question
//! has a default that computes ([`RunCache`], [`ForwardCache`]), so a technique implements the
//! grain it works at and no other, and the model knows no technique. The model always tells what
//! it computed; who does not want it, ignores it.
//!
//! Some techniques know what they will do before the run, from host numbers alone; others decide
//! by what the run computes. [`CacheConfig::preview`] says which ([`Foresight`]), and a run whose
//! future is known keeps each tensor until its last reader and no longer.
//!
//! # How it fits together
//!
//! | place | what is in it |
//! | --- | --- |
//! | `forward` | the questions, and what can be returned for them |
//! | `run_info` | what a technique is told of a run, and of a step |
//! | `config`, `fields`, `storage_options` | a technique with its settings, its fields as a table, how outputs are kept |
//! | `callbacks` | the host's say in a run |
//! | `technique`, `techniques` | what a technique is; one file each, and the list of them |
//! | `schedule` | what can be told ahead: reuse of attention, steps that skip all blocks |
//! | `store` | what a run keeps, counted to the byte |
//! | `tuning` | what calibration runs say: estimates, and schedules made from them |
//! | `report` | what a run did: trace, statistics, cost model |
//!
//! A [`CacheConfig`] is a technique with its settings. [`start`] makes the run's cache from it: a
//! technique's own object inside a recorder that writes the statistics. It dies with the run,
//! however the run ends, so nothing of one run can reach another.
//!
//! # Adding a technique
//!
//! 1. One new file in `techniques`: a struct of the settings that implements
//!    `technique::Technique` (its table of fields, what it does if that is known ahead, what it
//!    refuses), and an object for a run that implements [`RunCache`] and [`ForwardCache`], each
//!    only where it departs from computing. `techniques::first_block_cache` is a short example;
//!    `techniques::every_third_block`, which only tests have, the shortest.
//! 2. One entry in `techniques::TECHNIQUES`: its id and its presets.
//!
//! Its fields can then be set by name and by JSON from every language; statistics, previews and
//! grids know it.

mod callbacks;
mod config;
mod extrapolation;
mod fields;
mod forward;
mod report;
mod run;
mod run_info;
mod schedule;
mod storage_options;
mod store;
mod technique;
mod techniques;
#[cfg(test)]
mod testing;
pub mod tuning;

pub use callbacks::{LayerCallback, LayerInfo, StepCallback};
pub use config::CacheConfig;
pub use fields::Value;
pub use forward::{
    BlockAction, ComputeAll, ForwardCache, Module, RunCache, StepAction, Substitute,
};
pub use report::{
    AttentionShare, CacheStats, Estimate, Exchanged, Foresight, LayerCounts, LayerState, Preview,
    ShareSource, SharedStats, StepTrace, Trace, Unconditional, Units,
};
pub use run::{start, Run};
pub use run_info::{RunInfo, Sizes, Step};
pub use storage_options::{CacheDType, CacheLocation, StorageOptions};
