// Every member of the wrapper, called once, so that every template is instantiated: compiled in
// every C++ there is. It is run too, on empty objects, which must answer errors and not crash.
//
// The file is included by two files of one program, each with a name of its own for the
// function.

#include <cogvideox.hpp>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#if defined(__cpp_lib_span) || __cplusplus >= 202002L
#include <span>
#endif

// What dlpack.h declares, as far as it is needed here.
#ifndef COGVIDEOX_TEST_DLPACK
#define COGVIDEOX_TEST_DLPACK
struct DLManagedTensor {
    void *fields[8];
    void *manager_ctx;
    void (*deleter)(struct DLManagedTensor *self);
};
#endif

namespace {

// Counts calls that failed, as all do that can: every object here is empty.
struct Failures {
    int count = 0;
    int calls = 0;
    template <class T> void add(const cvx::Result<T> &result) {
        ++calls;
        count += result ? 0 : 1;
    }
};

// A callable that can only be moved, as a lambda that owns a unique_ptr.
struct MoveOnly {
    std::unique_ptr<int> owned = std::make_unique<int>(1);
    cvx::Flow operator()(const cvx::Progress &) { return cvx::Flow::go_on; }
};

template <class T> T emptied(T object) {
    T taken = std::move(object); // the object that was moved from is what is answered
    return object;               // NOLINT
}

inline void load_options(Failures &failures) {
    cvx::CancelToken token;
    cvx::LoadOptions options = emptied(cvx::LoadOptions());
    failures.add(cvx::trim_device(nullptr));
    static_cast<void>(cvx::devices());
    failures.add(options.set_device("cpu"));
    failures.add(options.set_dtype(std::string("f32")));
    failures.add(options.set_variant(nullptr));
    failures.add(options.set_weight_streaming("transformer", "file"));
    failures.add(options.set_cuda_kernels("fused"));
    failures.add(options.set_offload(true));
    failures.add(options.set_memory_budget(1));
    failures.add(options.set_cpu_matmul_precision("float32"));
    failures.add(options.set_text_encoder_on_demand(true));
    failures.add(options.set_prompt_cache_size(2));
    failures.add(options.set_preview_decoder("a"));
    failures.add(options.set_num_threads(1));
    failures.add(options.set_max_device_memory(1));
    failures.add(options.set_scheduler("dpm"));
    failures.add(options.set_timestep_spacing("trailing"));
    failures.add(options.set_snr_shift_scale(1.0));
    failures.add(options.set_rescale_betas_zero_snr(true));
    failures.add(options.set_rescale_betas_zero_snr(nullptr));
    failures.add(options.set_progress_callback([](const cvx::Progress &) {}));
    failures.add(options.set_progress_callback(MoveOnly()));
    failures.add(options.set_progress_callback(nullptr));
    failures.add(options.set_log_callback([](const cvx::LogMessage &) {}));
    failures.add(options.set_log_callback(nullptr));
    failures.add(options.set_cancel_token(token));
    failures.add(options.set_cancel_token(nullptr));
    failures.add(cvx::LoadOptions().set_cancel_token(emptied(cvx::CancelToken())));
    failures.add(cvx::Pipeline::load("nowhere", options));
    failures.add(cvx::Pipeline::load("nowhere"));
}

inline void generate_options(Failures &failures) {
    cvx::CancelToken token;
    cvx::GenerateOptions options = emptied(cvx::GenerateOptions());
    const std::vector<std::int64_t> timesteps = {900, 500};
    const std::array<float, 2> numbers = {1.0F, 2.0F};
    const std::int64_t shape[] = {1, 1, 1, 1, 2};
    failures.add(options.set_prompt(std::string_view("a red ball").substr(2)));
#if defined(__cpp_char8_t)
    failures.add(options.set_prompt(u8"a red ball"));
#endif
    failures.add(options.set_negative_prompt("blur"));
    failures.add(options.set_prompt_embeddings(numbers, 2));
    failures.add(options.set_prompt_embeddings(nullptr));
    failures.add(options.set_negative_prompt_embeddings(numbers, 1));
    failures.add(options.set_negative_prompt_embeddings(nullptr));
    failures.add(options.set_step_callback([](const cvx::StepEnd &) {}));
    failures.add(options.set_step_callback([](const cvx::StepEnd &) { return cvx::Flow::stop; }));
    failures.add(options.set_step_callback(nullptr));
    failures.add(options.set_resume("never.state"));
    failures.add(options.set_size(32, 32));
    failures.add(options.set_num_frames(9));
    failures.add(options.set_num_inference_steps(2));
    failures.add(options.set_guidance_scale(6.0));
    failures.add(options.set_lora_scale(1.0));
    failures.add(options.set_memory_check(true));
    failures.add(options.set_use_dynamic_cfg(true));
    failures.add(options.set_eta(0.0));
    failures.add(options.set_seed(1));
    failures.add(options.set_scheduler(nullptr));
    failures.add(options.set_timestep_spacing("trailing"));
    failures.add(options.set_snr_shift_scale(0.0));
    failures.add(options.set_rescale_betas_zero_snr(false));
    failures.add(options.set_rescale_betas_zero_snr(nullptr));
    failures.add(options.set_max_sequence_length(8));
    failures.add(options.set_num_videos(1));
    failures.add(options.set_output(cvx::Output::latents));
    failures.add(options.set_vae_tiling(true));
    failures.add(options.set_vae_tile(0, 0, -1.0, -1.0));
    failures.add(options.set_vae_slicing(true));
    failures.add(options.set_timesteps(timesteps));
    failures.add(options.set_timesteps({900, 500}));
    failures.add(options.set_latents(numbers, shape));
    failures.add(options.set_latents(nullptr));
    failures.add(options.set_image(cvx::Frame<const std::uint8_t>()));
    failures.add(options.set_image(cvx::Frame<const float>()));
    failures.add(options.set_image(nullptr, 1, 1, 0, cvx::Pixels::f32));
    failures.add(options.set_image(cvx::Image()));
    failures.add(options.set_image(nullptr));
    failures.add(options.set_video(cvx::Frames<const std::uint8_t>()));
    failures.add(options.set_video(cvx::Frames<const float>()));
    failures.add(options.set_video(nullptr, 1, 1, 1, 0, 0, cvx::Pixels::f32));
    failures.add(options.set_video(nullptr));
    failures.add(options.set_strength(1.0));
    failures.add(options.set_control_video(cvx::Frames<const std::uint8_t>()));
    failures.add(options.set_control_video(cvx::Frames<const float>()));
    failures.add(options.set_control_video(nullptr, 1, 1, 1, 0, 0, cvx::Pixels::f32));
    failures.add(options.set_mask(nullptr, 1, 1, 1));
    failures.add(options.set_last_image(cvx::Frame<const std::uint8_t>()));
    failures.add(options.set_last_image(cvx::Image()));
    failures.add(options.set_last_image(nullptr, 1, 1, 0, cvx::Pixels::f32));
    failures.add(options.set_prompts({}));
    failures.add(options.set_negative_prompts({}));
    failures.add(options.set_seeds({}));
    failures.add(cvx::Image::load("never.png"));
    failures.add(cvx::Image::save_png("never.png", cvx::Frame<const std::uint8_t>()));
    const cvx::StepEnd step;
    failures.add(step.latents());
    failures.add(step.latents_dlpack());
    failures.add(step.set_latents(numbers, shape));
    failures.add(step.set_guidance_scale(1.0));
    failures.add(step.preview_rgb8());
    failures.add(step.save("never.state"));
    failures.add(options.set_progress_callback(MoveOnly()));
    failures.add(options.set_progress_callback(nullptr));
    failures.add(options.set_log_callback([](const cvx::LogMessage &message) {
        static_cast<void>(message.level == cvx::LogLevel::warning);
    }));
    failures.add(options.set_log_callback(nullptr));
    failures.add(options.set_frames_callback(
        cvx::Pixels::rgb8, [](const cvx::FramesChunk &chunk) {
            return chunk.bytes().empty() ? cvx::Flow::stop : cvx::Flow::go_on;
        }));
    failures.add(options.set_frames_callback(cvx::Pixels::f32, [](const cvx::FramesChunk &chunk) {
        static_cast<void>(chunk.floats());
    }));
    failures.add(options.set_frames_callback(nullptr));
    failures.add(options.set_frames_buffer(cvx::Pixels::rgb8, nullptr, 0));
    failures.add(options.set_frames_buffer(nullptr));
    failures.add(options.set_device_frames_callback(
        cvx::Pixels::rgba16f, [](const cvx::DeviceFramesChunk &) { return cvx::Flow::stop; }));
    failures.add(options.set_device_frames_callback(nullptr));
    failures.add(options.set_device_frames_buffer(cvx::Pixels::bgra8, nullptr, 0));
    failures.add(options.set_device_frames_buffer(nullptr));
    failures.add(options.set_stream(nullptr));
    failures.add(options.set_wait_event(nullptr));
    failures.add(options.set_record_event(nullptr));
    failures.add(options.set_frames_on_device(true));
    failures.add(options.set_cancel_token(token));
    failures.add(options.set_cancel_token(nullptr));
}

inline void cache_config(Failures &failures) {
    cvx::CacheConfig config;
    failures.add(cvx::CacheConfig::create("no such technique"));
    failures.add(config.preview(4, 10, true));
    failures.add(config.set_max_cache_bytes(1));
    failures.add(config.set_cache_dtype("auto"));
    failures.add(config.set_cache_location("device"));
    failures.add(config.set_spatial_attention_block_skip_range(2));
    failures.add(config.set_temporal_attention_block_skip_range(2));
    failures.add(config.set_cross_attention_block_skip_range(2));
    failures.add(config.set_spatial_attention_timestep_skip_range(100, 800));
    failures.add(config.set_temporal_attention_timestep_skip_range(100, 800));
    failures.add(config.set_cross_attention_timestep_skip_range(100, 800));
    failures.add(config.set_spatial_attention_block_identifiers({"blocks"}));
    failures.add(config.set_temporal_attention_block_identifiers({"blocks"}));
    failures.add(config.set_cross_attention_block_identifiers({"blocks"}));
    failures.add(config.set_unconditional_batch_skip_range(5));
    failures.add(config.set_unconditional_batch_timestep_skip_range(-1, 641));
    failures.add(config.set_low_frequency_weight_update_timestep_range(99, 901));
    failures.add(config.set_high_frequency_weight_update_timestep_range(-1, 301));
    failures.add(config.set_alpha_low_frequency(1.1));
    failures.add(config.set_alpha_high_frequency(1.1));
    failures.add(config.set_tensor_format("BCFHW"));
    failures.add(config.set_is_guidance_distilled(false));
    failures.add(config.set_attention_weight(0.5));
    failures.add(config.set_reuse_attention_on_full_guidance_steps(false));
    const auto timestep = [](const cvx::Step &step) { return step.timestep; };
    failures.add(config.set_current_timestep_callback(timestep));
    failures.add(config.set_current_timestep_callback(nullptr));
    failures.add(config.set_attention_weight_callback([](const cvx::LayerStep &) { return 0.5F; }));
    failures.add(config.set_attention_weight_callback(nullptr));
    failures.add(config.set_low_frequency_weight_callback([](const cvx::Step &) { return 1; }));
    failures.add(config.set_low_frequency_weight_callback(nullptr));
    failures.add(config.set_high_frequency_weight_callback(timestep));
    failures.add(config.set_high_frequency_weight_callback(nullptr));
}

// What is not zero or empty where it should be.
inline int cache_stats() {
    const cvx::CacheStats stats;
    int wrong = stats.text().empty() && stats.json().empty() && stats.technique().empty() ? 0 : 1;
    wrong += stats.layer_name(0).empty() ? 0 : 1;
    wrong += stats.total_steps() + stats.num_steps() + stats.num_layers();
    wrong += stats.layer_state(0, 0) == cvx::LayerState::not_reached ? 0 : 1;
    wrong += stats.layer_count(-1, cvx::LayerState::computed);
    wrong += stats.unconditional(0) == cvx::Unconditional::absent ? 0 : 1;
    wrong += stats.layer_over_budget(0) ? 1 : 0;
    wrong += static_cast<int>(stats.bytes_now() + stats.bytes_peak());
    wrong += static_cast<int>(stats.host_bytes_now() + stats.host_bytes_peak());
    wrong += static_cast<int>(stats.attention_units() + stats.rest_units() + stats.total_units());
    wrong += stats.attention_share().measured ? 1 : 0;
    wrong += static_cast<int>(stats.predicted_speed_up());
    return wrong + (stats.timestep(0) <= 0 ? 0 : 1);
}

inline int video(Failures &failures) {
    const cvx::Video video;
    failures.add(video.frames_rgb8());
    failures.add(video.frames_rgba8(1));
    failures.add(video.frames_f32());
    failures.add(video.latents());
    failures.add(video.frames_dlpack(cvx::Pixels::f32));
    failures.add(video.latents_dlpack());
    failures.add(video.device_frames());
    failures.add(video.save("never.mp4", 8.0));
    failures.add(video.encode("mp4", 8.0));
    failures.add(video.encode_to("gif", 8.0, [](const cvx::Written &) {}));
    const cvx::Buffer buffer;
    static_cast<void>(buffer.bytes());
    failures.add(cvx::Video::check_path("no ending", 8.0));
    failures.add(cvx::Video::save_contact_sheet({&video, nullptr}, 2, "never.png"));
    return video.count() + video.num_frames() + video.width() + video.height() +
           static_cast<int>(video.frames_device().size());
}

inline int pipeline(Failures &failures) {
    cvx::Pipeline pipeline;
    const cvx::GenerateOptions options;
    const float numbers[] = {1.0F};
    failures.add(pipeline.clone());
    failures.add(pipeline.latent_shape());
    failures.add(pipeline.tokenize("a", 8));
    failures.add(pipeline.encode_prompt("a", 8));
    failures.add(pipeline.encode_prompt("a", 8, cvx::GenerateOptions()));
    failures.add(pipeline.generate(options));
    failures.add(pipeline.decode_latents(numbers, {1, 1, 1, 1, 1}));
    failures.add(pipeline.submit(options));
    failures.add(pipeline.submit(options, [](const cvx::JobStatus &) {}));
    failures.add(pipeline.enable_cache(cvx::CacheConfig::pab()));
    failures.add(pipeline.disable_cache());
    failures.add(pipeline.memory());
    failures.add(pipeline.load_lora("a"));
    failures.add(pipeline.load_lora("a", std::string_view("b")));
    failures.add(pipeline.set_adapters({"a", "b"}, {0.5, 1.0}));
    failures.add(pipeline.enable_lora(true));
    failures.add(pipeline.fuse_lora());
    failures.add(pipeline.unfuse_lora());
    failures.add(pipeline.unload_lora());
    failures.add(pipeline.cache_stats());
    failures.add(pipeline.preview_cache(cvx::CacheConfig::faster_cache()));
    return static_cast<int>(
        pipeline.family().size() + pipeline.device().size() + pipeline.dtype().size() +
        pipeline.attention_layer_name(0).size() + pipeline.weight_bytes() +
        pipeline.adapter_name(0).size() +
        static_cast<std::size_t>(pipeline.default_width() + pipeline.default_height() +
                                 pipeline.default_num_frames() +
                                 pipeline.default_num_inference_steps() +
                                 pipeline.default_max_sequence_length() +
                                 pipeline.text_embed_dim() + pipeline.num_attention_layers() +
                                 pipeline.num_adapters()) +
        static_cast<std::size_t>(pipeline.default_fps() + pipeline.default_guidance_scale() +
                                 pipeline.adapter_weight(0)));
}

inline int job(Failures &failures) {
    cvx::Job job;
    failures.add(job.wait());
    failures.add(job.wait_for(std::chrono::milliseconds(1)));
    failures.add(job.take_video());
    job.cancel();
    const bool none = job.state() == cvx::JobState::none &&
                      job.poll().state == cvx::JobState::none && !cvx::has_ended(job.state());
    return none ? 0 : 1;
}

inline int views() {
    const std::uint8_t bytes[2 * 2 * 3] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    const cvx::Frames<const std::uint8_t> frames(bytes, 2, 1, 2, 3, 3, 6);
    int sum = 0;
    for (const auto frame : frames) {
        for (std::int32_t y = 0; y < frame.height(); ++y) {
            for (const std::uint8_t number : frame.row(y)) {
                sum += number;
            }
        }
    }
    const cvx::Span<const std::uint8_t> all = frames.packed();
#if defined(__cpp_lib_span)
    const std::span<const std::uint8_t> standard = all;
    const cvx::Span<const std::uint8_t> back = standard;
    sum += static_cast<int>(back.size()) - static_cast<int>(standard.size_bytes());
#endif
    const bool outside = frames[2].empty() && frames[-1].empty() && frames[0].row(2).empty() &&
                         frames[0].pixel(1, 0).empty() && frames[1].pixel(0, 1)[2] == 12;
    return sum == 78 && all.size() == 12 && outside ? 0 : 1;
}

// Answers 0 if everything was as it should be.
inline int surface() {
    Failures failures;
    load_options(failures);
    generate_options(failures);
    cache_config(failures);
    int wrong = cache_stats() + video(failures) + pipeline(failures) + job(failures) + views();
    wrong += failures.calls - failures.count;
    wrong += cvx::check_abi() ? 0 : 1;
    wrong += cvx::abi_version() == cvx::header_abi_version ? 0 : 1;
    wrong += cvx::version().empty() ? 1 : 0;
    wrong += cvx::header_version_major + cvx::header_version_minor + cvx::header_version_patch > 0
                 ? 0
                 : 1;
    wrong += cvx::name(cvx::Code::busy) == "BUSY" ? 0 : 1;
    cvx::CancelToken token;
    token.cancel();
    wrong += token.is_cancelled() ? 0 : 1;
    cvx_cancel_token *raw = token.release();
    const cvx::CancelToken again = cvx::CancelToken::adopt(raw);
    wrong += !token && again && again.get() == raw && again.is_cancelled() ? 0 : 1;
#if CVX_HPP_EXCEPTIONS
    try {
        cvx::Video::check_path("no ending", 8.0).value();
        ++wrong;
    } catch (const cvx::Exception &exception) {
        wrong += exception.code() == cvx::Code::invalid_argument ? 0 : 1;
    }
    wrong += cvx::Job().end_callback_result() ? 0 : 1;
#endif
    return wrong;
}

} // namespace
