package cogvideox

// #include "trampolines.h"
import "C"

import "unsafe"

// StepInfo is a denoising step.
type StepInfo struct {
	// Step counts from 0.
	Step int
	// NumSteps is how many steps the run has.
	NumSteps int
	// Timestep is the pipeline's own timestep of the step: what pipe.current_timestep is in
	// diffusers.
	Timestep float64
}

// LayerInfo is an attention layer in a denoising step.
type LayerInfo struct {
	StepInfo
	// Layer counts from 0.
	Layer int
	// LayerName is the layer's name in the checkpoint, such as "transformer_blocks.0.attn1".
	LayerName string
}

// stepCallback and layerCallback are what the library holds of a callback: the function, and
// where its panic goes.
type stepCallback struct {
	callback func(StepInfo) float64
	panics   *panicSlot
}

type layerCallback struct {
	callback func(LayerInfo) float64
	panics   *panicSlot
}

// cacheCallbacks are the functions of a config. They are given to the library anew for each
// pipeline, so that a panic comes out of the pipeline whose run it stopped.
type cacheCallbacks struct {
	timestep        func(StepInfo) float64
	attentionWeight func(LayerInfo) float64
	lowFrequency    func(StepInfo) float64
	highFrequency   func(StepInfo) float64
}

// SetCurrentTimestepCallback asks callback for the current timestep instead of taking the
// pipeline's own, once per step: what `lambda: pipe.current_timestep` returns in Python. The
// answer must lie from 0 to below the number of training timesteps; any other, and NaN, ends
// the run with [ErrCallbackFailed]. A config that is enabled for several pipelines may ask on
// several goroutines at once. nil (default) takes the pipeline's own.
func (c *CacheConfig) SetCurrentTimestepCallback(callback func(StepInfo) float64) error {
	return c.setCallback("SetCurrentTimestepCallback",
		func(ptr *C.cvx_cache_config) error { return setTimestep(ptr, callback, nil) },
		func() { c.callbacks.timestep = callback })
}

// SetAttentionWeightCallback asks callback for the weight of attention's extrapolation, once
// per layer that is extrapolated: the layer goes on with newer + (newer - older) × weight. NaN
// and infinity end the run with [ErrCallbackFailed]. nil (default) takes
// [CacheConfig.SetAttentionWeight].
//
// Errors: [ErrInvalidArgument] for a technique without the field, which is one of faster_cache.
func (c *CacheConfig) SetAttentionWeightCallback(callback func(LayerInfo) float64) error {
	return c.setCallback("SetAttentionWeightCallback",
		func(ptr *C.cvx_cache_config) error { return setAttentionWeight(ptr, callback, nil) },
		func() { c.callbacks.attentionWeight = callback })
}

// SetLowFrequencyWeightCallback asks callback what the low frequencies of the unconditional
// half are multiplied by, once per step on which it is rebuilt. NaN and infinity end the run
// with [ErrCallbackFailed]. nil (default) takes alpha_low_frequency inside its window.
//
// Errors: [ErrInvalidArgument] for a technique without the field, which is one of faster_cache.
func (c *CacheConfig) SetLowFrequencyWeightCallback(callback func(StepInfo) float64) error {
	return c.setCallback("SetLowFrequencyWeightCallback",
		func(ptr *C.cvx_cache_config) error { return setLowFrequency(ptr, callback, nil) },
		func() { c.callbacks.lowFrequency = callback })
}

// SetHighFrequencyWeightCallback is the same for high frequencies.
//
// Errors: [ErrInvalidArgument] for a technique without the field, which is one of faster_cache.
func (c *CacheConfig) SetHighFrequencyWeightCallback(callback func(StepInfo) float64) error {
	return c.setCallback("SetHighFrequencyWeightCallback",
		func(ptr *C.cvx_cache_config) error { return setHighFrequency(ptr, callback, nil) },
		func() { c.callbacks.highFrequency = callback })
}

// setCallback gives a callback to the library, which says whether the technique has the field,
// and remembers it.
func (c *CacheConfig) setCallback(method string, set func(*C.cvx_cache_config) error, remember func()) error {
	ptr := c.h.acquire(method)
	defer c.h.release()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := set(ptr); err != nil {
		return err
	}
	remember()
	return nil
}

// bind gives the callbacks to the library with panics as the place for their panics; the caller
// holds mu and enables the config next, which copies it.
func (c *CacheConfig) bind(ptr *C.cvx_cache_config, panics *panicSlot) error {
	f := &c.callbacks
	return first(
		func() error {
			if f.timestep == nil {
				return nil
			}
			return setTimestep(ptr, f.timestep, panics)
		},
		func() error {
			if f.attentionWeight == nil {
				return nil
			}
			return setAttentionWeight(ptr, f.attentionWeight, panics)
		},
		func() error {
			if f.lowFrequency == nil {
				return nil
			}
			return setLowFrequency(ptr, f.lowFrequency, panics)
		},
		func() error {
			if f.highFrequency == nil {
				return nil
			}
			return setHighFrequency(ptr, f.highFrequency, panics)
		},
	)
}

func stepData(callback func(StepInfo) float64, panics *panicSlot) unsafe.Pointer {
	return newUserData(&stepCallback{callback, panics})
}

func setTimestep(ptr *C.cvx_cache_config, callback func(StepInfo) float64, panics *panicSlot) error {
	if callback == nil {
		return takeError(C.cvx_cache_config_set_current_timestep_callback(ptr, nil, nil, nil))
	}
	return takeError(C.cvx_cache_config_set_current_timestep_callback(
		ptr, C.cogvideox_go_timestep, stepData(callback, panics), C.cogvideox_go_free))
}

func setAttentionWeight(ptr *C.cvx_cache_config, callback func(LayerInfo) float64, panics *panicSlot) error {
	if callback == nil {
		return takeError(C.cvx_cache_config_set_attention_weight_callback(ptr, nil, nil, nil))
	}
	return takeError(C.cvx_cache_config_set_attention_weight_callback(
		ptr, C.cogvideox_go_attention_weight, newUserData(&layerCallback{callback, panics}), C.cogvideox_go_free))
}

func setLowFrequency(ptr *C.cvx_cache_config, callback func(StepInfo) float64, panics *panicSlot) error {
	if callback == nil {
		return takeError(C.cvx_cache_config_set_low_frequency_weight_callback(ptr, nil, nil, nil))
	}
	return takeError(C.cvx_cache_config_set_low_frequency_weight_callback(
		ptr, C.cogvideox_go_frequency_weight, stepData(callback, panics), C.cogvideox_go_free))
}

func setHighFrequency(ptr *C.cvx_cache_config, callback func(StepInfo) float64, panics *panicSlot) error {
	if callback == nil {
		return takeError(C.cvx_cache_config_set_high_frequency_weight_callback(ptr, nil, nil, nil))
	}
	return takeError(C.cvx_cache_config_set_high_frequency_weight_callback(
		ptr, C.cogvideox_go_frequency_weight, stepData(callback, panics), C.cogvideox_go_free))
}
