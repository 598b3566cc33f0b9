//! What waits, in order.

use super::course::Course;
use super::job::{Job, Status};
use super::worker::{self, Guard, Worker};
use crate::pipeline::{Adapters, GenerateOptions, Pipeline};
use crate::runtime::{process, Control};
use crate::{Error, Result};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// A run to make.
pub struct Work {
    pub options: GenerateOptions,
    pub control: Control,
    /// Told once when the job has ended, in whatever way.
    pub on_end: Option<OnEnd>,
}

pub type OnEnd = Box<dyn FnOnce(&Status) + Send>;

/// The jobs of one pipeline. Dropping it lets those that were submitted go on.
pub struct Queue {
    pipeline: Arc<Pipeline>,
    guard: Guard,
    shared: Arc<Shared>,
}

/// What the queue, its worker and its jobs have in common.
pub(super) struct Shared {
    pub queue: Mutex<Jobs>,
    /// Told when there is something to do for the worker.
    pub changed: Condvar,
}

#[derive(Default)]
pub(super) struct Jobs {
    /// In the order of their numbers.
    pub waiting: VecDeque<Entry>,
    /// Cancelled while they waited: their hosts are still to be told.
    pub cancelled: VecDeque<Entry>,
    pub running: bool,
    /// Nothing more can be submitted.
    pub closed: bool,
    worker: Option<process::ThreadId>,
    submitted: u64,
}

/// A job and what it takes to run it.
pub(super) struct Entry {
    pub job: Arc<Job>,
    pub work: Work,
    /// The pipeline's when the job was submitted.
    pub adapters: Adapters,
    pub pipeline: Arc<Pipeline>,
}

impl Queue {
    /// An empty queue without a thread; `guard` keeps panics of runs and callbacks inside.
    pub fn new(pipeline: Arc<Pipeline>, guard: Guard) -> Queue {
        let shared = Shared { queue: Mutex::default(), changed: Condvar::new() };
        Queue { pipeline, guard, shared: Arc::new(shared) }
    }

    /// Queues a run. `announce` is given the job before anything can happen to it, and only if
    /// all goes well; it must not call back into the queue.
    ///
    /// Errors: [`Error::OutOfMemory`] if there is no thread to be had, and those of
    /// [`process::check`].
    pub fn submit(&self, work: Work, announce: impl FnOnce(Arc<Job>)) -> Result<()> {
        process::check()?;
        let course = Course::of(&work.options);
        let adapters = self.pipeline.adapters();
        let mut queue = self.shared.queue.lock();
        if queue.worker.is_none() {
            let worker = Worker { shared: Arc::clone(&self.shared), guard: self.guard };
            match worker::start(worker) {
                Ok(thread) => queue.worker = Some(thread),
                Err(error) => {
                    // `work` may hold the last use of what the host gave, whose destructor
                    // calls the host.
                    drop(queue);
                    return Err(Error::OutOfMemory(format!(
                        "the thread for the pipeline's jobs can't be started: {error}"
                    )));
                }
            }
        }
        queue.submitted += 1;
        let job = Arc::new(Job::new(queue.submitted, Arc::clone(&self.shared), course));
        announce(Arc::clone(&job));
        let pipeline = Arc::clone(&self.pipeline);
        queue.waiting.push_back(Entry { job, work, pipeline, adapters });
        drop(queue);
        self.shared.changed.notify_one();
        Ok(())
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.shared.queue.lock().closed = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    /// Ends a job that waits; one that does not is left alone.
    pub fn cancel(&self, job: &Job) {
        let mut queue = self.queue.lock();
        let Some(entry) = queue.position(job.number).and_then(|at| queue.waiting.remove(at)) else {
            return;
        };
        let reason = "the job was cancelled before it began to run";
        entry.job.end(Err(Error::Cancelled(reason.into())));
        queue.cancelled.push_back(entry);
        drop(queue);
        self.changed.notify_one();
    }

    /// Makes the worker look whether the process ends.
    pub fn wake(&self) {
        // The lock, so that the worker has looked before or waits by now. Its holder may be a
        // thread that the end of the process has stopped.
        drop(self.queue.try_lock_for(Duration::from_millis(100)));
        self.changed.notify_all();
    }

    /// Whether the caller is the thread that runs the jobs.
    pub fn on_worker(&self) -> bool {
        let worker = self.queue.lock().worker;
        worker == Some(process::this_thread())
    }
}

impl Jobs {
    fn position(&self, number: u64) -> Option<usize> {
        self.waiting.binary_search_by_key(&number, |entry| entry.job.number).ok()
    }

    /// How many jobs run before the one of this number, if that waits.
    pub fn ahead_of(&self, number: u64) -> usize {
        self.position(number).map_or(0, |position| position + usize::from(self.running))
    }
}
