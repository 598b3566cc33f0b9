package main

import (
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	c, err := parse([]string{"worker", "-nats", "nats://a:4222", "-model", "/models/CogVideoX 5b/", "-grace", "2s"})
	if err != nil || c.part != "worker" || c.modelName != "CogVideoX_5b" || c.grace != 2*time.Second || c.attempts != 5 {
		t.Errorf("found %+v, %v", c, err)
	}
	for servers, replicas := range map[string]int{"": 1, "nats://a,nats://b": 1, "nats://a,nats://b,nats://c": 3} {
		if c, err := parse([]string{"-nats", servers}); err != nil || c.part != "all" || c.replicas != replicas || c.modelName != "demo-model" {
			t.Errorf("%q: found %+v, %v", servers, c, err)
		}
	}
	for args, word := range map[string]string{
		"nonsense":                       "nonsense",
		"front":                          "-nats",
		"worker":                         "-nats",
		"worker -nats a -ack-wait 10ms":  "-ack-wait",
		"worker -nats a -at-once 0":      "-at-once",
		"worker -nats a -model-name a.b": "a.b",
		"front -nats a -queue 0":         "-queue",
		"front -nats a -replicas 7":      "-replicas",
		"front -nats a -ack-wait 5s":     "ack-wait", // a worker's
		"server -cluster :1":             "-name",
		"-name a*":                       "a*",
		"key":                            "name",
		"key a.b":                        "name",
		"front -nats a leftover":         "leftover",
	} {
		if _, err := parse(strings.Fields(args)); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: expected %q, found %v", args, word, err)
		}
	}
	// Whoever can reach a front may use it, unless there are keys: then it takes a word more.
	for listen, taken := range map[string]bool{"localhost:1": true, "127.0.0.1:1": true, "[::1]:1": true, ":8080": false, "10.0.0.1:1": false} {
		if _, err := newKeyring(&config{http: listen}); (err == nil) != taken {
			t.Errorf("%s: found %v", listen, err)
		}
	}
	if _, err := newKeyring(&config{http: ":8080", open: true}); err != nil {
		t.Error(err)
	}
}
