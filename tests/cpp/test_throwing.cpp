// Callbacks of the C interface that throw, although they must not: the run ends with
// CALLBACK_FAILED, and what it was said to. Every function that takes a callback is here, as
// tests/header.rs sees to. Without exceptions there is nothing here.
#include "support.hpp"

#if CVX_HPP_EXCEPTIONS

#include <cstring>
#include <stdexcept>

namespace {

// Each throws its own words, so that a test sees which one was called.
#define THROWS(callback, answer, info, words)                                                      \
    answer callback(const info *, void *) { throw std::runtime_error(words); }

THROWS(throw_from_progress, std::int32_t, cvx_progress_info, "progress is too much")
THROWS(throw_from_step, std::int32_t, cvx_step_end_info, "a step too far")
THROWS(throw_from_device_frames, std::int32_t, cvx_device_frames_info, "no such device")
THROWS(throw_from_write, std::int32_t, cvx_write_info, "no more room")
THROWS(throw_from_timestep, double, cvx_step_info, "no timestep")
THROWS(throw_from_frequency, double, cvx_step_info, "out of tune")
THROWS(throw_from_attention, double, cvx_layer_info, "not attentive")
THROWS(throw_from_exchange, std::int32_t, cvx_exchange_info, "the line is dead")

// What is no std::exception has no words.
std::int32_t throw_from_frames(const cvx_frames_info *, void *) { throw 7; }

// Those that nobody can be told of say that they were called.
void throw_from_log(const cvx_log_info *, void *called) {
    *static_cast<bool *>(called) = true;
    throw std::runtime_error("log");
}

void throw_from_end(const cvx_job_status *, void *called) {
    *static_cast<bool *>(called) = true;
    throw std::runtime_error("end");
}

void throw_from_abort(const cvx_abort_info *, void *called) {
    *static_cast<bool *>(called) = true;
    throw std::runtime_error("abort");
}

void throw_from_free(void *) { throw std::runtime_error("free"); }

// Another rank that says and does what this one does.
std::int32_t mirror(const cvx_exchange_info *info, void *) {
    for (std::int32_t i = 0; i < info->num_ranks; ++i) {
        const auto size = info->receive_bytes[i];
        if (size != 0 && size == info->send_bytes[i]) {
            std::memcpy(info->receive[i], info->send[i], size);
        }
    }
    return 0;
}

void check_failed(cvx_error *error, const char *words) {
    CHECK(cvx_error_code(error) == CVX_ERROR_CALLBACK_FAILED);
    const char *message = error == nullptr ? "" : cvx_error_message(error);
    check::that(std::strstr(message, words) != nullptr, "the message has its words", words, 0,
                message);
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

    cvx_error *run() { return cvx_pipeline_generate(pipeline, options, &video); }

    // A run with a callback of the config.
    template <class Set> void check_cache(cvx_cache_config *config, Set set, const char *words) {
        CHECK(set(config) == nullptr);
        CHECK(cvx_pipeline_enable_cache(pipeline, config) == nullptr);
        cvx_cache_config_free(config);
        check_failed(run(), words);
        CHECK(cvx_pipeline_disable_cache(pipeline) == nullptr);
    }
};

} // namespace

TEST(a_c_callback_that_throws_ends_the_run) {
    Handles host;
    cvx_generate_options *options = host.options;
    CHECK(cvx_generate_options_set_progress_callback(options, throw_from_progress, nullptr,
                                                     nullptr) == nullptr);
    check_failed(host.run(), "progress is too much");
    CHECK(cvx_generate_options_set_progress_callback(options, nullptr, nullptr, nullptr) ==
          nullptr);

    CHECK(cvx_generate_options_set_frames_callback(options, CVX_PIXELS_RGB8, throw_from_frames,
                                                   nullptr, nullptr) == nullptr);
    check_failed(host.run(), "frames callback");
    CHECK(cvx_generate_options_set_frames_callback(options, CVX_PIXELS_RGB8, nullptr, nullptr,
                                                   nullptr) == nullptr);

    CHECK(cvx_generate_options_set_device_frames_callback(
              options, CVX_PIXELS_RGB8, throw_from_device_frames, nullptr, nullptr) == nullptr);
    check_failed(host.run(), "no such device");
    CHECK(cvx_generate_options_set_device_frames_callback(options, CVX_PIXELS_RGB8, nullptr,
                                                          nullptr, nullptr) == nullptr);

    CHECK(cvx_generate_options_set_step_callback(options, throw_from_step, nullptr, nullptr) ==
          nullptr);
    check_failed(host.run(), "a step too far");
    CHECK(cvx_generate_options_set_step_callback(options, nullptr, nullptr, nullptr) == nullptr);

    // The pipeline is as usable as before.
    CHECK(host.run() == nullptr);
    check_failed(cvx_video_encode(host.video, 0, "gif", 8.0, throw_from_write, nullptr, nullptr),
                 "no more room");
    check_failed(cvx_video_encode(host.video, 0, "mp4", 8.0, throw_from_write, nullptr, nullptr),
                 "no more room");
}

