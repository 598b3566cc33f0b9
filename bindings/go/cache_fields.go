package cogvideox

// #include <cogvideox.h>
import "C"

// SetMaxCacheBytes is the most bytes that a run may keep between steps. Layers are given
// room in their order; those that do not fit are computed on every step, and the statistics say
// which. 0 (default): no limit.
func (c *CacheConfig) SetMaxCacheBytes(bytes uint64) error {
	return c.change("SetMaxCacheBytes", func(ptr *C.cvx_cache_config) *C.cvx_error {
		return C.cvx_cache_config_set_max_cache_bytes(ptr, C.uint64_t(bytes))
	})
}

// SetCacheDtype is the floating-point type in which attention outputs are kept: "f32", "f16",
// "bf16", or "auto" (default), which is what the pipeline computes in.
//
// Errors: [ErrInvalidArgument] for any other text.
func (c *CacheConfig) SetCacheDtype(dtype string) error {
	return c.changeText("SetCacheDtype", "dtype", dtype, func(ptr *C.cvx_cache_config, text *C.char) *C.cvx_error {
		return C.cvx_cache_config_set_cache_dtype(ptr, text)
	})
}

// SetSpatialAttentionBlockSkipRange computes attention on every n-th step of the run, counted
// from its first, and outside its window, and reuses it on the others; 1 reuses nothing.
// faster_cache extrapolates it only on steps whose unconditional half is rebuilt, unless
// reuse_attention_on_full_guidance_steps. CogVideoX' attention is what diffusers calls
// spatial. Default: 2.
//
// Errors: [ErrInvalidArgument] if n is not positive.
func (c *CacheConfig) SetSpatialAttentionBlockSkipRange(n int) error {
	return c.changeNumber("SetSpatialAttentionBlockSkipRange", "n", n, func(ptr *C.cvx_cache_config, n C.int32_t) *C.cvx_error {
		return C.cvx_cache_config_set_spatial_attention_block_skip_range(ptr, n)
	})
}

// SetTemporalAttentionBlockSkipRange is the same for temporal attention, which CogVideoX has
// none of: it selects a layer only if temporal identifiers match one that the spatial ones do
// not. Default: unset.
//
// Errors: [ErrInvalidArgument] if n is not positive.
func (c *CacheConfig) SetTemporalAttentionBlockSkipRange(n int) error {
	return c.changeNumber("SetTemporalAttentionBlockSkipRange", "n", n, func(ptr *C.cvx_cache_config, n C.int32_t) *C.cvx_error {
		return C.cvx_cache_config_set_temporal_attention_block_skip_range(ptr, n)
	})
}

// SetCrossAttentionBlockSkipRange is the same for cross-attention, which CogVideoX has none
// of. Field of pab. Setting it, or the temporal one, alone leaves spatial attention computed on
// every step. Default: unset.
//
// Errors: [ErrInvalidArgument] if n is not positive, or for a technique without the field.
func (c *CacheConfig) SetCrossAttentionBlockSkipRange(n int) error {
	return c.changeNumber("SetCrossAttentionBlockSkipRange", "n", n, func(ptr *C.cvx_cache_config, n C.int32_t) *C.cvx_error {
		return C.cvx_cache_config_set_cross_attention_block_skip_range(ptr, n)
	})
}

// SetSpatialAttentionTimestepSkipRange lets attention be reused while low < timestep < high.
// Timesteps fall from 999 to 0 in the course of a run. Defaults: pab (100, 800), faster_cache
// (-1, 681).
//
// Errors: [ErrInvalidArgument] if no whole timestep lies strictly between low and high, or for a
// technique without the field.
func (c *CacheConfig) SetSpatialAttentionTimestepSkipRange(low, high int) error {
	return c.changeWindow("SetSpatialAttentionTimestepSkipRange", low, high, func(ptr *C.cvx_cache_config, low, high C.int32_t) *C.cvx_error {
		return C.cvx_cache_config_set_spatial_attention_timestep_skip_range(ptr, low, high)
	})
}

// SetTemporalAttentionTimestepSkipRange is the same for temporal attention.
//
// Errors: [ErrInvalidArgument] if no whole timestep lies strictly between low and high, or for a
// technique without the field.
func (c *CacheConfig) SetTemporalAttentionTimestepSkipRange(low, high int) error {
	return c.changeWindow("SetTemporalAttentionTimestepSkipRange", low, high, func(ptr *C.cvx_cache_config, low, high C.int32_t) *C.cvx_error {
		return C.cvx_cache_config_set_temporal_attention_timestep_skip_range(ptr, low, high)
	})
}

