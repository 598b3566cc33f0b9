package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// What lies where in JetStream.
//
//	FLEET_WORK     requests that wait or run; one subject per kind of request and API key. A
//	               message goes when its request has ended, so the stream is the queue, and its
//	               limits are the queue's: the servers refuse what is too much, whichever front asks.
//	FLEET_DEAD     requests that were begun too often, until somebody looks at them
//	fleet_jobs     the record of each request, changed by compare-and-swap alone
//	fleet_models   what the models are that workers have had, so that fronts can take requests
//	               also while no worker is there
//	fleet_results  videos, metadata, last previews, and images that requests came with
//
// What need not be kept goes over plain subjects, to whoever listens: fleet.wake (there is work),
// fleet.job.ID (a record's newest state), fleet.progress.ID, fleet.cancel.ID, fleet.worker.NAME.
const (
	workStream    = "FLEET_WORK"
	deadStream    = "FLEET_DEAD"
	jobsBucket    = "fleet_jobs"
	modelsBucket  = "fleet_models"
	resultsBucket = "fleet_results"

	workSubjects    = "fleet.work."
	deadSubjects    = "fleet.dead."
	wakeSubject     = "fleet.wake"
	jobSubjects     = "fleet.job."
	progressSubject = "fleet.progress."
	cancelSubjects  = "fleet.cancel."
	workerSubjects  = "fleet.worker."
)

// dedupe is how long the work stream knows the ids of messages. The record of a job keeps an
// idempotency key for as long as results are kept.
const dedupe = 10 * time.Minute

// kind is what a worker must be able to do for a request: the model, the task, and how large.
type kind struct {
	Model string `json:"model"`
	Task  string `json:"task"` // "t2v" or "i2v"
	// Size is the smallest of sizes that the video fits, in multiples of the model's own video.
	Size int `json:"size"`
}

// sizes are the classes of memory, in multiples of the pixels of the model's own video.
var sizes = []int{1, 2, 4, 8}

func (k kind) String() string { return fmt.Sprintf("%s.%s.x%d", k.Model, k.Task, k.Size) }

// subject is where requests of a kind wait, apart for each owner.
func (k kind) subject(owner string) string { return workSubjects + k.String() + "." + owner }

// consumer is the name that all workers which can do this kind share.
func (k kind) consumer() string { return strings.ReplaceAll(k.String(), ".", "__") }

// lay makes streams and buckets, or changes their limits to what this front says. Servers that
// have just begun need a while to find each other.
func (cl *client) lay(ctx context.Context, c *config) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	work := jetstream.StreamConfig{
		Name: workStream, Subjects: []string{workSubjects + ">"}, Replicas: c.replicas,
		Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage,
		Discard: jetstream.DiscardNew, DiscardNewPerSubject: true,
		MaxMsgs: int64(c.queue), MaxMsgsPerSubject: int64(c.perKey), Duplicates: dedupe,
	}
	dead := jetstream.StreamConfig{
		Name: deadStream, Subjects: []string{deadSubjects + ">"}, Replicas: c.replicas,
		Storage: jetstream.FileStorage, MaxAge: c.deadKeep, MaxMsgsPerSubject: 1, AllowDirect: true,
	}
	for _, config := range []jetstream.StreamConfig{work, dead} {
		if err := persist(ctx, "making "+config.Name, func(ctx context.Context) error {
			_, err := cl.js.CreateOrUpdateStream(ctx, config)
			return err
		}); err != nil {
			return err
		}
	}
	for _, config := range []jetstream.KeyValueConfig{
		// The history shows how a job came to its end: queued, running, done, and a try or two.
		{Bucket: jobsBucket, Replicas: c.replicas, TTL: c.keep, History: 16},
		{Bucket: modelsBucket, Replicas: c.replicas},
	} {
		if err := persist(ctx, "making "+config.Bucket, func(ctx context.Context) error {
			_, err := cl.js.CreateOrUpdateKeyValue(ctx, config)
			return err
		}); err != nil {
			return err
		}
	}
	return persist(ctx, "making "+resultsBucket, func(ctx context.Context) error {
		_, err := cl.js.CreateOrUpdateObjectStore(ctx, jetstream.ObjectStoreConfig{
			Bucket: resultsBucket, Replicas: c.replicas, TTL: c.keep})
		return err
	})
}

// open waits until a front has made the buckets, and opens them.
func (cl *client) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return persist(ctx, "opening the fleet's buckets", func(ctx context.Context) (err error) {
		if cl.jobs.kv, err = cl.js.KeyValue(ctx, jobsBucket); err != nil {
			return again(err)
		}
		if cl.models, err = cl.js.KeyValue(ctx, modelsBucket); err != nil {
			return again(err)
		}
		if cl.results, err = cl.js.ObjectStore(ctx, resultsBucket); err != nil {
			return again(err)
		}
		_, err = cl.js.Stream(ctx, workStream)
		return again(err)
	})
}
