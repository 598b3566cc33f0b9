// Generate, in Go, outside the checkout: a short video's frames, three bytes a pixel.
//
//	generate PIPELINE_FOLDER FILE
package main

import (
	"context"
	"fmt"
	"os"

	"cogvideox"
)

func generate(folder, file string) error {
	ctx := context.Background()
	pipeline, err := cogvideox.Load(ctx, folder, nil)
	if err != nil {
		return err
	}
	defer pipeline.Close()
	video, err := pipeline.Generate(ctx, cogvideox.GenerateOptions{
		Prompt:            "a red ball moves right on a black background",
		NumInferenceSteps: 3,
		Seed:              7,
	})
	if err != nil {
		return err
	}
	defer video.Close()
	frames, _, err := video.RGB8(0)
	if err != nil {
		return err
	}
	return os.WriteFile(file, frames, 0o644)
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: generate PIPELINE_FOLDER FILE")
		os.Exit(2)
	}
	if err := generate(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}
