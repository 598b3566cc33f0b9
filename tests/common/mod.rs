//! What the integration tests share. They go through the public C functions, as a host does.

#![allow(dead_code, reason = "each test binary uses its part of this")]

pub mod cache;
pub mod cases;
pub mod compare;
pub mod folders;
pub mod goldens;
pub mod handles;
pub mod layouts;
pub mod lora;
pub mod process_memory;
pub mod runs;
