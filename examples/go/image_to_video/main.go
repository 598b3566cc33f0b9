// Image to video: a picture becomes the first frame.
//
//	image_to_video CogVideoX-5b-I2V cat.jpg "the cat looks around and yawns" cat.mp4
package main

import (
	"context"
	"fmt"
	"os"

	"cogvideox"
)

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: image_to_video MODEL IMAGE PROMPT VIDEO")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, "image_to_video:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, model, picture, prompt, path string) error {
	pipeline, err := cogvideox.Load(ctx, model, nil)
	if err != nil {
		return err
	}
	defer pipeline.Close()
	image, err := cogvideox.LoadImage(picture)
	if err != nil {
		return err
	}
	video, err := pipeline.Generate(ctx, cogvideox.GenerateOptions{
		Prompt:    prompt,
		Image:     image,
		Scheduler: "dpm", // which the published models are recommended with
	})
	if err != nil {
		return err
	}
	defer video.Close()
	if err := video.Save(0, path, pipeline.DefaultFPS()); err != nil {
		return err
	}
	fmt.Printf("%s: %d frames of %dx%d\n", path, video.NumFrames(), video.Width(), video.Height())
	return nil
}
