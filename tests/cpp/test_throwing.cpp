// Callbacks of the C interface that throw, although they must not: the run ends with
// CALLBACK_FAILED, and what it was said to. Without exceptions there is nothing here.
#include "support.hpp"

#if CVX_HPP_EXCEPTIONS

#include <cstring>
#include <stdexcept>

namespace {

std::int32_t throw_from_progress(const cvx_progress_info *, void *) {
    throw std::runtime_error("progress is too much");
}

std::int32_t throw_from_frames(const cvx_frames_info *, void *) { throw 7; }

std::int32_t throw_from_step(const cvx_step_end_info *, void *) {
    throw std::runtime_error("a step too far");
}

std::int32_t throw_from_write(const cvx_write_info *, void *) {
    throw std::runtime_error("no more room");
}

void throw_from_log(const cvx_log_info *, void *) { throw std::runtime_error("log"); }

double throw_from_timestep(const cvx_step_info *, void *) {
    throw std::runtime_error("no timestep");
}

void throw_from_end(const cvx_job_status *, void *user_data) {
    *static_cast<bool *>(user_data) = true;
    throw std::runtime_error("end");
}

void throw_from_free(void *) { throw std::runtime_error("free"); }

void check_failed(cvx_error *error, const char *words) {
    CHECK(cvx_error_code(error) == CVX_ERROR_CALLBACK_FAILED);
    CHECK(std::strstr(cvx_error_message(error), words) != nullptr);
    cvx_error_free(error);
}

struct Handles {
    cvx_pipeline *pipeline = nullptr;
    cvx_generate_options *options = cvx_generate_options_new();
    cvx_video *video = nullptr;

    Handles() {
        CHECK(cvx_pipeline_load("tests/pipelines/2b", nullptr, &pipeline) == nullptr);
        CHECK(cvx_generate_options_set_size(options, 32, 32) == nullptr);
        CHECK(cvx_generate_options_set_num_frames(options, 9) == nullptr);
        CHECK(cvx_generate_options_set_num_inference_steps(options, 2) == nullptr);
        CHECK(cvx_generate_options_set_max_sequence_length(options, 2) == nullptr);
    }
    Handles(const Handles &) = delete;
    Handles &operator=(const Handles &) = delete;
    ~Handles() {
        cvx_video_free(video);
        cvx_generate_options_free(options);
        cvx_pipeline_free(pipeline);
    }
};

} // namespace

TEST(a_c_callback_that_throws_ends_the_run) {
    Handles host;
    CHECK(cvx_generate_options_set_progress_callback(host.options, throw_from_progress, nullptr,
                                                     nullptr) == nullptr);
    check_failed(cvx_pipeline_generate(host.pipeline, host.options, &host.video),
                 "progress is too much");
    CHECK(cvx_generate_options_set_progress_callback(host.options, nullptr, nullptr, nullptr) ==
          nullptr);

    CHECK(cvx_generate_options_set_frames_callback(host.options, CVX_PIXELS_RGB8,
                                                   throw_from_frames, nullptr,
                                                   nullptr) == nullptr);
    check_failed(cvx_pipeline_generate(host.pipeline, host.options, &host.video),
                 "frames callback");
    CHECK(cvx_generate_options_set_frames_callback(host.options, CVX_PIXELS_RGB8, nullptr, nullptr,
                                                   nullptr) == nullptr);

    CHECK(cvx_generate_options_set_step_callback(host.options, throw_from_step, nullptr,
                                                 nullptr) == nullptr);
    check_failed(cvx_pipeline_generate(host.pipeline, host.options, &host.video),
                 "a step too far");
    CHECK(cvx_generate_options_set_step_callback(host.options, nullptr, nullptr, nullptr) ==
          nullptr);

    cvx_cache_config *config = cvx_pab_config_new();
    CHECK(cvx_cache_config_set_current_timestep_callback(config, throw_from_timestep, nullptr,
                                                         nullptr) == nullptr);
    CHECK(cvx_pipeline_enable_cache(host.pipeline, config) == nullptr);
    cvx_cache_config_free(config);
    check_failed(cvx_pipeline_generate(host.pipeline, host.options, &host.video), "no timestep");
    CHECK(cvx_pipeline_disable_cache(host.pipeline) == nullptr);

    // The pipeline is as usable as before.
    CHECK(cvx_pipeline_generate(host.pipeline, host.options, &host.video) == nullptr);
    check_failed(cvx_video_encode(host.video, 0, "gif", 8.0, throw_from_write, nullptr, nullptr),
                 "no more room");
}

TEST(what_nobody_can_be_told_of_is_dropped) {
    Handles host;
    bool ended = false;
    // The prompt has more tokens than are kept, which is logged.
    CHECK(cvx_generate_options_set_prompt(host.options, "a red ball and a blue one") == nullptr);
    CHECK(cvx_generate_options_set_log_callback(host.options, throw_from_log, nullptr,
                                                throw_from_free) == nullptr);
    cvx_job *job = nullptr;
    CHECK(cvx_pipeline_submit(host.pipeline, host.options, throw_from_end, &ended, throw_from_free,
                              &job) == nullptr);
    CHECK(cvx_job_wait(job, -1.0, nullptr) == nullptr);
    CHECK(cvx_job_take_video(job, &host.video) == nullptr);
    cvx_job_free(job);
    // The next job begins when the callback of the last one has returned.
    CHECK(cvx_pipeline_submit(host.pipeline, host.options, nullptr, nullptr, nullptr, &job) ==
          nullptr);
    CHECK(cvx_job_wait(job, -1.0, nullptr) == nullptr);
    cvx_job_free(job);
    CHECK(ended);
}

#endif
