package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"strings"

	"cogvideox"
)

// request is the JSON that POST /videos takes. What is left out is the model's own.
type request struct {
	Prompt         string  `json:"prompt"`
	NegativePrompt string  `json:"negative_prompt"`
	Seed           *uint64 `json:"seed"` // left out: a random one
	Steps          int     `json:"steps"`
	Guidance       float64 `json:"guidance"`
	Width          int     `json:"width"`
	Height         int     `json:"height"`
	Frames         int     `json:"frames"`
	Cache          struct {
		Technique string `json:"technique"` // "none" (default), "pab" or "faster_cache"
		Preset    string `json:"preset"`
	} `json:"cache"`
}

// failure is an error for the client: the status of the answer, and a code for programs.
type failure struct {
	status  int
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (f *failure) Error() string { return f.Message }

func bad(format string, args ...any) *failure {
	return &failure{http.StatusBadRequest, "INVALID_ARGUMENT", fmt.Sprintf(format, args...)}
}

// asFailure tells an error of the library to the client. What is not the client's fault is told
// without details that are none of their business.
func asFailure(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	var code cogvideox.Code
	errors.As(err, &code)
	message := strings.TrimPrefix(err.Error(), "cogvideox: ")
	switch {
	case errors.Is(err, errShuttingDown):
		return &failure{http.StatusServiceUnavailable, "SHUTTING_DOWN", errShuttingDown.Error()}
	case code == cogvideox.ErrInvalidArgument || code == cogvideox.ErrInvalidUTF8:
		return &failure{http.StatusBadRequest, code.Name(), message}
	case code == cogvideox.ErrOutOfMemory:
		return &failure{http.StatusInsufficientStorage, code.Name(), "there is too little memory for this video; try a smaller one"}
	case code == cogvideox.ErrCancelled:
		return &failure{499, code.Name(), "the run was cancelled"}
	}
	return &failure{http.StatusInternalServerError, "INTERNAL", "the video could not be made; the service's log has the details"}
}

// read takes the request from the body. Only JSON is taken, which no page of another site can
// send without asking first.
func read(w http.ResponseWriter, r *http.Request) (*request, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, &failure{http.StatusUnsupportedMediaType, "INVALID_ARGUMENT", "the body must be application/json"}
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
	decoder.DisallowUnknownFields()
	var q request
	err := decoder.Decode(&q)
	if err == nil {
		if _, more := decoder.Token(); more != io.EOF {
			err = errors.New("there is more than one object")
		}
	}
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, &failure{http.StatusRequestEntityTooLarge, "INVALID_ARGUMENT", "the body is over 64 KiB"}
	}
	if err != nil {
		return nil, bad("the body is not what it should be: %v", err)
	}
	if strings.TrimSpace(q.Prompt) == "" {
		return nil, bad("prompt: say what the video shows")
	}
	if q.Seed == nil {
		// 53 bits, which JavaScript can tell apart.
		seed := rand.Uint64() >> 11
		q.Seed = &seed
	}
	return &q, nil
}

// options are the request's in the library's words.
func (q *request) options() cogvideox.GenerateOptions {
	return cogvideox.GenerateOptions{
		Prompt:            q.Prompt,
		NegativePrompt:    q.NegativePrompt,
		Seed:              *q.Seed,
		NumInferenceSteps: q.Steps,
		GuidanceScale:     q.Guidance,
		Width:             q.Width,
		Height:            q.Height,
		NumFrames:         q.Frames,
	}
}

// cache is the technique asked for, nil for none.
func (q *request) cache() (*cogvideox.CacheConfig, error) {
	if q.Cache.Technique == "" || q.Cache.Technique == "none" {
		return nil, nil
	}
	return cogvideox.NewCacheConfig(q.Cache.Technique, q.Cache.Preset)
}

// check finds what is wrong with a request before it waits in the queue, by asking the pipeline
// what it would do. It may be asked while clones generate.
func (s *service) check(q *request) error {
	if q.Steps < 0 || q.Steps > s.config.maxSteps {
		return bad("steps: expected 1 to %d, found %d", s.config.maxSteps, q.Steps)
	}
	if q.Steps == 0 {
		q.Steps = min(s.config.maxSteps, s.pipeline.DefaultNumInferenceSteps())
	}
	cache, err := q.cache()
	if err != nil {
		return err
	}
	if cache == nil {
		cache = cogvideox.NewPAB()
	}
	defer cache.Close()
	options := q.options()
	stats, err := s.pipeline.PreviewCache(cache, &options)
	if err != nil {
		return err
	}
	stats.Close()
	pixels := func(width, height, frames int) int64 { return int64(width) * int64(height) * int64(frames) }
	own := [3]int{s.pipeline.DefaultWidth(), s.pipeline.DefaultHeight(), s.pipeline.DefaultNumFrames()}
	asked := own
	for i, n := range []int{q.Width, q.Height, q.Frames} {
		if n != 0 {
			asked[i] = n
		}
	}
	if most := 2 * pixels(own[0], own[1], own[2]); pixels(asked[0], asked[1], asked[2]) > most {
		return bad("width, height, frames: expected at most %d pixels in all frames together, found %d",
			most, pixels(asked[0], asked[1], asked[2]))
	}
	return nil
}
