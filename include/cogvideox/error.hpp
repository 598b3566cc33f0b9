/// What went wrong. Part of cogvideox.hpp.
#ifndef COGVIDEOX_ERROR_HPP
#define COGVIDEOX_ERROR_HPP

#include "constants.hpp"

#include <string>
#include <string_view>
#include <utility>

#if CVX_HPP_EXCEPTIONS
#include <exception>
#include <stdexcept>
#endif

namespace cvx {
inline namespace CVX_HPP_MODE {

/// A code and one line of text that names the thing at fault, what was expected and what was
/// found. A value: it may be copied and outlives what it speaks of.
class Error {
public:
    /// No error: Code::ok and "".
    Error() = default;

    /// An error of the host's own. code should not be Code::ok.
    Error(Code code, std::string message) : code_(code), message_(std::move(message)) {}

    /// Takes over an error of a C function, and frees it. NULL makes no error.
    explicit Error(cvx_error *error) {
        if (error != nullptr) {
            code_ = static_cast<Code>(cvx_error_code(error));
            message_ = cvx_error_message(error);
            cvx_error_free(error);
        }
    }

    /// What kind of error; Code::ok if there is none.
    Code code() const noexcept { return code_; }

    /// One line of UTF-8 for people; "" if there is no error.
    const std::string &message() const noexcept { return message_; }

#if CVX_HPP_EXCEPTIONS
    /// An error that stands for what a callback threw, its text included where it has one.
    explicit Error(std::exception_ptr cause)
        : code_(Code::callback_failed), message_("a callback threw an exception"),
          cause_(std::move(cause)) {
        try {
            std::rethrow_exception(cause_);
        } catch (const std::exception &exception) {
            message_ = message_ + ": " + exception.what();
        } catch (...) { // NOLINT: what it is stays in cause_
        }
    }

    /// What a callback threw; NULL if nothing.
    const std::exception_ptr &cause() const noexcept { return cause_; }

    /// Throws what a callback threw, else a cvx::Exception of this error.
    [[noreturn]] void raise() const;
#endif

private:
    Code code_ = Code::ok;
    std::string message_;
#if CVX_HPP_EXCEPTIONS
    std::exception_ptr cause_;
#endif
};

#if CVX_HPP_EXCEPTIONS
/// What Result::value() throws; what() is the error's message.
class Exception : public std::runtime_error {
public:
    /// Stands for an error.
    explicit Exception(const Error &error)
        : std::runtime_error(error.message()), code_(error.code()) {}

    /// What kind of error.
    Code code() const noexcept { return code_; }

private:
    Code code_;
};

inline void Error::raise() const {
    if (cause_) {
        std::rethrow_exception(cause_);
    }
    throw Exception(*this);
}
#endif

} // namespace CVX_HPP_MODE
} // namespace cvx

#endif // COGVIDEOX_ERROR_HPP
