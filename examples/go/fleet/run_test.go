package main

import (
	"errors"
	"testing"
	"time"
)

// A worker takes a request only as its record says, and none from another that had it first.
func TestARequestIsTakenOnlyWhereItIsFree(t *testing.T) {
	a := &attempt{
		worker: &worker{config: &config{name: "here", attempts: 3}},
		device: &device{state: deviceState{Device: "cpu"}},
		order:  order{ID: "one", Round: 1},
		claim:  "mine",
	}
	const sequence = 7
	for _, test := range []struct {
		name   string
		change func(j *job)
		tries  int
		want   error
	}{
		{"free", func(*job) {}, 0, nil},
		{"begun before, and given away since", func(j *job) { j.Attempts, j.Claim, j.Sequence = 1, "other", sequence }, 1, nil},
		{"the answer to its own claim was lost", func(j *job) { j.Attempts, j.Claim = 1, "mine" }, 0, errSame},
		{"claimed by another while this one stood still", func(j *job) { j.Attempts, j.Claim = 1, "other" }, 0, errLost},
		{"ended", func(j *job) { j.State = done }, 0, errDropped},
		{"taken out of the dead letters meanwhile", func(j *job) { j.Round = 2 }, 0, errDropped},
		{"queued twice", func(j *job) { j.Sequence = 6 }, 0, errDropped},
		{"cancelled", func(j *job) { j.Cancel = true }, 0, errCancelled},
		{"begun too often", func(j *job) { j.Attempts = 3 }, 3, errDead},
	} {
		j := &job{ID: "one", Round: 1, State: queued}
		test.change(j)
		before := *j
		got, err := a.take(j, sequence, test.tries)
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, expected %v", test.name, err, test.want)
			continue
		}
		if err != nil {
			if got != nil {
				t.Errorf("%s: there is a record to write", test.name)
			}
			continue
		}
		if got.State != running || got.Claim != "mine" || got.Worker != "here" || got.Device != "cpu" ||
			got.Sequence != sequence || got.Attempts != before.Attempts+1 || time.Since(got.Started) > time.Minute {
			t.Errorf("%s: %+v", test.name, got)
		}
	}
}
