// The one place where C++ exceptions become a status and a message.
#pragma once

#include "shim.h"

#include <c10/util/Exception.h>

#include <cstdlib>
#include <cstring>
#include <exception>

namespace cvx {

// NULL when memory is out.
inline char *copy_string(const char *text) noexcept {
  const size_t size = std::strlen(text) + 1;
  char *copy = static_cast<char *>(std::malloc(size));
  if (copy != nullptr) std::memcpy(copy, text, size);
  return copy;
}

template <typename F>
cvx_shim_status guarded(char **message, F &&f) noexcept {
  try {
    f();
    return CVX_SHIM_OK;
  } catch (const c10::Error &error) {
    *message = copy_string(error.what_without_backtrace());
    return CVX_SHIM_FAILED;
  } catch (const std::exception &error) {
    *message = copy_string(error.what());
    return CVX_SHIM_FAILED;
  } catch (...) {
    *message = copy_string("an exception of unknown type");
    return CVX_SHIM_FAILED;
  }
}

}  // namespace cvx
