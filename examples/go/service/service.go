package main

import (
	"bytes"
	"context"
	"embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"image/jpeg"
	"io/fs"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"cogvideox"
)

//go:embed page
var page embed.FS

// service is what the handlers share.
type service struct {
	config   config
	pipeline *cogvideox.Pipeline // only asked; the clones do the work
	pool     *pool
	store    *store
}

func newService(pipeline *cogvideox.Pipeline, c config) (*service, error) {
	pool, err := newPool(pipeline, c.atOnce, c.queue)
	if err != nil {
		return nil, err
	}
	store, err := newStore(c.keep)
	if err != nil {
		pool.close()
		return nil, err
	}
	return &service{config: c, pipeline: pipeline, pool: pool, store: store}, nil
}

func (s *service) close() {
	s.pool.close()
	s.store.close()
}

func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /videos", s.generate)
	mux.HandleFunc("GET /videos/{file}", s.store.serve)
	mux.HandleFunc("GET /model", s.model)
	mux.HandleFunc("GET /healthz", s.health)
	files, err := fs.Sub(page, "page")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	mux.Handle("GET /", http.FileServerFS(files))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'")
		header.Set("X-Content-Type-Options", "nosniff")
		mux.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(value)
}

func refuse(w http.ResponseWriter, f *failure) { answer(w, f.status, map[string]any{"error": f}) }

// model tells the page what the model does by itself.
func (s *service) model(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{
		"family":    s.pipeline.Family(),
		"device":    s.pipeline.Device(),
		"width":     s.pipeline.DefaultWidth(),
		"height":    s.pipeline.DefaultHeight(),
		"frames":    s.pipeline.DefaultNumFrames(),
		"fps":       s.pipeline.DefaultFPS(),
		"steps":     min(s.config.maxSteps, s.pipeline.DefaultNumInferenceSteps()),
		"max_steps": s.config.maxSteps,
		"guidance":  s.pipeline.DefaultGuidanceScale(),
		"example":   s.config.example,
		"library":   cogvideox.Version(),
	})
}

func (s *service) health(w http.ResponseWriter, _ *http.Request) {
	running, waiting := s.pool.counts()
	answer(w, http.StatusOK, map[string]int{
		"running": running, "waiting": waiting, "at_once": s.config.atOnce, "queue": s.config.queue,
	})
}

// generate answers POST /videos with a stream of events. Whatever is wrong with the request is
// answered before the stream begins, with a status of its own.
func (s *service) generate(w http.ResponseWriter, r *http.Request) {
	q, err := read(w, r)
	if err == nil {
		err = s.check(q)
	}
	if err != nil {
		refuse(w, s.logged(asFailure(err), err))
		return
	}
	t, err := s.pool.enter()
	if err != nil {
		code := map[error]string{errFull: "QUEUE_FULL", errShuttingDown: "SHUTTING_DOWN"}[err]
		w.Header().Set("Retry-After", strconv.Itoa(s.pool.retryAfter()))
		refuse(w, &failure{http.StatusServiceUnavailable, code, err.Error()})
		return
	}
	var clone *cogvideox.Pipeline
	var took time.Duration
	defer func() { s.pool.leave(t, clone, took) }()

	// Ends when the client disconnects, when a write fails, and when the service must end.
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	e := newEvents(w)
	if clone, err = s.wait(ctx, t, e); err == nil {
		var done *doneEvent
		if done, took, err = s.run(ctx, clone, q, e); err == nil {
			err = e.send("done", done)
		}
	}
	if r.Context().Err() != nil && !errors.Is(context.Cause(r.Context()), errShuttingDown) {
		slog.Info("the client has left", "ran", clone != nil)
		return
	}
	if err != nil {
		f := asFailure(err)
		if cause := context.Cause(ctx); f.Code == cogvideox.ErrCancelled.Name() && errors.Is(cause, errShuttingDown) {
			f = asFailure(errShuttingDown)
		}
		// If this fails too, there is nobody to tell.
		e.send("error", s.logged(f, err))
	}
}

// logged keeps the whole story of what the client is told in part.
func (s *service) logged(f *failure, err error) *failure {
	if f.Code == cogvideox.ErrInternal.Name() || f.Code == cogvideox.ErrOutOfMemory.Name() {
		slog.Error("a request failed", "code", f.Code, "error", err)
	}
	return f
}

