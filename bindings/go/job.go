package cogvideox

// #include "trampolines.h"
import "C"

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"sync"
	"time"
)

// JobState is where a job is in its life.
type JobState int32

// The states of jobs, in the order in which they come; a job ends in one of the last three.
const (
	// JobNone is no job. No job is in it.
	JobNone = JobState(C.CVX_JOB_NONE)
	// JobQueued: it waits for jobs before it, or for other work of its pipeline.
	JobQueued = JobState(C.CVX_JOB_QUEUED)
	// JobRunning: it is being computed.
	JobRunning = JobState(C.CVX_JOB_RUNNING)
	// JobSucceeded: its video can be taken.
	JobSucceeded = JobState(C.CVX_JOB_SUCCEEDED)
	// JobFailed: it ended with an error, which [Job.Video] returns.
	JobFailed = JobState(C.CVX_JOB_FAILED)
	// JobCancelled: it was cancelled, in the queue or while it ran.
	JobCancelled = JobState(C.CVX_JOB_CANCELLED)
)

// Ended says whether the state is a last one.
func (s JobState) Ended() bool { return s >= JobSucceeded }

// String is "none", "queued", "running", "succeeded", "failed" or "cancelled".
func (s JobState) String() string {
	switch s {
	case JobNone:
		return "none"
	case JobQueued:
		return "queued"
	case JobRunning:
		return "running"
	case JobSucceeded:
		return "succeeded"
	case JobFailed:
		return "failed"
	case JobCancelled:
		return "cancelled"
	}
	return fmt.Sprintf("state %d", int32(s))
}

// JobStatus is everything about a job, from one moment.
type JobStatus struct {
	// State is where the job is in its life.
	State JobState
	// Stage is what is being done, or was last; 0 before the first.
	Stage Stage
	// JobsAhead counts the jobs of the same pipeline that come before it; 0 once it runs.
	JobsAhead int
	// Done and Total count the stage's units, see [Progress].
	Done, Total uint64
	// Timestep is as in [Progress].
	Timestep float64
	// Fraction is the part of the whole job that is done, from 0 to 1; it never falls, and is
	// 1 only for a job that succeeded.
	Fraction float64
	// Elapsed is the time since it began to run; it stands still once it has ended.
	Elapsed time.Duration
}

// Job is a run that a pipeline's worker does in the background. Made by [Pipeline.Submit].
//
// A job that has not ended is cancelled by Close; a job that is forgotten is closed sooner or
// later, so keep it until it has ended. When the process ends by exit of C or a return from main
// of C, jobs under way are cancelled and waited for; os.Exit and a return from main of Go end it
// without, which is safe too.
type Job struct {
	closer[*C.cvx_job]
	end *jobEnd
}

// jobEnd is what the library holds of a job: what must be done when it has ended. It does not
// point to the Job, so that a forgotten one is found.
type jobEnd struct {
	run         *run
	ctx         context.Context
	watch       *watch
	pin         runtime.Pinner
	cachePanics *panicSlot
	done        chan struct{}

	mu    sync.Mutex
	ended bool
	stop  func() bool // no longer tells the job when the context ends

	// Written before done is closed.
	cancelled bool
	panicked  *CallbackPanic
}

// end is called when the job has ended with state: by the library; where this package sees it
// first, because a job that is cancelled in the queue has ended at once and the worker says so
// when it comes to it; and when the job's user_data is freed, lest a buffer stay pinned.
func (e *jobEnd) end(state JobState) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return
	}
	e.ended = true
	e.panicked = e.run.take()
	if e.panicked == nil && state == JobFailed {
		// The pipeline's next job has not begun, so a panic of the cache is this one's.
		e.panicked = e.cachePanics.take()
	}
	e.cancelled = e.ctx.Err() != nil
	e.watch.end()
	e.pin.Unpin()
	if e.stop != nil {
		e.stop()
	}
	close(e.done)
}

func (e *jobEnd) released() { e.end(JobNone) }

func (e *jobEnd) cancel(ptr *C.cvx_job) {
	C.cvx_job_cancel(ptr)
	if state := JobState(C.cvx_job_poll(ptr, nil)); state.Ended() {
		e.end(state)
	}
}

// cancelWith ends the job with its context also while it waits in the queue, where nobody looks
// at the token.
func (e *jobEnd) cancelWith(h *handle[*C.cvx_job]) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return
	}
	e.stop = context.AfterFunc(e.ctx, func() {
		if ptr, open := h.tryAcquire(); open {
			defer h.release()
			e.cancel(ptr)
		}
	})
}

// Submit queues a run and returns at once. The pipeline's one worker runs its jobs in the order
// in which they were submitted; options are copied and checked now. Callbacks of the options
// are called on the worker. The cache is the one that is enabled when the job begins to run.
// The job keeps what it needs of the pipeline, which may be closed.
//
// The job is cancelled when ctx ends, and does not end with this call: give it a context that
// lives as long as the job should.
//
// Errors: those that [Pipeline.Generate] would find at its start.
func (p *Pipeline) Submit(ctx context.Context, options GenerateOptions) (*Job, error) {
	return p.submit(ctx, &options)
}

