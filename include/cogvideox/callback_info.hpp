/// What callbacks are told. Part of cogvideox.hpp.
///
/// All of it lives for the call only.
#ifndef COGVIDEOX_CALLBACK_INFO_HPP
#define COGVIDEOX_CALLBACK_INFO_HPP

#include "constants.hpp"
#include "frames.hpp"
#include "span.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace cvx {
inline namespace CVX_HPP_MODE {

/// How far a load or a run is.
struct Progress {
    /// The part of the work.
    Stage stage = Stage::none;
    /// Units of the stage that are finished, see Stage.
    std::uint64_t done = 0;
    /// Units of the stage in all.
    std::uint64_t total = 0;
    /// The training timestep of the denoising step that has just finished; -1 outside denoising.
    double timestep = -1.0;

    /// How much of the stage is finished, from 0 to 1.
    double fraction() const noexcept {
        return total == 0 ? 1.0 : static_cast<double>(done) / static_cast<double>(total);
    }

    /// No progress.
    Progress() = default;
    /// What the C callback was told.
    explicit Progress(const cvx_progress_info &info) noexcept
        : stage(static_cast<Stage>(info.stage)), done(info.done), total(info.total),
          timestep(info.timestep) {}
};

/// A message for the host's log.
struct LogMessage {
    /// How important it is.
    LogLevel level = LogLevel::debug;
    /// One line of UTF-8, ended by NUL.
    std::string_view message;

    /// No message.
    LogMessage() = default;
    /// What the C callback was told.
    explicit LogMessage(const cvx_log_info &info) noexcept
        : level(static_cast<LogLevel>(info.level)), message(info.message) {}
};

/// A denoising step, of which a cache asks something.
struct Step {
    /// The step, from 0.
    std::int32_t step = 0;
    /// How many steps the run has.
    std::int32_t num_steps = 0;
    /// The pipeline's own timestep: what pipe.current_timestep is in diffusers.
    double timestep = 0.0;

    /// No step.
    Step() = default;
    /// What the C callback was told.
    explicit Step(const cvx_step_info &info) noexcept
        : step(info.step), num_steps(info.num_steps), timestep(info.timestep) {}
};

/// An attention layer in a denoising step, of which a cache asks something.
struct LayerStep {
    /// The step, from 0.
    std::int32_t step = 0;
    /// How many steps the run has.
    std::int32_t num_steps = 0;
    /// The attention layer, from 0.
    std::int32_t layer = 0;
    /// The pipeline's own timestep: what pipe.current_timestep is in diffusers.
    double timestep = 0.0;
    /// The layer's name in the checkpoint, such as "transformer_blocks.0.attn1".
    std::string_view layer_name;

    /// No step.
    LayerStep() = default;
    /// What the C callback was told.
    explicit LayerStep(const cvx_layer_info &info) noexcept
        : step(info.step), num_steps(info.num_steps), layer(info.layer), timestep(info.timestep),
          layer_name(info.layer_name) {}
};

/// Some frames of a video, as they are decoded.
struct FramesChunk {
    /// How pixels are stored: what was asked for.
    Pixels pixels = Pixels::rgb8;
    /// The video, from 0 to num_videos - 1.
    std::int32_t video = 0;
    /// The chunk's first frame, counted in its video.
    std::int32_t first_frame = 0;
    /// Frames in this chunk.
    std::int32_t num_frames = 0;
    /// Frames of the whole video.
    std::int32_t total_frames = 0;
    /// Width in pixels.
    std::int32_t width = 0;
    /// Height in pixels.
    std::int32_t height = 0;
    /// The first row of the first frame.
    const void *data = nullptr;
    /// Bytes from a row to the next one of the same frame.
    std::size_t row_stride = 0;
    /// Bytes from a frame to the next one.
    std::size_t frame_stride = 0;

    /// No frames.
    FramesChunk() = default;
    /// What the C callback was told.
    explicit FramesChunk(const cvx_frames_info &info) noexcept
        : pixels(static_cast<Pixels>(info.pixels)), video(info.video),
          first_frame(info.first_frame), num_frames(info.num_frames),
          total_frames(info.total_frames), width(info.width), height(info.height),
          data(info.data), row_stride(info.row_stride), frame_stride(info.frame_stride) {}

    /// The frames as bytes; none if floats or half precision were asked for.
    Frames<const std::uint8_t> bytes() const noexcept {
        if (pixels != Pixels::rgb8 && pixels != Pixels::rgba8 && pixels != Pixels::bgra8) {
            return {};
        }
        return {static_cast<const std::uint8_t *>(data), num_frames, width, height,
                pixels == Pixels::rgb8 ? 3 : 4, row_stride, frame_stride};
    }

    /// The bits of the frames in half precision; none if something else was asked for.
    Frames<const std::uint16_t> halfs() const noexcept {
        if (pixels != Pixels::rgba16f) {
            return {};
        }
        return {static_cast<const std::uint16_t *>(data), num_frames, width, height, 4, row_stride,
                frame_stride};
    }

    /// The frames as floats; none if bytes were asked for.
    Frames<const float> floats() const noexcept {
        if (pixels != Pixels::f32) {
            return {};
        }
        return {static_cast<const float *>(data), num_frames, width, height, 3, row_stride,
                frame_stride};
    }
};

/// Some frames of a video on the device that decoded them. Nothing has been waited for: what reads
/// them is launched on stream.
struct DeviceFramesChunk {
    /// How pixels are stored.
    Pixels pixels = Pixels::rgb8;
    /// The video, from 0 to num_videos - 1.
    std::int32_t video = 0;
    /// The chunk's first frame, counted in its video.
    std::int32_t first_frame = 0;
    /// Frames in this chunk.
    std::int32_t num_frames = 0;
    /// Frames of the whole video.
    std::int32_t total_frames = 0;
    /// Width in pixels.
    std::int32_t width = 0;
    /// Height in pixels.
    std::int32_t height = 0;
    /// An address on the device; of host memory on the CPU.
    const void *data = nullptr;
    /// Bytes from a row to the next one of the same frame.
    std::size_t row_stride = 0;
    /// Bytes from a frame to the next one.
    std::size_t frame_stride = 0;
    /// A cudaStream_t; nullptr for CUDA's default stream, and on the CPU.
    void *stream = nullptr;
    /// "cpu", "cuda:0", …; during the callback only.
    std::string_view device;

    /// No frames.
    DeviceFramesChunk() = default;
    /// What the C callback was told.
    explicit DeviceFramesChunk(const cvx_device_frames_info &info) noexcept
        : pixels(static_cast<Pixels>(info.pixels)), video(info.video),
          first_frame(info.first_frame), num_frames(info.num_frames),
          total_frames(info.total_frames), width(info.width), height(info.height),
          data(info.data), row_stride(info.row_stride), frame_stride(info.frame_stride),
          stream(info.stream), device(info.device) {}
};

/// Bytes of a file that is being encoded.
struct Written {
    /// Where they lie in the file.
    std::uint64_t offset = 0;
    /// The bytes.
    Span<const std::uint8_t> bytes;

    /// No bytes.
    Written() = default;
    /// What the C callback was told.
    explicit Written(const cvx_write_info &info) noexcept
        : offset(info.offset), bytes(info.data, info.size) {}
};

} // namespace CVX_HPP_MODE
} // namespace cvx

#endif // COGVIDEOX_CALLBACK_INFO_HPP
