// Loading, what a pipeline tells of itself, and how errors of C arrive.
#include "support.hpp"

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sys/stat.h>
#include <thread>

TEST(loading_tells_progress_and_answers_a_pipeline) {
    std::uint64_t last = 0;
    std::uint64_t total = 0;
    bool rises = true;
    cvx::LoadOptions options;
    REQUIRE_OK(options.set_device("cpu"));
    REQUIRE_OK(options.set_progress_callback([&](const cvx::Progress &progress) {
        rises = rises && progress.done >= last && progress.stage == cvx::Stage::load;
        last = progress.done;
        total = progress.total;
    }));
    auto pipeline = cvx::Pipeline::load(support::folder_5b, options);
    REQUIRE_OK(pipeline);
    CHECK(rises);
    CHECK(last > 0 && last == total);
    CHECK(pipeline->device() == "cpu");
    CHECK(pipeline->dtype() == "f32");
    CHECK(pipeline->weight_bytes() > 0);
}

TEST(weights_that_stream_make_the_same_video) {
    const auto frames = [](cvx::Pipeline pipeline) {
        auto video = pipeline.generate(support::small());
        CHECK(video.has_value());
        return video ? support::bytes(*video) : std::vector<std::uint8_t>();
    };
    auto whole = support::load();
    const auto bytes = whole.weight_bytes();
    const auto expected = frames(std::move(whole));
    for (const char *mode : {"file", "host"}) {
        cvx::LoadOptions options;
        REQUIRE_OK(options.set_weight_streaming("text_encoder", mode));
        REQUIRE_OK(options.set_weight_streaming("transformer", mode));
        CHECK_FAILS(options.set_weight_streaming("vae", mode), cvx::Code::invalid_argument, "vae");
        auto pipeline = cvx::Pipeline::load(support::folder_5b, options);
        REQUIRE_OK(pipeline);
        CHECK(std::string(mode) == "host" || pipeline->weight_bytes() < bytes);
        CHECK(frames(std::move(*pipeline)) == expected);
    }
}

TEST(kernels_of_cuda_devices_change_nothing_on_the_cpu) {
    cvx::LoadOptions options;
    REQUIRE_OK(options.set_device("cpu"));
    CHECK_FAILS(options.set_cuda_kernels("triton"), cvx::Code::invalid_argument, "triton");
    REQUIRE_OK(options.set_cuda_kernels("libtorch"));
    REQUIRE_OK(options.set_cuda_kernels("fused"));
    auto pipeline = cvx::Pipeline::load(support::folder_5b, options);
    REQUIRE_OK(pipeline);
    auto video = pipeline->generate(support::small());
    REQUIRE_OK(video);
    CHECK(std::string(video->kernels()).find("fused") == std::string::npos);
}

TEST(a_plan_says_what_fits_and_loads_follow_it) {
    cvx::LoadOptions load;
    REQUIRE_OK(load.set_device("cpu"));
    REQUIRE_OK(load.set_offload(true));
    REQUIRE_OK(load.set_offload(false));
    REQUIRE_OK(load.set_memory_budget(std::uint64_t{1} << 40));
    const auto run = support::small();
    auto plan = cvx::Plan::make(support::folder_5b, std::uint64_t{1} << 40, load, run);
    REQUIRE_OK(plan);
    CHECK(plan->text().find("yes, the fastest") != std::string_view::npos);
    CHECK(plan->json().find("\"best\":0") != std::string_view::npos);
    CHECK(plan->apply(load).has_value());
    CHECK(cvx::Pipeline::load(support::folder_5b, load).has_value());
    auto cached = cvx::Plan::make(support::folder_5b, 1, load, run, cvx::CacheConfig::pab());
    REQUIRE_OK(cached);
    CHECK_FAILS(cached->apply(load), cvx::Code::out_of_memory, "memory budget of 1 bytes");
    CHECK_FAILS(cvx::Plan::make("nowhere", 0), cvx::Code::not_found, "nowhere");
}

