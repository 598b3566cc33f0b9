package cogvideox

// #cgo pkg-config: cogvideox
// #include <stdlib.h>
// #include <cogvideox.h>
import "C"

import (
	"strings"
	"sync"
	"unsafe"
)

// The release of the header that this package was built with.
const (
	HeaderVersionMajor = int(C.CVX_VERSION_MAJOR)
	HeaderVersionMinor = int(C.CVX_VERSION_MINOR)
	HeaderVersionPatch = int(C.CVX_VERSION_PATCH)
	// HeaderABIVersion is the binary interface of that header.
	HeaderABIVersion = int(C.CVX_ABI_VERSION)
)

// Version is the release of the library that is loaded, "major.minor.patch".
func Version() string { return C.GoString(C.cvx_version()) }

// ABIVersion is the binary interface of the library that is loaded.
func ABIVersion() int { return int(C.cvx_abi_version()) }

// HasCapability says whether the library that is loaded can do what name says, such as "save.mp4" or
// "cache.pab"; false for a name that it does not know.
func HasCapability(name string) bool {
	text := C.CString(name)
	defer C.free(unsafe.Pointer(text))
	return C.cvx_has_capability(text) != 0
}

// Capabilities are all names that [HasCapability] answers true for, sorted.
func Capabilities() []string { return strings.Fields(C.GoString(C.cvx_capabilities())) }

// CheckABI returns nil if the library that is loaded serves the header that this package was
// built with, else an error of [ErrInvalidArgument]. [Load] and [NewCacheConfig] check it too.
func CheckABI() error { return abiCheck() }

var abiCheck = sync.OnceValue(func() error {
	return takeError(C.cvx_abi_check(C.CVX_ABI_VERSION))
})
