// Memory for code that does not heed that there is none.
//
// oneDNN makes its small objects with an operator new that answers NULL where memory is out, and
// writes to them all the same (dnnl_memory_desc_clone, post_ops of an attribute, and others): the
// process ends. libtorch offers no say in where oneDNN has its memory from. So some is held while a
// thread is in such a call, and stand-ins for libtorch's entries of malloc and its likes give it back
// to the heap when one of them fails there, and ask again. What they hand out is the C library's,
// as ever, so whoever frees it notices nothing; a call that succeeds, or that another thread makes,
// is only passed on. OpenH264, which goes on without some of what it could not have, is part of this
// library: there the linker puts __wrap_malloc in malloc's place (build.rs).
#include "shim.h"
#include "stand_in.h"

#include <ATen/Context.h>

#include <pthread.h>
#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <new>

#include <malloc.h>

extern "C" {
// The C library's, by the linker. Not there in programs that are linked without --wrap, which the
// unit tests are.
void *__real_malloc(size_t size) __attribute__((weak));
void *__wrap_malloc(size_t size);
}

namespace {

// Below what malloc maps by itself, so that they are the heap's.
constexpr size_t kBlock = 64 << 10;
constexpr int kBlocks = 8;
// Calls at once that hold some.
constexpr int kMost = 64;

struct Spare {
  // 0: free. Thread-local variables would do, but that the first access from a thread may ask for
  // memory, and end the process where there is none.
  std::atomic<uintptr_t> owner{0};
  // Touched by the owner alone.
  void *blocks[kBlocks];
  int count;
};

Spare spares[kMost];

uintptr_t self() { return reinterpret_cast<uintptr_t>(reinterpret_cast<void *>(pthread_self())); }

void *real_malloc(size_t size) {
  return __real_malloc != nullptr ? __real_malloc(size) : std::malloc(size);
}

Spare *mine() {
  const uintptr_t thread = self();
  for (Spare &spare : spares) {
    if (spare.owner.load(std::memory_order_relaxed) == thread) return &spare;
  }
  return nullptr;
}

// Gives a block back to the heap; false where this thread holds none.
bool release() {
  Spare *spare = mine();
  if (spare == nullptr || spare->count == 0) return false;
  std::free(spare->blocks[--spare->count]);
  return true;
}

void *stand_in_calloc(size_t count, size_t size) {
  void *made = std::calloc(count, size);
  while (made == nullptr && count != 0 && size != 0 && release()) made = std::calloc(count, size);
  return made;
}

void *stand_in_realloc(void *old, size_t size) {
  void *made = std::realloc(old, size);
  while (made == nullptr && size != 0 && release()) made = std::realloc(old, size);
  return made;
}

int stand_in_posix_memalign(void **out, size_t alignment, size_t size) {
  int failed = posix_memalign(out, alignment, size);
  while (failed == ENOMEM && release()) failed = posix_memalign(out, alignment, size);
  return failed;
}

void *stand_in_aligned_alloc(size_t alignment, size_t size) {
  void *made = aligned_alloc(alignment, size);
  while (made == nullptr && size != 0 && release()) made = aligned_alloc(alignment, size);
  return made;
}

void *stand_in_memalign(size_t alignment, size_t size) {
  void *made = memalign(alignment, size);
  while (made == nullptr && size != 0 && release()) made = memalign(alignment, size);
  return made;
}

// What `allocate`, a kind of operator new, gives, which throws.
template <typename Allocate>
void *or_throw(Allocate allocate) {
  for (;;) {
    try {
      return allocate();
    } catch (const std::bad_alloc &) {
      if (!release()) throw;
    }
  }
}

void *stand_in_new(size_t size) {
  return or_throw([=] { return ::operator new(size); });
}

// A host's own operators may tell arrays from the rest, as sanitizers do.
void *stand_in_new_array(size_t size) {
  return or_throw([=] { return ::operator new[](size); });
}

void *stand_in_new_aligned(size_t size, std::align_val_t align) {
  return or_throw([=] { return ::operator new(size, align); });
}

void *stand_in_new_nothrow(size_t size, const std::nothrow_t &) noexcept {
  void *made = ::operator new(size, std::nothrow);
  while (made == nullptr && release()) made = ::operator new(size, std::nothrow);
  return made;
}

void *stand_in_new_array_nothrow(size_t size, const std::nothrow_t &) noexcept {
  void *made = ::operator new[](size, std::nothrow);
  while (made == nullptr && release()) made = ::operator new[](size, std::nothrow);
  return made;
}

// Of machine code: what the heap gives back is of no use to it, but room for it was shown to be
// there, and another thread may have taken it for a moment only.
void *stand_in_mmap(void *at, size_t size, int protection, int flags, int file, off_t offset) {
  void *made = ::mmap(at, size, protection, flags, file, offset);
  if (made == MAP_FAILED && errno == ENOMEM && mine() != nullptr) {
    made = ::mmap(at, size, protection, flags, file, offset);
  }
  return made;
}

// The names of operators are those of the Itanium C++ ABI for a size_t of 64 bits.
const cvx::StandIn kStandIns[] = {
    {"malloc", cvx::address(__wrap_malloc)},
    {"calloc", cvx::address(stand_in_calloc)},
    {"realloc", cvx::address(stand_in_realloc)},
    {"posix_memalign", cvx::address(stand_in_posix_memalign)},
    {"aligned_alloc", cvx::address(stand_in_aligned_alloc)},
    {"memalign", cvx::address(stand_in_memalign)},
    {"mmap", cvx::address(stand_in_mmap)},
    {"mmap64", cvx::address(stand_in_mmap)},
    {"_Znwm", cvx::address(stand_in_new)},
    {"_Znam", cvx::address(stand_in_new_array)},
    {"_ZnwmSt11align_val_t", cvx::address(stand_in_new_aligned)},
    {"_ZnwmRKSt9nothrow_t", cvx::address(stand_in_new_nothrow)},
    {"_ZnamRKSt9nothrow_t", cvx::address(stand_in_new_array_nothrow)},
};

}  // namespace

