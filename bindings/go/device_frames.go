package cogvideox

// #include "trampolines.h"
import "C"

import "unsafe"

// DeviceFrameChunk is some frames of a video on the device that decoded them. Nothing has been
// waited for: what reads them is launched on Stream. Without a DeviceFrameBuffer the address is good
// for what is launched there during the callback, and for nothing else.
type DeviceFrameChunk struct {
	// Pixels is the format of the frames.
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
	// Address lies on the device; in host memory on the CPU.
	Address uintptr
	// RowStride and FrameStride are bytes from a row, and a frame, to the next.
	RowStride, FrameStride int
	// Stream is a cudaStream_t; 0 for CUDA's default stream, and on the CPU.
	Stream uintptr
	// Device is "cpu", "cuda:0", …
	Device string
}

func newDeviceFrameChunk(info *C.cvx_device_frames_info) DeviceFrameChunk {
	return DeviceFrameChunk{
		Pixels:      PixelFormat(info.pixels),
		Video:       int(info.video),
		FirstFrame:  int(info.first_frame),
		NumFrames:   int(info.num_frames),
		TotalFrames: int(info.total_frames),
		Width:       int(info.width),
		Height:      int(info.height),
		Address:     uintptr(info.data),
		RowStride:   int(info.row_stride),
		FrameStride: int(info.frame_stride),
		Stream:      uintptr(info.stream),
		Device:      C.GoString(info.device),
	}
}

// DeviceFrameBuffer is memory on the device that decodes, which a run writes its frames to: laid out
// as [FrameBuffer], and likewise checked before anything is computed.
type DeviceFrameBuffer struct {
	// Pixels is the format that is written. Default: [PixelsRGBA8].
	Pixels PixelFormat
	// Address lies on the device; on the CPU it is that of host memory which is not Go's.
	Address uintptr
	// Size in bytes.
	Size uintptr
	// RowStride and FrameStride in bytes; 0 means packed.
	RowStride, FrameStride int
}

func (b *DeviceFrameBuffer) set(c *C.cvx_generate_options) error {
	pixels := b.Pixels
	if pixels == 0 {
		pixels = PixelsRGBA8
	}
	if b.RowStride < 0 || b.FrameStride < 0 {
		return invalid("DeviceFrameBuffer: expected strides from 0, found %d and %d", b.RowStride, b.FrameStride)
	}
	if b.Address == 0 {
		return invalid("DeviceFrameBuffer: expected an address, found 0")
	}
	return takeError(C.cvx_generate_options_set_device_frames_buffer(
		c, C.int32_t(pixels), pointerTo(b.Address), C.size_t(b.Size), C.size_t(b.RowStride),
		C.size_t(b.FrameStride)))
}

// pointerTo is a number that is C's as C takes it. It is no Go memory, so nothing has to follow it.
func pointerTo(address uintptr) unsafe.Pointer {
	return *(*unsafe.Pointer)(unsafe.Pointer(&address))
}
