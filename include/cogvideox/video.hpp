/// What a run made. Part of cogvideox.hpp.
#ifndef COGVIDEOX_VIDEO_HPP
#define COGVIDEOX_VIDEO_HPP

#include "dlpack.hpp"
#include "frames.hpp"
#include "handle.hpp"
#include "latents.hpp"
#include "span.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace cvx {
inline namespace CVX_HPP_MODE {

/// Float frames of one video where they were decoded; good as long as the Video.
struct DeviceFrames {
    /// Frames × height × width × 3 floats, packed, on Video::frames_device.
    const void *data = nullptr;
    /// Bytes of all frames.
    std::size_t size = 0;
    /// The cudaStream_t they were made on, already synchronised; NULL on the CPU and for CUDA's
    /// default stream.
    void *stream = nullptr;
};

/// Bytes that the library made, such as a file in memory. They do not change.
class Buffer : public Handle<Buffer, cvx_buffer, cvx_buffer_free> {
public:
    /// The class's name in errors.
    static constexpr const char *class_name = "Buffer";

    /// An empty object; Video::encode makes others.
    Buffer() noexcept : Handle(nullptr) {}

    /// The bytes; good as long as the buffer.
    Span<const std::uint8_t> bytes() const & noexcept {
        return {cvx_buffer_data(get()), cvx_buffer_size(get())};
    }
    /// Not of a buffer that is about to go.
    Span<const std::uint8_t> bytes() const && = delete;

private:
    friend Handle;
    explicit Buffer(Empty) noexcept : Handle(nullptr) {}
};

/// One or several videos of the same size, as frames or as latents. Frames and latents are made
/// when they are first asked for, and stay where they are until the video is freed; asking a
/// Video that is about to go is therefore a compile error. index counts videos from 0.
///
/// Errors are Code::invalid_argument where there is no such video or it has no frames. Threads:
/// everything but freeing and moving it may be done from many threads at once.
class Video : public Handle<Video, cvx_video, cvx_video_free> {
public:
    /// The class's name in errors.
    static constexpr const char *class_name = "Video";

    /// An empty object; Pipeline and Job make others.
    Video() noexcept : Handle(nullptr) {}

    /// How many videos the run made.
    std::int32_t count() const noexcept { return cvx_video_count(get()); }

    /// Frames of each video; 0 if the run ended with latents.
    std::int32_t num_frames() const noexcept { return cvx_video_num_frames(get()); }

    /// Width in pixels; 0 if the run ended with latents.
    std::int32_t width() const noexcept { return cvx_video_width(get()); }

    /// Height in pixels; 0 if the run ended with latents.
    std::int32_t height() const noexcept { return cvx_video_height(get()); }

    /// What computed it, such as "libtorch 2.11.0 on the CPU for AVX512, with oneDNN, 2 threads".
    /// Good as long as the Video.
    std::string_view kernels() const & noexcept { return cvx_video_kernels(get()); }
    /// Not of a video that is about to go.
    std::string_view kernels() const && = delete;

    /// The frames of one video as bytes R, G, B from 0 to 255, packed.
    Result<Frames<const std::uint8_t>> frames_rgb8(std::int32_t index = 0) const & {
        return frames<const std::uint8_t>(cvx_video_frames_rgb8, index, 3);
    }
    /// Not of a video that is about to go.
    Result<Frames<const std::uint8_t>> frames_rgb8(std::int32_t index = 0) const && = delete;

    /// The frames of one video as bytes R, G, B, A from 0 to 255, with A 255, packed.
    Result<Frames<const std::uint8_t>> frames_rgba8(std::int32_t index = 0) const & {
        return frames<const std::uint8_t>(cvx_video_frames_rgba8, index, 4);
    }
    /// Not of a video that is about to go.
    Result<Frames<const std::uint8_t>> frames_rgba8(std::int32_t index = 0) const && = delete;

    /// The frames of one video as floats R, G, B from 0 to 1, packed.
    Result<Frames<const float>> frames_f32(std::int32_t index = 0) const & {
        return frames<const float>(cvx_video_frames_f32, index, 3);
    }
    /// Not of a video that is about to go.
    Result<Frames<const float>> frames_f32(std::int32_t index = 0) const && = delete;

    /// The latents that the run ended with, of all its videos.
    Result<Latents> latents() const & {
        const float *data = nullptr;
        Latents latents;
        if (auto done = call(cvx_video_latents, &data, latents.shape.data()); !done) {
            return done.error();
        }
        std::size_t count = 1;
        for (const std::int64_t side : latents.shape) {
            count *= static_cast<std::size_t>(side);
        }
        latents.data = {data, count};
        return latents;
    }
    /// Not of a video that is about to go.
    Result<Latents> latents() const && = delete;

    /// Frames of one video as a DLPack tensor that shares their memory and keeps it alive, also
    /// when the Video is gone: (frames, height, width, 3) floats for Pixels::f32, where they
    /// lie, or (frames, height, width, 3 or 4) bytes. Include dlpack.h before the call.
    template <class Tensor = DLManagedTensor>
    Result<DlpackTensor<Tensor>> frames_dlpack(Pixels pixels, std::int32_t index = 0) const {
        static_assert(sizeof(Tensor) > 0, "include dlpack.h");
        Tensor *tensor = nullptr;
        auto done =
            call(cvx_video_frames_dlpack, index, static_cast<std::int32_t>(pixels), &tensor);
        if (!done) {
            return done.error();
        }
        return DlpackTensor<Tensor>(tensor);
    }

    /// The latents of all videos as a DLPack tensor (videos, latent frames, channels, latent
    /// height, latent width), as frames_dlpack does with frames.
    template <class Tensor = DLManagedTensor> Result<DlpackTensor<Tensor>> latents_dlpack() const {
        static_assert(sizeof(Tensor) > 0, "include dlpack.h");
        Tensor *tensor = nullptr;
        if (auto done = call(cvx_video_latents_dlpack, &tensor); !done) {
            return done.error();
        }
        return DlpackTensor<Tensor>(tensor);
    }

    /// Where float frames lie: "cpu" or "cuda:0"; "" for an empty object. Good as long as the
    /// video.
    std::string_view frames_device() const & noexcept {
        const char *device = cvx_video_frames_device(get());
        return device != nullptr ? device : "";
    }
    /// Not of a video that is about to go.
    std::string_view frames_device() const && = delete;

    /// The float frames of one video where they are: pointer, bytes and stream.
    Result<DeviceFrames> device_frames(std::int32_t index = 0) const & {
        DeviceFrames frames;
        auto done = call(cvx_video_device_frames, index, &frames.data, &frames.size,
                         &frames.stream);
        if (!done) {
            return done.error();
        }
        return frames;
    }
    /// Not of a video that is about to go.
    Result<DeviceFrames> device_frames(std::int32_t index = 0) const && = delete;

    /// Writes one video to a file: .mp4, .gif, or .png for one file per frame; see
    /// cvx_video_save. fps is above 0 and up to 240, such as Pipeline::default_fps. A failure
    /// leaves no half-written file. Errors also: not_found (the folder), io.
    Result<void> save(const Text &path, double fps, std::int32_t index = 0) const {
        if (auto whole = path.check("path"); !whole) {
            return whole;
        }
        return call(cvx_video_save, index, path.c_str(), fps);
    }

    /// One video as the bytes of the file that save would write; format is "mp4" or "gif".
    Result<Buffer> encode(const Text &format, double fps, std::int32_t index = 0) const {
        if (auto whole = format.check("format"); !whole) {
            return whole.error();
        }
        cvx_buffer *buffer = nullptr;
        if (auto done = call(cvx_video_encode_buffer, index, format.c_str(), fps, &buffer); !done) {
            return done.error();
        }
        return Buffer::adopt(buffer);
    }

    /// The same bytes as they come: callback(const Written &) returns nothing or a Flow.
    template <class Callback>
    Result<void> encode_to(const Text &format, double fps, Callback &&callback,
                           std::int32_t index = 0) const {
        static_assert(detail::answers_flow<Callback, Written>(),
                      "takes const cvx::Written &, returns void or cvx::Flow");
        if (auto whole = format.check("format"); !whole) {
            return whole;
        }
        detail::Catching catching;
        return catching.finish(
            call_with_callback(cvx_video_encode, detail::on_write<std::decay_t<Callback>>,
                               std::forward<Callback>(callback), index, format.c_str(), fps));
    }

    /// Whether save could write to path at fps, as far as that can be told before there is a
    /// video. Errors: invalid_argument, not_found.
    static Result<void> check_path(const Text &path, double fps) {
        if (auto whole = path.check("path"); !whole) {
            return whole;
        }
        return Error(cvx_video_check_path(path.c_str(), fps));
    }

    /// Writes one .png to compare videos by eye: a row for the first video of each, columns
    /// frames of it from its first to its last. They must have one size.
    static Result<void> save_contact_sheet(Span<const Video *const> videos, std::int32_t columns,
                                           const Text &path) {
        if (auto whole = path.check("path"); !whole) {
            return whole;
        }
        std::vector<const cvx_video *> handles;
        handles.reserve(videos.size());
        for (const Video *video : videos) {
            handles.push_back(video != nullptr ? video->get() : nullptr);
        }
        return Error(cvx_video_save_contact_sheet(handles.data(), handles.size(), columns,
                                                  path.c_str()));
    }

private:
    friend Handle;
    explicit Video(Empty) noexcept : Handle(nullptr) {}

    template <class T>
    Result<Frames<T>> frames(cvx_error *(*read)(const cvx_video *, std::int32_t, T **,
                                                std::size_t *),
                             std::int32_t index, std::int32_t channels) const {
        T *data = nullptr;
        std::size_t stride = 0;
        if (auto done = call(read, index, &data, &stride); !done) {
            return done.error();
        }
        return Frames<T>(data, num_frames(), width(), height(), channels, stride,
                         stride * static_cast<std::size_t>(height()));
    }
};

} // namespace CVX_HPP_MODE
} // namespace cvx

#endif // COGVIDEOX_VIDEO_HPP
