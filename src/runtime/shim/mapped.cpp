// Memory of its own pages for what is large and does not stay long.
#include "guarded.h"

#include <ATen/Functions.h>

#include <sys/mman.h>

#include <memory>
#include <mutex>
#include <new>
#include <utility>

namespace {

struct Pages {
  void *start;
  size_t size;
};

// Free pages that are kept for the next tensor that only passes: the system has mapped and cleared them,
// which takes longer than filling them.
std::mutex lock;
Pages kept = {nullptr, 0};
int keepers = 0;

Pages take(size_t size) {
  const std::lock_guard<std::mutex> guard(lock);
  Pages pages = {nullptr, 0};
  if (kept.size >= size) std::swap(pages, kept);
  return pages;
}

// Keeps the larger of these and those that are kept.
void give_back(Pages pages) {
  {
    const std::lock_guard<std::mutex> guard(lock);
    if (keepers > 0 && pages.size > kept.size) std::swap(pages, kept);
  }
  if (pages.start != nullptr) ::munmap(pages.start, pages.size);
}

Pages mapped(size_t size) {
  void *map = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED) throw std::bad_alloc();
  return {map, size};
}

}  // namespace

extern "C" {

cvx_shim_status cvx_shim_mapped_bytes(int64_t bytes, int32_t passing, cvx_shim_tensor *out,
                                      char **message) {
  return cvx::guarded(message, [&] {
    const size_t size = static_cast<size_t>(bytes);
    Pages pages = passing != 0 ? take(size) : Pages{nullptr, 0};
    if (pages.start == nullptr) pages = mapped(size);
    // Called with the last copy of `owner`, and by the constructor if that fails.
    const std::shared_ptr<void> owner(pages.start, [pages, passing](void *) {
      if (passing != 0) {
        give_back(pages);
      } else {
        ::munmap(pages.start, pages.size);
      }
    });
    *out = new at::Tensor(at::from_blob(pages.start, {bytes}, [owner](void *) {},
                                        at::TensorOptions().dtype(at::kByte)));
  });
}

void cvx_shim_mapped_keep(int32_t keep) {
  Pages freed = {nullptr, 0};
  {
    const std::lock_guard<std::mutex> guard(lock);
    keepers += keep != 0 ? 1 : -1;
    if (keepers == 0) std::swap(freed, kept);
  }
  if (freed.start != nullptr) ::munmap(freed.start, freed.size);
}

}  // extern "C"
