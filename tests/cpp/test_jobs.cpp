// Jobs: polled, waited for, queued, cancelled, freed at any time.
#include "support.hpp"

#include <atomic>
#include <chrono>
#include <cmath>
#include <memory>
#include <mutex>
#include <thread>

using namespace std::chrono_literals;

namespace {

// Options of a run that goes on until the gate is opened, or it is cancelled.
struct Gate {
    std::atomic<bool> reached{false};
    std::atomic<bool> open{false};
};

cvx::GenerateOptions gated(const std::shared_ptr<Gate> &gate) {
    auto options = support::small(3);
    CHECK(options.set_progress_callback([gate](const cvx::Progress &progress) {
        if (progress.stage == cvx::Stage::denoise) {
            gate->reached = true;
            while (!gate->open) {
                std::this_thread::sleep_for(1ms);
            }
        }
    }));
    return options;
}

void wait_until_reached(const Gate &gate) {
    while (!gate.reached) {
        std::this_thread::sleep_for(1ms);
    }
}

} // namespace

TEST(a_job_is_polled_and_makes_the_same_video) {
    auto pipeline = support::load();
    const auto expected = pipeline.generate(support::small(3));
    REQUIRE_OK(expected);
    auto gate = std::make_shared<Gate>();
    auto job = pipeline.submit(gated(gate)); // the options are gone right after
    REQUIRE_OK(job);
    wait_until_reached(*gate);
    const cvx::JobStatus running = job->poll();
    CHECK(running.state == cvx::JobState::running && running.stage == cvx::Stage::denoise);
    CHECK(running.done == 1 && running.total == 3 && running.timestep >= 0.0);
    CHECK(running.fraction > 0.0 && running.fraction < 1.0 && running.seconds > 0.0);
    CHECK(job->wait_for(0s).error().code() == cvx::Code::ok);
    CHECK(*job->wait_for(-5s) == cvx::JobState::running);
    CHECK(*job->wait_for(5ms) == cvx::JobState::running);
    CHECK_FAILS(job->take_video(), cvx::Code::busy, "");
    CHECK_FAILS(pipeline.generate(support::small(1)), cvx::Code::busy, "");
    gate->open = true;
    const auto state = job->wait();
    REQUIRE_OK(state);
    CHECK(*state == cvx::JobState::succeeded && cvx::has_ended(*state));
    const cvx::JobStatus ended = job->poll();
    CHECK(ended.state == cvx::JobState::succeeded && std::abs(ended.fraction - 1.0) < 1e-12);
    CHECK(std::abs(ended.seconds - job->poll().seconds) < 1e-12);
    const auto video = job->take_video();
    REQUIRE_OK(video);
    CHECK(support::bytes(*video) == support::bytes(*expected));
    CHECK_FAILS(job->take_video(), cvx::Code::invalid_argument, "taken");
}

TEST(jobs_of_one_pipeline_run_in_order) {
    auto pipeline = support::load();
    auto gate = std::make_shared<Gate>();
    auto order = std::make_shared<std::vector<int>>();
    std::vector<cvx::Job> jobs;
    for (int i = 0; i < 3; ++i) {
        auto options = i == 0 ? gated(gate) : support::small(1);
        auto job = pipeline.submit(options, [order, i](const cvx::JobStatus &status) {
            if (status.state == cvx::JobState::succeeded) {
                order->push_back(i); // on the one worker
            }
        });
        REQUIRE_OK(job);
        jobs.push_back(*std::move(job));
    }
    wait_until_reached(*gate);
    CHECK(jobs[0].state() == cvx::JobState::running);
    CHECK(jobs[1].state() == cvx::JobState::queued && jobs[1].poll().jobs_ahead == 1);
    CHECK(jobs[2].state() == cvx::JobState::queued && jobs[2].poll().jobs_ahead == 2);
    gate->open = true;
    REQUIRE_OK(jobs[2].wait());
    for (cvx::Job &job : jobs) {
        CHECK(job.take_video());
    }
    // The callback of the last one may still be under way.
    for (int i = 0; i < 20000 && order.use_count() > 1; ++i) {
        std::this_thread::sleep_for(1ms);
    }
    CHECK((*order == std::vector<int>{0, 1, 2}));
}

