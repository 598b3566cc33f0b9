/// What a cache did in a run. Part of cogvideox.hpp.
#ifndef COGVIDEOX_CACHE_STATS_HPP
#define COGVIDEOX_CACHE_STATS_HPP

#include "handle.hpp"

#include <cstdint>
#include <string_view>

namespace cvx {
inline namespace CVX_HPP_MODE {

/// Attention's part of the time of a step in which everything is computed.
struct AttentionShare {
    /// From 0 to 1; 0 where it is not known.
    double share = 0.0;
    /// Whether it was timed in the run; else it was estimated by counting multiplications.
    bool measured = false;
};

/// The statistics of a run, or of one that is previewed: a snapshot that does not change and
/// outlives its pipeline. Texts belong to it. An empty object returns 0 and "". Threads: any.
class CacheStats : public Handle<CacheStats, cvx_cache_stats, cvx_cache_stats_free> {
public:
    /// The class's name in errors.
    static constexpr const char *class_name = "CacheStats";

    /// An empty object; Pipeline and CacheConfig make others.
    CacheStats() noexcept : Handle(nullptr) {}

    /// A table for people: a column per step, a row per group of layers, counts, bytes and the
    /// predicted speed-up. Several lines of ASCII.
    std::string_view text() const noexcept { return cvx_cache_stats_text(get()); }

    /// The same for programs, as one JSON object.
    std::string_view json() const noexcept { return cvx_cache_stats_json(get()); }

    /// "Pyramid Attention Broadcast" or "FasterCache"; "" where no cache was enabled.
    std::string_view technique() const noexcept { return cvx_cache_stats_technique(get()); }

    /// Steps of the run, also if it ended before the last.
    std::int32_t total_steps() const noexcept { return cvx_cache_stats_total_steps(get()); }

    /// Steps that have begun.
    std::int32_t num_steps() const noexcept { return cvx_cache_stats_num_steps(get()); }

    /// Attention layers.
    std::int32_t num_layers() const noexcept { return cvx_cache_stats_num_layers(get()); }

    /// A layer's name in the checkpoint, from 0; "" if there is no such layer.
    std::string_view layer_name(std::int32_t layer) const noexcept {
        const char *name = cvx_cache_stats_layer_name(get(), layer);
        return name != nullptr ? name : "";
    }

    /// The pipeline's timestep of a step, from 0; -1 for a step that has not begun.
    std::int64_t timestep(std::int32_t step) const noexcept {
        return cvx_cache_stats_timestep(get(), step);
    }

    /// What a layer was in a step, both from 0.
    LayerState layer_state(std::int32_t step, std::int32_t layer) const noexcept {
        return static_cast<LayerState>(cvx_cache_stats_layer_state(get(), step, layer));
    }

    /// How often a layer, from 0, was in a state; -1 for all layers together.
    std::int32_t layer_count(std::int32_t layer, LayerState state) const noexcept {
        return cvx_cache_stats_layer_count(get(), layer, static_cast<std::int32_t>(state));
    }

    /// What became of the unconditional half in a step, from 0.
    Unconditional unconditional(std::int32_t step) const noexcept {
        return static_cast<Unconditional>(cvx_cache_stats_unconditional(get(), step));
    }

    /// Whether a layer, from 0, was computed on every step for want of cache bytes.
    bool layer_over_budget(std::int32_t layer) const noexcept {
        return cvx_cache_stats_layer_over_budget(get(), layer) != 0;
    }

    /// Bytes kept when the statistics were taken; 0 once the run is over.
    std::uint64_t bytes_now() const noexcept { return cvx_cache_stats_bytes_now(get()); }

    /// The most bytes kept at any time of the run.
    std::uint64_t bytes_peak() const noexcept { return cvx_cache_stats_bytes_peak(get()); }

    /// Of bytes_now() those that CacheConfig::set_cache_location has put into host memory.
    std::uint64_t host_bytes_now() const noexcept { return cvx_cache_stats_host_bytes_now(get()); }

    /// The most of those at any time of the run; 0 of a preview.
    std::uint64_t host_bytes_peak() const noexcept {
        return cvx_cache_stats_host_bytes_peak(get());
    }

    /// Devices or processes that computed the run together; 1 for a run on one.
    std::int32_t num_ranks() const noexcept { return cvx_cache_stats_num_ranks(get()); }

    /// Among how many of them the halves of the guidance were shared: 1 or 2.
    std::int32_t guidance_degree() const noexcept { return cvx_cache_stats_guidance_degree(get()); }

    /// Among how many of them a sequence was shared.
    std::int32_t sequence_degree() const noexcept { return cvx_cache_stats_sequence_degree(get()); }

    /// Bytes that they sent to each other in denoising. Reused attention exchanges nothing.
    std::uint64_t bytes_exchanged() const noexcept { return cvx_cache_stats_bytes_exchanged(get()); }

    /// In how many messages.
    std::uint64_t messages_exchanged() const noexcept {
        return cvx_cache_stats_messages_exchanged(get());
    }

    /// Units of attention that were computed, averaged over the layers. A unit is one half of
    /// the guidance batch in one step.
    double attention_units() const noexcept { return cvx_cache_stats_attention_units(get()); }

    /// Units that were computed of everything but attention.
    double rest_units() const noexcept { return cvx_cache_stats_rest_units(get()); }

    /// Units that a run without a cache would have computed in the same steps.
    double total_units() const noexcept { return cvx_cache_stats_total_units(get()); }

    /// Attention's part of the time, and whether it was measured.
    AttentionShare attention_share() const noexcept {
        std::int32_t measured = 0;
        const double share = cvx_cache_stats_attention_share(get(), &measured);
        return {share, measured != 0};
    }

    /// How many times as fast as without a cache the steps are, by the units and the share; 0
    /// where the share is not known.
    double predicted_speed_up() const noexcept {
        return cvx_cache_stats_predicted_speed_up(get());
    }

    /// Seconds that the run is expected to take, where Pipeline::estimate_cache made this; else 0.
    double estimated_seconds() const noexcept { return cvx_cache_stats_estimated_seconds(get()); }

    /// The PSNR in decibels against the uncached video that is expected, where
    /// Pipeline::estimate_cache made this: infinite where nothing is left out, 0 where it is not
    /// known.
    double estimated_psnr() const noexcept { return cvx_cache_stats_estimated_psnr(get()); }

private:
    friend Handle;
    explicit CacheStats(Empty) noexcept : Handle(nullptr) {}
};

} // namespace CVX_HPP_MODE
} // namespace cvx

#endif // COGVIDEOX_CACHE_STATS_HPP
