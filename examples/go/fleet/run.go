package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"image"
	"image/jpeg"
	"image/png"
	"log/slog"
	"strings"
	"time"

	"cogvideox"
	"github.com/nats-io/nats.go/jetstream"
)

var (
	errCancelled = errors.New("the request was cancelled")
	errGivenBack = errors.New("the worker is ending")
	errLost      = errors.New("another worker has the request now")
	errDropped   = errors.New("there is nothing to do for this message")
	errDead      = errors.New("the request was begun too often")
)

// attempt is one worker's try at one job.
type attempt struct {
	*worker
	device  *device
	message jetstream.Msg
	order   order
	job     *job
	claim   string
	look    chan struct{} // somebody has changed the record
}

// handle does all there is to do for a message: it makes the video, or finds that there is nothing
// to make, and tells the stream what became of it.
func (w *worker) handle(ctx context.Context, d *device, clone *cogvideox.Pipeline, message jetstream.Msg) {
	a := &attempt{worker: w, device: d, message: message, claim: rand.Text(), look: make(chan struct{}, 1)}
	if err := json.Unmarshal(message.Data(), &a.order); err != nil {
		slog.Error("a message that is no request is dropped", "subject", message.Subject(), "error", err)
		message.TermWithReason("no request")
		return
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w.mu.Lock()
	w.running[a.order.ID] = a
	w.mu.Unlock()
	beats := make(chan struct{})
	go func() {
		defer close(beats)
		a.beat(ctx, cancel)
	}()
	defer func() {
		cancel(nil)
		<-beats
		w.mu.Lock()
		if w.running[a.order.ID] == a {
			delete(w.running, a.order.ID)
		}
		w.mu.Unlock()
	}()

	err := a.begin(ctx)
	if err == nil {
		err = a.make(ctx, clone)
	}
	if cause := context.Cause(ctx); cause != nil && err != nil {
		err = cause
	}
	// The end of a try is told also when the worker ends; but not for ever, since another worker
	// will look at the message when this one is silent.
	end, stop := context.WithTimeout(context.Background(), 30*time.Second)
	defer stop()
	a.settle(end, err)
}

// beat tells the servers that the clip is being made, and looks once a second whether it still
// should be.
func (a *attempt) beat(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(min(time.Second, a.config.ackWait/4))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := a.message.InProgress(); err != nil {
				slog.Warn("a heartbeat failed", "job", a.order.ID, "error", err)
			}
		case <-a.look:
		}
		once, stop := context.WithTimeout(ctx, time.Second)
		j, _, err := a.client.jobs.get(once, a.order.ID)
		stop()
		switch {
		case err != nil: // the servers are busy with each other; the claim decides in the end
		case j.Cancel && j.Round == a.order.Round:
			cancel(errCancelled)
		case j.Attempts > 0 && a.claimed() && j.Claim != a.claim:
			// Only a later try can stand there, once ours did; an older state is a replica's that lags.
			if j.State.ended() || j.Attempts > a.attempts() || j.Round > a.order.Round {
				cancel(errLost)
			}
		}
	}
}

func (a *attempt) claimed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.job != nil
}

func (a *attempt) attempts() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.job.Attempts
}

// begin claims the job in its record.
func (a *attempt) begin(ctx context.Context) error {
	metadata, err := a.message.Metadata()
	if err != nil {
		return err
	}
	j, err := a.client.jobs.change(ctx, a.order.ID, func(j *job) (*job, error) {
		if j == nil || j.Round < a.order.Round {
			// The front has not written it yet, or never will.
			j = a.order.job()
		}
		switch {
		case j.Claim == a.claim:
			return nil, errSame // an answer was lost
		case j.Round > a.order.Round || j.State.ended():
			return nil, errDropped
		case j.Sequence != 0 && j.Sequence != metadata.Sequence.Stream:
			return nil, errDropped // the same request, queued twice
		case j.Cancel:
			return nil, errCancelled
		case j.Attempts >= a.config.attempts:
			return nil, errDead
		}
		j.State, j.Claim, j.Worker, j.Device = running, a.claim, a.config.name, a.device.state.Device
		j.Started, j.Sequence, j.Error = time.Now(), metadata.Sequence.Stream, nil
		j.Attempts++
		return j, nil
	})
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.job = j
	a.mu.Unlock()
	a.metrics.started(j)
	return nil
}

