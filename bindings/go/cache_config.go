package cogvideox

// #include "trampolines.h"
import "C"

import "sync"

// CacheConfig is a caching technique with its settings. The fields of diffusers'
// PyramidAttentionBroadcastConfig and FasterCacheConfig are set by methods of the same names, those
// of every technique by [CacheConfig.SetField]; a method for a field that the technique does not
// have returns [ErrInvalidArgument]. Made by [NewPAB], [NewFasterCache], [NewCacheConfig] or
// [NewCacheConfigFromJSON].
type CacheConfig struct {
	closer[*C.cvx_cache_config]

	// mu lets one goroutine at a time change the config, which the library asks for.
	mu        sync.Mutex
	callbacks cacheCallbacks
}

func newCacheConfig(ptr *C.cvx_cache_config) *CacheConfig {
	c := &CacheConfig{}
	open(&c.closer, c, "CacheConfig", ptr, func(ptr *C.cvx_cache_config) { C.cvx_cache_config_free(ptr) })
	return c
}

// NewPAB is Pyramid Attention Broadcast (arXiv 2408.12588) with diffusers' defaults: an
// attention module's output is used again on every second step while 100 < timestep < 800.
func NewPAB() *CacheConfig { return newCacheConfig(C.cvx_pab_config_new()) }

// NewFasterCache is FasterCache (arXiv 2410.19355) with diffusers' defaults: while
// timestep < 641, the unconditional half of the guidance batch runs on every fifth step only
// and is rebuilt on the others, on which attention is extrapolated every second time.
func NewFasterCache() *CacheConfig { return newCacheConfig(C.cvx_faster_cache_config_new()) }

// NewCacheConfig is a technique, "pab", "faster_cache", "taylor_seer", "mag_cache", "tea_cache",
// "first_block_cache", "cfg_cache" or "schedule", with the settings of a preset; "" is the first
// that the technique has:
//
//   - "diffusers" (all but taylor_seer, tea_cache and schedule): the defaults of diffusers;
//   - "diffusers-docs": the snippet of diffusers' caching guide;
//   - "videosys" (pab): the authors' own settings for CogVideoX;
//   - "official" (faster_cache): the authors' 50-step script for CogVideoX;
//   - "aggressive" (faster_cache): the fastest, the furthest from the uncached video;
//   - "lite", "attention-and-feed-forward" (taylor_seer): what is predicted;
//   - "calibrate" (mag_cache): a run that measures what "mag_ratios" must be set to in others;
//   - "authors", "cogvideox-1.5-5b-i2v" (tea_cache): whose coefficients;
//   - "empty" (schedule): no steps yet, which must be set.
//
// Errors: [ErrInvalidArgument] for any other name, naming those there are.
func NewCacheConfig(technique, preset string) (*CacheConfig, error) {
	collectGarbage()
	if err := abiCheck(); err != nil {
		return nil, err
	}
	var out *C.cvx_cache_config
	err := withText("technique", technique, func(technique *C.char) error {
		if preset == "" {
			return takeError(C.cvx_cache_config_new(technique, nil, &out))
		}
		return withText("preset", preset, func(preset *C.char) error {
			return takeError(C.cvx_cache_config_new(technique, preset, &out))
		})
	})
	if err != nil {
		return nil, err
	}
	return newCacheConfig(out), nil
}

// NewCacheConfigFromJSON is a config from JSON, as [CacheConfig.ToJSON] writes it: one object with
// "technique", optionally "preset", and any of the technique's fields.
//
// Errors: [ErrInvalidArgument], naming the field at fault.
func NewCacheConfigFromJSON(json string) (*CacheConfig, error) {
	collectGarbage()
	if err := abiCheck(); err != nil {
		return nil, err
	}
	var out *C.cvx_cache_config
	err := withText("json", json, func(json *C.char) error {
		return takeError(C.cvx_cache_config_from_json(json, &out))
	})
	if err != nil {
		return nil, err
	}
	return newCacheConfig(out), nil
}

