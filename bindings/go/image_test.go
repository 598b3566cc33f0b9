package cogvideox

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"path/filepath"
	"slices"
	"testing"
)

// picture is a colourful one with alpha throughout 255, or not.
func picture(width, height int, opaque bool) *image.NRGBA {
	made := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			alpha := byte(255)
			if !opaque {
				alpha = byte(20 + 9*x)
			}
			made.SetNRGBA(x, y, color.NRGBA{byte(31 * x), byte(17 * y), byte(x * y), alpha})
		}
	}
	return made
}

func imageRun(t *testing.T, p *Pipeline, picture image.Image) []float32 {
	t.Helper()
	options := small(1)
	options.Image, options.Output = picture, OutputLatents
	latents, err := generate(t, p, options).Latents()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(latents.Data)
}

func TestImages(t *testing.T) {
	p := load(t, "1.5-5b-i2v")
	if p.Task() != TaskImageToVideo || load(t, "2b").Task() != TaskTextToVideo {
		t.Error("wrong tasks")
	}
	plain := picture(23, 14, true)
	want := imageRun(t, p, plain)
	if other := imageRun(t, p, picture(23, 15, true)); slices.Equal(want, other) {
		t.Error("another picture changed nothing")
	}
	// The same colours, held otherwise.
	framed := image.NewNRGBA(image.Rect(0, 0, 30, 20))
	premultiplied := image.NewRGBA(plain.Bounds())
	for y := range 14 {
		for x := range 23 {
			framed.Set(x+4, y+5, plain.At(x, y))
			premultiplied.Set(x, y, plain.At(x, y))
		}
	}
	transparent := picture(23, 14, false)
	palette := image.NewPaletted(image.Rect(0, 0, 2, 1), color.Palette{color.White, color.Black})
	grey := image.NewGray(image.Rect(0, 0, 2, 1))
	grey.Pix[0] = 255
	palette.Pix[1] = 1
	for name, got := range map[string][]float32{
		"part of a larger one": imageRun(t, p, framed.SubImage(image.Rect(4, 5, 27, 19))),
		"premultiplied":        imageRun(t, p, premultiplied),
		"alpha is dropped":     imageRun(t, p, transparent),
	} {
		if !slices.Equal(got, want) {
			t.Errorf("%s: another run", name)
		}
	}
	if !slices.Equal(imageRun(t, p, palette), imageRun(t, p, grey)) {
		t.Error("a palette and grey differ")
	}
	if plain.Pix[0] != 0 || !bytes.Equal(plain.Pix, picture(23, 14, true).Pix) {
		t.Error("the picture was changed")
	}
}

func TestAFrameIsAnImage(t *testing.T) {
	p := load(t, "1.5-5b-i2v")
	options := small(1)
	options.Image = picture(8, 8, true)
	video := generate(t, p, options)
	view, err := video.View(0, 8)
	if err != nil {
		t.Fatal(err)
	}
	copied := image.NewRGBA(view.Bounds())
	copy(copied.Pix, view.Pix)
	if !slices.Equal(imageRun(t, p, view), imageRun(t, p, copied)) {
		t.Error("a view and its copy differ")
	}
}

func TestImagesThatCannotBe(t *testing.T) {
	p := load(t, "1.5-5b-i2v")
	run := func(p *Pipeline, picture image.Image) error {
		options := small(1)
		options.Image = picture
		_, err := p.Generate(context.Background(), options)
		return err
	}
	wants(t, run(p, nil), ErrInvalidArgument, "image: expected one")
	wants(t, run(load(t, "2b"), picture(4, 4, true)), ErrInvalidArgument, "image: expected none")
	wants(t, run(p, image.NewNRGBA(image.Rect(0, 0, 0, 4))), ErrInvalidArgument, "Image", "0×4")
	wants(t, run(p, (*image.NRGBA)(nil)), ErrInvalidArgument, "Image", "nil")
	wants(t, run(p, image.NewUniform(color.White)), ErrInvalidArgument, "16384")
	short := picture(4, 4, true)
	short.Pix = short.Pix[:40]
	wants(t, run(p, short), ErrInvalidArgument, "40 bytes")
	generate(t, p, func() GenerateOptions {
		options := small(1)
		options.Image = picture(4, 4, true)
		return options
	}())
}

