// Functions of the host. One written in C++ may throw, although it must not: the exception ends
// here, instead of unwinding through Rust, which ends the process.
#include "guarded.h"

extern "C" {

cvx_shim_status cvx_shim_call_int(int32_t (*function)(const void *, void *), const void *info,
                                  void *user_data, int32_t *out, char **message) {
  return cvx::guarded(message, [&] { *out = function(info, user_data); });
}

cvx_shim_status cvx_shim_call_double(double (*function)(const void *, void *), const void *info,
                                     void *user_data, double *out, char **message) {
  return cvx::guarded(message, [&] { *out = function(info, user_data); });
}

cvx_shim_status cvx_shim_call_void(void (*function)(const void *, void *), const void *info,
                                   void *user_data, char **message) {
  return cvx::guarded(message, [&] { function(info, user_data); });
}

cvx_shim_status cvx_shim_call_free(void (*function)(void *), void *user_data, char **message) {
  return cvx::guarded(message, [&] { function(user_data); });
}

}  // extern "C"
