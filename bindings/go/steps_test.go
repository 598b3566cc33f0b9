package cogvideox

import (
	"bytes"
	"context"
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
