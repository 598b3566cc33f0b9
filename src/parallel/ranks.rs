//! Ranks as threads of this process.

use super::communicator::Communicator;
use super::devices;
use crate::runtime::inside::Depth;
use crate::runtime::process::Work;
use crate::runtime::{failures, CancelToken};
use crate::{Error, Result};
use std::any::Any;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::thread::{scope, Builder};

/// The stack of a rank's thread, as large as that of most main threads.
const STACK: usize = 8 << 20;

/// One rank of a run.
pub struct Rank {
    pub communicator: Arc<dyn Communicator>,
    /// Cancelled when another rank fails.
    pub failed: CancelToken,
}

/// Runs `body` on as many ranks as there are `names`, rank 0 on this thread, each other on one of
/// its own, and returns what rank 0 returns. All have ended by then.
///
/// The first rank that fails or panics ends the others, and its error is returned, with its name
/// where it is not rank 0's.
pub fn run<T>(names: &[String], body: impl Fn(Rank) -> Result<T> + Sync) -> Result<T> {
    let (ends, failed) = devices::connect(names.len());
    let body = &body;
    let one = |communicator: &Arc<dyn Communicator>| {
        let rank = Rank { communicator: Arc::clone(communicator), failed: failed.clone() };
        let guarded = catch_unwind(AssertUnwindSafe(|| body(rank)));
        let number = communicator.rank();
        let name = || format!("rank {number} on {}", names.get(number).map_or("", |name| name));
        match &guarded {
            Ok(Ok(_)) => {}
            Ok(Err(error)) if number == 0 => communicator.abort(error),
            Ok(Err(error)) => communicator.abort(&error.clone().context(name())),
            Err(panic) => {
                let text = text_of(panic.as_ref());
                let error = failures::of_panic(text)
                    .unwrap_or_else(|| Error::Internal(format!("defect in libcogvideox: {text}")));
                communicator.abort(&error.context(name()));
            }
        }
        guarded
    };
    let [first, others @ ..] = ends.as_slice() else {
        return Err(Error::Internal("a run on no ranks".into()));
    };
    let result = scope(|scope| {
        for end in others {
            let number = end.rank();
            let started = Builder::new()
                .name(format!("cvx-rank-{number}"))
                .stack_size(STACK)
                .spawn_scoped(scope, move || {
                    let _inside = Depth::set(|depth| depth + 1);
                    // The end of the process waits for it.
                    match Work::begin() {
                        Ok(_work) => drop(one(end)),
                        Err(error) => end.abort(&error),
                    }
                });
            if let Err(error) = started {
                end.abort(&Error::Internal(format!("rank {number}: no thread for it: {error}")));
            }
        }
        one(first)
    });
    // The first error is the cause of all others.
    match (first.failure(), result) {
        (_, Err(panic)) => resume_unwind(panic),
        (Some(error), _) => Err(error),
        (None, Ok(result)) => result,
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("of unknown kind")
}
