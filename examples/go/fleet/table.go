package main

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// table is what a front knows of the fleet: the newest state of each job, how far those are that
// run, and who works. It hears it at once, and watches the bucket for what it did not hear.
type table struct {
	client *client

	mu        sync.Mutex
	jobs      map[string]*entry
	workers   map[string]*heard
	models    map[string]modelFacts
	listeners map[*listener]struct{}
}

type entry struct {
	job      *job
	revision uint64
	progress *progress
	preview  string // the newest, as a data: address
}

type heard struct {
	workerState
	at time.Time
}

// listener is told which jobs have news. What it has not fetched yet is kept once for each job,
// so that a slow one costs no more than a quick one.
type listener struct {
	only  string // one job, or "" for all
	dirty map[string]struct{}
	fleet bool // workers have come or gone
	news  chan struct{}
}

func newTable(cl *client) *table {
	return &table{client: cl, jobs: map[string]*entry{}, workers: map[string]*heard{}, models: map[string]modelFacts{},
		listeners: map[*listener]struct{}{}}
}

// follow listens until ctx ends, and returns when it listens.
func (t *table) follow(ctx context.Context) error {
	for subject, handle := range map[string]func(string, []byte){
		jobSubjects:     t.heardJob,
		progressSubject: t.heardProgress,
		workerSubjects:  t.heardWorker,
	} {
		s, err := t.client.nc.Subscribe(subject+"*", func(m *nats.Msg) {
			handle(strings.TrimPrefix(m.Subject, subject), m.Data)
		})
		if err != nil {
			return err
		}
		context.AfterFunc(ctx, func() { s.Unsubscribe() })
	}
	ready := make(chan struct{}, 2)
	go t.watch(ctx, t.client.jobs.kv, ready, func(e jetstream.KeyValueEntry) {
		j := new(job)
		if e.Operation() != jetstream.KeyValuePut {
			t.forget(e.Key())
		} else if json.Unmarshal(e.Value(), j) == nil {
			t.put(e.Revision(), j)
		}
	})
	go t.watch(ctx, t.client.models, ready, func(e jetstream.KeyValueEntry) {
		var facts modelFacts
		if json.Unmarshal(e.Value(), &facts) == nil {
			t.mu.Lock()
			t.models[e.Key()] = facts
			t.touchFleet()
			t.mu.Unlock()
		}
	})
	go t.clean(ctx)
	for range cap(ready) {
		select {
		case <-ready:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// watch gives each change of a bucket to put, the newest state of each key first; ready is told
// when those have come. A watcher that breaks off is begun anew.
func (t *table) watch(ctx context.Context, bucket jetstream.KeyValue, ready chan<- struct{}, put func(jetstream.KeyValueEntry)) {
	told := false
	for ctx.Err() == nil {
		w, err := bucket.WatchAll(ctx)
		if err != nil {
			slog.Warn("watching a bucket", "bucket", bucket.Bucket(), "error", err)
			time.Sleep(500 * time.Millisecond)
			continue
		}
		for open := true; open; {
			var e jetstream.KeyValueEntry
			select {
			case <-ctx.Done():
				open = false
			case e, open = <-w.Updates():
				switch {
				case e != nil:
					put(e)
				case open && !told:
					told = true
					ready <- struct{}{}
				}
			}
		}
		w.Stop()
	}
}

func (t *table) heardJob(_ string, data []byte) {
	var c changed
	if json.Unmarshal(data, &c) == nil && c.Job != nil {
		t.put(c.Revision, c.Job)
	}
}

func (t *table) put(revision uint64, j *job) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.jobs[j.ID]
	if e == nil {
		e = new(entry)
		t.jobs[j.ID] = e
	}
	if revision <= e.revision {
		return
	}
	e.job, e.revision = j, revision
	if j.State != running || (e.progress != nil && e.progress.Claim != j.Claim) {
		e.progress = nil
	}
	if j.State != running {
		e.preview = ""
	}
	t.touch(j.ID)
}

func (t *table) forget(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.jobs, id)
	t.touch(id)
}

func (t *table) heardProgress(id string, data []byte) {
	p := new(progress)
	if json.Unmarshal(data, p) != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.jobs[id]
	if e == nil || e.job.State != running || e.job.Claim != p.Claim {
		return // of a try that is over, or of which the record has not come yet
	}
	if p.Preview != "" {
		e.preview = p.Preview
	}
	e.progress = p
	t.touch(id)
}

func (t *table) heardWorker(name string, data []byte) {
	var s workerState
	if json.Unmarshal(data, &s) != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.Ended {
		delete(t.workers, name)
	} else {
		t.workers[name] = &heard{s, time.Now()}
	}
	t.touchFleet()
}

// clean forgets workers that are silent, and jobs whose records have reached their age.
func (t *table) clean(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		t.mu.Lock()
		for name, w := range t.workers {
			if time.Since(w.at) > silent {
				delete(t.workers, name)
				t.touchFleet()
			}
		}
		t.mu.Unlock()
		if n%60 == 59 {
			t.cleanJobs(ctx)
		}
	}
}

// silent is how long a worker may tell nothing and still be shown as one that is there.
const silent = 4 * time.Second

