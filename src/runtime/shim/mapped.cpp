// Memory of its own pages for what is large and does not stay long.
#include "guarded.h"

#include <ATen/Functions.h>

#include <sys/mman.h>

#include <memory>
#include <new>

extern "C" {

cvx_shim_status cvx_shim_mapped_bytes(int64_t bytes, cvx_shim_tensor *out, char **message) {
  return cvx::guarded(message, [&] {
    const size_t size = static_cast<size_t>(bytes);
    void *map = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) throw std::bad_alloc();
    // Called with the last copy of `pages`, and by the constructor if that fails.
    const std::shared_ptr<void> pages(map, [size](void *start) { ::munmap(start, size); });
    *out = new at::Tensor(at::from_blob(map, {bytes}, [pages](void *) {},
                                        at::TensorOptions().dtype(at::kByte)));
  });
}

}  // extern "C"
