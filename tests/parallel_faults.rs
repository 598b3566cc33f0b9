//! A process that fails at any exchange of a run ends the others, soon, with its own error.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

use cogvideox::models::vae::{DecodeOptions, Tiling};
use cogvideox::parallel::{devices, Communicator, Degrees};
use cogvideox::pipeline::{GenerateOptions, LoadOptions, Pipeline, Processes};
use cogvideox::runtime::Control;
use cogvideox::{Error, Result};
use std::ops::Range;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tch::Tensor;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    OutOfMemory,
    Panic,
}

/// An end that fails at one of its exchanges.
struct Faulty {
    end: Arc<dyn Communicator>,
    calls: AtomicUsize,
    at: usize,
    fault: Fault,
}

impl Communicator for Faulty {
    fn rank(&self) -> usize {
        self.end.rank()
    }

    fn size(&self) -> usize {
        self.end.size()
    }

    fn all_to_all(
        &self,
        among: &Range<usize>,
        send: Vec<Tensor>,
        shapes: &[Vec<i64>],
        control: &Control,
    ) -> Result<Vec<Tensor>> {
        if self.calls.fetch_add(1, Ordering::SeqCst) == self.at {
            match self.fault {
                Fault::OutOfMemory => return Err(Error::OutOfMemory("no room for it".into())),
                Fault::Panic => panic!("this rank died"),
            }
        }
        self.end.all_to_all(among, send, shapes, control)
    }

    fn abort(&self, error: &Error) {
        self.end.abort(error);
    }

    fn failure(&self) -> Option<Error> {
        self.end.failure()
    }
}

fn options() -> GenerateOptions {
    let tiling = Tiling {
        tile_sample_min_height: Some(16),
        tile_sample_min_width: Some(16),
        ..Tiling::default()
    };
    GenerateOptions {
        prompt: "A panda.".into(),
        width: Some(48),
        height: Some(32),
        num_frames: Some(9),
        num_inference_steps: 2,
        guidance_scale: 6.0,
        max_sequence_length: Some(16),
        decode: DecodeOptions { tiling: Some(tiling), ..DecodeOptions::default() },
        ..GenerateOptions::default()
    }
}

/// Runs on both ranks, of which `bad` fails at its exchange `at`; whether it did.
fn run(degrees: Degrees, bad: usize, at: usize, fault: Fault) -> bool {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pipelines/2b");
    let (ends, _) = devices::connect(2);
    let started = Instant::now();
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = ends
            .into_iter()
            .map(|end| {
                let at = if end.rank() == bad { at } else { usize::MAX };
                let folder = &folder;
                scope.spawn(move || {
                    tch::set_num_threads(1);
                    let end = Arc::new(Faulty { end, calls: AtomicUsize::new(0), at, fault });
                    let load = LoadOptions {
                        device: "cpu".into(),
                        degrees,
                        communicator: Some(Processes(end)),
                        ..LoadOptions::default()
                    };
                    let pipeline = Pipeline::load(folder, &load, &Control::default()).unwrap();
                    let run = || pipeline.generate(&options(), &Control::default());
                    catch_unwind(AssertUnwindSafe(run)).map(|result| result.map(drop))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(started.elapsed() < Duration::from_secs(60));
    if results.iter().all(|result| matches!(result, Ok(Ok(())))) {
        return false;
    }
    let what = format!("rank {bad} at {at}, {fault:?}: {results:?}");
    let (own, other) = (&results[bad], &results[1 - bad]);
    match fault {
        Fault::OutOfMemory => {
            let error = Error::OutOfMemory("no room for it".into());
            assert!(matches!(own, Ok(Err(found)) if *found == error), "{what}");
            // It may have had nothing more to ask of the one that failed.
            assert!(
                matches!(other, Ok(Ok(()))) || matches!(other, Ok(Err(e)) if *e == error),
                "{what}"
            );
        }
        Fault::Panic => {
            assert!(own.is_err(), "{what}");
            let died = |e: &Error| matches!(e, Error::Internal(m) if m.contains("this rank died"));
            assert!(
                matches!(other, Ok(Ok(()))) || matches!(other, Ok(Err(e)) if died(e)),
                "{what}"
            );
        }
    }
    true
}

fn fails_everywhere(fault: Fault) {
    for degrees in [
        Degrees { guidance: Some(2), sequence: Some(1) },
        Degrees { guidance: Some(1), sequence: Some(2) },
    ] {
        for bad in [0, 1] {
            let mut at = 0;
            while run(degrees, bad, at, fault) {
                at += 1;
            }
            // Embeddings, two steps, the tiles.
            assert!(at > 6, "{at} exchanges");
        }
    }
}

#[test]
fn a_rank_without_memory_ends_all_at_every_exchange() {
    fails_everywhere(Fault::OutOfMemory);
}

#[test]
fn a_rank_that_dies_ends_all_at_every_exchange() {
    // What it dies of is printed by the test's own process, as it should be.
    fails_everywhere(Fault::Panic);
}

#[test]
fn different_runs_are_refused_on_all_ranks() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pipelines/2b");
    let (ends, _) = devices::connect(2);
    std::thread::scope(|scope| {
        for end in ends {
            let folder = &folder;
            scope.spawn(move || {
                tch::set_num_threads(1);
                let seed = end.rank() as u64;
                let load = LoadOptions {
                    device: "cpu".into(),
                    communicator: Some(Processes(end)),
                    ..LoadOptions::default()
                };
                let pipeline = Pipeline::load(folder, &load, &Control::default()).unwrap();
                let options = GenerateOptions { seed, ..options() };
                let error = pipeline.generate(&options, &Control::default()).err().unwrap();
                let Error::InvalidArgument(message) = error else { panic!("{error}") };
                assert!(message.contains("were asked for different runs"), "{message}");
            });
        }
    });
}
