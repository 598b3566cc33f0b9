package cogvideox

// #include <stdlib.h>
import "C"

import (
	"strings"
	"unsafe"
)

// cText is a string for one call of the library; free it with freeText. A NUL in the middle
// would silently end it there.
func cText(name, text string) (*C.char, error) {
	if i := strings.IndexByte(text, 0); i >= 0 {
		return nil, invalid("%s: expected text without NUL, found one at byte %d", name, i)
	}
	return C.CString(text), nil
}

func freeText(text *C.char) { C.free(unsafe.Pointer(text)) }

// withText calls the library with a string.
func withText(name, text string, call func(*C.char) error) error {
	c, err := cText(name, text)
	if err != nil {
		return err
	}
	defer freeText(c)
	return call(c)
}

// withTexts calls the library with an array of strings; the array lies in C's memory, because
// Go's may not hold pointers to C strings that C reads during the call.
func withTexts(name string, texts []string, call func(**C.char, C.size_t) error) error {
	if len(texts) == 0 {
		var none *C.char
		return call(&none, 0)
	}
	size := C.size_t(len(texts)) * C.size_t(unsafe.Sizeof((*C.char)(nil)))
	array := (**C.char)(C.calloc(1, size))
	defer C.free(unsafe.Pointer(array))
	slots := unsafe.Slice(array, len(texts))
	defer func() {
		for _, c := range slots {
			freeText(c)
		}
	}()
	for i, text := range texts {
		c, err := cText(name, text)
		if err != nil {
			return err
		}
		slots[i] = c
	}
	return call(array, C.size_t(len(texts)))
}
