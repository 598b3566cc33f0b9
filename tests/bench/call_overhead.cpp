// What a call costs from C and from C++: microseconds per call, as JSON. Run at the root of the
// checkout; the best of several rounds is told, since anything else on the machine only adds.

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

template <class Call> double microseconds(int calls, Call call) {
    double best = 1e30;
    for (int round = 0; round < 7; ++round) {
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

std::int32_t c_progress(const cvx_progress_info *info, void *count) {
    *static_cast<std::int64_t *>(count) += static_cast<std::int64_t>(info->done);
    return 0;
}

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
    compare(
        "video num_frames", 1000000, [&](int) { sink = cvx_video_num_frames(video.get()); },
        [&](int) { sink = video.num_frames(); });
    compare(
        "options set_seed", 1000000,
        [&](int i) {
            require(cvx_generate_options_set_seed(options.get(), static_cast<std::uint64_t>(i)),
                    "set_seed");
        },
        [&](int i) {
            require(options.set_seed(static_cast<std::uint64_t>(i)).has_value(), "set_seed");
        });
    compare(
        "options new, set_prompt, free", 200000,
        [&](int) {
            cvx_generate_options *own = cvx_generate_options_new();
            require(cvx_generate_options_set_prompt(own, "a red ball"), "set_prompt");
            cvx_generate_options_free(own);
        },
        [&](int) {
            cvx::GenerateOptions own;
            require(own.set_prompt("a red ball").has_value(), "set_prompt");
        });
    compare(
        "options set_progress_callback", 200000,
        [&](int) {
            static std::int64_t count = 0;
            require(cvx_generate_options_set_progress_callback(options.get(), c_progress, &count,
                                                               nullptr),
                    "set_progress_callback");
        },
        [&](int) {
            std::int64_t count = 0;
            require(options
                        .set_progress_callback(
                            [count](const cvx::Progress &progress) mutable {
                                count += static_cast<std::int64_t>(progress.done);
                            })
                        .has_value(),
                    "set_progress_callback");
        });

    // A callback as the library calls it, through a pointer that the compiler cannot see through.
    std::int64_t count = 0;
    auto lambda = [&count](const cvx::Progress &progress) {
        count += static_cast<std::int64_t>(progress.done);
    };
    volatile cvx_progress_callback c_pointer = c_progress;
    volatile cvx_progress_callback cpp_pointer = cvx::detail::on_progress<decltype(lambda)>;
    cvx_progress_info info{};
    info.struct_size = static_cast<std::uint32_t>(sizeof info);
    info.done = 1;
    compare(
        "progress callback", 5000000, [&](int) { sink = c_pointer(&info, &count); },
        [&](int) { sink = cpp_pointer(&info, &lambda); });

    compare(
        "a setter that fails, with its error", 200000,
        [&](int) {
            cvx_error *error = cvx_generate_options_set_num_frames(options.get(), -1);
            sink = cvx_error_code(error);
            cvx_error_free(error);
        },
        [&](int) {
            sink = static_cast<std::int64_t>(options.set_num_frames(-1).error().code());
        });
    compare(
        "job poll", 500000,
        [&](int) {
            cvx_job_status status{};
            status.struct_size = static_cast<std::uint32_t>(sizeof status);
            sink = cvx_job_poll(job.get(), &status);
        },
        [&](int) { sink = static_cast<std::int64_t>(job.poll().state); });
    compare(
        "video frames_rgb8", 500000,
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