// ToJSON is the whole config as JSON, technique and every field.
//
// Errors: [ErrInvalidArgument] if a callback is set, which a text can't hold.
func (c *CacheConfig) ToJSON() (string, error) {
	var text string
	err := c.change("ToJSON", func(ptr *C.cvx_cache_config) *C.cvx_error {
		var json *C.char
		err := C.cvx_cache_config_to_json(ptr, &json)
		if err == nil {
			text = C.GoString(json)
		}
		return err
	})
	return text, err
}

// SetField sets any field of the technique by its name, to a value written as JSON: "2",
// "[100, 800]", "true".
//
// Errors: [ErrInvalidArgument] for a field that the technique does not have, or a value that it
// can't take.
func (c *CacheConfig) SetField(field, valueJSON string) error {
	return withText("valueJSON", valueJSON, func(value *C.char) error {
		return c.changeText("SetField", "field", field, func(ptr *C.cvx_cache_config, text *C.char) *C.cvx_error {
			return C.cvx_cache_config_set_field(ptr, text, value)
		})
	})
}

// Close frees the config. Pipelines that it was enabled for are not affected. It never fails.
func (c *CacheConfig) Close() error {
	c.close()
	return nil
}

// change calls a setter of the library.
func (c *CacheConfig) change(method string, call func(*C.cvx_cache_config) *C.cvx_error) error {
	ptr := c.h.acquire(method)
	defer c.h.release()
	c.mu.Lock()
	defer c.mu.Unlock()
	return takeError(call(ptr))
}

func (c *CacheConfig) changeNumber(method, name string, n int, call func(*C.cvx_cache_config, C.int32_t) *C.cvx_error) error {
	ptr := c.h.acquire(method)
	defer c.h.release()
	number, err := toInt32(name, n)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return takeError(call(ptr, number))
}

func (c *CacheConfig) changeWindow(method string, low, high int, call func(_ *C.cvx_cache_config, low, high C.int32_t) *C.cvx_error) error {
	ptr := c.h.acquire(method)
	defer c.h.release()
	from, err := toInt32("low", low)
	if err != nil {
		return err
	}
	to, err := toInt32("high", high)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return takeError(call(ptr, from, to))
}

func (c *CacheConfig) changeText(method, name, text string, call func(*C.cvx_cache_config, *C.char) *C.cvx_error) error {
	ptr := c.h.acquire(method)
	defer c.h.release()
	return withText(name, text, func(text *C.char) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		return takeError(call(ptr, text))
	})
}

func (c *CacheConfig) changeTexts(method string, texts []string, call func(*C.cvx_cache_config, **C.char, C.size_t) *C.cvx_error) error {
	ptr := c.h.acquire(method)
	defer c.h.release()
	return withTexts("identifiers", texts, func(texts **C.char, count C.size_t) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		return takeError(call(ptr, texts, count))
	})
}

// Preview returns what a run would compute and reuse with this config, told without a model:
// for numLayers attention layers (1 to 1000), numInferenceSteps steps (1 to 100000) with the
// timesteps of the published CogVideoX models, and guidance on or off.
// [Pipeline.PreviewCache] tells it for a pipeline, with bytes. Callbacks are not called.
//
// Errors: [ErrInvalidArgument], also for identifiers that match no layer.
func (c *CacheConfig) Preview(numLayers, numInferenceSteps int, guided bool) (*CacheStats, error) {
	ptr := c.h.acquire("Preview")
	defer c.h.release()
	layers, err := toInt32("numLayers", numLayers)
	if err != nil {
		return nil, err
	}
	steps, err := toInt32("numInferenceSteps", numInferenceSteps)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var out *C.cvx_cache_stats
	if err := takeError(C.cvx_cache_config_preview(ptr, layers, steps, toBool(guided), &out)); err != nil {
		return nil, err
	}
	return newCacheStats(out), nil
}
