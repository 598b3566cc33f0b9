//go:build !cvxgcdebug

package cogvideox

// collectGarbage does nothing; see the build tag cvxgcdebug.
func collectGarbage() {}
