package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// client is a connection to the servers and what lies there.
type client struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	jobs    *jobs
	models  jetstream.KeyValue
	results jetstream.ObjectStore
}

// connect connects to the servers of -nats, or to the one inside this process. It goes on
// looking for servers until ctx ends, and so does the connection later.
func connect(ctx context.Context, c *config, inside *embedded) (*client, error) {
	options := []nats.Option{
		nats.Name("fleet " + c.part + " " + c.name),
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1),
		nats.ReconnectWait(200 * time.Millisecond), nats.ReconnectJitter(100*time.Millisecond, 100*time.Millisecond),
		nats.Timeout(2 * time.Second), nats.PingInterval(5 * time.Second), nats.MaxPingsOutstanding(2),
		// What is said while nobody listens is repeated by whoever needs it heard.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				slog.Warn("a server is gone", "error", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) { slog.Info("connected", "server", nc.ConnectedUrlRedacted()) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { slog.Warn("nats", "error", err) }),
	}
	if c.token != "" {
		options = append(options, nats.Token(c.token))
	}
	address := c.nats
	if inside != nil {
		address = ""
		options = append(options, nats.InProcessServer(inside.server))
	}
	nc, err := nats.Connect(address, options...)
	if err != nil {
		return nil, fmt.Errorf("-nats: %w", err)
	}
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(3*time.Second))
	if err != nil {
		nc.Close()
		return nil, err
	}
	for told := false; !nc.IsConnected(); told = true {
		if err := nc.LastError(); errors.Is(err, nats.ErrAuthorization) {
			nc.Close()
			return nil, fmt.Errorf("-token: the servers have another one: %w", err)
		}
		if !told {
			slog.Info("looking for a server", "nats", c.nats)
		}
		select {
		case <-ctx.Done():
			nc.Close()
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return &client{nc: nc, js: js, jobs: &jobs{nc: nc}}, nil
}

func (cl *client) close() { cl.nc.Close() }

// transient marks an error that repeating may mend.
type transient struct{ error }

func (t transient) Unwrap() error { return t.error }

// again marks err as one that repeating may mend, whatever it is; nil stays nil.
func again(err error) error {
	if err == nil {
		return nil
	}
	return transient{err}
}

// final says whether repeating would not help: the servers have answered, and the answer is no.
func final(err error) bool {
	if _, marked := err.(transient); marked {
		return false
	}
	for _, known := range []error{
		jetstream.ErrKeyExists, jetstream.ErrKeyRevisionMismatch, jetstream.ErrKeyNotFound, jetstream.ErrKeyDeleted,
		jetstream.ErrObjectNotFound, jetstream.ErrMsgNotFound, jetstream.ErrConsumerNotFound, jetstream.ErrInvalidKey,
		jetstream.ErrMsgAlreadyAckd, jetstream.ErrMsgDeleteUnsuccessful, nats.ErrMaxPayload, nats.ErrAuthorization,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return full(err) || conflict(err)
}

// conflict says whether somebody else has changed a record first.
func conflict(err error) bool {
	if errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return true
	}
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// full says whether a stream refused a message because it has as many as it may.
func full(err error) bool {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return false
	}
	switch api.Description {
	case "maximum messages exceeded", "maximum messages per subject exceeded":
		return true
	}
	return false
}

// persist repeats what a server that dies, or a cluster that chooses a new leader, makes fail for
// a moment; until it succeeds, is answered with a no, or ctx ends. What is repeated must be the
// same whether the try before it arrived or not.
func persist(ctx context.Context, what string, try func(context.Context) error) error {
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 500*time.Millisecond) {
		one, cancel := context.WithTimeout(ctx, 3*time.Second)
		err := try(one)
		cancel()
		if err == nil || final(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w (last: %w)", what, context.Cause(ctx), err)
		case <-time.After(wait):
		}
	}
}
