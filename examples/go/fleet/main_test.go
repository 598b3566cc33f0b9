package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const demo = "../../demo-model/pipeline"

// TestMain makes the test binary the program itself where a test starts it as one, so that what
// is killed are processes, and nothing is built twice.
func TestMain(m *testing.M) {
	if os.Getenv("FLEET_TEST_PROGRAM") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// process is a part of a fleet that a test has started.
type process struct {
	t       *testing.T
	what    string
	command *exec.Cmd
	ended   chan struct{}
	err     error
}

// begin starts the program with args, in a folder of its own.
func begin(t *testing.T, what string, args ...string) *process {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, what: what, command: exec.Command(program, args...), ended: make(chan struct{})}
	p.command.Env = append(os.Environ(), "FLEET_TEST_PROGRAM=1", "OMP_NUM_THREADS=1")
	p.command.Stdout, p.command.Stderr = log, log
	// A test that is stopped leaves nothing behind.
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.command.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.kill()
		log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("---- %s said:\n%s", what, text)
		}
	})
	return p
}

// kill is kill -9, and waits until the process is gone.
func (p *process) kill() {
	p.command.Process.Kill()
	<-p.ended
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.command.Process.Signal(s); err != nil {
		p.t.Fatalf("%s: %v", p.what, err)
	}
}

// endsWell waits until the process has ended by itself, without an error.
func (p *process) endsWell(within time.Duration) {
	p.t.Helper()
	select {
	case <-p.ended:
		if p.err != nil {
			p.t.Errorf("%s ended with %v", p.what, p.err)
		}
	case <-time.After(within):
		p.t.Fatalf("%s does not end", p.what)
	}
}

// free is an address of the loopback device that nobody listens at.
func free(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// patient is how long a test waits for what should come at once on a machine that is not busy.
const patient = 90 * time.Second

// until waits for something.
func until(t *testing.T, what string, there func() bool) {
	t.Helper()
	for end := time.Now().Add(patient); !there(); time.Sleep(25 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, patient)
		}
	}
}

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
	lines := bufio.NewScanner(response.Body)
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

// long lasts some seconds also on a machine that is not busy.
func long() asked {
	q := clip(100, 1)
	q["frames"] = 129
	return q
}

// all starts everything in one process, and waits until it works.
func all(t *testing.T, args ...string) (*process, *fronts) {
	t.Helper()
	address := free(t)
	p := begin(t, "all", append([]string{"all", "-model", demo, "-device", "cpu", "-threads", "1", "-listen", address}, args...)...)
	f := &fronts{t: t, bases: []string{"http://" + address}}
	until(t, "the fleet begins", func() bool {
		select {
		case <-p.ended:
			t.Fatal("the fleet has ended")
		default:
		}
		response, data, err := f.ask(0, "GET", "/healthz", "", nil)
		return err == nil && response.StatusCode == http.StatusOK && strings.Contains(string(data), `"workers":1`)
	})
	return p, f
}

// inside connects a test to the servers of a fleet.
func inside(t *testing.T, addresses string) *client {
	t.Helper()
	cl, err := connect(context.Background(), &config{part: "test", name: "test", nats: addresses, token: os.Getenv("FLEET_NATS_TOKEN")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.close)
	if err := cl.open(context.Background()); err != nil {
		t.Fatal(err)
	}
	return cl
}

// books are what the servers have of the jobs of a test: how often each came to be done, and how
// many videos of each there are.
func books(t *testing.T, cl *client) (times map[string]int, videos map[string]int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	times, videos = map[string]int{}, map[string]int{}
	var keys []string
	if err := persist(ctx, "reading the books", func(ctx context.Context) (err error) {
		keys, err = cl.jobs.kv.Keys(ctx)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, id := range keys {
		var history []jetstream.KeyValueEntry
		if err := persist(ctx, "reading the books", func(ctx context.Context) (err error) {
			history, err = cl.jobs.kv.History(ctx, id)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		for _, e := range history {
			j := new(job)
			if err := json.Unmarshal(e.Value(), j); err != nil {
				t.Fatal(err)
			}
			if j.State == done {
				times[id]++
			}
		}
	}
	var objects []*jetstream.ObjectInfo
	if err := persist(ctx, "reading the books", func(ctx context.Context) (err error) {
		objects, err = cl.results.List(ctx)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if id, _, _ := strings.Cut(o.Name, "."); strings.HasSuffix(o.Name, ".mp4") {
			videos[id]++
		}
	}
	return times, videos
}
