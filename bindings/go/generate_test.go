package cogvideox

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestGenerate(t *testing.T) {
	for _, family := range []string{"2b", "5b", "1.5-5b"} {
		p := load(t, family)
		v := generate(t, p, small(2))
		if v.Count() != 1 || v.NumFrames() != 9 || v.Width() != 32 || v.Height() != 32 {
			t.Errorf("%s: %d videos of %d frames of %dx%d", family, v.Count(), v.NumFrames(), v.Width(), v.Height())
		}
		again := generate(t, p, small(2))
		if !bytes.Equal(bytesOf(t, v), bytesOf(t, again)) {
			t.Errorf("%s: the same seed gave another video", family)
		}
		other := small(2)
		other.Seed = 1<<63 + 1
		if bytes.Equal(bytesOf(t, v), bytesOf(t, generate(t, p, other))) {
			t.Errorf("%s: another seed gave the same video", family)
		}
	}
}

func TestEveryOption(t *testing.T) {
	p := load(t, "2b")
	shape, padding, err := p.LatentShape(2, 32, 32, 9)
	if err != nil || padding != 0 {
		t.Fatal(shape, padding, err)
	}
	count := int64(1)
	for _, side := range shape {
		count *= side
	}
	options := GenerateOptions{
		Prompt: "a red ball", NegativePrompt: "blue", Width: 32, Height: 32, NumFrames: 9,
		NumInferenceSteps: 3, GuidanceScale: 4, UseDynamicCFG: true, Eta: 0.5, Seed: 3,
		MaxSequenceLength: 8, NumVideos: 2, VAETiling: true, VAESlicing: true,
		VAETile:   &VAETile{MinHeight: 24, MinWidth: 24, OverlapHeight: -1, OverlapWidth: -1},
		Timesteps: []int64{900, 500, 100},
		Latents:   &Latents{Data: make([]float32, count), Shape: shape},
	}
	v := generate(t, p, options)
	if v.Count() != 2 {
		t.Errorf("expected 2 videos, found %d", v.Count())
	}
	plain := generate(t, p, small(3))
	if bytes.Equal(bytesOf(t, v), bytesOf(t, plain)) {
		t.Error("the options had no effect")
	}
	stats, err := p.CacheStats()
	if err != nil {
		t.Fatal(err)
	}
	defer stats.Close()
	if stats.TotalSteps() != 3 || stats.Technique() != "" {
		t.Errorf("found %d steps with %q", stats.TotalSteps(), stats.Technique())
	}
}

func TestProgress(t *testing.T) {
	p := load(t, "2b")
	last := map[Stage]Progress{}
	var order []Stage
	options := small(3)
	options.Progress = func(info Progress) error {
		if before, seen := last[info.Stage]; seen && info.Done < before.Done {
			t.Errorf("%+v after %+v", info, before)
		} else if !seen {
			order = append(order, info.Stage)
		}
		if timestep := info.Timestep; info.Stage == StageDenoise && info.Done > 0 && (timestep < 0 || timestep > 999) {
			t.Errorf("timestep %v", timestep)
		}
		last[info.Stage] = info
		return nil
	}
	generate(t, p, options)
	if len(order) != 3 || order[0] != StageEncode || order[1] != StageDenoise || order[2] != StageDecode {
		t.Fatalf("stages %v", order)
	}
	for stage, info := range last {
		if info.Done != info.Total || info.Total == 0 {
			t.Errorf("%v ended at %+v", stage, info)
		}
	}
	if last[StageDenoise].Total != 3 {
		t.Errorf("expected 3 steps, found %d", last[StageDenoise].Total)
	}
}

