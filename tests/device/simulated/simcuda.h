// A simulated CUDA device: a stand-in for libtorch_cuda.so, so that everything this library does
// on "cuda" runs, and is looked at, on a machine without a GPU.
//
// It registers with libtorch what the real library registers (device guard, allocator, hooks,
// kernels). What is computed is computed by the CPU's kernels. What it can show that the CPU can
// not: where memory goes and what happens when it is out, where the host waits for the device or
// follows one of its addresses, and what CUDA refuses that the CPU forgives. What it can't show:
// anything of CUDA's own kernels, of their rounding, of time, and of races between streams.
//
// Three parts, which share what stands here: counters.cpp (what is counted, and the C functions
// for tests), device.cpp (memory, streams, hooks), and what runs on the device: fallback.cpp (the
// CPU's kernels on the device's tensors) and kernels.cpp (operators that CUDA has of its own).
#pragma once

#include <c10/core/Device.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace simcuda {

constexpr int kMaxDevices = 16;

// A whole number of the environment, read once by whoever needs it.
uint64_t from_environment(const char *name, uint64_t otherwise);

// ---- Addresses --------------------------------------------------------------------------------
// Device memory is memory of the process, but libtorch sees its addresses with this bit set. They
// are not canonical on x86-64: host code that follows one dies as it would with a GPU's, and that
// costs nothing.
constexpr uintptr_t kDeviceBit = uintptr_t{1} << 62;

inline void *to_device(void *host) {
  return host ? reinterpret_cast<void *>(reinterpret_cast<uintptr_t>(host) | kDeviceBit) : nullptr;
}

inline void *to_host(const void *device) {
  return reinterpret_cast<void *>(reinterpret_cast<uintptr_t>(device) & ~kDeviceBit);
}

// SIMCUDA_HOLLOW: memory is an address and nothing else, and kernels compute nothing; shapes, dtypes,
// launches, waits and bytes are those of the full device. So runs of published models are counted in
// seconds, on a machine that has neither their memory nor their time. What the host reads is zeros.
bool hollow();
// An address of a device for so many bytes, in a hollow device; never one that was given before.
void *hollow_address(size_t bytes);

// ---- What is counted --------------------------------------------------------------------------
// X(enumerator, name for tests)
#define SIMCUDA_COUNTERS(X)                                                                      \
  X(kKernels, "kernels") /* launches, copies not among them */                                   \
  X(kHostToDevice, "host_to_device")                                                             \
  X(kHostToDeviceBytes, "host_to_device_bytes")                                                  \
  X(kDeviceToHost, "device_to_host")                                                             \
  X(kDeviceToHostBytes, "device_to_host_bytes")                                                  \
  X(kDeviceToDevice, "device_to_device")                                                         \
  X(kUnawaited, "unawaited")     /* copies across for which the host does not wait */            \
  X(kItems, "items")             /* numbers that the host reads from the device */               \
  X(kShapes, "shapes")           /* operators whose result's shape only the device knows */      \
  X(kSynchronize, "synchronize") /* of a stream, an event or the device */                       \
  X(kWaits, "waits")             /* whatever makes the host wait for the device */               \
  X(kAllocations, "allocations")                                                                 \
  X(kFrees, "frees")                                                                             \
  X(kOutOfMemory, "out_of_memory")                                                               \
  X(kEmptyCache, "empty_cache")                                                                  \
  X(kTf32, "tf32")               /* convolutions in float32 that may be cut to TF32 */           \
  X(kNoTensorCores, "no_tensor_cores") /* those in half precision that may not use them */        \
  X(kForeign, "foreign")         /* calls on a thread that has a context of the host's */

enum Counter {
#define X(enumerator, name) enumerator,
  SIMCUDA_COUNTERS(X)
#undef X
  kCounters
};

void count(Counter counter, uint64_t by = 1);

// The host waits for the device, for `reason`. Throws where tests forbid that.
void wait(Counter counter, const std::string &reason);

// Notes that the calling thread uses the device.
void used();