// SetCrossAttentionTimestepSkipRange is the same for cross-attention. Field of pab. Default:
// (100, 800).
//
// Errors: [ErrInvalidArgument] if no whole timestep lies strictly between low and high, or for a
// technique without the field.
func (c *CacheConfig) SetCrossAttentionTimestepSkipRange(low, high int) error {
	return c.changeWindow("SetCrossAttentionTimestepSkipRange", low, high, func(ptr *C.cvx_cache_config, low, high C.int32_t) *C.cvx_error {
		return C.cvx_cache_config_set_cross_attention_timestep_skip_range(ptr, low, high)
	})
}

// SetSpatialAttentionBlockIdentifiers chooses the layers that are cached: those in whose name
// in the checkpoint, such as "transformer_blocks.0.attn1", one of the regular expressions is
// found. They replace the defaults, which match all layers.
//
// Errors: [ErrInvalidArgument] naming an identifier that is no regular expression; [ErrInvalidUTF8].
func (c *CacheConfig) SetSpatialAttentionBlockIdentifiers(identifiers ...string) error {
	return c.changeTexts("SetSpatialAttentionBlockIdentifiers", identifiers, func(ptr *C.cvx_cache_config, texts **C.char, count C.size_t) *C.cvx_error {
		return C.cvx_cache_config_set_spatial_attention_block_identifiers(ptr, texts, count)
	})
}

// SetTemporalAttentionBlockIdentifiers is the same for temporal attention. The defaults match
// no layer of CogVideoX.
//
// Errors: [ErrInvalidArgument] as for spatial attention; [ErrInvalidUTF8].
func (c *CacheConfig) SetTemporalAttentionBlockIdentifiers(identifiers ...string) error {
	return c.changeTexts("SetTemporalAttentionBlockIdentifiers", identifiers, func(ptr *C.cvx_cache_config, texts **C.char, count C.size_t) *C.cvx_error {
		return C.cvx_cache_config_set_temporal_attention_block_identifiers(ptr, texts, count)
	})
}

// SetCrossAttentionBlockIdentifiers is the same for cross-attention, which no layer of CogVideoX
// is whatever its name. Field of pab.
//
// Errors: [ErrInvalidArgument] as for spatial attention, or for a technique without the
// field; [ErrInvalidUTF8].
func (c *CacheConfig) SetCrossAttentionBlockIdentifiers(identifiers ...string) error {
	return c.changeTexts("SetCrossAttentionBlockIdentifiers", identifiers, func(ptr *C.cvx_cache_config, texts **C.char, count C.size_t) *C.cvx_error {
		return C.cvx_cache_config_set_cross_attention_block_identifiers(ptr, texts, count)
	})
}

// SetUnconditionalBatchSkipRange runs the unconditional half of the guidance batch on every
// n-th step of the run, counted from its first, and outside its window, and rebuilds it on the others; 1 rebuilds nothing. Field of
// faster_cache. Default: 5.
//
// Errors: [ErrInvalidArgument] if n is not positive, or for a technique without the field.
func (c *CacheConfig) SetUnconditionalBatchSkipRange(n int) error {
	return c.changeNumber("SetUnconditionalBatchSkipRange", "n", n, func(ptr *C.cvx_cache_config, n C.int32_t) *C.cvx_error {
		return C.cvx_cache_config_set_unconditional_batch_skip_range(ptr, n)
	})
}

// SetUnconditionalBatchTimestepSkipRange lets the unconditional half be skipped while
// low < timestep < high. Field of faster_cache. Default: (-1, 641).
//
// Errors: [ErrInvalidArgument] if no whole timestep lies strictly between low and high, or for a
// technique without the field.
func (c *CacheConfig) SetUnconditionalBatchTimestepSkipRange(low, high int) error {
	return c.changeWindow("SetUnconditionalBatchTimestepSkipRange", low, high, func(ptr *C.cvx_cache_config, low, high C.int32_t) *C.cvx_error {
		return C.cvx_cache_config_set_unconditional_batch_timestep_skip_range(ptr, low, high)
	})
}

