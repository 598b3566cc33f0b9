// Text to video in ten lines, cached with Pyramid Attention Broadcast.
//
//   generate "a red ball moves right on a black background" ball.mp4
//
// It throws where something fails. editor_loop.cpp does without exceptions.

#include <cogvideox.hpp>

#include <cstdio>

int main(int argc, char **argv) try {
    const char *prompt = argc > 1 ? argv[1] : "a red ball moves right on a black background";
    const char *path = argc > 2 ? argv[2] : "out/generate_cpp.mp4";
    const char *model = argc > 3 ? argv[3] : "examples/demo-model/pipeline";

    auto pipeline = cvx::Pipeline::load(model).value();
    pipeline.enable_cache(cvx::CacheConfig::pab()).value();
    cvx::GenerateOptions options;
    options.set_prompt(prompt).value();
    auto video = pipeline.generate(options).value();
    video.save(path, pipeline.default_fps()).value();

    std::printf("%s: %d frames of %dx%d\n", path, video.num_frames(), video.width(),
                video.height());
} catch (const cvx::Exception &exception) {
    std::fprintf(stderr, "generate: %s\n", exception.what());
    return 1;
}
