package cogvideox

// #include <cogvideox.h>
import "C"

import (
	"image"
	"reflect"
	"unsafe"
)

// clip is pictures of one size as R, G, B, A without gaps.
func clip(name string, frames []image.Image) (pixels []byte, size image.Point, err error) {
	for i, frame := range frames {
		// A nil pointer in an interface is a mistake of the caller's that would panic far from it.
		if value := reflect.ValueOf(frame); frame == nil || (value.Kind() == reflect.Pointer && value.IsNil()) {
			return nil, size, invalid("%s: expected pictures, found nil in frame %d", name, i)
		}
		found := frame.Bounds()
		if found.Empty() || found.Dx() > 1<<14 || found.Dy() > 1<<14 {
			return nil, size, invalid("%s: expected sides of 1 to 16384 pixels, found %d×%d in frame %d", name, found.Dx(), found.Dy(), i)
		}
		if i == 0 {
			size = found.Size()
			pixels = make([]byte, 0, len(frames)*4*size.X*size.Y)
		} else if found.Size() != size {
			return nil, size, invalid("%s: expected frames of %d×%d like the first, found %d×%d in frame %d", name, size.X, size.Y, found.Dx(), found.Dy(), i)
		}
		rows, stride := bytes4(frame)
		if stride < 4*size.X || len(rows) < (size.Y-1)*stride+4*size.X {
			return nil, size, invalid("%s: expected %d×%d pixels, found %d bytes in rows of %d in frame %d", name, size.X, size.Y, len(rows), stride, i)
		}
		for y := range size.Y {
			pixels = append(pixels, rows[y*stride:y*stride+4*size.X]...)
		}
	}
	return pixels, size, nil
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
	pixels, size, err := clip("Video", o.Video)
	if err != nil {
		return err
	}
	count, err := toInt32("len(Video)", len(o.Video))
	if err != nil {
		return err
	}
	return takeError(C.cvx_generate_options_set_video(
		c, unsafe.Pointer(&pixels[0]), C.int32_t(size.X), C.int32_t(size.Y), count, 0, 0, C.CVX_PIXELS_RGBA8))
}
