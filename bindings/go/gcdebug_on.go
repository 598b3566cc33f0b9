//go:build cvxgcdebug

package cogvideox

import "runtime"

// collectGarbage collects twice: the first finds what nobody holds, and the cleanups it queued
// have run or are running by the end of the second.
func collectGarbage() {
	runtime.GC()
	runtime.Gosched()
	runtime.GC()
}
