// The one place where C++ exceptions become a status and a message.
#pragma once

#include "shim.h"

#include <c10/util/Exception.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>

namespace cvx {

// NULL when memory is out, which the caller reads as "no message".
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
  } catch (const c10::OutOfMemoryError &error) {
    *message = copy_string(error.what_without_backtrace());
    return CVX_SHIM_OUT_OF_MEMORY;
  } catch (const c10::Error &error) {
    *message = copy_string(error.what_without_backtrace());
    // The CPU allocator throws a plain c10::Error (c10/core/impl/alloc_cpu.cpp).
    const bool memory = std::strstr(error.what_without_backtrace(), "can't allocate memory");
    return memory ? CVX_SHIM_OUT_OF_MEMORY : CVX_SHIM_FAILED;
  } catch (const std::bad_alloc &) {
    *message = copy_string("std::bad_alloc");
    return CVX_SHIM_OUT_OF_MEMORY;
  } catch (const std::exception &error) {
    *message = copy_string(error.what());
    return CVX_SHIM_FAILED;
  } catch (...) {
    *message = copy_string("an exception of unknown type");
    return CVX_SHIM_FAILED;
  }
}

}  // namespace cvx
