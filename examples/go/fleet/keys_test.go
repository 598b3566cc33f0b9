package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func sumOf(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

func writeKeys(t *testing.T, path string, keys ...apiKey) {
	t.Helper()
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Keys, the limits of each, the bounded queue, and what is wrong with requests: all in one fleet.
func TestKeysAndLimits(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys.json")
	alice := apiKey{Name: "alice", SHA256: sumOf("a"), MaxSteps: 1000}
	bob := apiKey{Name: "bob", SHA256: sumOf("b"), MaxPixels: 64 * 64 * 9, MaxSteps: 5, MaxJobs: 2}
	root := apiKey{Name: "root", SHA256: sumOf("r"), Admin: true}
	writeKeys(t, path, alice, bob, root)
	program, f := all(t, "-keys", path, "-store", t.TempDir(), "-queue", "5", "-queue-per-key", "2")
	as := func(key string) *fronts { return &fronts{t: t, key: key, bases: f.bases} }
	a, b, r := as("a"), as("b"), as("r")

	// Who may ask.
	f.refused(clip(2, 1), http.StatusUnauthorized, "UNAUTHORIZED")
	as("guess").refused(clip(2, 1), http.StatusUnauthorized, "not known")
	for _, place := range []string{"/jobs", "/fleet", "/events", "/dead"} {
		if response, _, err := f.ask(0, "GET", place, "", nil); err != nil || response.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s without a key: %v %v", place, response, err)
		}
	}

	// What each may ask for.
	b.refused(clip(6, 1), http.StatusBadRequest, "expected 1 to 5, found 6")
	b.refused(clip(2, 1), http.StatusBadRequest, "expected at most 36864 pixels")
	for name, c := range map[string]struct {
		body   any
		status int
		word   string
	}{
		"no JSON":       {"prompt", 400, "body"},
		"two objects":   {`{"prompt": "x"}{}`, 400, "more than one"},
		"unknown field": {`{"prompt": "x", "promt": 1}`, 400, "promt"},
		"not for hosts": {`{"prompt": "x", "image_object": "y"}`, 400, "image_object"},
		"no prompt":     {asked{"prompt": "  "}, 400, "prompt"},
		"NUL":           {asked{"prompt": "a\x00b"}, 400, "NUL"},
		"size":          {asked{"prompt": "x", "width": 33, "height": 32}, 400, "33"},
		"half a size":   {asked{"prompt": "x", "width": 32}, 400, "both"},
		"memory":        {asked{"prompt": "x", "width": 1024, "height": 1024}, 400, "no worker has had memory"},
		"steps":         {asked{"prompt": "x", "steps": 1001}, 400, "1001"},
		"technique":     {asked{"prompt": "x", "cache": asked{"technique": "teacache"}}, 400, "teacache"},
		"model":         {asked{"prompt": "x", "model": "other"}, 400, "demo-model"},
		"task":          {asked{"prompt": "x", "image": "R0lGODlhAQABAAAAACw="}, 400, "PNG or JPEG"},
		"large":         {asked{"prompt": strings.Repeat("x", 5<<20)}, 413, "4194304"},
	} {
		t.Run(name, func(t *testing.T) {
			part := as("a")
			part.t = t
			part.refused(c.body, c.status, c.word)
		})
	}

	// What the model alone can find wrong fails when it is tried, with the library's words, once.
	wrong := a.submit("", asked{"prompt": "x", "width": 24, "height": 24, "steps": 2})
	if v := a.state(wrong.ID, failed); v.Error.Code != "INVALID_ARGUMENT" || !strings.Contains(v.Error.Message, "24") || v.Attempts != 1 {
		t.Errorf("found %+v", v.Error)
	}

	// The queue: 2 for a key and kind, 5 for all; what runs counts.
	first := a.submit("", long())
	a.state(first.ID, running)
	second, third := a.submit("one", clip(2, 2)), a.submit("", clip(2, 3))
	full := a.refused(clip(2, 4), http.StatusTooManyRequests, "QUEUE_FULL")
	if after := full.Header.Get("Retry-After"); after == "" || after == "0" {
		t.Errorf("found Retry-After %q", after)
	}
	if v := a.submit("one", clip(2, 2)); v.ID != second.ID {
		t.Error("a request that is there already is not told so while the queue is full")
	}
	small := asked{"prompt": "x", "steps": 2, "frames": 9, "seed": 4}
	fourth, fifth := b.submit("", small), b.submit("", small)
	// A front knows of a record when the servers have told it, as it may be another's.
	type list struct{ Jobs []jobView }
	until(t, "the front knows of bob's jobs", func() bool { return len(get[list](b, "/jobs").Jobs) == 2 })
	b.refused(small, http.StatusTooManyRequests, "the key \\\"bob\\\" has 2 jobs")
	r.refused(clip(2, 5), http.StatusTooManyRequests, "the queue is full")
	if v := a.job(third.ID); v.State != queued || *v.Ahead != 1 {
		t.Errorf("found %v, ahead %v", v.State, v.Ahead)
	}

	// Nobody sees or cancels another's; who administrates does.
	if response, _, _ := b.ask(0, "GET", "/jobs/"+first.ID, "", nil); response.StatusCode != http.StatusNotFound {
		t.Errorf("bob sees alice's job: %v", response.Status)
	}
	if response, _, _ := b.ask(0, "DELETE", "/jobs/"+first.ID, "", nil); response.StatusCode != http.StatusNotFound {
		t.Errorf("bob cancels alice's job: %v", response.Status)
	}
	if found := get[list](r, "/jobs").Jobs; len(found) != 6 {
		t.Errorf("root sees %d jobs", len(found))
	}

	// One that waits and is cancelled leaves room at once.
	a.cancel(0, third.ID)
	a.state(third.ID, cancelled)
	room := r.submit("", clip(2, 6))
	a.cancel(0, first.ID)
	for _, id := range []string{second.ID, room.ID, fourth.ID, fifth.ID} {
		r.state(id, done)
	}
	metricsHave(t, f,
		`fleet_jobs{state="done"} 4`, `fleet_jobs{state="cancelled"} 2`, `fleet_jobs{state="failed"} 1`,
		`fleet_jobs_ended_total{model="demo-model",state="done"} 4`, `fleet_jobs_ended_total{model="demo-model",state="failed"} 1`,
		`fleet_queue_length{model="demo-model",size="x1",task="t2v"} 0`, `fleet_jobs{state="running"} 0`,
		`fleet_seconds_per_clip_count 4`, `fleet_seconds_to_start_count 6`, `fleet_submissions_total{status="429"} 3`,
		`fleet_workers{model="demo-model",task="t2v"} 1`)

	// The keys are read again on SIGHUP; a file with a mistake changes nothing.
	if err := os.WriteFile(path, []byte(`{"keys": [{"name": "x", "sha256": "short"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	program.signal(syscall.SIGHUP)
	writeKeys(t, path, root)
	program.signal(syscall.SIGHUP)
	until(t, "alice's key is gone", func() bool {
		response, _, err := a.ask(0, "GET", "/jobs", "", nil)
		return err == nil && response.StatusCode == http.StatusUnauthorized
	})
	get[list](r, "/jobs")
}

// metricsHave waits until the metrics have each of some lines.
func metricsHave(t *testing.T, f *fronts, lines ...string) {
	t.Helper()
	text := ""
	for _, line := range lines {
		until(t, "the metrics have "+line, func() bool {
			_, data, err := f.ask(0, "GET", "/metrics", "", nil)
			text = string(data)
			return err == nil && strings.Contains(text, line+"\n")
		})
	}
}
