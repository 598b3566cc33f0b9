/// A view of numbers in memory, for C++17. Part of cogvideox.hpp.
#ifndef COGVIDEOX_SPAN_HPP
#define COGVIDEOX_SPAN_HPP

#include "config.hpp"

#include <cstddef>
#include <initializer_list>
#include <type_traits>
#include <utility>

namespace cvx {
inline namespace CVX_HPP_MODE {

/// A pointer and a number of elements that somebody else owns: what std::span is in C++20,
/// where it converts to one by itself. Made from arrays, and from whatever has data() and
/// size(), such as std::vector, std::array and std::span.
template <class T> class Span {
public:
    /// The type of an element.
    using element_type = T;
    /// The type of an element, without const.
    using value_type = std::remove_cv_t<T>;
    /// What begin() and end() answer.
    using iterator = T *;

    /// No elements.
    constexpr Span() noexcept = default;

    /// size elements from data on.
    constexpr Span(T *data, std::size_t size) noexcept : data_(data), size_(size) {}

    /// A whole array.
    template <std::size_t size> constexpr Span(T (&array)[size]) noexcept : Span(array, size) {}

    /// What a container holds; it must outlive the span.
    template <class Container,
              class Data = decltype(std::data(std::declval<Container &>())),
              class = std::enable_if_t<std::is_convertible_v<Data, T *> &&
                                       std::is_same_v<std::remove_cv_t<std::remove_pointer_t<Data>>,
                                                      std::remove_cv_t<T>>>>
    constexpr Span(Container &&container) noexcept
        : Span(std::data(container), std::size(container)) {}

    /// What braces hold, as an argument of a call.
    template <class U = T, class = std::enable_if_t<std::is_const_v<U>>>
    constexpr Span(std::initializer_list<value_type> list) noexcept
        : Span(list.begin(), list.size()) {}

    /// The first element; may be NULL if there is none.
    constexpr T *data() const noexcept { return data_; }
    /// How many elements there are.
    constexpr std::size_t size() const noexcept { return size_; }
    /// How many bytes they take.
    constexpr std::size_t size_bytes() const noexcept { return size_ * sizeof(T); }
    /// Whether there are none.
    constexpr bool empty() const noexcept { return size_ == 0; }
    /// The first element.
    constexpr T *begin() const noexcept { return data_; }
    /// Behind the last element.
    constexpr T *end() const noexcept { return data_ + size_; }

    /// An element; index must be below size(). This is the one access that is not checked.
    constexpr T &operator[](std::size_t index) const noexcept { return data_[index]; }

    /// count elements from offset on, or as many of them as there are.
    constexpr Span subspan(std::size_t offset, std::size_t count) const noexcept {
        const std::size_t from = offset < size_ ? offset : size_;
        const std::size_t left = size_ - from;
        return Span(data_ + from, count < left ? count : left);
    }

private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};

} // namespace CVX_HPP_MODE
} // namespace cvx

#endif // COGVIDEOX_SPAN_HPP
