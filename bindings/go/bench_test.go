package cogvideox

import (
	"context"
	"testing"
)

// What calls cost from Go; tests/bench/call_overhead.py measures them beside other languages.
// Run with go test -run '^$' -bench .

func BenchmarkGetter(b *testing.B) {
	p := load(b, "2b")
	for b.Loop() {
		p.DefaultWidth()
	}
}

// A run's options made, set and freed, and refused before the run begins.
func BenchmarkRefusedRun(b *testing.B) {
	p := load(b, "2b")
	options := small(1)
	options.Width = 24
	for b.Loop() {
		if _, err := p.Generate(context.Background(), options); err == nil {
			b.Fatal("expected an error")
		}
	}
}

// One call from C into Go: the library frees the callback that is replaced.
func BenchmarkSetCallback(b *testing.B) {
	c := NewPAB()
	defer c.Close()
	callback := func(info StepInfo) float64 { return info.Timestep }
	for b.Loop() {
		if err := c.SetCurrentTimestepCallback(callback); err != nil {
			b.Fatal(err)
		}
	}
}
