package main

import (
	"context"
	"embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"cogvideox"
	"github.com/nats-io/nats.go/jetstream"
)

//go:embed page
var page embed.FS

// front takes requests over HTTP and shows how far they are. It keeps nothing of its own: any
// front answers for any job.
type front struct {
	config   *config
	client   *client
	metrics  *metrics
	table    *table
	keys     *keyring
	listener net.Listener
	draining atomic.Bool
	// closing ends when streams must, so that clients look for another front.
	closing context.Context
	close   context.CancelFunc
}

func newFront(ctx context.Context, c *config, cl *client, m *metrics) (*front, error) {
	f := &front{config: c, client: cl, metrics: m, table: newTable(cl)}
	var err error
	if f.keys, err = newKeyring(c); err != nil {
		return nil, err
	}
	if err := cl.open(ctx); err != nil {
		return nil, err
	}
	f.closing, f.close = context.WithCancel(context.Background())
	if err := f.table.follow(f.closing); err != nil {
		return nil, err
	}
	m.registry.MustRegister(newFleetCollector(f.table))
	if f.listener, err = net.Listen("tcp", c.http); err != nil {
		return nil, err
	}
	slog.Info("serving", "page", "http://"+f.listener.Addr().String(), "replicas", c.replicas, "queue", c.queue)
	return f, nil
}

// run serves until ctx ends, and then ends in order: nobody is let in any more, answers under way
// are given, streams are told to look elsewhere.
func (f *front) run(ctx context.Context) error {
	defer f.close()
	server := &http.Server{Handler: f.handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(f.listener) }()
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGHUP)
	defer signal.Stop(again)
	for {
		select {
		case err := <-ended:
			return err
		case <-again:
			if f.config.keys == "" {
				continue
			}
			if err := f.keys.read(); err != nil {
				slog.Error("the keys stay as they were", "error", err)
			} else {
				slog.Info("the keys were read again")
			}
		case <-ctx.Done():
			f.draining.Store(true)
			f.close()
			grace, cancel := context.WithTimeout(context.Background(), 15*time.Second)
			defer cancel()
			if server.Shutdown(grace) != nil {
				server.Close()
			}
			return nil
		}
	}
}

func (f *front) handler() http.Handler {
	mux := http.NewServeMux()
	with := f.keys.withKey
	mux.HandleFunc("POST /videos", with(f.postVideos))
	mux.HandleFunc("POST /jobs", with(f.postJobs))
	mux.HandleFunc("GET /jobs", with(f.listJobs))
	mux.HandleFunc("GET /jobs/{id}", with(f.getJob))
	mux.HandleFunc("DELETE /jobs/{id}", with(f.deleteJob))
	mux.HandleFunc("GET /jobs/{id}/events", with(f.jobEvents))
	mux.HandleFunc("POST /jobs/{id}/retry", with(f.retryJob))
	mux.HandleFunc("GET /jobs/{id}/{file}", with(f.getFile))
	mux.HandleFunc("GET /dead", with(f.listDead))
	mux.HandleFunc("GET /events", with(f.fleetEvents))
	mux.HandleFunc("GET /fleet", with(f.getFleet))
	mux.Handle("GET /metrics", f.metrics.handler())
	mux.HandleFunc("GET /healthz", f.health)
	files, err := fs.Sub(page, "page")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	mux.Handle("GET /", http.FileServerFS(files))
	// Pages of other sites get nothing done here, also where no key is asked for.
	protected := http.NewCrossOriginProtection().Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy",
			"default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; frame-ancestors 'none'")
		header.Set("X-Content-Type-Options", "nosniff")
		protected.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(value)
}

// refuse tells an error to the client; what is not the client's fault without details that are
// none of their business.
func refuse(w http.ResponseWriter, err error) int {
	var f *failure
	switch {
	case errors.As(err, &f):
	case errors.Is(err, errNoJob):
		f = refusal(http.StatusNotFound, "NOT_FOUND", "%v, or its time is over", errNoJob)
	default:
		slog.Error("a request could not be served", "error", err)
		f = refusal(http.StatusServiceUnavailable, "UNAVAILABLE", "the fleet's servers do not answer; send it again with the same Idempotency-Key")
		w.Header().Set("Retry-After", "2")
	}
	answer(w, f.status, map[string]any{"error": f})
	return f.status
}

// patience is how long a client waits while servers choose a new leader.
const patience = 20 * time.Second