TEST(a_callback_of_a_cache_that_throws_ends_the_run) {
    Handles host;
    CHECK(cvx_generate_options_set_num_inference_steps(host.options, 12) == nullptr);
    host.check_cache(
        cvx_pab_config_new(),
        [](cvx_cache_config *config) {
            return cvx_cache_config_set_current_timestep_callback(config, throw_from_timestep,
                                                                  nullptr, nullptr);
        },
        "no timestep");
    host.check_cache(
        cvx_faster_cache_config_new(),
        [](cvx_cache_config *config) {
            return cvx_cache_config_set_attention_weight_callback(config, throw_from_attention,
                                                                  nullptr, nullptr);
        },
        "not attentive");
    host.check_cache(
        cvx_faster_cache_config_new(),
        [](cvx_cache_config *config) {
            return cvx_cache_config_set_low_frequency_weight_callback(
                config, throw_from_frequency, nullptr, nullptr);
        },
        "out of tune");
    host.check_cache(
        cvx_faster_cache_config_new(),
        [](cvx_cache_config *config) {
            return cvx_cache_config_set_high_frequency_weight_callback(
                config, throw_from_frequency, nullptr, nullptr);
        },
        "out of tune");
    CHECK(host.run() == nullptr);
}

TEST(a_callback_of_a_load_that_throws_ends_it) {
    cvx_load_options *options = cvx_load_options_new();
    CHECK(cvx_load_options_set_progress_callback(options, throw_from_progress, nullptr, nullptr) ==
          nullptr);
    cvx_pipeline *pipeline = nullptr;
    check_failed(cvx_pipeline_load("tests/pipelines/2b", options, &pipeline),
                 "progress is too much");
    CHECK(pipeline == nullptr);
    CHECK(cvx_load_options_set_progress_callback(options, nullptr, nullptr, nullptr) == nullptr);

    // A log has nobody to be told.
    bool logged = false;
    CHECK(cvx_load_options_set_log_callback(options, throw_from_log, &logged, throw_from_free) ==
          nullptr);
    CHECK(cvx_pipeline_load("tests/pipelines/2b", options, &pipeline) == nullptr);
    CHECK(logged);
    cvx_pipeline_free(pipeline);
    cvx_load_options_free(options);
}

TEST(a_function_of_a_communicator_that_throws_ends_the_run) {
    using Set = cvx_error *(*)(cvx_communicator *, cvx_exchange_callback, void *,
                               cvx_free_callback);
    const Set setters[] = {nullptr, cvx_communicator_set_all_gather,
                           cvx_communicator_set_broadcast, cvx_communicator_set_barrier};
    for (const Set set : setters) {
        // All but one work; the first time it is the one that none can do without.
        cvx_communicator *end = nullptr;
        CHECK(cvx_communicator_new(0, 2, set == nullptr ? throw_from_exchange : mirror, nullptr,
                                   nullptr, &end) == nullptr);
        if (set != nullptr) {
            CHECK(set(end, throw_from_exchange, nullptr, throw_from_free) == nullptr);
        }
        bool aborted = false;
        CHECK(cvx_communicator_set_abort(end, throw_from_abort, &aborted, throw_from_free) ==
              nullptr);
        cvx_load_options *options = cvx_load_options_new();
        CHECK(cvx_load_options_set_communicator(options, end) == nullptr);
        Handles host;
        cvx_pipeline *shared = nullptr;
        cvx_error *failed = cvx_pipeline_load("tests/pipelines/2b", options, &shared);
        if (failed == nullptr) {
            failed = cvx_pipeline_generate(shared, host.options, &host.video);
        }
        check_failed(failed, "the line is dead");
        CHECK(aborted);
        cvx_pipeline_free(shared);
        cvx_load_options_free(options);
        cvx_communicator_free(end);
        // Alone it is as well as before.
        CHECK(host.run() == nullptr);
    }
}

TEST(what_nobody_can_be_told_of_is_dropped) {
    Handles host;
    bool ended = false;
    bool logged = false;
    // The prompt has more tokens than are kept, which is logged.
    CHECK(cvx_generate_options_set_prompt(host.options, "a red ball and a blue one") == nullptr);
    CHECK(cvx_generate_options_set_log_callback(host.options, throw_from_log, &logged,
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
    CHECK(logged);
}

#endif
