// A C++ program outside the checkout: generates a short video and writes its frames, three
// bytes a pixel, to a file.
//
//   generate PIPELINE_FOLDER FILE

#include <cogvideox.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>

namespace {

template <typename T>
using Handle = std::unique_ptr<T, void (*)(T *)>;

void check(cvx_error *error) {
    if (error != nullptr) {
        const std::string message = cvx_error_message(error);
        cvx_error_free(error);
        throw std::runtime_error(message);
    }
}

void generate(const char *folder, const char *path) {
    cvx_pipeline *loaded = nullptr;
    check(cvx_pipeline_load(folder, nullptr, &loaded));
    const Handle<cvx_pipeline> pipeline(loaded, cvx_pipeline_free);
    const Handle<cvx_generate_options> options(cvx_generate_options_new(), cvx_generate_options_free);
    check(cvx_generate_options_set_prompt(options.get(), "a red ball moves right on a black background"));
    check(cvx_generate_options_set_num_inference_steps(options.get(), 3));
    check(cvx_generate_options_set_seed(options.get(), 7));
    cvx_video *made = nullptr;
    check(cvx_pipeline_generate(pipeline.get(), options.get(), &made));
    const Handle<cvx_video> video(made, cvx_video_free);
    const std::uint8_t *data = nullptr;
    std::size_t stride = 0;
    check(cvx_video_frames_rgb8(video.get(), 0, &data, &stride));
    std::ofstream file(path, std::ios::binary);
    file.exceptions(std::ios::failbit | std::ios::badbit);
    const auto rows = cvx_video_num_frames(video.get()) * cvx_video_height(video.get());
    file.write(reinterpret_cast<const char *>(data), static_cast<std::streamsize>(stride) * rows);
}

} // namespace

int main(int argc, char **argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: generate PIPELINE_FOLDER FILE\n");
        return 2;
    }
    try {
        generate(argv[1], argv[2]);
    } catch (const std::exception &problem) {
        std::fprintf(stderr, "generate: %s\n", problem.what());
        return 1;
    }
}
