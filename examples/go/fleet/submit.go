package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// idOf is the id of a job. The same idempotency key of the same owner gives the same id, from
// which everything else follows: the message is known by it, and so is the record.
func idOf(owner, key string) string {
	if key == "" {
		return rand.Text()
	}
	sum := sha256.Sum256([]byte(owner + "\x00" + key))
	return base32.StdEncoding.EncodeToString(sum[:])[:26]
}

// submit accepts a request: when it returns a job, enough servers have the request on their disks
// or in their hands that it will be made, whoever dies. fresh is false if the idempotency key was
// used before for the same request.
func (f *front) submit(ctx context.Context, s *submission, hash string, who *apiKey, key string) (j *job, fresh bool, err error) {
	if len(key) > 256 {
		return nil, false, bad("Idempotency-Key: expected at most 256 bytes")
	}
	id := idOf(who.Name, key)
	if key != "" {
		switch known, _, err := f.client.jobs.get(ctx, id); {
		case err == nil:
			return known, false, sameHash(known, hash)
		case !errors.Is(err, errNoJob):
			return nil, false, err
		}
	}
	kind, err := s.check(f.table.allModels(), who)
	if err != nil {
		return nil, false, err
	}
	if who.MaxJobs > 0 && f.table.active(who.Name) >= who.MaxJobs {
		return nil, false, f.queueFull("the key %q has %d jobs that wait or run, which is all it may", who.Name, who.MaxJobs)
	}
	o := &order{ID: id, Owner: who.Name, Kind: kind, Request: s.request, Hash: hash, Submitted: time.Now()}
	if len(s.Image) > 0 {
		o.Image = id + ".image"
		if err := persist(ctx, "storing the image", func(ctx context.Context) error {
			_, err := f.client.results.PutBytes(ctx, o.Image, s.Image)
			return err
		}); err != nil {
			return nil, false, err
		}
	}
	sequence, repeated, err := f.queue(ctx, o)
	if full(err) {
		return nil, false, f.queueFull("the queue is full")
	}
	if err != nil {
		return nil, false, err
	}
	j = o.job()
	j.Sequence = sequence
	if repeated {
		// Another try of this client's, at this front or another, came first, or our own whose
		// answer was lost. The record may be about to be written.
		if known, err := f.newest(ctx, id); err == nil {
			return known, false, sameHash(known, hash)
		}
	}
	created, err := f.client.jobs.create(ctx, j)
	if err != nil {
		return nil, false, err
	}
	f.client.nc.Publish(wakeSubject, nil)
	return j, !repeated || created, nil
}

// queue puts a message into the work stream, once however often it is tried.
func (f *front) queue(ctx context.Context, o *order) (sequence uint64, repeated bool, err error) {
	text, err := json.Marshal(o)
	if err != nil {
		return 0, false, err
	}
	var ack *jetstream.PubAck
	err = persist(ctx, "queueing", func(ctx context.Context) (err error) {
		message := nats.NewMsg(o.Kind.subject(o.Owner))
		message.Data = text
		message.Header.Set(nats.MsgIdHdr, o.messageID())
		ack, err = f.client.js.PublishMsg(ctx, message)
		return err
	})
	if err != nil {
		return 0, false, err
	}
	return ack.Sequence, ack.Duplicate, nil
}

func (f *front) queueFull(format string, values ...any) error {
	return refusal(http.StatusTooManyRequests, "QUEUE_FULL", format, values...)
}

func sameHash(j *job, hash string) error {
	if j.Hash != hash {
		return refusal(http.StatusConflict, "IDEMPOTENCY_CONFLICT", "the Idempotency-Key was used for another request, job %s", j.ID)
	}
	return nil
}

// cancel cancels a job: at once if it waits, else by telling its worker, which stops within one
// layer of the model.
func (f *front) cancel(ctx context.Context, id string) (*job, error) {
	j, err := f.client.jobs.change(ctx, id, func(j *job) (*job, error) {
		switch {
		case j == nil:
			return nil, errNoJob
		case j.State == dead:
			j.State = cancelled // which takes it out of the dead letters
			return j, nil
		case j.State.ended() || j.Cancel:
			return nil, errSame
		case j.State == queued:
			j.State, j.Ended = cancelled, time.Now()
		}
		j.Cancel = true
		return j, nil
	})
	if err != nil {
		return nil, err
	}
	switch {
	case j.State == running:
		f.client.nc.Publish(cancelSubjects+id, nil)
	case j.State == cancelled:
		f.unqueue(ctx, j)
	}
	return j, nil
}

// unqueue takes what is cancelled out of the streams. A worker that comes first finds the record.
func (f *front) unqueue(ctx context.Context, j *job) {
	ctx, stop := context.WithTimeout(ctx, 2*time.Second)
	defer stop()
	if j.Sequence != 0 && j.Attempts == 0 {
		if stream, err := f.client.js.Stream(ctx, workStream); err == nil {
			stream.DeleteMsg(ctx, j.Sequence)
		}
	}
	f.forgetLetter(ctx, j.ID)
}

func (f *front) forgetLetter(ctx context.Context, id string) {
	if stream, err := f.client.js.Stream(ctx, deadStream); err == nil {
		stream.Purge(ctx, jetstream.WithPurgeSubject(deadSubjects+id))
	}
}

// retry queues a dead letter once more, with all its attempts.
func (f *front) retry(ctx context.Context, id string) (*job, error) {
	j, _, err := f.client.jobs.get(ctx, id)
	if errors.Is(err, errNoJob) {
		// The record has aged, and the letter has all that is needed.
		j, err = f.letter(ctx, id)
	}
	if err != nil {
		return nil, err
	}
	if j.State != dead {
		return nil, refusal(http.StatusConflict, "NOT_DEAD", "expected a dead letter, found a job that is %s", j.State)
	}
	o := j.order()
	o.Round++
	sequence, _, err := f.queue(ctx, o)
	if full(err) {
		return nil, f.queueFull("the queue is full")
	}
	if err != nil {
		return nil, err
	}
	j, err = f.client.jobs.change(ctx, id, func(j *job) (*job, error) {
		if j != nil && j.Round >= o.Round {
			return nil, errSame // a worker was quicker
		}
		fresh := o.job()
		fresh.Sequence = sequence
		return fresh, nil
	})
	if err != nil {
		return nil, err
	}
	f.forgetLetter(ctx, id)
	f.client.nc.Publish(wakeSubject, nil)
	return j, nil
}

// letter reads a dead letter.
func (f *front) letter(ctx context.Context, id string) (*job, error) {
	stream, err := f.client.js.Stream(ctx, deadStream)
	if err != nil {
		return nil, err
	}
	message, err := stream.GetLastMsgForSubject(ctx, deadSubjects+id)
	if errors.Is(err, jetstream.ErrMsgNotFound) || (err == nil && strings.TrimSpace(string(message.Data)) == "") {
		return nil, errNoJob
	}
	if err != nil {
		return nil, err
	}
	j := new(job)
	if err := json.Unmarshal(message.Data, j); err != nil {
		return nil, err
	}
	j.State = dead
	return j, nil
}
