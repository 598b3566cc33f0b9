package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// What is accepted outlives everything there is: the one process of a fleet on one machine is
// killed, and begun again over the same folder.
func TestKilledAndBegunAgain(t *testing.T) {
	t.Parallel()
	store := t.TempDir()
	program, f := all(t, "-store", store, "-ack-wait", "1s")
	var ids []string
	for i := range 5 {
		ids = append(ids, f.submit("", clip(4, i)).ID)
	}
	last := f.submit("", clip(30, 7)).ID
	f.state(ids[1], done)
	program.kill()
	address := free(t)
	program, f = all(t, "-store", store, "-ack-wait", "1s", "-server-listen", address)
	for _, id := range append(ids, last) {
		f.state(id, done)
	}
	times, videos := books(t, inside(t, "nats://"+address))
	for _, id := range append(ids, last) {
		if times[id] != 1 || videos[id] != 1 {
			t.Errorf("job %s was done %d times, with %d videos", id, times[id], videos[id])
		}
	}
	// And SIGTERM ends all of it in order.
	program.signal(syscall.SIGTERM)
	program.endsWell(patient)
}

// Results and records go when they have reached their age.
func TestAge(t *testing.T) {
	t.Parallel()
	_, f := all(t, "-store", t.TempDir(), "-keep", "8s")
	v := f.state(f.submit("", clip(2, 1)).ID, done)
	if response, data, err := f.ask(0, "GET", "/"+v.Video, "", nil); err != nil || response.StatusCode != http.StatusOK || len(data) != v.Result.Bytes {
		t.Errorf("the video: %v %v", response, err)
	}
	until(t, "the result is gone", func() bool {
		response, _, err := f.ask(0, "GET", "/"+v.Video, "", nil)
		return err == nil && (response.StatusCode == http.StatusGone || response.StatusCode == http.StatusNotFound)
	})
}

// rig is one server and one front, and workers as a test wants them.
type rig struct {
	*fronts
	addresses string
	front     *process
	server    *process
}

func newRig(t *testing.T, args ...string) *rig {
	t.Helper()
	r := &rig{fronts: &fronts{t: t}}
	address, http := free(t), free(t)
	r.addresses = "nats://" + address
	r.server = begin(t, "server", "server", "-server-listen", address, "-store", t.TempDir())
	r.front = begin(t, "front", append([]string{"front", "-nats", r.addresses, "-listen", http}, args...)...)
	r.bases = []string{"http://" + http}
	return r
}

// worker starts a worker and waits until the front knows it.
func (r *rig) worker(name string, args ...string) *process {
	r.t.Helper()
	p := begin(r.t, name, append([]string{"worker", "-name", name, "-nats", r.addresses, "-model", demo, "-device", "cpu", "-threads", "1",
		"-ack-wait", "1s", "-attempts", "2"}, args...)...)
	until(r.t, name+" begins", func() bool {
		_, data, err := r.ask(0, "GET", "/fleet", "", nil)
		return err == nil && strings.Contains(string(data), `"name":"`+name+`"`)
	})
	return p
}

func TestOneServer(t *testing.T) {
	r := newRig(t, "-queue", "10000", "-queue-per-key", "10000")
	part := func(run func(*testing.T, *rig)) func(*testing.T) {
		return func(t *testing.T) { run(t, &rig{&fronts{t: t, bases: r.bases}, r.addresses, r.front, r.server}) }
	}
	until(t, "the front begins", func() bool {
		response, _, err := r.ask(0, "GET", "/healthz", "", nil)
		return err == nil && response.StatusCode == http.StatusOK
	})
	r.refused(clip(2, 1), http.StatusServiceUnavailable, "NO_WORKER")
	t.Run("load", part(load))
	t.Run("drain", part(drain))
	t.Run("capabilities", part(capabilities))
	t.Run("dead letters", part(deadLetters))
	t.Run("the service's interface", part(videos))
}

