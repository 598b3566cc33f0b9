//! A process that fails, dies or is cancelled at any exchange of a run ends the others, soon, with its
//! own error, and all of them can run again.

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
use cogvideox::runtime::{CancelToken, Control};
use cogvideox::{Error, Result};
use std::ops::Range;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tch::Tensor;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    OutOfMemory,
    Callback,
    Panic,
    /// Its token is cancelled, by another thread, as it were: it goes on until it looks.
    Cancelled,
}

const FAULTS: [Fault; 4] = [Fault::OutOfMemory, Fault::Callback, Fault::Panic, Fault::Cancelled];

impl Fault {
    /// What every rank's run has to end with.
    fn is(self, error: &Error) -> bool {
        match self {
            Fault::OutOfMemory => *error == Error::OutOfMemory("no room for it".into()),
            Fault::Callback => *error == Error::CallbackFailed("it said 7".into()),
            Fault::Panic => matches!(error, Error::Internal(m) if m.contains("this rank died")),
            Fault::Cancelled => *error == Error::Cancelled("cancelled by its token".into()),
        }
    }
}

/// Where a rank fails: at its exchange of this number.
type At = Option<(usize, Fault)>;

/// What an [`End`] has of one run.
struct Turn {
    end: Arc<dyn Communicator>,
    at: At,
    cancel: CancelToken,
    exchanges: usize,
}

/// A rank's end, which takes another hub for each run, and fails at one of its exchanges.
struct End {
    rank: usize,
    size: usize,
    turn: Mutex<Option<Turn>>,
}

impl End {
    fn with<T>(&self, what: impl FnOnce(&mut Turn) -> T) -> T {
        what(self.turn.lock().unwrap().as_mut().unwrap())
    }

    fn end(&self) -> Arc<dyn Communicator> {
        self.with(|turn| Arc::clone(&turn.end))
    }
}

impl Communicator for End {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn all_to_all(
        &self,
        among: &Range<usize>,
        send: Vec<Tensor>,
        shapes: &[Vec<i64>],
        control: &Control,
    ) -> Result<Vec<Tensor>> {
        let fault = self.with(|turn| {
            turn.exchanges += 1;
            let fault = turn.at.filter(|(at, _)| at + 1 == turn.exchanges);
            if fault.is_some_and(|(_, fault)| fault == Fault::Cancelled) {
                turn.cancel.cancel();
            }
            fault
        });
        match fault {
            Some((_, Fault::OutOfMemory)) => Err(Error::OutOfMemory("no room for it".into())),
            Some((_, Fault::Callback)) => Err(Error::CallbackFailed("it said 7".into())),
            // As a panic does, without a word on the test's own output.
            Some((_, Fault::Panic)) => resume_unwind(Box::new("this rank died")),
            Some((_, Fault::Cancelled)) | None => {
                self.end().all_to_all(among, send, shapes, control)
            }
        }
    }

    fn abort(&self, error: &Error) {
        self.end().abort(error);
    }

    fn failure(&self) -> Option<Error> {
        self.end().failure()
    }
}

fn options(steps: i64) -> GenerateOptions {
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
        num_inference_steps: steps,
        guidance_scale: 6.0,
        max_sequence_length: Some(16),
        decode: DecodeOptions { tiling: Some(tiling), ..DecodeOptions::default() },
        ..GenerateOptions::default()
    }
}

/// How a rank's run ended, and its exchanges until then.
#[derive(Debug)]
struct Ended {
    /// The latents; an error; or nothing, for one that died.
    result: Option<Result<Tensor>>,
    exchanges: usize,
}

impl Ended {
    fn well(&self) -> bool {
        matches!(self.result, Some(Ok(_)))
    }
}

/// A pipeline in so many processes (threads, which know of each other only what they exchange).
struct Processed {
    ranks: Vec<(Arc<End>, Pipeline)>,
    steps: i64,
}

impl Processed {
    fn load(family: &str, guidance: usize, sequence: usize, steps: i64) -> Processed {
        tch::set_num_threads(1);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pipelines").join(family);
        let degrees = Degrees { guidance: Some(guidance), sequence: Some(sequence) };
        let size = guidance * sequence;
        let load = |rank| {
            let end = Arc::new(End { rank, size, turn: Mutex::new(None) });
            let options = LoadOptions {
                device: "cpu".into(),
                degrees,
                communicator: Some(Processes(Arc::clone(&end) as Arc<dyn Communicator>)),
                ..LoadOptions::default()
            };
            let pipeline = Pipeline::load(&folder, &options, &Control::default()).unwrap();
            (end, pipeline)
        };
        Processed { ranks: (0..size).map(load).collect(), steps }
    }

