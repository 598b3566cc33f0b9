// What lambdas throw comes out of the call that they serve, as it was; and the throwing layer.
// Without exceptions there is nothing here.
#include "support.hpp"

#if CVX_HPP_EXCEPTIONS

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <thread>

namespace {

// What the host throws: no std::exception, to see that it comes out as it went in.
struct Thrown {
    int number;
};

// The number that a call throws as Thrown; 0 if it throws nothing of the kind.
template <class Call> int thrown_by(Call call) {
    try {
        call();
    } catch (const Thrown &thrown) {
        return thrown.number;
    } catch (...) {
        return -1;
    }
    return 0;
}

template <class Result> void check_thrown(Result result, int number) {
    CHECK(!result);
    CHECK(result.error().code() == cvx::Code::callback_failed);
    CHECK(result.error().cause() != nullptr);
    CHECK(thrown_by([&] { std::move(result).value(); }) == number);
}

} // namespace

TEST(value_answers_or_throws) {
    auto pipeline = cvx::Pipeline::load(support::folder_5b).value();
    const auto video = pipeline.generate(support::small(1)).value();
    CHECK(video.num_frames() == 9);
    try {
        support::small().set_prompt("caf\xe9").value();
        CHECK(false);
    } catch (const cvx::Exception &exception) {
        CHECK(exception.code() == cvx::Code::invalid_utf8);
        CHECK(std::string(exception.what()).find("prompt") != std::string::npos);
    }
    CHECK(thrown_by([] { cvx::Pipeline::load("no/such/folder").value(); }) == -1);
}

TEST(what_callbacks_throw_comes_out_of_generate) {
    auto pipeline = support::load();
    const auto expected = pipeline.generate(support::small(2));
    REQUIRE_OK(expected);
    int calls = 0;

    auto progress = support::small(2);
    REQUIRE_OK(progress.set_progress_callback([&](const cvx::Progress &) {
        ++calls;
        throw Thrown{1};
    }));
    check_thrown(pipeline.generate(progress), 1);
    CHECK(calls == 1); // it stopped at once

    auto frames = support::small(2);
    REQUIRE_OK(frames.set_frames_callback(
        cvx::Pixels::rgb8, [](const cvx::FramesChunk &) -> cvx::Flow { throw Thrown{2}; }));
    check_thrown(pipeline.generate(frames), 2);

    auto log = support::small(2);
    REQUIRE_OK(log.set_num_frames(5)); // which is logged
    REQUIRE_OK(log.set_log_callback([](const cvx::LogMessage &) { throw Thrown{3}; }));
    check_thrown(pipeline.generate(log), 3);

    auto config = cvx::CacheConfig::faster_cache();
    REQUIRE_OK(config.set_current_timestep_callback(
        [](const cvx::Step &) -> double { throw Thrown{4}; }));
    REQUIRE_OK(pipeline.enable_cache(config));
    check_thrown(pipeline.generate(support::small(2)), 4);

    REQUIRE_OK(config.set_current_timestep_callback(nullptr));
    REQUIRE_OK(config.set_attention_weight_callback(
        [](const cvx::LayerStep &) -> double { throw Thrown{5}; }));
    REQUIRE_OK(pipeline.enable_cache(config));
    check_thrown(pipeline.generate(support::small(12)), 5);

    auto frequency = cvx::CacheConfig::faster_cache();
    REQUIRE_OK(frequency.set_low_frequency_weight_callback(
        [](const cvx::Step &) -> double { throw Thrown{6}; }));
    REQUIRE_OK(pipeline.enable_cache(frequency));
    check_thrown(pipeline.generate(support::small(12)), 6);

    // Text is kept, and the next run knows nothing of it.
    auto told = support::small(2);
    REQUIRE_OK(told.set_progress_callback(
        [](const cvx::Progress &) { throw std::runtime_error("out of paper"); }));
    CHECK_FAILS(pipeline.generate(told), cvx::Code::callback_failed, "out of paper");
    REQUIRE_OK(pipeline.disable_cache());
    const auto again = pipeline.generate(support::small(2));
    REQUIRE_OK(again);
    CHECK(support::bytes(*again) == support::bytes(*expected));
}

