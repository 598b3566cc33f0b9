// Image to video: pictures from memory, from files and from other videos.
#include "support.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace {

const char *const folder_i2v = "tests/pipelines/1.5-5b-i2v";
const char *const pictures = "tests/goldens/images/";

std::vector<std::uint8_t> picture(std::size_t width, std::size_t height) {
    std::vector<std::uint8_t> bytes(width * height * 3);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = static_cast<std::uint8_t>(i * 29 % 253);
    }
    return bytes;
}

} // namespace

TEST(pictures_are_given_in_every_way) {
    auto pipeline = support::load(folder_i2v);
    CHECK(pipeline.task() == cvx::Task::image_to_video);
    CHECK(support::load().task() == cvx::Task::text_to_video);
    CHECK(cvx::Pipeline().task() == cvx::Task{0});

    auto options = support::small(1);
    CHECK_FAILS(pipeline.generate(options), cvx::Code::invalid_argument, "image: expected one");
    const auto rgb = picture(13, 8);
    REQUIRE_OK(options.set_image(rgb.data(), 13, 8, 0, cvx::Pixels::rgb8));
    const auto first = pipeline.generate(options);
    REQUIRE_OK(first);
    const auto expected = support::bytes(*first);

    REQUIRE_OK(options.set_image(cvx::Frame<const std::uint8_t>(rgb.data(), 13, 8, 3, 39)));
    CHECK(support::bytes(*pipeline.generate(options)) == expected);
    std::vector<std::uint8_t> rgba;
    for (std::size_t i = 0; i < rgb.size(); i += 3) {
        rgba.insert(rgba.end(), {rgb[i], rgb[i + 1], rgb[i + 2], static_cast<std::uint8_t>(i)});
    }
    REQUIRE_OK(options.set_image(cvx::Frame<const std::uint8_t>(rgba.data(), 13, 8, 4, 52)));
    rgba.assign(rgba.size(), 0); // it was copied
    CHECK(support::bytes(*pipeline.generate(options)) == expected);

    std::vector<float> floats;
    for (const std::uint8_t byte : rgb) {
        floats.push_back(static_cast<float>(byte) / 255.0F);
    }
    REQUIRE_OK(options.set_image(cvx::Frame<const float>(floats.data(), 13, 8, 3, 156)));
    REQUIRE_OK(pipeline.generate(options));

    // A video goes on from its last frame.
    const auto frames = first->frames_rgb8();
    REQUIRE_OK(frames);
    REQUIRE_OK(options.set_image((*frames)[8]));
    const auto next = pipeline.generate(options);
    REQUIRE_OK(next);
    CHECK(support::bytes(*next) != expected);
}

TEST(videos_are_given_in_every_way) {
    auto pipeline = support::load();
    auto options = support::small(4);
    const auto plain = pipeline.generate(options);
    REQUIRE_OK(plain);
    const auto frames = plain->frames_rgb8();
    REQUIRE_OK(frames);
    CHECK(frames->size() == 9);
    REQUIRE_OK(options.set_video(*frames));
    const auto again = pipeline.generate(options);
    REQUIRE_OK(again);
    const auto expected = support::bytes(*again);
    CHECK(expected != support::bytes(*plain));
    CHECK(again->num_frames() == 9);
    std::vector<std::uint8_t> copy(frames->data(),
                                   frames->data() + 9 * frames->frame_stride());
    REQUIRE_OK(options.set_video(copy.data(), frames->width(), frames->height(), 9, 0, 0,
                                 cvx::Pixels::rgb8));
    copy.assign(copy.size(), 0); // it was copied
    CHECK(support::bytes(*pipeline.generate(options)) == expected);
    const auto rgba = plain->frames_rgba8();
    REQUIRE_OK(rgba);
    REQUIRE_OK(options.set_video(*rgba));
    CHECK(support::bytes(*pipeline.generate(options)) == expected);
    const auto floats = plain->frames_f32();
    REQUIRE_OK(floats);
    REQUIRE_OK(options.set_video(*floats));
    REQUIRE_OK(pipeline.generate(options));

    REQUIRE_OK(options.set_strength(0.5));
    CHECK(support::bytes(*pipeline.generate(options)) != expected);
    REQUIRE_OK(options.set_strength(0.1));
    CHECK_FAILS(pipeline.generate(options), cvx::Code::invalid_argument, "strength");
    CHECK_FAILS(options.set_strength(1.5), cvx::Code::invalid_argument, "strength");
    REQUIRE_OK(options.set_strength(-1));
    CHECK_FAILS(options.set_video(cvx::Frames<const std::uint8_t>()), cvx::Code::invalid_argument,
                "channels");
    CHECK_FAILS(options.set_video(cvx::Frames<const float>()), cvx::Code::invalid_argument,
                "channels");
    CHECK_FAILS(options.set_video(copy.data(), 4, 4, 0, 0, 0, cvx::Pixels::rgb8),
                cvx::Code::invalid_argument, "num_frames");
    REQUIRE_OK(options.set_video(nullptr));
    CHECK(support::bytes(*pipeline.generate(options)) == support::bytes(*plain));
}