// make makes the video and stores it.
func (a *attempt) make(ctx context.Context, clone *cogvideox.Pipeline) error {
	q := &a.order.Request
	options := q.options()
	if a.order.Image != "" {
		picture, err := a.image(ctx)
		if err != nil {
			return err
		}
		options.Image = picture
	}
	cache, err := q.cache()
	if err != nil {
		return err
	}
	if cache == nil {
		err = clone.DisableCache()
	} else {
		err = clone.EnableCache(cache)
		cache.Close()
	}
	if err != nil {
		return err
	}
	if needed, err := clone.EstimateMemory(&options); err != nil {
		return err
	} else if needed > a.device.each {
		return &cogvideox.Error{Code: cogvideox.ErrOutOfMemory, Message: "the clip takes more memory than this worker gives to one"}
	}
	show := newShow(a)
	options.Frames = show.frames
	if a.config.previews {
		options.Step = show.step
	}
	running, err := clone.Submit(ctx, options)
	if err != nil {
		return err
	}
	defer running.Close()
	tick := time.NewTicker(150 * time.Millisecond)
	defer tick.Stop()
	show.tell(running.Status())
	for ended := false; !ended; {
		select {
		case <-tick.C:
			show.tell(running.Status())
		case <-show.news:
			show.tell(running.Status())
		case <-running.Done():
			ended = true
		}
	}
	video, err := running.Video()
	if err != nil {
		return err
	}
	defer video.Close()
	show.tell(running.Status())
	return a.store(ctx, clone, video, running.Status().Elapsed, show.last())
}

func (a *attempt) image(ctx context.Context) (image.Image, error) {
	var data []byte
	err := persist(ctx, "reading the image", func(ctx context.Context) (err error) {
		data, err = a.client.results.GetBytes(ctx, a.order.Image)
		return err
	})
	if err != nil {
		return nil, err
	}
	picture, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, &cogvideox.Error{Code: cogvideox.ErrInvalidArgument, Message: "image: " + err.Error()}
	}
	return picture, nil
}

// store keeps the video, its metadata and the last preview, and then says in the record that the
// job is done. Objects are named by the attempt, so that two who store at once do not mix; the
// record decides which of them is the result, and the other takes its objects back.
func (a *attempt) store(ctx context.Context, clone *cogvideox.Pipeline, video *cogvideox.Video, took time.Duration, preview []byte) error {
	fps := clone.DefaultFPS()
	mp4, err := video.EncodeBytes(0, "mp4", fps)
	if err != nil {
		return err
	}
	stats, err := clone.CacheStats()
	if err != nil {
		return err
	}
	speedUp := stats.PredictedSpeedUp()
	stats.Close()
	sum := sha256.Sum256(mp4)
	name := a.order.ID + "." + a.claim
	r := &result{
		Video: name + ".mp4", Metadata: name + ".json", Bytes: len(mp4), SHA256: hex.EncodeToString(sum[:]),
		Width: video.Width(), Height: video.Height(), Frames: video.NumFrames(), FPS: fps,
		Seed: *a.order.Request.Seed, Seconds: took.Seconds(), SpeedUp: speedUp,
	}
	if preview != nil {
		r.Preview = name + ".jpg"
	}
	metadata, err := json.MarshalIndent(map[string]any{
		"id": a.order.ID, "request": a.order.Request, "result": r, "model": a.model, "worker": a.config.name,
		"device": a.device.state.Device, "library": cogvideox.Version(), "submitted": a.order.Submitted, "made": time.Now(),
	}, "", "  ")
	if err != nil {
		return err
	}
	kept := false
	defer func() {
		if !kept {
			a.remove(r)
		}
	}()
	for _, object := range []struct {
		name string
		data []byte
	}{{r.Video, mp4}, {r.Metadata, metadata}, {r.Preview, preview}} {
		if object.name == "" {
			continue
		}
		if err := persist(ctx, "storing a result", func(ctx context.Context) error {
			_, err := a.client.results.PutBytes(ctx, object.name, object.data)
			return err
		}); err != nil {
			return err
		}
	}
	j, err := a.client.jobs.change(ctx, a.order.ID, func(j *job) (*job, error) {
		switch {
		case j == nil:
			return nil, errLost
		case j.Claim == a.claim && j.State == done:
			return nil, errSame // an answer was lost
		case j.Claim != a.claim || j.State != running:
			return nil, errLost
		case j.Cancel:
			return nil, errCancelled
		}
		j.State, j.Ended, j.Result, j.Error = done, time.Now(), r, nil
		return j, nil
	})
	if err != nil {
		// If the answer is not known, the result may stand in the record: then it stays.
		kept = !errors.Is(err, errLost) && !errors.Is(err, errCancelled)
		return err
	}
	kept = true
	a.made.Add(1)
	a.mu.Lock()
	if a.usual == 0 {
		a.usual = took
	}
	a.usual += (took - a.usual) / 4
	a.mu.Unlock()
	a.metrics.made(j)
	return nil
}