TEST(what_a_step_or_a_receiver_of_bytes_throws_comes_out_too) {
    auto pipeline = support::load();
    auto options = support::small(2);
    REQUIRE_OK(options.set_step_callback([](const cvx::StepEnd &step) {
        if (step.step == 1) {
            throw Thrown{31};
        }
    }));
    check_thrown(pipeline.generate(options), 31);
    REQUIRE_OK(options.set_step_callback(nullptr));
    const auto video = pipeline.generate(options);
    REQUIRE_OK(video);
    check_thrown(video->encode_to("gif", 8.0, [](const cvx::Written &) { throw Thrown{32}; }), 32);
    REQUIRE_OK(video->encode("gif", 8.0));
}

TEST(what_a_callback_throws_comes_out_of_load_and_decode) {
    cvx::LoadOptions options;
    REQUIRE_OK(options.set_device("cpu"));
    REQUIRE_OK(options.set_progress_callback([](const cvx::Progress &) { throw Thrown{7}; }));
    check_thrown(cvx::Pipeline::load(support::folder_5b, options), 7);

    auto pipeline = support::load();
    auto run = support::small(1);
    REQUIRE_OK(run.set_output(cvx::Output::latents));
    const auto video = pipeline.generate(run);
    REQUIRE_OK(video);
    const auto latents = video->latents();
    REQUIRE_OK(latents);
    cvx::GenerateOptions decode;
    REQUIRE_OK(decode.set_progress_callback([](const cvx::Progress &) { throw Thrown{8}; }));
    check_thrown(pipeline.decode_latents(latents->data, latents->shape, decode), 8);
}

TEST(runs_in_callbacks_keep_their_exceptions_apart) {
    auto outer = support::load();
    auto inner = support::load();
    auto inner_options = support::small(1);
    REQUIRE_OK(inner_options.set_progress_callback([](const cvx::Progress &) { throw Thrown{9}; }));
    auto outer_options = support::small(1);
    int caught = 0;
    REQUIRE_OK(outer_options.set_progress_callback([&](const cvx::Progress &) {
        caught = thrown_by([&] { inner.generate(inner_options).value(); });
    }));
    REQUIRE_OK(outer.generate(outer_options));
    CHECK(caught == 9);
}

TEST(what_a_callback_of_a_job_throws_comes_out_of_take_video) {
    auto pipeline = support::load();
    for (int i = 0; i < 20; ++i) { // the end of a job and its callback are close
        auto options = support::small(1);
        REQUIRE_OK(options.set_progress_callback(
            [i](const cvx::Progress &) { throw Thrown{i + 1}; }));
        auto job = pipeline.submit(options);
        REQUIRE_OK(job);
        REQUIRE_OK(job->wait());
        check_thrown(job->take_video(), i + 1);
        check_thrown(job->take_video(), i + 1);
    }
    auto job = pipeline.submit(support::small(1), [](const cvx::JobStatus &) { throw Thrown{77}; });
    REQUIRE_OK(job);
    REQUIRE_OK(job->wait());
    CHECK(job->take_video());
    for (int i = 0; i < 20000 && job->end_callback_result(); ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    CHECK(thrown_by([&] { job->end_callback_result().value(); }) == 77);
    auto next = pipeline.submit(support::small(1));
    REQUIRE_OK(next);
    REQUIRE_OK(next->wait());
    CHECK(next->take_video());
}

TEST(take_video_waits_for_the_callback_of_the_end) {
    // The moment between a job's end and the callback of it, made long.
    cvx::detail::JobEnd end;
    std::thread worker([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        cvx::detail::pending() = std::make_exception_ptr(Thrown{10});
        end.run_is_over();
    });
    const std::exception_ptr thrown = end.thrown();
    worker.join();
    CHECK(thrown_by([&] {
              if (thrown) {
                  std::rethrow_exception(thrown);
              }
          }) == 10);
}

#endif
