package cogvideox

// #include <cogvideox.h>
import "C"

import (
	"context"
	"runtime"
	"unsafe"
)

// TuneCache makes the cheapest cache schedule it finds for this pipeline whose videos have a
// median PSNR of at least minPSNR decibels (from 10 to 90) against the uncached ones of runs:
// options of one size, number of steps and guidance, with different prompts and seeds, at most a
// thousand. Callbacks are those of the first. It takes at most 49 runs each, and returns when it is
// done or ctx has ended. Keep the config with [CacheConfig.ToJSON]: it belongs to this model,
// scheduler, number of steps and guidance. The pipeline's own cache stays as it was.
//
// Errors: [ErrInvalidArgument], also if no schedule reaches minPSNR, and those of
// [Pipeline.Generate].
func (p *Pipeline) TuneCache(ctx context.Context, runs []GenerateOptions, minPSNR float64) (*CacheConfig, error) {
	var out *C.cvx_cache_config
	err := p.withRuns(ctx, "TuneCache", runs,
		func(ptr *C.cvx_pipeline, given **C.cvx_generate_options, count C.size_t) *C.cvx_error {
			return C.cvx_pipeline_tune_cache(ptr, given, count, C.double(minPSNR), &out)
		}, func() { C.cvx_cache_config_free(out) })
	if err != nil {
		return nil, err
	}
	return newCacheConfig(out), nil
}

// withRuns calls call with the runs as the library takes them; the first one's callbacks are used.
// free is called for what call made if a callback ended it after all.
func (p *Pipeline) withRuns(ctx context.Context, what string, runs []GenerateOptions,
	call func(*C.cvx_pipeline, **C.cvx_generate_options, C.size_t) *C.cvx_error, free func()) error {
	ptr := p.h.acquire(what)
	defer p.h.release()
	if len(runs) == 0 {
		return invalid("runs: expected at least one, found none")
	}
	given := make([]*C.cvx_generate_options, len(runs))
	for i := range runs[1:] {
		c := C.cvx_generate_options_new()
		defer C.cvx_generate_options_free(c)
		if err := runs[i+1].set(c); err != nil {
			return err
		}
		given[i+1] = c
	}
	err := p.watched(ctx, &runs[0], func(c *C.cvx_generate_options) *C.cvx_error {
		given[0] = c
		return call(ptr, (**C.cvx_generate_options)(unsafe.Pointer(&given[0])), C.size_t(len(given)))
	}, free)
	runtime.KeepAlive(given)
	return err
}
