package cogvideox

import (
	"runtime"
	"sync"
)

// handle owns a pointer of the library. It counts the calls that use the pointer, so that it
// is freed when the handle is closed and the last of them has returned, whichever is later.
// P is a pointer type such as *C.cvx_pipeline.
type handle[P comparable] struct {
	kind string
	free func(P)

	mu     sync.Mutex
	ptr    P
	uses   int
	closed bool
}

func newHandle[P comparable](kind string, ptr P, free func(P)) *handle[P] {
	return &handle[P]{kind: kind, ptr: ptr, free: free}
}

// acquire returns the pointer for one call of method, which ends with release. It panics where
// the handle is closed, or was never opened: such a program is wrong, and an error that nobody
// looks at would hide it.
func (h *handle[P]) acquire(method string) P {
	if h == nil {
		panic("cogvideox: " + method + " called on a value that this package did not make")
	}
	collectGarbage()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		panic("cogvideox: " + h.kind + "." + method + " called after Close")
	}
	h.uses++
	return h.ptr
}

// tryAcquire is acquire for what happens behind the caller's back: a closed handle is no mistake.
func (h *handle[P]) tryAcquire() (ptr P, open bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ptr, false
	}
	h.uses++
	return h.ptr, true
}

// release ends a call that acquire began.
func (h *handle[P]) release() {
	h.mu.Lock()
	h.uses--
	free := h.closed && h.uses == 0
	h.mu.Unlock()
	if free {
		h.free(h.ptr)
	}
	collectGarbage()
}

// close marks the handle as closed and frees it, now or with the last release.
func (h *handle[P]) close() {
	if h == nil {
		return
	}
	h.mu.Lock()
	free := !h.closed && h.uses == 0
	h.closed = true
	h.mu.Unlock()
	if free {
		h.free(h.ptr)
	}
}

// disown closes the handle without freeing its pointer, which somebody else frees.
func (h *handle[P]) disown() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.free = func(P) {}
}

// closer is what the types of this package embed: their handle's Close and the safety net.
type closer[P comparable] struct {
	h   *handle[P]
	net runtime.Cleanup
}

// open takes over ptr for owner, in which the closer lies. Should owner be forgotten without
// Close, the garbage collector closes the handle.
func open[P comparable, T any](c *closer[P], owner *T, kind string, ptr P, free func(P)) {
	c.h = newHandle(kind, ptr, free)
	c.net = runtime.AddCleanup(owner, func(h *handle[P]) { h.close() }, c.h)
}

func (c *closer[P]) close() {
	c.net.Stop()
	c.h.close()
}
