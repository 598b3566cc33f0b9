package cogvideox

// #include <cogvideox.h>
import "C"

import (
	"fmt"
	"math"
	"strings"
)

// Code says what kind of error it is. The codes below are errors themselves, to be looked for
// with errors.Is; a code that this package does not know is to be treated like [ErrInternal].
type Code int32

// OK is no error. No [Error] has it.
const OK = Code(C.CVX_OK)

// The codes of errors.
const (
	// ErrNullArgument: a pointer that must not be NULL is. Callers of this package do not see it.
	ErrNullArgument = Code(C.CVX_ERROR_NULL_ARGUMENT)
	// ErrInvalidArgument: an argument, option or configuration value is outside what it may be.
	ErrInvalidArgument = Code(C.CVX_ERROR_INVALID_ARGUMENT)
	// ErrInvalidUTF8: a string is not valid UTF-8.
	ErrInvalidUTF8 = Code(C.CVX_ERROR_INVALID_UTF8)
	// ErrNotFound: a file or folder that must be there is not.
	ErrNotFound = Code(C.CVX_ERROR_NOT_FOUND)
	// ErrInvalidCheckpoint: a file of the pipeline folder is damaged or contradicts another one.
	ErrInvalidCheckpoint = Code(C.CVX_ERROR_INVALID_CHECKPOINT)
	// ErrUnsupportedModel: the folder is sound, but asks for what the library does not implement.
	ErrUnsupportedModel = Code(C.CVX_ERROR_UNSUPPORTED_MODEL)
	// ErrDeviceUnavailable: the device asked for cannot be used.
	ErrDeviceUnavailable = Code(C.CVX_ERROR_DEVICE_UNAVAILABLE)
	// ErrOutOfMemory: the device or the host has too little memory; the handle stays usable.
	ErrOutOfMemory = Code(C.CVX_ERROR_OUT_OF_MEMORY)
	// ErrBusy: the pipeline is at work, or a callback called back into its own pipeline.
	ErrBusy = Code(C.CVX_ERROR_BUSY)
	// ErrCancelled: a context or a callback ended the work.
	ErrCancelled = Code(C.CVX_ERROR_CANCELLED)
	// ErrCallbackFailed: a callback answered something that cannot be used, such as NaN.
	ErrCallbackFailed = Code(C.CVX_ERROR_CALLBACK_FAILED)
	// ErrIO: reading or writing a file failed.
	ErrIO = Code(C.CVX_ERROR_IO)
	// ErrInternal: a defect of the library, or an unexpected failure inside libtorch.
	ErrInternal = Code(C.CVX_ERROR_INTERNAL)
	// ErrDeviceLost: the device failed for good. Later calls that need what lies there fail so,
	// too; the process must be restarted to use it again, and other devices go on.
	ErrDeviceLost = Code(C.CVX_ERROR_DEVICE_LOST)
)

// Name is the code's name in the C header without its prefix, such as "INVALID_ARGUMENT";
// "OK" for [OK], and "UNKNOWN" for a number that is no code.
func (c Code) Name() string { return C.GoString(C.cvx_error_code_name(C.int32_t(c))) }

// Error makes a code an error of its own, so that it can be looked for with errors.Is.
func (c Code) Error() string {
	return "cogvideox: " + strings.ToLower(strings.ReplaceAll(c.Name(), "_", " "))
}

// Error is what a call of the library failed with.
//
// errors.Is finds its Code in it; for work that was cancelled also the context's error and
// cause, or what the callback answered that stopped it.
type Error struct {
	// Code says what kind of error it is.
	Code Code
	// Message is one line that names the thing at fault, what was expected and what was found.
	Message string

	causes []error
}

// Error is the message behind the name of the package.
func (e *Error) Error() string {
	if len(e.causes) > 0 {
		return fmt.Sprintf("cogvideox: %s: %v", e.Message, e.causes[len(e.causes)-1])
	}
	return "cogvideox: " + e.Message
}

// Unwrap returns the code and, for work that was cancelled, why it was.
func (e *Error) Unwrap() []error { return append([]error{e.Code}, e.causes...) }

// takeError turns an error of the library into one of Go and frees it; nil for NULL.
func takeError(e *C.cvx_error) error {
	if e == nil {
		return nil
	}
	defer C.cvx_error_free(e)
	return &Error{Code: Code(C.cvx_error_code(e)), Message: C.GoString(C.cvx_error_message(e))}
}

// invalid is an error that this package found itself before it called the library.
func invalid(format string, args ...any) error {
	return &Error{Code: ErrInvalidArgument, Message: fmt.Sprintf(format, args...)}
}

// toInt32 is a number as the library takes it; more than 32 bits would be cut off silently.
func toInt32(name string, value int) (C.int32_t, error) {
	if value < math.MinInt32 || value > math.MaxInt32 {
		return 0, invalid("%s: expected a number of 32 bits, found %d", name, value)
	}
	return C.int32_t(value), nil
}

// first returns the first error that is not nil, without computing those after it.
func first(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
