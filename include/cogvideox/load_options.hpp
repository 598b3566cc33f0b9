/// How a pipeline is loaded. Part of cogvideox.hpp.
#ifndef COGVIDEOX_LOAD_OPTIONS_HPP
#define COGVIDEOX_LOAD_OPTIONS_HPP

#include "cancel_token.hpp"
#include "communicator.hpp"
#include "handle.hpp"

#include <cstddef>
#include <cstdint>
#include <utility>

namespace cvx {
inline namespace CVX_HPP_MODE {

/// How a pipeline is loaded. One LoadOptions may serve many loads, also at once from several
/// threads as long as nobody changes it meanwhile. A setter that fails changes nothing.
class LoadOptions : public Handle<LoadOptions, cvx_load_options, cvx_load_options_free> {
public:
    /// The class's name in errors.
    static constexpr const char *class_name = "LoadOptions";

    /// Every default.
    LoadOptions() noexcept : Handle(cvx_load_options_new()) {}

    /// Where the pipeline computes: "cpu", "cuda", "cuda:N" with N from 0, or "auto" (default),
    /// which is "cuda" where it works and else "cpu". Errors: invalid_argument for other texts.
    Result<void> set_device(const Text &device) {
        return call_with_text(cvx_load_options_set_device, "device", device);
    }

    /// The devices that share each run, with commas between them: "cuda:0,cuda:1"; nullptr, or one:
    /// that alone. They compute the video of one device, within rounding. Replaces set_device.
    /// Errors: invalid_argument for other texts.
    Result<void> set_devices(const Text &devices) {
        return call_with_text(cvx_load_options_set_devices, "devices", devices);
    }

    /// How devices, or processes, share a run: guidance (1 or 2) × sequence, which divides the model's
    /// attention heads, are their number; 0 (default) is chosen for each run. Errors:
    /// invalid_argument; the load names what the model allows.
    Result<void> set_parallel(std::int32_t guidance, std::int32_t sequence) {
        return call(cvx_load_options_set_parallel, guidance, sequence);
    }

    /// Runs are shared with the other processes that the communicator reaches, instead of with other
    /// devices. The options keep what they need of it. Errors: null_argument for an empty one.
    Result<void> set_communicator(const Communicator &communicator) {
        if (auto live = detail::require(communicator); !live) {
            return live;
        }
        return call(cvx_load_options_set_communicator, communicator.get());
    }

    /// With no other process any more (default).
    Result<void> set_communicator(std::nullptr_t) {
        return call(cvx_load_options_set_communicator, nullptr);
    }

    /// The type that is computed in: "f32", "f16", "bf16" or "auto" (default): f32 on the CPU,
    /// on CUDA what the transformer's file holds. Errors: invalid_argument for other texts.
    Result<void> set_dtype(const Text &dtype) {
        return call_with_text(cvx_load_options_set_dtype, "dtype", dtype);
    }

    /// Where one component, "text_encoder", "transformer" or "vae", computes; nullptr (default): where
    /// the pipeline does. Errors: invalid_argument for other texts.
    Result<void> set_component_device(const Text &component, const Text &device) {
        if (auto whole = all({component.check("component"), device.check("device")}); !whole) {
            return whole;
        }
        return call(cvx_load_options_set_component_device, component.c_str(), device.c_str());
    }

    /// What one component computes in; nullptr (default): what the pipeline does. Errors:
    /// invalid_argument for other texts.
    Result<void> set_component_dtype(const Text &component, const Text &dtype) {
        if (auto whole = all({component.check("component"), dtype.check("dtype")}); !whole) {
            return whole;
        }
        return call(cvx_load_options_set_component_dtype, component.c_str(), dtype.c_str());
    }

    /// Whether each component is in memory only while it does its part of a run, and is read each
    /// time; frames are decoded in tiles where whole ones do not fit. Default: false.
    Result<void> set_offload(bool offload) {
        return call(cvx_load_options_set_offload, offload ? 1 : 0);
    }

    /// What memory there is: weights are kept in the fastest way that fits (see Plan), in place of
    /// offloading and streaming as they are set here. 0 (default): no budget.
    Result<void> set_memory_budget(std::uint64_t bytes) {
        return call(cvx_load_options_set_memory_budget, bytes);
    }

    /// How the matrices of the blocks of one component, "text_encoder" or "transformer", are kept in
    /// memory: "int8", "fp8", "int4", or nullptr (default): in its dtype. Errors: invalid_argument
    /// for other texts.
    Result<void> set_component_quantization(const Text &component, const Text &quantization) {
        if (auto whole = all({component.check("component"), quantization.check("quantization")});
            !whole) {
            return whole;
        }
        return call(cvx_load_options_set_component_quantization, component.c_str(),
                    quantization.c_str());
    }

    /// In which numbers the matrix products of the blocks are made on the CPU: "float32" (default), or
    /// "bfloat16" or "int8" on processors that multiply it: less time and memory, another video, and
    /// with "int8" more so. Errors: invalid_argument for other texts.
    Result<void> set_cpu_matmul_precision(const Text &precision) {
        if (auto whole = precision.check("precision"); !whole) return whole;
        return call(cvx_load_options_set_cpu_matmul_precision, precision.c_str());
    }

    /// What computes on CUDA devices between matrix products: "libtorch" (default), or "fused": the
    /// library's own kernels, where a device takes them (Video::kernels tells). Errors:
    /// invalid_argument for other texts.
    Result<void> set_cuda_kernels(const Text &kernels) {
        return call_with_text(cvx_load_options_set_cuda_kernels, "kernels", kernels);
    }

    /// How the blocks of "text_encoder" or "transformer" are kept: "resident" (default), or "file" or
    /// "host", from where each is read while the one before computes: far less memory, the same
    /// video. Errors: invalid_argument for other texts.
    Result<void> set_weight_streaming(const Text &component, const Text &mode) {
        if (auto whole = all({component.check("component"), mode.check("mode")}); !whole) {
            return whole;
        }
        return call(cvx_load_options_set_weight_streaming, component.c_str(), mode.c_str());
    }

    /// The safetensors or GGUF file that the weights of "text_encoder", "transformer" or "vae" are read
    /// from; nullptr (default): the folder's own. Errors: invalid_argument for other components.
    Result<void> set_component_weights(const Text &component, const Text &path) {
        if (auto whole = all({component.check("component"), path.check("path")}); !whole) {
            return whole;
        }
        return call(cvx_load_options_set_component_weights, component.c_str(), path.c_str());
    }

    /// Which variant of the weight files is read: "fp16" reads model.fp16.safetensors; nullptr
    /// (default) those without. Errors: invalid_argument unless it is 1 to 64 letters, digits,
    /// '-' or '_'.
    Result<void> set_variant(const Text &variant) {
        return call_with_text(cvx_load_options_set_variant, "variant", variant);
    }

    /// Whether the text encoder is read when a prompt is encoded and released right after, and
    /// the rest is read then too: less memory at once, the same video. Default: false.
    Result<void> set_text_encoder_on_demand(bool on_demand) {
        return call(cvx_load_options_set_text_encoder_on_demand, on_demand ? 1 : 0);
    }

    /// How many prompts' embeddings are kept for later runs, from 0 to 1024, in 64 MiB at most.
    /// Default: 8.
    Result<void> set_prompt_cache_size(std::int32_t prompts) {
        return call(cvx_load_options_set_prompt_cache_size, prompts);
    }

    /// The safetensors file of a tiny decoder (taecvx) that previews are whole frames by; NULL: the
    /// folder's taecvx.safetensors, or the linear map. See cvx_load_options_set_preview_decoder.
    Result<void> set_preview_decoder(const Text &path) {
        if (auto whole = path.check("path"); !whole) {
            return whole;
        }
        return call(cvx_load_options_set_preview_decoder, path.c_str());
    }

    /// Threads that the pipeline and its clones compute with on the CPU, from 1 to 1024; the
    /// process's own setting stays as it is. Default: 0, as many as libtorch has it.
    Result<void> set_num_threads(std::int32_t num_threads) {
        return call(cvx_load_options_set_num_threads, num_threads);
    }

    /// The most bytes that libtorch's allocator takes of the device from this load on, in the whole
    /// process; 0 (default) leaves that as it is. What would be more is out_of_memory. Without
    /// effect on the CPU.
    Result<void> set_max_device_memory(std::uint64_t bytes) {
        return call(cvx_load_options_set_max_device_memory, bytes);
    }

    /// Which scheduler the runs step with: "ddim" or "dpm" in place of the folder's, all else as the
    /// folder says; nullptr (default): the folder's. Published folders name DDIM; 5b and 1.5 are
    /// recommended with DPM. Errors: invalid_argument for other texts.
    Result<void> set_scheduler(const Text &scheduler) {
        return call_with_text(cvx_load_options_set_scheduler, "scheduler", scheduler);
    }

    /// Which training timesteps are visited: "leading", "linspace" or "trailing"; nullptr
    /// (default): the folder's own. Errors: invalid_argument for other texts.
    Result<void> set_timestep_spacing(const Text &timestep_spacing) {
        return call_with_text(cvx_load_options_set_timestep_spacing, "timestep_spacing",
                              timestep_spacing);
    }

    /// What the schedule's signal-to-noise ratio is divided by, from 1e-6 to 1e6. Default: 0,
    /// the folder's own.
    Result<void> set_snr_shift_scale(double snr_shift_scale) {
        return call(cvx_load_options_set_snr_shift_scale, snr_shift_scale);
    }

    /// Whether nothing of the sample is left at the last training timestep. Default: the folder's own.
    Result<void> set_rescale_betas_zero_snr(bool rescale) {
        return call(cvx_load_options_set_rescale_betas_zero_snr, rescale ? 1 : 0);
    }

    /// The folder's own again (default).
    Result<void> set_rescale_betas_zero_snr(std::nullptr_t) {
        return call(cvx_load_options_set_rescale_betas_zero_snr, -1);
    }

    /// Follows loading: callback(const Progress &), with Stage::load and bytes, returns nothing
    /// or a Flow. nullptr (default) follows nothing.
    template <class Callback> Result<void> set_progress_callback(Callback &&callback) {
        static_assert(detail::answers_flow<Callback, Progress>(),
                      "takes const cvx::Progress &, returns void or cvx::Flow");
        return call_with_callback(cvx_load_options_set_progress_callback,
                                  detail::on_progress<std::decay_t<Callback>>,
                                  std::forward<Callback>(callback));
    }

    /// Follows nothing any more.
    Result<void> set_progress_callback(std::nullptr_t) {
        return call(cvx_load_options_set_progress_callback, nullptr, nullptr, nullptr);
    }

    /// Receives messages of the load, and of every run of the pipeline and its clones whose
    /// options set no log callback: callback(const LogMessage &). The pipeline and its clones
    /// keep it; clones may call it from several threads at once. nullptr (default): silence.
    template <class Callback> Result<void> set_log_callback(Callback &&callback) {
        static_assert(detail::takes<Callback, LogMessage>, "takes const cvx::LogMessage &");
        return call_with_callback(cvx_load_options_set_log_callback,
                                  detail::on_log<std::decay_t<Callback>>,
                                  std::forward<Callback>(callback));
    }

    /// Silence again.
    Result<void> set_log_callback(std::nullptr_t) {
        return call(cvx_load_options_set_log_callback, nullptr, nullptr, nullptr);
    }

    /// Loads with these options end with Code::cancelled once the token is cancelled. The caller
    /// keeps the token and may free it at any time.
    Result<void> set_cancel_token(const CancelToken &token) {
        if (auto live = detail::require(token); !live) {
            return live;
        }
        return call(cvx_load_options_set_cancel_token, token.get());
    }

    /// Takes the token away again (default).
    Result<void> set_cancel_token(std::nullptr_t) {
        return call(cvx_load_options_set_cancel_token, nullptr);
    }

private:
    friend Handle;
    explicit LoadOptions(Empty) noexcept : Handle(nullptr) {}
};

} // namespace CVX_HPP_MODE
} // namespace cvx

#endif // COGVIDEOX_LOAD_OPTIONS_HPP
