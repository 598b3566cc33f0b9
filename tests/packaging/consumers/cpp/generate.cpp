// A C++ program outside the checkout: generates a short video and writes its frames, three
// bytes a pixel, to a file.
//
//   generate PIPELINE_FOLDER FILE

#include <cogvideox.hpp>

#include <cstdio>
#include <exception>
#include <fstream>

namespace {

void generate(const char *folder, const char *path) {
    auto pipeline = cvx::Pipeline::load(folder).value();
    cvx::GenerateOptions options;
    options.set_prompt("a red ball moves right on a black background").value();
    options.set_num_inference_steps(3).value();
    options.set_seed(7).value();
    const auto video = pipeline.generate(options).value();
    const auto frames = video.frames_rgb8().value();
    std::ofstream file(path, std::ios::binary);
    file.exceptions(std::ios::failbit | std::ios::badbit);
    file.write(reinterpret_cast<const char *>(frames.data()),
               static_cast<std::streamsize>(frames.frame_stride()) * frames.size());
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
