//! Every order in which the host's threads and the worker of a queue may go on, up to so many changes
//! of thread that nothing asks for: nobody waits for ever, each job ends once, and what is promised
//! holds in each. A lost notification and locks that are taken in two orders are found.
#![cfg(loom)]

use cogvideox_threads::jobs::{Job, OnEnd, Queue, State, Work};
use cogvideox_threads::pipeline::{GenerateOptions, Pipeline};
use cogvideox_threads::runtime::Control;
use cogvideox_threads::{locks, Error, Mutex};
use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

/// Changes of thread that nothing asks for. CVX_LOOM gives another number.
fn every_order(body: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    let bound = std::env::var("CVX_LOOM").ok().and_then(|text| text.parse().ok());
    model.preemption_bound = Some(bound.unwrap_or(3));
    let orders = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&orders);
    model.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        body();
    });
    println!("{} orders", orders.load(Ordering::Relaxed));
}

/// A queue that is left alone once loom has found something: another lock would end the process.
struct Found(Option<Queue>);

impl Drop for Found {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::mem::forget(self.0.take());
        }
    }
}

impl std::ops::Deref for Found {
    type Target = Queue;
    fn deref(&self) -> &Queue {
        self.0.as_ref().expect("a queue that is not dropped")
    }
}

fn queue() -> (Arc<Pipeline>, Found) {
    let pipeline = Arc::new(Pipeline::default());
    let queue = Queue::new(Arc::clone(&pipeline), |work| {
        work();
        Ok(())
    });
    (pipeline, Found(Some(queue)))
}

/// A job of one piece; `ends` counts how often it is told to have ended.
fn submit(queue: &Queue, ends: &Arc<AtomicUsize>) -> Arc<Job> {
    let ends = Arc::clone(ends);
    let on_end: OnEnd = Box::new(move |status| {
        assert!(status.state.has_ended());
        ends.fetch_add(1, Ordering::Relaxed);
    });
    let options = GenerateOptions { num_inference_steps: 1, ..GenerateOptions::default() };
    let work = Work { options, control: Control::default(), on_end: Some(on_end) };
    let job = RefCell::new(None);
    queue.submit(work, |announced| *job.borrow_mut() = Some(announced)).unwrap();
    job.into_inner().unwrap()
}

fn run_and_wait() {
    let ends = Arc::default();
    let (pipeline, queue) = queue();
    let job = submit(&queue, &ends);
    assert_eq!(job.wait(None), Ok(State::Succeeded));
    // Whoever has waited finds the pipeline free.
    drop(pipeline.begin().unwrap());
    assert_eq!(job.take_video().unwrap().0, 1);
}

#[test]
fn a_job_runs_and_the_queue_goes() {
    every_order(run_and_wait);
}

#[test]
fn whoever_waits_for_a_job_that_another_thread_cancels_finds_the_pipeline_free() {
    every_order(|| {
        let ends = Arc::default();
        let (pipeline, queue) = queue();
        let job = submit(&queue, &ends);
        let other = Arc::clone(&job);
        let canceller = loom::thread::spawn(move || other.cancel());
        let state = job.wait(None).unwrap();
        drop(pipeline.begin().unwrap());
        match state {
            State::Succeeded => assert_eq!(job.take_video().unwrap().0, 1),
            State::Cancelled => {
                assert!(matches!(job.take_video(), Err(Error::Cancelled(_))));
            }
            other => panic!("{other:?}"),
        }
        canceller.join().unwrap();
    });
}

#[test]
fn jobs_end_in_order_and_once_though_the_queue_is_dropped() {
    let ends = Arc::new(AtomicUsize::new(0));
    let (tries, told) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&ends));
    let counted = Arc::clone(&tries);
    every_order(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let (_pipeline, queue) = queue();
        let first = submit(&queue, &told);
        let second = submit(&queue, &told);
        drop(queue);
        assert_eq!(second.wait(None), Ok(State::Succeeded));
        assert_eq!(first.state(), State::Succeeded);
    });
    // The worker has ended in each, so all was told.
    assert_eq!(ends.load(Ordering::Relaxed), 2 * tries.load(Ordering::Relaxed));
}

#[test]
fn a_job_behind_a_run_of_the_hosts_goes_on_when_that_ends() {
    every_order(|| {
        let ends = Arc::default();
        let (pipeline, queue) = queue();
        let turn = pipeline.begin().unwrap();
        let job = submit(&queue, &ends);
        let other = Arc::clone(&job);
        let asker = loom::thread::spawn(move || other.status().fraction);
        drop(turn);
        assert_eq!(job.wait(None), Ok(State::Succeeded));
        assert!(asker.join().unwrap() <= 1.0);
    });
}

// What is planted must be found: a notification of a run that is forgotten, by its number.

fn run_that_loses(notification: u32) {
    every_order(move || {
        locks::LOSE.set(notification);
        run_and_wait();
    });
}

/// The first job's thread finds it without; one that is submitted when that waits does not.
#[test]
#[should_panic(expected = "deadlock")]
fn a_lost_notification_of_work_is_found() {
    every_order(|| {
        let ends = Arc::default();
        let (_pipeline, queue) = queue();
        let first = submit(&queue, &ends);
        assert_eq!(first.wait(None), Ok(State::Succeeded));
        locks::LOSE.set(1);
        let second = submit(&queue, &ends);
        assert_eq!(second.wait(None), Ok(State::Succeeded));
    });
}

/// The second is that of the turn's end, which nobody waits for here.
#[test]
#[should_panic(expected = "deadlock")]
fn a_lost_notification_of_a_jobs_end_is_found() {
    run_that_loses(3);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_lost_notification_of_the_queues_end_is_found() {
    run_that_loses(5);
}

#[test]
#[should_panic(expected = "deadlock")]
fn two_locks_in_two_orders_are_found() {
    every_order(|| {
        let (first, second) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(())));
        let (other_first, other_second) = (Arc::clone(&first), Arc::clone(&second));
        let other = loom::thread::spawn(move || {
            let _second = other_second.lock();
            let _first = other_first.lock();
        });
        {
            let _first = first.lock();
            let _second = second.lock();
        }
        other.join().unwrap();
    });
}
