package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg" // images that requests come with
	_ "image/png"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"strings"

	"cogvideox"
)

// request is what a video is asked for with: the JSON that the HTTP service of
// examples/go/service takes, and the model. What is left out is the model's own.
type request struct {
	Model          string  `json:"model,omitempty"` // left out: the only one there is
	Prompt         string  `json:"prompt"`
	NegativePrompt string  `json:"negative_prompt,omitempty"`
	Seed           *uint64 `json:"seed,omitempty"` // left out: a random one
	Steps          int     `json:"steps,omitempty"`
	Guidance       float64 `json:"guidance,omitempty"`
	Width          int     `json:"width,omitempty"`
	Height         int     `json:"height,omitempty"`
	Frames         int     `json:"frames,omitempty"`
	Cache          struct {
		Technique string `json:"technique,omitempty"` // "none" (default), or what NewCacheConfig takes
		Preset    string `json:"preset,omitempty"`
	} `json:"cache,omitzero"`
}

// submission is a request with what does not go into its record.
type submission struct {
	request
	// Image is a PNG or JPEG that the video starts from, in base64.
	Image []byte `json:"image,omitempty"`
}

// failure is an error for the client: the status of the answer, and a code for programs.
type failure struct {
	status  int
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (f *failure) Error() string { return f.Message }

func refusal(status int, code, format string, values ...any) *failure {
	return &failure{status, code, fmt.Sprintf(format, values...)}
}

func bad(format string, values ...any) *failure {
	return refusal(http.StatusBadRequest, "INVALID_ARGUMENT", format, values...)
}

// read takes a submission from the body, and the hash of it. Only JSON is taken, which no page of
// another site can send without asking first.
func read(w http.ResponseWriter, r *http.Request, most int) (*submission, string, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, "", refusal(http.StatusUnsupportedMediaType, "INVALID_ARGUMENT", "the body must be application/json")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(most)))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, "", refusal(http.StatusRequestEntityTooLarge, "INVALID_ARGUMENT", "the body is over %d bytes", most)
	}
	if err != nil {
		return nil, "", bad("the body could not be read: %v", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	var s submission
	err = decoder.Decode(&s)
	if err == nil {
		if _, more := decoder.Token(); more != io.EOF {
			err = errors.New("there is more than one object")
		}
	}
	if err != nil {
		return nil, "", bad("the body is not what it should be: %v", err)
	}
	// The hash is of what was said, before a seed is drawn: a request that is sent again has it too.
	again, err := json.Marshal(s)
	if err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256(again)
	if s.Seed == nil {
		// 53 bits, which JavaScript can tell apart.
		seed := rand.Uint64() >> 11
		s.Seed = &seed
	}
	return &s, hex.EncodeToString(sum[:16]), nil
}

// check finds what is wrong with a submission as far as that can be told without the model, and
// says what a worker must be able to do for it.
func (s *submission) check(models map[string]modelFacts, limits *apiKey) (kind, error) {
	if strings.TrimSpace(s.Prompt) == "" {
		return kind{}, bad("prompt: say what the video shows")
	}
	if len(s.Prompt) > 16<<10 || len(s.NegativePrompt) > 16<<10 {
		return kind{}, bad("prompt and negative_prompt: expected at most 16 KiB each")
	}
	if strings.ContainsRune(s.Prompt+s.NegativePrompt, 0) {
		return kind{}, bad("prompt and negative_prompt: a NUL is in them")
	}
	task := "t2v"
	if len(s.Image) > 0 {
		task = "i2v"
		config, _, err := image.DecodeConfig(bytes.NewReader(s.Image))
		if err != nil {
			return kind{}, bad("image: expected a PNG or JPEG: %v", err)
		}
		if config.Width > 1<<14 || config.Height > 1<<14 {
			return kind{}, bad("image: expected sides of at most 16384 pixels, found %d×%d", config.Width, config.Height)
		}
	}
	facts, err := choose(models, s.Model, task)
	if err != nil {
		return kind{}, err
	}
	s.Model = facts.Name
	if s.Steps < 0 || s.Steps > limits.MaxSteps {
		return kind{}, bad("steps: expected 1 to %d, found %d", limits.MaxSteps, s.Steps)
	}
	if s.Steps == 0 {
		s.Steps = min(limits.MaxSteps, facts.Steps)
	}
	if s.Guidance < 0 || s.Guidance > 100 {
		return kind{}, bad("guidance: expected a number above 0 and up to 100, found %v", s.Guidance)
	}
	side := func(name string, value, own, most int) (int64, error) {
		if value == 0 {
			value = own
		}
		if value < 1 || value > most {
			return 0, bad("%s: expected 1 to %d, found %d", name, most, value)
		}
		return int64(value), nil
	}
	width, err := side("width", s.Width, facts.Width, cogvideox.MaxSide)
	if err != nil {
		return kind{}, err
	}
	height, err := side("height", s.Height, facts.Height, cogvideox.MaxSide)
	if err != nil {
		return kind{}, err
	}
	if (s.Width == 0) != (s.Height == 0) {
		return kind{}, bad("width, height: expected both or none")
	}
	if width%8 != 0 || height%8 != 0 {
		return kind{}, bad("width, height: expected multiples of 8, found %d×%d", width, height)
	}
	frames, err := side("frames", s.Frames, facts.Frames, cogvideox.MaxFrames)
	if err != nil {
		return kind{}, err
	}
	pixels := width * height * frames
	if pixels > limits.MaxPixels {
		return kind{}, bad("width, height, frames: expected at most %d pixels in all frames together, found %d", limits.MaxPixels, pixels)
	}
	own := int64(facts.Width) * int64(facts.Height) * int64(facts.Frames)
	for _, size := range sizes {
		if size <= facts.MaxSize && pixels <= own*int64(size) {
			return kind{facts.Name, task, size}, checkCache(&s.request)
		}
	}
	return kind{}, bad("width, height, frames: no worker has had memory for %d pixels in all frames together; expected at most %d",
		pixels, own*int64(facts.MaxSize))
}

func checkCache(q *request) error {
	cache, err := q.cache()
	if err == nil && cache != nil {
		cache.Close()
	}
	if err != nil {
		return bad("cache: %s", strings.TrimPrefix(err.Error(), "cogvideox: "))
	}
	return nil
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
