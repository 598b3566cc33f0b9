package cogvideox

// #include <cogvideox.h>
import "C"

import (
	"encoding/json"
	"errors"
)

// Plan says what a run takes in each way of keeping the weights. Made by [NewPlan] from a folder's
// configs alone; [LoadOptions.Plan] loads in the fastest way that fits. It may be used by many
// goroutines.
type Plan struct {
	closer[*C.cvx_plan]
	// Device is "cpu" or "cuda", Dtype what is computed in.
	Device, Dtype string
	// Choices are the ways, the same in every plan.
	Choices []PlanChoice
	// Best is the place in Choices of the fastest that fits; -1 where none does.
	Best int
}

// PlanChoice is one way of keeping the weights. Bytes are the most in each phase of a run, weights
// included.
type PlanChoice struct {
	// Mode names it, such as "resident" or "offload, stream".
	Mode string `json:"mode"`
	// Offload, TextEncoder and Transformer are what to load with: see [LoadOptions].
	Offload     bool   `json:"offload"`
	TextEncoder string `json:"text_encoder"`
	Transformer string `json:"transformer"`
	// Tiles: frames are decoded in tiles.
	Tiles        bool   `json:"tiles"`
	EncodeBytes  uint64 `json:"encode_bytes"`
	DenoiseBytes uint64 `json:"denoise_bytes"`
	DecodeBytes  uint64 `json:"decode_bytes"`
	PeakBytes    uint64 `json:"peak_bytes"`
	Fits         bool   `json:"fits"`
	// RelativeTime is how long a run takes, of what it takes with resident weights; for comparing.
	RelativeTime float64 `json:"relative_time"`
}

// NewPlan plans a run of the pipeline in folder, on a device with budget bytes; 0: no bound. Of load,
// Device, Dtype and Variant count. Nil load, run and cache mean every default. Nothing is loaded,
// and weight files need not be there.
//
// Errors: those of [Load] for the folder's configs, [ErrInvalidArgument].
func NewPlan(folder string, load *LoadOptions, run *GenerateOptions, cache *CacheConfig, budget uint64) (*Plan, error) {
	if err := abiCheck(); err != nil {
		return nil, err
	}
	options := C.cvx_load_options_new()
	defer C.cvx_load_options_free(options)
	if load != nil {
		plain := LoadOptions{Device: load.Device, Dtype: load.Dtype, Variant: load.Variant}
		if err := plain.setPlaces(options); err != nil {
			return nil, err
		}
	}
	var runs *C.cvx_generate_options
	if run != nil {
		runs = C.cvx_generate_options_new()
		defer C.cvx_generate_options_free(runs)
		if err := run.set(runs); err != nil {
			return nil, err
		}
	}
	var config *C.cvx_cache_config
	if cache != nil {
		config = cache.h.acquire("NewPlan")
		defer cache.h.release()
		cache.mu.Lock()
		defer cache.mu.Unlock()
	}
	var out *C.cvx_plan
	if err := withText("folder", folder, func(folder *C.char) error {
		return takeError(C.cvx_plan_new(folder, options, runs, config, C.uint64_t(budget), &out))
	}); err != nil {
		return nil, err
	}
	p := &Plan{}
	open(&p.closer, p, "Plan", out, func(ptr *C.cvx_plan) { C.cvx_plan_free(ptr) })
	said := struct {
		Device, Dtype string
		Choices       []PlanChoice
		Best          *int
	}{}
	if err := json.Unmarshal([]byte(p.JSON()), &said); err != nil {
		p.close()
		return nil, errors.Join(ErrInternal, err)
	}
	p.Device, p.Dtype, p.Choices, p.Best = said.Device, said.Dtype, said.Choices, -1
	if said.Best != nil {
		p.Best = *said.Best
	}
	return p, nil
}

// Close frees the plan. It never fails.
func (p *Plan) Close() error {
	p.close()
	return nil
}

// JSON is the plan as one JSON object.
func (p *Plan) JSON() string {
	ptr := p.h.acquire("JSON")
	defer p.h.release()
	return C.GoString(C.cvx_plan_json(ptr))
}

// String is the plan as a table, a line for each way.
func (p *Plan) String() string {
	ptr := p.h.acquire("String")
	defer p.h.release()
	return C.GoString(C.cvx_plan_text(ptr))
}

// apply sets load options to the fastest way that fits.
func (p *Plan) apply(c *C.cvx_load_options) error {
	ptr := p.h.acquire("Load (with a Plan)")
	defer p.h.release()
	return takeError(C.cvx_plan_apply(ptr, c))
}
