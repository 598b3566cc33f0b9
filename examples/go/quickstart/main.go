package main

import (
	"context"
	"fmt"
	"os"

	"cogvideox"
)

func main() {
	ctx := context.Background()
	pipeline := must(cogvideox.Load(ctx, "examples/demo-model/pipeline", nil))
	defer pipeline.Close()
	cache := cogvideox.NewPAB()
	defer cache.Close()
	check(pipeline.EnableCache(cache))
	options := cogvideox.GenerateOptions{Prompt: "a red ball moves right on a black background"}
	video := must(pipeline.Generate(ctx, options))
	defer video.Close()
	check(video.Save(0, "ball.mp4", pipeline.DefaultFPS()))
}

func must[T any](value T, err error) T { check(err); return value }

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