// accept does what both ways of submitting have in common. nil: the answer is given.
func (f *front) accept(w http.ResponseWriter, r *http.Request) (*job, bool) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	j, fresh, err := f.tryAccept(ctx, w, r)
	status := http.StatusAccepted
	var refused *failure
	if errors.As(err, &refused) && refused.status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", strconv.Itoa(f.table.retryAfter()))
	}
	if err != nil {
		status = refuse(w, err)
	}
	f.metrics.answers.WithLabelValues(strconv.Itoa(status)).Inc()
	if err != nil {
		return nil, false
	}
	return j, fresh
}

func (f *front) tryAccept(ctx context.Context, w http.ResponseWriter, r *http.Request) (*job, bool, error) {
	if f.draining.Load() {
		return nil, false, refusal(http.StatusServiceUnavailable, "SHUTTING_DOWN", "this front is ending; ask another")
	}
	s, hash, err := read(w, r, f.config.maxBodyBytes)
	if err != nil {
		return nil, false, err
	}
	return f.submit(ctx, s, hash, keyOf(r), r.Header.Get("Idempotency-Key"))
}

// postJobs answers POST /jobs as soon as the request is accepted.
func (f *front) postJobs(w http.ResponseWriter, r *http.Request) {
	j, fresh := f.accept(w, r)
	if j == nil {
		return
	}
	w.Header().Set("Location", "/jobs/"+j.ID)
	status := http.StatusOK
	if fresh {
		status = http.StatusAccepted
	}
	answer(w, status, f.view(j))
}

// jobView is a job as clients see it.
type jobView struct {
	ID          string    `json:"id"`
	State       state     `json:"state"`
	Cancelling  bool      `json:"cancelling,omitempty"`
	Owner       string    `json:"owner"`
	Model       string    `json:"model"`
	Task        string    `json:"task"`
	Size        int       `json:"size"`
	Request     *request  `json:"request"`
	Submitted   time.Time `json:"submitted"`
	Started     time.Time `json:"started,omitzero"`
	Ended       time.Time `json:"ended,omitzero"`
	Attempts    int       `json:"attempts"`
	Worker      string    `json:"worker,omitempty"`
	Device      string    `json:"device,omitempty"`
	Ahead       *int      `json:"ahead,omitempty"` // while it waits
	Progress    *progress `json:"progress,omitempty"`
	Preview     string    `json:"preview,omitempty"` // while it runs
	Error       *failure  `json:"error,omitempty"`
	Result      *result   `json:"result,omitempty"`
	Video       string    `json:"video,omitempty"` // addresses, once it is done
	LastPreview string    `json:"last_preview,omitempty"`
	Metadata    string    `json:"metadata,omitempty"`
}

func (f *front) view(j *job) *jobView {
	v := &jobView{ID: j.ID, State: j.State, Cancelling: j.Cancel && j.State == running, Owner: j.Owner, Model: j.Kind.Model,
		Task: j.Kind.Task, Size: j.Kind.Size, Request: &j.Request, Submitted: j.Submitted, Started: j.Started, Ended: j.Ended,
		Attempts: j.Attempts, Worker: j.Worker, Device: j.Device, Error: j.Error, Result: j.Result}
	switch j.State {
	case queued:
		ahead := f.table.ahead(j)
		v.Ahead = &ahead
	case running:
		if e := f.table.look(j.ID); e != nil && e.progress != nil && e.progress.Claim == j.Claim {
			told := *e.progress
			told.Preview = ""
			v.Progress, v.Preview = &told, e.preview
		}
	case done:
		v.Video, v.Metadata = "jobs/"+j.ID+"/video.mp4", "jobs/"+j.ID+"/metadata.json"
		if j.Result.Preview != "" {
			v.LastPreview = "jobs/" + j.ID + "/preview.jpg"
		}
	}
	return v
}

// find reads the record of a job that the key may see.
func (f *front) find(ctx context.Context, r *http.Request) (*job, error) {
	id := r.PathValue("id")
	if !token.MatchString(id) {
		return nil, errNoJob
	}
	j, err := f.newest(ctx, id)
	if err == nil && !keyOf(r).sees(j.Owner) {
		return nil, errNoJob
	}
	return j, err
}