// SetLowFrequencyWeightUpdateTimestepRange multiplies, while low < timestep < high, what the
// unconditional half has of low frequencies by alpha_low_frequency on each rebuilt step. Field
// of faster_cache. Default: (99, 901).
//
// Errors: [ErrInvalidArgument] if no whole timestep lies strictly between low and high, or for a
// technique without the field.
func (c *CacheConfig) SetLowFrequencyWeightUpdateTimestepRange(low, high int) error {
	return c.changeWindow("SetLowFrequencyWeightUpdateTimestepRange", low, high, func(ptr *C.cvx_cache_config, low, high C.int32_t) *C.cvx_error {
		return C.cvx_cache_config_set_low_frequency_weight_update_timestep_range(ptr, low, high)
	})
}

// SetHighFrequencyWeightUpdateTimestepRange is the same for high frequencies and
// alpha_high_frequency. Field of faster_cache. Default: (-1, 301).
//
// Errors: [ErrInvalidArgument] if no whole timestep lies strictly between low and high, or for a
// technique without the field.
func (c *CacheConfig) SetHighFrequencyWeightUpdateTimestepRange(low, high int) error {
	return c.changeWindow("SetHighFrequencyWeightUpdateTimestepRange", low, high, func(ptr *C.cvx_cache_config, low, high C.int32_t) *C.cvx_error {
		return C.cvx_cache_config_set_high_frequency_weight_update_timestep_range(ptr, low, high)
	})
}

// SetAlphaLowFrequency is the gain of low frequencies on each rebuilt step inside its window.
// Field of faster_cache. Default: 1.1.
//
// Errors: [ErrInvalidArgument] if alpha is NaN or infinite, or for a technique without the field.
func (c *CacheConfig) SetAlphaLowFrequency(alpha float64) error {
	return c.change("SetAlphaLowFrequency", func(ptr *C.cvx_cache_config) *C.cvx_error {
		return C.cvx_cache_config_set_alpha_low_frequency(ptr, C.double(alpha))
	})
}

// SetAlphaHighFrequency is the gain of high frequencies on each rebuilt step inside its
// window. Field of faster_cache. Default: 1.1.
//
// Errors: [ErrInvalidArgument] if alpha is NaN or infinite, or for a technique without the field.
func (c *CacheConfig) SetAlphaHighFrequency(alpha float64) error {
	return c.change("SetAlphaHighFrequency", func(ptr *C.cvx_cache_config) *C.cvx_error {
		return C.cvx_cache_config_set_alpha_high_frequency(ptr, C.double(alpha))
	})
}

// SetTensorFormat is the order of dimensions that diffusers is told: "BCFHW", "BFCHW" or
// "BCHW". All three give the same video. Field of faster_cache. Default: "BCFHW".
//
// Errors: [ErrInvalidArgument] for any other text, or for a technique without the field.
func (c *CacheConfig) SetTensorFormat(format string) error {
	return c.changeText("SetTensorFormat", "format", format, func(ptr *C.cvx_cache_config, text *C.char) *C.cvx_error {
		return C.cvx_cache_config_set_tensor_format(ptr, text)
	})
}

// SetIsGuidanceDistilled is for models that guidance was distilled into: no
// unconditional half is skipped, and attention is extrapolated for the whole batch. Field of
// faster_cache. Default: false.
//
// Errors: [ErrInvalidArgument] for a technique without the field.
func (c *CacheConfig) SetIsGuidanceDistilled(distilled bool) error {
	return c.change("SetIsGuidanceDistilled", func(ptr *C.cvx_cache_config) *C.cvx_error {
		return C.cvx_cache_config_set_is_guidance_distilled(ptr, toBool(distilled))
	})
}

// SetAttentionWeight is the weight of the extrapolation, newer + (newer - older) × weight,
// where no attention weight callback is set. Field of faster_cache. Default: 0.5.
//
// Errors: [ErrInvalidArgument] if weight is NaN or infinite, or for a technique without the field.
func (c *CacheConfig) SetAttentionWeight(weight float64) error {
	return c.change("SetAttentionWeight", func(ptr *C.cvx_cache_config) *C.cvx_error {
		return C.cvx_cache_config_set_attention_weight(ptr, C.double(weight))
	})
}

// SetReuseAttentionOnFullGuidanceSteps extrapolates attention also on steps that run both
// halves. Field of faster_cache. Default: false; true in the preset "aggressive".
//
// Errors: [ErrInvalidArgument] for a technique without the field.
func (c *CacheConfig) SetReuseAttentionOnFullGuidanceSteps(reuse bool) error {
	return c.change("SetReuseAttentionOnFullGuidanceSteps", func(ptr *C.cvx_cache_config) *C.cvx_error {
		return C.cvx_cache_config_set_reuse_attention_on_full_guidance_steps(ptr, toBool(reuse))
	})
}
