// Image to video: a picture becomes the first frame.
//
//   image_to_video CogVideoX-5b-I2V cat.jpg "the cat looks around and yawns" cat.mp4
//
// It throws where something fails. editor_loop.cpp does without exceptions.

#include <cogvideox.hpp>

#include <cstdio>

int main(int argc, char **argv) try {
    if (argc != 5) {
        std::fputs("usage: image_to_video MODEL IMAGE PROMPT VIDEO\n", stderr);
        return 2;
    }
    const char *path = argv[4];

    auto pipeline = cvx::Pipeline::load(argv[1]).value();
    const auto image = cvx::Image::load(argv[2]).value();
    cvx::GenerateOptions options;
    options.set_image(image).value();
    options.set_prompt(argv[3]).value();
    options.set_scheduler("dpm").value(); // which the published models are recommended with
    auto video = pipeline.generate(options).value();
    video.save(path, pipeline.default_fps()).value();

    std::printf("%s: %d frames of %dx%d\n", path, video.num_frames(), video.width(),
                video.height());
} catch (const cvx::Exception &exception) {
    std::fprintf(stderr, "image_to_video: %s\n", exception.what());
    return 1;
}
