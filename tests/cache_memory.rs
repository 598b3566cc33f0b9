//! The bytes that a cache says it keeps are those that the allocator holds. Alone in its
//! program, since the allocator counts for the whole process.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod cache_support;

use cache_support::{shape, trailing, Drive};
use cogvideox::cache::{CacheConfig, RunInfo};
use cogvideox::runtime::Control;
use std::cell::RefCell;
use std::rc::Rc;
use tch::Tensor;

const LAYERS: usize = 3;
const TOKENS: i64 = 500;
const WIDTH: i64 = 512;
const OUTPUT: i64 = TOKENS * WIDTH * 4;

/// Bytes in use by malloc, which libtorch's CPU allocator takes its memory from.
fn allocated() -> i64 {
    // SAFETY: mallinfo2 has no preconditions.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd) as i64
}

/// What the cache says and what the allocator grew by, after every step.
fn bytes_by_step(config: &CacheConfig, shape: &RunInfo) -> (Vec<(i64, i64)>, u64, i64) {
    let mut drive = Drive::new(Some(config), shape, &Control::default()).expect("starts");
    drive.record = false;
    let batch = if shape.batch.guided { 2 } else { 1 };
    drive.make_attention =
        Box::new(move |_, _| Tensor::ones([batch, TOKENS, WIDTH], tch::kind::FLOAT_CPU));
    let rows = Rc::new(RefCell::new(Vec::with_capacity(64)));
    let (stats, seen) = (drive.stats.clone(), Rc::clone(&rows));
    let before = allocated();
    drive.after_step = Box::new(move |_| {
        let grown = allocated() - before;
        seen.borrow_mut().push((stats.snapshot().bytes_now as i64, grown));
    });
    drive.run().expect("runs");
    let after = allocated() - before;
    let peak = drive.stats.snapshot().bytes_peak;
    let rows = rows.borrow().clone();
    (rows, peak, after)
}

#[test]
fn what_is_counted_is_what_is_allocated() {
    let slack = 200_000;
    // The first use of libtorch allocates for the process.
    let warm = shape(1, trailing(2), true).tokens(TOKENS, WIDTH).done();
    bytes_by_step(&CacheConfig::new("pab", None).expect("pab"), &warm);

    let shape =
        shape(LAYERS, trailing(20), true).tokens(TOKENS, WIDTH).output(&[1, 2, 4, 60, 90]).done();
    let bands = 2 * 2 * 4 * 60 * 90 * 4;
    let layers = LAYERS as i64;
    // (technique, what one step keeps at most): PAB the whole batch once, FasterCache half of
    // the batch twice; diffusers' views would keep the whole batch twice.
    for (technique, most) in
        [("pab", layers * 2 * OUTPUT), ("faster_cache", layers * 2 * OUTPUT + bands)]
    {
        let config = CacheConfig::new(technique, None).expect(technique);
        let (rows, peak, after) = bytes_by_step(&config, &shape);
        for (step, (counted, grown)) in rows.iter().enumerate() {
            assert!(
                (grown - counted).abs() < slack,
                "{technique} step {step}: counted {counted}, allocated {grown}"
            );
        }
        let seen = rows.iter().map(|(counted, _)| *counted).max().expect("steps");
        assert_eq!(seen, most, "{technique}: the most between two steps");
        assert_eq!(peak as i64, most, "{technique}: the most at any time");
        assert_eq!(rows.last().map(|(counted, _)| *counted), Some(0), "{technique}: at the end");
        assert!(after < slack, "{technique}: {after} bytes stay after the run");
    }
}