// newest reads a record. Servers answer that have it, the leader or not, and one may lag for a
// moment: what this front has heard wins over what is older.
func (f *front) newest(ctx context.Context, id string) (*job, error) {
	for try := 0; ; try++ {
		j, revision, err := f.client.jobs.get(ctx, id)
		if known := f.table.look(id); known != nil && known.revision > revision && (err == nil || errors.Is(err, errNoJob)) {
			return known.job, nil
		}
		if !errors.Is(err, errNoJob) || try == 3 {
			return j, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (f *front) getJob(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	j, err := f.find(ctx, r)
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, http.StatusOK, f.view(j))
}

func (f *front) deleteJob(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	j, err := f.find(ctx, r)
	if err == nil {
		j, err = f.cancel(ctx, j.ID)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, http.StatusOK, f.view(j))
}

func (f *front) retryJob(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	if !keyOf(r).Admin {
		refuse(w, refusal(http.StatusForbidden, "FORBIDDEN", "only keys with admin try dead letters again"))
		return
	}
	j, err := f.retry(ctx, r.PathValue("id"))
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, http.StatusAccepted, f.view(j))
}

func (f *front) listJobs(w http.ResponseWriter, r *http.Request) {
	key := keyOf(r)
	wanted := state(r.URL.Query().Get("state"))
	found := f.table.all(func(j *job) bool { return key.sees(j.Owner) && (wanted == "" || j.State == wanted) })
	views := []*jobView{}
	for _, j := range found {
		views = append(views, f.view(j))
	}
	answer(w, http.StatusOK, map[string]any{"jobs": views})
}

// listDead reads the stream of dead letters, which outlive their records.
func (f *front) listDead(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	if !keyOf(r).Admin {
		refuse(w, refusal(http.StatusForbidden, "FORBIDDEN", "only keys with admin see dead letters"))
		return
	}
	letters := []*job{}
	err := persist(ctx, "reading dead letters", func(ctx context.Context) error {
		stream, err := f.client.js.Stream(ctx, deadStream)
		if err != nil {
			return err
		}
		info, err := stream.Info(ctx, jetstream.WithSubjectFilter(deadSubjects+">"))
		if err != nil {
			return err
		}
		letters = letters[:0]
		for subject := range info.State.Subjects {
			j, err := f.letter(ctx, strings.TrimPrefix(subject, deadSubjects))
			if errors.Is(err, errNoJob) {
				continue
			}
			if err != nil {
				return err
			}
			letters = append(letters, j)
		}
		return nil
	})
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, http.StatusOK, map[string]any{"dead": letters})
}

// getFile hands out what a job has made.
func (f *front) getFile(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	j, err := f.find(ctx, r)
	if err == nil && j.State != done {
		err = refusal(http.StatusConflict, "NOT_DONE", "the job is %s", j.State)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	names := map[string][2]string{
		"video.mp4":     {j.Result.Video, "video/mp4"},
		"preview.jpg":   {j.Result.Preview, "image/jpeg"},
		"metadata.json": {j.Result.Metadata, "application/json"},
	}
	object := names[r.PathValue("file")]
	if object[0] == "" {
		refuse(w, refusal(http.StatusNotFound, "NOT_FOUND", "expected video.mp4, preview.jpg or metadata.json"))
		return
	}
	var data []byte
	err = persist(ctx, "reading a result", func(ctx context.Context) (err error) {
		data, err = f.client.results.GetBytes(ctx, object[0])
		return err
	})
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		err = refusal(http.StatusGone, "GONE", "the result has reached its age and is deleted")
	}
	if err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", object[1])
	w.Header().Set("Cache-Control", "private, max-age=3600, immutable")
	// Players ask for parts.
	http.ServeContent(w, r, "", j.Ended, strings.NewReader(string(data)))
}

func (f *front) getFleet(w http.ResponseWriter, r *http.Request) { answer(w, http.StatusOK, f.fleet()) }

// fleetView is what the page shows of the whole.
type fleetView struct {
	Front    string                `json:"front"`
	Server   string                `json:"server"`
	Library  string                `json:"library"`
	Example  string                `json:"example"`
	MaxSteps int                   `json:"max_steps"`
	Queue    int                   `json:"queue"` // how many may wait or run
	States   map[state]int         `json:"states"`
	Workers  []workerState         `json:"workers"`
	Models   map[string]modelFacts `json:"models"`
}

func (f *front) fleet() *fleetView {
	states, _ := f.table.counts()
	v := &fleetView{Front: f.config.name, Server: f.client.nc.ConnectedServerName(), Library: cogvideox.Version(),
		Example: f.config.example, MaxSteps: f.config.maxSteps, Queue: f.config.queue,
		States: states, Workers: f.table.allWorkers(), Models: f.table.allModels()}
	if v.Workers == nil {
		v.Workers = []workerState{}
	}
	return v
}

// health is for load balancers: 503 while the front cannot take requests.
func (f *front) health(w http.ResponseWriter, _ *http.Request) {
	status := http.StatusOK
	if f.draining.Load() || !f.client.nc.IsConnected() {
		status = http.StatusServiceUnavailable
	}
	states, _ := f.table.counts()
	answer(w, status, map[string]any{"front": f.config.name, "connected": f.client.nc.IsConnected(), "draining": f.draining.Load(),
		"running": states[running], "waiting": states[queued], "workers": len(f.table.allWorkers())})
}

func dataAddress(kind string, data []byte) string {
	return "data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(data)
}
