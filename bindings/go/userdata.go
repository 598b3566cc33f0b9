package cogvideox

// #include <stdint.h>
// #include <stdlib.h>
import "C"

import (
	"runtime/cgo"
	"sync/atomic"
	"unsafe"
)

// liveUserData counts what was handed to the library as user_data and not freed by it yet.
var liveUserData atomic.Int64

// newUserData makes value reachable for callbacks until the library frees it. The library is
// given memory of C that holds a cgo.Handle: a handle passed as the pointer itself would be a
// small number in a pointer's place, which Go's runtime takes for a broken pointer.
func newUserData(value any) unsafe.Pointer {
	slot := (*C.uintptr_t)(C.malloc(C.size_t(unsafe.Sizeof(C.uintptr_t(0)))))
	*slot = C.uintptr_t(cgo.NewHandle(value))
	liveUserData.Add(1)
	return unsafe.Pointer(slot)
}

// userDataValue is the value that newUserData was given.
func userDataValue(userData unsafe.Pointer) any {
	return cgo.Handle(*(*C.uintptr_t)(userData)).Value()
}

// released is told when the library has freed the user_data that holds it.
type released interface{ released() }

// cogvideoxGoFree is what the library calls when it will not use user_data again.
//
//export cogvideoxGoFree
func cogvideoxGoFree(userData unsafe.Pointer) {
	handle := cgo.Handle(*(*C.uintptr_t)(userData))
	value := handle.Value()
	handle.Delete()
	C.free(userData)
	liveUserData.Add(-1)
	if value, ok := value.(released); ok {
		value.released()
	}
}
