package cogvideox

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
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