func TestVideosAreMadeAnew(t *testing.T) {
	p := load(t, "2b")
	video := generate(t, p, small(1))
	frames := make([]image.Image, 9)
	same := make([]image.Image, 9)
	for i := range frames {
		view, err := video.View(0, i)
		if err != nil {
			t.Fatal(err)
		}
		copied := image.NewRGBA(view.Bounds())
		copy(copied.Pix, view.Pix)
		frames[i], same[i] = view, copied
	}
	run := func(frames []image.Image, strength float64) ([]float32, error) {
		options := small(4)
		options.Video, options.Strength, options.Output = frames, strength, OutputLatents
		options.NumFrames = 0
		video, err := p.Generate(context.Background(), options)
		if err != nil {
			return nil, err
		}
		defer video.Close()
		latents, err := video.Latents()
		if err != nil {
			t.Fatal(err)
		}
		return slices.Clone(latents.Data), nil
	}
	got := func(frames []image.Image, strength float64) []float32 {
		t.Helper()
		data, err := run(frames, strength)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	want := got(frames, 0)
	if !slices.Equal(got(same, 0.8), want) {
		t.Error("views and copies of them differ")
	}
	if slices.Equal(got(frames, 0.5), want) {
		t.Error("strength changed nothing")
	}
	_, err := run(frames, 0.1)
	wants(t, err, ErrInvalidArgument, "strength")
	_, err = run(nil, 0.5)
	wants(t, err, ErrInvalidArgument, "strength")
	_, err = run([]image.Image{frames[0], picture(4, 4, true)}, 0)
	wants(t, err, ErrInvalidArgument, "Video[1]", "4×4")
	_, err = run([]image.Image{frames[0], nil}, 0)
	wants(t, err, ErrInvalidArgument, "Video[1]", "nil")
	_, err = run([]image.Image{(*image.NRGBA)(nil)}, 0)
	wants(t, err, ErrInvalidArgument, "Video[0]", "nil")
}

// clipOf is a video whose frames differ.
func clipOf(frames int) []image.Image {
	made := make([]image.Image, frames)
	for i := range made {
		made[i] = picture(12, 16, true)
		made[i].(*image.NRGBA).Set(i%12, 3, color.White)
	}
	return made
}

func TestControlAndInpainting(t *testing.T) {
	run := func(p *Pipeline, change func(*GenerateOptions)) ([]float32, error) {
		options := small(1)
		options.Output, options.NumFrames = OutputLatents, 0
		change(&options)
		video, err := p.Generate(context.Background(), options)
		if err != nil {
			return nil, err
		}
		defer video.Close()
		latents, err := video.Latents()
		if err != nil {
			t.Fatal(err)
		}
		return slices.Clone(latents.Data), nil
	}
	control := load(t, "5b-control")
	if control.Task() != TaskControl {
		t.Error("wrong task")
	}
	_, err := run(control, func(o *GenerateOptions) {})
	wants(t, err, ErrInvalidArgument, "control_video: expected one")
	if _, err = run(control, func(o *GenerateOptions) { o.ControlVideo = clipOf(9) }); err != nil {
		t.Error(err)
	}
	inpainting := load(t, "5b-inp")
	if inpainting.Task() != TaskInpainting {
		t.Error("wrong task")
	}
	nothing, err := run(inpainting, func(o *GenerateOptions) { o.NumFrames = 9 })
	if err != nil {
		t.Error(err)
	}
	ends, err := run(inpainting, func(o *GenerateOptions) {
		o.NumFrames, o.Image, o.LastImage = 9, picture(4, 4, true), picture(5, 7, true)
	})
	if err != nil || slices.Equal(ends, nothing) {
		t.Error("ends changed nothing:", err)
	}
	_, err = run(inpainting, func(o *GenerateOptions) { o.Video = clipOf(9) })
	wants(t, err, ErrInvalidArgument, "mask: expected one")
	mask := image.NewGray(image.Rect(0, 0, 2, 1))
	mask.Pix[1] = 255
	if _, err = run(inpainting, func(o *GenerateOptions) { o.Video, o.Mask = clipOf(9), []image.Image{mask} }); err != nil {
		t.Error(err)
	}
	_, err = run(inpainting, func(o *GenerateOptions) { o.LastImage = (*image.NRGBA)(nil) })
	wants(t, err, ErrInvalidArgument, "LastImage", "nil")
}

func TestSeveralPrompts(t *testing.T) {
	p := load(t, "2b")
	run := func(options GenerateOptions) ([]float32, error) {
		options.Output = OutputLatents
		video, err := p.Generate(context.Background(), options)
		if err != nil {
			return nil, err
		}
		defer video.Close()
		latents, err := video.Latents()
		if err != nil {
			t.Fatal(err)
		}
		return slices.Clone(latents.Data), nil
	}
	alone := small(2)
	alone.Prompt, alone.Seed = "a red ball", 7
	want, err := run(alone)
	if err != nil {
		t.Fatal(err)
	}
	both := small(2)
	both.Prompt, both.Prompts, both.Seeds = "", []string{"the moon", "a red ball"}, []uint64{3, 7}
	got, err := run(both)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2*len(want) {
		t.Fatalf("%d numbers, want twice %d", len(got), len(want))
	}
	for i, number := range want {
		if d := got[len(want)+i] - number; d > 1e-4 || d < -1e-4 {
			t.Fatalf("number %d: %g, alone %g", i, got[len(want)+i], number)
		}
	}
	both.NegativePrompts = []string{"dark", ""}
	if other, err := run(both); err != nil || slices.Equal(other, got) {
		t.Error("negative prompts changed nothing:", err)
	}
	both.Seeds = both.Seeds[:1]
	_, err = run(both)
	wants(t, err, ErrInvalidArgument, "seeds: expected 2")
}

func TestLoadImage(t *testing.T) {
	folder := filepath.Join("..", "..", "tests", "goldens", "images")
	upright, err := LoadImage(filepath.Join(folder, "turned.png"))
	if err != nil {
		t.Fatal(err)
	}
	if size := upright.Bounds(); size != image.Rect(0, 0, 26, 37) || !upright.Opaque() {
		t.Errorf("expected 26×37 pixels, found %v", size)
	}
	plain, err := LoadImage(filepath.Join(folder, "rgb.png"))
	if err != nil {
		t.Fatal(err)
	}
	// A quarter turn: the first row was the first column, from the bottom.
	if upright.At(0, 0) != plain.At(0, 25) || upright.At(25, 36) != plain.At(36, 0) {
		t.Error("the picture is not the right way up")
	}
	_, err = LoadImage(filepath.Join(folder, "missing.png"))
	wants(t, err, ErrNotFound, "missing.png")
	_, err = LoadImage(filepath.Join("..", "..", "README.md"))
	wants(t, err, ErrInvalidArgument, "README.md", "PNG or JPEG")
}
