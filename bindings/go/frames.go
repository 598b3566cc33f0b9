package cogvideox

// #include "trampolines.h"
import "C"

import (
	"context"
	"errors"
	"image"
	"iter"
	"math"
	"runtime"
	"unsafe"
)

// PixelFormat is how frames lie in memory.
type PixelFormat int32

// The formats of pixels.
const (
	// PixelsRGB8: 3 bytes a pixel, from 0 to 255.
	PixelsRGB8 = PixelFormat(C.CVX_PIXELS_RGB8)
	// PixelsRGBA8: 4 bytes a pixel, alpha 255 throughout. It is what image.RGBA holds.
	PixelsRGBA8 = PixelFormat(C.CVX_PIXELS_RGBA8)
	// PixelsF32: 3 float32 a pixel, from 0 to 1.
	PixelsF32 = PixelFormat(C.CVX_PIXELS_F32)
	// PixelsBGRA8: 4 bytes a pixel, blue first. Of frames that are handed out while they are
	// decoded, as is the next.
	PixelsBGRA8 = PixelFormat(C.CVX_PIXELS_BGRA8)
	// PixelsRGBA16F: 4 numbers in half precision a pixel, from 0 to 1, alpha 1 throughout.
	PixelsRGBA16F = PixelFormat(C.CVX_PIXELS_RGBA16F)
)

// BytesPerPixel is 3, 4, 8 or 12; 0 for a number that is no format.
func (f PixelFormat) BytesPerPixel() int {
	switch f {
	case PixelsRGB8:
		return 3
	case PixelsRGBA8, PixelsBGRA8:
		return 4
	case PixelsRGBA16F:
		return 8
	case PixelsF32:
		return 12
	}
	return 0
}

// FrameChunk is some frames of a video that have just been decoded. Its numbers may be kept;
// its memory is the library's and is gone when the callback returns.
type FrameChunk struct {
	// Pixels is the format of Data.
	Pixels PixelFormat
	// Video is the index of the video, from 0.
	Video int
	// FirstFrame is the index in its video of the first frame of the chunk.
	FirstFrame int
	// NumFrames is how many frames the chunk has.
	NumFrames int
	// TotalFrames is how many frames the whole video has.
	TotalFrames int
	// Width and Height in pixels.
	Width, Height int
	// RowStride and FrameStride are bytes from a row, and a frame, to the next.
	RowStride, FrameStride int
	// Data is the frames, one after another, without a copy: valid until the callback
	// returns, and nil from then on.
	Data []byte
}

func newFrameChunk(info *C.cvx_frames_info) *FrameChunk {
	c := &FrameChunk{
		Pixels:      PixelFormat(info.pixels),
		Video:       int(info.video),
		FirstFrame:  int(info.first_frame),
		NumFrames:   int(info.num_frames),
		TotalFrames: int(info.total_frames),
		Width:       int(info.width),
		Height:      int(info.height),
		RowStride:   int(info.row_stride),
		FrameStride: int(info.frame_stride),
	}
	c.Data = unsafe.Slice((*byte)(info.data), c.NumFrames*c.FrameStride)
	return c
}

func (c *FrameChunk) end() { c.Data = nil }

// Floats is Data as numbers where Pixels is [PixelsF32], else nil; valid as long as Data.
func (c *FrameChunk) Floats() []float32 {
	if c.Pixels != PixelsF32 || len(c.Data) == 0 {
		return nil
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(&c.Data[0])), len(c.Data)/4)
}

// Image is a copy of one frame of the chunk, from 0 to NumFrames less 1, whatever the format of
// its pixels.
//
// Errors: [ErrInvalidArgument] for another frame, or after the callback has returned.
func (c *FrameChunk) Image(frame int) (*image.RGBA, error) {
	if c.Data == nil {
		return nil, invalid("frame: expected to be asked before the callback returned")
	}
	if frame < 0 || frame >= c.NumFrames {
		return nil, invalid("frame: expected 0 to %d, found %d", c.NumFrames-1, frame)
	}
	img := image.NewRGBA(image.Rect(0, 0, c.Width, c.Height))
	for y := range c.Height {
		row := c.Data[frame*c.FrameStride+y*c.RowStride:]
		to := img.Pix[y*img.Stride : y*img.Stride+4*c.Width]
		switch c.Pixels {
		case PixelsRGBA8:
			copy(to, row)
		case PixelsBGRA8:
			for x := range c.Width {
				blue := row[4*x : 4*x+4]
				to[4*x], to[4*x+1], to[4*x+2], to[4*x+3] = blue[2], blue[1], blue[0], blue[3]
			}
		case PixelsRGBA16F:
			bits := unsafe.Slice((*uint16)(unsafe.Pointer(&row[0])), 4*c.Width)
			for i, half := range bits {
				to[i] = toByte(fromHalf(half))
			}
		case PixelsRGB8:
			for x := range c.Width {
				copy(to[4*x:4*x+3], row[3*x:3*x+3])
				to[4*x+3] = 255
			}
		case PixelsF32:
			numbers := unsafe.Slice((*float32)(unsafe.Pointer(&row[0])), 3*c.Width)
			for x := range c.Width {
				for i := range 3 {
					to[4*x+i] = toByte(numbers[3*x+i])
				}
				to[4*x+3] = 255
			}
		}
	}
	return img, nil
}

