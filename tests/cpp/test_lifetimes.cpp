// Captures live as long as they are used and no longer; objects that were moved from answer
// errors; nothing grows.
#include "support.hpp"

#include <algorithm>
#include <memory>
#include <thread>

namespace {

// Counts how many of it there are; it can only be moved.
class Counted {
public:
    explicit Counted(int &alive) : alive_(&alive) { ++*alive_; }
    Counted(Counted &&other) noexcept : alive_(other.alive_) { ++*alive_; }
    Counted &operator=(Counted &&) = delete;
    ~Counted() { --*alive_; }

private:
    int *alive_;
};

} // namespace

TEST(captures_are_destroyed_once_when_the_last_use_is_over) {
    auto pipeline = support::load();
    int alive = 0;
    {
        auto options = support::small(1);
        REQUIRE_OK(options.set_progress_callback(
            [counted = Counted(alive)](const cvx::Progress &) {}));
        CHECK(alive == 1);
        REQUIRE_OK(options.set_progress_callback(
            [counted = Counted(alive)](const cvx::Progress &) {}));
        CHECK(alive == 1); // the first one was replaced
        REQUIRE_OK(pipeline.generate(options));
        CHECK(alive == 1);
        REQUIRE_OK(options.set_progress_callback(nullptr));
        CHECK(alive == 0);
        REQUIRE_OK(options.set_frames_callback(
            cvx::Pixels::rgb8, [counted = Counted(alive)](const cvx::FramesChunk &) {}));
        REQUIRE_OK(options.set_log_callback(
            [counted = Counted(alive)](const cvx::LogMessage &) {}));
        CHECK(alive == 2);
        cvx::GenerateOptions moved = std::move(options);
        CHECK(alive == 2);
    }
    CHECK(alive == 0);

    // Setters that fail destroy what they were given.
    auto pab = cvx::CacheConfig::pab();
    CHECK_FAILS(pab.set_attention_weight_callback(
                    [counted = Counted(alive)](const cvx::LayerStep &) { return 0.5; }),
                cvx::Code::invalid_argument, "attention_weight_callback");
    CHECK(alive == 0);
    cvx::GenerateOptions empty = support::small();
    empty.reset();
    CHECK_FAILS(empty.set_frames_callback(
                    cvx::Pixels::rgb8, [counted = Counted(alive)](const cvx::FramesChunk &) {}),
                cvx::Code::null_argument, "GenerateOptions is empty");
    auto options = support::small();
    CHECK_FAILS(options.set_frames_callback(
                    static_cast<cvx::Pixels>(0),
                    [counted = Counted(alive)](const cvx::FramesChunk &) {}),
                cvx::Code::invalid_argument, "pixels");
    CHECK(alive == 0);

    // A pipeline keeps its cache's callbacks.
    {
        auto config = cvx::CacheConfig::faster_cache();
        REQUIRE_OK(config.set_current_timestep_callback(
            [counted = Counted(alive)](const cvx::Step &step) { return step.timestep; }));
        REQUIRE_OK(pipeline.enable_cache(config));
    }
    CHECK(alive == 1);
    REQUIRE_OK(pipeline.generate(support::small(2)));
    REQUIRE_OK(pipeline.disable_cache());
    CHECK(alive == 0);
}

TEST(function_pointers_and_shared_callables_are_callbacks_too) {
    auto pipeline = support::load();
    static int calls = 0;
    calls = 0;
    struct Local {
        static void count(const cvx::Progress &) { ++calls; }
    };
    auto options = support::small(1);
    REQUIRE_OK(pipeline.generate(options)); // what the prompt is encoded to is kept
    REQUIRE_OK(options.set_progress_callback(Local::count));
    REQUIRE_OK(pipeline.generate(options));
    const int first = calls;
    CHECK(first > 0);
    const auto lambda = [](const cvx::Progress &progress) { Local::count(progress); };
    REQUIRE_OK(options.set_progress_callback(lambda)); // copied
    REQUIRE_OK(pipeline.generate(options));
    CHECK(calls == 2 * first);
}

