package main

import (
	"encoding/json"
	"net/http"
	"time"
)

// events writes server-sent events. It is used by one goroutine.
type events struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func newEvents(w http.ResponseWriter) *events {
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // proxies must not collect events
	w.WriteHeader(http.StatusOK)
	return &events{w, http.NewResponseController(w)}
}

// send writes one event. A client that takes nothing for half a minute is gone; without that, it
// would keep a clone for itself.
func (e *events) send(name string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	return e.write("event: " + name + "\ndata: " + string(text) + "\n\n")
}

// alive writes a comment, which shows whether the client is still there.
func (e *events) alive() error { return e.write(": alive\n\n") }

func (e *events) write(text string) error {
	if err := e.control.SetWriteDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	if _, err := e.w.Write([]byte(text)); err != nil {
		return err
	}
	return e.control.Flush()
}

// The events of POST /videos, in order; one of done and error comes last.
type (
	// queuedEvent comes when the request begins to wait and when it moves up.
	queuedEvent struct {
		Ahead int `json:"ahead"`
	}
	// progressEvent comes about ten times a second.
	progressEvent struct {
		Stage    string  `json:"stage"`    // encode, denoise or decode
		Done     uint64  `json:"done"`     // of the stage
		Total    uint64  `json:"total"`    // of the stage
		Fraction float64 `json:"fraction"` // of the whole run, from 0 to 1; never falls
	}
	// framesEvent comes as frames are decoded.
	framesEvent struct {
		Decoded int    `json:"decoded"`
		Total   int    `json:"total"`
		Preview string `json:"preview"` // the newest frame, as a data: address
	}
	// doneEvent comes last when all went well.
	doneEvent struct {
		MP4     string  `json:"mp4"` // addresses of the video
		GIF     string  `json:"gif"`
		Width   int     `json:"width"`
		Height  int     `json:"height"`
		Frames  int     `json:"frames"`
		FPS     float64 `json:"fps"`
		Seed    uint64  `json:"seed"`
		Seconds float64 `json:"seconds"` // of the run, without waiting
		// SpeedUp is how many times as fast as without a cache the steps were, as predicted
		// from what was reused; 1 without a cache.
		SpeedUp float64 `json:"speed_up"`
	}
)
