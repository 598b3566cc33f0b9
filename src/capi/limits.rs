//! The bounds of `pipeline::limits`, for hosts.

use crate::pipeline::limits;

/// The most pixels that the width or the height of a video, or of a tile, may have.
pub const CVX_MAX_SIDE: i32 = 16384;
/// The most frames of a video.
pub const CVX_MAX_FRAMES: i32 = 4096;
/// The most videos of one run.
pub const CVX_MAX_VIDEOS: i32 = 256;
/// The most tokens that a prompt is cut or padded to.
pub const CVX_MAX_SEQUENCE_LENGTH: i32 = 8192;
/// The most runs that a cache schedule is tuned on.
pub const CVX_MAX_TUNE_RUNS: i32 = 1000;

/// The most threads that a pipeline computes with.
pub const CVX_MAX_THREADS: i32 = 1024;

// Written out above, because the header is made from the text; here they are the core's.
const _: () = {
    assert!(CVX_MAX_SIDE as i64 == limits::MAX_SIDE);
    assert!(CVX_MAX_FRAMES as i64 == limits::MAX_FRAMES);
    assert!(CVX_MAX_VIDEOS as i64 == limits::MAX_VIDEOS);
    assert!(CVX_MAX_SEQUENCE_LENGTH as i64 == limits::MAX_SEQUENCE_LENGTH);
    assert!(CVX_MAX_THREADS == limits::MAX_THREADS);
    assert!(CVX_MAX_TUNE_RUNS as usize == limits::MAX_TUNE_RUNS);
};
