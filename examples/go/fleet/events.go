package main

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// events writes server-sent events. It is used by one goroutine.
type events struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func newEvents(w http.ResponseWriter) *events {
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // proxies must not collect events
	w.WriteHeader(http.StatusOK)
	return &events{w, http.NewResponseController(w)}
}

// send writes one event. A client that takes nothing for half a minute is gone.
func (e *events) send(name string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	return e.write("event: " + name + "\ndata: " + string(text) + "\n\n")
}

func (e *events) write(text string) error {
	if err := e.control.SetWriteDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	if _, err := e.w.Write([]byte(text)); err != nil {
		return err
	}
	return e.control.Flush()
}

// follow calls see with each new state of a job until it has ended, see fails, the client leaves
// or the front ends; it says whether the job has ended. Every other second it reads the record
// itself, so that a message which was lost with a server is only late.
func (f *front) follow(ctx context.Context, e *events, id string, see func(*jobView) error) (ended bool, err error) {
	l := f.table.listen(id)
	defer f.table.leave(l)
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	read := true
	for {
		var j *job
		if known := f.table.look(id); known != nil && !read {
			j = known.job
		} else {
			once, cancel := context.WithTimeout(ctx, patience)
			j, err = f.newest(once, id)
			cancel()
			if err != nil {
				return false, err
			}
		}
		f.table.fetch(l)
		if err := see(f.view(j)); err != nil {
			return false, err
		}
		if j.State.ended() {
			return true, nil
		}
		select {
		case <-l.news:
			read = false
		case <-tick.C:
			read = true
			err = e.write(": alive\n\n")
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-f.closing.Done():
			e.send("moved", map[string]string{"message": "this front is ending; ask another for the job"})
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// jobEvents answers GET /jobs/{id}/events: each state of the job, on any front.
func (f *front) jobEvents(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	j, err := f.find(ctx, r)
	cancel()
	if err != nil {
		refuse(w, err)
		return
	}
	e := newEvents(w)
	f.follow(r.Context(), e, j.ID, func(v *jobView) error { return e.send("job", v) })
}

// The events of POST /videos, which are those of examples/go/service; one of done and error
// comes last.
type (
	// acceptedEvent comes first: from here on the request is safe.
	acceptedEvent struct {
		ID string `json:"id"`
	}
	queuedEvent struct {
		Ahead int `json:"ahead"`
	}
	progressEvent struct {
		Stage    string  `json:"stage"`
		Done     uint64  `json:"done"`
		Total    uint64  `json:"total"`
		Fraction float64 `json:"fraction"`
	}
	// framesEvent comes with each new picture; decoded and total are 0 before frames are decoded.
	framesEvent struct {
		Decoded int    `json:"decoded"`
		Total   int    `json:"total"`
		Preview string `json:"preview"`
	}
	doneEvent struct {
		ID       string  `json:"id"`
		MP4      string  `json:"mp4"`
		Metadata string  `json:"metadata"`
		Width    int     `json:"width"`
		Height   int     `json:"height"`
		Frames   int     `json:"frames"`
		FPS      float64 `json:"fps"`
		Seed     uint64  `json:"seed"`
		Seconds  float64 `json:"seconds"`
		SpeedUp  float64 `json:"speed_up"`
	}
)

// postVideos answers POST /videos with a stream of events, as the service does. Who disconnects
// cancels the request, unless it came with an Idempotency-Key: that client may send it again, to
// any front, and follows it there.
func (f *front) postVideos(w http.ResponseWriter, r *http.Request) {
	j, _ := f.accept(w, r)
	if j == nil {
		return
	}
	e := newEvents(w)
	err := e.send("accepted", acceptedEvent{j.ID})
	ended := false
	if err == nil {
		last := (*jobView)(nil)
		ended, err = f.follow(r.Context(), e, j.ID, func(v *jobView) error {
			before := last
			last = v
			return e.tellNews(before, v)
		})
	}
	if !ended && err != nil && r.Header.Get("Idempotency-Key") == "" {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		f.cancel(ctx, j.ID)
	}
}

// tellNews tells what has changed from one state of a job to the next.
func (e *events) tellNews(before, now *jobView) error {
	switch now.State {
	case queued:
		if before == nil || before.State != queued || *before.Ahead != *now.Ahead {
			return e.send("queued", queuedEvent{*now.Ahead})
		}
	case running:
		p := now.Progress
		if p == nil {
			return nil
		}
		if before == nil || before.Progress == nil || *before.Progress != *p {
			if err := e.send("progress", progressEvent{p.Stage, p.Done, p.Total, p.Fraction}); err != nil {
				return err
			}
		}
		if now.Preview != "" && (before == nil || before.Preview != now.Preview) {
			return e.send("frames", framesEvent{p.Decoded, p.Frames, now.Preview})
		}
	case done:
		r := now.Result
		return e.send("done", doneEvent{now.ID, now.Video, now.Metadata, r.Width, r.Height, r.Frames, r.FPS, r.Seed, r.Seconds, r.SpeedUp})
	default:
		told := now.Error
		switch {
		case told == nil && now.State == cancelled:
			told = &failure{Code: "CANCELLED", Message: "the run was cancelled"}
		case told == nil:
			told = &failure{Code: "INTERNAL", Message: "the video could not be made"}
		}
		return e.send("error", told)
	}
	return nil
}

// fleetEvents answers GET /events: everything that the key may see, as it changes. At first comes
// all that there is.
func (f *front) fleetEvents(w http.ResponseWriter, r *http.Request) {
	key := keyOf(r)
	l := f.table.listen("")
	defer f.table.leave(l)
	e := newEvents(w)
	alive := time.NewTicker(10 * time.Second)
	defer alive.Stop()
	for {
		var err error
		select {
		case <-l.news:
			ids, fleet := f.table.fetch(l)
			for _, id := range ids {
				known := f.table.look(id)
				switch {
				case known == nil:
					err = e.send("gone", map[string]string{"id": id})
				case key.sees(known.job.Owner):
					err = e.send("job", f.view(known.job))
				}
				if err != nil {
					return
				}
			}
			if fleet || len(ids) > 0 {
				err = e.send("fleet", f.fleet())
			}
		case <-alive.C:
			err = e.write(": alive\n\n")
		case <-r.Context().Done():
			return
		case <-f.closing.Done():
			return
		}
		if err != nil {
			return
		}
		// A screen shows no more than this.
		select {
		case <-time.After(50 * time.Millisecond):
		case <-r.Context().Done():
			return
		}
	}
}
