// A program that ends while a job runs: with the objects in main, in statics, or freed before.
// Arguments: which of them, and after how many milliseconds.
#include <cogvideox.hpp>

#include <chrono>
#include <cstdlib>
#include <optional>
#include <string>
#include <thread>

namespace {

struct Objects {
    cvx::Pipeline pipeline;
    cvx::GenerateOptions options;
    std::optional<cvx::Job> job;
};

std::optional<Objects> begin() {
    cvx::LoadOptions load;
    if (!load.set_device("cpu")) {
        return std::nullopt;
    }
    auto pipeline = cvx::Pipeline::load("tests/pipelines/5b", load);
    cvx::GenerateOptions options;
    if (!pipeline || !options.set_size(64, 64) || !options.set_num_frames(9) ||
        !options.set_num_inference_steps(500) || !options.set_max_sequence_length(8)) {
        return std::nullopt;
    }
    auto job = pipeline->submit(options);
    if (!job) {
        return std::nullopt;
    }
    return Objects{*std::move(pipeline), std::move(options), *std::move(job)};
}

// Made before the library has worked, and destroyed after its exit handler.
std::optional<Objects> global;

} // namespace

int main(int, char **arguments) {
    const std::string kind = arguments[1];
    const auto wait = std::chrono::milliseconds(std::atoi(arguments[2]));
    if (kind == "global") {
        global = begin();
        std::this_thread::sleep_for(wait);
        return global ? 7 : 1;
    }
    if (kind == "static") {
        // Made after the library has begun to work, and destroyed before its exit handler.
        static std::optional<Objects> late = begin();
        std::this_thread::sleep_for(wait);
        return late ? 7 : 1;
    }
    std::optional<Objects> local = begin();
    std::this_thread::sleep_for(wait);
    if (local && kind == "freed") {
        local->job.reset();
    }
    return local ? 7 : 1;
}
