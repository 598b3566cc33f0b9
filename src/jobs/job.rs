//! One run from the host's side.

use super::course::Course;
use super::queue::Shared;
use crate::runtime::{process, CancelToken, Progress, Stage};
use crate::video::Video;
use crate::{Error, Result};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl State {
    pub fn has_ended(self) -> bool {
        !matches!(self, State::Queued | State::Running)
    }
}

/// A job at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Status {
    pub state: State,
    /// What the run last reported.
    pub progress: Option<Progress>,
    /// Jobs of the same queue that run before it.
    pub jobs_ahead: usize,
    /// From 0 to 1; it never falls, and is 1 only if the run succeeded.
    pub fraction: f64,
    /// How long it has run, or ran.
    pub time: Duration,
}

impl Status {
    pub fn stage(&self) -> Option<Stage> {
        self.progress.map(|progress| progress.stage)
    }
}

/// A run in a queue. Everything may be asked from any thread, and nothing but
/// [`Job::wait`] waits.
pub struct Job {
    /// Counts the queue's jobs.
    pub(super) number: u64,
    pub(super) token: CancelToken,
    shared: Arc<Shared>,
    course: Course,
    inner: Mutex<Inner>,
    ended: Condvar,
}

struct Inner {
    state: State,
    progress: Option<Progress>,
    fraction: f64,
    began: Option<Instant>,
    time: Duration,
    outcome: Outcome,
}

enum Outcome {
    /// It has not ended.
    Open,
    Video(Video),
    Taken,
    Error(Error),
}

impl Job {
    pub(super) fn new(number: u64, shared: Arc<Shared>, course: Course) -> Job {
        Job {
            number,
            token: CancelToken::default(),
            shared,
            course,
            inner: Mutex::new(Inner {
                state: State::Queued,
                progress: None,
                fraction: 0.0,
                began: None,
                time: Duration::ZERO,
                outcome: Outcome::Open,
            }),
            ended: Condvar::new(),
        }
    }

    /// How it is now.
    pub fn status(&self) -> Status {
        let queue = self.shared.queue.lock();
        let mut status = self.inner.lock().status();
        if status.state == State::Queued {
            status.jobs_ahead = queue.ahead_of(self.number);
        }
        status
    }

    pub fn state(&self) -> State {
        self.inner.lock().state
    }

    /// Waits until it has ended, or until `most` is over (`None`: without end); returns its
    /// state then.
    ///
    /// Errors: [`Error::Busy`] on the thread that would have to end it, which a callback of the
    /// host is called on; those of [`process::check`].
    pub fn wait(&self, most: Option<Duration>) -> Result<State> {
        let mut inner = self.inner.lock();
        if inner.state.has_ended() || most.is_some_and(|most| most.is_zero()) {
            return Ok(inner.state);
        }
        drop(inner);
        if self.shared.on_worker() {
            return Err(Error::Busy(
                "waiting for a job on the thread that runs it, as in a callback of its pipeline's \
                 jobs, would never end: poll it"
                    .into(),
            ));
        }
        // In a child that was forked there is no worker to wait for.
        process::check()?;
        let until = most.and_then(|most| Instant::now().checked_add(most));
        inner = self.inner.lock();
        while !inner.state.has_ended() {
            match until {
                None => self.ended.wait(&mut inner),
                Some(until) => {
                    if self.ended.wait_until(&mut inner, until).timed_out() {
                        break;
                    }
                }
            }
        }
        Ok(inner.state)
    }

    /// The video, once.
    ///
    /// Errors: [`Error::Busy`] before the end, [`Error::InvalidArgument`] the second time, and
    /// the run's own error, as often as asked.
    pub fn take_video(&self) -> Result<Video> {
        let mut inner = self.inner.lock();
        match std::mem::replace(&mut inner.outcome, Outcome::Taken) {
            Outcome::Video(video) => Ok(video),
            Outcome::Taken => {
                Err(Error::InvalidArgument("the video of this job was taken already".into()))
            }
            Outcome::Open => {
                inner.outcome = Outcome::Open;
                Err(Error::Busy("the job has not ended: wait for it".into()))
            }
            Outcome::Error(error) => {
                inner.outcome = Outcome::Error(error.clone());
                Err(error)
            }
        }
    }

    /// Asks it to stop: at once if it is queued, within one layer or chunk if it runs.
    pub fn cancel(&self) {
        self.token.cancel();
        self.shared.cancel(self);
    }

    pub(super) fn begin(&self) {
        let mut inner = self.inner.lock();
        inner.state = State::Running;
        inner.began = Some(Instant::now());
    }

    pub(super) fn note(&self, progress: &Progress) {
        let mut inner = self.inner.lock();
        inner.fraction = inner.fraction.max(self.course.fraction(progress));
        inner.progress = Some(*progress);
    }

    /// Its state is final from here on. Wakes who waits for it.
    pub(super) fn end(&self, result: Result<Video>) {
        let mut inner = self.inner.lock();
        inner.time = inner.began.map_or(Duration::ZERO, |began| began.elapsed());
        inner.state = match &result {
            Ok(_) => State::Succeeded,
            Err(Error::Cancelled(_)) => State::Cancelled,
            Err(_) => State::Failed,
        };
        if inner.state == State::Succeeded {
            inner.fraction = 1.0;
        }
        inner.outcome = match result {
            Ok(video) => Outcome::Video(video),
            Err(error) => Outcome::Error(error),
        };
        self.ended.notify_all();
    }
}

impl Inner {
    fn status(&self) -> Status {
        let running = self.began.filter(|_| self.state == State::Running);
        Status {
            state: self.state,
            progress: self.progress,
            jobs_ahead: 0,
            fraction: self.fraction,
            time: running.map_or(self.time, |began| began.elapsed()),
        }
    }
}
