package cogvideox

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestUseAfterClosePanics(t *testing.T) {
	p := load(t, "2b")
	v := generate(t, p, small(1))
	stats, err := p.CacheStats()
	if err != nil {
		t.Fatal(err)
	}
	config := NewPAB()
	for _, c := range []interface{ Close() error }{p, v, stats, config} {
		for range 3 { // closing again is nothing
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	ctx := context.Background()
	for name, use := range map[string]func(){
		"Pipeline.Generate":    func() { p.Generate(ctx, small(1)) },
		"Pipeline.Submit":      func() { p.Submit(ctx, small(1)) },
		"Pipeline.Family":      func() { p.Family() },
		"Pipeline.Clone":       func() { p.Clone() },
		"Pipeline.EnableCache": func() { p.EnableCache(config) },
		"Pipeline.CacheStats":  func() { p.CacheStats() },
		"Video.Frame":          func() { v.Frame(0, 0) },
		"Video.RGB8":           func() { v.RGB8(0) },
		"Video.Save":           func() { v.Save(0, "x.mp4", 8) },
		"Video.FramesDLPack":   func() { v.FramesDLPack(0, PixelsF32) },
		"Video.SaveContactSheet": func() {
			SaveContactSheet([]*Video{v}, 1, "x.png")
		},
		"CacheStats.Text":        func() { stats.Text() },
		"CacheConfig.SetTensor":  func() { config.SetTensorFormat("BCHW") },
		"CacheConfig.SetCurrent": func() { config.SetCurrentTimestepCallback(nil) },
		"CacheConfig.Preview":    func() { config.Preview(1, 1, true) },
	} {
		message := fmt.Sprint(panics(t, use))
		if !strings.HasPrefix(message, "cogvideox: "+name) || !strings.HasSuffix(message, "called after Close") {
			t.Errorf("%s: panicked with %q", name, message)
		}
	}
	if message := fmt.Sprint(panics(t, func() { new(Pipeline).Family() })); !strings.Contains(message, "Family") {
		t.Errorf("zero Pipeline: panicked with %q", message)
	}
}

func TestCloseWhileInUse(t *testing.T) {
	p := load(t, "2b")
	want := bytesOf(t, generate(t, p, small(4)))
	options := small(4)
	options.Progress = func(Progress) error { return p.Close() }
	v := generate(t, p, options) // goes on to its end
	if !bytes.Equal(want, bytesOf(t, v)) {
		t.Error("found another video")
	}
	panics(t, func() { p.Family() })
}

func TestForgottenHandlesAreFreed(t *testing.T) {
	before := liveUserData.Load()
	func() {
		p, err := Load(context.Background(), folder("2b"), &LoadOptions{
			Device: "cpu",
			Log:    func(LogLevel, string) {},
		})
		if err != nil {
			t.Fatal(err)
		}
		c := NewPAB()
		if err := c.SetCurrentTimestepCallback(func(info StepInfo) float64 { return info.Timestep }); err != nil {
			t.Fatal(err)
		}
		if err := p.EnableCache(c); err != nil {
			t.Fatal(err)
		}
		if live := liveUserData.Load() - before; live != 2 {
			t.Fatalf("expected 2 callbacks to be held, found %d", live)
		}
		runtime.KeepAlive(p)
		runtime.KeepAlive(c)
	}()
	eventually(t, "the callbacks of forgotten handles are freed", func() bool {
		runtime.GC()
		return liveUserData.Load() <= before
	})
}

func TestAViewKeepsItsVideo(t *testing.T) {
	p := load(t, "2b")
	want := bytesOf(t, generate(t, p, small(1)))
	view := func() *FrameView {
		v, err := p.Generate(context.Background(), small(1))
		if err != nil {
			t.Fatal(err)
		}
		view, err := v.View(0, 3)
		if err != nil {
			t.Fatal(err)
		}
		return view
	}()
	for range 5 {
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
	}
	size := 32 * 32 * 4
	if !bytes.Equal(want[3*size:4*size], view.Pix) {
		t.Error("the view's memory is gone")
	}
	if view.At(0, 0) == nil || view.Bounds().Dx() != 32 {
		t.Error("a view is an image")
	}
	runtime.KeepAlive(view)
}
