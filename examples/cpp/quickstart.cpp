#include <cogvideox.hpp>
#include <cstdio>

int main() try {
    auto pipeline = cvx::Pipeline::load("examples/demo-model/pipeline").value();
    pipeline.enable_cache(cvx::CacheConfig::pab()).value();
    cvx::GenerateOptions options;
    options.set_prompt("a red ball moves right on a black background").value();
    auto video = pipeline.generate(options).value();
    video.save("ball.mp4", pipeline.default_fps()).value();
} catch (const cvx::Exception &exception) {
    std::fprintf(stderr, "%s\n", exception.what());
    return 1;
}
