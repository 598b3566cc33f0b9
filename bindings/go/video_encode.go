package cogvideox

// #include "trampolines.h"
import "C"

import (
	"io"
	"unsafe"
)

// EncodeBytes returns one video, from 0, as the bytes of the file that [Video.Save] would write;
// format is "mp4" or "gif".
//
// Errors: [ErrInvalidUTF8], [ErrInvalidArgument] (format, fps, index, no frames), [ErrOutOfMemory].
func (v *Video) EncodeBytes(index int, format string, fps float64) ([]byte, error) {
	ptr := v.h.acquire("EncodeBytes")
	defer v.h.release()
	number, err := toInt32("index", index)
	if err != nil {
		return nil, err
	}
	var buffer *C.cvx_buffer
	if err := withText("format", format, func(format *C.char) error {
		return takeError(C.cvx_video_encode_buffer(ptr, number, format, C.double(fps), &buffer))
	}); err != nil {
		return nil, err
	}
	defer C.cvx_buffer_free(buffer)
	bytes := make([]byte, int(C.cvx_buffer_size(buffer)))
	copy(bytes, unsafe.Slice((*byte)(C.cvx_buffer_data(buffer)), len(bytes)))
	return bytes, nil
}

// Encode writes the same bytes to w as they come.
//
// Errors: as [Video.EncodeBytes], and what w fails with, which errors.Is finds in what is answered.
func (v *Video) Encode(index int, format string, fps float64, w io.Writer) error {
	ptr := v.h.acquire("Encode")
	defer v.h.release()
	number, err := toInt32("index", index)
	if err != nil {
		return err
	}
	r := &run{write: w}
	err = withText("format", format, func(format *C.char) error {
		return takeError(C.cvx_video_encode(
			ptr, number, format, C.double(fps), C.cogvideox_go_write, newUserData(r), C.cogvideox_go_free))
	})
	if panicked := r.take(); panicked != nil {
		panic(panicked)
	}
	if cause := r.stopCause(); cause != nil {
		return cause
	}
	return err
}

//export cogvideoxGoWrite
func cogvideoxGoWrite(info *C.cvx_write_info, userData unsafe.Pointer) C.int32_t {
	r := userDataValue(userData).(*run)
	return r.answer(func() error {
		// A copy: a writer may keep what it is not meant to, and the memory is the library's.
		_, err := r.write.Write(C.GoBytes(unsafe.Pointer(info.data), C.int(info.size)))
		return err
	})
}