// fromHalf is the number of half precision bits that are neither infinite nor no number.
func fromHalf(bits uint16) float32 {
	exponent, fraction := int(bits>>10&31), float64(bits&1023)/1024
	number := math.Ldexp(1+fraction, exponent-15)
	if exponent == 0 {
		number = math.Ldexp(fraction, -14)
	}
	if bits>>15 != 0 {
		number = -number
	}
	return float32(number)
}

// toByte rounds as the library does: to nearest, ties to even.
func toByte(x float32) uint8 { return uint8(math.RoundToEven(float64(x * 255))) }

// FrameBuffer is memory that a run writes its frames to as they are decoded: frame f of video v
// at (v*frames + f)*FrameStride, its row r at + r*RowStride. A buffer too small for the run is
// [ErrInvalidArgument] before anything is computed.
type FrameBuffer struct {
	// Pixels is the format that is written. Default: [PixelsRGBA8].
	Pixels PixelFormat
	// Data is Go memory. It is pinned while the run lasts.
	Data []byte
	// Pointer and Size, used where Data is nil, are memory from elsewhere, such as a mapped
	// texture; not Go memory.
	Pointer unsafe.Pointer
	Size    uintptr
	// RowStride and FrameStride in bytes; 0 means packed.
	RowStride, FrameStride int
}

func (b *FrameBuffer) set(c *C.cvx_generate_options, pin *runtime.Pinner) error {
	pixels := b.Pixels
	if pixels == 0 {
		pixels = PixelsRGBA8
	}
	if b.RowStride < 0 || b.FrameStride < 0 {
		return invalid("FrameBuffer: expected strides from 0, found %d and %d", b.RowStride, b.FrameStride)
	}
	data, size := b.Pointer, b.Size
	if b.Data != nil {
		data, size = unsafe.Pointer(unsafe.SliceData(b.Data)), uintptr(len(b.Data))
		if len(b.Data) > 0 {
			pin.Pin(data)
		}
	}
	if data == nil {
		return invalid("FrameBuffer: expected Data or Pointer, found neither")
	}
	return takeError(C.cvx_generate_options_set_frames_buffer(
		c, C.int32_t(pixels), data, C.size_t(size), C.size_t(b.RowStride), C.size_t(b.FrameStride)))
}

// Frame is one frame of a video, copied.
type Frame struct {
	// Video is the index of the video, from 0.
	Video int
	// Index is the frame's place in its video, from 0.
	Index int
	// Total is how many frames the video has.
	Total int
	// Image is the frame; it belongs to the receiver.
	Image *image.RGBA
}

var errFramesStopped = errors.New("cogvideox: the loop over frames was left")

// Frames generates and hands out frames while later ones are still being decoded:
//
//	for frame, err := range pipeline.Frames(ctx, options) {
//		if err != nil {
//			return err
//		}
//		show(frame.Image)
//	}
//
// Leaving the loop stops the run. An error comes last, with a zero Frame; errors are those of
// [Pipeline.Generate]. options.Frames and FramesPixels must not be set. The run is on a
// goroutine of its own and so are its callbacks; it has ended when the loop has.
func (p *Pipeline) Frames(ctx context.Context, options GenerateOptions) iter.Seq2[Frame, error] {
	return func(yield func(Frame, error) bool) {
		if options.Frames != nil || options.FramesPixels != 0 {
			yield(Frame{}, invalid("options.Frames: expected nil, because the loop takes the frames"))
			return
		}
		ctx, cancel := context.WithCancelCause(ctx)
		frames := make(chan Frame)
		var err error
		var panicked any
		run := options
		run.Frames = func(chunk *FrameChunk) error {
			for i := range chunk.NumFrames {
				img, err := chunk.Image(i)
				if err != nil {
					return err
				}
				frame := Frame{Video: chunk.Video, Index: chunk.FirstFrame + i, Total: chunk.TotalFrames, Image: img}
				select {
				case frames <- frame:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			return nil
		}
		go func() {
			defer close(frames)
			defer func() { panicked = recover() }()
			var video *Video
			if video, err = p.Generate(ctx, run); err == nil {
				video.Close()
			}
		}()
		// However the loop is left, also by a panic, the run has ended before it goes on.
		defer func() {
			cancel(errFramesStopped)
			for range frames {
			}
		}()
		for frame := range frames {
			if !yield(frame, nil) {
				return
			}
		}
		if panicked != nil {
			panic(panicked)
		}
		if err != nil {
			yield(Frame{}, err)
		}
	}
}
