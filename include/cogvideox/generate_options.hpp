/// What a run is asked to do. Part of cogvideox.hpp.
#ifndef COGVIDEOX_GENERATE_OPTIONS_HPP
#define COGVIDEOX_GENERATE_OPTIONS_HPP

#include "cancel_token.hpp"
#include "frames.hpp"
#include "handle.hpp"
#include "image.hpp"
#include "latents.hpp"
#include "span.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace cvx {
inline namespace CVX_HPP_MODE {

namespace detail {
inline Error wrong_channels(const char *expected, std::int32_t found) {
    return Error(Code::invalid_argument, std::string("image: expected ") + expected +
                                             " channels, found " + std::to_string(found));
}
} // namespace detail

/// What a run is asked to do. A run copies what it needs when it starts, and a job when it is
/// submitted: options may be changed or freed while it is under way, and may serve many runs,
/// also at once, as long as nobody changes them while one starts. A setter that fails changes
/// nothing; it fails with Code::invalid_argument for what lies outside the range it tells.
class GenerateOptions
    : public Handle<GenerateOptions, cvx_generate_options, cvx_generate_options_free> {
public:
    /// The class's name in errors.
    static constexpr const char *class_name = "GenerateOptions";

    /// Every default, and an empty prompt.
    GenerateOptions() noexcept : Handle(cvx_generate_options_new()) {}

    /// What the video shows, 256 KiB at most. Default: "".
    Result<void> set_prompt(const Text &prompt) {
        return call_with_text(cvx_generate_options_set_prompt, "prompt", prompt);
    }

    /// What guidance leads away from, 256 KiB at most; nullptr (default) means "".
    Result<void> set_negative_prompt(const Text &negative_prompt) {
        return call_with_text(cvx_generate_options_set_negative_prompt, "negative_prompt",
                              negative_prompt);
    }

    /// The prompt's embeddings instead of the prompt, which must be "" then: dim numbers for each
    /// token, such as Pipeline::encode_prompt gives them; dim is Pipeline::text_embed_dim. They are
    /// copied. With both sides' embeddings the run needs no text encoder. See
    /// cvx_generate_options_set_prompt_embeddings. Errors: invalid_argument also if data is no
    /// multiple of dim.
    Result<void> set_prompt_embeddings(Span<const float> data, std::size_t dim) {
        return embeddings(cvx_generate_options_set_prompt_embeddings, data, dim);
    }

    /// The prompt again (default).
    Result<void> set_prompt_embeddings(std::nullptr_t) {
        return call(cvx_generate_options_set_prompt_embeddings, nullptr, std::size_t{0},
                    std::size_t{0});
    }

    /// The negative prompt's embeddings instead of the negative prompt, as many tokens as those of
    /// the prompt.
    Result<void> set_negative_prompt_embeddings(Span<const float> data, std::size_t dim) {
        return embeddings(cvx_generate_options_set_negative_prompt_embeddings, data, dim);
    }

    /// The negative prompt again (default).
    Result<void> set_negative_prompt_embeddings(std::nullptr_t) {
        return call(cvx_generate_options_set_negative_prompt_embeddings, nullptr, std::size_t{0},
                    std::size_t{0});
    }

    /// Width and height in pixels, each from 8 to 16384 and a multiple of 8. Default: 0, 0, the
    /// model's own size.
    Result<void> set_size(std::int32_t width, std::int32_t height) {
        return call(cvx_generate_options_set_size, width, height);
    }

    /// Frames of the video, from 1 to 4096; see cvx_generate_options_set_num_frames for numbers
    /// that are rounded. Default: 0, the model's own number.
    Result<void> set_num_frames(std::int32_t num_frames) {
        return call(cvx_generate_options_set_num_frames, num_frames);
    }

    /// Denoising steps, from 1 to 100000. Default: 50.
    Result<void> set_num_inference_steps(std::int32_t num_inference_steps) {
        return call(cvx_generate_options_set_num_inference_steps, num_inference_steps);
    }

    /// How strongly the video follows the prompt, from -1e6 to 1e6; 1 or less means no guidance
    /// and half the work. Default: 6.
    Result<void> set_guidance_scale(double guidance_scale) {
        return call(cvx_generate_options_set_guidance_scale, guidance_scale);
    }

    /// What the weights of the active LoRA adapters are multiplied by in this run, from -1e6 to
    /// 1e6; 0 runs as without them. Default: 1.
    Result<void> set_lora_scale(double lora_scale) {
        return call(cvx_generate_options_set_lora_scale, lora_scale);
    }

    /// Whether a run that can't fit into memory is refused with out_of_memory before anything is
    /// computed, see Pipeline::estimate_memory(). Default: true.
    Result<void> set_memory_check(bool memory_check) {
        return call(cvx_generate_options_set_memory_check, memory_check ? 1 : 0);
    }

    /// Whether guidance grows from 1 to the guidance scale over the run. Default: false.
    Result<void> set_use_dynamic_cfg(bool use_dynamic_cfg) {
        return call(cvx_generate_options_set_use_dynamic_cfg, use_dynamic_cfg ? 1 : 0);
    }

    /// How much noise each step of the DDIM scheduler adds, from 0 (default) to 1. The DPM
    /// scheduler ignores it.
    Result<void> set_eta(double eta) { return call(cvx_generate_options_set_eta, eta); }

    /// What the random numbers start from; any number. Default: 0.
    Result<void> set_seed(std::uint64_t seed) {
        return call(cvx_generate_options_set_seed, seed);
    }

    /// Which scheduler the run steps with: "ddim" or "dpm" in place of what the pipeline was loaded
    /// with; nullptr (default): that. Errors: invalid_argument for other texts.
    Result<void> set_scheduler(const Text &scheduler) {
        return call_with_text(cvx_generate_options_set_scheduler, "scheduler", scheduler);
    }

    /// Which training timesteps are visited: "leading", "linspace" or "trailing"; nullptr
    /// (default): what the pipeline was loaded with. Errors: invalid_argument for other texts.
    Result<void> set_timestep_spacing(const Text &timestep_spacing) {
        return call_with_text(cvx_generate_options_set_timestep_spacing, "timestep_spacing",
                              timestep_spacing);
    }

    /// What the schedule's signal-to-noise ratio is divided by, from 1e-6 to 1e6. Default: 0,
    /// what the pipeline was loaded with.
    Result<void> set_snr_shift_scale(double snr_shift_scale) {
        return call(cvx_generate_options_set_snr_shift_scale, snr_shift_scale);
    }

    /// Whether nothing of the sample is left at the last training timestep. Default: what the pipeline was loaded with.
    Result<void> set_rescale_betas_zero_snr(bool rescale) {
        return call(cvx_generate_options_set_rescale_betas_zero_snr, rescale ? 1 : 0);
    }

    /// What the pipeline was loaded with again (default).
    Result<void> set_rescale_betas_zero_snr(std::nullptr_t) {
        return call(cvx_generate_options_set_rescale_betas_zero_snr, -1);
    }

    /// Tokens that a prompt is cut or padded to, from 1 to 8192. Default: 0, the model's own.
    Result<void> set_max_sequence_length(std::int32_t max_sequence_length) {
        return call(cvx_generate_options_set_max_sequence_length, max_sequence_length);
    }

    /// Videos of the prompt that one run makes, from 1 to 256. Default: 1.
    Result<void> set_num_videos(std::int32_t num_videos) {
        return call(cvx_generate_options_set_num_videos, num_videos);
    }

    /// What the run ends with. Default: Output::frames.
    Result<void> set_output(Output output) {
        return call(cvx_generate_options_set_output, static_cast<std::int32_t>(output));
    }

    /// Whether the VAE decodes tiles that are blended: less memory, more time, a slightly
    /// different picture. Default: false.
    Result<void> set_vae_tiling(bool enabled) {
        return call(cvx_generate_options_set_vae_tiling, enabled ? 1 : 0);
    }

    /// Turns tiling on with tiles of height × width pixels (8 to 16384; 0: the model's own) that
    /// share these fractions with their neighbours (0 to below 1; negative: the model's own).
    Result<void> set_vae_tile(std::int32_t height, std::int32_t width, double overlap_height,
                              double overlap_width) {
        return call(cvx_generate_options_set_vae_tile, height, width, overlap_height,
                    overlap_width);
    }

    /// Whether the VAE decodes several videos one after another: less memory, the same picture.
    /// Default: false.
    Result<void> set_vae_slicing(bool enabled) {
        return call(cvx_generate_options_set_vae_slicing, enabled ? 1 : 0);
    }

    /// Timesteps instead of the scheduler's own: strictly descending, from 0 to the number of
    /// training timesteps less 1. They win over the number of steps and are copied. None
    /// (default): the scheduler's.
    Result<void> set_timesteps(Span<const std::int64_t> timesteps) {
        return call(cvx_generate_options_set_timesteps, timesteps.data(), timesteps.size());
    }

    /// Latents to start from instead of noise of the seed; shape is that of
    /// Pipeline::latent_shape for the run's size. They are copied. Errors: invalid_argument also
    /// if data is not as long as shape says.
    Result<void> set_latents(Span<const float> data, Span<const std::int64_t> shape) {
        if (auto fits = detail::check_length(data, shape); !fits) {
            return fits;
        }
        return call(cvx_generate_options_set_latents, data.data(), shape.data(), shape.size());
    }

    /// Noise of the seed again (default).
    Result<void> set_latents(std::nullptr_t) {
        return call(cvx_generate_options_set_latents, nullptr, nullptr, std::size_t{0});
    }

    /// The image that an image-to-video pipeline starts from, of any size up to 16384 × 16384: it
    /// is resized to that of the run. It is copied; alpha is dropped. A frame of another video
    /// will do too. Errors: invalid_argument for an empty frame or one of 2 channels, say; see
    /// cvx_generate_options_set_image.
    Result<void> set_image(const Frame<const std::uint8_t> &image) {
        if (image.channels() != 3 && image.channels() != 4) {
            return detail::wrong_channels("3 or 4", image.channels());
        }
        return set_image(image.data(), image.width(), image.height(), image.row_stride(),
                         image.channels() == 4 ? Pixels::rgba8 : Pixels::rgb8);
    }

    /// The same of floats R, G, B from 0 to 1, which are not rounded to bytes.
    Result<void> set_image(const Frame<const float> &image) {
        if (image.channels() != 3) {
            return detail::wrong_channels("3", image.channels());
        }
        return set_image(image.data(), image.width(), image.height(), image.row_stride(),
                         Pixels::f32);
    }

    /// The same of a file's picture.
    Result<void> set_image(const Image &image) {
        auto pixels = image.pixels();
        if (!pixels) {
            return pixels.error();
        }
        return set_image(*pixels);
    }

    /// The same of pixels at data, rows from the top, each row_stride bytes after the one before;
    /// 0 means packed.
    Result<void> set_image(const void *data, std::int32_t width, std::int32_t height,
                           std::size_t row_stride, Pixels pixels) {
        return call(cvx_generate_options_set_image, data, width, height, row_stride,
                    static_cast<std::int32_t>(pixels));
    }

    /// The video that a run begins with, for pipelines for video to video and for text to video, and,
    /// with a mask, for inpainting: it is made noisy and then made anew as the prompt says. The run makes as many frames, at its own size.
    /// It is copied; alpha is dropped. Frames of another video will do. In the 1.5 family their latent
    /// frames must be even in number. See cvx_generate_options_set_video.
    Result<void> set_video(const Frames<const std::uint8_t> &frames) {
        if (frames.channels() != 3 && frames.channels() != 4) {
            return detail::wrong_channels("3 or 4", frames.channels());
        }
        return set_video(frames.data(), frames.width(), frames.height(), frames.size(),
                         frames.row_stride(), frames.frame_stride(),
                         frames.channels() == 4 ? Pixels::rgba8 : Pixels::rgb8);
    }

    /// The same of floats R, G, B from 0 to 1, which are not rounded to bytes.
    Result<void> set_video(const Frames<const float> &frames) {
        if (frames.channels() != 3) {
            return detail::wrong_channels("3", frames.channels());
        }
        return set_video(frames.data(), frames.width(), frames.height(), frames.size(),
                         frames.row_stride(), frames.frame_stride(), Pixels::f32);
    }

    /// The same of pixels at data, rows from the top, each row_stride bytes after the one before and
    /// each frame frame_stride bytes; 0 means packed. nullptr takes the video away.
    Result<void> set_video(const void *data, std::int32_t width, std::int32_t height,
                           std::int32_t num_frames, std::size_t row_stride,
                           std::size_t frame_stride, Pixels pixels) {
        return call(cvx_generate_options_set_video, data, width, height, num_frames, row_stride,
                    frame_stride, static_cast<std::int32_t>(pixels));
    }

    /// No video (default).
    Result<void> set_video(std::nullptr_t) {
        return set_video(nullptr, 0, 0, 0, 0, 0, Pixels::rgb8);
    }

    /// The video that a control model's video follows, frame by frame; given as for set_video. See
    /// cvx_generate_options_set_control_video.
    Result<void> set_control_video(const Frames<const std::uint8_t> &frames) {
        if (frames.channels() != 3 && frames.channels() != 4) {
            return detail::wrong_channels("3 or 4", frames.channels());
        }
        return set_control_video(frames.data(), frames.width(), frames.height(), frames.size(),
                                 frames.row_stride(), frames.frame_stride(),
                                 frames.channels() == 4 ? Pixels::rgba8 : Pixels::rgb8);
    }

    /// The same of floats R, G, B from 0 to 1, which are not rounded to bytes.
    Result<void> set_control_video(const Frames<const float> &frames) {
        if (frames.channels() != 3) {
            return detail::wrong_channels("3", frames.channels());
        }
        return set_control_video(frames.data(), frames.width(), frames.height(), frames.size(),
                                 frames.row_stride(), frames.frame_stride(), Pixels::f32);
    }

    /// The same of pixels at data; 0 as a stride means packed. nullptr takes the video away.
    Result<void> set_control_video(const void *data, std::int32_t width, std::int32_t height,
                                   std::int32_t num_frames, std::size_t row_stride,
                                   std::size_t frame_stride, Pixels pixels) {
        return call(cvx_generate_options_set_control_video, data, width, height, num_frames,
                    row_stride, frame_stride, static_cast<std::int32_t>(pixels));
    }

    /// What of the video an inpainting model makes anew: a byte for each pixel of num_frames frames, as
    /// many as the video has or one for all, 128 to 255 where it is made anew. 0 as a stride means
    /// packed; nullptr takes the mask away. See cvx_generate_options_set_mask.
    Result<void> set_mask(const std::uint8_t *data, std::int32_t width, std::int32_t height,
                          std::int32_t num_frames, std::size_t row_stride = 0,
                          std::size_t frame_stride = 0) {
        return call(cvx_generate_options_set_mask, data, width, height, num_frames, row_stride,
                    frame_stride);
    }

    /// The last frame, for pipelines for inpainting, whose first is set_image.
    Result<void> set_last_image(const Frame<const std::uint8_t> &image) {
        if (image.channels() != 3 && image.channels() != 4) {
            return detail::wrong_channels("3 or 4", image.channels());
        }
        return set_last_image(image.data(), image.width(), image.height(), image.row_stride(),
                              image.channels() == 4 ? Pixels::rgba8 : Pixels::rgb8);
    }

    /// The same of a file's picture.
    Result<void> set_last_image(const Image &image) {
        auto pixels = image.pixels();
        if (!pixels) {
            return pixels.error();
        }
        return set_last_image(*pixels);
    }

    /// The same of pixels at data; 0 as a stride means packed. nullptr takes the image away.
    Result<void> set_last_image(const void *data, std::int32_t width, std::int32_t height,
                                std::size_t row_stride, Pixels pixels) {
        return call(cvx_generate_options_set_last_image, data, width, height, row_stride,
                    static_cast<std::int32_t>(pixels));
    }

    /// A video of each prompt in one run; none: of the one of set_prompt. See
    /// cvx_generate_options_set_prompts.
    Result<void> set_prompts(Span<const char *const> prompts) {
        return call(cvx_generate_options_set_prompts, prompts.data(), prompts.size());
    }

    /// A negative prompt for each video; none: the one of set_negative_prompt.
    Result<void> set_negative_prompts(Span<const char *const> prompts) {
        return call(cvx_generate_options_set_negative_prompts, prompts.data(), prompts.size());
    }

    /// A seed for each video; none: the one of set_seed. See cvx_generate_options_set_seeds.
    Result<void> set_seeds(Span<const std::uint64_t> seeds) {
        return call(cvx_generate_options_set_seeds, seeds.data(), seeds.size());
    }

    /// How much of the video is made anew, from 0 to 1; negative: the default, 0.8, and 1 in pipelines
    /// for inpainting. Only with set_video.
    Result<void> set_strength(double strength) {
        return call(cvx_generate_options_set_strength, strength);
    }

    /// No image (default): for text to video.
    Result<void> set_image(std::nullptr_t) { return call(cvx_generate_options_clear_image); }

    /// Follows the run: callback(const Progress &) returns nothing or a Flow. nullptr (default)
    /// follows nothing.
    template <class Callback> Result<void> set_progress_callback(Callback &&callback) {
        static_assert(detail::answers_flow<Callback, Progress>(),
                      "takes const cvx::Progress &, returns void or cvx::Flow");
        return call_with_callback(cvx_generate_options_set_progress_callback,
                                  detail::on_progress<std::decay_t<Callback>>,
                                  std::forward<Callback>(callback));
    }

    /// Follows nothing any more.
    Result<void> set_progress_callback(std::nullptr_t) {
        return call(cvx_generate_options_set_progress_callback, nullptr, nullptr, nullptr);
    }

    /// Receives the run's messages: callback(const LogMessage &). nullptr (default) leaves them
    /// to the log callback that the pipeline was loaded with.
    template <class Callback> Result<void> set_log_callback(Callback &&callback) {
        static_assert(detail::takes<Callback, LogMessage>, "takes const cvx::LogMessage &");
        return call_with_callback(cvx_generate_options_set_log_callback,
                                  detail::on_log<std::decay_t<Callback>>,
                                  std::forward<Callback>(callback));
    }

    /// Leaves messages to the pipeline's log callback again.
    Result<void> set_log_callback(std::nullptr_t) {
        return call(cvx_generate_options_set_log_callback, nullptr, nullptr, nullptr);
    }

    /// Receives frames as they are decoded, before the run ends: callback(const FramesChunk &)
    /// returns nothing or a Flow. They come in the order of frames within a video, with the
    /// bytes that the finished video has. nullptr (default): only the finished video.
    template <class Callback>
    Result<void> set_frames_callback(Pixels pixels, Callback &&callback) {
        static_assert(detail::answers_flow<Callback, FramesChunk>(),
                      "takes const cvx::FramesChunk &, returns void or cvx::Flow");
        return call_with_callback(cvx_generate_options_set_frames_callback,
                                  detail::on_frames<std::decay_t<Callback>>,
                                  std::forward<Callback>(callback),
                                  static_cast<std::int32_t>(pixels));
    }

    /// Called after each denoising step: callback(const StepEnd &) returns nothing or a Flow, and may
    /// read and replace latents, change guidance, show previews and save the run. nullptr (default)
    /// calls nothing.
    template <class Callback> Result<void> set_step_callback(Callback &&callback) {
        static_assert(detail::answers_flow<Callback, StepEnd>(),
                      "takes const cvx::StepEnd &, returns void or cvx::Flow");
        return call_with_callback(cvx_generate_options_set_step_callback,
                                  detail::on_step_end<std::decay_t<Callback>>,
                                  std::forward<Callback>(callback));
    }

    /// Calls nothing any more.
    Result<void> set_step_callback(std::nullptr_t) {
        return call(cvx_generate_options_set_step_callback, nullptr, nullptr, nullptr);
    }

    /// Goes on from a file that StepEnd::save wrote in a run with the same options, and gives the
    /// bytes of the unbroken run; a cache starts anew. nullptr (default) starts from noise. See
    /// cvx_generate_options_set_resume.
    Result<void> set_resume(const Text &path) {
        return call_with_text(cvx_generate_options_set_resume, "path", path);
    }

    /// Only the finished video again.
    Result<void> set_frames_callback(std::nullptr_t) {
        return call(cvx_generate_options_set_frames_callback, CVX_PIXELS_RGB8, nullptr, nullptr,
                    nullptr);
    }

    /// The host's own memory for the frames (a mapped texture, a ring buffer), size bytes: frame
    /// f of video v is written at data + (v * num_frames + f) * frame_stride, its row r at
    /// + r * row_stride; 0 as a stride means packed. It must stay valid and untouched until the
    /// run has ended, and serves one run at a time. A run that it is too small for fails with
    /// Code::invalid_argument before it begins.
    Result<void> set_frames_buffer(Pixels pixels, void *data, std::size_t size,
                                   std::size_t row_stride = 0, std::size_t frame_stride = 0) {
        return call(cvx_generate_options_set_frames_buffer, static_cast<std::int32_t>(pixels),
                    data, size, row_stride, frame_stride);
    }

    /// Takes the host's memory away again (default).
    Result<void> set_frames_buffer(std::nullptr_t) {
        return call(cvx_generate_options_set_frames_buffer, CVX_PIXELS_RGB8, nullptr,
                    std::size_t{0}, std::size_t{0}, std::size_t{0});
    }

    /// Receives frames on the device that decodes them, as soon as their work is launched:
    /// callback(const DeviceFramesChunk &) returns nothing or a Flow. What it launches on the chunk's
    /// stream may read them. nullptr (default) hands out none.
    template <class Callback>
    Result<void> set_device_frames_callback(Pixels pixels, Callback &&callback) {
        static_assert(detail::answers_flow<Callback, DeviceFramesChunk>(),
                      "takes const cvx::DeviceFramesChunk &, returns void or cvx::Flow");
        return call_with_callback(cvx_generate_options_set_device_frames_callback,
                                  detail::on_device_frames<std::decay_t<Callback>>,
                                  std::forward<Callback>(callback),
                                  static_cast<std::int32_t>(pixels));
    }

    /// Hands out none any more.
    Result<void> set_device_frames_callback(std::nullptr_t) {
        return call(cvx_generate_options_set_device_frames_callback, CVX_PIXELS_RGB8, nullptr,
                    nullptr, nullptr);
    }

    /// The host's own memory for the frames on the device that decodes them, laid out as
    /// set_frames_buffer says: an address on it, or of host memory on the CPU. See
    /// cvx_generate_options_set_device_frames_buffer for alignment and for when frames are there.
    Result<void> set_device_frames_buffer(Pixels pixels, void *data, std::size_t size,
                                          std::size_t row_stride = 0,
                                          std::size_t frame_stride = 0) {
        return call(cvx_generate_options_set_device_frames_buffer,
                    static_cast<std::int32_t>(pixels), data, size, row_stride, frame_stride);
    }

    /// Takes the memory away again (default).
    Result<void> set_device_frames_buffer(std::nullptr_t) {
        return call(cvx_generate_options_set_device_frames_buffer, CVX_PIXELS_RGB8, nullptr,
                    std::size_t{0}, std::size_t{0}, std::size_t{0});
    }

    /// A CUDA stream of the host's (cudaStream_t) that the library's writing of frames on the device
    /// is ordered against; nullptr (default): none. See cvx_generate_options_set_stream.
    Result<void> set_stream(void *stream) { return call(cvx_generate_options_set_stream, stream); }

    /// A CUDA event of the host's (cudaEvent_t) that the library's writing of frames on the device waits
    /// for; nullptr (default): none. See cvx_generate_options_set_wait_event.
    Result<void> set_wait_event(void *event) {
        return call(cvx_generate_options_set_wait_event, event);
    }

    /// A CUDA event of the host's (cudaEvent_t) that a run records behind each group of frames on the
    /// device, and behind the video; nullptr (default): none. See
    /// cvx_generate_options_set_record_event.
    Result<void> set_record_event(void *event) {
        return call(cvx_generate_options_set_record_event, event);
    }

    /// Whether decoded frames stay on the pipeline's device, for Video::frames_dlpack and
    /// Video::device_frames. Default: false, they go to the host's memory.
    Result<void> set_frames_on_device(bool on_device) {
        return call(cvx_generate_options_set_frames_on_device, on_device ? 1 : 0);
    }

    /// Runs with these options end with Code::cancelled once the token is cancelled, also if it
    /// was cancelled before. The caller keeps the token and may free it at any time.
    Result<void> set_cancel_token(const CancelToken &token) {
        if (auto live = detail::require(token); !live) {
            return live;
        }
        return call(cvx_generate_options_set_cancel_token, token.get());
    }

    /// Takes the token away again (default).
    Result<void> set_cancel_token(std::nullptr_t) {
        return call(cvx_generate_options_set_cancel_token, nullptr);
    }

private:
    friend Handle;
    explicit GenerateOptions(Empty) noexcept : Handle(nullptr) {}

    Result<void> embeddings(cvx_error *(*set)(cvx_generate_options *, const float *, std::size_t,
                                              std::size_t),
                            Span<const float> data, std::size_t dim) {
        if (data.empty() || dim == 0 || data.size() % dim != 0) {
            return Error(Code::invalid_argument,
                         "embeddings: expected tokens of " + std::to_string(dim) +
                             " numbers, found " + std::to_string(data.size()) + " numbers");
        }
        return call(set, data.data(), data.size() / dim, dim);
    }
};

} // namespace CVX_HPP_MODE
} // namespace cvx

#endif // COGVIDEOX_GENERATE_OPTIONS_HPP
