/// How callables become C callbacks. Part of cogvideox.hpp; hosts need nothing of it.
///
/// A callable lives on the heap and is the callback's user_data. Behind every C callback there
/// is one function template here, instantiated for the callable's type, which lets no exception
/// out: it is kept for the thread, the C function fails, and the class that called it finds the
/// exception again (Catching), as a Job does whose callbacks ran on a worker thread.
#ifndef COGVIDEOX_CALLBACKS_HPP
#define COGVIDEOX_CALLBACKS_HPP

#include "callback_info.hpp"
#include "result.hpp"
#include "step.hpp"

#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>

#if CVX_HPP_EXCEPTIONS
#include <exception>
#endif

namespace cvx {
inline namespace CVX_HPP_MODE {
namespace detail {

#if CVX_HPP_EXCEPTIONS
/// The first exception of a callback on this thread that was not handed on yet.
inline std::exception_ptr &pending() noexcept {
    thread_local std::exception_ptr exception;
    return exception;
}
#endif

/// Calls a callable; returns otherwise if it throws, or if one before it threw in the same run.
template <class Answer, class Call> Answer guarded(Answer otherwise, Call call) noexcept {
#if CVX_HPP_EXCEPTIONS
    if (pending()) {
        return otherwise;
    }
    try {
        return call();
    } catch (...) {
        pending() = std::current_exception();
        return otherwise;
    }
#else
    static_cast<void>(otherwise);
    return call();
#endif
}

/// Finds what callbacks throw during a call that is made on this thread. They nest: a callback
/// may run another pipeline.
class Catching {
public:
#if CVX_HPP_EXCEPTIONS
    Catching() noexcept : outer_(std::exchange(pending(), nullptr)) {}
    ~Catching() { pending() = std::move(outer_); }
    Catching(const Catching &) = delete;
    Catching &operator=(const Catching &) = delete;

    /// The call's own result, or what a callback threw meanwhile.
    Result<void> finish(Result<void> result) {
        if (pending()) {
            return Error(std::exchange(pending(), nullptr));
        }
        return result;
    }

private:
    std::exception_ptr outer_;
#else
    /// The call's own result.
    Result<void> finish(Result<void> result) { return result; }
#endif
};

/// Returns what the C callback returns: 0 to go on.
template <class Function, class Info>
std::int32_t flow(Function &function, const Info &info) {
    if constexpr (std::is_void_v<std::invoke_result_t<Function &, const Info &>>) {
        function(info);
        return 0;
    } else {
        return static_cast<std::int32_t>(function(info));
    }
}

/// What a callback that returns a number returns for an exception: it fails the run.
inline constexpr double no_number = std::numeric_limits<double>::quiet_NaN();

template <class Function>
std::int32_t on_progress(const cvx_progress_info *info, void *function) noexcept {
    return guarded<std::int32_t>(1, [&] {
        return flow(*static_cast<Function *>(function), Progress(*info));
    });
}

template <class Function>
std::int32_t on_frames(const cvx_frames_info *info, void *function) noexcept {
    return guarded<std::int32_t>(1, [&] {
        return flow(*static_cast<Function *>(function), FramesChunk(*info));
    });
}

template <class Function>
std::int32_t on_device_frames(const cvx_device_frames_info *info, void *function) noexcept {
    return guarded<std::int32_t>(1, [&] {
        return flow(*static_cast<Function *>(function), DeviceFramesChunk(*info));
    });
}

template <class Function>
std::int32_t on_step_end(const cvx_step_end_info *info, void *function) noexcept {
    return guarded<std::int32_t>(1, [&] {
        return flow(*static_cast<Function *>(function), StepEnd(*info));
    });
}

template <class Function>
std::int32_t on_write(const cvx_write_info *info, void *function) noexcept {
    return guarded<std::int32_t>(1, [&] {
        return flow(*static_cast<Function *>(function), Written(*info));
    });
}

template <class Function> void on_log(const cvx_log_info *info, void *function) noexcept {
    guarded(0, [&] {
        (*static_cast<Function *>(function))(LogMessage(*info));
        return 0;
    });
}

template <class Function> double on_step(const cvx_step_info *info, void *function) noexcept {
    return guarded(no_number, [&] {
        return static_cast<double>((*static_cast<Function *>(function))(Step(*info)));
    });
}

template <class Function> double on_layer(const cvx_layer_info *info, void *function) noexcept {
    return guarded(no_number, [&] {
        return static_cast<double>((*static_cast<Function *>(function))(LayerStep(*info)));
    });
}

/// The cvx_free_callback of a callable.
template <class Function> void free_function(void *function) noexcept {
    delete static_cast<Function *>(function);
}

/// Whether a callable takes Info and returns nothing or a Flow.
template <class Callable, class Info> constexpr bool answers_flow() {
    if constexpr (std::is_invocable_v<std::decay_t<Callable> &, const Info &>) {
        using Answer = std::invoke_result_t<std::decay_t<Callable> &, const Info &>;
        return std::is_void_v<Answer> || std::is_same_v<Answer, Flow>;
    } else {
        return false;
    }
}

/// Whether a callable takes Info and returns a number.
template <class Callable, class Info>
inline constexpr bool answers_number =
    std::is_invocable_r_v<double, std::decay_t<Callable> &, const Info &>;

/// Whether a callable takes Info.
template <class Callable, class Info>
inline constexpr bool takes = std::is_invocable_v<std::decay_t<Callable> &, const Info &>;

} // namespace detail
} // namespace CVX_HPP_MODE
} // namespace cvx

#endif // COGVIDEOX_CALLBACKS_HPP
