// What a call costs from Go: microseconds per call, as JSON. Run at the root of the checkout; the
// best of many short rounds is told, since anything else on the machine only adds. The same calls
// as in ../call_overhead.cpp.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"cogvideox"
)

var sink int

var separator = ""

func main() {
	ctx := context.Background()
	pipeline := must(cogvideox.Load(ctx, "tests/pipelines/5b", nil))
	defer pipeline.Close()
	options := cogvideox.GenerateOptions{Width: 32, Height: 32, NumFrames: 9,
		NumInferenceSteps: 1, MaxSequenceLength: 8}
	video := must(pipeline.Generate(ctx, options))
	defer video.Close()
	job := must(pipeline.Submit(ctx, options))
	defer job.Close()
	must(job.Wait(ctx))
	config := cogvideox.NewPAB()
	defer config.Close()

	fmt.Printf("{\n  \"unit\": \"microseconds per call\",\n  \"library\": %q,\n  \"calls\": {",
		cogvideox.Version())
	measure("number", 200000, func(int) { sink = video.NumFrames() })
	measure("text", 200000, func(int) { sink = len(pipeline.Family()) })
	measure("set number", 200000, func(int) { check(config.SetSpatialAttentionBlockSkipRange(2)) })
	measure("set text", 100000, func(int) { check(config.SetCacheDtype("f16")) })
	measure("set callback", 50000, func(i int) {
		check(config.SetCurrentTimestepCallback(func(step cogvideox.StepInfo) float64 {
			return step.Timestep + float64(i)
		}))
	})
	measure("error", 50000, func(int) {
		sink = len(config.SetSpatialAttentionBlockSkipRange(-1).Error())
	})
	measure("object", 50000, func(int) { check(cogvideox.NewPAB().Close()) })
	measure("poll", 100000, func(int) { sink = int(job.Status().State) })
	measure("frames", 100000, func(int) {
		data, _, err := video.RGB8(0)
		check(err)
		sink = int(data[0])
	})
	fmt.Print("\n  }\n}\n")
}

func measure(name string, calls int, call func(int)) {
	// Rounds are shorter than the time that a busy machine leaves a program without a break.
	const rounds = 500
	calls /= rounds
	best := 1e30
	for range rounds {
		start := time.Now()
		for i := range calls {
			call(i)
		}
		best = min(best, float64(time.Since(start).Nanoseconds())/1e3/float64(calls))
	}
	fmt.Printf("%s\n    %q: {\"go\": %.5f}", separator, name, best)
	separator = ","
}

func must[T any](value T, err error) T { check(err); return value }

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