extern "C" {

void *__wrap_malloc(size_t size) {
  void *made = real_malloc(size);
  while (made == nullptr && size != 0 && release()) made = real_malloc(size);
  return made;
}

int32_t cvx_shim_spare_install(void) {
  static const int replaced = cvx::stand_in(cvx::address(at::globalContext), kStandIns,
                                            std::size(kStandIns), cvx::Closed::kLeave);
  return replaced;
}

int32_t cvx_shim_spare_install_in_libgomp(void *inside) {
  static const int replaced =
      cvx::stand_in(inside, kStandIns, std::size(kStandIns), cvx::Closed::kOpen);
  return replaced;
}

int32_t cvx_shim_spare_hold(void) {
  Spare *spare = mine();
  bool had = spare != nullptr;
  for (int i = 0; spare == nullptr && i < kMost; ++i) {
    uintptr_t nobody = 0;
    if (spares[i].owner.compare_exchange_strong(nobody, self())) {
      spare = &spares[i];
      spare->count = 0;
    }
  }
  // More calls at once than places: this one goes without.
  if (spare == nullptr) return CVX_SHIM_SPARE_OUTER;
  while (spare->count < kBlocks) {
    void *block = real_malloc(kBlock);
    if (block == nullptr) {
      if (!had) cvx_shim_spare_drop();
      return CVX_SHIM_SPARE_SHORT;
    }
    spare->blocks[spare->count++] = block;
  }
  return had ? CVX_SHIM_SPARE_OUTER : CVX_SHIM_SPARE_HELD;
}

int32_t cvx_shim_without_bad_alloc(void (*function)(void *), void *data) {
  try {
    function(data);
    return 0;
  } catch (const std::bad_alloc &) {
    return 1;
  }
}

void cvx_shim_spare_drop(void) {
  Spare *spare = mine();
  if (spare == nullptr) return;
  while (spare->count > 0) std::free(spare->blocks[--spare->count]);
  spare->owner.store(0);
}

}  // extern "C"
