package cogvideox

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func rgb8(t *testing.T, p *Pipeline, options GenerateOptions) []byte {
	t.Helper()
	data, _, err := generate(t, p, options).RGB8(0)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(data)
}

func embeddings(t *testing.T, p *Pipeline, text string, length int) *Embeddings {
	t.Helper()
	data, err := p.EncodePrompt(text, length)
	if err != nil {
		t.Fatal(err)
	}
	return &Embeddings{Data: data, Dim: p.TextEmbedDim()}
}

func TestEmbeddings(t *testing.T) {
	one := 1
	p, err := Load(context.Background(), folder("2b"), &LoadOptions{Device: "cpu", PromptCacheSize: &one})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	options := small(1)
	options.NegativePrompt = "blurry"
	want := rgb8(t, p, options)
	options.PromptEmbeddings = embeddings(t, p, options.Prompt, options.MaxSequenceLength)
	options.NegativePromptEmbeddings = embeddings(t, p, "blurry", options.MaxSequenceLength)
	_, err = p.Generate(context.Background(), options)
	wants(t, err, ErrInvalidArgument, "prompt: expected none")
	options.Prompt, options.NegativePrompt = "", ""
	if !bytes.Equal(rgb8(t, p, options), want) {
		t.Error("embeddings make another video")
	}
	options.PromptEmbeddings = &Embeddings{Data: make([]float32, 7), Dim: 4}
	_, err = p.Generate(context.Background(), options)
	wants(t, err, ErrInvalidArgument, "PromptEmbeddings", "found 7")
	options.PromptEmbeddings = &Embeddings{Data: make([]float32, 8), Dim: 4}
	_, err = p.Generate(context.Background(), options)
	wants(t, err, ErrInvalidArgument, "prompt_embeddings: expected")
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestEncode(t *testing.T) {
	v := generate(t, load(t, "2b"), small(1))
	for _, format := range []string{"mp4", "gif"} {
		path := filepath.Join(t.TempDir(), "a."+format)
		if err := v.Save(0, path, 8); err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := v.EncodeBytes(0, format, 8)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, expected %d: %v", format, len(got), len(want), err)
		}
		var buffer bytes.Buffer
		if err := v.Encode(0, format, 8, &buffer); err != nil || !bytes.Equal(buffer.Bytes(), want) {
			t.Errorf("%s: %d bytes written, expected %d: %v", format, buffer.Len(), len(want), err)
		}
		full := errors.New("full")
		if err := v.Encode(0, format, 8, failing{full}); !errors.Is(err, full) {
			t.Errorf("expected the writer's error, found %v", err)
		}
	}
	_, err := v.EncodeBytes(0, "webm", 8)
	wants(t, err, ErrInvalidArgument, "webm")
	wants(t, v.Encode(1, "gif", 8, &bytes.Buffer{}), ErrInvalidArgument, "index")
	if panics(t, func() { v.Encode(0, "gif", 8, nil) }) == nil {
		t.Error("a nil writer panics")
	}
}

func runLatents(t *testing.T, p *Pipeline, options GenerateOptions) []float32 {
	t.Helper()
	options.Output = OutputLatents
	latents, err := generate(t, p, options).Latents()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(latents.Data)
}

func TestSteps(t *testing.T) {
	p := load(t, "2b")
	plain := runLatents(t, p, small(3))
	options := small(3)
	var kept *StepEnd
	var last []float32
	var steps []int
	options.Step = func(step *StepEnd) error {
		kept, steps = step, append(steps, step.Step)
		latents, err := step.Latents()
		if err != nil {
			return err
		}
		last = latents.Data
		pictures, err := step.Preview()
		if err != nil {
			return err
		}
		if len(pictures) != 1 || pictures[0][0].Bounds().Dx() != int(latents.Shape[4]) || step.NumSteps != 3 {
			t.Errorf("wrong previews or steps: %d, %d", len(pictures), step.NumSteps)
		}
		tensor, err := step.LatentsDLPack()
		if err != nil {
			return err
		}
		return tensor.Close()
	}
	if got := runLatents(t, p, options); !slices.Equal(got, plain) || !slices.Equal(last, plain) {
		t.Error("looking changed the run")
	}
	if !slices.Equal(steps, []int{0, 1, 2}) {
		t.Errorf("steps: %v", steps)
	}
	_, err := kept.Latents()
	wants(t, err, ErrInvalidArgument, "before the callback returned")
	wants(t, kept.Save("a"), ErrInvalidArgument, "before the callback returned")

	options.Step = func(step *StepEnd) error {
		latents, err := step.Latents()
		if err != nil {
			return err
		}
		latents.Data[0]++
		wants(t, step.SetLatents(nil), ErrInvalidArgument, "nil")
		wants(t, step.SetGuidanceScale(1e9), ErrInvalidArgument, "guidance_scale")
		return errors.Join(step.SetLatents(latents), step.SetGuidanceScale(2))
	}
	if slices.Equal(runLatents(t, p, options), plain) {
		t.Error("nothing changed")
	}
	mine := errors.New("mine")
	options.Step = func(*StepEnd) error { return mine }
	if _, err := p.Generate(context.Background(), options); !errors.Is(err, mine) {
		t.Errorf("expected the callback's error, found %v", err)
	}
	options.Step = func(*StepEnd) error { panic("mine") }
	if value := panics(t, func() { p.Generate(context.Background(), options) }); value == nil {
		t.Error("a panic was lost")
	}
	options.Step = nil
	if !slices.Equal(runLatents(t, p, options), plain) {
		t.Error("the pipeline changed")
	}
}

func TestResume(t *testing.T) {
	p := load(t, "5b")
	path := filepath.Join(t.TempDir(), "state")
	options := small(4)
	options.Step = func(step *StepEnd) error {
		if step.Step != 1 {
			return nil
		}
		return step.Save(path)
	}
	want := runLatents(t, p, options)
	options.Step, options.Resume = nil, path
	if !slices.Equal(runLatents(t, p, options), want) {
		t.Error("the resumed run is another")
	}
	options.Seed++
	_, err := p.Generate(context.Background(), options)
	wants(t, err, ErrInvalidArgument, "seed")
	options.Resume = path + "-missing"
	_, err = p.Generate(context.Background(), options)
	wants(t, err, ErrNotFound, "missing")
}

func TestSavePNG(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.png")
	want := picture(7, 5, true)
	if err := SavePNG(path, want); err != nil {
		t.Fatal(err)
	}
	got, err := LoadImage(path)
	if err != nil || !bytes.Equal(got.Pix, want.Pix) {
		t.Errorf("another picture: %v", err)
	}
	wants(t, SavePNG("a.jpg", want), ErrInvalidArgument, ".png")
	wants(t, SavePNG(path, picture(0, 5, true)), ErrInvalidArgument, "0×5")
}
