//! Ranks as threads of this process.

use super::communicator::Communicator;
use super::devices;
use crate::runtime::inside::Depth;
use crate::runtime::process::Work;
use crate::runtime::shim::spare;
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
/// where it is not rank 0's, too.
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
                communicator.abort(&error_of(panic.as_ref()).context(name()));
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
            let builder = Builder::new().name(format!("cvx-rank-{number}")).stack_size(STACK);
            let body = move || {
                let _inside = Depth::set(|depth| depth + 1);
                // The end of the process waits for it.
                match Work::begin() {
                    Ok(_work) => drop(one(end)),
                    Err(error) => end.abort(&error),
                }
            };
            let started = spare::while_starting(|| builder.spawn_scoped(scope, body));
            if let Err(error) = started {
                end.abort(&Error::Internal(format!("rank {number}: no thread for it: {error}")));
            }
        }
        one(first)
    });
    // What all refuse alike is told as rank 0 tells it, whichever was first to refuse.
    let alike = |error: &Error, own: &Error| {
        let named = |(rank, name)| own.clone().context(format!("rank {rank} on {name}")) == *error;
        names.iter().enumerate().any(named)
    };
    // The first error is the cause of all others.
    match (first.failure(), result) {
        (_, Err(panic)) => resume_unwind(panic),
        (Some(error), Ok(Err(own))) if alike(&error, &own) => Err(own),
        (Some(error), _) => Err(error),
        (None, Ok(result)) => result,
    }
}

/// Does this process's part of a run that it shares with other processes: they learn of an error or
/// a panic of `body`, and this one's error is what ended the run.
pub fn part<T>(communicator: &dyn Communicator, body: impl FnOnce() -> Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(error)) => {
            communicator.abort(&error);
            Err(communicator.failure().unwrap_or(error))
        }
        Err(panic) => {
            communicator.abort(&error_of(panic.as_ref()));
            resume_unwind(panic)
        }
    }
}

fn error_of(panic: &(dyn Any + Send)) -> Error {
    let text = text_of(panic);
    failures::of_panic(text)
        .unwrap_or_else(|| Error::Internal(format!("defect in libcogvideox: {text}")))
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("of unknown kind")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::{Layout, Team};
    use crate::runtime::Control;
    use std::time::{Duration, Instant};

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|rank| format!("cpu {rank}")).collect()
    }

    /// What a rank does of a run in which rank `bad` fails at its third exchange.
    fn exchanges(rank: &Rank, bad: usize, fails: impl Fn() -> Result<()>) -> Result<f64> {
        let layout = Layout { guidance: 1, sequence: rank.communicator.size() };
        let control = Control { ranks_failed: Some(rank.failed.clone()), ..Control::default() };
        let team = Team::new(Arc::clone(&rank.communicator), layout, &control);
        let mut sum = 0.0;
        for step in 0..5 {
            if step == 3 && team.rank() == bad {
                fails()?;
            }
            let [found] = team.sum(crate::parallel::Among::All, [team.rank() as f64])?;
            sum += found;
        }
        Ok(sum)
    }

    #[test]
    fn all_ranks_have_the_same_sums() {
        let result = run(&names(4), |rank| exchanges(&rank, 9, || Ok(())));
        assert_eq!(result, Ok(5.0 * 6.0));
    }

    #[test]
    fn a_rank_that_fails_ends_all_with_its_own_error() {
        let memory = || Err(Error::OutOfMemory("no room".into()));
        for bad in 0..4 {
            let started = Instant::now();
            let error = run(&names(4), |rank| exchanges(&rank, bad, memory)).expect_err("fails");
            let place = if bad == 0 { String::new() } else { format!("rank {bad} on cpu {bad}: ") };
            assert_eq!(error, Error::OutOfMemory(format!("{place}no room")));
            assert!(started.elapsed() < Duration::from_secs(5));
        }
    }

    #[test]
    fn what_all_ranks_refuse_alike_names_none_of_them() {
        let refusal = || Error::InvalidArgument("steps: expected some, found 0".into());
        for first in 0..3 {
            let error = run(&names(3), |rank| -> Result<()> {
                if rank.communicator.rank() != first {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(refusal())
            });
            assert_eq!(error, Err(refusal()));
        }
    }

    #[test]
    fn a_rank_that_panics_ends_all() {
        let _inside = Depth::set(|depth| depth + 1);
        let dies = || -> Result<()> { panic!("it died") };
        let error = run(&names(3), |rank| exchanges(&rank, 2, dies)).expect_err("fails");
        let Error::Internal(message) = error else { panic!("{error}") };
        assert!(
            message.starts_with("rank 2 on cpu 2: ") && message.contains("it died"),
            "{message}"
        );
        // Rank 0 is this thread, whose panic goes on its way once the others have ended.
        let result = catch_unwind(|| run(&names(3), |rank| exchanges(&rank, 0, dies)));
        assert!(result.is_err());
    }

    #[test]
    fn a_rank_that_computes_hears_of_another_that_failed() {
        let started = Instant::now();
        let error = run(&names(2), |rank| -> Result<()> {
            if rank.communicator.rank() == 1 {
                return Err(Error::Io("gone".into()));
            }
            let control = Control { ranks_failed: Some(rank.failed), ..Control::default() };
            loop {
                control.check()?;
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        assert_eq!(error, Err(Error::Io("rank 1 on cpu 1: gone".into())));
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}
