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

/// Runs on both ranks, of which `bad` fails at its exchange `at`, if it comes to that; how many
/// exchanges it had.
fn run(degrees: Degrees, bad: usize, at: usize, fault: Fault) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pipelines/2b");
    let (ends, _) = devices::connect(2);
    let (started, exchanges) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = ends
            .into_iter()
            .map(|end| {
                let at = if end.rank() == bad { at } else { usize::MAX };
                let (folder, bad_one) = (&folder, end.rank() == bad);
                let exchanges = Arc::clone(&exchanges);
                scope.spawn(move || {
                    tch::set_num_threads(1);
                    let end = Arc::new(Faulty { end, calls: AtomicUsize::new(0), at, fault });
                    let load = LoadOptions {
                        device: "cpu".into(),
                        degrees,
                        communicator: Some(Processes(Arc::clone(&end) as Arc<dyn Communicator>)),
                        ..LoadOptions::default()
                    };
                    let pipeline = Pipeline::load(folder, &load, &Control::default()).unwrap();
                    let run = || pipeline.generate(&options(), &Control::default());
                    let result = catch_unwind(AssertUnwindSafe(run)).map(|result| result.map(drop));
                    if bad_one {
                        exchanges.store(end.calls.load(Ordering::SeqCst), Ordering::SeqCst);
                    }
                    result
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(started.elapsed() < Duration::from_secs(60));
    let exchanges = exchanges.load(Ordering::SeqCst);
    if at >= exchanges {
        assert!(results.iter().all(|result| matches!(result, Ok(Ok(())))), "{results:?}");
        return exchanges;
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
    exchanges
}

/// At the first exchanges (what is agreed, embeddings), some of the steps', the last ones (tiles).
fn fails_everywhere(fault: Fault) {
    for (guidance, sequence, bad) in [(2, 1, 1), (1, 2, 0)] {
        let degrees = Degrees { guidance: Some(guidance), sequence: Some(sequence) };
        let all = run(degrees, bad, usize::MAX, fault);
        assert!(all > 8, "{all} exchanges");
        for at in [0, 1, 2, all / 3, all / 2, all - 3, all - 1] {
            assert_eq!(run(degrees, bad, at, fault), at + 1);
        }
    }
}

#[test]
fn a_rank_without_memory_ends_all_at_every_phase() {
    fails_everywhere(Fault::OutOfMemory);
}

#[test]
fn a_rank_that_dies_ends_all_at_every_phase() {
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
