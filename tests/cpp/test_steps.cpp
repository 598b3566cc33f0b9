// Embeddings in place of prompts; files in memory.
#include "support.hpp"

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
    CHECK(cvx::Buffer().bytes().empty());
    std::remove(path.c_str());
}