TEST(what_a_pipeline_tells_is_what_c_tells) {
    const auto pipeline = support::load();
    const cvx_pipeline *c = pipeline.get();
    CHECK(pipeline.family() == cvx_pipeline_family(c));
    CHECK(pipeline.default_width() == cvx_pipeline_default_width(c));
    CHECK(pipeline.default_height() == cvx_pipeline_default_height(c));
    CHECK(pipeline.default_num_frames() == cvx_pipeline_default_num_frames(c));
    CHECK(std::abs(pipeline.default_fps() - 8.0) < 1e-9);
    CHECK(std::abs(pipeline.default_guidance_scale() - 6.0) < 1e-9);
    CHECK(pipeline.default_num_inference_steps() == 50);
    CHECK(pipeline.default_max_sequence_length() == cvx_pipeline_default_max_sequence_length(c));
    CHECK(pipeline.text_embed_dim() == cvx_pipeline_text_embed_dim(c));
    CHECK(pipeline.num_attention_layers() == cvx_pipeline_num_attention_layers(c));
    CHECK(pipeline.attention_layer_name(0) == "transformer_blocks.0.attn1");
    CHECK(pipeline.attention_layer_name(-1).empty());
    const auto shape = pipeline.latent_shape(1, 32, 32, 9);
    REQUIRE_OK(shape);
    CHECK(shape->sides[1] == 3 && shape->sides[3] == 4 && shape->padding_frames == 0);
    CHECK_FAILS(pipeline.latent_shape(1, 33, 32, 9), cvx::Code::invalid_argument, "33");
}

TEST(memory_in_use_is_told_and_so_is_what_the_library_can_do) {
    auto pipeline = cvx::Pipeline::load(support::folder_2b);
    REQUIRE_OK(pipeline);
    const auto before = pipeline->memory();
    REQUIRE_OK(before);
    CHECK(before->weight_bytes == pipeline->weight_bytes() && !before->working);
    CHECK(before->process_bytes > before->weight_bytes && before->device_bytes == 0);
    cvx::GenerateOptions options = support::small();
    bool worked = false;
    REQUIRE_OK(options.set_progress_callback([&](const cvx::Progress &) {
        const auto now = pipeline->memory();
        worked = worked || (now && now->working);
        return cvx::Flow::go_on;
    }));
    REQUIRE_OK(pipeline->generate(options));
    const auto after = pipeline->memory();
    REQUIRE_OK(after);
    CHECK(worked && !after->working && after->prompt_bytes > before->prompt_bytes);

    CHECK(cvx::has_capability("save.mp4") && cvx::has_capability("cache.pab"));
    CHECK(!cvx::has_capability("save.webm"));
    CHECK(cvx::capabilities().find("quantization.int8") != std::string_view::npos);
}

TEST(memory_is_estimated_and_what_cannot_fit_is_refused_unless_it_is_wanted) {
    cvx::LoadOptions load;
    CHECK_FAILS(load.set_num_threads(cvx::limits::max_threads + 1), cvx::Code::invalid_argument,
                "num_threads");
    REQUIRE_OK(load.set_num_threads(1));
    auto pipeline = cvx::Pipeline::load(support::folder_5b, load);
    REQUIRE_OK(pipeline);
    const auto usual = pipeline->estimate_memory();
    REQUIRE_OK(usual);
    cvx::GenerateOptions options;
    REQUIRE_OK(options.set_size(cvx::limits::max_side, cvx::limits::max_side));
    REQUIRE_OK(options.set_num_frames(cvx::limits::max_frames));
    const auto large = pipeline->estimate_memory(options);
    REQUIRE_OK(large);
    CHECK(*large > *usual);
    CHECK_FAILS(pipeline->generate(options), cvx::Code::out_of_memory, std::to_string(*large));
    REQUIRE_OK(options.set_memory_check(false));
    REQUIRE_OK(options.set_progress_callback([](const cvx::Progress &) { return cvx::Flow::stop; }));
    CHECK_FAILS(pipeline->generate(options), cvx::Code::cancelled, "progress");
}

