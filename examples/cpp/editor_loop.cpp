// How an editor or a game generates a video without ever stopping its loop: it submits a job,
// looks at it once per tick, shows frames as they are decoded, and cancels when it is asked to.
//
//   editor_loop [--model DIR] [--steps N] [--cancel-after TICKS]
//
// Nothing here needs exceptions or RTTI, as engines are built without them.

#include <cogvideox.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

struct Arguments {
    const char *model = "examples/demo-model/pipeline";
    int steps = 20;
    int cancel_after = -1; // never
};

// What the library's worker hands to the editor's loop: pictures in RGBA, ready for textures.
// The worker only copies; everything else happens in the tick.
class FrameQueue {
public:
    void put(const cvx::FramesChunk &chunk) {
        const std::lock_guard<std::mutex> lock(mutex_);
        for (const auto frame : chunk.bytes()) {
            const auto pixels = frame.packed();
            frames_.emplace_back(pixels.begin(), pixels.end());
        }
    }

    std::vector<std::vector<std::uint8_t>> take() {
        const std::lock_guard<std::mutex> lock(mutex_);
        return std::exchange(frames_, {});
    }

private:
    std::mutex mutex_;
    std::vector<std::vector<std::uint8_t>> frames_;
};

const char *describe(cvx::Stage stage) {
    switch (stage) {
    case cvx::Stage::encode:
        return "reading the prompt";
    case cvx::Stage::denoise:
        return "denoising";
    case cvx::Stage::decode:
        return "decoding";
    default:
        return "waiting";
    }
}

// The editor: it owns the pipeline and, while something is generated, a job.
class Editor {
public:
    cvx::Result<void> open(const char *model) {
        auto pipeline = cvx::Pipeline::load(model);
        if (!pipeline) {
            return pipeline.error();
        }
        pipeline_ = *std::move(pipeline);
        return pipeline_.enable_cache(cvx::CacheConfig::pab());
    }

    // Returns at once. The lambda owns its share of the queue, so it does not matter which of
    // them goes first, the editor or the job.
    cvx::Result<void> generate(const char *prompt, int steps) {
        cvx::GenerateOptions options;
        auto set = cvx::all({
            options.set_prompt(prompt),
            options.set_num_inference_steps(steps),
            options.set_frames_callback(
                cvx::Pixels::rgba8,
                [queue = queue_](const cvx::FramesChunk &chunk) { queue->put(chunk); }),
        });
        if (!set) {
            return set;
        }
        auto job = pipeline_.submit(options);
        if (!job) {
            return job.error();
        }
        job_ = *std::move(job);
        return {};
    }

    // The user pressed "stop": the job ends soon, and a later tick sees it.
    void cancel() { job_.cancel(); }

    // Once per frame of the editor; true while there is something to wait for.
    bool tick() {
        const cvx::JobStatus status = job_.poll();
        for (const auto &pixels : queue_->take()) {
            // Here an engine uploads a texture.
            std::printf("  frame %d has arrived: %zu bytes\n", shown_++, pixels.size());
        }
        if (!cvx::has_ended(status.state)) {
            show(status);
            return true;
        }
        finish();
        return false;
    }

    // The error of what was generated last; Code::ok if it went well.
    const cvx::Error &error() const { return error_; }

private:
    // A line for each hundredth, where an editor moves a bar.
    void show(const cvx::JobStatus &status) {
        const int percent = static_cast<int>(status.fraction * 100.0);
        if (percent != percent_) {
            percent_ = percent;
            std::printf("%3d%% %s, %.1f s\n", percent, describe(status.stage), status.seconds);
        }
    }

    void finish() {
        auto video = job_.take_video();
        if (video) {
            std::printf("100%% done: %d frames of %dx%d, %d shown\n", video->num_frames(),
                        video->width(), video->height(), shown_);
        } else {
            error_ = video.error();
        }
        job_.reset();
    }

    cvx::Pipeline pipeline_;
    cvx::Job job_;
    std::shared_ptr<FrameQueue> queue_ = std::make_shared<FrameQueue>();
    cvx::Error error_;
    int percent_ = -1;
    int shown_ = 0;
};

bool parse(int argc, char **argv, Arguments &arguments) {
    for (int i = 1; i + 1 < argc; i += 2) {
        if (std::strcmp(argv[i], "--model") == 0) {
            arguments.model = argv[i + 1];
        } else if (std::strcmp(argv[i], "--steps") == 0) {
            arguments.steps = std::atoi(argv[i + 1]);
        } else if (std::strcmp(argv[i], "--cancel-after") == 0) {
            arguments.cancel_after = std::atoi(argv[i + 1]);
        } else {
            return false;
        }
    }
    return argc % 2 == 1;
}

int fail(const cvx::Error &error) {
    std::fprintf(stderr, "editor_loop: %s\n", error.message().c_str());
    return error.code() == cvx::Code::cancelled ? 130 : 1;
}

} // namespace

int main(int argc, char **argv) {
    Arguments arguments;
    if (!parse(argc, argv, arguments)) {
        std::fprintf(stderr, "usage: editor_loop [--model DIR] [--steps N] "
                             "[--cancel-after TICKS]\n");
        return 2;
    }
    Editor editor;
    if (auto opened = editor.open(arguments.model); !opened) {
        return fail(opened.error());
    }
    auto begun = editor.generate("a red ball moves right on a black background", arguments.steps);
    if (!begun) {
        return fail(begun.error());
    }
    for (int tick = 0; editor.tick(); ++tick) {
        if (tick == arguments.cancel_after) {
            editor.cancel();
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(16)); // the rest of the editor
    }
    return editor.error().code() == cvx::Code::ok ? 0 : fail(editor.error());
}
