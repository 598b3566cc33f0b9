// An HTTP service that generates videos.
//
//	go run . -model ../../demo-model/pipeline
//
// and then http://localhost:8080 in a browser, or
//
//	curl -N localhost:8080/videos -H 'Content-Type: application/json' \
//	     -d '{"prompt": "a red ball moves right on a black background", "cache": {"technique": "pab"}}'
//
// One copy of the weights serves several runs at once, one for each clone of the pipeline; a
// bounded queue waits for them. Who disconnects cancels their run. SIGTERM and Ctrl-C end the
// service in order: what runs may finish, as long as the grace period lasts.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"cogvideox"
)

// config is what the command line says.
type config struct {
	listen, model, device, example string
	atOnce, queue, keep, maxSteps  int
	grace                          time.Duration
}

func parse(args []string) (config, error) {
	var c config
	flags := flag.NewFlagSet("service", flag.ContinueOnError)
	flags.StringVar(&c.listen, "listen", "localhost:8080", "address and port")
	flags.StringVar(&c.model, "model", "../../demo-model/pipeline", "pipeline folder as diffusers saves it")
	flags.StringVar(&c.device, "device", "auto", "cpu, cuda, cuda:N or auto")
	flags.StringVar(&c.example, "example", "a red ball moves right on a black background", "prompt that the page begins with")
	flags.IntVar(&c.atOnce, "at-once", 2, "runs at the same time, over one copy of the weights")
	flags.IntVar(&c.queue, "queue", 8, "requests that may wait; more are answered 503")
	flags.IntVar(&c.keep, "keep", 32, "finished videos that are kept for download")
	flags.IntVar(&c.maxSteps, "max-steps", 100, "the most denoising steps of a request")
	flags.DurationVar(&c.grace, "grace", 30*time.Second, "how long runs may go on after SIGTERM")
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	if c.atOnce < 1 || c.queue < 0 || c.keep < 1 || c.maxSteps < 1 || c.grace < 0 {
		return c, errors.New("at-once, keep and max-steps must be at least 1, queue and grace at least 0")
	}
	return c, nil
}

func main() {
	c, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "service:", err)
		os.Exit(2)
	}
	// Signals are the host's: the library has no handlers.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, c, nil); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "service:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends, and then ends in order. listening, if not nil, is told the address.
func run(ctx context.Context, c config, listening func(net.Addr)) error {
	slog.Info("loading", "model", c.model)
	pipeline, err := cogvideox.Load(ctx, c.model, &cogvideox.LoadOptions{
		Device: c.device,
		Log: func(level cogvideox.LogLevel, message string) {
			if level >= cogvideox.LogWarning {
				slog.Warn(message)
			}
		},
	})
	if err != nil {
		return err
	}
	defer pipeline.Close()
	s, err := newService(pipeline, c)
	if err != nil {
		return err
	}
	defer s.close()

	listener, err := net.Listen("tcp", c.listen)
	if err != nil {
		return err
	}
	work, abandon := context.WithCancelCause(context.Background())
	defer abandon(nil)
	server := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		// Every request's context ends when the grace period does.
		BaseContext: func(net.Listener) context.Context { return work },
	}
	slog.Info("serving", "address", "http://"+listener.Addr().String(), "family", pipeline.Family(),
		"device", pipeline.Device(), "at_once", c.atOnce, "queue", c.queue)
	if listening != nil {
		listening(listener.Addr())
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}

	slog.Info("shutting down", "grace", c.grace)
	s.pool.shut() // who waits is told so now
	grace, cancel := context.WithTimeout(context.Background(), c.grace)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		abandon(errShuttingDown)
		// Runs end within one layer; their streams still say why.
		last, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := server.Shutdown(last); err != nil {
			server.Close()
			return fmt.Errorf("requests did not end: %w", err)
		}
	}
	slog.Info("ended in order")
	return nil
}
