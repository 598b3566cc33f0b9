// LoRA adapters through the wrapper.
#include "support.hpp"

#include <limits>

namespace {

std::string adapter(const char *file, const char *family = "2b") {
    return std::string("tests/goldens/lora/") + family + "/" + file + ".safetensors";
}

std::vector<std::uint8_t> frames(cvx::Pipeline &pipeline, double scale = 1.0) {
    auto options = support::small();
    CHECK(options.set_lora_scale(scale));
    const auto video = pipeline.generate(options);
    return video ? support::bytes(*video) : std::vector<std::uint8_t>();
}

bool fails(const cvx::Result<void> &result, cvx::Code code, const char *word) {
    return !result && result.error().code() == code &&
           std::string(result.error().message()).find(word) != std::string::npos;
}

} // namespace

TEST(adapters_are_loaded_chosen_disabled_fused_and_unloaded) {
    auto pipeline = support::load(support::folder_2b);
    const auto plain = frames(pipeline);
    CHECK(!plain.empty());
    CHECK(pipeline.load_lora(adapter("every")));
    const auto adapted = frames(pipeline);
    CHECK(adapted != plain);
    CHECK(frames(pipeline, 0.0) == plain);
    CHECK(pipeline.load_lora(adapter("attention"), "style"));
    CHECK(pipeline.num_adapters() == 2);
    CHECK(pipeline.adapter_name(0) == "default_0" && pipeline.adapter_name(1) == "style");
    CHECK(pipeline.adapter_name(2).empty());
    CHECK(!(pipeline.adapter_weight(0) > 0.0) && pipeline.adapter_weight(1) > 0.99);
    CHECK(pipeline.set_adapters({"style", "default_0"}, {-0.5, 0.25}));
    CHECK(pipeline.adapter_weight(0) > 0.2 && pipeline.adapter_weight(1) < -0.4);
    const auto both = frames(pipeline);

    auto clone = pipeline.clone();
    CHECK(pipeline.enable_lora(false));
    CHECK(frames(pipeline) == plain);
    CHECK(frames(*clone) == both);
    CHECK(pipeline.enable_lora(true));
    CHECK(pipeline.set_adapters({"default_0"}));
    CHECK(pipeline.fuse_lora());
    CHECK(frames(pipeline) == frames(pipeline, 0.0));
    CHECK(fails(pipeline.fuse_lora(), cvx::Code::invalid_argument, "fused"));
    CHECK(pipeline.unfuse_lora());
    CHECK(frames(pipeline) == adapted);
    CHECK(pipeline.unload_lora());
    CHECK(frames(pipeline) == plain);
    CHECK(pipeline.num_adapters() == 0 && clone->num_adapters() == 2);
}

TEST(mistakes_with_adapters_are_named) {
    using cvx::Code;
    auto pipeline = support::load(support::folder_2b);
    CHECK(fails(pipeline.load_lora("no/such"), Code::not_found, "no/such"));
    CHECK(fails(pipeline.load_lora(adapter("every", "5b")), Code::invalid_checkpoint, "expected"));
    CHECK(fails(pipeline.load_lora(nullptr), Code::null_argument, "path"));
    CHECK(fails(pipeline.load_lora(std::string("a\0b", 3)), Code::invalid_argument, "NUL"));
    CHECK(fails(pipeline.set_adapters({"a"}), Code::invalid_argument, "loaded are none"));
    CHECK(fails(pipeline.set_adapters({}), Code::invalid_argument, "at least one"));
    CHECK(fails(pipeline.set_adapters({"a"}, {1.0, 2.0}), Code::invalid_argument, "weights"));
    CHECK(pipeline.load_lora(adapter("older"), "a"));
    CHECK(fails(pipeline.load_lora(adapter("older"), "a"), Code::invalid_argument, "\"a\""));
    const double nan = std::numeric_limits<double>::quiet_NaN();
    CHECK(fails(pipeline.set_adapters({"a"}, {nan}), Code::invalid_argument, "weights[0]"));
    cvx::GenerateOptions options;
    CHECK(fails(options.set_lora_scale(nan), Code::invalid_argument, "lora_scale"));
}
