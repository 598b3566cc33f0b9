// Embeddings in place of prompts.
#include "support.hpp"

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
