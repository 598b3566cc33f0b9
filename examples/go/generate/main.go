// The shortest Go program: text to video with Pyramid Attention Broadcast.
//
//	go run . PIPELINE-FOLDER PROMPT OUTPUT.mp4
package main

import (
	"context"
	"fmt"
	"os"

	"cogvideox"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: generate PIPELINE-FOLDER PROMPT OUTPUT.mp4")
		os.Exit(2)
	}
	if err := generate(context.Background(), os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func generate(ctx context.Context, folder, prompt, output string) error {
	pipeline, err := cogvideox.Load(ctx, folder, nil)
	if err != nil {
		return err
	}
	defer pipeline.Close()
	cache := cogvideox.NewPAB()
	defer cache.Close()
	if err := pipeline.EnableCache(cache); err != nil {
		return err
	}
	video, err := pipeline.Generate(ctx, cogvideox.GenerateOptions{Prompt: prompt})
	if err != nil {
		return err
	}
	defer video.Close()
	return video.Save(0, output, pipeline.DefaultFPS())
}