// load measures what the README tells: how soon an idle fleet begins, and how many requests a
// front takes. FLEET_LOAD is how many; few by default.
func load(t *testing.T, r *rig) {
	w := r.worker("idle")
	n := howMany()
	var waits []time.Duration
	for i := range 5 + n/100 {
		v := r.state(r.submit("", clip(1, i)).ID, done)
		waits = append(waits, v.Started.Sub(v.Submitted))
		until(t, "the worker is idle", func() bool { return get[fleetView](r.fronts, "/fleet").States[running] == 0 })
	}
	slices.Sort(waits)
	w.signal(syscall.SIGTERM)
	w.endsWell(patient)
	// Nobody works now, so that it is the front alone that is measured, and the server.
	rate := submitMany(t, r.fronts, r.addresses, n, r.front, r.server)
	t.Logf("%s; from submit to start when idle: median %v, all up to %v (%d)",
		rate, waits[len(waits)/2].Round(100*time.Microsecond), waits[len(waits)-1].Round(100*time.Microsecond), len(waits))
	if waits[len(waits)/2] > 2*time.Second {
		t.Errorf("an idle worker began after %v", waits)
	}
}

// submitMany submits n requests while nobody works, by 8 clients at once, and tells how many were
// taken in a second, and what they cost the front and the servers; then it cancels them, after which
// the queue is empty.
func submitMany(t *testing.T, f *fronts, addresses string, n int, front *process, servers ...*process) string {
	t.Helper()
	many := func(do func(int)) {
		next := make(chan int)
		var clients sync.WaitGroup
		for range 8 {
			clients.Go(func() {
				for i := range next {
					do(i)
				}
			})
		}
		for i := range n {
			next <- i
		}
		close(next)
		clients.Wait()
	}
	ids := make([]string, n)
	times := func() (ofFront, ofServers time.Duration) {
		for _, s := range servers {
			ofServers += s.processorTime()
		}
		return front.processorTime(), ofServers
	}
	frontBefore, serversBefore := times()
	began := time.Now()
	many(func(i int) { ids[i] = f.submit("", clip(2, i)).ID })
	took := time.Since(began)
	frontAfter, serversAfter := times()
	until(t, "all of them are shown to wait", func() bool { return get[fleetView](f, "/fleet").States[queued] == n })
	many(func(i int) { f.cancel(0, ids[i]) })
	until(t, "the queue is empty", func() bool {
		once, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		stream, err := inside(t, addresses).js.Stream(once, workStream)
		return err == nil && stream.CachedInfo().State.Msgs == 0
	})
	each := func(d time.Duration) time.Duration { return (d / time.Duration(n)).Round(time.Microsecond) }
	return fmt.Sprintf("%.0f requests a second (%d, 8 clients at once), processor time for each: front %v, servers %v",
		float64(n)/took.Seconds(), n, each(frontAfter-frontBefore), each(serversAfter-serversBefore))
}

// howMany requests load is measured with: few, unless FLEET_LOAD says otherwise.
func howMany() int {
	n := 200
	if text := os.Getenv("FLEET_LOAD"); text != "" {
		fmt.Sscan(text, &n)
	}
	return n
}

// On SIGTERM a worker takes no more; what it makes comes to its end in the grace period, or is
// given back at once, which does not count as a failure.
func drain(t *testing.T, r *rig) {
	w := r.worker("patient")
	running1 := r.submit("", lasting(1))
	r.state(running1.ID, running)
	waiting := r.submit("", clip(2, 2)) // of another size: it might have been the first otherwise
	w.signal(syscall.SIGTERM)
	w.endsWell(patient)
	if v := r.job(running1.ID); v.State != done || v.Attempts != 1 || v.Worker != "patient" {
		t.Errorf("what ran is %+v", v)
	}
	if v := r.job(waiting.ID); v.State != queued {
		t.Errorf("what waited is %s", v.State)
	}
	w = r.worker("hasty", "-grace", "0s")
	r.state(waiting.ID, done)
	given := r.submit("", lasting(3))
	r.state(given.ID, running)
	w.signal(syscall.SIGTERM)
	w.endsWell(patient)
	if v := r.job(given.ID); v.State != queued || v.Attempts != 0 {
		t.Errorf("what was given back is %+v", v)
	}
	w = r.worker("next")
	if v := r.state(given.ID, done); v.Attempts != 1 || v.Worker != "next" {
		t.Errorf("what was given back became %+v", v)
	}
	w.signal(syscall.SIGTERM)
	w.endsWell(patient)
}

