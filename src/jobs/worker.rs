//! The thread that runs a queue's jobs.

use super::job::Job;
use super::queue::{Entry, OnEnd, Shared, Work};
use crate::pipeline::{Pipeline, Turn};
use crate::runtime::control::ProgressFn;
use crate::runtime::{process, Progress};
use crate::{Error, Result};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// Calls a function, and returns a panic of it as an error.
pub type Guard = fn(&mut dyn FnMut()) -> Result<()>;

/// As much as a program's first thread usually has: libtorch is tested with that.
const STACK: usize = 8 << 20;

/// How long the worker waits for the host's own run before it looks at the queue again, where
/// jobs may have been cancelled meanwhile. The end of that run wakes it at once.
const LOOK: Duration = Duration::from_millis(20);

/// It has no use of the pipeline but through the jobs: freeing the handle of one whose jobs have
/// ended frees the weights there and then, on the thread of the host.
pub(super) struct Worker {
    pub shared: Arc<Shared>,
    pub guard: Guard,
}

/// Starts the thread, which ends by itself when the queue is closed and empty, or the process
/// ends.
pub(super) fn start(worker: Worker) -> std::io::Result<process::ThreadId> {
    let shared = Arc::downgrade(&worker.shared);
    let wake = move || {
        if let Some(shared) = shared.upgrade() {
            shared.wake();
        }
    };
    process::spawn("cvx-jobs", STACK, wake, move || worker.work())
}

enum Next {
    /// A job that was cancelled while it waited.
    Told(Box<Entry>),
    /// A job waits for its turn on this pipeline.
    Run(Arc<Pipeline>),
    Over,
}

impl Worker {
    fn work(self) {
        loop {
            match self.next() {
                Next::Told(entry) => self.tell(*entry),
                Next::Run(pipeline) => self.run(pipeline),
                Next::Over => return,
            }
        }
    }

    /// Waits for something to do.
    fn next(&self) -> Next {
        let mut queue = self.shared.queue.lock();
        loop {
            if process::is_ending() {
                // Nobody waits for ever, but no host is told: what its callback refers to may
                // be gone.
                for entry in &queue.waiting {
                    entry.job.end(process::check_ending().and_then(|()| Err(no_result())));
                }
                return Next::Over;
            }
            if let Some(entry) = queue.cancelled.pop_front() {
                return Next::Told(Box::new(entry));
            }
            if let Some(entry) = queue.waiting.front() {
                return Next::Run(Arc::clone(&entry.pipeline));
            }
            if queue.closed {
                return Next::Over;
            }
            self.shared.changed.wait(&mut queue);
        }
    }

    /// Runs the job in front if the pipeline is free; waits a little if it is not.
    fn run(&self, pipeline: Arc<Pipeline>) {
        let Some((turn, entry)) = self.take(&pipeline) else { return pipeline.wait_idle(LOOK) };
        let Entry { job, work, pipeline: own, adapters } = entry;
        let Work { options, mut control, on_end } = work;
        control.job_cancel = Some(job.token.clone());
        control.progress = Some(follow(&job, control.progress.take()));
        let mut result = None;
        let guarded =
            (self.guard)(&mut || result = Some(turn.generate(&options, &adapters, &control)));
        // Whoever waits for the job finds the pipeline free, and nothing of the host's in use
        // but `on_end`.
        drop(turn);
        drop((options, control, adapters, own, pipeline));
        let result = guarded.and_then(|()| result.unwrap_or_else(|| Err(no_result())));
        {
            let mut queue = self.shared.queue.lock();
            queue.running = false;
            job.end(result);
        }
        self.call(&job, on_end);
    }

    /// The job in front, which runs from here on, and the turn it runs in. None if it was cancelled
    /// just now, or if the pipeline is not free.
    ///
    /// Both under the queue's lock: a job that is cancelled has ended at once, and whoever waits for
    /// it must not find the pipeline busy with a turn that was taken for it.
    fn take<'a>(&self, pipeline: &'a Pipeline) -> Option<(Turn<'a>, Entry)> {
        let mut queue = self.shared.queue.lock();
        queue.waiting.front()?;
        let turn = pipeline.begin().ok()?;
        let entry = queue.waiting.pop_front()?;
        entry.job.begin();
        queue.running = true;
        Some((turn, entry))
    }

    fn tell(&self, Entry { job, work, pipeline, adapters }: Entry) {
        let Work { options, control, on_end } = work;
        drop((options, control, adapters, pipeline));
        self.call(&job, on_end);
    }

    fn call(&self, job: &Job, mut on_end: Option<OnEnd>) {
        if process::is_ending() {
            return;
        }
        let status = job.status();
        // What a callback panics with is of no use to anybody: the job has ended.
        let _ = (self.guard)(&mut || {
            if let Some(on_end) = on_end.take() {
                on_end(&status);
            }
        });
    }
}

/// Progress goes to the job first, then to the host.
fn follow(job: &Arc<Job>, host: Option<ProgressFn>) -> ProgressFn {
    let job = Arc::clone(job);
    Arc::new(move |progress: &Progress| {
        job.note(progress);
        host.as_ref().map_or(ControlFlow::Continue(()), |host| host(progress))
    })
}

fn no_result() -> Error {
    Error::Internal("a run without a result".into())
}
