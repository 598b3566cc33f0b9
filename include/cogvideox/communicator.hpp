/// Processes that share a pipeline's runs. Part of cogvideox.hpp.
#ifndef COGVIDEOX_COMMUNICATOR_HPP
#define COGVIDEOX_COMMUNICATOR_HPP

#include "handle.hpp"
#include "span.hpp"
#include "text.hpp"

#include <cstddef>
#include <cstdint>
#include <new>
#include <string_view>
#include <utility>

namespace cvx {
inline namespace CVX_HPP_MODE {

/// What a process gives to others and takes from them, of ranks that follow one another; in host
/// memory, which lives during the call only.
class Exchange {
public:
    /// What the C callback was told.
    explicit Exchange(const cvx_exchange_info &info) noexcept : info_(&info) {}

    /// The first of the ranks that exchange: those from it on, and no others, make the same call.
    std::int32_t first_rank() const noexcept { return info_->first_rank; }

    /// How many ranks exchange, this one included.
    std::int32_t num_ranks() const noexcept { return info_->num_ranks; }

    /// What the i-th of them is given; nothing for this rank itself, and where the other side knows
    /// that there is nothing.
    Span<const unsigned char> send(std::int32_t i) const noexcept {
        return {static_cast<const unsigned char *>(info_->send[i]),
                static_cast<std::size_t>(info_->send_bytes[i])};
    }

    /// Where what the i-th of them gives is written.
    Span<unsigned char> receive(std::int32_t i) const noexcept {
        return {static_cast<unsigned char *>(info_->receive[i]),
                static_cast<std::size_t>(info_->receive_bytes[i])};
    }

private:
    const cvx_exchange_info *info_;
};

/// Why a rank can't go on.
struct Abort {
    /// What the run failed with.
    Code code;
    /// One line of UTF-8, ended by NUL.
    std::string_view message;

    /// What the C callback was told.
    explicit Abort(const cvx_abort_info &info) noexcept
        : code(static_cast<Code>(info.code)), message(info.message) {}
};

namespace detail {
template <class Function>
std::int32_t on_exchange(const cvx_exchange_info *info, void *function) noexcept {
    return guarded<std::int32_t>(1, [&] {
        return flow(*static_cast<Function *>(function), Exchange(*info));
    });
}

template <class Function> void on_abort(const cvx_abort_info *info, void *function) noexcept {
    static_cast<void>(guarded<int>(0, [&] {
        (*static_cast<Function *>(function))(Abort(*info));
        return 0;
    }));
}
} // namespace detail

/// This process's end of what connects the processes that share the runs of a pipeline
/// (LoadOptions::set_communicator). Functions take const Exchange & and return nothing or a Flow,
/// of which Flow::stop is a failure, as is what they throw; all ranks call the same ones in the same
/// order. What is not set is made of all_to_all. Threads: abort() any.
class Communicator : public Handle<Communicator, cvx_communicator, cvx_communicator_free> {
public:
    /// The class's name in errors.
    static constexpr const char *class_name = "Communicator";

    /// An empty object; create() makes others.
    Communicator() noexcept : Handle(nullptr) {}

    /// That of rank, from 0, of num_ranks processes, from 2 to 1024. all_to_all gives each rank its
    /// part and takes one from each. Errors: invalid_argument.
    template <class Callback>
    static Result<Communicator> create(std::int32_t rank, std::int32_t num_ranks,
                                       Callback &&all_to_all) {
        static_assert(detail::answers_flow<Callback, Exchange>(),
                      "takes const cvx::Exchange &, returns void or cvx::Flow");
        using Function = std::decay_t<Callback>;
        Function *function = new (std::nothrow) Function(std::forward<Callback>(all_to_all));
        if (function == nullptr) {
            return Error(Code::out_of_memory, "no memory for a callback");
        }
        cvx_communicator *made = nullptr;
        if (auto *error = cvx_communicator_new(rank, num_ranks, detail::on_exchange<Function>,
                                               static_cast<void *>(function),
                                               detail::free_function<Function>, &made)) {
            return Error(error);
        }
        return adopt(made);
    }

    /// The bytes of NCCL's unique id.
    static constexpr std::size_t nccl_unique_id_bytes = CVX_NCCL_UNIQUE_ID_BYTES;

    /// NCCL's unique id, written to nccl_unique_id_bytes bytes: one process makes it, and the host
    /// carries it to the others. Errors: device_unavailable where there is no NCCL.
    static Result<void> nccl_unique_id(Span<unsigned char> out) {
        if (auto *error = cvx_nccl_unique_id(out.data(), out.size())) {
            return Error(error);
        }
        return {};
    }

    /// That of rank of num_ranks processes with a CUDA device each, which NCCL connects; returns once
    /// all with the same id have called it. Errors: device_unavailable, invalid_argument, internal.
    static Result<Communicator> create_nccl(std::int32_t rank, std::int32_t num_ranks,
                                            Span<const unsigned char> unique_id,
                                            const Text &device) {
        if (auto whole = device.check("device"); !whole) {
            return whole.error();
        }
        cvx_communicator *made = nullptr;
        if (auto *error = cvx_communicator_new_nccl(rank, num_ranks, unique_id.data(),
                                                    unique_id.size(), device.c_str(), &made)) {
            return Error(error);
        }
        return adopt(made);
    }

    /// How each of the ranks gives the same part to all. Errors: invalid_argument once load options
    /// have the communicator.
    template <class Callback> Result<void> set_all_gather(Callback &&callback) {
        static_assert(detail::answers_flow<Callback, Exchange>(),
                      "takes const cvx::Exchange &, returns void or cvx::Flow");
        return call_with_callback(cvx_communicator_set_all_gather,
                                  detail::on_exchange<std::decay_t<Callback>>,
                                  std::forward<Callback>(callback));
    }

    /// How the first of the ranks gives a part to all: the others take it at receive(0). Errors: as
    /// above.
    template <class Callback> Result<void> set_broadcast(Callback &&callback) {
        static_assert(detail::answers_flow<Callback, Exchange>(),
                      "takes const cvx::Exchange &, returns void or cvx::Flow");
        return call_with_callback(cvx_communicator_set_broadcast,
                                  detail::on_exchange<std::decay_t<Callback>>,
                                  std::forward<Callback>(callback));
    }

    /// How all ranks wait for each other. Errors: as above.
    template <class Callback> Result<void> set_barrier(Callback &&callback) {
        static_assert(detail::answers_flow<Callback, Exchange>(),
                      "takes const cvx::Exchange &, returns void or cvx::Flow");
        return call_with_callback(cvx_communicator_set_barrier,
                                  detail::on_exchange<std::decay_t<Callback>>,
                                  std::forward<Callback>(callback));
    }

    /// Told that this rank's run has failed: callback(const Abort &) sees to it that the exchanges of
    /// other ranks fail. Errors: as above.
    template <class Callback> Result<void> set_abort(Callback &&callback) {
        static_assert(detail::takes<Callback, Abort>, "takes const cvx::Abort &");
        return call_with_callback(cvx_communicator_set_abort,
                                  detail::on_abort<std::decay_t<Callback>>,
                                  std::forward<Callback>(callback));
    }

    /// Ends this rank's run, under way or next, with an error that the host has from another rank.
    Result<void> abort(Code code, const Text &message) const {
        if (auto whole = message.check("message"); !whole) {
            return whole;
        }
        return call(cvx_communicator_abort, static_cast<std::int32_t>(code), message.c_str());
    }

    /// After a failure: the host has put all ranks right, and runs may begin again.
    Result<void> reset_after_failure() const { return call(cvx_communicator_reset); }

    /// The rank of this process; -1 for an empty object.
    std::int32_t rank() const noexcept { return cvx_communicator_rank(get()); }

    /// How many ranks there are; 0 for an empty object.
    std::int32_t num_ranks() const noexcept { return cvx_communicator_num_ranks(get()); }

private:
    friend Handle;
    explicit Communicator(Empty) noexcept : Handle(nullptr) {}
};

} // namespace CVX_HPP_MODE
} // namespace cvx

#endif // COGVIDEOX_COMMUNICATOR_HPP
