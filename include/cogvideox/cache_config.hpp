/// A caching technique with its settings. Part of cogvideox.hpp.
#ifndef COGVIDEOX_CACHE_CONFIG_HPP
#define COGVIDEOX_CACHE_CONFIG_HPP

#include "cache_stats.hpp"
#include "handle.hpp"
#include "span.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace cvx {
inline namespace CVX_HPP_MODE {

/// A technique, such as Pyramid Attention Broadcast or FasterCache, with the fields of diffusers'
/// configs under the same names. cogvideox.h tells each in full. Pipeline::enable_cache copies it: it may be changed or freed afterwards, and
/// may serve many pipelines; its callbacks may then be asked by several threads at once.
///
/// A setter that fails changes nothing. All fail with Code::invalid_argument for a technique
/// without the field and for values outside the field's range.
class CacheConfig : public Handle<CacheConfig, cvx_cache_config, cvx_cache_config_free> {
public:
    /// The class's name in errors.
    static constexpr const char *class_name = "CacheConfig";

    /// An empty object; pab(), faster_cache() and create() make one.
    CacheConfig() noexcept : Handle(nullptr) {}

    /// Pyramid Attention Broadcast (arXiv 2408.12588) with diffusers' defaults: attention is
    /// used again on every second step while 100 < timestep < 800.
    static CacheConfig pab() noexcept { return adopt(cvx_pab_config_new()); }

    /// FasterCache (arXiv 2410.19355) with diffusers' defaults: while timestep < 641, the
    /// unconditional half runs on every fifth step only.
    static CacheConfig faster_cache() noexcept { return adopt(cvx_faster_cache_config_new()); }

    /// A technique, "pab", "faster_cache", "taylor_seer", "mag_cache", "tea_cache",
    /// "first_block_cache", "cfg_cache" or "schedule", with the settings of a preset, such as
    /// "official" (faster_cache) or "calibrate" (mag_cache); nullptr is the first that the
    /// technique has. See cvx_cache_config_new.
    static Result<CacheConfig> create(const Text &technique, const Text &preset = nullptr) {
        if (auto whole = all({technique.check("technique"), preset.check("preset")}); !whole) {
            return whole.error();
        }
        cvx_cache_config *config = nullptr;
        if (auto *error = cvx_cache_config_new(technique.c_str(), preset.c_str(), &config)) {
            return Error(error);
        }
        return adopt(config);
    }

    /// A config from JSON, as to_json() writes it: "technique", optionally "preset", and any of
    /// the technique's fields; see cvx_cache_config_from_json.
    static Result<CacheConfig> from_json(const Text &json) {
        if (auto whole = json.check("json"); !whole) {
            return whole.error();
        }
        cvx_cache_config *config = nullptr;
        if (auto *error = cvx_cache_config_from_json(json.c_str(), &config)) {
            return Error(error);
        }
        return adopt(config);
    }

    /// The whole config as JSON, technique and every field. Fails with Code::invalid_argument if
    /// a callback is set.
    Result<std::string> to_json() {
        const char *json = nullptr;
        if (auto done = call(cvx_cache_config_to_json, &json); !done) {
            return done.error();
        }
        return std::string(json);
    }

    /// Sets any field of the technique by its name, to a value written as JSON: "2", "[100, 800]",
    /// "true"; see cvx_cache_config_set_field.
    Result<void> set_field(const Text &field, const Text &value_json) {
        if (auto whole = field.check("field"); !whole) {
            return whole;
        }
        if (auto whole = value_json.check("value_json"); !whole) {
            return whole;
        }
        return call(cvx_cache_config_set_field, field.c_str(), value_json.c_str());
    }

    /// What a run would compute and reuse, told without a model: for num_layers attention layers
    /// (1 to 1000), num_inference_steps steps (1 to 100000), and guidance on or off. Callbacks
    /// are not called. Pipeline::preview_cache tells it for a pipeline, with bytes.
    Result<CacheStats> preview(std::int32_t num_layers, std::int32_t num_inference_steps,
                               bool guided) const {
        cvx_cache_stats *stats = nullptr;
        auto done = call(cvx_cache_config_preview, num_layers, num_inference_steps,
                         guided ? 1 : 0, &stats);
        if (!done) {
            return done.error();
        }
        return CacheStats::adopt(stats);
    }

    // Written by tests/abi/generate_setters.py from cogvideox.h, up to the line "end": begin

    /// The most bytes that a run may keep between steps. Layers are given room in their order;
    /// those that do not fit are computed on every step, and the statistics say which
    /// (CacheStats::layer_over_budget()). 0 (default): no limit.
    ///
    /// Errors: Code::null_argument.
    Result<void> set_max_cache_bytes(std::uint64_t bytes) {
        return call(cvx_cache_config_set_max_cache_bytes, bytes);
    }

    /// The type in which kept outputs are: "f32", "f16", "bf16", "fp8" (float8 e4m3 with an f32
    /// scale for each token), or "auto" (default), which is what the pipeline computes in. On the
    /// CPU, which computes in f32, "f16" or "bf16" halves the bytes for a small loss; f16 ends at
    /// 65504, bf16 keeps f32's range. "fp8" takes about half of what those take; docs/memory.md has
    /// what it costs. What the unconditional half is rebuilt from is small and always f32.
    ///
    /// Errors: Code::invalid_argument for any other text. A technique that keeps its outputs its
    /// own way (TaylorSeer, CFG-Cache alone) is refused together with "fp8" when it is enabled or
    /// previewed.
    Result<void> set_cache_dtype(const Text &dtype) {
        return call_with_text(cvx_cache_config_set_cache_dtype, "dtype", dtype);
    }

    /// Where kept outputs are: "device" (default), where the model computes, or "host", in host
    /// memory. A CUDA device copies them there and back by itself (pinned memory, which can't be
    /// swapped out), beside what it computes: nothing waits, and where the technique knows which
    /// layer reads next (Pyramid Attention Broadcast and FasterCache) its output is on its way
    /// while the layer before computes. The video is the same to the last bit. On the device are
    /// then the outputs of a layer or two, in place of those of all layers. On the CPU, whose
    /// memory is the host's, nothing changes. The statistics' host bytes are what is there.
    ///
    /// Errors: Code::invalid_argument for any other text. A technique that keeps its outputs its
    /// own way (TaylorSeer, CFG-Cache alone) is refused together with "host" when it is enabled or
    /// previewed.
    Result<void> set_cache_location(const Text &location) {
        return call_with_text(cvx_cache_config_set_cache_location, "location", location);
    }

    /// Attention is computed on every n-th step of the run, counted from its first, and outside its
    /// window, and reused on the others; 1 reuses nothing. faster_cache extrapolates it only on
    /// steps whose unconditional half is rebuilt, unless reuse_attention_on_full_guidance_steps.
    /// CogVideoX' attention is what diffusers calls spatial. Defaults: pab 2 (where none of the
    /// three skip ranges is set), faster_cache 2.
    ///
    /// Errors: Code::invalid_argument if n is not positive, or for a technique without the field.
    Result<void> set_spatial_attention_block_skip_range(std::int32_t n) {
        return call(cvx_cache_config_set_spatial_attention_block_skip_range, n);
    }

    /// The same for temporal attention, which CogVideoX has none of: it selects a layer only if
    /// temporal identifiers of the host's own match one that the spatial identifiers do not.
    /// Otherwise it is accepted, and the log says that it selects nothing. Default: unset.
    ///
    /// Errors: Code::invalid_argument if n is not positive, or for a technique without the field.
    Result<void> set_temporal_attention_block_skip_range(std::int32_t n) {
        return call(cvx_cache_config_set_temporal_attention_block_skip_range, n);
    }

    /// The same for cross-attention, which CogVideoX has none of: accepted, and the log says that
    /// it selects nothing. Field of pab. Default: unset. Setting it, or the temporal one, alone
    /// leaves spatial attention computed on every step, as in diffusers.
    ///
    /// Errors: Code::invalid_argument if n is not positive, or for a technique without the field.
    Result<void> set_cross_attention_block_skip_range(std::int32_t n) {
        return call(cvx_cache_config_set_cross_attention_block_skip_range, n);
    }

    /// Attention may be reused while low < timestep < high, both strictly. Timesteps fall from 999
    /// to 0 in the course of a run. Defaults: pab (100, 800), faster_cache (-1, 681).
    ///
    /// Errors: Code::invalid_argument if no whole timestep lies strictly between low and high, or
    /// for a technique without the field.
    Result<void> set_spatial_attention_timestep_skip_range(std::int32_t low, std::int32_t high) {
        return call(cvx_cache_config_set_spatial_attention_timestep_skip_range, low, high);
    }

    /// The same for temporal attention; see set_temporal_attention_block_skip_range(). Defaults as
    /// for spatial attention.
    ///
    /// Errors: Code::invalid_argument if no whole timestep lies strictly between low and high, or
    /// for a technique without the field.
    Result<void> set_temporal_attention_timestep_skip_range(std::int32_t low, std::int32_t high) {
        return call(cvx_cache_config_set_temporal_attention_timestep_skip_range, low, high);
    }

    /// The same for cross-attention; see set_cross_attention_block_skip_range(). Field of pab.
    /// Default: (100, 800).
    ///
    /// Errors: Code::invalid_argument if no whole timestep lies strictly between low and high, or
    /// for a technique without the field.
    Result<void> set_cross_attention_timestep_skip_range(std::int32_t low, std::int32_t high) {
        return call(cvx_cache_config_set_cross_attention_timestep_skip_range, low, high);
    }

    /// Which layers are cached: those whose name in the checkpoint, such as
    /// "transformer_blocks.0.attn1", one of these regular expressions is found in (Python's
    /// re.search). They replace the defaults, which match all layers: pab "blocks",
    /// "transformer_blocks", "single_transformer_blocks", "layers", "visual_transformer_blocks";
    /// faster_cache "^blocks.*attn", "^transformer_blocks.*attn",
    /// "^single_transformer_blocks.*attn". The strings are copied. Identifiers that match no layer
    /// are an error of Pipeline::enable_cache().
    ///
    /// Errors: Code::invalid_argument naming an identifier that is no regular expression, or for a
    /// technique without the field; Code::null_argument, Code::invalid_utf8.
    Result<void> set_spatial_attention_block_identifiers(Span<const char *const> identifiers) {
        return call(cvx_cache_config_set_spatial_attention_block_identifiers,
                    identifiers.data(),
                    identifiers.size());
    }

    /// The same for temporal attention. Defaults: pab "temporal_transformer_blocks", faster_cache
    /// "^temporal_transformer_blocks.*attn", which match no layer of CogVideoX.
    ///
    /// Errors: Code::invalid_argument naming an identifier that is no regular expression, or for a
    /// technique without the field; Code::null_argument, Code::invalid_utf8.
    Result<void> set_temporal_attention_block_identifiers(Span<const char *const> identifiers) {
        return call(cvx_cache_config_set_temporal_attention_block_identifiers,
                    identifiers.data(),
                    identifiers.size());
    }

    /// The same for cross-attention, which no layer of CogVideoX is whatever its name. Field of
    /// pab. Default: "blocks", "transformer_blocks", "layers".
    ///
    /// Errors: Code::invalid_argument naming an identifier that is no regular expression, or for a
    /// technique without the field; Code::null_argument, Code::invalid_utf8.
    Result<void> set_cross_attention_block_identifiers(Span<const char *const> identifiers) {
        return call(cvx_cache_config_set_cross_attention_block_identifiers,
                    identifiers.data(),
                    identifiers.size());
    }

    /// Inside its window, the unconditional half of the guidance batch runs on every n-th step of
    /// the run, counted from its first, and is rebuilt from the conditional half on the others; 1
    /// rebuilds nothing. Field of faster_cache. Default: 5.
    ///
    /// Errors: Code::invalid_argument if n is not positive, or for a technique without the field.
    Result<void> set_unconditional_batch_skip_range(std::int32_t n) {
        return call(cvx_cache_config_set_unconditional_batch_skip_range, n);
    }

    /// The unconditional half may be skipped while low < timestep < high. Field of faster_cache.
    /// Default: (-1, 641).
    ///
    /// Errors: Code::invalid_argument if no whole timestep lies strictly between low and high, or
    /// for a technique without the field.
    Result<void> set_unconditional_batch_timestep_skip_range(std::int32_t low, std::int32_t high) {
        return call(cvx_cache_config_set_unconditional_batch_timestep_skip_range, low, high);
    }

    /// While low < timestep < high, each rebuilt step multiplies what the unconditional half has of
    /// low frequencies by alpha_low_frequency. Field of faster_cache; not used with a low frequency
    /// weight callback. Default: (99, 901).
    ///
    /// Errors: Code::invalid_argument if no whole timestep lies strictly between low and high, or
    /// for a technique without the field.
    Result<void> set_low_frequency_weight_update_timestep_range(std::int32_t low,
                                                                std::int32_t high) {
        return call(cvx_cache_config_set_low_frequency_weight_update_timestep_range, low, high);
    }

    /// The same for high frequencies and alpha_high_frequency. Field of faster_cache; not used with
    /// a high frequency weight callback. Default: (-1, 301).
    ///
    /// Errors: Code::invalid_argument if no whole timestep lies strictly between low and high, or
    /// for a technique without the field.
    Result<void> set_high_frequency_weight_update_timestep_range(std::int32_t low,
                                                                 std::int32_t high) {
        return call(cvx_cache_config_set_high_frequency_weight_update_timestep_range, low, high);
    }

    /// The gain of low frequencies on each rebuilt step inside its window; gains multiply from one
    /// full step to the next. Field of faster_cache. Default: 1.1.
    ///
    /// Errors: Code::invalid_argument if alpha is not finite in float32, or for a technique without
    /// the field.
    Result<void> set_alpha_low_frequency(double alpha) {
        return call(cvx_cache_config_set_alpha_low_frequency, alpha);
    }

    /// The gain of high frequencies on each rebuilt step inside its window. Field of faster_cache.
    /// Default: 1.1.
    ///
    /// Errors: Code::invalid_argument if alpha is not finite in float32, or for a technique without
    /// the field.
    Result<void> set_alpha_high_frequency(double alpha) {
        return call(cvx_cache_config_set_alpha_high_frequency, alpha);
    }

    /// The order of dimensions that diffusers is told: "BCFHW", "BFCHW" or "BCHW". All three give
    /// the same video here and in diffusers: frequencies are split frame by frame and channel by
    /// channel, over height and width alone. Field of faster_cache. Default: "BCFHW".
    ///
    /// Errors: Code::invalid_argument for any other text, or for a technique without the field.
    Result<void> set_tensor_format(const Text &format) {
        return call_with_text(cvx_cache_config_set_tensor_format, "format", format);
    }

    /// Whether guidance was distilled into the model: then no unconditional half is skipped, and
    /// attention is extrapolated for the whole batch. Without guidance (guidance_scale <= 1) this
    /// is so whatever is set here. Field of faster_cache. Default: false.
    ///
    /// Errors: Code::invalid_argument for a technique without the field.
    Result<void> set_is_guidance_distilled(bool distilled) {
        return call(cvx_cache_config_set_is_guidance_distilled, distilled ? 1 : 0);
    }

    /// The weight of the extrapolation, newer + (newer - older) * weight, where no attention weight
    /// callback is set: 0 repeats the last output. Field of faster_cache, and not one of diffusers,
    /// where only a callback can change it. Default: 0.5.
    ///
    /// Errors: Code::invalid_argument if weight is not finite in float32, or for a technique
    /// without the field.
    Result<void> set_attention_weight(double weight) {
        return call(cvx_cache_config_set_attention_weight, weight);
    }

    /// Whether attention is extrapolated also on steps that run both halves: the unconditional half
    /// is then the conditional one plus what it was more on the last step that computed both, which
    /// takes half again the bytes. Field of faster_cache, and not one of diffusers. Default: false;
    /// true in the preset "aggressive".
    ///
    /// Errors: Code::invalid_argument for a technique without the field.
    Result<void> set_reuse_attention_on_full_guidance_steps(bool reuse) {
        return call(cvx_cache_config_set_reuse_attention_on_full_guidance_steps, reuse ? 1 : 0);
    }

    // end

    /// Returns the current timestep, which decides whether a step lies in a window: callback(const
    /// Step &) returns a number from 0 to below the number of training timesteps. Asked once per
    /// step. nullptr (default) takes the pipeline's own.
    template <class Callback> Result<void> set_current_timestep_callback(Callback &&callback) {
        static_assert(detail::answers_number<Callback, Step>,
                      "takes const cvx::Step &, returns a number");
        return call_with_callback(cvx_cache_config_set_current_timestep_callback,
                                  detail::on_step<std::decay_t<Callback>>,
                                  std::forward<Callback>(callback));
    }

    /// Takes that callback away again.
    Result<void> set_current_timestep_callback(std::nullptr_t) {
        return call(cvx_cache_config_set_current_timestep_callback, nullptr, nullptr,
                    nullptr);
    }

    /// Returns the weight of attention's extrapolation: callback(const LayerStep &) returns a
    /// finite number. Asked once per layer that is extrapolated. Field of faster_cache. nullptr
    /// (default) takes attention_weight.
    template <class Callback> Result<void> set_attention_weight_callback(Callback &&callback) {
        static_assert(detail::answers_number<Callback, LayerStep>,
                      "takes const cvx::LayerStep &, returns a number");
        return call_with_callback(cvx_cache_config_set_attention_weight_callback,
                                  detail::on_layer<std::decay_t<Callback>>,
                                  std::forward<Callback>(callback));
    }

    /// Takes that callback away again.
    Result<void> set_attention_weight_callback(std::nullptr_t) {
        return call(cvx_cache_config_set_attention_weight_callback, nullptr, nullptr,
                    nullptr);
    }

    /// Returns the gain of low frequencies: callback(const Step &) returns a finite number. Asked
    /// once per rebuilt step. Field of faster_cache. nullptr (default) takes alpha_low_frequency.
    template <class Callback> Result<void> set_low_frequency_weight_callback(Callback &&callback) {
        static_assert(detail::answers_number<Callback, Step>,
                      "takes const cvx::Step &, returns a number");
        return call_with_callback(cvx_cache_config_set_low_frequency_weight_callback,
                                  detail::on_step<std::decay_t<Callback>>,
                                  std::forward<Callback>(callback));
    }

    /// Takes that callback away again.
    Result<void> set_low_frequency_weight_callback(std::nullptr_t) {
        return call(cvx_cache_config_set_low_frequency_weight_callback, nullptr, nullptr,
                    nullptr);
    }

    /// Returns the gain of high frequencies: callback(const Step &) returns a finite number. Asked
    /// once per rebuilt step. Field of faster_cache. nullptr (default) takes
    /// alpha_high_frequency.
    template <class Callback> Result<void> set_high_frequency_weight_callback(Callback &&callback) {
        static_assert(detail::answers_number<Callback, Step>,
                      "takes const cvx::Step &, returns a number");
        return call_with_callback(cvx_cache_config_set_high_frequency_weight_callback,
                                  detail::on_step<std::decay_t<Callback>>,
                                  std::forward<Callback>(callback));
    }

    /// Takes that callback away again.
    Result<void> set_high_frequency_weight_callback(std::nullptr_t) {
        return call(cvx_cache_config_set_high_frequency_weight_callback, nullptr, nullptr,
                    nullptr);
    }

private:
    friend Handle;
    explicit CacheConfig(Empty) noexcept : Handle(nullptr) {}
};

} // namespace CVX_HPP_MODE
} // namespace cvx

#endif // COGVIDEOX_CACHE_CONFIG_HPP
