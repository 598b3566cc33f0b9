//! Work that a second thread does while the first one is busy with what was done before.

use super::shim::spare;
use super::threads::Threads;
use super::{warnings, CancelToken, Control};
use crate::{Error, Result};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError, Sender};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// How long a result is waited for between two looks at the token that stops the work.
const LOOK: Duration = Duration::from_millis(20);

/// A thread that makes an `O` of each `I`, in order. Dropping it stops the work and waits for the
/// thread's end, so that it never outlives the run that it works for.
pub struct Ahead<I, O> {
    requests: Option<Sender<I>>,
    results: Receiver<Result<O>>,
    thread: Option<JoinHandle<()>>,
    stop: CancelToken,
}

impl<I: Send + 'static, O: Send + 'static> Ahead<I, O> {
    /// Starts the thread. `work` is to ask its control as it goes. It computes on that thread alone:
    /// the others are busy with what the first one computes.
    pub fn start(
        name: &str,
        work: impl Fn(I, &Control) -> Result<O> + Send + 'static,
    ) -> Result<Ahead<I, O>> {
        let (requests, asked) = channel::<I>();
        let (done, results) = channel();
        let stop = CancelToken::default();
        let control = Control { cancel: Some(stop.clone()), ..Control::default() };
        let body = move || {
            let _no_grad = tch::no_grad_guard();
            let _threads = Threads::limit(1).ok();
            for request in asked {
                let work = || warnings::to_log(&control, || work(request, &control));
                let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
                    Err(Error::Internal("a thread that works ahead panicked".into()))
                });
                if done.send(result).is_err() {
                    return;
                }
            }
        };
        let builder = Builder::new().name(name.into());
        let thread = spare::while_starting(|| builder.spawn(body)).map_err(|error| {
            Error::OutOfMemory(format!("no thread {name} could be started: {error}"))
        })?;
        Ok(Ahead { requests: Some(requests), results, thread: Some(thread), stop })
    }

    pub fn ask(&self, request: I) -> Result<()> {
        let sent = self.requests.as_ref().and_then(|requests| requests.send(request).ok());
        sent.ok_or_else(gone)
    }

    /// The result of the oldest request, waited for. `control` is asked meanwhile.
    pub fn receive(&self, control: &Control) -> Result<O> {
        loop {
            match self.results.recv_timeout(LOOK) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Timeout) => control.check()?,
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
            }
        }
    }
}

impl<I, O> Drop for Ahead<I, O> {
    fn drop(&mut self) {
        self.stop.cancel();
        drop(self.requests.take());
        if let Some(thread) = self.thread.take() {
            // Panics were caught in it.
            let _ = thread.join();
        }
    }
}

fn gone() -> Error {
    Error::Internal("a thread that works ahead has ended".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_errors_and_panics_end_nothing() {
        let ahead = Ahead::start("test", |n: i32, _| match n {
            2 => Err(Error::Io("two".into())),
            3 => std::panic::panic_any("three"),
            n => Ok(n * 10),
        })
        .unwrap();
        (1..5).for_each(|n| ahead.ask(n).unwrap());
        let control = Control::default();
        assert_eq!(ahead.receive(&control), Ok(10));
        assert_eq!(ahead.receive(&control), Err(Error::Io("two".into())));
        assert!(matches!(ahead.receive(&control), Err(Error::Internal(_))));
        assert_eq!(ahead.receive(&control), Ok(40));
    }

    #[test]
    fn waiting_and_working_end_when_they_are_told() {
        let ahead = Ahead::start("test", |(), control: &Control| loop {
            control.check()?;
            std::thread::sleep(Duration::from_millis(1));
        });
        let ahead: Ahead<(), ()> = ahead.unwrap();
        ahead.ask(()).unwrap();
        let token = CancelToken::default();
        token.cancel();
        let control = Control { cancel: Some(token), ..Control::default() };
        assert!(matches!(ahead.receive(&control), Err(Error::Cancelled(_))));
        drop(ahead);
    }
}
