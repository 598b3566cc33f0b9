/// Stopping from another thread. Part of cogvideox.hpp.
#ifndef COGVIDEOX_CANCEL_TOKEN_HPP
#define COGVIDEOX_CANCEL_TOKEN_HPP

#include "handle.hpp"

namespace cvx {
inline namespace CVX_HPP_MODE {

/// A request to stop that can be made from any thread and from a signal handler. It is sticky,
/// so take a new one for each run that is to be cancelled on its own. One token may serve any
/// number of loads and runs; they keep it for themselves, so it may be freed at any time.
class CancelToken : public Handle<CancelToken, cvx_cancel_token, cvx_cancel_token_free> {
public:
    /// The class's name in errors.
    static constexpr const char *class_name = "CancelToken";

    /// A token that is not cancelled.
    CancelToken() noexcept : Handle(cvx_cancel_token_new()) {}

    /// Cancels what uses the token, within one layer or one chunk of the decoder; it ends with
    /// Code::cancelled. Nothing for an empty token. Threads: any; async-signal-safe.
    void cancel() const noexcept { cvx_cancel_token_cancel(get()); }

    /// Whether it was cancelled; false for an empty token. Threads: any; async-signal-safe.
    bool is_cancelled() const noexcept { return cvx_cancel_token_is_cancelled(get()) != 0; }

private:
    friend Handle;
    explicit CancelToken(Empty) noexcept : Handle(nullptr) {}
};

} // namespace CVX_HPP_MODE
} // namespace cvx

#endif // COGVIDEOX_CANCEL_TOKEN_HPP
