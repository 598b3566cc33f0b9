/// The image that a video starts from. Part of cogvideox.hpp.
#ifndef COGVIDEOX_IMAGE_HPP
#define COGVIDEOX_IMAGE_HPP

#include "frames.hpp"
#include "handle.hpp"

#include <cstddef>
#include <cstdint>

namespace cvx {
inline namespace CVX_HPP_MODE {

/// A picture that was read from a file; it does not change. Threads: everything but freeing and
/// moving it may be done from many threads at once.
class Image : public Handle<Image, cvx_image, cvx_image_free> {
public:
    /// The class's name in errors.
    static constexpr const char *class_name = "Image";

    /// An empty object; load makes others.
    Image() noexcept : Handle(nullptr) {}

    /// Reads a .png or .jpeg file as 8-bit R, G, B, alpha dropped, the right way up; see
    /// cvx_image_load. Errors: not_found, io, invalid_argument (another format, a damaged file, a
    /// side of more than 16384 pixels). Threads: any.
    static Result<Image> load(const Text &path) {
        if (auto whole = path.check("path"); !whole) {
            return whole.error();
        }
        cvx_image *image = nullptr;
        if (cvx_error *error = cvx_image_load(path.c_str(), &image)) {
            return Error(error);
        }
        return adopt(image);
    }

    /// Width in pixels.
    std::int32_t width() const noexcept { return cvx_image_width(get()); }

    /// Height in pixels.
    std::int32_t height() const noexcept { return cvx_image_height(get()); }

    /// The pixels, for GenerateOptions::set_image; good as long as the Image.
    Result<Frame<const std::uint8_t>> pixels() const & {
        const std::uint8_t *data = nullptr;
        std::size_t stride = 0;
        if (auto done = call(cvx_image_rgb8, &data, &stride); !done) {
            return done.error();
        }
        return Frame<const std::uint8_t>(data, width(), height(), 3, stride);
    }
    /// Not of an image that is about to go.
    Result<Frame<const std::uint8_t>> pixels() const && = delete;

private:
    friend Handle;
    explicit Image(Empty) noexcept : Handle(nullptr) {}
};

} // namespace CVX_HPP_MODE
} // namespace cvx

#endif // COGVIDEOX_IMAGE_HPP