// wait waits for the ticket's turn.
func (s *service) wait(ctx context.Context, t *ticket, e *events) (*cogvideox.Pipeline, error) {
	beat := time.NewTicker(10 * time.Second)
	defer beat.Stop()
	for {
		var err error
		select {
		case clone, open := <-t.turn:
			if !open {
				return nil, errShuttingDown
			}
			return clone, nil
		case ahead := <-t.ahead:
			err = e.send("queued", queuedEvent{Ahead: ahead})
		case <-beat.C:
			err = e.alive()
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		if err != nil {
			return nil, err
		}
	}
}

// run makes the video as a job of the clone, and tells how far it is. Only this goroutine writes
// to the client: the job's callbacks hand it what they have.
func (s *service) run(ctx context.Context, clone *cogvideox.Pipeline, q *request, e *events) (*doneEvent, time.Duration, error) {
	if err := s.enableCache(clone, q); err != nil {
		return nil, 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	frames := make(chan framesEvent, 8)
	options := q.options()
	options.Frames = func(chunk *cogvideox.FrameChunk) error {
		event, err := preview(chunk)
		if err != nil {
			return err
		}
		select {
		case frames <- event:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	job, err := clone.Submit(ctx, options)
	if err != nil {
		return nil, 0, err
	}
	defer job.Close()
	// A clone goes back when its job has ended, not before. It ends soon: on every way out of
	// here ctx has ended, or the job has.
	defer func() {
		cancel()
		<-job.Done()
	}()

	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for ended := false; !ended; {
		select {
		case event := <-frames:
			err = e.send("frames", event)
		case <-tick.C:
			err = s.progress(job, e)
		case <-job.Done():
			ended = true
		}
		if err != nil {
			return nil, 0, err
		}
	}
	for len(frames) > 0 {
		if err := e.send("frames", <-frames); err != nil {
			return nil, 0, err
		}
	}
	video, err := job.Video()
	if err != nil {
		return nil, 0, err
	}
	defer video.Close()
	if err := s.progress(job, e); err != nil {
		return nil, 0, err
	}
	done, err := s.finish(clone, video, q)
	if err != nil {
		return nil, 0, err
	}
	took := job.Status().Elapsed
	done.Seconds = took.Seconds()
	return done, took, nil
}

func (s *service) enableCache(clone *cogvideox.Pipeline, q *request) error {
	cache, err := q.cache()
	if err != nil {
		return err
	}
	if cache == nil {
		return clone.DisableCache()
	}
	defer cache.Close()
	return clone.EnableCache(cache)
}

func (s *service) progress(job *cogvideox.Job, e *events) error {
	status := job.Status()
	if status.Stage == 0 {
		return nil
	}
	return e.send("progress", progressEvent{status.Stage.String(), status.Done, status.Total, status.Fraction})
}

// finish keeps the video for download.
func (s *service) finish(clone *cogvideox.Pipeline, video *cogvideox.Video, q *request) (*doneEvent, error) {
	fps := clone.DefaultFPS()
	name, err := s.store.put(video, fps)
	if err != nil {
		return nil, err
	}
	stats, err := clone.CacheStats()
	if err != nil {
		return nil, err
	}
	defer stats.Close()
	return &doneEvent{
		MP4: "videos/" + name + ".mp4", GIF: "videos/" + name + ".gif",
		Width: video.Width(), Height: video.Height(), Frames: video.NumFrames(), FPS: fps,
		Seed: *q.Seed, SpeedUp: stats.PredictedSpeedUp(),
	}, nil
}

// preview is the last frame of a chunk as a small picture.
func preview(chunk *cogvideox.FrameChunk) (framesEvent, error) {
	img, err := chunk.Image(chunk.NumFrames - 1)
	if err != nil {
		return framesEvent{}, err
	}
	var data bytes.Buffer
	if err := jpeg.Encode(&data, img, &jpeg.Options{Quality: 80}); err != nil {
		return framesEvent{}, err
	}
	return framesEvent{
		Decoded: chunk.FirstFrame + chunk.NumFrames,
		Total:   chunk.TotalFrames,
		Preview: "data:image/jpeg;base64," + base64.StdEncoding.EncodeToString(data.Bytes()),
	}, nil
}
