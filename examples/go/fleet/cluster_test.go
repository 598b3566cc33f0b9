package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// cluster is a fleet of processes on the loopback device.
type cluster struct {
	*fronts
	whole                            *testing.T // of all parts: what it starts lives as long
	addresses                        string
	servers, frontProcesses, workers map[string]*process
	serverArguments                  map[string][]string
}

// newCluster starts 3 servers, 2 fronts and 4 workers, and waits until all of them work.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{fronts: &fronts{t: t}, whole: t, servers: map[string]*process{}, frontProcesses: map[string]*process{},
		workers: map[string]*process{}, serverArguments: map[string][]string{}}
	t.Setenv("FLEET_NATS_TOKEN", "a secret of the test")
	var clients, routes []string
	for range 3 {
		clients, routes = append(clients, free(t)), append(routes, free(t))
	}
	c.addresses = "nats://" + strings.Join(clients, ",nats://")
	for i := range 3 {
		name := fmt.Sprintf("server-%d", i)
		c.serverArguments[name] = []string{"server", "-name", name, "-server-listen", clients[i], "-cluster", routes[i],
			"-routes", "nats://" + strings.Join(routes, ",nats://"), "-store", t.TempDir()}
		c.servers[name] = begin(t, name, c.serverArguments[name]...)
	}
	for i := range 2 {
		address := free(t)
		name := fmt.Sprintf("front-%d", i)
		c.frontProcesses[name] = begin(t, name, "front", "-name", name, "-nats", c.addresses, "-listen", address, "-max-steps", "1000",
			"-queue", "10000", "-queue-per-key", "10000")
		c.bases = append(c.bases, "http://"+address)
	}
	for i := range 4 {
		c.worker(fmt.Sprintf("worker-%d", i))
	}
	for i := range c.bases {
		until(t, "front and workers begin", func() bool {
			response, data, err := c.ask(i, "GET", "/healthz", "", nil)
			return err == nil && response.StatusCode == http.StatusOK && strings.Contains(string(data), `"workers":4`)
		})
	}
	return c
}

func (c *cluster) worker(name string) {
	c.workers[name] = begin(c.whole, name, "worker", "-name", name, "-nats", c.addresses, "-model", demo, "-device", "cpu",
		"-threads", "1", "-ack-wait", "3s", "-memory", "8")
}

// clips is how many requests the storm has at least; make fleet-storm has more.
func clips() int {
	if n, err := strconv.Atoi(os.Getenv("FLEET_STORM")); err == nil && n > 0 {
		return n
	}
	return 12
}

// One cluster for all of these, because it takes its time to start. What they leave is counted in
// the end.
func TestCluster(t *testing.T) {
	c := newCluster(t)
	t.Run("progress and previews come to the other front", c.progressAnywhere)
	t.Run("one job for one key", c.idempotency)
	t.Run("cancel stops a running clip within two seconds", c.cancelRunning)
	t.Run("a worker that wakes up late throws its clip away", c.latecomer)
	t.Run("kill -9 of a worker, a front and a server", c.storm)
	t.Run("kill -9 of all servers at once", c.outage)
	t.Run("load", c.load)
}

// within runs a part of the test with t of its own.
func (c *cluster) within(t *testing.T) *cluster {
	part := *c
	part.fronts = &fronts{t: t, bases: c.bases}
	return &part
}

func (c *cluster) progressAnywhere(t *testing.T) {
	c = c.within(t)
	c.bases = c.bases[:1]
	j := c.submit("", clip(25, 3))
	other := &fronts{t: t, bases: c.frontsBases()[1:]}
	var fractions []float64
	previews, last := map[string]bool{}, jobView{}
	if err := other.stream(0, "/jobs/"+j.ID+"/events", func(name string, data []byte) {
		if name != "job" {
			t.Errorf("found the event %q", name)
		}
		last = jobView{}
		if err := json.Unmarshal(data, &last); err != nil {
			t.Error(err)
		}
		if last.Progress != nil {
			fractions = append(fractions, last.Progress.Fraction)
		}
		if last.Preview != "" {
			previews[last.Preview] = true
		}
	}); err != nil {
		t.Fatal(err)
	}
	if last.State != done || last.Result.Frames != 17 || last.Result.Seed != 3 || last.Attempts != 1 {
		t.Errorf("the last is %+v", last)
	}
	if len(fractions) < 3 || len(previews) < 2 {
		t.Errorf("%d times progress and %d previews came", len(fractions), len(previews))
	}
	for i := 1; i < len(fractions); i++ {
		if fractions[i] < fractions[i-1] {
			t.Errorf("progress fell: %v", fractions)
		}
	}
	for path, kind := range map[string]string{"video.mp4": "video/mp4", "preview.jpg": "image/jpeg", "metadata.json": "application/json"} {
		response, data, err := other.ask(0, "GET", "/jobs/"+j.ID+"/"+path, "", nil)
		if err != nil || response.StatusCode != 200 || response.Header.Get("Content-Type") != kind || len(data) < 100 {
			t.Errorf("%s: %v, %d bytes (%v)", path, response, len(data), err)
		}
		if path == "video.mp4" && len(data) != last.Result.Bytes {
			t.Errorf("expected %d bytes, found %d", last.Result.Bytes, len(data))
		}
	}
}

