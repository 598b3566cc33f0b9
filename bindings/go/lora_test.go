package cogvideox

import (
	"bytes"
	"context"
	"math"
	"path/filepath"
	"slices"
	"testing"
)

// adapter is one of the LoRA files that the goldens were made with.
func adapter(family, file string) string {
	return filepath.Join("..", "..", "tests", "goldens", "lora", family, file+".safetensors")
}

func TestAdapters(t *testing.T) {
	p := load(t, "2b")
	run := func(p *Pipeline, scale *float64) []byte {
		options := small(2)
		options.LoRAScale = scale
		return bytesOf(t, generate(t, p, options))
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	plain := run(p, nil)
	must(p.LoadLoRA(adapter("2b", "every"), ""))
	adapted := run(p, nil)
	if bytes.Equal(adapted, plain) {
		t.Error("the adapter changes nothing")
	}
	zero, one := 0.0, 1.0
	if !bytes.Equal(run(p, &zero), plain) || !bytes.Equal(run(p, &one), adapted) {
		t.Error("the run's scale is not heeded")
	}
	must(p.LoadLoRA(adapter("2b", "attention"), "style"))
	if found, want := p.Adapters(), []Adapter{{"default_0", 0}, {"style", 1}}; !slices.Equal(found, want) {
		t.Errorf("expected %v, found %v", want, found)
	}
	must(p.SetAdapters([]string{"style", "default_0"}, []float64{-0.5, 0.25}))
	if found, want := p.Adapters(), []Adapter{{"default_0", 0.25}, {"style", -0.5}}; !slices.Equal(found, want) {
		t.Errorf("expected %v, found %v", want, found)
	}
	clone, err := p.Clone()
	must(err)
	defer clone.Close()
	both := run(p, nil)
	must(p.EnableLoRA(false))
	if !bytes.Equal(run(p, nil), plain) || !bytes.Equal(run(clone, nil), both) {
		t.Error("disabling reaches the wrong pipeline")
	}
	must(p.EnableLoRA(true))
	must(p.SetAdapters([]string{"default_0"}, nil))
	must(p.FuseLoRA(1))
	wants(t, p.FuseLoRA(1), ErrInvalidArgument, "fused")
	if !bytes.Equal(run(p, &zero), run(p, nil)) {
		t.Error("fused adapters have a scale")
	}
	must(p.UnfuseLoRA())
	if !bytes.Equal(run(p, nil), adapted) {
		t.Error("unfusing leaves something behind")
	}
	must(p.UnloadLoRA())
	if !bytes.Equal(run(p, nil), plain) || len(p.Adapters()) != 0 || len(clone.Adapters()) != 2 {
		t.Error("unloading leaves something behind, or reaches the clone")
	}
}

func TestAdapterMistakes(t *testing.T) {
	p := load(t, "2b")
	wants(t, p.LoadLoRA("no/such", ""), ErrNotFound, "no/such")
	wants(t, p.LoadLoRA(adapter("5b", "every"), ""), ErrInvalidCheckpoint, "expected", "found")
	wants(t, p.LoadLoRA("a\x00b", ""), ErrInvalidArgument, "path")
	wants(t, p.SetAdapters([]string{"a"}, nil), ErrInvalidArgument, "\"a\"", "loaded are none")
	wants(t, p.SetAdapters(nil, nil), ErrInvalidArgument, "at least one")
	wants(t, p.SetAdapters([]string{"a"}, []float64{1, 2}), ErrInvalidArgument, "weights", "2")
	if err := p.LoadLoRA(adapter("2b", "older"), "a"); err != nil {
		t.Fatal(err)
	}
	wants(t, p.LoadLoRA(adapter("2b", "older"), "a"), ErrInvalidArgument, "\"a\"")
	wants(t, p.SetAdapters([]string{"a"}, []float64{math.NaN()}), ErrInvalidArgument, "weights[0]")
	options, scale := small(1), math.Inf(1)
	options.LoRAScale = &scale
	_, err := p.Generate(context.Background(), options)
	wants(t, err, ErrInvalidArgument, "lora_scale")
}
