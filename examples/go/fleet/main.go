// A fleet that generates videos: fronts that take requests, workers that make clips, and NATS
// JetStream between them, which keeps what was accepted.
//
//	go run . -model ../../demo-model/pipeline
//
// runs all of it in one process, with the NATS server inside; http://localhost:8080 is its page.
// With -nats and the addresses of servers, the same program is one part of a cluster:
//
//	fleet server -name a -server-listen :4222 -cluster :6222 -routes nats://b:6222,nats://c:6222
//	fleet front  -nats nats://a:4222,nats://b:4222,nats://c:4222
//	fleet worker -nats nats://a:4222,nats://b:4222,nats://c:4222 -model /models/CogVideoX-5b
//
// The files, from below: layout.go names streams and buckets, connect.go waits out servers that
// are gone, job.go is the record of a request and how it changes, capability.go who may do what; then
// worker.go and run.go, then front.go, submit.go and events.go, and the page.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

func main() {
	c, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(2)
	}
	if c.part == "key" {
		if err := printKey(c.name); err != nil {
			fmt.Fprintln(os.Stderr, "fleet:", err)
			os.Exit(1)
		}
		return
	}
	// Signals are the host's: the library has no handlers.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	// Who asks a second time does not want to wait.
	context.AfterFunc(ctx, stop)
	if err := run(ctx, c); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

// run runs the parts that c names until ctx ends, and then ends them in order: fronts first,
// because they need the rest, then workers, then the server.
func run(ctx context.Context, c *config) error {
	var server *embedded
	if c.part == "server" || (c.part == "all" && c.nats == "") {
		var err error
		if server, err = startServer(c); err != nil {
			return err
		}
		defer server.stop()
	}
	if c.part == "server" {
		select {
		case <-ctx.Done():
			return nil
		case <-server.ended():
			return errors.New("the server ended by itself; its log says why")
		}
	}
	m := newMetrics()
	cl, err := connect(ctx, c, server)
	if err != nil {
		return err
	}
	defer cl.close()
	if c.part != "worker" {
		if err := cl.lay(ctx, c); err != nil {
			return err
		}
	}

	// Each part gets a context of its own, so that they can be ended one after another.
	var parts []func(context.Context) error
	if c.part != "worker" {
		f, err := newFront(ctx, c, cl, m)
		if err != nil {
			return err
		}
		parts = append(parts, f.run)
	}
	if c.part != "front" {
		w, err := newWorker(ctx, c, cl, m)
		if err != nil {
			return err
		}
		defer w.close()
		parts = append(parts, w.run)
	}
	ends := make([]context.CancelFunc, len(parts))
	done := make([]chan struct{}, len(parts))
	failed := make(chan error, len(parts))
	var first error
	var once sync.Once
	for i, part := range parts {
		own, cancel := context.WithCancel(context.Background())
		ends[i], done[i] = cancel, make(chan struct{})
		go func() {
			defer close(done[i])
			if err := part(own); err != nil {
				once.Do(func() { first = err })
				failed <- err
			}
		}()
	}
	select {
	case <-ctx.Done():
		slog.Info("ending in order")
	case <-failed:
	}
	for i := range parts {
		ends[i]()
		<-done[i]
	}
	if first == nil {
		slog.Info("ended in order")
	}
	return first
}