// frontsBases are the addresses of all fronts, also while a part of the test asks only some.
func (c *cluster) frontsBases() []string {
	var bases []string
	for _, name := range []string{"front-0", "front-1"} {
		args := c.frontProcesses[name].command.Args
		for i, arg := range args {
			if arg == "-listen" {
				bases = append(bases, "http://"+args[i+1])
			}
		}
	}
	return bases
}

// The same request with the same key, from many clients at both fronts at once, is one job.
func (c *cluster) idempotency(t *testing.T) {
	c = c.within(t)
	var all sync.WaitGroup
	ids := make([]string, 8)
	fresh := make([]bool, len(ids))
	for i := range ids {
		all.Go(func() {
			response, data, err := c.ask(i, "POST", "/jobs", "the same", clip(2, 5))
			if err != nil || response.StatusCode/100 != 2 {
				t.Errorf("found %v %s", err, data)
				return
			}
			var v jobView
			json.Unmarshal(data, &v)
			ids[i], fresh[i] = v.ID, response.StatusCode == http.StatusAccepted
		})
	}
	all.Wait()
	accepted := 0
	for i := range ids {
		if ids[i] != ids[0] {
			t.Errorf("found the jobs %v", ids)
		}
		if fresh[i] {
			accepted++
		}
	}
	// One as a rule; another one where servers were so slow that nobody knows who was first.
	if accepted < 1 || accepted == len(ids) {
		t.Errorf("%d clients were told that theirs is a new job", accepted)
	}
	c.state(ids[0], done)
	response, data, err := c.ask(1, "POST", "/jobs", "the same", clip(2, 6))
	if err != nil || response.StatusCode != http.StatusConflict || !strings.Contains(string(data), ids[0]) {
		t.Errorf("another request with the key: %v %s", response, data)
	}
	// Who says it a second time after the end gets the finished job.
	if v := c.submit("the same", clip(2, 5)); v.ID != ids[0] || v.State != done {
		t.Errorf("found %+v", v)
	}
}

func (c *cluster) cancelRunning(t *testing.T) {
	c = c.within(t)
	for n := range 2 {
		j := c.submit("", long())
		until(t, "it denoises", func() bool {
			v := c.job(j.ID)
			return v.Progress != nil && v.Progress.Stage == "denoise"
		})
		began := time.Now()
		c.cancel(n, j.ID)
		c.state(j.ID, cancelled)
		until(t, "the worker is free", func() bool {
			busy := 0
			for _, w := range get[fleetView](c.fronts, "/fleet").Workers {
				busy += w.Busy
			}
			return busy == 0
		})
		// The workers tell once a second how busy they are; the record is written when the run has stopped.
		v := c.job(j.ID)
		if took := v.Ended.Sub(began); took > 2*time.Second {
			t.Errorf("it took %v", took)
		} else {
			t.Logf("stopped %v after it was cancelled", took.Round(time.Millisecond))
		}
	}
}

// A worker that stands still for longer than the servers wait loses its request to another. When
// it goes on, its own clip must not become a second result.
func (c *cluster) latecomer(t *testing.T) {
	c = c.within(t)
	j := c.submit("", lasting(9))
	v := c.state(j.ID, running)
	slow := c.workers[v.Worker]
	slow.signal(syscall.SIGSTOP)
	until(t, "another worker has it", func() bool { now := c.job(j.ID); return now.Worker != v.Worker })
	slow.signal(syscall.SIGCONT)
	c.state(j.ID, done)
	until(t, "the late one throws its clip away", func() bool {
		text, err := os.ReadFile(slow.command.Stdout.(*os.File).Name())
		return err == nil && strings.Contains(string(text), "thrown away")
	})
	times, videos := books(t, inside(t, c.addresses))
	if times[j.ID] != 1 || videos[j.ID] != 1 {
		t.Errorf("it was done %d times, with %d videos", times[j.ID], videos[j.ID])
	}
}

