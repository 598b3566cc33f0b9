/// The constants of cogvideox.h: enumerations, and bounds. Part of cogvideox.hpp.
///
/// Each enumerator has the value of its C constant, and those only grow in number: a switch
/// should have a default.
#ifndef COGVIDEOX_CONSTANTS_HPP
#define COGVIDEOX_CONSTANTS_HPP

#include "config.hpp"

#include <cstdint>
#include <string_view>

namespace cvx {
inline namespace CVX_HPP_MODE {

/// What kind of error. Treat one you do not know like internal.
enum class Code : std::int32_t {
    /// No error.
    ok = CVX_OK,
    /// An object is empty (moved from, released, reset), or a text or pointer is NULL.
    null_argument = CVX_ERROR_NULL_ARGUMENT,
    /// An argument, option or configuration value is outside what it may be.
    invalid_argument = CVX_ERROR_INVALID_ARGUMENT,
    /// A text is not valid UTF-8.
    invalid_utf8 = CVX_ERROR_INVALID_UTF8,
    /// A file or folder that must be there is not.
    not_found = CVX_ERROR_NOT_FOUND,
    /// A file of the pipeline folder is damaged or contradicts another one.
    invalid_checkpoint = CVX_ERROR_INVALID_CHECKPOINT,
    /// The pipeline folder asks for something that the library does not implement.
    unsupported_model = CVX_ERROR_UNSUPPORTED_MODEL,
    /// The device asked for cannot be used.
    device_unavailable = CVX_ERROR_DEVICE_UNAVAILABLE,
    /// The device or the host has too little memory.
    out_of_memory = CVX_ERROR_OUT_OF_MEMORY,
    /// The pipeline is at work, or a job has not ended.
    busy = CVX_ERROR_BUSY,
    /// A token, a job's cancel or a callback's Flow::stop ended the work.
    cancelled = CVX_ERROR_CANCELLED,
    /// A callback answered something that cannot be used, or threw.
    callback_failed = CVX_ERROR_CALLBACK_FAILED,
    /// Reading or writing a file failed.
    io = CVX_ERROR_IO,
    /// A defect of the library, or an unexpected failure inside libtorch.
    internal = CVX_ERROR_INTERNAL,
    device_lost = CVX_ERROR_DEVICE_LOST,
};

/// The name of a code, such as "INVALID_ARGUMENT"; "UNKNOWN" for a number that is no code.
/// The text is static. Threads: any.
inline std::string_view name(Code code) noexcept {
    return cvx_error_code_name(static_cast<std::int32_t>(code));
}

/// A part of a load or a run.
enum class Stage : std::int32_t {
    /// Before the first part; only in JobStatus.
    none = 0,
    /// Reading weights; counted in bytes.
    load = CVX_STAGE_LOAD,
    /// Running the text encoder; counted in its layers.
    encode = CVX_STAGE_ENCODE,
    /// Running the transformer; counted in denoising steps.
    denoise = CVX_STAGE_DENOISE,
    /// Running the VAE decoder; counted in chunks of latent frames, and in tiles where it tiles.
    decode = CVX_STAGE_DECODE,
    /// Tuning a cache schedule; counted in runs, of which there may be fewer than foretold.
    tune = CVX_STAGE_TUNE,
    /// Running the VAE encoder over the image of a run; counted in tiles where it tiles.
    encode_image = CVX_STAGE_ENCODE_IMAGE,
};

/// What a pipeline makes videos from.
enum class Task : std::int32_t {
    /// A prompt, or a prompt and a video.
    text_to_video = CVX_TASK_TEXT_TO_VIDEO,
    /// A prompt and an image, which is the video's first frame.
    image_to_video = CVX_TASK_IMAGE_TO_VIDEO,
    /// A prompt and a video, which is made anew.
    video_to_video = CVX_TASK_VIDEO_TO_VIDEO,
    /// A prompt and a video that the result follows.
    control = CVX_TASK_CONTROL,
    /// A prompt, and a first or last frame or what a mask leaves of a video.
    inpainting = CVX_TASK_INPAINTING,
};

/// How important a log message is; a higher one is more so.
enum class LogLevel : std::int32_t {
    /// Details for developers.
    debug = CVX_LOG_DEBUG,
    /// What was chosen where the host left a choice.
    info = CVX_LOG_INFO,
    /// The work goes on, but not quite as asked.
    warning = CVX_LOG_WARNING,
    /// Something failed that no error can tell.
    error = CVX_LOG_ERROR,
};

/// What a run ends with.
enum class Output : std::int32_t {
    /// Decoded frames.
    frames = CVX_OUTPUT_FRAMES,
    /// Latents: the VAE does not run, and the video has no frames.
    latents = CVX_OUTPUT_LATENTS,
};

/// What an attention layer was in a step.
enum class LayerState : std::int32_t {
    /// The run ended before it, or there is no such step or layer.
    not_reached = CVX_LAYER_NOT_REACHED,
    /// It was computed.
    computed = CVX_LAYER_COMPUTED,
    /// A kept output was used as it was.
    reused = CVX_LAYER_REUSED,
    /// An output was extrapolated from kept ones.
    approximated = CVX_LAYER_APPROXIMATED,
    /// The block did not run: what it added in an earlier step was added again.
    skipped = CVX_LAYER_SKIPPED,
    /// Nothing of the block was computed: its part was extrapolated from kept outputs.
    predicted = CVX_LAYER_PREDICTED,
    /// Attention was computed, the feed-forward layer's output extrapolated.
    feed_forward_predicted = CVX_LAYER_FEED_FORWARD_PREDICTED,
};

/// What became of the unconditional half of the guidance batch in a step.
enum class Unconditional : std::int32_t {
    /// Guidance is off, or there is no such step.
    absent = CVX_UNCONDITIONAL_ABSENT,
    /// It ran.
    ran = CVX_UNCONDITIONAL_RAN,
    /// It was rebuilt from the conditional one.
    rebuilt = CVX_UNCONDITIONAL_REBUILT,
    /// Neither half ran: the output of the step was predicted.
    predicted = CVX_UNCONDITIONAL_PREDICTED,
};

/// How the pixels of frames are stored.
enum class Pixels : std::int32_t {
    /// Three bytes R, G, B from 0 to 255.
    rgb8 = CVX_PIXELS_RGB8,
    /// Four bytes R, G, B, A; A is 255.
    rgba8 = CVX_PIXELS_RGBA8,
    /// Three floats R, G, B from 0 to 1.
    f32 = CVX_PIXELS_F32,
    /// Bytes B, G, R, A: 4 a pixel, A being 255. Of frames handed out while they are decoded.
    bgra8 = CVX_PIXELS_BGRA8,
    /// Half precision R, G, B, A: 8 bytes a pixel, A being 1. Likewise.
    rgba16f = CVX_PIXELS_RGBA16F,
};

/// The most that a run may be asked for.
namespace limits {
/// The most pixels that the width or the height of a video, or of a tile, may have.
inline constexpr std::int32_t max_side = CVX_MAX_SIDE;
/// The most frames of a video.
inline constexpr std::int32_t max_frames = CVX_MAX_FRAMES;
/// The most videos of one run.
inline constexpr std::int32_t max_videos = CVX_MAX_VIDEOS;
/// The most tokens that a prompt is cut or padded to.
inline constexpr std::int32_t max_sequence_length = CVX_MAX_SEQUENCE_LENGTH;
/// The most runs that a cache schedule is tuned on.
inline constexpr std::int32_t max_tune_runs = CVX_MAX_TUNE_RUNS;
/// The most threads that a pipeline computes with.
inline constexpr std::int32_t max_threads = CVX_MAX_THREADS;
} // namespace limits

/// Where a job is.
enum class JobState : std::int32_t {
    /// The Job is empty.
    none = CVX_JOB_NONE,
    /// It waits for its turn.
    queued = CVX_JOB_QUEUED,
    /// It runs.
    running = CVX_JOB_RUNNING,
    /// It has ended, and there is a video to take.
    succeeded = CVX_JOB_SUCCEEDED,
    /// It has ended with an error.
    failed = CVX_JOB_FAILED,
    /// It was stopped.
    cancelled = CVX_JOB_CANCELLED,
};

/// Whether a job has ended, in whatever way.
constexpr bool has_ended(JobState state) noexcept {
    return state == JobState::succeeded || state == JobState::failed ||
           state == JobState::cancelled;
}

/// What a progress or frames callback returns. One that returns void always goes on.
enum class Flow : std::int32_t {
    /// The run goes on.
    go_on = 0,
    /// The run ends with Code::cancelled.
    stop = 1,
};

} // namespace CVX_HPP_MODE
} // namespace cvx

#endif // COGVIDEOX_CONSTANTS_HPP
