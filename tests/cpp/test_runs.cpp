// Runs: cached with lambdas as callbacks, followed, stopped, and compared with C.
#include "support.hpp"

#include <atomic>
#include <cmath>
#include <limits>
#include <memory>
#include <thread>

namespace {

// What a C host writes for the lambda of the next test.
double c_weight(const cvx_layer_info *info, void *user_data) {
    ++*static_cast<int *>(user_data);
    return 0.25 + 0.0005 * info->timestep;
}

double c_timestep(const cvx_step_info *info, void *) { return info->timestep; }

// The frames of a cached run, made with C functions only.
std::vector<std::uint8_t> c_cached_frames(int &asked) {
    cvx_pipeline *pipeline = nullptr;
    cvx_load_options *load = cvx_load_options_new();
    cvx_generate_options *options = cvx_generate_options_new();
    cvx_cache_config *config = cvx_faster_cache_config_new();
    cvx_video *video = nullptr;
    const std::uint8_t *data = nullptr;
    std::size_t stride = 0;
    cvx_error *errors[] = {
        cvx_load_options_set_device(load, "cpu"),
        cvx_pipeline_load(support::folder_5b, load, &pipeline),
        cvx_generate_options_set_prompt(options, "a red ball"),
        cvx_generate_options_set_size(options, 32, 32),
        cvx_generate_options_set_num_frames(options, 9),
        cvx_generate_options_set_num_inference_steps(options, 12),
        cvx_generate_options_set_max_sequence_length(options, 8),
        cvx_generate_options_set_seed(options, 7),
        cvx_cache_config_set_attention_weight_callback(config, c_weight, &asked, nullptr),
        cvx_cache_config_set_current_timestep_callback(config, c_timestep, nullptr, nullptr),
        cvx_pipeline_enable_cache(pipeline, config),
        cvx_pipeline_generate(pipeline, options, &video),
        cvx_video_frames_rgb8(video, 0, &data, &stride),
    };
    for (cvx_error *error : errors) {
        CHECK(error == nullptr);
        cvx_error_free(error);
    }
    std::vector<std::uint8_t> frames;
    if (data != nullptr) {
        const auto rows =
            static_cast<std::size_t>(cvx_video_num_frames(video) * cvx_video_height(video));
        frames.assign(data, data + rows * stride);
    }
    cvx_video_free(video);
    cvx_cache_config_free(config);
    cvx_generate_options_free(options);
    cvx_load_options_free(load);
    cvx_pipeline_free(pipeline);
    return frames;
}

} // namespace

TEST(cached_frames_with_lambdas_are_those_of_c_byte_for_byte) {
    auto pipeline = support::load();
    auto asked = std::make_unique<int>(0);
    int *count = asked.get();
    int steps = 0;
    std::string layer;
    auto config = cvx::CacheConfig::faster_cache();
    REQUIRE_OK(config.set_attention_weight_callback(
        [asked = std::move(asked), &layer](const cvx::LayerStep &info) {
            ++*asked;
            layer = info.layer_name;
            return 0.25 + 0.0005 * info.timestep;
        }));
    REQUIRE_OK(config.set_current_timestep_callback([&](const cvx::Step &step) {
        steps = step.num_steps;
        return step.timestep;
    }));
    REQUIRE_OK(pipeline.enable_cache(config));
    const auto video = pipeline.generate(support::small(12));
    REQUIRE_OK(video);
    int c_asked = 0;
    const auto expected = c_cached_frames(c_asked);
    CHECK(*count > 0 && *count == c_asked);
    CHECK(steps == 12);
    CHECK(layer.find("transformer_blocks.") == 0);
    const auto frames = support::bytes(*video);
    CHECK(!frames.empty() && frames == expected);

    const auto stats = pipeline.cache_stats();
    REQUIRE_OK(stats);
    CHECK(stats->technique() == "FasterCache");
    CHECK(stats->layer_count(-1, cvx::LayerState::approximated) == *count);
    CHECK(stats->total_steps() == 12 && stats->num_steps() == 12);
    CHECK(stats->unconditional(1) == cvx::Unconditional::ran ||
          stats->unconditional(1) == cvx::Unconditional::rebuilt);
    CHECK(stats->bytes_peak() > 0 && stats->bytes_now() == 0);
    CHECK(stats->host_bytes_peak() == 0 && stats->host_bytes_now() == 0);
    CHECK(stats->text().find("FasterCache") != std::string_view::npos);
    CHECK(stats->json().front() == '{');

    REQUIRE_OK(pipeline.disable_cache());
    const auto uncached = pipeline.generate(support::small(12));
    REQUIRE_OK(uncached);
    CHECK(support::bytes(*uncached) != frames);
}