TEST(control_and_inpainting_take_their_inputs) {
    const auto bytes = picture(16, 12 * 9);
    const cvx::Frames<const std::uint8_t> clip(bytes.data(), 9, 16, 12, 3, 48, 576);
    auto options = support::small(1);
    auto control = support::load("tests/pipelines/5b-control");
    CHECK(control.task() == cvx::Task::control);
    CHECK_FAILS(control.generate(options), cvx::Code::invalid_argument, "control_video");
    REQUIRE_OK(options.set_control_video(clip));
    const auto first = control.generate(options);
    REQUIRE_OK(first);
    REQUIRE_OK(options.set_control_video(bytes.data(), 12, 16, 9, 0, 0, cvx::Pixels::rgb8));
    CHECK(support::bytes(*control.generate(options)) != support::bytes(*first));
    const auto floats = first->frames_f32();
    REQUIRE_OK(floats);
    REQUIRE_OK(options.set_control_video(*floats));
    REQUIRE_OK(control.generate(options));

    auto inpainting = support::load("tests/pipelines/5b-inp");
    CHECK(inpainting.task() == cvx::Task::inpainting);
    auto parts = support::small(1);
    const auto nothing = inpainting.generate(parts);
    REQUIRE_OK(nothing);
    REQUIRE_OK(parts.set_image(clip[0]));
    REQUIRE_OK(parts.set_last_image(clip[8]));
    const auto ends = inpainting.generate(parts);
    REQUIRE_OK(ends);
    CHECK(support::bytes(*ends) != support::bytes(*nothing));
    const auto file = cvx::Image::load(std::string(pictures) + "rgb.png");
    REQUIRE_OK(file);
    REQUIRE_OK(parts.set_last_image(*file));
    REQUIRE_OK(inpainting.generate(parts));
    REQUIRE_OK(parts.set_last_image(nullptr, 0, 0, 0, cvx::Pixels::rgb8));
    REQUIRE_OK(parts.set_image(nullptr));
    REQUIRE_OK(parts.set_video(clip));
    const std::vector<std::uint8_t> mask = {0, 255};
    CHECK_FAILS(inpainting.generate(parts), cvx::Code::invalid_argument, "mask");
    REQUIRE_OK(parts.set_mask(mask.data(), 2, 1, 1));
    REQUIRE_OK(inpainting.generate(parts));
    CHECK_FAILS(parts.set_mask(mask.data(), 2, 1, 0), cvx::Code::invalid_argument, "num_frames");
}

