package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"cogvideox"
)

const tiny = "../../../tests/pipelines/2b"

// settings are those of the tests: a tiny random model, and steps enough for runs that last.
func settings() config {
	return config{listen: "127.0.0.1:0", model: tiny, device: "cpu", example: "a red ball",
		atOnce: 2, queue: 2, keep: 4, maxSteps: 1000, grace: 20 * time.Second}
}

// short is a request for the smallest video; long lasts until it is stopped.
const (
	short = `{"prompt": "a red ball", "seed": 7, "steps": 4, "width": 32, "height": 32, "frames": 9, "cache": {"technique": "pab"}}`
	long  = `{"prompt": "a red ball", "seed": 7, "steps": 1000, "width": 96, "height": 64, "frames": 9}`
)

func start(t *testing.T, c config) (*httptest.Server, *service) {
	t.Helper()
	pipeline, err := cogvideox.Load(context.Background(), c.model, &cogvideox.LoadOptions{Device: c.device})
	if err != nil {
		t.Fatal(err)
	}
	s, err := newService(pipeline, c)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s.handler())
	t.Cleanup(func() {
		server.Close()
		s.close()
		pipeline.Close()
	})
	return server, s
}

// stream is the answer of a POST, read event by event.
type stream struct {
	t        *testing.T
	response *http.Response
	lines    *bufio.Scanner
	leave    context.CancelFunc
}

func post(t *testing.T, base, body string) *stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	request, err := http.NewRequestWithContext(ctx, "POST", base+"/videos", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		response.Body.Close()
	})
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	return &stream{t, response, lines, cancel}
}

// next is the next event; "" at the end.
func (s *stream) next() (name string, data map[string]any) {
	s.t.Helper()
	for s.lines.Scan() {
		line := s.lines.Text()
		if text, ok := strings.CutPrefix(line, "event: "); ok {
			name = text
		} else if text, ok := strings.CutPrefix(line, "data: "); ok {
			if err := json.Unmarshal([]byte(text), &data); err != nil {
				s.t.Fatal(err)
			}
		} else if line == "" && name != "" {
			return name, data
		}
	}
	return "", nil
}

// until reads up to the first event of a name.
func (s *stream) until(name string) map[string]any {
	s.t.Helper()
	for {
		found, data := s.next()
		if found == name {
			return data
		}
		if found == "" || found == "error" {
			s.t.Fatalf("expected an event %q, found %q %v (%v)", name, found, data, s.lines.Err())
		}
	}
}

func get(t *testing.T, address string) (*http.Response, []byte) {
	t.Helper()
	response, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, body
}

// counted waits until so many run and wait.
func counted(t *testing.T, base string, running, waiting int) {
	t.Helper()
	var health map[string]int
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		_, body := get(t, base+"/healthz")
		if err := json.Unmarshal(body, &health); err != nil {
			t.Fatal(err)
		}
		if health["running"] == running && health["waiting"] == waiting {
			return
		}
	}
	t.Fatalf("expected %d running and %d waiting, found %v", running, waiting, health)
}

func TestVideo(t *testing.T) {
	server, _ := start(t, settings())
	var gifs [][]byte
	for range 2 {
		s := post(t, server.URL, short)
		if s.response.StatusCode != 200 || s.response.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("found %v", s.response)
		}
		fraction, decoded := 0.0, 0.0
		var done map[string]any
		for done == nil {
			name, data := s.next()
			switch name {
			case "progress":
				if data["fraction"].(float64) < fraction {
					t.Errorf("fraction %v after %v", data, fraction)
				}
				fraction = data["fraction"].(float64)
			case "frames":
				if data["decoded"].(float64) <= decoded || data["total"].(float64) != 9 ||
					!strings.HasPrefix(data["preview"].(string), "data:image/jpeg;base64,") {
					t.Errorf("after %v found %v", decoded, data)
				}
				decoded = data["decoded"].(float64)
			case "done":
				done = data
			default:
				t.Fatalf("event %q %v", name, data)
			}
		}
		if decoded != 9 || fraction != 1 {
			t.Errorf("%v frames, fraction %v", decoded, fraction)
		}
		if done["frames"] != 9.0 || done["width"] != 32.0 || done["height"] != 32.0 || done["seed"] != 7.0 ||
			done["seconds"].(float64) <= 0 || done["fps"] != 8.0 || done["speed_up"].(float64) < 1 {
			t.Errorf("found %v", done)
		}
		if name, _ := s.next(); name != "" {
			t.Errorf("event %q after the last", name)
		}
		response, mp4 := get(t, server.URL+"/"+done["mp4"].(string))
		if response.Header.Get("Content-Type") != "video/mp4" || !bytes.Contains(mp4[:16], []byte("ftyp")) {
			t.Errorf("no video: %v", response)
		}
		response, gif := get(t, server.URL+"/"+done["gif"].(string))
		if response.Header.Get("Content-Type") != "image/gif" || !bytes.HasPrefix(gif, []byte("GIF89a")) {
			t.Errorf("no picture: %v", response)
		}
		gifs = append(gifs, gif)
	}
	if !bytes.Equal(gifs[0], gifs[1]) {
		t.Error("the same request made another video")
	}
	// Without a cache the video is another one, so the technique was used above.
	done := post(t, server.URL, strings.Replace(short, "pab", "none", 1)).until("done")
	if _, gif := get(t, server.URL+"/"+done["gif"].(string)); bytes.Equal(gif, gifs[0]) && done["speed_up"] != 1.0 {
		t.Errorf("found %v", done)
	}
	counted(t, server.URL, 0, 0)
}

