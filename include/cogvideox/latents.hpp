/// Latents and their shapes. Part of cogvideox.hpp.
#ifndef COGVIDEOX_LATENTS_HPP
#define COGVIDEOX_LATENTS_HPP

#include "result.hpp"
#include "span.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

namespace cvx {
inline namespace CVX_HPP_MODE {

/// The shape of a run's latents.
struct LatentShape {
    /// Videos, latent frames, channels, latent height, latent width.
    std::array<std::int64_t, 5> sides{};
    /// How many of the latent frames, at the front, are dropped before decoding (1.5 family).
    std::int32_t padding_frames = 0;
};

/// A view of latents, densely packed; good as long as the Video that gave it.
struct Latents {
    /// The numbers.
    Span<const float> data;
    /// Videos, latent frames, channels, latent height, latent width.
    std::array<std::int64_t, 5> shape{};
};

namespace detail {

/// Fails unless data is as long as shape says: C takes a pointer and cannot see it.
inline Result<void> check_length(Span<const float> data, Span<const std::int64_t> shape) {
    constexpr auto most = (std::numeric_limits<std::int64_t>::max)(); // a macro on Windows
    if (data.empty()) {
        return Error(Code::invalid_argument, "latents: data must hold numbers, it is empty");
    }
    std::int64_t count = 1;
    for (const std::int64_t side : shape) {
        if (side <= 0 || count > most / side) {
            count = -1; // C names the side at fault, before it reads anything
            break;
        }
        count *= side;
    }
    if (count >= 0 && static_cast<std::uint64_t>(count) != data.size()) {
        return Error(Code::invalid_argument, "latents: the shape asks for " +
                                                 std::to_string(count) + " numbers, data has " +
                                                 std::to_string(data.size()));
    }
    return {};
}

} // namespace detail
} // namespace CVX_HPP_MODE
} // namespace cvx

#endif // COGVIDEOX_LATENTS_HPP
