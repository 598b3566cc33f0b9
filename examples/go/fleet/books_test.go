package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

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