// Workers get what they can do: by memory, by model, by task.
func capabilities(t *testing.T, r *rig) {
	// So much that the model's own video fits, and one eight times as large does not.
	small := r.worker("small", "-memory", "0.08")
	for _, w := range get[fleetView](r.fronts, "/fleet").Workers {
		if w.Name == "small" && (w.Devices[0].Sizes[0] != 1 || slices.Contains(w.Devices[0].Sizes, 8)) {
			t.Fatalf("with 0.08 GiB it takes %v", w.Devices[0].Sizes)
		}
	}
	q := clip(2, 1)
	q["frames"] = 129
	large := r.submit("", q)
	if large.Size != 8 {
		t.Fatalf("found the size %d", large.Size)
	}
	for i := range 3 {
		if v := r.state(r.submit("", clip(2, i)).ID, done); v.Worker != "small" {
			t.Errorf("made by %s", v.Worker)
		}
	}
	if v := r.job(large.ID); v.State != queued {
		t.Errorf("a worker without the memory for it took it: %s on %s", v.State, v.Worker)
	}
	// Another model, for another task, with an image.
	other := r.worker("other", "-model", "../../../tests/pipelines/5b-i2v", "-model-name", "animate")
	png := asked{"prompt": "the cat yawns", "steps": 2, "seed": 1, "image": blankPNG}
	if v := r.state(r.submit("", png).ID, done); v.Worker != "other" || v.Model != "animate" || v.Task != "i2v" {
		t.Errorf("made by %s: %s %s", v.Worker, v.Model, v.Task)
	}
	r.refused(asked{"prompt": "x", "model": "animate"}, http.StatusBadRequest, "for the task t2v")
	if v := r.job(large.ID); v.State != queued {
		t.Errorf("a worker with another model took it: %s on %s", v.State, v.Worker)
	}
	big := r.worker("big", "-memory", "8")
	if v := r.state(large.ID, done); v.Worker != "big" || v.Result.Frames != 129 {
		t.Errorf("made by %s, %d frames", v.Worker, v.Result.Frames)
	}
	for _, w := range []*process{small, other, big} {
		w.signal(syscall.SIGTERM)
		w.endsWell(patient)
	}
}

// A request whose workers die of it becomes a dead letter, is shown, and can be tried again.
func deadLetters(t *testing.T, r *rig) {
	j := r.submit("", clip(50, 5))
	for n := range 2 {
		w := r.worker(fmt.Sprintf("victim-%d", n))
		until(t, "it is begun", func() bool { v := r.job(j.ID); return v.State == running && v.Attempts == n+1 })
		w.kill()
	}
	w := r.worker("survivor")
	v := r.state(j.ID, dead)
	if v.Attempts != 2 || v.Error.Code != "WORKER_DIED" {
		t.Errorf("found %+v", v)
	}
	type letters struct{ Dead []job }
	if found := get[letters](r.fronts, "/dead").Dead; len(found) != 1 || found[0].ID != j.ID || found[0].Request.Steps != 50 {
		t.Errorf("found %+v", found)
	}
	metricsHave(t, r.fronts, `fleet_jobs{state="dead"} 1`)
	if response, data, err := r.ask(0, "POST", "/jobs/"+j.ID+"/retry", "", nil); err != nil || response.StatusCode != http.StatusAccepted {
		t.Fatalf("trying again: %v %s", err, data)
	}
	until(t, "it is done after all", func() bool { return r.job(j.ID).State == done })
	if found := get[letters](r.fronts, "/dead").Dead; len(found) != 0 {
		t.Errorf("the letter is still there: %+v", found)
	}
	if response, _, err := r.ask(0, "POST", "/jobs/"+j.ID+"/retry", "", nil); err != nil || response.StatusCode != http.StatusConflict {
		t.Errorf("trying again what is done: %v", response)
	}
	w.signal(syscall.SIGTERM)
	w.endsWell(patient)
}