func TestLog(t *testing.T) {
	var loaded, own []string
	p, err := Load(context.Background(), folder("2b"), &LoadOptions{
		Device: "cpu",
		Log:    func(level LogLevel, message string) { loaded = append(loaded, level.String()+" "+message) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	long := small(1)
	long.Prompt = strings.Repeat("ball ", 40)
	generate(t, p, long)
	if !strings.Contains(strings.Join(loaded, "\n"), "warning") {
		t.Errorf("expected a warning of the prompt's length, found %q", loaded)
	}
	before := len(loaded)
	long.Log = func(level LogLevel, message string) { own = append(own, message) }
	generate(t, p, long)
	if len(own) == 0 || len(loaded) != before {
		t.Errorf("expected the messages in the run's own log, found %q and %d others", own, len(loaded)-before)
	}
}

func TestCancelMidRun(t *testing.T) {
	p := load(t, "2b")
	want := bytesOf(t, generate(t, p, small(2)))
	for _, stage := range []Stage{StageEncode, StageDenoise, StageDecode} {
		why := errors.New("the viewer left")
		ctx, cancel := context.WithCancelCause(context.Background())
		options := small(1000)
		if stage == StageDecode {
			options = small(1)
			options.NumFrames = 49
		}
		seen := false
		options.Progress = func(info Progress) error {
			if info.Stage == stage && !seen {
				seen = true
				cancel(why)
				// The context's own goroutine cancels the token.
				time.Sleep(50 * time.Millisecond)
			}
			return nil
		}
		began := time.Now()
		v, err := p.Generate(ctx, options)
		if v != nil || err == nil {
			t.Fatalf("%v: expected the run to be cancelled", stage)
		}
		wants(t, err, ErrCancelled, why.Error())
		if !errors.Is(err, context.Canceled) || !errors.Is(err, why) {
			t.Errorf("%v: expected the context's error and cause in %v", stage, err)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%v: took %v", stage, took)
		}
	}
	if !bytes.Equal(want, bytesOf(t, generate(t, p, small(2)))) {
		t.Error("the pipeline makes another video after it was cancelled")
	}
}

func TestDeadlineAndContextThatHasEnded(t *testing.T) {
	p := load(t, "2b")
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := p.Generate(ctx, small(1000))
	wants(t, err, ErrCancelled)
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		t.Errorf("expected the deadline in %v", err)
	}
	called := false
	options := small(2)
	options.Progress = func(Progress) error { called = true; return nil }
	_, err = p.Generate(ctx, options)
	wants(t, err, ErrCancelled)
	if called {
		t.Error("a run began though its context had ended")
	}
	if !strings.Contains(panics(t, func() { p.Generate(nil, small(1)) }).(string), "nil context") { //lint:ignore SA1012 what is tested
		t.Error("expected a panic about the context")
	}
}

func TestCallbackStops(t *testing.T) {
	p := load(t, "2b")
	enough := errors.New("enough")
	options := small(50)
	steps := 0
	options.Progress = func(info Progress) error {
		if info.Stage == StageDenoise {
			if steps++; steps == 3 {
				return enough
			}
		}
		return nil
	}
	_, err := p.Generate(context.Background(), options)
	wants(t, err, ErrCancelled, "enough")
	if !errors.Is(err, enough) || errors.Is(err, context.Canceled) {
		t.Errorf("expected the callback's error alone in %v", err)
	}
	if steps != 3 {
		t.Errorf("expected no call after the third, found %d", steps)
	}
}

func TestBusyInsideACallback(t *testing.T) {
	p := load(t, "2b")
	options := small(2)
	var inner error
	options.Progress = func(Progress) error {
		if inner == nil {
			_, inner = p.Generate(context.Background(), small(1))
		}
		return nil
	}
	generate(t, p, options)
	wants(t, inner, ErrBusy)
}

func TestTokenizeEncodeDecode(t *testing.T) {
	p := load(t, "2b")
	ids, err := p.Tokenize("a red ball", 8)
	if err != nil || len(ids) != 8 {
		t.Fatal(ids, err)
	}
	embeddings, err := p.EncodePrompt("a red ball", 8)
	if err != nil || len(embeddings) != 8*p.TextEmbedDim() {
		t.Fatal(len(embeddings), err)
	}
	again, err := p.EncodePromptContext(context.Background(), "a red ball", 8)
	if err != nil || !slices.Equal(again, embeddings) {
		t.Error("other embeddings with a context", err)
	}
	ended, end := context.WithCancel(context.Background())
	end()
	if _, err := p.EncodePromptContext(ended, "another ball", 8); !errors.Is(err, context.Canceled) {
		t.Errorf("found %v", err)
	}
	options := small(2)
	frames := generate(t, p, options)
	if kernels := frames.Kernels(); !strings.HasPrefix(kernels, "libtorch ") {
		t.Errorf("found %q", kernels)
	}
	options.Output = OutputLatents
	v := generate(t, p, options)
	if v.NumFrames() != 0 || v.Width() != 0 {
		t.Error("expected no frames")
	}
	if _, _, err := v.RGB8(0); !errors.Is(err, ErrInvalidArgument) {
		t.Errorf("found %v", err)
	}
	if _, err := v.Frames(0); !errors.Is(err, ErrInvalidArgument) {
		t.Errorf("found %v", err)
	}
	latents, err := v.Latents()
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := p.DecodeLatents(context.Background(), latents, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer decoded.Close()
	if !bytes.Equal(bytesOf(t, frames), bytesOf(t, decoded)) {
		t.Error("decoding the latents of a run gave other frames than the run")
	}
	wrong := *latents
	wrong.Shape[2], wrong.Shape[3] = wrong.Shape[3], wrong.Shape[2]
	if wrong.Shape != latents.Shape {
		_, err = p.DecodeLatents(context.Background(), &wrong, nil)
		wants(t, err, ErrInvalidArgument)
	}
}
