package cogvideox

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

func TestPanicsOfCallbacksComeOut(t *testing.T) {
	p := load(t, "2b")
	want := bytesOf(t, generate(t, p, small(2)))
	boom := errors.New("boom")
	for name, change := range map[string]func(*GenerateOptions){
		"progress": func(o *GenerateOptions) { o.Progress = func(Progress) error { panic(boom) } },
		"frames":   func(o *GenerateOptions) { o.Frames = func(*FrameChunk) error { panic(boom) } },
		"log": func(o *GenerateOptions) {
			o.Prompt = strings.Repeat("ball ", 40)
			o.Log = func(LogLevel, string) { panic(boom) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			options := small(2)
			change(&options)
			value := panics(t, func() { p.Generate(context.Background(), options) })
			panicked, ok := value.(*CallbackPanic)
			if !ok || panicked.Value != boom || !errors.Is(panicked, boom) {
				t.Fatalf("panicked with %v", value)
			}
			if !bytes.Contains(panicked.Stack, []byte("TestPanicsOfCallbacksComeOut")) {
				t.Errorf("the stack does not lead to the callback:\n%s", panicked.Stack)
			}
			if !bytes.Equal(want, bytesOf(t, generate(t, p, small(2)))) {
				t.Error("the pipeline makes another video afterwards")
			}
		})
	}
}

func TestRuntimeErrorInACallback(t *testing.T) {
	p := load(t, "2b")
	options := small(2)
	var none []int
	options.Progress = func(Progress) error { _ = none[5]; return nil }
	panicked := panics(t, func() { p.Generate(context.Background(), options) }).(*CallbackPanic)
	var e runtime.Error
	if !errors.As(panicked, &e) {
		t.Errorf("expected a runtime.Error, found %v", panicked.Value)
	}
}

func TestPanicsOfCacheCallbacks(t *testing.T) {
	p := load(t, "2b")
	other, err := p.Clone()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	explode := true
	c := NewFasterCache()
	defer c.Close()
	if err := c.SetAttentionWeightCallback(func(LayerInfo) float64 {
		if explode {
			panic("weight")
		}
		return 0.5
	}); err != nil {
		t.Fatal(err)
	}
	for _, pipeline := range []*Pipeline{p, other} {
		if err := pipeline.EnableCache(c); err != nil {
			t.Fatal(err)
		}
	}
	panicked := panics(t, func() { p.Generate(context.Background(), small(20)) }).(*CallbackPanic)
	if panicked.Value != "weight" {
		t.Errorf("found %v", panicked.Value)
	}
	explode = false
	generate(t, other, small(20)) // not the panic of the other pipeline
	generate(t, p, small(20))
}

func TestPanicWhileLoading(t *testing.T) {
	panicked := panics(t, func() {
		Load(context.Background(), folder("2b"), &LoadOptions{Progress: func(Progress) error { panic("load") }})
	}).(*CallbackPanic)
	if panicked.Value != "load" {
		t.Errorf("found %v", panicked.Value)
	}
}

// runtime.Goexit would drop the C frames of a run; the program ends and says why.
func TestGoexitInACallbackEndsTheProgram(t *testing.T) {
	if os.Getenv("COGVIDEOX_GOEXIT") == "1" {
		options := small(2)
		options.Progress = func(Progress) error { runtime.Goexit(); return nil }
		load(t, "2b").Generate(context.Background(), options)
		return
	}
	command := exec.Command(os.Args[0], "-test.run=^TestGoexitInACallbackEndsTheProgram$")
	command.Env = append(os.Environ(), "COGVIDEOX_GOEXIT=1")
	output, err := command.CombinedOutput()
	if err == nil || !strings.Contains(string(output), "a callback called runtime.Goexit") {
		t.Errorf("ended with %v and said:\n%s", err, output)
	}
}