// Requests come all the time while one of each kind is killed: the worker that makes a clip, the
// front that takes requests, the server that leads the queue.
func (c *cluster) storm(t *testing.T) {
	c = c.within(t)
	n := clips()
	cl := inside(t, c.addresses)
	var mu sync.Mutex
	accepted := map[string]int{} // seed by id
	submit := func(i int) {
		v := c.submit(fmt.Sprintf("storm %d", i), clip(4+i%3, i%4))
		mu.Lock()
		defer mu.Unlock()
		accepted[v.ID] = i
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(accepted)
	}
	// One that lasts, whose worker is killed in the middle of it.
	victim := c.submit("storm victim", lasting(0))
	var clients sync.WaitGroup
	next := make(chan int)
	for range 3 {
		clients.Go(func() {
			for i := range next {
				submit(i)
			}
		})
	}
	feed := func(from, to int) {
		for i := from; i < to; i++ {
			next <- i
		}
	}

	feed(0, n/4)
	v := c.state(victim.ID, running)
	t.Logf("killing %s, which makes a clip", v.Worker)
	c.workers[v.Worker].kill()

	feed(n/4, n/2)
	t.Logf("killing front-0 with %d requests accepted", count())
	c.frontProcesses["front-0"].kill()

	feed(n/2, 3*n/4)
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	leader := ""
	if err := persist(ctx, "asking who leads", func(ctx context.Context) error {
		stream, err := cl.js.Stream(ctx, workStream)
		if err == nil && stream.CachedInfo().Cluster != nil {
			leader = stream.CachedInfo().Cluster.Leader
		}
		if leader == "" {
			return again(fmt.Errorf("nobody leads: %v", err))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	t.Logf("killing %s, which leads the queue, with %d requests accepted", leader, count())
	c.servers[leader].kill()

	feed(3*n/4, n)
	close(next)
	clients.Wait()
	if len(accepted) != n {
		t.Fatalf("%d requests became %d jobs", n, len(accepted))
	}
	accepted[victim.ID] = n

	sums := map[string]map[string]bool{}
	for id := range accepted {
		v := c.state(id, done)
		like := fmt.Sprint(v.Request.Steps, *v.Request.Seed)
		if sums[like] == nil {
			sums[like] = map[string]bool{}
		}
		sums[like][v.Result.SHA256] = true
	}
	for like, different := range sums {
		if len(different) != 1 {
			t.Errorf("the same request (%s) came to %d different videos", like, len(different))
		}
	}
	if v := c.job(victim.ID); v.Attempts != 2 {
		t.Errorf("the clip whose worker was killed took %d attempts", v.Attempts)
	}
	// The books: each once, with one video, and nothing left in the queue.
	times, videos := books(t, cl)
	delivered, twice := 0, 0
	for id := range accepted {
		if times[id] > 0 && videos[id] > 0 {
			delivered++
		}
		if times[id] > 1 || videos[id] > 1 {
			twice++
		}
	}
	t.Logf("%d accepted, %d delivered, %d twice", len(accepted), delivered, twice)
	if delivered != len(accepted) || twice != 0 {
		t.Errorf("%d accepted, %d delivered, %d twice", len(accepted), delivered, twice)
	}
	until(t, "the queue is empty", func() bool {
		once, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		stream, err := cl.js.Stream(once, workStream)
		return err == nil && stream.CachedInfo().State.Msgs == 0
	})
	// A server that comes back finds its place again.
	c.servers[leader] = begin(c.whole, leader+" again", c.serverArguments[leader]...)
	until(t, "the server is current again", func() bool {
		once, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		stream, err := cl.js.Stream(once, workStream)
		if err != nil || stream.CachedInfo().Cluster == nil {
			return false
		}
		for _, r := range stream.CachedInfo().Cluster.Replicas {
			if r.Name == leader && r.Current {
				return true
			}
		}
		return false
	})
}

// All servers are killed at once, while one clip is made and others wait, and begun again.
func (c *cluster) outage(t *testing.T) {
	c = c.within(t)
	ids := []string{c.submit("", lasting(0)).ID}
	for i := range 3 {
		ids = append(ids, c.submit("", clip(20, i+1)).ID)
	}
	c.state(ids[0], running)
	for _, s := range c.servers {
		s.kill()
	}
	for name, args := range c.serverArguments {
		c.servers[name] = begin(c.whole, name+" after the outage", args...)
	}
	// Who asks meanwhile is accepted as soon as there is a leader.
	ids = append(ids, c.submit("asked during the outage", clip(4, 9)).ID)
	for _, id := range ids {
		c.state(id, done)
	}
	times, videos := books(t, inside(t, c.addresses))
	for _, id := range ids {
		if times[id] != 1 || videos[id] != 1 {
			t.Errorf("job %s was done %d times, with %d videos", id, times[id], videos[id])
		}
	}
}

// load is how many requests a front takes when each is kept by two servers before it is accepted.
func (c *cluster) load(t *testing.T) {
	c = c.within(t)
	for _, w := range c.workers {
		w.command.Process.Signal(syscall.SIGTERM)
	}
	for _, w := range c.workers {
		<-w.ended
	}
	c.bases = c.frontsBases()[1:]
	t.Logf("three servers: %s", submitMany(t, c.fronts, c.addresses, howMany(), c.frontProcesses["front-1"],
		c.servers["server-0"], c.servers["server-1"], c.servers["server-2"]))
}
