package cogvideox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	status := m.Run()
	// Whatever the tests did, the library has freed all that it was given.
	for range 100 {
		if runtime.GC(); liveUserData.Load() == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if live := liveUserData.Load(); live != 0 && status == 0 {
		fmt.Fprintf(os.Stderr, "%d callbacks were never freed by the library\n", live)
		status = 1
	}
	os.Exit(status)
}

// folder is one of the repository's tiny random pipelines.
func folder(family string) string { return filepath.Join("..", "..", "tests", "pipelines", family) }

func load(t testing.TB, family string) *Pipeline {
	t.Helper()
	p, err := Load(context.Background(), folder(family), &LoadOptions{Device: "cpu"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// small is about the smallest run there is: 9 frames of 32×32.
func small(steps int) GenerateOptions {
	return GenerateOptions{
		Prompt:            "a red ball",
		Width:             32,
		Height:            32,
		NumFrames:         9,
		NumInferenceSteps: steps,
		MaxSequenceLength: 8,
	}
}

func generate(t testing.TB, p *Pipeline, options GenerateOptions) *Video {
	t.Helper()
	v, err := p.Generate(context.Background(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

// bytesOf is a copy of a video's frames as RGBA.
func bytesOf(t testing.TB, v *Video) []byte {
	t.Helper()
	data, _, err := v.RGBA8(0)
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte(nil), data...)
}

// wants checks that err is of a code and that its message has every word.
func wants(t testing.TB, err error, code Code, words ...string) {
	t.Helper()
	if !errors.Is(err, code) {
		t.Fatalf("expected %v, found %v", code, err)
	}
	var e *Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("expected an *Error of %v, found %T", code, err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("expected %q in the message, found %q", word, err)
		}
	}
}

// panics runs f and returns what it panicked with.
func panics(t testing.TB, f func()) (value any) {
	t.Helper()
	defer func() {
		if value = recover(); value == nil {
			t.Fatal("expected a panic, found none")
		}
	}()
	f()
	return nil
}

// eventually waits for something that another goroutine or the collector does.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for range 500 {
		if done() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s: did not come within 5 seconds", what)
}