TEST(objects_that_were_moved_from_answer_errors) {
    auto pipeline = support::load();
    cvx::Pipeline taken = std::move(pipeline);
    CHECK(!pipeline && taken); // NOLINT: what is left is the matter here
    CHECK_FAILS(pipeline.generate(support::small()), cvx::Code::null_argument,
                "Pipeline is empty");
    CHECK_FAILS(pipeline.submit(support::small()), cvx::Code::null_argument, "Pipeline is empty");
    CHECK(pipeline.family().empty() && pipeline.default_width() == 0);
    auto options = support::small();
    const auto moved = std::move(options);
    CHECK_FAILS(taken.generate(options), cvx::Code::null_argument, "GenerateOptions is empty");
    CHECK_FAILS(taken.submit(options), cvx::Code::null_argument, "GenerateOptions is empty");
    CHECK_FAILS(options.set_seed(1), cvx::Code::null_argument, "GenerateOptions is empty");
    cvx::LoadOptions load;
    load.reset();
    CHECK_FAILS(cvx::Pipeline::load(support::folder_5b, load), cvx::Code::null_argument,
                "LoadOptions is empty");
    CHECK_FAILS(taken.enable_cache(cvx::CacheConfig()), cvx::Code::null_argument,
                "CacheConfig is empty");
    CHECK_FAILS(taken.preview_cache(cvx::CacheConfig::pab(), options), cvx::Code::null_argument,
                "GenerateOptions is empty");
    auto video = taken.generate(moved);
    REQUIRE_OK(video);
    video->reset();
    CHECK_FAILS(video->frames_rgb8(), cvx::Code::null_argument, "Video is empty");
    CHECK(video->width() == 0);

    // A failed result holds an empty object; using it is an error and no crash.
    auto nothing = cvx::Pipeline::load("no/such/folder");
    CHECK_FAILS(nothing->generate(moved), cvx::Code::null_argument, "Pipeline is empty");
    auto &same = taken;
    taken = std::move(same);
    CHECK(taken.generate(moved));
    taken = support::load(); // the old one is freed
    CHECK(taken.generate(moved));
}

TEST(fifty_loads_and_frees_do_not_grow) {
    const auto cycle = [] {
        auto pipeline = support::load(support::folder_2b);
        auto config = cvx::CacheConfig::pab();
        CHECK(config.set_current_timestep_callback(
            [](const cvx::Step &step) { return step.timestep; }));
        CHECK(pipeline.enable_cache(config));
        auto options = support::small(1);
        CHECK(options.set_progress_callback([](const cvx::Progress &) {}));
        CHECK(pipeline.generate(options));
        auto job = pipeline.submit(options, [](const cvx::JobStatus &) {});
        CHECK(job && job->wait());
        CHECK(job->take_video());
        return static_cast<long>(pipeline.weight_bytes());
    };
#if defined(__SANITIZE_ADDRESS__)
    // The sanitizer keeps freed memory for a while, and looks for leaks itself at the end.
    for (int i = 0; i < 5; ++i) {
        CHECK(cycle() > 0);
    }
#else
    const auto most_of = [&](int cycles) {
        long most = 0;
        for (int i = 0; i < cycles; ++i) {
            cycle();
            most = std::max(most, support::resident_bytes());
        }
        return most;
    };
    const long weights = cycle();
    const auto mib = [](long bytes) { return static_cast<double>(bytes) / 1048576.0; };
    long before = most_of(20); // allocators and libtorch reach their size
    // What allocators keep is settled by the second time; what leaks grows each time. A leaked
    // pipeline per cycle would be 50 times its weights.
    long growth = 0;
    for (int round = 0; round < 3; ++round) {
        const long after = most_of(50);
        growth = after - before;
        before = after;
        std::printf("     resident: %.1f MiB, %+.2f MiB by 50 cycles; weights %.2f MiB\n",
                    mib(after), mib(growth), mib(weights));
        if (growth < 1048576) {
            break;
        }
    }
    CHECK(growth < 1048576);
#endif
}
