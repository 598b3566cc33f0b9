package main

import (
	"bytes"
	"encoding/json"
	"image/jpeg"
	"image/png"
	"time"

	"cogvideox"
)

// pictureEvery is the least time between two previews.
const pictureEvery = 250 * time.Millisecond

// show tells every front how far a clip is, with a picture now and then. Callbacks of the library
// hand it what they have; one goroutine tells.
type show struct {
	*attempt
	news    chan struct{}
	newest  chan picture
	told    time.Time // touched by the library's thread alone
	current picture   // touched by the telling goroutine alone
	decoded []byte    // the last decoded frame
}

// picture is a preview on its way.
type picture struct {
	kind           string // "image/png" or "image/jpeg"
	data           []byte
	decoded, total int
}

func newShow(a *attempt) *show {
	return &show{attempt: a, news: make(chan struct{}, 1), newest: make(chan picture, 1)}
}

func (s *show) put(p picture) {
	select {
	case <-s.newest:
	default:
	}
	s.newest <- p
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// step is called after each denoising step: a preview is a linear map of the latents, and costs
// far less than a step.
func (s *show) step(step *cogvideox.StepEnd) error {
	if time.Since(s.told) < pictureEvery || step.Step+1 == step.NumSteps {
		return nil
	}
	videos, err := step.Preview()
	if err != nil {
		return nil // a clip without a preview is still a clip
	}
	frames := videos[0]
	var data bytes.Buffer
	if err := png.Encode(&data, frames[len(frames)/2]); err == nil {
		s.told = time.Now()
		s.put(picture{kind: "image/png", data: data.Bytes()})
	}
	return nil
}

// frames is called with frames as they are decoded.
func (s *show) frames(chunk *cogvideox.FrameChunk) error {
	frame, err := chunk.Image(chunk.NumFrames - 1)
	if err != nil {
		return err
	}
	var data bytes.Buffer
	if err := jpeg.Encode(&data, frame, &jpeg.Options{Quality: 80}); err != nil {
		return err
	}
	s.put(picture{"image/jpeg", data.Bytes(), chunk.FirstFrame + chunk.NumFrames, chunk.TotalFrames})
	return nil
}

// progress is what fronts hear of a clip.
type progress struct {
	ID       string  `json:"id"`
	Claim    string  `json:"claim"`
	Worker   string  `json:"worker"`
	Stage    string  `json:"stage"`
	Done     uint64  `json:"done"`
	Total    uint64  `json:"total"`
	Fraction float64 `json:"fraction"`
	Decoded  int     `json:"decoded,omitempty"` // frames
	Frames   int     `json:"frames,omitempty"`
	// Preview is the newest picture, as a data: address; "" if it is still the last one.
	Preview string `json:"preview,omitempty"`
}

func (s *show) tell(status cogvideox.JobStatus) {
	if status.Stage == 0 {
		return
	}
	p := progress{ID: s.order.ID, Claim: s.claim, Worker: s.config.name, Stage: status.Stage.String(),
		Done: status.Done, Total: status.Total, Fraction: status.Fraction}
	select {
	case s.current = <-s.newest:
		p.Preview = dataAddress(s.current.kind, s.current.data)
		if s.current.kind == "image/jpeg" {
			s.decoded = s.current.data
		}
	default:
	}
	p.Decoded, p.Frames = s.current.decoded, s.current.total
	if text, err := json.Marshal(p); err == nil {
		s.client.nc.Publish(progressSubject+p.ID, text)
	}
}

// last is the last frame that was decoded, as a JPEG.
func (s *show) last() []byte { return s.decoded }
