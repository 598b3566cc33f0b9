package cogvideox

/*
#include <cogvideox.h>

// The layout of DLManagedTensor of dlpack.h, under names of our own: version 0.x of DLPack, whose
// layout is fixed.
typedef struct {
    void *data;
    int32_t device_type;
    int32_t device_id;
    int32_t ndim;
    uint8_t type_code;
    uint8_t type_bits;
    uint16_t type_lanes;
    int64_t *shape;
    int64_t *strides;
    uint64_t byte_offset;
} cogvideox_go_dl_tensor;

typedef struct cogvideox_go_dl_managed {
    cogvideox_go_dl_tensor tensor;
    void *context;
    void (*deleter)(struct cogvideox_go_dl_managed *);
} cogvideox_go_dl_managed;

static void cogvideox_go_dl_delete(cogvideox_go_dl_managed *managed) {
    if (managed->deleter) managed->deleter(managed);
}
*/
import "C"

import (
	"fmt"
	"unsafe"
)

// dlManaged is the tensor of the library, which the header leaves to dlpack.h.
type dlManaged = C.struct_DLManagedTensor

// DLPack is a tensor for another library, as a DLManagedTensor of dlpack.h. Its memory is
// shared with the video, which may be closed first.
type DLPack struct {
	closer[*C.struct_DLManagedTensor]
}

func newDLPack(ptr *C.struct_DLManagedTensor) *DLPack {
	d := &DLPack{}
	open(&d.closer, d, "DLPack", ptr, func(ptr *C.struct_DLManagedTensor) {
		C.cogvideox_go_dl_delete((*C.cogvideox_go_dl_managed)(unsafe.Pointer(ptr)))
	})
	return d
}

// Close calls the tensor's deleter. It never fails.
func (d *DLPack) Close() error {
	d.close()
	return nil
}

// Pointer is the DLManagedTensor. It stays owned by d.
func (d *DLPack) Pointer() unsafe.Pointer {
	ptr := d.h.acquire("Pointer")
	defer d.h.release()
	return unsafe.Pointer(ptr)
}

// Take is the DLManagedTensor too, and hands it over: whoever consumes it calls its deleter.
// d is closed afterwards.
func (d *DLPack) Take() unsafe.Pointer {
	ptr := d.h.acquire("Take")
	d.net.Stop()
	d.h.disown()
	d.h.release()
	return unsafe.Pointer(ptr)
}

// TensorInfo describes a [DLPack] tensor.
type TensorInfo struct {
	// Data is where the numbers are, on the tensor's device.
	Data unsafe.Pointer
	// Device is "cpu", "cuda:N", or "device T:N" with DLPack's number of the type.
	Device string
	// Dtype is "float32" or "uint8".
	Dtype string
	// Shape is the tensor's sides.
	Shape []int64
	// Strides are in numbers, not bytes; nil means densely packed.
	Strides []int64
}

// Info describes the tensor.
func (d *DLPack) Info() TensorInfo {
	ptr := d.h.acquire("Info")
	defer d.h.release()
	t := &(*C.cogvideox_go_dl_managed)(unsafe.Pointer(ptr)).tensor
	info := TensorInfo{Data: unsafe.Add(t.data, uintptr(t.byte_offset))}
	switch t.device_type {
	case 1:
		info.Device = "cpu"
	case 2:
		info.Device = fmt.Sprintf("cuda:%d", t.device_id)
	default:
		info.Device = fmt.Sprintf("device %d:%d", t.device_type, t.device_id)
	}
	kinds := [...]string{"int", "uint", "float"}
	if int(t.type_code) < len(kinds) {
		info.Dtype = fmt.Sprintf("%s%d", kinds[t.type_code], t.type_bits)
	} else {
		info.Dtype = fmt.Sprintf("type %d of %d bits", t.type_code, t.type_bits)
	}
	sides := func(from *C.int64_t) []int64 {
		if from == nil {
			return nil
		}
		return append([]int64(nil), unsafe.Slice((*int64)(unsafe.Pointer(from)), int(t.ndim))...)
	}
	info.Shape, info.Strides = sides(t.shape), sides(t.strides)
	return info
}

// FramesDLPack is the frames of one video, from 0, as a tensor (frames, height, width, 3):
// float32 from 0 to 1 for [PixelsF32], which lies where the frames lie, on whatever device; or
// uint8 with 3 or 4 at the end.
//
// Errors: [ErrInvalidArgument] (no such video, no frames, no such format), [ErrOutOfMemory].
func (v *Video) FramesDLPack(index int, pixels PixelFormat) (*DLPack, error) {
	ptr := v.h.acquire("FramesDLPack")
	defer v.h.release()
	number, err := toInt32("index", index)
	if err != nil {
		return nil, err
	}
	var out *C.struct_DLManagedTensor
	if err := takeError(C.cvx_video_frames_dlpack(ptr, number, C.int32_t(pixels), &out)); err != nil {
		return nil, err
	}
	return newDLPack(out), nil
}

// LatentsDLPack is the latents as a tensor (videos, latent frames, channels, latent height,
// latent width).
//
// Errors: [ErrOutOfMemory].
func (v *Video) LatentsDLPack() (*DLPack, error) {
	ptr := v.h.acquire("LatentsDLPack")
	defer v.h.release()
	var out *C.struct_DLManagedTensor
	if err := takeError(C.cvx_video_latents_dlpack(ptr, &out)); err != nil {
		return nil, err
	}
	return newDLPack(out), nil
}

// FramesDevice is where the float32 frames lie: "cpu" or "cuda:0".
func (v *Video) FramesDevice() string {
	ptr := v.h.acquire("FramesDevice")
	defer v.h.release()
	return C.GoString(C.cvx_video_frames_device(ptr))
}

// DeviceFrames are the float32 frames of one video where they are.
type DeviceFrames struct {
	// Data is a pointer on the device that [Video.FramesDevice] names; valid until the video
	// is closed.
	Data unsafe.Pointer
	// Size in bytes.
	Size uintptr
	// Stream is the cudaStream_t that they were made on; nil for the CPU and for CUDA's
	// default stream. Nothing is pending on it.
	Stream unsafe.Pointer
}

// DeviceFrames returns the float32 frames of one video, from 0, where they are.
//
// Errors: [ErrInvalidArgument] (no such video, no frames).
func (v *Video) DeviceFrames(index int) (DeviceFrames, error) {
	ptr := v.h.acquire("DeviceFrames")
	defer v.h.release()
	number, err := toInt32("index", index)
	if err != nil {
		return DeviceFrames{}, err
	}
	var data, stream unsafe.Pointer
	var size C.size_t
	if err := takeError(C.cvx_video_device_frames(ptr, number, &data, &size, &stream)); err != nil {
		return DeviceFrames{}, err
	}
	return DeviceFrames{Data: data, Size: uintptr(size), Stream: stream}, nil
}