// Throws once the device is lost, as every call of CUDA's then fails. (Freeing is not one: blocks
// go back to the allocator.)
void check_lost();

// The host launches `name`. Throws once the device is lost.
void launch(const std::string &name);

// ---- Memory -----------------------------------------------------------------------------------
// Takes bytes of a device, rounded up as CUDA's caching allocator does, and returns how many were
// taken; throws c10::OutOfMemoryError where there are none left or where a test wants it.
size_t charge(c10::DeviceIndex device, size_t bytes);
void release(c10::DeviceIndex device, size_t charged) noexcept;

struct MemoryUse {
  size_t now, peak;
  // What the allocator keeps of the device, freed blocks among it, until its cache is emptied.
  size_t reserved;
  size_t capacity;
  double fraction;  // of the capacity that the process may take
};
MemoryUse memory_use(c10::DeviceIndex device);
void limit_memory(c10::DeviceIndex device, double fraction);
void reset_memory_peak(c10::DeviceIndex device);
void empty_cache();

}  // namespace simcuda

// ---- For tests, which find these by dlsym -----------------------------------------------------
#define SIMCUDA_API extern "C" __attribute__((visibility("default")))

// A counter by its name; UINT64_MAX for a name that there is not.
SIMCUDA_API uint64_t simcuda_counter(const char *name);
// Counters, tallies and peaks start again.
SIMCUDA_API void simcuda_reset(void);
SIMCUDA_API uint64_t simcuda_memory(int32_t device);
SIMCUDA_API uint64_t simcuda_memory_peak(int32_t device);
SIMCUDA_API uint64_t simcuda_memory_reserved(int32_t device);
// Bytes that each device has from now on.
SIMCUDA_API void simcuda_set_capacity(uint64_t bytes);
// The n-th allocation from now on finds no memory, once; 0: none fails.
SIMCUDA_API void simcuda_fail_allocation(uint64_t n);
// Whether the host may wait for the device (0) or not (1).
SIMCUDA_API void simcuda_forbid_waits(int32_t forbidden);
// Every call to the device from now on fails as after an illegal access, until it is called with 0:
// launches, copies, waits, queries and allocations.
SIMCUDA_API void simcuda_lose_device(int32_t lost);
// A launch by the driver, of a kernel that is not libtorch's: 0, or 1 once the device is lost.
SIMCUDA_API int32_t simcuda_launch(const char *name);
// Each launch keeps the device busy for so long, in the background of the host; 0: for no time.
SIMCUDA_API void simcuda_set_kernel_time(uint64_t nanoseconds);
// The most launches that were under way at once since simcuda_reset, with a kernel time.
SIMCUDA_API uint64_t simcuda_most_ahead(void);
// The calling thread has a context of the host's own (1), as cuCtxCreate leaves it, or none (0). What
// uses the device there would do so in that context, and is counted as "foreign".
SIMCUDA_API void simcuda_host_context(int32_t current);
// How many threads have used the device since simcuda_reset.
SIMCUDA_API uint64_t simcuda_threads(void);
// The device that is current on the calling thread, and another one.
SIMCUDA_API int32_t simcuda_current_device(void);
SIMCUDA_API void simcuda_set_current_device(int32_t device);
// Memory of a device that a host takes by itself, not through libtorch; NULL where there is none.
SIMCUDA_API void *simcuda_host_alloc(int32_t device, uint64_t bytes);
SIMCUDA_API void simcuda_host_free(void *data);
// Reads device memory.
SIMCUDA_API void simcuda_read(void *to, const void *device, uint64_t bytes);
// Of such memory: the device that an address lies on, and its allocation; 0 for another address.
SIMCUDA_API int32_t simcuda_place(const void *address, int32_t *device, void **start,
                                  uint64_t *bytes);
// Writes counters, waits by reason and launches by operator as JSON; 0 where that went well.
SIMCUDA_API int32_t simcuda_report(const char *path);

namespace simcuda {
// Nanoseconds of a clock at which the work launched so far is done, and what that clock says now.
uint64_t busy_until();
uint64_t now();
}  // namespace simcuda