// remove takes back what is not the result.
func (a *attempt) remove(r *result) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, name := range []string{r.Video, r.Metadata, r.Preview} {
		if name != "" {
			a.client.results.Delete(ctx, name) // what stays goes with its age
		}
	}
}

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

// pictureEvery is the least time between two previews.
const pictureEvery = 250 * time.Millisecond

// show tells every front how far a clip is, with a picture now and then. Callbacks of the library
// hand it what they have; one goroutine tells.
type show struct {
	*attempt
	news    chan struct{}
	newest  chan picture
	told    time.Time // touched by the library's thread alone
	current picture   // touched by the telling goroutine alone
	decoded []byte    // the last decoded frame
}

// picture is a preview on its way.
type picture struct {
	kind           string // "image/png" or "image/jpeg"
	data           []byte
	decoded, total int
}

func newShow(a *attempt) *show {
	return &show{attempt: a, news: make(chan struct{}, 1), newest: make(chan picture, 1)}
}

func (s *show) put(p picture) {
	select {
	case <-s.newest:
	default:
	}
	s.newest <- p
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// step is called after each denoising step: a preview is a linear map of the latents, and costs
// far less than a step.
func (s *show) step(step *cogvideox.StepEnd) error {
	if time.Since(s.told) < pictureEvery || step.Step+1 == step.NumSteps {
		return nil
	}
	videos, err := step.Preview()
	if err != nil {
		return nil // a clip without a preview is still a clip
	}
	frames := videos[0]
	var data bytes.Buffer
	if err := png.Encode(&data, frames[len(frames)/2]); err == nil {
		s.told = time.Now()
		s.put(picture{kind: "image/png", data: data.Bytes()})
	}
	return nil
}

// frames is called with frames as they are decoded.
func (s *show) frames(chunk *cogvideox.FrameChunk) error {
	frame, err := chunk.Image(chunk.NumFrames - 1)
	if err != nil {
		return err
	}
	var data bytes.Buffer
	if err := jpeg.Encode(&data, frame, &jpeg.Options{Quality: 80}); err != nil {
		return err
	}
	s.put(picture{"image/jpeg", data.Bytes(), chunk.FirstFrame + chunk.NumFrames, chunk.TotalFrames})
	return nil
}

// progress is what fronts hear of a clip.
type progress struct {
	ID       string  `json:"id"`
	Claim    string  `json:"claim"`
	Worker   string  `json:"worker"`
	Stage    string  `json:"stage"`
	Done     uint64  `json:"done"`
	Total    uint64  `json:"total"`
	Fraction float64 `json:"fraction"`
	Decoded  int     `json:"decoded,omitempty"` // frames
	Frames   int     `json:"frames,omitempty"`
	// Preview is the newest picture, as a data: address; "" if it is still the last one.
	Preview string `json:"preview,omitempty"`
}

func (s *show) tell(status cogvideox.JobStatus) {
	if status.Stage == 0 {
		return
	}
	p := progress{ID: s.order.ID, Claim: s.claim, Worker: s.config.name, Stage: status.Stage.String(),
		Done: status.Done, Total: status.Total, Fraction: status.Fraction}
	select {
	case s.current = <-s.newest:
		p.Preview = dataAddress(s.current.kind, s.current.data)
		if s.current.kind == "image/jpeg" {
			s.decoded = s.current.data
		}
	default:
	}
	p.Decoded, p.Frames = s.current.decoded, s.current.total
	if text, err := json.Marshal(p); err == nil {
		s.client.nc.Publish(progressSubject+p.ID, text)
	}
}

// last is the last frame that was decoded, as a JPEG.
func (s *show) last() []byte { return s.decoded }
