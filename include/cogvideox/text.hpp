/// A text that is passed to the library. Part of cogvideox.hpp.
#ifndef COGVIDEOX_TEXT_HPP
#define COGVIDEOX_TEXT_HPP

#include "result.hpp"

#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

namespace cvx {
inline namespace CVX_HPP_MODE {

/// What functions take as text, in UTF-8: a literal, a std::string, a std::string_view (which is
/// copied, to be ended by NUL), or nullptr where none is allowed. Not meant to be kept: it lives
/// for the call.
class Text {
public:
    /// No text.
    Text(std::nullptr_t) noexcept {}
    /// A C string, which must outlive the call; NULL is no text.
    Text(const char *text) noexcept : text_(text) {}
    /// A string, which must outlive the call.
    Text(const std::string &text) noexcept
        : text_(text.c_str()), has_nul_(std::strlen(text_) != text.size()) {}
    /// A copy of a view.
    Text(std::string_view text)
        : copy_(text), text_(copy_.c_str()), has_nul_(std::strlen(text_) != text.size()) {}
#if defined(__cpp_char8_t)
    /// A u8 literal.
    Text(const char8_t *text) noexcept : text_(reinterpret_cast<const char *>(text)) {}
#endif
    Text(const Text &) = delete;
    Text &operator=(const Text &) = delete;

    /// The text as C takes it, NULL if there is none.
    const char *c_str() const noexcept { return text_; }

    /// Whether C can take it: Code::invalid_argument for a text with a NUL inside, which C would
    /// cut there. what names it in the message.
    Result<void> check(const char *what) const {
        if (has_nul_) {
            return Error(Code::invalid_argument,
                         std::string(what) + " has a NUL inside; expected text without one");
        }
        return {};
    }

private:
    std::string copy_;
    const char *text_ = nullptr;
    bool has_nul_ = false;
};

} // namespace CVX_HPP_MODE
} // namespace cvx

#endif // COGVIDEOX_TEXT_HPP