TEST(previews_and_presets_agree_with_runs) {
    auto pipeline = support::load();
    const auto options = support::small(10);
    auto config = cvx::CacheConfig::create("pab", "videosys");
    REQUIRE_OK(config);
    const auto preview = pipeline.preview_cache(*config, options);
    REQUIRE_OK(preview);
    REQUIRE_OK(pipeline.enable_cache(*config));
    REQUIRE_OK(pipeline.generate(options));
    const auto stats = pipeline.cache_stats();
    REQUIRE_OK(stats);
    const int reused = stats->layer_count(-1, cvx::LayerState::reused);
    CHECK(reused > 0 && reused == preview->layer_count(-1, cvx::LayerState::reused));
    CHECK(stats->num_layers() == pipeline.num_attention_layers());
    CHECK(stats->layer_state(0, 0) == cvx::LayerState::computed);
    CHECK(stats->layer_name(0) == pipeline.attention_layer_name(0));
    CHECK(stats->attention_units() < stats->total_units());
    CHECK(std::abs(stats->rest_units() - stats->total_units()) < 1e-9);
    CHECK(cvx::CacheConfig::pab().preview(2, 50, true)->total_steps() == 50);
    CHECK_FAILS(cvx::CacheConfig::create("pab", "none"), cvx::Code::invalid_argument, "none");
    CHECK_FAILS(config->set_unconditional_batch_skip_range(5), cvx::Code::invalid_argument,
                "unconditional_batch_skip_range");
    REQUIRE_OK(config->set_spatial_attention_block_identifiers({"no_such_layer"}));
    CHECK_FAILS(pipeline.enable_cache(*config), cvx::Code::invalid_argument, "no_such_layer");
}

TEST(a_calibration_estimates_and_schedules_are_tuned) {
    auto pipeline = support::load();
    std::vector<cvx::GenerateOptions> runs;
    runs.push_back(support::small(6));
    runs.push_back(support::small(6));
    REQUIRE_OK(runs[1].set_prompt("waves at night"));
    const auto made = pipeline.calibrate(runs);
    REQUIRE_OK(made);
    const auto calibration = cvx::Calibration::from_json(std::string(made->json()).c_str());
    REQUIRE_OK(calibration);
    const auto pab = cvx::CacheConfig::pab();
    const auto estimate = pipeline.estimate_cache(pab, runs[0], *calibration);
    REQUIRE_OK(estimate);
    CHECK(estimate->estimated_seconds() > 0 && estimate->estimated_psnr() > 0);
    const auto preview = pipeline.preview_cache(pab, runs[0]);
    REQUIRE_OK(preview);
    CHECK(preview->estimated_seconds() == 0 && preview->estimated_psnr() == 0);
    CHECK_FAILS(pipeline.estimate_cache(pab, support::small(7), *calibration),
                cvx::Code::invalid_argument, "steps 7, found 6");
    CHECK_FAILS(cvx::Calibration::from_json("{}"), cvx::Code::invalid_argument, "calibration");
    auto tuned = pipeline.tune_cache(runs, 20.0);
    REQUIRE_OK(tuned);
    const auto json = tuned->to_json();
    REQUIRE_OK(json);
    CHECK(json->find("\"schedule\"") != std::string::npos);
    REQUIRE_OK(pipeline.tune_cache(runs, 20.0, *calibration));
    CHECK_FAILS(pipeline.tune_cache(runs, 20.0, cvx::Calibration()), cvx::Code::null_argument,
                "Calibration");
    CHECK_FAILS(pipeline.calibrate({}), cvx::Code::invalid_argument, "count");
}

TEST(progress_goes_through_the_stages) {
    auto pipeline = support::load();
    auto options = support::small(3);
    std::vector<cvx::Progress> seen;
    REQUIRE_OK(options.set_progress_callback(
        [&](const cvx::Progress &progress) { seen.push_back(progress); }));
    REQUIRE_OK(pipeline.generate(options));
    int denoised = 0;
    bool ordered = true;
    for (std::size_t i = 0; i < seen.size(); ++i) {
        ordered = ordered && (i == 0 || seen[i - 1].stage <= seen[i].stage);
        denoised += seen[i].stage == cvx::Stage::denoise && seen[i].timestep >= 0.0 ? 1 : 0;
    }
    CHECK(ordered);
    CHECK(denoised == 3);
    CHECK(!seen.empty() && seen.front().stage == cvx::Stage::encode &&
          seen.back().stage == cvx::Stage::decode);
    CHECK(!seen.empty() && seen.back().fraction() > 0.999);
}

