package cogvideox

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

func submit(t testing.TB, p *Pipeline, ctx context.Context, options GenerateOptions) *Job {
	t.Helper()
	j, err := p.Submit(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

// ended waits for a job and checks its state.
func ended(t testing.TB, j *Job, want JobState) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	state, err := j.Wait(ctx)
	if err != nil || state != want {
		t.Fatalf("expected a job that %v, found %v (%v)", want, state, err)
	}
}

// held is options whose run waits, in its first progress call, until let go.
func held(steps int) (options GenerateOptions, began <-chan struct{}, letGo func()) {
	options = small(steps)
	start, gate := make(chan struct{}), make(chan struct{})
	var once atomic.Bool
	options.Progress = func(Progress) error {
		if once.CompareAndSwap(false, true) {
			close(start)
			<-gate
		}
		return nil
	}
	return options, start, func() { close(gate) }
}

func TestJob(t *testing.T) {
	p := load(t, "2b")
	want := bytesOf(t, generate(t, p, small(3)))
	options, began, letGo := held(3)
	j := submit(t, p, context.Background(), options)
	<-began
	if state := j.Poll(); state != JobRunning {
		t.Errorf("expected it to run, found %v", state)
	}
	if _, err := j.Video(); !errors.Is(err, ErrBusy) {
		t.Errorf("expected no video yet, found %v", err)
	}
	_, err := p.Generate(context.Background(), small(1))
	wants(t, err, ErrBusy)
	if state, err := j.WaitTimeout(10 * time.Millisecond); err != nil || state != JobRunning {
		t.Errorf("found %v, %v", state, err)
	}
	short, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if state, err := j.Wait(short); state != JobRunning || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("found %v, %v", state, err)
	}
	letGo()
	fraction := 0.0
	for !j.Poll().Ended() {
		status := j.Status()
		if status.Fraction < fraction || status.Fraction > 1 {
			t.Errorf("a fraction of %v after %v", status.Fraction, fraction)
		}
		fraction = status.Fraction
		time.Sleep(time.Millisecond)
	}
	ended(t, j, JobSucceeded)
	if state, err := j.WaitTimeout(-1); err != nil || state != JobSucceeded {
		t.Errorf("found %v, %v", state, err)
	}
	status := j.Status()
	if status.State != JobSucceeded || status.Fraction != 1 || status.Elapsed <= 0 || status.JobsAhead != 0 ||
		status.Stage != StageDecode || status.Done != status.Total {
		t.Errorf("found %+v", status)
	}
	v, err := j.Video()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if !bytes.Equal(want, bytesOf(t, v)) {
		t.Error("the job's video is not that of Generate")
	}
	_, err = j.Video()
	wants(t, err, ErrInvalidArgument)
	if err := j.Close(); err != nil || j.Close() != nil {
		t.Error("Close failed")
	}
	panics(t, func() { j.Poll() })
	panics(t, func() { j.Video() })
}

func TestJobsRunInOrder(t *testing.T) {
	p := load(t, "2b")
	options, began, letGo := held(1)
	jobs := []*Job{submit(t, p, context.Background(), options)}
	<-began
	order := make(chan int, 10)
	for i := range 4 {
		next := small(1)
		next.Seed = uint64(i)
		first := true
		next.Progress = func(Progress) error {
			if first {
				first = false
				order <- i
			}
			return nil
		}
		jobs = append(jobs, submit(t, p, context.Background(), next))
	}
	for i, j := range jobs[1:] {
		if status := j.Status(); status.State != JobQueued || status.JobsAhead != i+1 || status.Fraction != 0 {
			t.Errorf("job %d: found %+v", i, status)
		}
	}
	jobs[2].Cancel() // in the queue: at once, without having run
	ended(t, jobs[2], JobCancelled)
	if status := jobs[3].Status(); status.JobsAhead != 2 {
		t.Errorf("expected the cancelled job not to be counted, found %+v", status)
	}
	p.Close() // the jobs hold what they need
	letGo()
	for i, j := range jobs {
		if i != 2 {
			ended(t, j, JobSucceeded)
		}
	}
	for _, want := range []int{0, 2, 3} {
		if found := <-order; found != want {
			t.Errorf("expected job %d, found %d", want, found)
		}
	}
	_, err := jobs[2].Video()
	wants(t, err, ErrCancelled)
}