// cleanJobs forgets jobs that have no record any more; buckets do not tell of what ages.
func (t *table) cleanJobs(ctx context.Context) {
	status, err := t.client.jobs.kv.Status(ctx)
	if err != nil || status.TTL() == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, e := range t.jobs {
		last := e.job.Submitted
		for _, other := range []time.Time{e.job.Started, e.job.Ended} {
			if other.After(last) {
				last = other
			}
		}
		if e.job.State.ended() && time.Since(last) > status.TTL() {
			delete(t.jobs, id)
			t.touch(id)
		}
	}
}

// touch tells listeners of a job. The lock is held.
func (t *table) touch(id string) {
	for l := range t.listeners {
		if l.only == "" || l.only == id {
			l.dirty[id] = struct{}{}
			l.wake()
		}
	}
}

// touchFleet tells listeners that workers or models have changed. The lock is held.
func (t *table) touchFleet() {
	for l := range t.listeners {
		if l.only == "" {
			l.fleet = true
			l.wake()
		}
	}
}

func (l *listener) wake() {
	select {
	case l.news <- struct{}{}:
	default:
	}
}

// newest is how many of the jobs that have ended come as news at first.
const newest = 100

// listen makes a listener; only is one job, or "" for all: then those that wait or run, the newest
// that have ended and dead letters come as news at first.
func (t *table) listen(only string) *listener {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := &listener{only: only, dirty: map[string]struct{}{}, fleet: only == "", news: make(chan struct{}, 1)}
	if only == "" {
		var ended []*job
		for id, e := range t.jobs {
			if e.job.State.ended() {
				ended = append(ended, e.job)
			} else {
				l.dirty[id] = struct{}{}
			}
		}
		slices.SortFunc(ended, func(a, b *job) int { return b.Ended.Compare(a.Ended) })
		for i, j := range ended {
			if i < newest || j.State == dead {
				l.dirty[j.ID] = struct{}{}
			}
		}
	}
	t.listeners[l] = struct{}{}
	l.wake()
	return l
}

func (t *table) leave(l *listener) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.listeners, l)
}

// fetch takes what a listener has not seen: the ids, and whether workers have changed.
func (t *table) fetch(l *listener) ([]string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ids, fleet := slices.Collect(maps.Keys(l.dirty)), l.fleet
	clear(l.dirty)
	l.fleet = false
	return ids, fleet
}

// look is the newest of a job; nil if the table does not know it.
func (t *table) look(id string) *entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.jobs[id]
	if e == nil {
		return nil
	}
	copied := *e
	return &copied
}

// all are the jobs that a filter lets through, the newest first.
func (t *table) all(filter func(*job) bool) []*job {
	t.mu.Lock()
	defer t.mu.Unlock()
	var found []*job
	for _, e := range t.jobs {
		if filter(e.job) {
			found = append(found, e.job)
		}
	}
	slices.SortFunc(found, func(a, b *job) int {
		return cmp.Or(b.Submitted.Compare(a.Submitted), cmp.Compare(a.ID, b.ID))
	})
	return found
}

// ahead counts the jobs of the same kind that wait since before a job.
func (t *table) ahead(j *job) (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.jobs {
		if e.job.State == queued && e.job.Kind == j.Kind && e.job.Submitted.Before(j.Submitted) {
			n++
		}
	}
	return n
}

// active counts the jobs of an owner that wait or run.
func (t *table) active(owner string) (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.jobs {
		if e.job.Owner == owner && !e.job.State.ended() {
			n++
		}
	}
	return n
}

// counts are the jobs by state, and those that wait by kind.
func (t *table) counts() (map[state]int, map[kind]int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	states, waiting := map[state]int{}, map[kind]int{}
	for _, facts := range t.models {
		for _, size := range sizes {
			if size <= facts.MaxSize {
				waiting[kind{facts.Name, facts.Task, size}] = 0
			}
		}
	}
	for _, e := range t.jobs {
		states[e.job.State]++
		if e.job.State == queued {
			waiting[e.job.Kind]++
		}
	}
	return states, waiting
}

func (t *table) allWorkers() []workerState {
	t.mu.Lock()
	defer t.mu.Unlock()
	var found []workerState
	for _, w := range t.workers {
		found = append(found, w.workerState)
	}
	slices.SortFunc(found, func(a, b workerState) int { return cmp.Compare(a.Name, b.Name) })
	return found
}

func (t *table) allModels() map[string]modelFacts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.models)
}

// retryAfter is about when the queue has room again, in whole seconds.
func (t *table) retryAfter() int {
	states, _ := t.counts()
	slots, seconds, known := 0, 0.0, 0
	for _, w := range t.allWorkers() {
		slots += w.Slots
		if w.Seconds > 0 {
			seconds += w.Seconds
			known++
		}
	}
	if slots == 0 || known == 0 {
		return 5
	}
	// A tenth of what waits must have gone before many more are let in.
	wait := seconds / float64(known) * float64(states[queued]+1) / float64(slots) / 10
	return int(min(600, max(1, wait)))
}

func itoa(n int) string { return strconv.Itoa(n) }
