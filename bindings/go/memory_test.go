package cogvideox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// residentBytes is the memory of the process as the system counts it.
func residentBytes(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

func TestMemoryIsEstimatedAndWhatCannotFitIsRefused(t *testing.T) {
	ctx := context.Background()
	_, err := Load(ctx, folder("2b"), &LoadOptions{NumThreads: MaxThreads + 1})
	wants(t, err, ErrInvalidArgument, "num_threads")
	p, err := Load(ctx, folder("2b"), &LoadOptions{NumThreads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	usual, err := p.EstimateMemory(nil)
	if err != nil || usual == 0 {
		t.Fatalf("%d bytes, %v", usual, err)
	}
	options := small(1)
	options.Width, options.Height, options.NumFrames = MaxSide, MaxSide, MaxFrames
	large, err := p.EstimateMemory(&options)
	if err != nil || large <= usual {
		t.Fatalf("%d bytes, %v", large, err)
	}
	_, err = p.Generate(ctx, options)
	wants(t, err, ErrOutOfMemory, fmt.Sprint(large))
	stop := errors.New("stop")
	options.NoMemoryCheck = true
	options.Progress = func(Progress) error { return stop }
	if _, err = p.Generate(ctx, options); !errors.Is(err, stop) {
		t.Errorf("expected the run to begin, found %v", err)
	}
	options.Width = 24
	_, err = p.EstimateMemory(&options)
	wants(t, err, ErrInvalidArgument, "width")
}

func TestFiftyCyclesDoNotGrow(t *testing.T) {
	cycle := func() {
		p, err := Load(context.Background(), folder("2b"), &LoadOptions{
			Device:   "cpu",
			Progress: func(Progress) error { return nil },
			Log:      func(LogLevel, string) {},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		c := NewFasterCache()
		defer c.Close()
		if err := c.SetCurrentTimestepCallback(func(info StepInfo) float64 { return info.Timestep }); err != nil {
			t.Fatal(err)
		}
		if err := p.EnableCache(c); err != nil {
			t.Fatal(err)
		}
		options := small(2)
		options.Progress = func(Progress) error { return nil }
		v, err := p.Generate(context.Background(), options)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		if _, err := v.Frames(0); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Generate(context.Background(), GenerateOptions{Width: 1}); err == nil {
			t.Fatal("expected an error")
		}
	}
	callbacks := liveUserData.Load()
	for range 15 {
		cycle()
	}
	runtime.GC()
	before := residentBytes(t)
	for range 50 {
		cycle()
	}
	runtime.GC()
	growth := residentBytes(t) - before
	t.Logf("50 cycles: %d KiB more, of %d MiB", growth>>10, before>>20)
	// A cycle's weights, text and frames are over 1 MiB; a leak of a tenth of one would show.
	if growth > 8<<20 {
		t.Errorf("50 cycles took %d KiB", growth>>10)
	}
	if live := liveUserData.Load(); live != callbacks {
		t.Errorf("%d callbacks are still held", live-callbacks)
	}
}
