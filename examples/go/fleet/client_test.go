package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// fronts is a client of some fronts. It asks the next where one does not answer, as a client of a
// fleet should.
type fronts struct {
	t     *testing.T
	key   string
	mu    sync.Mutex
	bases []string
}

func (f *fronts) base(n int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bases[n%len(f.bases)]
}

// ask sends one request to one front.
func (f *fronts) ask(n int, method, path, idempotency string, body any) (*http.Response, []byte, error) {
	var text io.Reader
	if s, ok := body.(string); ok {
		text = strings.NewReader(s)
	} else if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, nil, err
		}
		text = bytes.NewReader(data)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, f.base(n)+path, text)
	if err != nil {
		return nil, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	if idempotency != "" {
		r.Header.Set("Idempotency-Key", idempotency)
	}
	if f.key != "" {
		r.Header.Set("Authorization", "Bearer "+f.key)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return response, data, err
}

// get asks the first front for JSON.
func get[T any](f *fronts, path string) (value T) {
	f.t.Helper()
	response, data, err := f.ask(0, "GET", path, "", nil)
	if err != nil {
		f.t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		f.t.Fatalf("%s: %v %s", path, response.Status, data)
	}
	if err := json.Unmarshal(data, &value); err != nil {
		f.t.Fatalf("%s: %v: %s", path, err, data)
	}
	return value
}

// submit submits a request that must be accepted, at whichever front answers.
func (f *fronts) submit(idempotency string, q any) *jobView {
	f.t.Helper()
	for n, end := 0, time.Now().Add(patient); ; n++ {
		response, data, err := f.ask(n, "POST", "/jobs", idempotency, q)
		if err == nil && (response.StatusCode == http.StatusAccepted || response.StatusCode == http.StatusOK) {
			v := new(jobView)
			if err := json.Unmarshal(data, v); err != nil {
				f.t.Fatal(err)
			}
			return v
		}
		if err == nil && response.StatusCode != http.StatusServiceUnavailable {
			f.t.Fatalf("submitting: %v %s", response.Status, data)
		}
		if time.Now().After(end) {
			f.t.Fatalf("submitting: %v %s", err, data)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// refused submits a request that must be refused so.
func (f *fronts) refused(q any, status int, word string) *http.Response {
	f.t.Helper()
	response, data, err := f.ask(0, "POST", "/jobs", "", q)
	if err != nil {
		f.t.Fatal(err)
	}
	if response.StatusCode != status || !strings.Contains(string(data), word) {
		f.t.Errorf("expected %d and %q, found %v %s", status, word, response.Status, data)
	}
	return response
}

// job is the newest of a job, from a front that answers.
func (f *fronts) job(id string) *jobView {
	f.t.Helper()
	for n, end := 0, time.Now().Add(patient); ; n++ {
		response, data, err := f.ask(n, "GET", "/jobs/"+id, "", nil)
		if err == nil && response.StatusCode == http.StatusOK {
			v := new(jobView)
			if err := json.Unmarshal(data, v); err != nil {
				f.t.Fatal(err)
			}
			return v
		}
		if time.Now().After(end) || (err == nil && response.StatusCode != http.StatusServiceUnavailable) {
			f.t.Fatalf("job %s: %v %s", id, err, data)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// state waits until a job has come to a state.
func (f *fronts) state(id string, wanted state) (v *jobView) {
	f.t.Helper()
	until(f.t, "job "+id+" is "+string(wanted), func() bool {
		v = f.job(id)
		if v.State.ended() && v.State != wanted {
			f.t.Fatalf("job %s is %s: %+v", id, v.State, v.Error)
		}
		return v.State == wanted
	})
	return v
}

// cancel cancels a job at front n.
func (f *fronts) cancel(n int, id string) {
	f.t.Helper()
	if response, data, err := f.ask(n, "DELETE", "/jobs/"+id, "", nil); err != nil || response.StatusCode != http.StatusOK {
		f.t.Fatalf("cancelling: %v %s", err, data)
	}
}

// stream reads the events of a job at front n until it has ended, or the front is gone.
func (f *fronts) stream(n int, path string, see func(name string, data []byte)) error {
	r, err := http.NewRequest("GET", f.base(n)+path, nil)
	if err != nil {
		return err
	}
	if f.key != "" {
		r.Header.Set("Authorization", "Bearer "+f.key)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %v", path, response.Status)
	}
	return eachEvent(response.Body, see)
}

// eachEvent reads server-sent events.
func eachEvent(body io.Reader, see func(name string, data []byte)) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 4<<20)
	name := ""
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			name = text
		} else if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			see(name, []byte(text))
		}
	}
	return lines.Err()
}

// asked is a request of the tests: few steps, and a seed.
type asked map[string]any

func clip(steps int, seed int) asked {
	return asked{"prompt": "a red ball moves right on a black background", "steps": steps, "seed": seed}
}

// lasting is seen while it runs: it takes a second or two on a machine that is not busy.
func lasting(seed int) asked {
	q := clip(30, seed)
	q["frames"] = 129
	return q
}

// long lasts some seconds also on a machine that is not busy.
func long() asked {
	q := clip(100, 1)
	q["frames"] = 129
	return q
}