// submit is apart from Submit for the reason that generate is.
func (p *Pipeline) submit(ctx context.Context, options *GenerateOptions) (*Job, error) {
	ptr := p.h.acquire("Submit")
	defer p.h.release()
	e := &jobEnd{run: p.newRun(options), ctx: ctx, done: make(chan struct{}), watch: newWatch(ctx), cachePanics: p.cachePanics}
	c := C.cvx_generate_options_new()
	defer C.cvx_generate_options_free(c)
	err := options.set(c)
	if err == nil {
		err = options.setHost(c, e.run, e.watch, &e.pin)
	}
	if err != nil {
		e.end(JobNone)
		return nil, err
	}
	var out *C.cvx_job
	err = takeError(C.cvx_pipeline_submit(ptr, c, C.cogvideox_go_job, newUserData(e), C.cogvideox_go_free, &out))
	if err != nil {
		return nil, err // the library has freed user_data, which ended e
	}
	j := &Job{end: e}
	open(&j.closer, j, "Job", out, func(ptr *C.cvx_job) { C.cvx_job_free(ptr) })
	e.cancelWith(j.h)
	return j, nil
}

// Close frees the job. One that has not ended is cancelled; its callbacks may be called until
// it has. It does not wait and never fails.
func (j *Job) Close() error {
	j.close()
	return nil
}

// Status tells everything about the job, from one moment. It never blocks.
func (j *Job) Status() JobStatus {
	ptr := j.h.acquire("Status")
	defer j.h.release()
	var s C.cvx_job_status
	s.struct_size = C.sizeof_cvx_job_status
	C.cvx_job_poll(ptr, &s)
	return JobStatus{
		State:     JobState(s.state),
		Stage:     Stage(s.stage),
		JobsAhead: int(s.jobs_ahead),
		Done:      uint64(s.done),
		Total:     uint64(s.total),
		Timestep:  float64(s.timestep),
		Fraction:  float64(s.fraction),
		Elapsed:   time.Duration(float64(s.seconds) * float64(time.Second)),
	}
}

// Poll tells the job's state. It never blocks.
func (j *Job) Poll() JobState {
	ptr := j.h.acquire("Poll")
	defer j.h.release()
	return JobState(C.cvx_job_poll(ptr, nil))
}

// Done is closed when the job has ended in whatever way.
func (j *Job) Done() <-chan struct{} {
	j.h.acquire("Done")
	defer j.h.release()
	return j.end.done
}

// Wait waits until the job has ended, and returns its state; or until ctx ends, and returns the
// state and ctx's cause. The job goes on in that case. No thread is blocked.
func (j *Job) Wait(ctx context.Context) (JobState, error) {
	select {
	case <-j.Done():
		return j.Poll(), nil
	case <-ctx.Done():
		return j.Poll(), context.Cause(ctx)
	}
}

// WaitTimeout waits until the job has ended or the time is over, and returns its state, which is
// [JobQueued] or [JobRunning] if the time was over. 0 asks and does not wait; a negative time
// waits without end. It blocks a thread; [Job.Wait] does not.
//
// Errors: [ErrBusy] from a callback of the job itself.
func (j *Job) WaitTimeout(timeout time.Duration) (JobState, error) {
	ptr := j.h.acquire("WaitTimeout")
	defer j.h.release()
	seconds := timeout.Seconds()
	if timeout == math.MaxInt64 {
		seconds = -1
	}
	var state C.int32_t
	err := takeError(C.cvx_job_wait(ptr, C.double(seconds), &state))
	return JobState(state), err
}

// Cancel asks the job to stop. A job that waits in the queue ends at once. It does not wait;
// cancelling a job that has ended does nothing.
func (j *Job) Cancel() {
	ptr := j.h.acquire("Cancel")
	defer j.h.release()
	j.end.cancel(ptr)
}

// Video takes the video of a job that has succeeded; the caller closes it.
//
// Errors: [ErrBusy] before the job has ended; [ErrInvalidArgument] the second time; the run's
// own error if it failed or was cancelled; a [*CallbackPanic] if a callback panicked.
func (j *Job) Video() (*Video, error) {
	ptr := j.h.acquire("Video")
	defer j.h.release()
	var out *C.cvx_video
	err := takeError(C.cvx_job_take_video(ptr, &out))
	if isCode(err, ErrBusy) {
		return nil, err
	}
	j.end.end(JobState(C.cvx_job_poll(ptr, nil)))
	if j.end.panicked != nil {
		C.cvx_video_free(out)
		return nil, j.end.panicked
	}
	if err != nil {
		return nil, explain(err, j.end.run.stopCause(), j.end.ctx, j.end.cancelled)
	}
	return newVideo(out), nil
}
