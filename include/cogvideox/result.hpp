/// What a call that can fail returns. Part of cogvideox.hpp.
#ifndef COGVIDEOX_RESULT_HPP
#define COGVIDEOX_RESULT_HPP

#include "error.hpp"

#include <initializer_list>
#include <type_traits>
#include <utility>

namespace cvx {
inline namespace CVX_HPP_MODE {

/// A value of type T, or an Error. Dropping one is a compiler warning.
///
///     auto video = pipeline.generate(options);
///     if (!video) return report(video.error());
///     video->save("out.mp4", 8.0);
///
/// Reading the value of a failed Result is a mistake but no crash of its own: there is an empty
/// T (no object, no frames, 0).
template <class T> class [[nodiscard]] Result {
    static_assert(std::is_default_constructible_v<T>, "a failed Result holds an empty T");

public:
    /// The type of the value.
    using value_type = T;

    /// A success.
    Result(T value) : value_(std::move(value)) {}

    /// A failure; error's code must not be Code::ok.
    Result(Error error) : error_(std::move(error)) {}

    /// Whether the call succeeded.
    explicit operator bool() const noexcept { return error_.code() == Code::ok; }

    /// Whether the call succeeded.
    bool has_value() const noexcept { return error_.code() == Code::ok; }

    /// What went wrong; Code::ok and "" if nothing did.
    const Error &error() const noexcept { return error_; }

    /// The value, or an empty one.
    T &operator*() & noexcept { return value_; }
    /// The value, or an empty one.
    const T &operator*() const & noexcept { return value_; }
    /// The value, or an empty one.
    T operator*() && { return std::move(value_); }

    /// A member of the value, or of an empty one.
    T *operator->() noexcept { return &value_; }
    /// A member of the value, or of an empty one.
    const T *operator->() const noexcept { return &value_; }

#if CVX_HPP_EXCEPTIONS
    /// The value; throws what a callback threw, or cvx::Exception, if the call failed.
    T &value() & {
        require();
        return value_;
    }
    /// The value; throws what a callback threw, or cvx::Exception, if the call failed.
    const T &value() const & {
        require();
        return value_;
    }
    /// The value; throws what a callback threw, or cvx::Exception, if the call failed.
    T value() && {
        require();
        return std::move(value_);
    }
#endif

private:
#if CVX_HPP_EXCEPTIONS
    void require() const {
        if (!has_value()) {
            error_.raise();
        }
    }
#endif

    T value_{};
    Error error_;
};

/// Success without a value, or an Error. Dropping one is a compiler warning.
template <> class [[nodiscard]] Result<void> {
public:
    /// The type of the value: there is none.
    using value_type = void;

    /// A success.
    Result() = default;

    /// A failure; a success if error's code is Code::ok.
    Result(Error error) : error_(std::move(error)) {}

    /// Whether the call succeeded.
    explicit operator bool() const noexcept { return error_.code() == Code::ok; }

    /// Whether the call succeeded.
    bool has_value() const noexcept { return error_.code() == Code::ok; }

    /// What went wrong; Code::ok and "" if nothing did.
    const Error &error() const noexcept { return error_; }

#if CVX_HPP_EXCEPTIONS
    /// Throws what a callback threw, or cvx::Exception, if the call failed.
    void value() const {
        if (!has_value()) {
            error_.raise();
        }
    }
#endif

private:
    Error error_;
};

/// The first failure of several calls, all of which are made, in the order written:
///
///     auto set = cvx::all({options.set_prompt("a red ball"), options.set_seed(7)});
///
/// The later ones are made although an earlier one failed. So what must not happen then does not
/// belong among them: enable a cache when the setters of its config have succeeded.
inline Result<void> all(std::initializer_list<Result<void>> results) {
    for (const Result<void> &result : results) {
        if (!result) {
            return result;
        }
    }
    return {};
}

} // namespace CVX_HPP_MODE
} // namespace cvx

#endif // COGVIDEOX_RESULT_HPP
