package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"time"

	"cogvideox"
	"github.com/nats-io/nats.go/jetstream"
)

// settle tells the record and the stream how the attempt ended.
func (a *attempt) settle(ctx context.Context, err error) {
	id := a.order.ID
	switch {
	case err == nil:
		a.acknowledge(ctx)
		slog.Info("done", "job", id)
	case errors.Is(err, errDropped):
		a.acknowledge(ctx)
	case errors.Is(err, errLost):
		slog.Warn("another worker has it now; what was made here is thrown away", "job", id)
		a.metrics.thrownAway.Inc()
	case errors.Is(err, errCancelled):
		if a.finish(ctx, cancelled, nil) == nil {
			a.acknowledge(ctx)
		}
		slog.Info("cancelled", "job", id)
	case errors.Is(err, errGivenBack):
		if !a.claimed() || a.back(ctx, nil, false) == nil {
			a.message.Nak()
		}
		slog.Info("given back", "job", id)
	case errors.Is(err, errDead):
		a.bury(ctx)
	default:
		a.fail(ctx, err)
	}
}

// fail tells an error of the library: for good if another try would end the same, else the request
// goes back to the queue.
func (a *attempt) fail(ctx context.Context, err error) {
	var code cogvideox.Code
	errors.As(err, &code)
	message := strings.TrimPrefix(err.Error(), "cogvideox: ")
	switch code {
	case cogvideox.ErrInvalidArgument, cogvideox.ErrInvalidUTF8:
		if a.finish(ctx, failed, &failure{Code: code.Name(), Message: message}) == nil {
			a.acknowledge(ctx)
		}
		slog.Info("failed", "job", a.order.ID, "error", message)
		return
	}
	slog.Error("an attempt failed", "job", a.order.ID, "error", err)
	a.metrics.retried.Inc()
	name := "INTERNAL"
	if code != 0 {
		name = code.Name()
	}
	back := a.back(ctx, &failure{Code: name, Message: message}, true)
	if code == cogvideox.ErrDeviceLost {
		a.once.Do(func() { close(a.leave) })
	}
	if back == nil {
		a.message.NakWithDelay(time.Second)
	}
}

// mine lets a change through only while the claim is this attempt's, or nobody has claimed.
func (a *attempt) mine(j *job) error {
	switch {
	case j == nil || j.Round != a.order.Round:
		return errLost
	case j.State.ended():
		return errSame
	case a.claimed() && j.Claim != a.claim:
		return errLost
	}
	return nil
}

// finish ends the job without a result.
func (a *attempt) finish(ctx context.Context, s state, f *failure) error {
	j, err := a.client.jobs.change(ctx, a.order.ID, func(j *job) (*job, error) {
		if err := a.mine(j); err != nil {
			return nil, err
		}
		if s == dead && j.Attempts < a.config.attempts {
			return nil, errLost // it was given back meanwhile, which does not count
		}
		j.State, j.Ended = s, time.Now()
		if f != nil {
			j.Error = f
		}
		return j, nil
	})
	if err != nil {
		slog.Warn("the record could not be written; the message will come again", "job", a.order.ID, "error", err)
		return err
	}
	a.metrics.ended(j)
	return nil
}

// back puts the job into the queue again. A try that only ended with its worker does not count.
func (a *attempt) back(ctx context.Context, f *failure, counts bool) error {
	_, err := a.client.jobs.change(ctx, a.order.ID, func(j *job) (*job, error) {
		if err := a.mine(j); err != nil {
			return nil, err
		}
		if j.State == queued {
			return nil, errSame
		}
		j.State, j.Worker, j.Device, j.Claim, j.Error = queued, "", "", "", f
		if !counts {
			j.Attempts--
		}
		return j, nil
	})
	return err
}

// bury makes a dead letter of a request that was begun too often, such as one whose workers die of
// it.
func (a *attempt) bury(ctx context.Context) {
	j, _, err := a.client.jobs.get(ctx, a.order.ID)
	if err != nil {
		return
	}
	text, err := json.Marshal(j)
	if err != nil {
		return
	}
	if err := persist(ctx, "writing a dead letter", func(ctx context.Context) error {
		_, err := a.client.js.Publish(ctx, deadSubjects+j.ID, text)
		return err
	}); err != nil {
		slog.Warn("a dead letter could not be written; the message will come again", "job", j.ID, "error", err)
		return
	}
	f := j.Error
	if f == nil {
		f = &failure{Code: "WORKER_DIED", Message: "each worker that began it ended before it was done"}
	}
	if a.finish(ctx, dead, f) == nil {
		a.acknowledge(ctx)
	}
	slog.Error("a request is a dead letter", "job", j.ID, "attempts", j.Attempts)
}

// acknowledge takes the message out of the queue. If the servers do not answer, it comes again, and
// whoever gets it finds the job ended.
func (a *attempt) acknowledge(ctx context.Context) {
	for try := 0; try < 3; try++ {
		once, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := a.message.DoubleAck(once)
		cancel()
		if err == nil || errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}
