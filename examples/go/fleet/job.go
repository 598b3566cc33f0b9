package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// state is where a job is in its life.
type state string

const (
	queued    state = "queued"
	running   state = "running"
	done      state = "done"
	failed    state = "failed"
	cancelled state = "cancelled"
	dead      state = "dead" // begun too often; a dead letter until somebody tries it again
)

// ended says whether a job stays as it is.
func (s state) ended() bool { return s != queued && s != running }

// job is the record of one request. Records are changed by jobs.change alone, which lets one of
// two who change a record at once win, and has the other look again.
type job struct {
	ID    string `json:"id"`
	Owner string `json:"owner"`
	Kind  kind   `json:"kind"`
	State state  `json:"state"`
	// Cancel asks the worker to stop.
	Cancel  bool    `json:"cancel,omitempty"`
	Request request `json:"request"`
	// Image is the object of the image that the video starts from.
	Image string `json:"image,omitempty"`
	// Hash tells requests under the same idempotency key apart.
	Hash string `json:"hash"`
	// Round counts how often it was taken out of the dead letters.
	Round     int       `json:"round,omitempty"`
	Submitted time.Time `json:"submitted"`
	Started   time.Time `json:"started,omitzero"` // of the last attempt
	Ended     time.Time `json:"ended,omitzero"`
	// Attempts counts how often it was begun, without those that were given back in order.
	Attempts int `json:"attempts,omitempty"`
	// Claim is the attempt whose worker may write the result; a new one with each attempt.
	Claim  string `json:"claim,omitempty"`
	Worker string `json:"worker,omitempty"`
	Device string `json:"device,omitempty"`
	// Sequence is the message in the work stream, once that is known.
	Sequence uint64   `json:"sequence,omitempty"`
	Error    *failure `json:"error,omitempty"`
	Result   *result  `json:"result,omitempty"`
}

// result is what a job that is done has made. Objects lie in the bucket of results.
type result struct {
	Video    string  `json:"video"`
	Preview  string  `json:"preview,omitempty"`
	Metadata string  `json:"metadata"`
	Bytes    int     `json:"bytes"`
	SHA256   string  `json:"sha256"`
	Width    int     `json:"width"`
	Height   int     `json:"height"`
	Frames   int     `json:"frames"`
	FPS      float64 `json:"fps"`
	Seed     uint64  `json:"seed"`
	Seconds  float64 `json:"seconds"` // of the run
	SpeedUp  float64 `json:"speed_up"`
}

// order is a message of the work stream: all that is needed to make the record anew.
type order struct {
	ID        string    `json:"id"`
	Owner     string    `json:"owner"`
	Kind      kind      `json:"kind"`
	Request   request   `json:"request"`
	Image     string    `json:"image,omitempty"`
	Hash      string    `json:"hash"`
	Round     int       `json:"round,omitempty"`
	Submitted time.Time `json:"submitted"`
}

// job is the record of an order that nobody has begun.
func (o *order) job() *job {
	return &job{ID: o.ID, Owner: o.Owner, Kind: o.Kind, State: queued, Request: o.Request, Image: o.Image, Hash: o.Hash,
		Round: o.Round, Submitted: o.Submitted}
}

// order is the message that queues a job once more.
func (j *job) order() *order {
	return &order{ID: j.ID, Owner: j.Owner, Kind: j.Kind, Request: j.Request, Image: j.Image, Hash: j.Hash, Round: j.Round,
		Submitted: j.Submitted}
}

// messageID is what the stream knows duplicates by.
func (o *order) messageID() string { return fmt.Sprintf("%s.%d", o.ID, o.Round) }

// jobs are all records.
type jobs struct {
	nc *nats.Conn
	kv jetstream.KeyValue
}

// changed is what everybody is told of a new state.
type changed struct {
	Revision uint64 `json:"revision"`
	Job      *job   `json:"job"`
}

// errNoJob: there is no record of that id, or none any more.
var errNoJob = errors.New("there is no such job")

// get reads a record; errNoJob if there is none.
func (s *jobs) get(ctx context.Context, id string) (*job, uint64, error) {
	var entry jetstream.KeyValueEntry
	err := persist(ctx, "reading a record", func(ctx context.Context) (err error) {
		entry, err = s.kv.Get(ctx, id)
		return err
	})
	if errors.Is(err, jetstream.ErrKeyNotFound) || errors.Is(err, jetstream.ErrInvalidKey) {
		return nil, 0, errNoJob
	}
	if err != nil {
		return nil, 0, err
	}
	j := new(job)
	if err := json.Unmarshal(entry.Value(), j); err != nil {
		return nil, 0, fmt.Errorf("the record of %s: %w", id, err)
	}
	return j, entry.Revision(), nil
}

// create writes the first state of a record, and says whether it did: one that is there already is
// left as it is.
func (s *jobs) create(ctx context.Context, j *job) (created bool, err error) {
	text, err := json.Marshal(j)
	if err != nil {
		return false, err
	}
	var revision uint64
	err = persist(ctx, "writing a record", func(ctx context.Context) (err error) {
		revision, err = s.kv.Create(ctx, j.ID, text)
		return err
	})
	if conflict(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	s.tell(revision, j)
	return true, nil
}

// errSame is what a change answers that leaves the record as it is.
var errSame = errors.New("nothing is to be changed")

// change reads a record, has it changed, and writes it if it is still what was read; else all
// over again. A change must come to the same when it finds itself already made, because an answer
// may be lost with the server that gave it. It is given nil where there is no record, and returns
// the record to write. errSame ends without an error and without writing; another error is
// returned, with the record as it was read.
func (s *jobs) change(ctx context.Context, id string, change func(*job) (*job, error)) (*job, error) {
	for {
		old, revision, err := s.get(ctx, id)
		if err != nil && !errors.Is(err, errNoJob) {
			return nil, err
		}
		now, err := change(old)
		if errors.Is(err, errSame) {
			return old, nil
		}
		if err != nil {
			return old, err
		}
		text, err := json.Marshal(now)
		if err != nil {
			return nil, err
		}
		var written uint64
		err = persist(ctx, "writing a record", func(ctx context.Context) (err error) {
			if revision == 0 {
				written, err = s.kv.Create(ctx, id, text)
			} else {
				written, err = s.kv.Update(ctx, id, text, revision)
			}
			return err
		})
		if err == nil {
			s.tell(written, now)
			return now, nil
		}
		if !conflict(err) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(time.Duration(5+rand.IntN(20)) * time.Millisecond):
		}
	}
}

// tell tells every front at once. Fronts watch the bucket as well, so that a message which is
// lost is only late.
func (s *jobs) tell(revision uint64, j *job) {
	if text, err := json.Marshal(changed{revision, j}); err == nil {
		s.nc.Publish(jobSubjects+j.ID, text)
	}
}
