// Embeddings in place of prompts; files in memory; the step callback.
#include "support.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>

TEST(embeddings_stand_for_prompts) {
    auto pipeline = support::load();
    auto options = support::small(1);
    REQUIRE_OK(options.set_negative_prompt("blurry"));
    const auto expected = pipeline.generate(options);
    REQUIRE_OK(expected);
    const auto positive = pipeline.encode_prompt("a red ball", 8);
    const auto negative = pipeline.encode_prompt("blurry", 8);
    REQUIRE_OK(positive);
    REQUIRE_OK(negative);
    const auto dim = static_cast<std::size_t>(pipeline.text_embed_dim());
    REQUIRE_OK(options.set_prompt_embeddings(*positive, dim));
    REQUIRE_OK(options.set_negative_prompt_embeddings(*negative, dim));
    CHECK_FAILS(pipeline.generate(options), cvx::Code::invalid_argument, "prompt: expected none");
    REQUIRE_OK(options.set_prompt(""));
    REQUIRE_OK(options.set_negative_prompt(nullptr));
    const auto video = pipeline.generate(options);
    REQUIRE_OK(video);
    CHECK(support::bytes(*video) == support::bytes(*expected));
    CHECK_FAILS(options.set_prompt_embeddings(*positive, dim + 1), cvx::Code::invalid_argument,
                "expected tokens of");
    CHECK_FAILS(options.set_prompt_embeddings({}, dim), cvx::Code::invalid_argument,
                "found 0 numbers");
    REQUIRE_OK(options.set_prompt_embeddings(nullptr));
    REQUIRE_OK(options.set_negative_prompt_embeddings(nullptr));
    const auto plain = pipeline.generate(options);
    REQUIRE_OK(plain);
    CHECK(support::bytes(*plain) != support::bytes(*expected));
}

TEST(videos_are_encoded_in_memory) {
    auto pipeline = support::load();
    const auto video = pipeline.generate(support::small(1));
    REQUIRE_OK(video);
    const std::string path = support::temporary("steps.gif");
    REQUIRE_OK(video->save(path, 8.0));
    std::ifstream file(path, std::ios::binary);
    const std::vector<std::uint8_t> expected{std::istreambuf_iterator<char>(file), {}};
    CHECK(expected.size() > 100);
    const auto buffer = video->encode("gif", 8.0);
    REQUIRE_OK(buffer);
    CHECK(support::copy(buffer->bytes()) == expected);
    std::vector<std::uint8_t> received;
    REQUIRE_OK(video->encode_to("gif", 8.0, [&](const cvx::Written &written) {
        CHECK(written.offset == received.size());
        received.insert(received.end(), written.bytes.begin(), written.bytes.end());
    }));
    CHECK(received == expected);
    CHECK_FAILS(video->encode_to("mp4", 8.0, [](const cvx::Written &) { return cvx::Flow::stop; }),
                cvx::Code::cancelled, "write callback");
    CHECK_FAILS(video->encode("webm", 8.0), cvx::Code::invalid_argument, "webm");
    const cvx::Buffer none;
    CHECK(none.bytes().empty());
    std::remove(path.c_str());
}

namespace {

std::vector<float> latents(cvx::Pipeline &pipeline, const cvx::GenerateOptions &options) {
    const auto video = pipeline.generate(options);
    CHECK(video);
    const auto found = video->latents();
    CHECK(found);
    return support::copy<float>(found->data);
}

} // namespace

TEST(steps_show_and_change_latents_and_guidance) {
    auto pipeline = support::load();
    auto options = support::small(3);
    const auto plain = latents(pipeline, options);
    std::vector<float> last;
    int steps = 0;
    const auto after_step_1 = [&](const cvx::StepEnd &step) {
        CHECK(step.step == steps++ && step.num_steps == 3 && step.guidance_scale == 6.0);
        const auto found = step.latents();
        REQUIRE_OK(found);
        last = support::copy<float>(found->data);
        const auto preview = step.preview_rgb8();
        REQUIRE_OK(preview);
        CHECK(preview->size() == 3 && preview->width() == 4 && preview->height() == 4);
    };
    REQUIRE_OK(options.set_step_callback(after_step_1));
    CHECK(latents(pipeline, options) == plain && last == plain && steps == 3);

    const auto after_step_2 = [&](const cvx::StepEnd &step) {
        const auto found = step.latents();
        REQUIRE_OK(found);
        auto changed = support::copy<float>(found->data);
        changed[0] += 1.0F;
        REQUIRE_OK(step.set_latents(changed, found->shape));
        REQUIRE_OK(step.set_guidance_scale(2.0));
        CHECK_FAILS(step.set_latents({changed.data(), 1}, found->shape),
                    cvx::Code::invalid_argument, "the shape asks for");
        CHECK_FAILS(step.set_guidance_scale(1e9), cvx::Code::invalid_argument, "guidance_scale");
    };
    REQUIRE_OK(options.set_step_callback(after_step_2));
    CHECK(latents(pipeline, options) != plain);
    REQUIRE_OK(options.set_step_callback([](const cvx::StepEnd &) { return cvx::Flow::stop; }));
    CHECK_FAILS(pipeline.generate(options), cvx::Code::cancelled, "step callback");
    REQUIRE_OK(options.set_step_callback(nullptr));
    CHECK(latents(pipeline, options) == plain);
    CHECK_FAILS(cvx::StepEnd().latents(), cvx::Code::null_argument, "step");
}

TEST(runs_are_saved_and_resumed) {
    auto pipeline = support::load();
    auto options = support::small(4);
    const std::string path = support::temporary("steps.state");
    const auto after_step_3 = [&](const cvx::StepEnd &step) {
        if (step.step == 1) {
            REQUIRE_OK(step.save(path));
        }
    };
    REQUIRE_OK(options.set_step_callback(after_step_3));
    const auto unbroken = latents(pipeline, options);
    int first = -1;
    const auto after_step_4 = [&](const cvx::StepEnd &step) {
        first = first < 0 ? step.step : first;
    };
    REQUIRE_OK(options.set_step_callback(after_step_4));
    REQUIRE_OK(options.set_resume(path));
    CHECK(latents(pipeline, options) == unbroken && first == 2);
    REQUIRE_OK(options.set_seed(8));
    CHECK_FAILS(pipeline.generate(options), cvx::Code::invalid_argument, "seed");
    REQUIRE_OK(options.set_resume(nullptr));
    CHECK(latents(pipeline, options) != unbroken);
    std::remove(path.c_str());
}

TEST(pictures_are_written) {
    const std::string path = support::temporary("steps.png");
    std::vector<std::uint8_t> rgb(5 * 4 * 3);
    for (std::size_t i = 0; i < rgb.size(); ++i) {
        rgb[i] = static_cast<std::uint8_t>(i * 4);
    }
    REQUIRE_OK(cvx::Image::save_png(path, cvx::Frame<const std::uint8_t>(rgb.data(), 5, 4, 3, 15)));
    const auto read = cvx::Image::load(path);
    REQUIRE_OK(read);
    const auto pixels = read->pixels();
    REQUIRE_OK(pixels);
    CHECK(std::equal(rgb.begin(), rgb.end(), pixels->data()));
    std::remove(path.c_str());
    CHECK_FAILS(cvx::Image::save_png("a.jpg", *pixels), cvx::Code::invalid_argument, ".png");
}