// POST /videos is that of examples/go/service: events, and who leaves cancels; unless they said by a
// key that they will come back. In the end the front goes in order.
func videos(t *testing.T, r *rig) {
	w := r.worker("last")
	post := func(key string, q asked, see func(name string, data map[string]any, leave func())) {
		t.Helper()
		body, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		ctx, leave := context.WithTimeout(context.Background(), patient)
		defer leave()
		request, err := http.NewRequestWithContext(ctx, "POST", r.base(0)+"/videos", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Idempotency-Key", key)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("found %v", response)
		}
		eachEvent(response.Body, func(name string, data []byte) {
			var values map[string]any
			if err := json.Unmarshal(data, &values); err != nil {
				t.Error(err)
			}
			see(name, values, leave)
		})
	}
	// A whole one.
	var names []string
	var last map[string]any
	post("", clip(20, 1), func(name string, data map[string]any, _ func()) {
		if len(names) == 0 || names[len(names)-1] != name {
			names = append(names, name)
		}
		last = data
	})
	if names[0] != "accepted" || names[len(names)-1] != "done" || !slices.Contains(names, "progress") || !slices.Contains(names, "frames") {
		t.Errorf("found the events %v", names)
	}
	if last["frames"] != 17.0 || last["width"] != 64.0 || last["seed"] != 1.0 {
		t.Errorf("found %v", last)
	}
	if response, data, err := r.ask(0, "GET", fmt.Sprintf("/%s", last["mp4"]), "", nil); err != nil || response.StatusCode != http.StatusOK || !strings.Contains(string(data[:16]), "ftyp") {
		t.Errorf("the video: %v %v", response, err)
	}
	// One who leaves.
	id := ""
	post("", long(), func(name string, data map[string]any, leave func()) {
		if name == "accepted" {
			id = data["id"].(string)
		} else if name == "progress" {
			leave()
		}
	})
	r.state(id, cancelled)
	// One who leaves and comes back.
	var ids []string
	for range 2 {
		post("I come back", clip(30, 2), func(name string, data map[string]any, leave func()) {
			if name == "accepted" {
				ids = append(ids, data["id"].(string))
			}
			if name == "progress" && len(ids) == 1 {
				leave()
			}
			if name == "error" {
				t.Errorf("found %v", data)
			}
		})
	}
	if len(ids) != 2 || ids[0] != ids[1] || r.job(ids[0]).State != done {
		t.Errorf("found the jobs %v", ids)
	}
	// A page of another site gets nothing done.
	request, err := http.NewRequest("DELETE", r.base(0)+"/jobs/"+ids[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Origin", "https://example.com")
	if response, err := http.DefaultClient.Do(request); err != nil || response.StatusCode != http.StatusForbidden {
		t.Errorf("from another site: %v %v", response, err)
	}
	// The front ends in order, and tells who listens.
	j := r.submit("", long())
	r.state(j.ID, running)
	moved := make(chan bool, 1)
	began := make(chan struct{})
	go func() {
		told, first := false, true
		r.stream(0, "/jobs/"+j.ID+"/events", func(name string, _ []byte) {
			if first {
				close(began)
			}
			first = false
			told = told || name == "moved"
		})
		moved <- told
	}()
	<-began
	r.front.signal(syscall.SIGTERM)
	r.front.endsWell(patient)
	if !<-moved {
		t.Error("who listens was not told that the front ends")
	}
	w.kill()
}

// blankPNG is a small picture, in base64.
const blankPNG = "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAIAAACQkWg2AAABlklEQVR42g3LQQEAIQgAQSMYgQhGMILvfRHBCEYwAhGIYAQiEIEId/Of1hq9IY3RmI3V0MZunMZtWMMbrxGNbFSjtU7vSGd0Zmd1tLM7p3M71vHO60QnO9X/IHRBhCFMYQkqbOEIVzDBhSeEkELJHwZ9IIMxmIM10MEenMEd2MAHbxCDHNT4w6RPZDImc7ImOtmTM7kTm/jkTWKSk5p/WPSFLMZiLtZCF3txFndhC1+8RSxyUesPSldEGcpUlqLKVo5yFVNceUooqZT+YdM3shmbuVkb3ezN2dyNbXzzNrHJTe0/HPpBDuMwD+ugh304h3uwgx/eIQ55qPOHS7/IZVzmZV30si/nci928cu7xCUvdf9gdEOMYUxjGWps4xjXMMONZ4SRRtkfnO6IM5zpLEed7RznOua485xw0in/w6M/5DEe87Ee+tiP87gPe/jjPeKRj3p/CHogwQhmsAINdnCCG1jgwQsiyKDiD0lPJBnJTFaiyU5OchNLPHlJJJlU/qHohRSjmMUqtNjFKW5hhReviCKLKj56nEoQ6ZfykgAAAABJRU5ErkJggg=="