func TestJobAndItsContext(t *testing.T) {
	p := load(t, "2b")
	options, began, letGo := held(1000)
	why := errors.New("nobody waits")
	ctx, cancel := context.WithCancelCause(context.Background())
	running := submit(t, p, ctx, options)
	<-began
	queuedCtx, cancelQueued := context.WithCancel(context.Background())
	queued := submit(t, p, queuedCtx, small(1))
	cancelQueued()
	ended(t, queued, JobCancelled) // while the first one still runs
	if running.Poll() != JobRunning {
		t.Error("the other job has ended too")
	}
	_, err := queued.Video()
	wants(t, err, ErrCancelled)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("expected the context's error in %v", err)
	}
	cancel(why)
	letGo()
	ended(t, running, JobCancelled)
	for range 2 { // as often as asked
		_, err = running.Video()
		wants(t, err, ErrCancelled, why.Error())
		if !errors.Is(err, why) {
			t.Errorf("expected the cause in %v", err)
		}
	}
	gone, cancelGone := context.WithCancel(context.Background())
	cancelGone()
	if j, err := p.Submit(gone, small(1)); err == nil {
		defer j.Close()
		ended(t, j, JobCancelled)
	} else {
		wants(t, err, ErrCancelled)
	}
}

func TestJobFails(t *testing.T) {
	p := load(t, "2b")
	bad := small(1)
	bad.Width = 24
	_, err := p.Submit(context.Background(), bad)
	wants(t, err, ErrInvalidArgument)
	stop := errors.New("enough")
	options := small(2)
	options.Progress = func(Progress) error { return stop }
	j := submit(t, p, context.Background(), options)
	ended(t, j, JobCancelled)
	if _, err := j.Video(); !errors.Is(err, stop) || !errors.Is(err, ErrCancelled) {
		t.Errorf("found %v", err)
	}
	options.Progress = func(Progress) error { panic("in a job") }
	j = submit(t, p, context.Background(), options)
	<-j.Done()
	_, err = j.Video()
	var panicked *CallbackPanic
	if !errors.As(err, &panicked) || panicked.Value != "in a job" {
		t.Errorf("found %v", err)
	}
	c := NewPAB()
	defer c.Close()
	if err := c.SetCurrentTimestepCallback(func(StepInfo) float64 { panic("in a cache") }); err != nil {
		t.Fatal(err)
	}
	if err := p.EnableCache(c); err != nil {
		t.Fatal(err)
	}
	j = submit(t, p, context.Background(), small(2))
	ended(t, j, JobFailed)
	_, err = j.Video()
	if !errors.As(err, &panicked) || panicked.Value != "in a cache" {
		t.Errorf("found %v", err)
	}
	if err := p.DisableCache(); err != nil {
		t.Fatal(err)
	}
	generate(t, p, small(1))
}

func TestWaitInsideItsOwnJob(t *testing.T) {
	p := load(t, "2b")
	options := small(2)
	jobs := make(chan *Job, 1)
	answer := make(chan error, 1)
	var once atomic.Bool
	options.Progress = func(Progress) error {
		if once.CompareAndSwap(false, true) {
			_, err := (<-jobs).WaitTimeout(-1)
			answer <- err
		}
		return nil
	}
	j := submit(t, p, context.Background(), options)
	jobs <- j
	wants(t, <-answer, ErrBusy)
	ended(t, j, JobSucceeded)
}

func TestCloseJobsInEveryState(t *testing.T) {
	p := load(t, "2b")
	options, began, letGo := held(1000)
	running := submit(t, p, context.Background(), options)
	<-began
	queued := submit(t, p, context.Background(), small(1))
	queuedDone, runningDone := queued.Done(), running.Done()
	queued.Close()
	running.Close()
	letGo()
	for _, done := range []<-chan struct{}{queuedDone, runningDone} {
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			t.Fatal("a closed job has not ended")
		}
	}
	finished := submit(t, p, context.Background(), small(1))
	ended(t, finished, JobSucceeded)
	finished.Close() // with its video
	generate(t, p, small(1))
}

func TestAForgottenJobIsCancelled(t *testing.T) {
	p := load(t, "2b")
	options, began, letGo := held(1000)
	done := func() <-chan struct{} {
		j, err := p.Submit(context.Background(), options)
		if err != nil {
			t.Fatal(err)
		}
		// Not forgotten sooner: it would be cancelled before it begins.
		<-began
		return j.Done()
	}()
	for range 5 {
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
	}
	letGo()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("the job goes on")
	}
}