TEST(a_run_is_cancelled_midway_and_the_pipeline_goes_on) {
    auto pipeline = support::load();
    const auto expected = pipeline.generate(support::small(3));
    REQUIRE_OK(expected);

    auto options = support::small(3);
    int calls = 0;
    REQUIRE_OK(options.set_progress_callback([&](const cvx::Progress &progress) {
        ++calls;
        return progress.stage == cvx::Stage::denoise ? cvx::Flow::stop : cvx::Flow::go_on;
    }));
    CHECK_FAILS(pipeline.generate(options), cvx::Code::cancelled, "");
    const int stopped_after = calls;
    CHECK(stopped_after > 0);

    // From another thread, while the run waits in a callback.
    cvx::CancelToken token;
    std::atomic<bool> denoising{false};
    auto cancelled = support::small(1000);
    REQUIRE_OK(cancelled.set_cancel_token(token));
    REQUIRE_OK(cancelled.set_progress_callback([&](const cvx::Progress &progress) {
        denoising = denoising || progress.stage == cvx::Stage::denoise;
    }));
    std::thread other([&] {
        while (!denoising) {
            std::this_thread::yield();
        }
        token.cancel();
    });
    CHECK_FAILS(pipeline.generate(cancelled), cvx::Code::cancelled, "");
    other.join();
    const auto stats = pipeline.cache_stats();
    REQUIRE_OK(stats);
    CHECK(stats->num_steps() >= 1 && stats->num_steps() < 1000);
    CHECK_FAILS(pipeline.generate(cancelled), cvx::Code::cancelled, "");

    const auto again = pipeline.generate(support::small(3));
    REQUIRE_OK(again);
    CHECK(support::bytes(*again) == support::bytes(*expected));
}

TEST(a_callback_into_its_own_pipeline_is_busy) {
    auto pipeline = support::load();
    auto options = support::small(1);
    cvx::Code code = cvx::Code::ok;
    REQUIRE_OK(options.set_progress_callback([&](const cvx::Progress &) {
        code = pipeline.generate(support::small(1)).error().code();
    }));
    REQUIRE_OK(pipeline.generate(options));
    CHECK(code == cvx::Code::busy);
}

TEST(a_callback_that_answers_nan_fails_the_run) {
    auto pipeline = support::load();
    auto config = cvx::CacheConfig::pab();
    REQUIRE_OK(config.set_current_timestep_callback(
        [](const cvx::Step &) { return std::numeric_limits<double>::quiet_NaN(); }));
    REQUIRE_OK(pipeline.enable_cache(config));
    CHECK_FAILS(pipeline.generate(support::small(2)), cvx::Code::callback_failed, "NaN");
    REQUIRE_OK(pipeline.disable_cache());
    CHECK(pipeline.generate(support::small(2)));
}

TEST(messages_arrive_at_the_log_lambda) {
    auto pipeline = support::load();
    auto options = support::small(1);
    std::string messages;
    REQUIRE_OK(options.set_num_frames(5)); // becomes 8, and the log says so
    REQUIRE_OK(options.set_log_callback([&](const cvx::LogMessage &message) {
        if (message.level >= cvx::LogLevel::info) {
            messages += message.message;
        }
    }));
    const auto video = pipeline.generate(options);
    REQUIRE_OK(video);
    CHECK(video->num_frames() == 8);
    CHECK(!messages.empty());
}

TEST(latents_go_in_and_out) {
    auto pipeline = support::load();
    auto options = support::small(2);
    REQUIRE_OK(options.set_output(cvx::Output::latents));
    const auto run = pipeline.generate(options);
    REQUIRE_OK(run);
    CHECK(run->num_frames() == 0);
    CHECK_FAILS(run->frames_rgb8(), cvx::Code::invalid_argument, "");
    const auto latents = run->latents();
    REQUIRE_OK(latents);
    CHECK(latents->shape == pipeline.latent_shape(1, 32, 32, 9)->sides);

    const auto frames = pipeline.generate(support::small(2));
    REQUIRE_OK(frames);
    const auto decoded = pipeline.decode_latents(latents->data, latents->shape);
    REQUIRE_OK(decoded);
    CHECK(support::bytes(*decoded) == support::bytes(*frames));

    auto from = support::small(2);
    REQUIRE_OK(from.set_latents(latents->data, latents->shape));
    const auto continued = pipeline.generate(from);
    REQUIRE_OK(continued);
    CHECK(support::bytes(*continued) != support::bytes(*frames));
    REQUIRE_OK(from.set_latents(nullptr));
    const auto fresh = pipeline.generate(from);
    REQUIRE_OK(fresh);
    CHECK(support::bytes(*fresh) == support::bytes(*frames));

    const auto fewer = latents->data.subspan(0, latents->data.size() - 1);
    CHECK_FAILS(from.set_latents(fewer, latents->shape), cvx::Code::invalid_argument, "numbers");
    CHECK_FAILS(pipeline.decode_latents(fewer, latents->shape), cvx::Code::invalid_argument,
                "numbers");
    CHECK_FAILS(from.set_latents(latents->data, {1, 2}), cvx::Code::invalid_argument, "");
    CHECK_FAILS(from.set_latents(latents->data, {1, 1, 1, 1, -1}), cvx::Code::invalid_argument,
                "shape[4]");
    CHECK_FAILS(from.set_timesteps({5, 6}), cvx::Code::invalid_argument, "timesteps[1]");
    REQUIRE_OK(from.set_timesteps({900, 400}));
    REQUIRE_OK(pipeline.generate(from));
    CHECK(pipeline.cache_stats()->timestep(1) == 400);
}
