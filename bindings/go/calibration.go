package cogvideox

// #include <stdlib.h>
// #include <cogvideox.h>
import "C"

import (
	"context"
	"unsafe"
)

// Calibration is what a pipeline has shown of itself: how its outputs change from step to step,
// what leaving something out does to its videos, and how long its parts take. Made once by
// [Pipeline.Calibrate] for a model, a scheduler, a number of steps and a guidance, kept as JSON, and
// used by [Pipeline.EstimateCache] for any config. It may be used by many goroutines.
type Calibration struct {
	closer[*C.cvx_calibration]
}

func newCalibration(ptr *C.cvx_calibration) *Calibration {
	c := &Calibration{}
	open(&c.closer, c, "Calibration", ptr, func(ptr *C.cvx_calibration) { C.cvx_calibration_free(ptr) })
	return c
}

// CalibrationFromJSON reads what [Calibration.JSON] wrote.
//
// Errors: [ErrInvalidArgument], naming what is wrong with the text.
func CalibrationFromJSON(json string) (*Calibration, error) {
	text, err := cText("json", json)
	if err != nil {
		return nil, err
	}
	defer C.free(unsafe.Pointer(text))
	var out *C.cvx_calibration
	if err := takeError(C.cvx_calibration_from_json(text, &out)); err != nil {
		return nil, err
	}
	return newCalibration(out), nil
}

// Close frees the calibration. It never fails.
func (c *Calibration) Close() error {
	c.close()
	return nil
}

// JSON is the calibration as one line, for a file that is kept or shipped beside the model.
func (c *Calibration) JSON() string {
	ptr := c.h.acquire("JSON")
	defer c.h.release()
	return C.GoString(C.cvx_calibration_json(ptr))
}

// Calibrate calibrates this pipeline with runs: options of one size, number of steps and guidance,
// with different prompts and seeds, at most a thousand. Callbacks are those of the first. It takes
// at most 33 runs each, and returns when it is done or ctx has ended. The pipeline's own cache stays
// as it was.
//
// Errors: [ErrInvalidArgument], and those of [Pipeline.Generate].
func (p *Pipeline) Calibrate(ctx context.Context, runs []GenerateOptions) (*Calibration, error) {
	var out *C.cvx_calibration
	err := p.withRuns(ctx, "Calibrate", runs,
		func(ptr *C.cvx_pipeline, given **C.cvx_generate_options, count C.size_t) *C.cvx_error {
			return C.cvx_pipeline_calibrate(ptr, given, count, &out)
		}, func() { C.cvx_calibration_free(out) })
	if err != nil {
		return nil, err
	}
	return newCalibration(out), nil
}

// EstimateCache is [Pipeline.PreviewCache] with the seconds and the PSNR that calibration expects of
// the run: [CacheStats.EstimatedSeconds] and [CacheStats.EstimatedPSNR].
//
// Errors: also [ErrInvalidArgument] for a calibration of another model, number of steps or guidance.
func (p *Pipeline) EstimateCache(config *CacheConfig, options *GenerateOptions, calibration *Calibration) (*CacheStats, error) {
	cal := calibration.h.acquire("EstimateCache (of a Pipeline)")
	defer calibration.h.release()
	return p.foretell("EstimateCache", config, options,
		func(ptr *C.cvx_pipeline, c *C.cvx_cache_config, opts *C.cvx_generate_options, out **C.cvx_cache_stats) *C.cvx_error {
			return C.cvx_pipeline_estimate_cache(ptr, c, opts, cal, out)
		})
}

// TuneCacheWith is [Pipeline.TuneCache] with a calibration that is there already: for several bounds,
// or to check schedules with other prompts than the calibration saw. It takes at most 17 runs each.
//
// Errors: also [ErrInvalidArgument] for a calibration of another model, number of steps or guidance.
func (p *Pipeline) TuneCacheWith(ctx context.Context, calibration *Calibration, runs []GenerateOptions, minPSNR float64) (*CacheConfig, error) {
	cal := calibration.h.acquire("TuneCacheWith")
	defer calibration.h.release()
	var out *C.cvx_cache_config
	err := p.withRuns(ctx, "TuneCacheWith", runs,
		func(ptr *C.cvx_pipeline, given **C.cvx_generate_options, count C.size_t) *C.cvx_error {
			return C.cvx_pipeline_tune_calibrated_cache(ptr, cal, given, count, C.double(minPSNR), &out)
		}, func() { C.cvx_cache_config_free(out) })
	if err != nil {
		return nil, err
	}
	return newCacheConfig(out), nil
}
