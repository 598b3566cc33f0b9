/// A loaded pipeline. Part of cogvideox.hpp.
#ifndef COGVIDEOX_PIPELINE_HPP
#define COGVIDEOX_PIPELINE_HPP

#include "cache_config.hpp"
#include "cache_stats.hpp"
#include "calibration.hpp"
#include "generate_options.hpp"
#include "handle.hpp"
#include "job.hpp"
#include "latents.hpp"
#include "load_options.hpp"
#include "video.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace cvx {
inline namespace CVX_HPP_MODE {

/// What a pipeline has in memory, in bytes, as it was when it was asked.
struct MemoryInfo {
    /// Whether a run, or other work that another call would be busy for, was under way.
    bool working = false;
    /// Weights, shared with clones.
    std::uint64_t weight_bytes = 0;
    /// Embeddings of the last prompts, shared with clones.
    std::uint64_t prompt_bytes = 0;
    /// What the cache of the run under way kept; 0 between runs.
    std::uint64_t cache_bytes = 0;
    /// The most that the cache of the last run, or of the one under way, had kept.
    std::uint64_t cache_bytes_peak = 0;
    /// What libtorch had handed out on the pipeline's device to this process; 0 on the CPU.
    std::uint64_t device_bytes = 0;
    /// The most that it had handed out there; 0 on the CPU.
    std::uint64_t device_bytes_peak = 0;
    /// What of this process lay in the machine's memory; 0 where the system does not tell.
    std::uint64_t process_bytes = 0;
    /// The most that it had been; 0 where the system does not tell.
    std::uint64_t process_bytes_peak = 0;

    /// Nothing.
    MemoryInfo() = default;
    /// What C tells.
    explicit MemoryInfo(const cvx_memory_info &info)
        : working(info.working != 0), weight_bytes(info.weight_bytes),
          prompt_bytes(info.prompt_bytes), cache_bytes(info.cache_bytes),
          cache_bytes_peak(info.cache_bytes_peak), device_bytes(info.device_bytes),
          device_bytes_peak(info.device_bytes_peak), process_bytes(info.process_bytes),
          process_bytes_peak(info.process_bytes_peak) {}
};

/// Tokenizer, text encoder, transformer, VAE decoder and scheduler settings of a folder.
///
/// Threads: it belongs to no thread. It does one piece of work at a time, and returns Code::busy
/// to a second caller and to a callback that calls back into it; what it was loaded as may be
/// asked at any time, and clones work at the same time. Texts belong to it. An empty object
/// returns 0 and "".
class Pipeline : public Handle<Pipeline, cvx_pipeline, cvx_pipeline_free> {
public:
    /// The class's name in errors.
    static constexpr const char *class_name = "Pipeline";

    /// An empty object; load and clone make others.
    Pipeline() noexcept : Handle(nullptr) {}

    /// Loads a pipeline folder as diffusers saves it, with every default. Errors: not_found,
    /// invalid_checkpoint, unsupported_model, device_unavailable, out_of_memory, io. Threads: any.
    static Result<Pipeline> load(const Text &folder) { return load_with(folder, nullptr); }

    /// The same with options. Errors also: cancelled, callback_failed.
    static Result<Pipeline> load(const Text &folder, const LoadOptions &options) {
        if (auto live = detail::require(options); !live) {
            return live.error();
        }
        return load_with(folder, options.get());
    }

    /// Another pipeline over the same weights, with the adapters that this one has now and no cache
    /// enabled: clones generate at the same time, each on its thread. Threads: any, also while it generates.
    Result<Pipeline> clone() const {
        cvx_pipeline *pipeline = nullptr;
        if (auto done = call(cvx_pipeline_clone, &pipeline); !done) {
            return done.error();
        }
        return adopt(pipeline);
    }

    /// What it makes videos from; Task{0} if it is empty.
    Task task() const noexcept { return static_cast<Task>(cvx_pipeline_task(get())); }

    /// What the configs describe, such as "CogVideoX 1.0, rotary positions, 42 layers, DPM
    /// scheduler".
    std::string_view family() const noexcept { return cvx_pipeline_family(get()); }

    /// Where it computes: "cpu" or "cuda:N".
    std::string_view device() const noexcept { return cvx_pipeline_device(get()); }

    /// What it computes in: "f32", "f16" or "bf16".
    std::string_view dtype() const noexcept { return cvx_pipeline_dtype(get()); }

    /// Width in pixels of a run that sets no size.
    std::int32_t default_width() const noexcept { return cvx_pipeline_default_width(get()); }

    /// Height in pixels of a run that sets no size.
    std::int32_t default_height() const noexcept { return cvx_pipeline_default_height(get()); }

    /// Frames of a run that sets no number.
    std::int32_t default_num_frames() const noexcept {
        return cvx_pipeline_default_num_frames(get());
    }

    /// Frames per second that the family was trained at: 8, or 16 for the 1.5 family.
    double default_fps() const noexcept { return cvx_pipeline_default_fps(get()); }

    /// Denoising steps of a run that sets no number.
    std::int32_t default_num_inference_steps() const noexcept {
        return cvx_pipeline_default_num_inference_steps(get());
    }

    /// The guidance scale of a run that sets none.
    double default_guidance_scale() const noexcept {
        return cvx_pipeline_default_guidance_scale(get());
    }

    /// Tokens of a prompt in a run that sets no number.
    std::int32_t default_max_sequence_length() const noexcept {
        return cvx_pipeline_default_max_sequence_length(get());
    }

    /// Numbers per token of the text encoder's output.
    std::int32_t text_embed_dim() const noexcept { return cvx_pipeline_text_embed_dim(get()); }

    /// Attention layers: how many a cache decides about.
    std::int32_t num_attention_layers() const noexcept {
        return cvx_pipeline_num_attention_layers(get());
    }

    /// An attention layer's name in the checkpoint, from 0; "" if there is no such layer.
    std::string_view attention_layer_name(std::int32_t layer) const noexcept {
        const char *name = cvx_pipeline_attention_layer_name(get(), layer);
        return name != nullptr ? name : "";
    }

    /// Bytes of the weights that are in memory now; clones share them.
    std::uint64_t weight_bytes() const noexcept { return cvx_pipeline_weight_bytes(get()); }

    /// What the pipeline has in memory now, in bytes. Threads: any, also while it generates.
    Result<MemoryInfo> memory() const {
        cvx_memory_info info{};
        info.struct_size = static_cast<std::uint32_t>(sizeof info);
        if (cvx_error *error = cvx_pipeline_memory(get(), &info)) {
            return Error(error);
        }
        return MemoryInfo(info);
    }

    /// The shape of the latents of a run; 0 means the model's own size or number. Errors:
    /// invalid_argument for what the model cannot make. Threads: any, also while it generates.
    Result<LatentShape> latent_shape(std::int32_t num_videos = 1, std::int32_t width = 0,
                                     std::int32_t height = 0, std::int32_t num_frames = 0) const {
        LatentShape shape;
        auto done = call(cvx_pipeline_latent_shape, num_videos, width, height, num_frames,
                         shape.sides.data(), &shape.padding_frames);
        if (!done) {
            return done.error();
        }
        return shape;
    }

    /// About how many bytes a run takes at its peak, beside the weights, with the cache that is
    /// enabled now. Errors: invalid_argument for what the model cannot honour. Threads: any, also
    /// while it generates.
    Result<std::uint64_t> estimate_memory(
        const GenerateOptions &options = GenerateOptions()) const {
        if (auto live = detail::require(options); !live) {
            return live.error();
        }
        std::uint64_t bytes = 0;
        if (auto done = call(cvx_pipeline_estimate_memory, options.get(), &bytes); !done) {
            return done.error();
        }
        return bytes;
    }

    /// Token ids of a text: exactly length of them (1 to 8192), cut, ended and padded. Threads:
    /// any, also while it generates.
    Result<std::vector<std::int64_t>> tokenize(const Text &text, std::size_t length) const {
        if (auto whole = all({text.check("text"), check_tokens(length)}); !whole) {
            return whole.error();
        }
        std::vector<std::int64_t> ids(length);
        if (auto done = call(cvx_pipeline_tokenize, text.c_str(), ids.data(), length); !done) {
            return done.error();
        }
        return ids;
    }

    /// The text encoder's output: max_sequence_length (1 to 8192) × text_embed_dim numbers, token
    /// by token. Errors: invalid_argument, invalid_utf8, busy, out_of_memory.
    Result<std::vector<float>> encode_prompt(const Text &text, std::size_t max_sequence_length) {
        return encode([this](auto... parts) { return call(cvx_pipeline_encode_prompt, parts...); },
                      text, max_sequence_length);
    }

    /// The same, followed and stopped as a run is: options give cancel token, progress and log
    /// callback. Errors: also cancelled and callback_failed.
    Result<std::vector<float>> encode_prompt(const Text &text, std::size_t max_sequence_length,
                                             const GenerateOptions &options) {
        if (auto live = detail::require(options); !live) {
            return live.error();
        }
        const cvx_generate_options *given = options.get();
        return encode(
            [this, given](auto... parts) {
                return call(cvx_pipeline_encode_prompt_with, parts..., given);
            },
            text, max_sequence_length);
    }

    /// Generates what options ask for, on this thread. However it ends, the pipeline is as usable
    /// as before. Errors: invalid_argument (what the model cannot honour), busy, cancelled,
    /// callback_failed, out_of_memory.
    Result<Video> generate(const GenerateOptions &options) {
        if (auto live = detail::require(options); !live) {
            return live.error();
        }
        const cvx_generate_options *given = options.get();
        return make_video(cvx_pipeline_generate, given);
    }

    /// Decodes latents as runs end with them, without padding frames, densely packed. options
    /// give tiling, slicing, callbacks and cancel token. Errors: as generate.
    Result<Video> decode_latents(Span<const float> data, Span<const std::int64_t> shape,
                                 const GenerateOptions &options = GenerateOptions()) {
        if (auto fits = all({detail::check_length(data, shape), detail::require(options)}); !fits) {
            return fits.error();
        }
        const cvx_generate_options *given = options.get();
        return make_video(cvx_pipeline_decode_latents, data.data(), shape.data(), shape.size(),
                          given);
    }

    /// Queues a run and returns at once. Options are copied and checked now; one worker runs the
    /// jobs of this pipeline in their order, and calls the options' callbacks. The cache is the
    /// one enabled when the job begins. The pipeline may be freed meanwhile.
    Result<Job> submit(const GenerateOptions &options) {
#if CVX_HPP_EXCEPTIONS
        return submit(options, [](const JobStatus &) {});
#else
        return submit_job(options, nullptr, nullptr, nullptr);
#endif
    }

    /// The same; on_end(const JobStatus &) is called once on the worker when the job has ended in
    /// whatever way, also if it never ran. Its state is final then, so that Job::take_video
    /// returns. What on_end throws stops nothing any more: see Job::end_callback_result.
    template <class Callback>
    Result<Job> submit(const GenerateOptions &options, Callback &&on_end) {
        static_assert(detail::takes<Callback, JobStatus>, "takes const cvx::JobStatus &");
        using Function = std::decay_t<Callback>;
        using User = detail::JobCallback<Function>;
        if (auto live = all({detail::require(*this), detail::require(options)}); !live) {
            return live.error();
        }
        auto end = std::make_shared<detail::JobEnd>();
        auto *user = new (std::nothrow) User{end, std::forward<Callback>(on_end)};
        if (user == nullptr) {
            return Error(Code::out_of_memory, "no memory for a callback");
        }
        auto job = submit_job(options, detail::on_job_end<Function>, user,
                              detail::free_function<User>);
        job->end_ = std::move(end);
        return job;
    }

    /// Caches the next runs with config, which is copied, instead of what was enabled before.
    /// Errors: invalid_argument for identifiers that match no layer, busy.
    Result<void> enable_cache(const CacheConfig &config) {
        if (auto live = detail::require(config); !live) {
            return live;
        }
        detail::Catching catching;
        return catching.finish(call(cvx_pipeline_enable_cache, config.get()));
    }

    /// Computes everything from the next run on. Errors: busy.
    Result<void> disable_cache() { return call(cvx_pipeline_disable_cache); }

    /// The statistics of the last run, however it ended, or of the one under way. Errors:
    /// invalid_argument before the first run. Threads: any, also while it generates.
    Result<CacheStats> cache_stats() const {
        cvx_cache_stats *stats = nullptr;
        if (auto done = call(cvx_pipeline_cache_stats, &stats); !done) {
            return done.error();
        }
        return CacheStats::adopt(stats);
    }

    /// What a run with config and these options would compute and reuse, told without running
    /// it. Callbacks are not called. Threads: any, also while it generates.
    Result<CacheStats> preview_cache(const CacheConfig &config,
                                     const GenerateOptions &options = GenerateOptions()) const {
        if (auto live = all({detail::require(config), detail::require(options)}); !live) {
            return live.error();
        }
        detail::Catching catching;
        cvx_cache_stats *made = nullptr;
        auto done = call(cvx_pipeline_preview_cache, config.get(), options.get(), &made);
        auto stats = CacheStats::adopt(made);
        if (done = catching.finish(std::move(done)); !done) {
            return done.error();
        }
        return stats;
    }

    /// preview_cache() with the seconds and the PSNR that calibration expects of the run. Errors:
    /// also invalid_argument for a calibration of another model, number of steps or guidance.
    /// Threads: any, also while it generates.
    Result<CacheStats> estimate_cache(const CacheConfig &config, const GenerateOptions &options,
                                      const Calibration &calibration) const {
        if (auto live = all({detail::require(config), detail::require(options),
                             detail::require(calibration)});
            !live) {
            return live.error();
        }
        detail::Catching catching;
        cvx_cache_stats *made = nullptr;
        auto done = call(cvx_pipeline_estimate_cache, config.get(), options.get(),
                         calibration.get(), &made);
        auto stats = CacheStats::adopt(made);
        if (done = catching.finish(std::move(done)); !done) {
            return done.error();
        }
        return stats;
    }

    /// Calibrates the pipeline with runs: one to a thousand options of one size and number of
    /// steps, with different prompts. The first one's callbacks and cancel token are used. At most
    /// 33 runs each; see cvx_pipeline_calibrate.
    Result<Calibration> calibrate(Span<const GenerateOptions> runs) {
        auto given = handles(runs);
        if (!given) {
            return given.error();
        }
        detail::Catching catching;
        cvx_calibration *made = nullptr;
        auto done = call(cvx_pipeline_calibrate, given->data(), given->size(), &made);
        auto calibration = Calibration::adopt(made);
        if (done = catching.finish(std::move(done)); !done) {
            return done.error();
        }
        return calibration;
    }

    /// Makes the cheapest cache schedule found whose videos have a median PSNR of at least
    /// min_psnr decibels against the uncached ones of runs, which are as for calibrate(). At most
    /// 49 runs each; see cvx_pipeline_tune_cache.
    Result<CacheConfig> tune_cache(Span<const GenerateOptions> runs, double min_psnr) {
        auto given = handles(runs);
        if (!given) {
            return given.error();
        }
        detail::Catching catching;
        cvx_cache_config *made = nullptr;
        auto done = call(cvx_pipeline_tune_cache, given->data(), given->size(), min_psnr, &made);
        auto config = CacheConfig::adopt(made);
        if (done = catching.finish(std::move(done)); !done) {
            return done.error();
        }
        return config;
    }

    /// The same with a calibration that is there already: for several bounds, or to check schedules
    /// with other prompts. At most 17 runs each; see cvx_pipeline_tune_calibrated_cache.
    Result<CacheConfig> tune_cache(Span<const GenerateOptions> runs, double min_psnr,
                                   const Calibration &calibration) {
        if (auto live = detail::require(calibration); !live) {
            return live.error();
        }
        auto given = handles(runs);
        if (!given) {
            return given.error();
        }
        detail::Catching catching;
        cvx_cache_config *made = nullptr;
        auto done = call(cvx_pipeline_tune_calibrated_cache, calibration.get(), given->data(),
                         given->size(), min_psnr, &made);
        auto config = CacheConfig::adopt(made);
        if (done = catching.finish(std::move(done)); !done) {
            return done.error();
        }
        return config;
    }

    /// Writes the pipeline's folder to a path where nothing is, with quantized matrices as the pipeline
    /// has them: it loads again, as quantized as it is. There whole or not at all. Errors:
    /// invalid_argument (something is there, adapters are fused), not_found, invalid_checkpoint, io.
    /// Threads: any, also while it generates.
    Result<void> save(const Text &folder) const {
        if (auto whole = all({folder.check("folder")}); !whole) {
            return whole;
        }
        detail::Catching catching;
        return catching.finish(call(cvx_pipeline_save, folder.c_str()));
    }

    /// Loads a LoRA adapter for the transformer, as diffusers' load_lora_weights does: a
    /// safetensors file, or a folder that holds pytorch_lora_weights.safetensors. Afterwards it is
    /// the one active adapter, with the weight 1; those that were loaded before stay loaded.
    /// Without a name it takes the first of "default_0", "default_1", … that is free. Runs take the
    /// adapters as they are when they start or are submitted. Errors, and nothing has changed:
    /// not_found, invalid_checkpoint (an adapter of another model too), unsupported_model (another
    /// layout), invalid_argument (a name that is taken, adapters that are fused), out_of_memory, io.
    /// Threads: also while it generates.
    Result<void> load_lora(const Text &path, const Text &adapter_name = nullptr) {
        if (auto whole = all({path.check("path"), adapter_name.check("adapter_name")}); !whole) {
            return whole;
        }
        detail::Catching catching;
        return catching.finish(call(cvx_pipeline_load_lora, path.c_str(), adapter_name.c_str()));
    }

    /// Makes these adapters the active ones, in place of those that were, each with its weight,
    /// from -1e6 to 1e6; without weights, all with 1. Errors: invalid_argument for none, one that
    /// is not loaded, one twice, and while adapters are fused. Threads: as load_lora.
    Result<void> set_adapters(Span<const char *const> names, Span<const double> weights = {}) {
        if (!weights.empty() && weights.size() != names.size()) {
            return Error(Code::invalid_argument,
                         "weights: expected one for each of " + std::to_string(names.size()) +
                             " adapters, found " + std::to_string(weights.size()));
        }
        const double *given = weights.empty() ? nullptr : weights.data();
        return call(cvx_pipeline_set_adapters, names.data(), given, names.size());
    }

    /// Whether the active adapters are in force. Disabling unfuses them. Without effect where none
    /// is loaded. Threads: as load_lora.
    Result<void> enable_lora(bool enabled) {
        return call(cvx_pipeline_enable_lora, enabled ? 1 : 0);
    }

    /// Adds the active adapters to the weights of this pipeline, so that runs cost what they cost
    /// without; clones don't see it. As in diffusers, their weights are multiplied by lora_scale,
    /// and stay so. Errors: invalid_argument if no adapter is active, or they are disabled or fused
    /// already; out_of_memory; busy if another thread changed them meanwhile. Threads: as load_lora.
    Result<void> fuse_lora(double lora_scale = 1.0) {
        detail::Catching catching;
        return catching.finish(call(cvx_pipeline_fuse_lora, lora_scale));
    }

    /// Takes back what fuse_lora did, to the byte. Without effect where nothing is fused. Threads:
    /// as load_lora.
    Result<void> unfuse_lora() { return call(cvx_pipeline_unfuse_lora); }

    /// Unloads every adapter. What is fused stays, as in diffusers. Threads: as load_lora.
    Result<void> unload_lora() { return call(cvx_pipeline_unload_lora); }

    /// How many adapters are loaded, active or not.
    std::int32_t num_adapters() const noexcept { return cvx_pipeline_num_adapters(get()); }

    /// A loaded adapter's name, from 0 in the order of loading; "" if there is no such adapter.
    std::string_view adapter_name(std::int32_t index) const noexcept {
        const char *name = cvx_pipeline_adapter_name(get(), index);
        return name != nullptr ? name : "";
    }

    /// A loaded adapter's weight if it is active, else 0.
    double adapter_weight(std::int32_t index) const noexcept {
        return cvx_pipeline_adapter_weight(get(), index);
    }

private:
    friend Handle;
    explicit Pipeline(Empty) noexcept : Handle(nullptr) {}

    static Result<std::vector<const cvx_generate_options *>>
    handles(Span<const GenerateOptions> runs) {
        std::vector<const cvx_generate_options *> given;
        given.reserve(runs.size());
        for (const GenerateOptions &run : runs) {
            if (auto live = detail::require(run); !live) {
                return live.error();
            }
            given.push_back(run.get());
        }
        return given;
    }

    template <class Encode>
    Result<std::vector<float>> encode(Encode encode, const Text &text,
                                      std::size_t max_sequence_length) {
        if (auto whole = all({text.check("text"), check_tokens(max_sequence_length)}); !whole) {
            return whole.error();
        }
        std::vector<float> embeddings(max_sequence_length *
                                      static_cast<std::size_t>(text_embed_dim()));
        detail::Catching catching;
        auto done = catching.finish(
            encode(text.c_str(), max_sequence_length, embeddings.data(), embeddings.size()));
        if (!done) {
            return done.error();
        }
        return embeddings;
    }

    static Result<Pipeline> load_with(const Text &folder, const cvx_load_options *options) {
        if (auto whole = folder.check("folder"); !whole) {
            return whole.error();
        }
        detail::Catching catching;
        cvx_pipeline *loaded = nullptr;
        cvx_error *error = cvx_pipeline_load(folder.c_str(), options, &loaded);
        auto pipeline = adopt(loaded);
        if (auto done = catching.finish(Error(error)); !done) {
            return done.error();
        }
        return pipeline;
    }

    /// C would check this too, but the memory is allocated here.
    static Result<void> check_tokens(std::size_t length) {
        if (length < 1 || length > std::size_t{limits::max_sequence_length}) {
            return Error(Code::invalid_argument, "length of tokens must lie in [1, " +
                                                     std::to_string(limits::max_sequence_length) +
                                                     "], found " + std::to_string(length));
        }
        return {};
    }

    template <class Function, class... Arguments>
    Result<Video> make_video(Function function, Arguments... arguments) {
        detail::Catching catching;
        cvx_video *made = nullptr;
        auto done = call(function, arguments..., &made);
        auto video = Video::adopt(made);
        if (done = catching.finish(std::move(done)); !done) {
            return done.error();
        }
        return video;
    }

    Result<Job> submit_job(const GenerateOptions &options, cvx_job_callback callback, void *user,
                           cvx_free_callback free_user) {
        if (auto live = all({detail::require(*this), detail::require(options)}); !live) {
            return live.error();
        }
        detail::Catching catching;
        cvx_job *made = nullptr;
        auto done = call(cvx_pipeline_submit, options.get(), callback, user, free_user, &made);
        auto job = Job::adopt(made);
        if (done = catching.finish(std::move(done)); !done) {
            return done.error();
        }
        return job;
    }
};

} // namespace CVX_HPP_MODE
} // namespace cvx

#endif // COGVIDEOX_PIPELINE_HPP
