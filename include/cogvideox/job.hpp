/// Runs that go on by themselves. Part of cogvideox.hpp.
#ifndef COGVIDEOX_JOB_HPP
#define COGVIDEOX_JOB_HPP

#include "handle.hpp"
#include "video.hpp"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

namespace cvx {
inline namespace CVX_HPP_MODE {

/// Everything about a job, from one moment.
struct JobStatus {
    /// Where it is.
    JobState state = JobState::none;
    /// The stage it is in or was in last.
    Stage stage = Stage::none;
    /// Jobs of the same pipeline that will run or are running before it; 0 once it runs.
    std::int32_t jobs_ahead = 0;
    /// Units of the stage that are finished, see Stage.
    std::uint64_t done = 0;
    /// Units of the stage in all.
    std::uint64_t total = 0;
    /// The training timestep of the last denoising step; -1 outside denoising.
    double timestep = -1.0;
    /// Of the whole job, from 0 to 1; it never falls, and is 1 only when the job succeeded.
    double fraction = 0.0;
    /// Seconds since it began to run; 0 before. It stands still once the job has ended.
    double seconds = 0.0;

    /// No job.
    JobStatus() = default;
    /// What C tells.
    explicit JobStatus(const cvx_job_status &status) noexcept
        : state(static_cast<JobState>(status.state)), stage(static_cast<Stage>(status.stage)),
          jobs_ahead(status.jobs_ahead), done(status.done), total(status.total),
          timestep(status.timestep), fraction(status.fraction), seconds(status.seconds) {}
};

namespace detail {

/// What a Job knows of callbacks that ran on the worker. Shared by the Job and the C callback
/// of its end, either of which may go first.
class JobEnd {
public:
#if CVX_HPP_EXCEPTIONS
    /// On the worker, when the run is over: keeps what a callback threw in it.
    void run_is_over() {
        const std::lock_guard<std::mutex> lock(mutex_);
        thrown_ = std::exchange(pending(), nullptr);
        over_ = true;
        changed_.notify_all();
    }

    /// What a callback threw in the run. The state of a job is final a moment before the
    /// callback of its end is called, so this waits for that moment to pass; it gives up where
    /// that cannot be, which is on the worker itself.
    std::exception_ptr thrown() {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait_for(lock, std::chrono::seconds(10), [this] { return over_; });
        return thrown_;
    }

    /// On the worker: keeps what the callback of the end threw.
    void callback_is_over() {
        const std::lock_guard<std::mutex> lock(mutex_);
        thrown_by_callback_ = std::exchange(pending(), nullptr);
    }

    /// What the callback of the end threw.
    std::exception_ptr thrown_by_callback() {
        const std::lock_guard<std::mutex> lock(mutex_);
        return thrown_by_callback_;
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool over_ = false;
    std::exception_ptr thrown_;
    std::exception_ptr thrown_by_callback_;
#else
    void run_is_over() noexcept {}
    void callback_is_over() noexcept {}
#endif
};

/// The user_data of the C callback of a job's end.
template <class Function> struct JobCallback {
    std::shared_ptr<JobEnd> end;
    Function function;
};

template <class Function>
void on_job_end(const cvx_job_status *status, void *user_data) noexcept {
    auto &callback = *static_cast<JobCallback<Function> *>(user_data);
    callback.end->run_is_over();
    guarded(0, [&] {
        callback.function(JobStatus(*status));
        return 0;
    });
    callback.end->callback_is_over();
}

} // namespace detail

/// A run that was submitted to a pipeline and goes on by itself, on the pipeline's worker. Made
/// by Pipeline::submit. Nothing here blocks but wait and wait_for.
///
/// Freeing it (its destructor) does not block either: a job that has not ended is cancelled, and
/// its callbacks may be called until they are destroyed. So callbacks should own what they use,
/// through a std::shared_ptr, or the job be waited for.
///
/// When the process ends, jobs and runs under way are cancelled and waited for, 10 seconds at
/// most; no callback is called from then on.
///
/// Threads: everything but taking the video and destroying it may be done from several at once.
class Job : public Handle<Job, cvx_job, cvx_job_free> {
public:
    /// The class's name in errors.
    static constexpr const char *class_name = "Job";

    /// An empty object; Pipeline::submit makes others.
    Job() noexcept : Handle(nullptr) {}

    /// Where it is now; JobState::none for an empty object. Threads: any.
    JobState state() const noexcept {
        return static_cast<JobState>(cvx_job_poll(get(), nullptr));
    }

    /// Everything about it now. Threads: any.
    JobStatus poll() const noexcept {
        cvx_job_status status{};
        status.struct_size = static_cast<std::uint32_t>(sizeof status);
        status.state = cvx_job_poll(get(), &status);
        return get() != nullptr ? JobStatus(status) : JobStatus();
    }

    /// Waits until it has ended. Errors: busy on the job's own worker (in a callback).
    Result<JobState> wait() const { return wait_seconds(-1.0); }

    /// Waits until it has ended or the time is over, and returns where it is then; queued or
    /// running say that the time was over. A negative time is none. Errors: as wait.
    Result<JobState> wait_for(std::chrono::duration<double> time) const {
        return wait_seconds(time.count() < 0.0 ? 0.0 : time.count());
    }

    /// The video of a job that succeeded, once; a second time is Code::invalid_argument, and
    /// before the end it is Code::busy. A job that failed or was cancelled returns its run's
    /// error, as often as asked; if a callback threw, value() throws that on.
    Result<Video> take_video() {
        cvx_video *taken = nullptr;
        auto done = call(cvx_job_take_video, &taken);
        auto video = Video::adopt(taken);
#if CVX_HPP_EXCEPTIONS
        // A job that never ran has called no callback of its run.
        if (end_ && done.error().code() != Code::busy && poll().seconds > 0.0) {
            if (auto thrown = end_->thrown()) {
                return Error(std::move(thrown));
            }
        }
#endif
        if (!done) {
            return done.error();
        }
        return video;
    }

#if CVX_HPP_EXCEPTIONS
    /// A success unless the callback of the job's end, which was given to Pipeline::submit, has
    /// thrown; then value() throws that on.
    Result<void> end_callback_result() const {
        if (end_) {
            if (auto thrown = end_->thrown_by_callback()) {
                return Error(std::move(thrown));
            }
        }
        return {};
    }
#endif

    /// Asks it to stop: a queued job ends at once, a running one as a cancelled run does. Nothing
    /// for an empty object and one that has ended. Threads: any.
    void cancel() const noexcept { cvx_job_cancel(get()); }

private:
    friend Handle;
    friend class Pipeline;
    explicit Job(Empty) noexcept : Handle(nullptr) {}

    Result<JobState> wait_seconds(double seconds) const {
        std::int32_t state = CVX_JOB_NONE;
        if (auto done = call(cvx_job_wait, seconds, &state); !done) {
            return done.error();
        }
        return static_cast<JobState>(state);
    }

    std::shared_ptr<detail::JobEnd> end_;
};

} // namespace CVX_HPP_MODE
} // namespace cvx

#endif // COGVIDEOX_JOB_HPP
