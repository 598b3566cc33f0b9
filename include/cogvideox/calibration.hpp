/// What a pipeline has shown of itself. Part of cogvideox.hpp.
#ifndef COGVIDEOX_CALIBRATION_HPP
#define COGVIDEOX_CALIBRATION_HPP

#include "handle.hpp"
#include "result.hpp"
#include "text.hpp"

#include <string_view>

namespace cvx {
inline namespace CVX_HPP_MODE {

/// How a pipeline's outputs change from step to step, what leaving something out does to its
/// videos, and how long its parts take: made once by Pipeline::calibrate for a model, a scheduler,
/// a number of steps and a guidance, kept as JSON, and used by Pipeline::estimate_cache for any
/// config. Threads: any.
class Calibration : public Handle<Calibration, cvx_calibration, cvx_calibration_free> {
public:
    /// The class's name in errors.
    static constexpr const char *class_name = "Calibration";

    /// An empty object; Pipeline::calibrate() and from_json() make others.
    Calibration() noexcept : Handle(nullptr) {}

    /// From JSON that json() gave. Errors: invalid_argument.
    static Result<Calibration> from_json(const Text &json) {
        if (auto whole = json.check("json"); !whole) {
            return whole.error();
        }
        cvx_calibration *calibration = nullptr;
        if (auto *error = cvx_calibration_from_json(json.c_str(), &calibration)) {
            return Error(error);
        }
        return adopt(calibration);
    }

    /// The calibration as one line of JSON, for a file. It belongs to the object.
    std::string_view json() const noexcept { return cvx_calibration_json(get()); }

private:
    friend Handle;
    explicit Calibration(Empty) noexcept : Handle(nullptr) {}
};

} // namespace CVX_HPP_MODE
} // namespace cvx

#endif // COGVIDEOX_CALIBRATION_HPP