    /// One run, in which rank `bad` fails `at` an exchange.
    fn run(&self, bad: usize, at: At) -> Vec<Ended> {
        let (ends, _) = devices::connect(self.ranks.len());
        let started = Instant::now();
        let ended = std::thread::scope(|scope| {
            let threads: Vec<_> = ends
                .into_iter()
                .zip(&self.ranks)
                .map(|(hub, (end, pipeline))| {
                    let cancel = CancelToken::default();
                    let at = at.filter(|_| end.rank == bad);
                    let turn = Turn { end: hub, at, cancel: cancel.clone(), exchanges: 0 };
                    *end.turn.lock().unwrap() = Some(turn);
                    scope.spawn(move || {
                        tch::set_num_threads(1);
                        let control = Control { cancel: Some(cancel), ..Control::default() };
                        let run = || pipeline.generate(&options(self.steps), &control);
                        let result = catch_unwind(AssertUnwindSafe(run)).ok();
                        let result = result.map(|run| run.map(|video| video.latents.unwrap()));
                        Ended { result, exchanges: end.with(|turn| turn.exchanges) }
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(started.elapsed() < Duration::from_secs(30));
        ended
    }

    /// A run that nothing happens to, and the number of its exchanges, which all ranks have alike.
    fn probe(&self) -> (usize, Vec<Ended>) {
        let ended = self.run(0, None);
        assert!(ended.iter().all(Ended::well), "{ended:?}");
        let all = ended[0].exchanges;
        assert!(ended.iter().all(|rank| rank.exchanges == all), "{ended:?}");
        (all, ended)
    }

    /// Rank `bad` fails at each `every`th exchange from `first` on.
    fn fails(&self, bad: usize, first: usize, every: usize, fault: Fault) {
        let (all, expected) = self.probe();
        assert!(all > 8, "{all} exchanges");
        for at in (first..all).step_by(every) {
            let ended = self.run(bad, Some((at, fault)));
            let what = format!("rank {bad} of {} at {at} of {all}, {fault:?}", ended.len());
            // A run ends well on no rank, unless one was cancelled when nothing was left to do.
            if fault == Fault::Cancelled && at + 1 == all {
                assert!(ended.iter().all(Ended::well), "{what}: {ended:?}");
                continue;
            }
            for (rank, end) in ended.iter().enumerate() {
                let right = match &end.result {
                    None => rank == bad && fault == Fault::Panic,
                    Some(Err(error)) => fault.is(error),
                    Some(Ok(_)) => false,
                };
                assert!(right, "{what}: rank {rank}: {:?}", end.result);
            }
            assert!(fault == Fault::Cancelled || ended[bad].exchanges == at + 1, "{what}");
        }
        // Nothing is left of the runs that failed.
        for (found, expected) in self.run(0, None).iter().zip(&expected) {
            let (Some(Ok(found)), Some(Ok(expected))) = (&found.result, &expected.result) else {
                panic!("{found:?}")
            };
            assert_eq!(found, expected);
        }
    }
}

#[test]
fn guidance_of_two_ranks_ends_at_every_exchange() {
    let processes = Processed::load("2b", 2, 1, 2);
    for fault in FAULTS {
        for bad in 0..2 {
            processes.fails(bad, 0, 1, fault);
        }
    }
}

#[test]
fn sequence_of_two_ranks_ends_at_every_exchange() {
    let processes = Processed::load("2b", 1, 2, 2);
    for fault in FAULTS {
        for bad in 0..2 {
            processes.fails(bad, 0, 1, fault);
        }
    }
}

/// With rotary positions; every exchange is some rank's.
#[test]
fn four_ranks_of_another_family_end_at_every_exchange() {
    let processes = Processed::load("5b", 2, 2, 1);
    for fault in FAULTS {
        for bad in 0..4 {
            processes.fails(bad, bad, 4, fault);
        }
    }
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
                let options = GenerateOptions { seed, ..options(2) };
                let error = pipeline.generate(&options, &Control::default()).err().unwrap();
                let Error::InvalidArgument(message) = error else { panic!("{error}") };
                assert!(message.contains("were asked for different runs"), "{message}");
            });
        }
    });
}