func TestBadRequests(t *testing.T) {
	server, _ := start(t, settings())
	for name, c := range map[string]struct {
		body   string
		status int
		word   string
	}{
		"no JSON":         {"prompt", 400, "body"},
		"two objects":     {short + short, 400, "body"},
		"unknown field":   {`{"prompt": "x", "promt": 1}`, 400, "promt"},
		"no prompt":       {`{"prompt": "  "}`, 400, "prompt"},
		"size":            {`{"prompt": "x", "width": 33, "height": 32}`, 400, "33"},
		"patches":         {`{"prompt": "x", "width": 24, "height": 24}`, 400, "24"},
		"too many pixels": {`{"prompt": "x", "width": 1024, "height": 1024}`, 400, "pixels"},
		"steps":           {`{"prompt": "x", "steps": 1001}`, 400, "1001"},
		"negative steps":  {`{"prompt": "x", "steps": -1}`, 400, "-1"},
		"guidance":        {`{"prompt": "x", "guidance": 1e9}`, 400, "guidance"},
		"technique":       {`{"prompt": "x", "cache": {"technique": "teacache"}}`, 400, "teacache"},
		"preset":          {`{"prompt": "x", "cache": {"technique": "pab", "preset": "official"}}`, 400, "official"},
		"NUL":             {`{"prompt": "a\u0000b"}`, 400, "NUL"},
		"large":           {`{"prompt": "` + strings.Repeat("x", 70000) + `"}`, 413, "64 KiB"},
	} {
		t.Run(name, func(t *testing.T) {
			s := post(t, server.URL, c.body)
			var answer struct {
				Error struct{ Code, Message string }
			}
			if err := json.NewDecoder(s.response.Body).Decode(&answer); err != nil {
				t.Fatal(err)
			}
			if s.response.StatusCode != c.status || !strings.Contains(answer.Error.Message, c.word) ||
				answer.Error.Code != "INVALID_ARGUMENT" {
				t.Errorf("found %d %+v", s.response.StatusCode, answer)
			}
		})
	}
	response, err := http.Post(server.URL+"/videos", "text/plain", strings.NewReader(short))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("found %v", response.Status)
	}
	for _, path := range []string{"/videos/NOSUCH.mp4", "/videos/..%2fservice.go", "/nothing"} {
		if response, _ := get(t, server.URL+path); response.StatusCode != 404 {
			t.Errorf("%s: found %v", path, response.Status)
		}
	}
	if response, _ := get(t, server.URL+"/videos"); response.StatusCode != 405 && response.StatusCode != 404 {
		t.Errorf("found %v", response.Status)
	}
	counted(t, server.URL, 0, 0)
}

