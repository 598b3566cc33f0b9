// Draws a video as a Vulkan texture while it is decoded: the library writes frames into a mapped
// buffer, and each group of them is drawn as soon as it is there. There is no window: what was drawn
// is read back and written to a file, height rows of width pixels R, G, B, A for each frame.
//
//     picture FOLDER PROMPT OUTPUT [STEPS [FRAMES]]
//
// Built by `make test-vulkan`, which also runs it; by hand:
//
//     glslangValidator -V --vn picture_vert -o picture_vert.h picture.vert   (and .frag)
//     c++ -std=c++17 main.cpp screen.cpp -lcogvideox -lvulkan
#include "screen.hpp"

#include <cogvideox.hpp>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>

namespace {

template <class T> T expect(cvx::Result<T> result) {
    if (!result) {
        throw std::runtime_error(std::string(result.error().message()));
    }
    return std::move(*result);
}

void expect(const cvx::Result<void> &result) {
    if (!result) {
        throw std::runtime_error(std::string(result.error().message()));
    }
}

void run(const char *folder, const char *prompt, const char *output, int steps, int frames) {
    cvx::Pipeline pipeline = expect(cvx::Pipeline::load(folder));
    const auto width = static_cast<std::uint32_t>(pipeline.default_width());
    const auto height = static_cast<std::uint32_t>(pipeline.default_height());
    Screen screen(width, height, static_cast<std::uint32_t>(frames));
    std::printf("drawing on %s\n", screen.device().c_str());

    std::ofstream file(output, std::ios::binary);
    cvx::GenerateOptions options;
    expect(options.set_prompt(prompt));
    expect(options.set_num_inference_steps(steps));
    expect(options.set_num_frames(frames));
    expect(options.set_frames_buffer(cvx::Pixels::rgba8, screen.frames(), screen.size(), 0,
                                     screen.frame_stride()));
    // The frames of a group are in the buffer when its callback is called, and the run waits for the
    // callback: a program that draws on another thread hands it the numbers and returns.
    expect(options.set_frames_callback(cvx::Pixels::rgba8, [&](const cvx::FramesChunk &chunk) {
        for (std::int32_t i = 0; i < chunk.num_frames; ++i) {
            const auto drawn = screen.draw(static_cast<std::uint32_t>(chunk.first_frame + i));
            file.write(reinterpret_cast<const char *>(drawn.data()),
                       static_cast<std::streamsize>(drawn.size()));
        }
        std::printf("frames %d to %d of %d are drawn\n", chunk.first_frame,
                    chunk.first_frame + chunk.num_frames - 1, chunk.total_frames);
    }));
    const cvx::Video video = expect(pipeline.generate(options));
    std::printf("the run has ended: %d frames\n", video.num_frames());
    if (!file.flush()) {
        throw std::runtime_error(std::string("cannot write ") + output);
    }
}

} // namespace

int main(int count, char **arguments) {
    if (count < 4) {
        std::fprintf(stderr, "usage: picture FOLDER PROMPT OUTPUT [STEPS [FRAMES]]\n");
        return 2;
    }
    try {
        run(arguments[1], arguments[2], arguments[3], count > 4 ? std::atoi(arguments[4]) : 8,
            count > 5 ? std::atoi(arguments[5]) : 17);
        return 0;
    } catch (const std::exception &error) {
        std::fprintf(stderr, "picture: %s\n", error.what());
        return 1;
    }
}
