// What a call costs from C and from C++: microseconds per call, as JSON. Run at the root of the
// checkout; the best of many short rounds is told, since anything else on the machine only adds.
// CallOverhead.cs and call_overhead_go measure the same calls from C# and Go; call_overhead.py
// runs them all and says what is called behind each name.

#include <cogvideox.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {

// Keeps the compiler from dropping what is measured.
volatile std::int64_t sink = 0;

void require(bool holds, const char *what) {
    if (!holds) {
        std::fprintf(stderr, "call_overhead: failed: %s\n", what);
        std::exit(1);
    }
}

void require(cvx_error *error, const char *what) {
    if (error != nullptr) {
        std::fprintf(stderr, "call_overhead: %s: %s\n", what, cvx_error_message(error));
        std::exit(1);
    }
}

// Rounds are shorter than the time that a busy machine leaves a program without a break.
template <class Call> double microseconds(int calls, Call call) {
    constexpr int rounds = 500;
    calls /= rounds;
    double best = 1e30;
    for (int round = 0; round < rounds; ++round) {
        const auto start = std::chrono::steady_clock::now();
        for (int i = 0; i < calls; ++i) {
            call(i);
        }
        const std::chrono::duration<double, std::micro> time =
            std::chrono::steady_clock::now() - start;
        best = std::min(best, time.count() / calls);
    }
    return best;
}

int printed = 0;

template <class C, class Cpp> void compare(const char *name, int calls, C c, Cpp cpp) {
    const double in_c = microseconds(calls, c);
    const double in_cpp = microseconds(calls, cpp);
    std::printf("%s\n    \"%s\": {\"c\": %.5f, \"cpp\": %.5f}", printed++ > 0 ? "," : "", name,
                in_c, in_cpp);
}

double c_timestep(const cvx_step_info *info, void *) { return info->timestep; }

} // namespace

int main() {
    auto loaded = cvx::Pipeline::load("tests/pipelines/5b");
    require(loaded.has_value(), "loading tests/pipelines/5b");
    cvx::Pipeline pipeline = *std::move(loaded);
    cvx::GenerateOptions options;
    require(cvx::all({options.set_size(32, 32), options.set_num_frames(9),
                      options.set_num_inference_steps(1), options.set_max_sequence_length(8)})
                .has_value(),
            "options");
    auto made = pipeline.generate(options);
    require(made.has_value(), "a run");
    const cvx::Video video = *std::move(made);
    auto submitted = pipeline.submit(options);
    require(submitted.has_value() && submitted->wait().has_value(), "a job");
    const cvx::Job job = *std::move(submitted);

    std::printf("{\n  \"unit\": \"microseconds per call\",\n  \"library\": \"%s\",\n"
                "  \"calls\": {",
                cvx::version().data());
    cvx::CacheConfig config = cvx::CacheConfig::pab();
    compare(
        "number", 1000000, [&](int) { sink = cvx_video_num_frames(video.get()); },
        [&](int) { sink = video.num_frames(); });
    compare(
        "text", 1000000, [&](int) { sink = cvx_pipeline_family(pipeline.get())[0]; },
        [&](int) { sink = pipeline.family().front(); });
    compare(
        "set number", 1000000,
        [&](int) {
            require(cvx_cache_config_set_spatial_attention_block_skip_range(config.get(), 2),
                    "set number");
        },
        [&](int) {
            require(config.set_spatial_attention_block_skip_range(2).has_value(), "set number");
        });
    compare(
        "set text", 200000,
        [&](int) { require(cvx_cache_config_set_cache_dtype(config.get(), "f16"), "set text"); },
        [&](int) { require(config.set_cache_dtype("f16").has_value(), "set text"); });
    compare(
        "set callback", 200000,
        [&](int) {
            require(cvx_cache_config_set_current_timestep_callback(config.get(), c_timestep,
                                                                   std::malloc(16), std::free),
                    "set callback");
        },
        [&](int i) {
            require(config
                        .set_current_timestep_callback(
                            [i](const cvx::Step &step) { return step.timestep + i; })
                        .has_value(),
                    "set callback");
        });
    compare(
        "error", 200000,
        [&](int) {
            cvx_error *error =
                cvx_cache_config_set_spatial_attention_block_skip_range(config.get(), -1);
            sink = cvx_error_code(error) + cvx_error_message(error)[0];
            cvx_error_free(error);
        },
        [&](int) {
            const auto failed = config.set_spatial_attention_block_skip_range(-1);
            sink = static_cast<std::int64_t>(failed.error().code()) + failed.error().message()[0];
        });
    compare(
        "object", 200000, [&](int) { cvx_cache_config_free(cvx_pab_config_new()); },
        [&](int) { const cvx::CacheConfig own = cvx::CacheConfig::pab(); });
    compare(
        "poll", 500000,
        [&](int) {
            cvx_job_status status{};
            status.struct_size = static_cast<std::uint32_t>(sizeof status);
            sink = cvx_job_poll(job.get(), &status);
        },
        [&](int) { sink = static_cast<std::int64_t>(job.poll().state); });
    compare(
        "frames", 500000,
        [&](int) {
            const std::uint8_t *data = nullptr;
            std::size_t stride = 0;
            require(cvx_video_frames_rgb8(video.get(), 0, &data, &stride), "frames");
            sink = data[0];
        },
        [&](int) {
            const auto frames = video.frames_rgb8();
            sink = *frames->data();
        });
    std::printf("\n  }\n}\n");
    return 0;
}