TEST(tokens_and_embeddings_have_their_sizes) {
    auto pipeline = support::load();
    const auto ids = pipeline.tokenize("a red ball", 8);
    REQUIRE_OK(ids);
    std::int64_t expected[8] = {};
    cvx_error *error = cvx_pipeline_tokenize(pipeline.get(), "a red ball", expected, 8);
    CHECK(error == nullptr);
    CHECK(*ids == std::vector<std::int64_t>(expected, expected + 8));
    const auto embeddings = pipeline.encode_prompt("a red ball", 8);
    REQUIRE_OK(embeddings);
    CHECK(embeddings->size() == 8 * static_cast<std::size_t>(pipeline.text_embed_dim()));
    bool all_zero = true;
    for (const float number : *embeddings) {
        all_zero = all_zero && number == 0.0F;
    }
    CHECK(!all_zero);
    cvx::GenerateOptions stopped;
    cvx::CancelToken token;
    REQUIRE_OK(stopped.set_cancel_token(token));
    CHECK(*pipeline.encode_prompt("a red ball", 8, stopped) == *embeddings);
    token.cancel();
    CHECK_FAILS(pipeline.encode_prompt("another ball", 8, stopped), cvx::Code::cancelled, "token");
    CHECK_FAILS(pipeline.tokenize("a", 0), cvx::Code::invalid_argument, "found 0");
    CHECK_FAILS(pipeline.encode_prompt("a", 8193), cvx::Code::invalid_argument, "[1, 8192], found 8193");
    cvx::GenerateOptions bounds;
    REQUIRE_OK(bounds.set_size(cvx::limits::max_side, cvx::limits::max_side));
    REQUIRE_OK(bounds.set_num_frames(cvx::limits::max_frames));
    REQUIRE_OK(bounds.set_num_videos(cvx::limits::max_videos));
    REQUIRE_OK(bounds.set_max_sequence_length(cvx::limits::max_sequence_length));
    CHECK_FAILS(bounds.set_num_frames(cvx::limits::max_frames + 1), cvx::Code::invalid_argument,
                "found 4097");
}

TEST(a_clone_shares_weights_and_outlives_its_origin) {
    auto pipeline = support::load();
    auto clone = pipeline.clone();
    REQUIRE_OK(clone);
    const auto expected = pipeline.generate(support::small());
    REQUIRE_OK(expected);
    pipeline.reset();
    const auto video = clone->generate(support::small());
    REQUIRE_OK(video);
    CHECK(support::bytes(*video) == support::bytes(*expected));
}

TEST(quantized_weights_take_less) {
    auto whole = cvx::Pipeline::load(support::folder_5b);
    REQUIRE_OK(whole);
    cvx::LoadOptions options;
    REQUIRE_OK(options.set_component_quantization("transformer", "int4"));
    REQUIRE_OK(options.set_component_quantization("text_encoder", "int8"));
    auto quantized = cvx::Pipeline::load(support::folder_5b, options);
    REQUIRE_OK(quantized);
    CHECK(quantized->weight_bytes() < whole->weight_bytes());
    const std::string saved = support::temporary("saved");
    REQUIRE(std::system(("rm -rf '" + saved + "'").c_str()) == 0);
    REQUIRE_OK(quantized->save(saved));
    auto again = cvx::Pipeline::load(saved);
    REQUIRE_OK(again);
    CHECK(again->weight_bytes() == quantized->weight_bytes());
    CHECK_FAILS(quantized->save(saved), cvx::Code::invalid_argument, "saved");
    CHECK(std::system(("rm -r '" + saved + "'").c_str()) == 0);
    CHECK_FAILS(options.set_component_quantization("vae", "int8"), cvx::Code::invalid_argument,
                "vae");
    CHECK_FAILS(options.set_component_quantization("transformer", "nf4"),
                cvx::Code::invalid_argument, "nf4");
}

TEST(products_in_bfloat16_are_made_where_the_processor_has_them) {
    cvx::LoadOptions options;
    CHECK_FAILS(options.set_cpu_matmul_precision("bf16"), cvx::Code::invalid_argument, "bfloat16");
    REQUIRE_OK(options.set_cpu_matmul_precision("bfloat16"));
    auto pipeline = cvx::Pipeline::load(support::folder_5b, options);
    if (pipeline) {
        REQUIRE_OK(pipeline->generate(support::small()));
    } else {
        CHECK_FAILS(pipeline, cvx::Code::invalid_argument, "AVX512_BF16");
    }
}

