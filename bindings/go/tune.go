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
// thousand. Callbacks are those of the first. It takes at most 27 runs each, and returns when it is
// done or ctx has ended. Keep the config with [CacheConfig.ToJSON]: it belongs to this model,
// scheduler, number of steps and guidance. The pipeline's own cache stays as it was.
//
// Errors: [ErrInvalidArgument], also if no schedule reaches minPSNR, and those of
// [Pipeline.Generate].
func (p *Pipeline) TuneCache(ctx context.Context, runs []GenerateOptions, minPSNR float64) (*CacheConfig, error) {
	ptr := p.h.acquire("TuneCache")
	defer p.h.release()
	if len(runs) == 0 {
		return nil, invalid("runs: expected at least one, found none")
	}
	given := make([]*C.cvx_generate_options, len(runs))
	for i := range runs[1:] {
		c := C.cvx_generate_options_new()
		defer C.cvx_generate_options_free(c)
		if err := runs[i+1].set(c); err != nil {
			return nil, err
		}
		given[i+1] = c
	}
	var out *C.cvx_cache_config
	err := p.watched(ctx, &runs[0], func(c *C.cvx_generate_options) *C.cvx_error {
		given[0] = c
		return C.cvx_pipeline_tune_cache(ptr, (**C.cvx_generate_options)(unsafe.Pointer(&given[0])),
			C.size_t(len(given)), C.double(minPSNR), &out)
	}, func() { C.cvx_cache_config_free(out) })
	runtime.KeepAlive(given)
	if err != nil {
		return nil, err
	}
	return newCacheConfig(out), nil
}
