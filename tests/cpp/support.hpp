// What the tests share. Programs are run at the root of the checkout.
#ifndef COGVIDEOX_TEST_SUPPORT_HPP
#define COGVIDEOX_TEST_SUPPORT_HPP

#include "check.hpp"

#include <cogvideox.hpp>

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

namespace support {

// Tiny random pipelines, one per family.
inline const char *const folder_2b = "tests/pipelines/2b";
inline const char *const folder_5b = "tests/pipelines/5b";

inline cvx::Pipeline load(const char *folder = folder_5b) {
    cvx::LoadOptions options;
    CHECK(options.set_device("cpu"));
    auto pipeline = cvx::Pipeline::load(folder, options);
    check::that(pipeline.has_value(), "the pipeline loads", folder, 0,
                pipeline.error().message().c_str());
    return *std::move(pipeline);
}

// The smallest run there is.
inline cvx::GenerateOptions small(std::int32_t steps = 2) {
    cvx::GenerateOptions options;
    CHECK(cvx::all({options.set_prompt("a red ball"), options.set_size(32, 32),
                    options.set_num_frames(9), options.set_num_inference_steps(steps),
                    options.set_max_sequence_length(8), options.set_seed(7)}));
    return options;
}

// The same bytes, not only the same numbers.
template <class T> std::vector<T> copy(cvx::Span<const T> numbers) {
    return std::vector<T>(numbers.begin(), numbers.end());
}

// The packed bytes of all frames of a video.
inline std::vector<std::uint8_t> bytes(const cvx::Video &video) {
    const auto frames = video.frames_rgb8();
    return copy<std::uint8_t>(frames->packed());
}

// Bytes of this process that are in memory.
inline long resident_bytes() {
    long pages = 0;
    long resident = 0;
    if (std::FILE *file = std::fopen("/proc/self/statm", "r")) {
        if (std::fscanf(file, "%ld %ld", &pages, &resident) != 2) {
            resident = 0;
        }
        std::fclose(file);
    }
    return resident * 4096;
}

// A path for a file that a test writes; TMPDIR or /tmp.
std::string temporary(const char *name);

} // namespace support

#endif // COGVIDEOX_TEST_SUPPORT_HPP
