package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cogvideox"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// blank stands for an image where only the memory of a run is asked for.
var blank = image.NewRGBA(image.Rect(0, 0, 8, 8))

// worker makes videos. It has a pipeline for each device, and for each a number of clones, which
// are the slots: each takes a request, makes it, and takes the next.
type worker struct {
	config  *config
	client  *client
	metrics *metrics
	model   modelFacts
	devices []*device
	since   time.Time
	leave   chan struct{} // closed when the first slot finds that the process must end
	once    sync.Once

	busy, made atomic.Int64
	draining   atomic.Bool

	mu      sync.Mutex
	woken   chan struct{}          // closed when there is new work, and replaced
	running map[string]*attempt    // by id
	usual   time.Duration          // of a clip
	queues  map[kind]jetstreamPull // what slots pull from
}

// jetstreamPull is the part of a consumer that slots need.
type jetstreamPull interface {
	FetchNoWait(int) (jetstream.MessageBatch, error)
}

// device is a pipeline on one device, and its slots.
type device struct {
	pipeline *cogvideox.Pipeline
	clones   []*cogvideox.Pipeline
	state    deviceState
	kinds    []kind
	each     uint64 // bytes for each clip
}

func newWorker(ctx context.Context, c *config, cl *client, m *metrics) (w *worker, err error) {
	w = &worker{config: c, client: cl, metrics: m, since: time.Now(), woken: make(chan struct{}), leave: make(chan struct{}),
		running: map[string]*attempt{}, queues: map[kind]jetstreamPull{}}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	largest := 0
	for name := range strings.SplitSeq(c.device, ",") {
		d, err := w.load(ctx, strings.TrimSpace(name))
		if err != nil {
			return w, err
		}
		w.devices = append(w.devices, d)
		largest = max(largest, d.state.Sizes[len(d.state.Sizes)-1])
	}
	m.of(c.modelName)
	w.model = factsOf(w.devices[0].pipeline, c.modelName, largest)
	for _, d := range w.devices {
		for _, size := range d.state.Sizes {
			d.kinds = append(d.kinds, kind{c.modelName, w.model.Task, size})
		}
	}
	if err := cl.open(ctx); err != nil {
		return w, err
	}
	for _, d := range w.devices {
		for _, k := range d.kinds {
			if _, made := w.queues[k]; made {
				continue
			}
			if err := w.consume(ctx, k); err != nil {
				return w, err
			}
		}
	}
	return w, cl.announceModel(ctx, w.model)
}

// load loads the model on one device.
func (w *worker) load(ctx context.Context, name string) (*device, error) {
	slog.Info("loading", "model", w.config.model, "device", name)
	p, err := cogvideox.Load(ctx, w.config.model, &cogvideox.LoadOptions{
		Device: name, NumThreads: w.config.threads,
		Log: func(level cogvideox.LogLevel, message string) {
			if level >= cogvideox.LogWarning {
				slog.Warn(message)
			}
		},
	})
	if err != nil {
		return nil, err
	}
	if task := p.Task(); task != cogvideox.TaskTextToVideo && task != cogvideox.TaskImageToVideo {
		p.Close()
		return nil, errors.New("-model: expected a folder for text or image to video, found one that needs a video, which requests of this fleet do not carry")
	}
	d := &device{pipeline: p}
	d.state.Device = p.Device()
	d.state.Memory = uint64(w.config.memory * (1 << 30))
	devices, err := cogvideox.Devices()
	if err != nil {
		slog.Warn("devices", "error", err)
	}
	for _, found := range devices {
		if found.Device == d.state.Device {
			d.state.Name = found.Name
			if w.config.memory == 0 {
				d.state.Memory = found.MemoryFree
			}
		}
	}
	d.each = d.state.Memory / uint64(w.config.atOnce)
	if d.state.Sizes, err = sizesFor(p, d.each); err != nil {
		p.Close()
		return nil, fmt.Errorf("%s with %d at once: %w", d.state.Device, w.config.atOnce, err)
	}
	for range w.config.atOnce {
		clone, err := p.Clone()
		if err != nil {
			d.close()
			return nil, err
		}
		d.clones = append(d.clones, clone)
	}
	return d, nil
}

func (d *device) close() {
	for _, clone := range d.clones {
		clone.Close()
	}
	d.pipeline.Close()
}

func (w *worker) close() {
	for _, d := range w.devices {
		d.close()
	}
}

// consume makes the consumer of a kind, or finds it made by another worker.
func (w *worker) consume(ctx context.Context, k kind) error {
	return persist(ctx, "making a consumer", func(ctx context.Context) error {
		consumer, err := w.client.js.CreateOrUpdateConsumer(ctx, workStream, jetstream.ConsumerConfig{
			Durable: k.consumer(), FilterSubject: k.subject("*"), AckPolicy: jetstream.AckExplicitPolicy,
			AckWait: w.config.ackWait, MaxDeliver: -1, MaxAckPending: 100_000,
		})
		if err != nil {
			return again(err)
		}
		w.mu.Lock()
		w.queues[k] = consumer
		w.mu.Unlock()
		return nil
	})
}

