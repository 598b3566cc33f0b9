// What computes on the CPU.
#include "guarded.h"

#include <ATen/Version.h>
#include <ATen/native/verbose_wrapper.h>

#include <cstdlib>
#include <new>

extern "C" {

cvx_shim_status cvx_shim_cpu_capability(char **out, char **message) {
  return cvx::guarded(message, [&] {
    *out = cvx::copy_string(at::get_cpu_capability().c_str());
    if (*out == nullptr) throw std::bad_alloc();
  });
}

void cvx_shim_silence_onednn(void) {
  // Whoever set these wants to see it.
  if (std::getenv("ONEDNN_VERBOSE") != nullptr || std::getenv("DNNL_VERBOSE") != nullptr) return;
  try {
    torch::verbose::_mkldnn_set_verbose(0);
  } catch (...) {
  }
}

}  // extern "C"
