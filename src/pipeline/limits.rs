//! The most that a run may be asked for. No CogVideoX run comes near; they keep size arithmetic
//! inside 64 bits and a mistyped number from allocating the machine full. The header shows them
//! (`capi::limits`).

/// Pixels of a video's width and of its height, and of a tile's.
pub const MAX_SIDE: i64 = 16_384;
/// Frames of a video.
pub const MAX_FRAMES: i64 = 4_096;
/// Videos of a run.
pub const MAX_VIDEOS: i64 = 256;
/// Tokens of a prompt.
pub const MAX_SEQUENCE_LENGTH: i64 = 8_192;
/// Runs that a schedule is tuned on: more than tuning gains from.
pub const MAX_TUNE_RUNS: usize = 1_000;
/// Threads that a pipeline computes with.
pub const MAX_THREADS: i32 = 1_024;