// run works until ctx ends: then no more is taken, and what is being made has the grace period to
// come to its end, or is given back.
func (w *worker) run(ctx context.Context) error {
	stopMetrics, err := w.serveMetrics()
	if err != nil {
		return err
	}
	defer stopMetrics()
	subscriptions := []*nats.Subscription{}
	for subject, handle := range map[string]nats.MsgHandler{
		wakeSubject:          func(*nats.Msg) { w.wake() },
		cancelSubjects + "*": func(m *nats.Msg) { w.cancel(strings.TrimPrefix(m.Subject, cancelSubjects)) },
	} {
		s, err := w.client.nc.Subscribe(subject, handle)
		if err != nil {
			return err
		}
		subscriptions = append(subscriptions, s)
	}
	defer func() {
		for _, s := range subscriptions {
			s.Unsubscribe()
		}
	}()

	take, stop := context.WithCancel(ctx)
	defer stop()
	work, abandon := context.WithCancelCause(context.Background())
	defer abandon(nil)
	var slots sync.WaitGroup
	for _, d := range w.devices {
		for _, clone := range d.clones {
			slots.Go(func() { w.slot(take, work, d, clone) })
		}
	}
	beat, stopBeat := context.WithCancel(context.Background())
	var beats sync.WaitGroup
	beats.Go(func() { w.tellState(beat) })
	slog.Info("working", "worker", w.config.name, "model", w.model.Name, "task", w.model.Task, "family", w.model.Family,
		"devices", len(w.devices), "slots", w.slots())

	var lost error
	select {
	case <-ctx.Done():
	case <-w.leave:
		lost = errors.New("a device is lost; start the worker anew")
		stop()
	}
	w.draining.Store(true)
	ended := make(chan struct{})
	go func() {
		slots.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(w.config.grace):
		slog.Info("giving back what runs", "clips", w.busy.Load())
		abandon(errGivenBack)
		<-ended
	}
	stopBeat()
	beats.Wait()
	return lost
}

func (w *worker) slots() (n int) {
	for _, d := range w.devices {
		n += len(d.clones)
	}
	return n
}

// slot takes requests and makes them, one after another.
func (w *worker) slot(take, work context.Context, d *device, clone *cogvideox.Pipeline) {
	for {
		message := w.next(take, d)
		if message == nil {
			return
		}
		if take.Err() != nil {
			message.Nak()
			return
		}
		w.busy.Add(1)
		w.handle(work, d, clone, message)
		w.busy.Add(-1)
	}
}

// next waits for a request that the device can do; nil when ctx ends. Kinds take turns, so that
// none waits for ever behind another. Without news, it looks twice a second: for requests that were
// taken from a worker which is gone.
func (w *worker) next(ctx context.Context, d *device) jetstream.Msg {
	turn := rand.IntN(len(d.kinds))
	for ctx.Err() == nil {
		w.mu.Lock()
		woken := w.woken
		w.mu.Unlock()
		for range d.kinds {
			turn = (turn + 1) % len(d.kinds)
			k := d.kinds[turn]
			w.mu.Lock()
			queue := w.queues[k]
			w.mu.Unlock()
			batch, err := queue.FetchNoWait(1)
			if err != nil {
				continue
			}
			for message := range batch.Messages() {
				return message
			}
			if err := batch.Error(); errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, nats.ErrNoResponders) {
				// Nobody leads the consumer for a moment, or somebody has deleted it.
				once, cancel := context.WithTimeout(ctx, 3*time.Second)
				w.consume(once, k)
				cancel()
			}
		}
		select {
		case <-ctx.Done():
		case <-woken:
		case <-time.After(400*time.Millisecond + time.Duration(rand.IntN(200))*time.Millisecond):
		}
	}
	return nil
}

func (w *worker) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.woken)
	w.woken = make(chan struct{})
}

// cancel looks at the record of a job that is being made here: who cancels has written it there.
func (w *worker) cancel(id string) {
	w.mu.Lock()
	a := w.running[id]
	w.mu.Unlock()
	if a != nil {
		select {
		case a.look <- struct{}{}:
		default:
		}
	}
}

// tellState tells every second what the worker can do and does, until ctx ends, and then that it
// is no more.
func (w *worker) tellState(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		s := w.state()
		s.Ended = ctx.Err() != nil
		if text, err := json.Marshal(s); err == nil {
			w.client.nc.Publish(workerSubjects+w.config.name, text)
		}
		if s.Ended {
			w.client.nc.FlushTimeout(time.Second)
			return
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

func (w *worker) state() workerState {
	w.mu.Lock()
	usual := w.usual
	w.mu.Unlock()
	s := workerState{Name: w.config.name, Model: w.model.Name, Task: w.model.Task, Slots: w.slots(), Busy: int(w.busy.Load()),
		Made: uint64(w.made.Load()), Seconds: usual.Seconds(), Draining: w.draining.Load(), Since: w.since, Library: cogvideox.Version()}
	for _, d := range w.devices {
		s.Devices = append(s.Devices, d.state)
	}
	return s
}

// serveMetrics serves the worker's own metrics, where they are asked for.
func (w *worker) serveMetrics() (stop func(), err error) {
	if w.config.metrics == "" {
		return func() {}, nil
	}
	listener, err := net.Listen("tcp", w.config.metrics)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", w.metrics.handler())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(listener)
	return func() { server.Close() }, nil
}
