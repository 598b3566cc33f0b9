package cogvideox

// #include <cogvideox.h>
import "C"

import (
	"fmt"
	"image"
	"image/color"
	"unsafe"
)

// clip is pictures of one size as R, G, B, A without gaps.
func clip(name string, frames []image.Image) (pixels []byte, size image.Point, count C.int32_t, err error) {
	if count, err = toInt32("len("+name+")", len(frames)); err != nil {
		return nil, size, 0, err
	}
	for i, frame := range frames {
		name := fmt.Sprintf("%s[%d]", name, i)
		lines, stride, err := pictureRows(name, frame)
		if err != nil {
			return nil, size, 0, err
		}
		found := frame.Bounds().Size()
		if i == 0 {
			size = found
			pixels = make([]byte, 0, len(frames)*4*size.X*size.Y)
		} else if found != size {
			return nil, size, 0, invalid("%s: expected %d×%d pixels as the first has, found %d×%d", name, size.X, size.Y, found.X, found.Y)
		}
		for y := range size.Y {
			pixels = append(pixels, lines[y*stride:y*stride+4*size.X]...)
		}
	}
	return pixels, size, count, nil
}

func (o *GenerateOptions) setVideo(c *C.cvx_generate_options) error {
	if o.Strength != 0 {
		if err := takeError(C.cvx_generate_options_set_strength(c, C.double(o.Strength))); err != nil {
			return err
		}
	}
	if len(o.Video) == 0 {
		return nil
	}
	pixels, size, count, err := clip("Video", o.Video)
	if err != nil {
		return err
	}
	return takeError(C.cvx_generate_options_set_video(
		c, unsafe.Pointer(&pixels[0]), C.int32_t(size.X), C.int32_t(size.Y), count, 0, 0, C.CVX_PIXELS_RGBA8))
}

func (o *GenerateOptions) setControlVideo(c *C.cvx_generate_options) error {
	if len(o.ControlVideo) == 0 {
		return nil
	}
	pixels, size, count, err := clip("ControlVideo", o.ControlVideo)
	if err != nil {
		return err
	}
	return takeError(C.cvx_generate_options_set_control_video(
		c, unsafe.Pointer(&pixels[0]), C.int32_t(size.X), C.int32_t(size.Y), count, 0, 0, C.CVX_PIXELS_RGBA8))
}

func (o *GenerateOptions) setMask(c *C.cvx_generate_options) error {
	if len(o.Mask) == 0 {
		return nil
	}
	pixels, size, count, err := clip("Mask", o.Mask)
	if err != nil {
		return err
	}
	grey := make([]byte, len(pixels)/4)
	for i := range grey {
		p := pixels[4*i:]
		grey[i] = color.GrayModel.Convert(color.RGBA{p[0], p[1], p[2], 255}).(color.Gray).Y
	}
	return takeError(C.cvx_generate_options_set_mask(
		c, (*C.uint8_t)(unsafe.Pointer(&grey[0])), C.int32_t(size.X), C.int32_t(size.Y), count, 0, 0))
}

// setBatch sets what each video has of its own.
func (o *GenerateOptions) setBatch(c *C.cvx_generate_options) error {
	err := withTexts("Prompts", o.Prompts, func(texts **C.char, count C.size_t) error {
		return takeError(C.cvx_generate_options_set_prompts(c, texts, count))
	})
	if err != nil {
		return err
	}
	err = withTexts("NegativePrompts", o.NegativePrompts, func(texts **C.char, count C.size_t) error {
		return takeError(C.cvx_generate_options_set_negative_prompts(c, texts, count))
	})
	if err != nil || len(o.Seeds) == 0 {
		return err
	}
	return takeError(C.cvx_generate_options_set_seeds(
		c, (*C.uint64_t)(unsafe.Pointer(&o.Seeds[0])), C.size_t(len(o.Seeds))))
}
