package cogvideox

// #cgo pkg-config: cogvideox
// #include <cogvideox.h>
import "C"

import (
	"sync"
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

// CheckABI returns nil if the library that is loaded serves the header that this package was
// built with, else an error of [ErrInvalidArgument]. [Load] and [NewCacheConfig] check it too.
func CheckABI() error { return abiCheck() }

var abiCheck = sync.OnceValue(func() error {
	return takeError(C.cvx_abi_check(C.CVX_ABI_VERSION))
})
