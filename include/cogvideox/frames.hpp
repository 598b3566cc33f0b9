/// Views of frames. Part of cogvideox.hpp.
#ifndef COGVIDEOX_FRAMES_HPP
#define COGVIDEOX_FRAMES_HPP

#include "span.hpp"

#include <cstddef>
#include <cstdint>

namespace cvx {
inline namespace CVX_HPP_MODE {

/// A view of one picture. T is what a pixel is made of: const std::uint8_t (0 to 255) or const
/// float (0 to 1).
template <class T> class Frame {
public:
    /// No picture.
    constexpr Frame() noexcept = default;

    /// A picture at data; row_stride is in bytes.
    constexpr Frame(T *data, std::int32_t width, std::int32_t height, std::int32_t channels,
                    std::size_t row_stride) noexcept
        : data_(data), width_(width), height_(height), channels_(channels),
          row_stride_(row_stride) {}

    /// The first row's first pixel; NULL if there is no picture.
    constexpr T *data() const noexcept { return data_; }
    /// Width in pixels.
    constexpr std::int32_t width() const noexcept { return width_; }
    /// Height in pixels.
    constexpr std::int32_t height() const noexcept { return height_; }
    /// Numbers per pixel: 3 (R, G, B) or 4 (R, G, B, A).
    constexpr std::int32_t channels() const noexcept { return channels_; }
    /// Bytes from one row to the next.
    constexpr std::size_t row_stride() const noexcept { return row_stride_; }
    /// Whether there is no picture.
    constexpr bool empty() const noexcept { return data_ == nullptr; }

    /// A row's width × channels numbers, from the top; none if there is no such row.
    constexpr Span<T> row(std::int32_t y) const noexcept {
        if (data_ == nullptr || y < 0 || y >= height_) {
            return {};
        }
        return {data_ + static_cast<std::size_t>(y) * (row_stride_ / sizeof(T)), row_size()};
    }

    /// A pixel's channels numbers, from the left and from the top; none if it lies outside.
    constexpr Span<T> pixel(std::int32_t x, std::int32_t y) const noexcept {
        if (x < 0 || x >= width_) {
            return {};
        }
        const std::size_t channels = static_cast<std::size_t>(channels_);
        return row(y).subspan(static_cast<std::size_t>(x) * channels, channels);
    }

    /// Whether rows follow each other without a gap, as in frames of a Video.
    constexpr bool is_packed() const noexcept { return row_stride_ == row_size() * sizeof(T); }

    /// All numbers, height × width × channels, for an upload in one piece; none if there are
    /// gaps between rows.
    constexpr Span<T> packed() const noexcept {
        if (data_ == nullptr || !is_packed()) {
            return {};
        }
        return {data_, static_cast<std::size_t>(height_) * row_size()};
    }

private:
    constexpr std::size_t row_size() const noexcept {
        return static_cast<std::size_t>(width_) * static_cast<std::size_t>(channels_);
    }

    T *data_ = nullptr;
    std::int32_t width_ = 0;
    std::int32_t height_ = 0;
    std::int32_t channels_ = 0;
    std::size_t row_stride_ = 0;
};

/// A view of frames that follow each other, all of one size: for (auto frame : frames).
template <class T> class Frames {
public:
    /// Goes from frame to frame; it may outlive the view.
    class Iterator {
    public:
        /// The frame of that index.
        constexpr Iterator(Frame<T> first, std::size_t frame_stride, std::int32_t index) noexcept
            : first_(first), frame_stride_(frame_stride), index_(index) {}
        /// The frame that it is at.
        constexpr Frame<T> operator*() const noexcept { return at(first_, frame_stride_, index_); }
        /// Goes on to the next.
        constexpr Iterator &operator++() noexcept {
            ++index_;
            return *this;
        }
        /// Whether they are at different frames.
        constexpr bool operator!=(const Iterator &other) const noexcept {
            return index_ != other.index_;
        }

    private:
        Frame<T> first_;
        std::size_t frame_stride_;
        std::int32_t index_;
    };

    /// No frames.
    constexpr Frames() noexcept = default;

    /// count frames at data; strides are in bytes.
    constexpr Frames(T *data, std::int32_t count, std::int32_t width, std::int32_t height,
                     std::int32_t channels, std::size_t row_stride,
                     std::size_t frame_stride) noexcept
        : first_(data, width, height, channels, row_stride), count_(count),
          frame_stride_(frame_stride) {}

    /// How many frames there are.
    constexpr std::int32_t size() const noexcept { return count_; }
    /// Whether there are none.
    constexpr bool empty() const noexcept { return count_ == 0; }
    /// Width in pixels.
    constexpr std::int32_t width() const noexcept { return first_.width(); }
    /// Height in pixels.
    constexpr std::int32_t height() const noexcept { return first_.height(); }
    /// Numbers per pixel: 3 (R, G, B) or 4 (R, G, B, A).
    constexpr std::int32_t channels() const noexcept { return first_.channels(); }
    /// Bytes from one row to the next.
    constexpr std::size_t row_stride() const noexcept { return first_.row_stride(); }
    /// Bytes from one frame to the next.
    constexpr std::size_t frame_stride() const noexcept { return frame_stride_; }
    /// The first frame's first pixel; NULL if there are no frames.
    constexpr T *data() const noexcept { return first_.data(); }

    /// A frame, from 0; an empty one if there is no such frame.
    constexpr Frame<T> operator[](std::int32_t index) const noexcept {
        if (index < 0 || index >= count_) {
            return {};
        }
        return at(first_, frame_stride_, index);
    }

    /// The first frame.
    constexpr Iterator begin() const noexcept { return {first_, frame_stride_, 0}; }
    /// Behind the last frame.
    constexpr Iterator end() const noexcept { return {first_, frame_stride_, count_}; }

    /// All numbers, frames × height × width × channels, in one piece; none if there are gaps.
    constexpr Span<T> packed() const noexcept {
        const std::size_t frame = first_.packed().size();
        if (frame == 0 || frame_stride_ != frame * sizeof(T)) {
            return {};
        }
        return {first_.data(), static_cast<std::size_t>(count_) * frame};
    }

private:
    static constexpr Frame<T> at(Frame<T> first, std::size_t frame_stride,
                                 std::int32_t index) noexcept {
        return {first.data() + static_cast<std::size_t>(index) * (frame_stride / sizeof(T)),
                first.width(), first.height(), first.channels(), first.row_stride()};
    }

    Frame<T> first_;
    std::int32_t count_ = 0;
    std::size_t frame_stride_ = 0;
};

} // namespace CVX_HPP_MODE
} // namespace cvx

#endif // COGVIDEOX_FRAMES_HPP
