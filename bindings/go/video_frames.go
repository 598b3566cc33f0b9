package cogvideox

// #include <cogvideox.h>
import "C"

import (
	"image"
	"unsafe"
)

// RGB8 is the frames of one video, from 0, as bytes R, G, B, without a copy. Row y of frame f
// starts at data[(f*height+y)*stride]. The memory is the video's: it may be read until Close
// (or until the Video is forgotten), and must not be written to.
//
// Errors: [ErrInvalidArgument] (no such video, no frames), [ErrOutOfMemory].
func (v *Video) RGB8(index int) (data []byte, stride int, err error) {
	ptr := v.h.acquire("RGB8")
	defer v.h.release()
	number, err := toInt32("index", index)
	if err != nil {
		return nil, 0, err
	}
	var out *C.uint8_t
	var bytes C.size_t
	if err := takeError(C.cvx_video_frames_rgb8(ptr, number, &out, &bytes)); err != nil {
		return nil, 0, err
	}
	return unsafe.Slice((*byte)(out), rows(ptr)*int(bytes)), int(bytes), nil
}

// RGBA8 is the same as bytes R, G, B, A, with A 255 throughout: what image.RGBA holds.
func (v *Video) RGBA8(index int) (data []byte, stride int, err error) {
	ptr := v.h.acquire("RGBA8")
	defer v.h.release()
	number, err := toInt32("index", index)
	if err != nil {
		return nil, 0, err
	}
	var out *C.uint8_t
	var bytes C.size_t
	if err := takeError(C.cvx_video_frames_rgba8(ptr, number, &out, &bytes)); err != nil {
		return nil, 0, err
	}
	return unsafe.Slice((*byte)(out), rows(ptr)*int(bytes)), int(bytes), nil
}

// F32 is the same as numbers R, G, B, from 0 to 1; stride counts numbers, not bytes.
func (v *Video) F32(index int) (data []float32, stride int, err error) {
	ptr := v.h.acquire("F32")
	defer v.h.release()
	number, err := toInt32("index", index)
	if err != nil {
		return nil, 0, err
	}
	var out *C.float
	var bytes C.size_t
	if err := takeError(C.cvx_video_frames_f32(ptr, number, &out, &bytes)); err != nil {
		return nil, 0, err
	}
	stride = int(bytes) / 4
	return unsafe.Slice((*float32)(out), rows(ptr)*stride), stride, nil
}

// rows counts the rows of all frames of a video.
func rows(ptr *C.cvx_video) int {
	return int(C.cvx_video_num_frames(ptr)) * int(C.cvx_video_height(ptr))
}

// FrameView is a frame in the memory of its video. It keeps the video from being closed as
// forgotten, but not from Close: it must not be used after that, nor written to.
type FrameView struct {
	*image.RGBA
	video *Video
}

// View is one frame of one video, both from 0, without a copy.
//
// Errors: [ErrInvalidArgument] (no such video or frame, no frames), [ErrOutOfMemory].
func (v *Video) View(index, frame int) (*FrameView, error) {
	data, stride, err := v.RGBA8(index)
	if err != nil {
		return nil, err
	}
	width, height, frames := v.Width(), v.Height(), v.NumFrames()
	if frame < 0 || frame >= frames {
		return nil, invalid("frame: expected 0 to %d, found %d", frames-1, frame)
	}
	size := height * stride
	return &FrameView{
		RGBA: &image.RGBA{
			Pix:    data[frame*size : (frame+1)*size : (frame+1)*size],
			Stride: stride,
			Rect:   image.Rect(0, 0, width, height),
		},
		video: v,
	}, nil
}

// Frame is a copy of one frame of one video, both from 0. It belongs to the caller.
//
// Errors: [ErrInvalidArgument] (no such video or frame, no frames), [ErrOutOfMemory].
func (v *Video) Frame(index, frame int) (*image.RGBA, error) {
	// Held over the copy, lest another goroutine close the video under it.
	v.h.acquire("Frame")
	defer v.h.release()
	view, err := v.View(index, frame)
	if err != nil {
		return nil, err
	}
	img := image.NewRGBA(view.Rect)
	for y := range view.Rect.Dy() {
		copy(img.Pix[y*img.Stride:(y+1)*img.Stride], view.Pix[y*view.Stride:])
	}
	return img, nil
}

// Frames is a copy of all frames of one video, from 0.
//
// Errors: [ErrInvalidArgument] (no such video, no frames), [ErrOutOfMemory].
func (v *Video) Frames(index int) ([]*image.RGBA, error) {
	if v.NumFrames() == 0 {
		_, _, err := v.RGBA8(index)
		return nil, err
	}
	frames := make([]*image.RGBA, v.NumFrames())
	for i := range frames {
		img, err := v.Frame(index, i)
		if err != nil {
			return nil, err
		}
		frames[i] = img
	}
	return frames, nil
}

// Latents is the latents that the run ended with, of all its videos, without a copy: valid
// until Close, and not to be written to. In the 1.5 family the padding frames at the front are
// among them.
//
// Errors: [ErrOutOfMemory].
func (v *Video) Latents() (*Latents, error) {
	ptr := v.h.acquire("Latents")
	defer v.h.release()
	var data *C.float
	l := &Latents{}
	if err := takeError(C.cvx_video_latents(ptr, &data, sides(&l.Shape))); err != nil {
		return nil, err
	}
	count := int64(1)
	for _, side := range l.Shape {
		count *= side
	}
	l.Data = unsafe.Slice((*float32)(data), count)
	return l, nil
}