func TestQueueIsBounded(t *testing.T) {
	c := settings()
	c.atOnce, c.queue = 1, 2
	server, _ := start(t, c)
	first := post(t, server.URL, long)
	first.until("progress")
	second := post(t, server.URL, short)
	if data := second.until("queued"); data["ahead"] != 0.0 {
		t.Errorf("found %v", data)
	}
	third := post(t, server.URL, short)
	if data := third.until("queued"); data["ahead"] != 1.0 {
		t.Errorf("found %v", data)
	}
	counted(t, server.URL, 1, 2)
	full := post(t, server.URL, short)
	var answer struct{ Error struct{ Code string } }
	if err := json.NewDecoder(full.response.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	if full.response.StatusCode != 503 || answer.Error.Code != "QUEUE_FULL" {
		t.Errorf("found %v %+v", full.response.Status, answer)
	}
	if after, err := strconv.Atoi(full.response.Header.Get("Retry-After")); err != nil || after < 1 {
		t.Errorf("found Retry-After %q", full.response.Header.Get("Retry-After"))
	}
	second.leave() // out of the queue: the third moves up
	if data := third.until("queued"); data["ahead"] != 0.0 {
		t.Errorf("found %v", data)
	}
	counted(t, server.URL, 1, 1)
	first.leave() // the run is cancelled, and the third begins
	third.until("done")
	counted(t, server.URL, 0, 0)
}

func TestDisconnectCancels(t *testing.T) {
	c := settings()
	c.atOnce = 1
	server, _ := start(t, c)
	for range 3 {
		s := post(t, server.URL, long)
		s.until("progress")
		counted(t, server.URL, 1, 0)
		s.leave()
		began := time.Now()
		counted(t, server.URL, 0, 0)
		t.Logf("free %v after the client left", time.Since(began).Round(time.Millisecond))
	}
	post(t, server.URL, short).until("done") // and the clone works
}

func TestClonesAtOnce(t *testing.T) {
	server, s := start(t, settings())
	one, two := post(t, server.URL, long), post(t, server.URL, long)
	one.until("progress")
	two.until("progress")
	counted(t, server.URL, 2, 0)
	for _, clone := range s.pool.clones {
		if clone.WeightBytes() != s.pipeline.WeightBytes() {
			t.Error("a clone has weights of its own")
		}
	}
	one.leave()
	two.leave()
	counted(t, server.URL, 0, 0)
}

func TestStoreKeepsTheNewest(t *testing.T) {
	c := settings()
	c.keep = 1
	server, s := start(t, c)
	old := post(t, server.URL, short).until("done")["mp4"].(string)
	fresh := post(t, server.URL, short).until("done")["mp4"].(string)
	if response, _ := get(t, server.URL+"/"+old); response.StatusCode != 404 {
		t.Errorf("the old video: found %v", response.Status)
	}
	if response, _ := get(t, server.URL+"/"+fresh); response.StatusCode != 200 {
		t.Errorf("the new video: found %v", response.Status)
	}
	if files, err := os.ReadDir(s.store.folder); err != nil || len(files) != 2 {
		t.Errorf("expected 2 files, found %v (%v)", files, err)
	}
}

func TestPageAndModel(t *testing.T) {
	server, _ := start(t, settings())
	for path, kind := range map[string]string{"/": "text/html", "/app.js": "text/javascript", "/style.css": "text/css", "/model": "application/json"} {
		response, body := get(t, server.URL+path)
		if response.StatusCode != 200 || !strings.HasPrefix(response.Header.Get("Content-Type"), kind) || len(body) == 0 {
			t.Errorf("%s: found %v", path, response)
		}
		if !strings.Contains(response.Header.Get("Content-Security-Policy"), "default-src 'self'") {
			t.Errorf("%s: no policy", path)
		}
	}
	var model map[string]any
	_, body := get(t, server.URL+"/model")
	if err := json.Unmarshal(body, &model); err != nil || model["steps"] != 50.0 || model["device"] != "cpu" {
		t.Errorf("found %s (%v)", body, err)
	}
}

func TestParse(t *testing.T) {
	c, err := parse([]string{"-listen", ":1", "-queue", "3", "-grace", "2s"})
	if err != nil || c.listen != ":1" || c.queue != 3 || c.grace != 2*time.Second || c.atOnce != 2 {
		t.Errorf("found %+v, %v", c, err)
	}
	for _, args := range [][]string{{"-at-once", "0"}, {"-queue", "-1"}, {"-nope"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%v: expected an error", args)
		}
	}
}

// failures keep what is the service's own business out of the answer.
func TestFailuresTellNoDetails(t *testing.T) {
	secret := fmt.Errorf("open /secret/place: %w", os.ErrPermission)
	if f := asFailure(secret); f.status != 500 || strings.Contains(f.Message, "secret") {
		t.Errorf("found %+v", f)
	}
	if f := asFailure(&cogvideox.Error{Code: cogvideox.ErrOutOfMemory, Message: "x"}); f.status != 507 {
		t.Errorf("found %+v", f)
	}
}
