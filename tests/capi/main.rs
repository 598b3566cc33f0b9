//! The C functions as a host calls them: what they check, what they own, what they leave
//! alone when they fail.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::exit,
    clippy::mem_forget,
    clippy::string_slice,
    reason = "a test that panics has failed; hosts exit and leak"
)]

mod capabilities;
mod device_frames;
mod devices;
mod dlpack;
mod floating_point;
mod frames;
mod handles;
mod job_callbacks;
mod job_ends;
mod job_races;
mod job_support;
mod jobs;
mod loading;
mod nulls;
mod plans;
mod process;
mod runs;
mod schedulers;
mod settings;
mod streaming;
mod support;
mod threads;
mod user_data;
mod videos;