TEST(several_prompts_have_a_seed_each) {
    auto pipeline = support::load();
    auto options = support::small(2);
    REQUIRE_OK(options.set_prompt("a red ball"));
    REQUIRE_OK(options.set_seed(7));
    const auto alone = pipeline.generate(options);
    REQUIRE_OK(alone);
    const char *const prompts[] = {"the moon", "a red ball"};
    const std::uint64_t seeds[] = {3, 7};
    REQUIRE_OK(options.set_prompts(prompts));
    CHECK_FAILS(pipeline.generate(options), cvx::Code::invalid_argument, "prompts");
    REQUIRE_OK(options.set_prompt(""));
    REQUIRE_OK(options.set_seeds(seeds));
    REQUIRE_OK(options.set_negative_prompts(prompts));
    const auto both = pipeline.generate(options);
    REQUIRE_OK(both);
    CHECK(both->count() == 2);
    REQUIRE_OK(options.set_negative_prompts({}));
    const auto plain = pipeline.generate(options);
    REQUIRE_OK(plain);
    const auto latents = plain->latents(), own = alone->latents();
    REQUIRE_OK(latents);
    REQUIRE_OK(own);
    float most = 0;
    for (std::size_t i = 0; i < own->data.size(); ++i) {
        most = std::max(most, std::abs(latents->data[own->data.size() + i] - own->data[i]));
    }
    CHECK(most < 1e-4F);
    REQUIRE_OK(options.set_seeds({seeds, 1}));
    CHECK_FAILS(pipeline.generate(options), cvx::Code::invalid_argument, "seeds: expected 2");
}

TEST(pictures_are_read_from_files) {
    const auto image = cvx::Image::load(std::string(pictures) + "turned.jpg");
    REQUIRE_OK(image);
    CHECK(image->width() == 34 && image->height() == 45);
    const auto pixels = image->pixels();
    REQUIRE_OK(pixels);
    CHECK(pixels->is_packed() && pixels->channels() == 3);
    auto pipeline = support::load(folder_i2v);
    auto options = support::small(1);
    REQUIRE_OK(options.set_image(*image));
    const auto from_image = pipeline.generate(options);
    REQUIRE_OK(from_image);
    REQUIRE_OK(options.set_image(*pixels));
    CHECK(support::bytes(*pipeline.generate(options)) == support::bytes(*from_image));

    CHECK_FAILS(cvx::Image::load("no/such/picture.png"), cvx::Code::not_found, "picture.png");
    CHECK_FAILS(cvx::Image::load("README.md"), cvx::Code::invalid_argument, "PNG or JPEG");
    const cvx::Image empty;
    CHECK(empty.width() == 0 && empty.height() == 0);
    CHECK_FAILS(empty.pixels(), cvx::Code::null_argument, "Image");
    CHECK_FAILS(options.set_image(empty), cvx::Code::null_argument, "Image");
}

TEST(pictures_that_cannot_be_are_refused_and_none_is_needed_for_text) {
    auto options = support::small(1);
    const auto rgb = picture(4, 4);
    CHECK_FAILS(options.set_image(cvx::Frame<const std::uint8_t>()), cvx::Code::invalid_argument,
                "channels");
    CHECK_FAILS(options.set_image(cvx::Frame<const float>()), cvx::Code::invalid_argument,
                "channels");
    CHECK_FAILS(options.set_image(nullptr, 4, 4, 0, cvx::Pixels::rgb8), cvx::Code::null_argument,
                "data");
    CHECK_FAILS(options.set_image(rgb.data(), 4, 4, 11, cvx::Pixels::rgb8),
                cvx::Code::invalid_argument, "stride_bytes");
    CHECK_FAILS(options.set_image(rgb.data(), 0, 4, 0, cvx::Pixels::rgb8),
                cvx::Code::invalid_argument, "width");
    REQUIRE_OK(options.set_image(rgb.data(), 4, 4, 0, cvx::Pixels::rgb8));
    auto pipeline = support::load();
    CHECK_FAILS(pipeline.generate(options), cvx::Code::invalid_argument, "image: expected none");
    REQUIRE_OK(options.set_image(nullptr));
    CHECK(pipeline.generate(options));
}