TEST(jobs_are_cancelled_queued_and_running) {
    auto pipeline = support::load();
    auto gate = std::make_shared<Gate>();
    auto ends = std::make_shared<std::atomic<int>>(0);
    const auto count = [ends](const cvx::JobStatus &status) {
        *ends += status.state == cvx::JobState::cancelled ? 1 : 0;
    };
    auto running = pipeline.submit(gated(gate), count);
    REQUIRE_OK(running);
    auto queued = pipeline.submit(support::small(1), count);
    REQUIRE_OK(queued);
    auto last = pipeline.submit(support::small(1));
    REQUIRE_OK(last);
    wait_until_reached(*gate);
    queued->cancel();
    CHECK(queued->state() == cvx::JobState::cancelled);
    CHECK_FAILS(queued->take_video(), cvx::Code::cancelled, "");
    CHECK(running->state() == cvx::JobState::running);
    running->cancel();
    gate->open = true;
    CHECK(*running->wait() == cvx::JobState::cancelled);
    CHECK_FAILS(running->take_video(), cvx::Code::cancelled, "");
    CHECK_FAILS(running->take_video(), cvx::Code::cancelled, "");
    CHECK(*last->wait() == cvx::JobState::succeeded);
    CHECK(*ends == 2);
}

TEST(a_job_needs_neither_its_pipeline_nor_its_handle) {
    auto gate = std::make_shared<Gate>();
    auto ended = std::make_shared<std::atomic<int>>(0);
    auto pipeline = support::load();
    auto kept = pipeline.submit(gated(gate));
    REQUIRE_OK(kept);
    wait_until_reached(*gate);
    {
        auto dropped = pipeline.submit(support::small(1), [ended](const cvx::JobStatus &status) {
            *ended = static_cast<int>(status.state);
        });
        REQUIRE_OK(dropped);
    } // cancelled, since it has not ended
    pipeline.reset();
    gate->open = true;
    CHECK(*kept->wait() == cvx::JobState::succeeded);
    CHECK(kept->take_video());
    for (int i = 0; i < 20000 && ended.use_count() > 1; ++i) {
        std::this_thread::sleep_for(1ms);
    }
    CHECK(*ended == static_cast<int>(cvx::JobState::cancelled));
}

TEST(the_end_of_a_job_hands_over_the_video) {
    auto pipeline = support::load();
    struct Shared {
        std::mutex mutex;
        cvx::Job job;
        cvx::Video video;
        std::atomic<bool> done{false};
        cvx::Code waited = cvx::Code::ok;
    };
    auto shared = std::make_shared<Shared>();
    {
        const std::lock_guard<std::mutex> lock(shared->mutex);
        auto job = pipeline.submit(support::small(1), [shared](const cvx::JobStatus &) {
            const std::lock_guard<std::mutex> held(shared->mutex);
            auto video = shared->job.take_video();
            if (video) {
                shared->video = *std::move(video);
            }
            shared->done = true;
        });
        REQUIRE_OK(job);
        shared->job = *std::move(job);
    }
    for (int i = 0; i < 20000 && !shared->done; ++i) {
        std::this_thread::sleep_for(1ms);
    }
    CHECK(shared->done && shared->video.num_frames() == 9);

    // In a callback of its own worker a job cannot be waited for.
    auto waiting = support::small(1);
    auto itself = std::make_shared<cvx::Job>();
    auto code = std::make_shared<std::atomic<cvx::Code>>(cvx::Code::ok);
    auto ready = std::make_shared<std::atomic<bool>>(false);
    REQUIRE_OK(waiting.set_progress_callback([itself, code, ready](const cvx::Progress &) {
        while (!*ready) {
            std::this_thread::sleep_for(1ms);
        }
        *code = itself->wait().error().code();
    }));
    auto job = pipeline.submit(waiting);
    REQUIRE_OK(job);
    *itself = *std::move(job);
    *ready = true;
    CHECK(*itself->wait() == cvx::JobState::succeeded);
    CHECK(*code == cvx::Code::busy);
}

TEST(what_cannot_run_is_refused_when_it_is_submitted) {
    auto pipeline = support::load();
    auto options = support::small(1);
    REQUIRE_OK(options.set_size(16384, 8));
    auto alive = std::make_shared<int>(0);
    CHECK_FAILS(pipeline.submit(options, [alive](const cvx::JobStatus &) {}),
                cvx::Code::invalid_argument, "");
    CHECK(alive.use_count() == 1);
}

TEST(frames_of_a_job_arrive_on_the_worker) {
    auto pipeline = support::load();
    auto options = support::small(1);
    auto frames = std::make_shared<std::vector<std::uint8_t>>();
    std::atomic<bool> elsewhere{true};
    const auto here = std::this_thread::get_id();
    REQUIRE_OK(options.set_frames_callback(
        cvx::Pixels::rgb8, [frames, here, &elsewhere](const cvx::FramesChunk &chunk) {
            elsewhere = elsewhere && std::this_thread::get_id() != here;
            const auto all = chunk.bytes().packed();
            frames->insert(frames->end(), all.begin(), all.end());
        }));
    auto job = pipeline.submit(options);
    REQUIRE_OK(job);
    CHECK(*job->wait() == cvx::JobState::succeeded);
    const auto video = job->take_video();
    REQUIRE_OK(video);
    CHECK(elsewhere);
    CHECK(*frames == support::bytes(*video));
}
