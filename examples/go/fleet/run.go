package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"image"
	"log/slog"
	"time"

	"cogvideox"
	"github.com/nats-io/nats.go/jetstream"
)

var (
	errCancelled = errors.New("the request was cancelled")
	errGivenBack = errors.New("the worker is ending")
	errLost      = errors.New("another worker has the request now")
	errDropped   = errors.New("there is nothing to do for this message")
	errDead      = errors.New("the request was begun too often")
)

// attempt is one worker's try at one job.
type attempt struct {
	*worker
	device  *device
	message jetstream.Msg
	order   order
	job     *job
	claim   string
	look    chan struct{} // somebody has changed the record
}

// handle does all there is to do for a message: it makes the video, or finds that there is nothing
// to make, and tells the stream what became of it.
func (w *worker) handle(ctx context.Context, d *device, clone *cogvideox.Pipeline, message jetstream.Msg) {
	a := &attempt{worker: w, device: d, message: message, claim: rand.Text(), look: make(chan struct{}, 1)}
	if err := json.Unmarshal(message.Data(), &a.order); err != nil {
		slog.Error("a message that is no request is dropped", "subject", message.Subject(), "error", err)
		message.TermWithReason("no request")
		return
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w.mu.Lock()
	w.running[a.order.ID] = a
	w.mu.Unlock()
	beats := make(chan struct{})
	go func() {
		defer close(beats)
		a.beat(ctx, cancel)
	}()
	defer func() {
		cancel(nil)
		<-beats
		w.mu.Lock()
		if w.running[a.order.ID] == a {
			delete(w.running, a.order.ID)
		}
		w.mu.Unlock()
	}()

	err := a.begin(ctx)
	if err == nil {
		err = a.make(ctx, clone)
	}
	if cause := context.Cause(ctx); cause != nil && err != nil {
		err = cause
	}
	// The end of a try is told also when the worker ends; but not for ever, since another worker
	// will look at the message when this one is silent.
	end, stop := context.WithTimeout(context.Background(), 30*time.Second)
	defer stop()
	a.settle(end, err)
}

// beat tells the servers that the clip is being made, and looks once a second whether it still
// should be.
func (a *attempt) beat(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(min(time.Second, a.config.ackWait/4))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := a.message.InProgress(); err != nil {
				slog.Warn("a heartbeat failed", "job", a.order.ID, "error", err)
			}
		case <-a.look:
		}
		once, stop := context.WithTimeout(ctx, time.Second)
		j, _, err := a.client.jobs.get(once, a.order.ID)
		stop()
		switch {
		case err != nil: // the servers are busy with each other; the claim decides in the end
		case j.Cancel && j.Round == a.order.Round:
			cancel(errCancelled)
		case j.Attempts > 0 && a.claimed() && j.Claim != a.claim:
			// Only a later try can stand there, once ours did; an older state is a replica's that lags.
			if j.State.ended() || j.Attempts > a.attempts() || j.Round > a.order.Round {
				cancel(errLost)
			}
		}
	}
}

func (a *attempt) claimed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.job != nil
}

func (a *attempt) attempts() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.job.Attempts
}

// begin claims the job in its record.
func (a *attempt) begin(ctx context.Context) error {
	metadata, err := a.message.Metadata()
	if err != nil {
		return err
	}
	tries := -1 // when it was first looked
	j, err := a.client.jobs.change(ctx, a.order.ID, func(j *job) (*job, error) {
		if j == nil || j.Round < a.order.Round {
			// The front has not written it yet, or never will.
			j = a.order.job()
		}
		if tries < 0 {
			tries = j.Attempts
		}
		return a.take(j, metadata.Sequence.Stream, tries)
	})
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.job = j
	a.mu.Unlock()
	a.metrics.started(j)
	return nil
}

// make makes the video and stores it.
func (a *attempt) make(ctx context.Context, clone *cogvideox.Pipeline) error {
	q := &a.order.Request
	options := q.options()
	if a.order.Image != "" {
		picture, err := a.image(ctx)
		if err != nil {
			return err
		}
		options.Image = picture
	}
	cache, err := q.cache()
	if err != nil {
		return err
	}
	if cache == nil {
		err = clone.DisableCache()
	} else {
		err = clone.EnableCache(cache)
		cache.Close()
	}
	if err != nil {
		return err
	}
	if needed, err := clone.EstimateMemory(&options); err != nil {
		return err
	} else if needed > a.device.each {
		return &cogvideox.Error{Code: cogvideox.ErrOutOfMemory, Message: "the clip takes more memory than this worker gives to one"}
	}
	show := newShow(a)
	options.Frames = show.frames
	if a.config.previews {
		options.Step = show.step
	}
	running, err := clone.Submit(ctx, options)
	if err != nil {
		return err
	}
	defer running.Close()
	tick := time.NewTicker(150 * time.Millisecond)
	defer tick.Stop()
	show.tell(running.Status())
	for ended := false; !ended; {
		select {
		case <-tick.C:
			show.tell(running.Status())
		case <-show.news:
			show.tell(running.Status())
		case <-running.Done():
			ended = true
		}
	}
	video, err := running.Video()
	if err != nil {
		return err
	}
	defer video.Close()
	show.tell(running.Status())
	return a.store(ctx, clone, video, running.Status().Elapsed, show.last())
}

func (a *attempt) image(ctx context.Context) (image.Image, error) {
	var data []byte
	err := persist(ctx, "reading the image", func(ctx context.Context) (err error) {
		data, err = a.client.results.GetBytes(ctx, a.order.Image)
		return err
	})
	if err != nil {
		return nil, err
	}
	picture, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, &cogvideox.Error{Code: cogvideox.ErrInvalidArgument, Message: "image: " + err.Error()}
	}
	return picture, nil
}

// take makes j, as the record has it, this worker's. tries is how often it had been begun when this worker
// first looked, sequence the number of the message.
func (a *attempt) take(j *job, sequence uint64, tries int) (*job, error) {
	switch {
	case j.Claim == a.claim:
		return nil, errSame // an answer was lost
	case j.Attempts > tries:
		// Another has claimed it meanwhile: this worker stood still in the middle of this, and the
		// servers gave the request away.
		return nil, errLost
	case j.Round > a.order.Round || j.State.ended():
		return nil, errDropped
	case j.Sequence != 0 && j.Sequence != sequence:
		return nil, errDropped // the same request, queued twice
	case j.Cancel:
		return nil, errCancelled
	case j.Attempts >= a.config.attempts:
		return nil, errDead
	}
	j.State, j.Claim, j.Worker, j.Device = running, a.claim, a.config.name, a.device.state.Device
	j.Started, j.Sequence, j.Error = time.Now(), sequence, nil
	j.Attempts++
	return j, nil
}
