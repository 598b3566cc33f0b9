//! `cvx_cancel_token`.

use super::handle::{self, free, peek};
use super::panic::infallible;
use crate::runtime::CancelToken;

/// A request to stop that can be made from any thread and from a signal handler. It is
/// sticky: once cancelled it stays cancelled, also when that comes before the work starts,
/// so use a new token for each run that is to be cancelled on its own. One token may be given
/// to any number of loads and runs.
///
/// Since 0.1.
pub struct cvx_cancel_token {
    pub(super) token: CancelToken,
}

/// A new token that is not cancelled. The caller owns it and frees it with
/// cvx_cancel_token_free. Never NULL.
///
/// Since 0.1.
#[no_mangle]
pub extern "C" fn cvx_cancel_token_new() -> *mut cvx_cancel_token {
    infallible(std::ptr::null_mut(), || {
        handle::new(cvx_cancel_token { token: CancelToken::default() })
    })
}

/// Cancels everything that uses the token: it ends with CVX_ERROR_CANCELLED, on the CPU within
/// about a quarter of a second (docs/reliability.md), on CUDA within about two layers of the text
/// encoder or the transformer, or one chunk of the VAE decoder. Its pipeline is usable afterwards. Cancelling twice is once; NULL does nothing.
///
/// Threads: any, and async-signal-safe: it is one atomic store.
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cancel_token_cancel(token: *const cvx_cancel_token) {
    // Not in the panic funnel: its thread-locals are not async-signal-safe, and an atomic
    // store cannot panic.
    // SAFETY: NULL or a live token, by the contract of the header.
    if let Some(token) = unsafe { peek(token) } {
        token.token.cancel();
    }
}

/// 1 if the token was cancelled, else 0; 0 for NULL.
///
/// Threads: any, and async-signal-safe. Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cancel_token_is_cancelled(token: *const cvx_cancel_token) -> i32 {
    // SAFETY: NULL or a live token, by the contract of the header.
    unsafe { peek(token) }.map_or(0, |token| token.token.is_cancelled().into())
}

/// Frees the caller's token. Options and runs that use it keep it alive for themselves, so it
/// may be freed at any time, also while a run uses it (nobody can cancel that run then). NULL
/// is allowed and does nothing.
///
/// Threads: any, once, and not while another thread cancels through the same pointer.
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_cancel_token_free(token: *mut cvx_cancel_token) {
    infallible((), || {
        // SAFETY: NULL or a token that `cvx_cancel_token_new` handed out, not freed yet.
        unsafe { free(token) }
    })
}
