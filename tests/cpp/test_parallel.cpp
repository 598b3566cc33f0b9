// Devices and processes that share a run.
#include "support.hpp"

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

std::vector<float> latents(cvx::Pipeline &pipeline) {
    const auto video = pipeline.generate(support::small());
    CHECK(video.has_value());
    return support::copy<float>(video->latents()->data);
}

bool near(const std::vector<float> &found, const std::vector<float> &expected) {
    bool same = !found.empty() && found.size() == expected.size();
    for (std::size_t i = 0; same && i < found.size(); ++i) {
        same = std::abs(found[i] - expected[i]) <= 1e-5F;
    }
    return same;
}

// What two ranks send to each other.
struct Wire {
    std::mutex lock;
    std::condition_variable changed;
    std::deque<std::vector<unsigned char>> mail[2];
    bool gone = false;

    cvx::Flow exchange(std::int32_t rank, const cvx::Exchange &x) {
        const auto other = 1 - rank - x.first_rank();
        if (other < 0 || other >= x.num_ranks()) {
            return cvx::Flow::go_on;
        }
        std::unique_lock<std::mutex> held(lock);
        if (!x.send(other).empty()) {
            mail[1 - rank].push_back(support::copy<unsigned char>(
                {x.send(other).data(), x.send(other).size()}));
            changed.notify_all();
        }
        if (!x.receive(other).empty()) {
            changed.wait(held, [&] { return gone || !mail[rank].empty(); });
            if (mail[rank].empty()) {
                return cvx::Flow::stop;
            }
            std::copy(mail[rank].front().begin(), mail[rank].front().end(),
                      x.receive(other).begin());
            mail[rank].pop_front();
        }
        return cvx::Flow::go_on;
    }
};

} // namespace

TEST(devices_share_a_run) {
    auto alone = support::load();
    const auto expected = latents(alone);
    for (const auto &[guidance, sequence] : {std::pair(2, 1), std::pair(1, 2)}) {
        cvx::LoadOptions options;
        REQUIRE_OK(options.set_devices("cpu,cpu"));
        REQUIRE_OK(options.set_parallel(guidance, sequence));
        auto pipeline = cvx::Pipeline::load(support::folder_5b, options);
        REQUIRE_OK(pipeline);
        CHECK(near(latents(*pipeline), expected));
        const auto stats = pipeline->cache_stats();
        REQUIRE_OK(stats);
        CHECK(stats->num_ranks() == 2 && stats->guidance_degree() == guidance);
        CHECK(stats->sequence_degree() == sequence);
        CHECK(stats->bytes_exchanged() > 0 && stats->messages_exchanged() > 0);
    }
    cvx::LoadOptions three;
    REQUIRE_OK(three.set_devices("cpu,cpu,cpu"));
    CHECK_FAILS(cvx::Pipeline::load(support::folder_5b, three), cvx::Code::invalid_argument,
                "nothing fits 3");
    CHECK_FAILS(three.set_devices("cpu,tpu"), cvx::Code::invalid_argument, "devices[1]");
    CHECK_FAILS(three.set_parallel(3, 0), cvx::Code::invalid_argument, "guidance");
}

TEST(processes_share_a_run_and_one_that_fails_ends_both) {
    auto alone = support::load();
    const auto expected = latents(alone);
    for (const bool fails : {false, true}) {
        Wire wire;
        cvx::Communicator ends[2];
        for (std::int32_t rank = 0; rank < 2; ++rank) {
            auto made = cvx::Communicator::create(
                rank, 2, [&wire, rank, fails, calls = 0](const cvx::Exchange &x) mutable {
                    return fails && rank == 1 && ++calls == 4 ? cvx::Flow::stop
                                                              : wire.exchange(rank, x);
                });
            REQUIRE_OK(made);
            ends[rank] = *std::move(made);
            CHECK(ends[rank].rank() == rank && ends[rank].num_ranks() == 2);
        }
        for (std::int32_t rank = 0; rank < 2; ++rank) {
            REQUIRE_OK(ends[rank].set_abort([&wire, &ends, rank](const cvx::Abort &abort) {
                CHECK(ends[1 - rank].abort(abort.code, abort.message.data()));
                const std::lock_guard<std::mutex> held(wire.lock);
                wire.gone = true;
                wire.changed.notify_all();
            }));
        }
        std::vector<float> found[2];
        cvx::Code codes[2] = {};
        std::thread threads[2];
        for (std::int32_t rank = 0; rank < 2; ++rank) {
            threads[rank] = std::thread([&, rank] {
                cvx::LoadOptions options;
                CHECK(options.set_device("cpu"));
                CHECK(options.set_communicator(ends[rank]));
                auto pipeline = cvx::Pipeline::load(support::folder_5b, options);
                CHECK(pipeline.has_value());
                const auto video = pipeline->generate(support::small());
                if (video) {
                    found[rank] = support::copy<float>(video->latents()->data);
                } else {
                    codes[rank] = video.error().code();
                }
            });
        }
        for (auto &thread : threads) {
            thread.join();
        }
        for (std::int32_t rank = 0; rank < 2; ++rank) {
            CHECK(fails ? codes[rank] == cvx::Code::callback_failed
                        : near(found[rank], expected));
            REQUIRE_OK(ends[rank].reset_after_failure());
            CHECK_FAILS(ends[rank].set_barrier([](const cvx::Exchange &) {}),
                        cvx::Code::invalid_argument, "load options");
        }
    }
}

TEST(communicators_are_checked) {
    const auto nothing = [](const cvx::Exchange &) {};
    CHECK_FAILS(cvx::Communicator::create(2, 2, nothing), cvx::Code::invalid_argument, "rank");
    CHECK_FAILS(cvx::Communicator::create(0, 1, nothing), cvx::Code::invalid_argument, "num_ranks");
    auto end = cvx::Communicator::create(0, 2, nothing);
    REQUIRE_OK(end);
    REQUIRE_OK(end->set_all_gather(nothing));
    REQUIRE_OK(end->set_broadcast(nothing));
    unsigned char id[cvx::Communicator::nccl_unique_id_bytes] = {};
    if (const auto made = cvx::Communicator::nccl_unique_id(id); !made) {
        CHECK(made.error().code() == cvx::Code::device_unavailable);
    }
    CHECK_FAILS(cvx::Communicator::create_nccl(0, 2, id, "cpu"), cvx::Code::invalid_argument,
                "cpu");
    cvx::LoadOptions options;
    CHECK_FAILS(options.set_communicator(cvx::Communicator()), cvx::Code::null_argument, "empty");
    REQUIRE_OK(options.set_communicator(nullptr));
}
