/// The end of a denoising step, as the step callback is shown it. Part of cogvideox.hpp.
#ifndef COGVIDEOX_STEP_HPP
#define COGVIDEOX_STEP_HPP

#include "dlpack.hpp"
#include "frames.hpp"
#include "latents.hpp"
#include "text.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace cvx {
inline namespace CVX_HPP_MODE {

/// A denoising step that has just finished, and the run's latents after it. All of it is good until
/// the callback returns, on its thread.
class StepEnd {
public:
    /// The step, from 0.
    std::int32_t step = 0;
    /// How many steps the run has.
    std::int32_t num_steps = 0;
    /// The training timestep that the step began at.
    double timestep = 0.0;
    /// What the step was guided with.
    double guidance_scale = 0.0;

    /// No step.
    StepEnd() = default;
    /// What the C callback was told.
    explicit StepEnd(const cvx_step_end_info &info) noexcept
        : step(info.step), num_steps(info.num_steps), timestep(info.timestep),
          guidance_scale(info.guidance_scale), handle_(info.handle) {}

    /// The latents that the next step starts from, in host memory; read only.
    Result<Latents> latents() const {
        const float *data = nullptr;
        Latents latents;
        if (cvx_error *error = cvx_step_latents(handle_, &data, latents.shape.data())) {
            return Error(error);
        }
        latents.data = {data, count(latents.shape)};
        return latents;
    }

    /// The same where they lie, as a DLPack tensor that shares their memory and keeps it alive; read
    /// only. Include dlpack.h before the call.
    template <class Tensor = DLManagedTensor> Result<DlpackTensor<Tensor>> latents_dlpack() const {
        static_assert(sizeof(Tensor) > 0, "include dlpack.h");
        Tensor *tensor = nullptr;
        if (cvx_error *error = cvx_step_latents_dlpack(handle_, &tensor)) {
            return Error(error);
        }
        return DlpackTensor<Tensor>(tensor);
    }

    /// Goes on with these latents, of the shape that latents() tells. They are copied.
    Result<void> set_latents(Span<const float> data, Span<const std::int64_t> shape) const {
        if (auto fits = detail::check_length(data, shape); !fits) {
            return fits;
        }
        return Error(cvx_step_set_latents(handle_, data.data(), shape.data(), shape.size()));
    }

    /// Guides with another scale from the next step on.
    Result<void> set_guidance_scale(double scale) const {
        return Error(cvx_step_set_guidance_scale(handle_, scale));
    }

    /// A small picture of each latent frame, at latent resolution: the frames of all videos one
    /// after another. See cvx_step_preview_rgb8.
    Result<Frames<const std::uint8_t>> preview_rgb8() const {
        const std::uint8_t *data = nullptr;
        std::array<std::int64_t, 5> shape{};
        if (cvx_error *error = cvx_step_preview_rgb8(handle_, &data, shape.data())) {
            return Error(error);
        }
        const auto side = [&](std::size_t i) { return static_cast<std::int32_t>(shape[i]); };
        const std::size_t stride = static_cast<std::size_t>(shape[3]) * 3;
        return Frames<const std::uint8_t>(data, side(0) * side(1), side(3), side(2), 3, stride,
                                          stride * static_cast<std::size_t>(shape[2]));
    }

    /// Writes what GenerateOptions::set_resume goes on from to a file.
    Result<void> save(const Text &path) const {
        if (auto whole = path.check("path"); !whole) {
            return whole;
        }
        return Error(cvx_step_save(handle_, path.c_str()));
    }

private:
    static std::size_t count(const std::array<std::int64_t, 5> &shape) noexcept {
        std::size_t count = 1;
        for (const std::int64_t side : shape) {
            count *= static_cast<std::size_t>(side);
        }
        return count;
    }

    cvx_step *handle_ = nullptr;
};

} // namespace CVX_HPP_MODE
} // namespace cvx

#endif // COGVIDEOX_STEP_HPP