TEST(a_load_can_be_cancelled) {
    cvx::CancelToken token;
    token.cancel();
    cvx::LoadOptions options;
    REQUIRE_OK(options.set_device("cpu"));
    REQUIRE_OK(options.set_cancel_token(token));
    CHECK_FAILS(cvx::Pipeline::load(support::folder_5b, options), cvx::Code::cancelled, "");
    REQUIRE_OK(options.set_cancel_token(nullptr));
    REQUIRE_OK(options.set_progress_callback(
        [](const cvx::Progress &) { return cvx::Flow::stop; }));
    CHECK_FAILS(cvx::Pipeline::load(support::folder_5b, options), cvx::Code::cancelled, "");
    REQUIRE_OK(options.set_progress_callback(nullptr));
    CHECK(cvx::Pipeline::load(support::folder_5b, options));
}

// Writes a folder with one file and answers the load's result.
static cvx::Result<cvx::Pipeline> load_broken(const char *name, const char *model_index) {
    const std::string folder = support::temporary(name);
    mkdir(folder.c_str(), 0700);
    const std::string file = folder + "/model_index.json";
    std::ofstream(file) << model_index;
    auto result = cvx::Pipeline::load(folder);
    std::remove(file.c_str());
    std::remove(folder.c_str());
    return result;
}

TEST(each_kind_of_error_keeps_its_code_and_message) {
    cvx::LoadOptions options;
    cvx::GenerateOptions run = support::small();
    CHECK_FAILS(run.set_prompt(nullptr), cvx::Code::null_argument, "prompt");
    CHECK_FAILS(options.set_device("gpu"), cvx::Code::invalid_argument, "gpu");
    CHECK_FAILS(run.set_prompt("caf\xe9"), cvx::Code::invalid_utf8, "prompt");
    CHECK_FAILS(cvx::Pipeline::load("no/such/folder"), cvx::Code::not_found, "no/such/folder");
    cvx::LoadOptions previews;
    REQUIRE_OK(previews.set_preview_decoder("no/such/decoder"));
    CHECK_FAILS(cvx::Pipeline::load("tests/pipelines/2b", previews), cvx::Code::not_found,
                "no/such/decoder");
    CHECK_FAILS(load_broken("json", "{"), cvx::Code::invalid_checkpoint, "model_index.json");
    CHECK_FAILS(load_broken("class", "{\"_class_name\": \"StableDiffusionPipeline\"}"),
                cvx::Code::unsupported_model, "StableDiffusionPipeline");
    REQUIRE_OK(options.set_device("cuda:63"));
    CHECK_FAILS(cvx::Pipeline::load(support::folder_5b, options), cvx::Code::device_unavailable,
                "cuda");
    CHECK(cvx::name(cvx::Code::device_unavailable) == "DEVICE_UNAVAILABLE");
    CHECK(cvx::name(cvx::Code::device_lost) == "DEVICE_LOST");
    CHECK(cvx::name(static_cast<cvx::Code>(9999)) == "UNKNOWN");
    CHECK(cvx::check_abi());
}

TEST(devices_are_listed_and_their_memory_given_back) {
    const auto devices = cvx::devices();
    REQUIRE_OK(devices);
    const cvx::DeviceInfo &cpu = devices->front();
    CHECK(cpu.device == "cpu" && cpu.usable && cpu.unusable_reason.empty() && cpu.uuid.empty());
    CHECK(cpu.memory_free > 0 && cpu.memory_free <= cpu.memory_total);
    CHECK(cpu.compute_capability_major == 0 && cpu.compute_capability_minor == 0);
    for (const cvx::DeviceInfo &device : *devices) {
        CHECK(device.usable == device.unusable_reason.empty());
    }
    CHECK(cvx::trim_device("cpu"));
    CHECK(cvx::trim_device("cuda"));
    CHECK_FAILS(cvx::trim_device("gpu"), cvx::Code::invalid_argument, "gpu");
    CHECK_FAILS(cvx::trim_device(nullptr), cvx::Code::null_argument, "device");
}

TEST(texts_with_a_nul_inside_are_refused_and_views_are_copied) {
    cvx::GenerateOptions run = support::small();
    using namespace std::string_literals;
    CHECK_FAILS(run.set_prompt("a\0b"s), cvx::Code::invalid_argument, "prompt");
    CHECK(run.set_prompt(std::string_view("a ball!").substr(0, 6)));
    CHECK_FAILS(cvx::Pipeline::load("a\0b"s), cvx::Code::invalid_argument, "folder");
}
