// A stand-in for NVIDIA's management library, libnvidia-ml.so.1: the memory of the simulated
// devices, of which what libtorch's allocator has reserved is not free.
#include <dlfcn.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

#define NVML_API extern "C" __attribute__((visibility("default")))

namespace {

// Values of nvmlReturn_t.
constexpr int kSuccess = 0, kUninitialized = 1, kNotFound = 6;
int uses = 0;

// The only process that uses the devices is this one.
uint64_t reserved(int device) {
  void *const backend = dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_NOLOAD);
  if (backend == nullptr) return 0;
  using Reserved = uint64_t (*)(int32_t);
  const auto ask = reinterpret_cast<Reserved>(dlsym(backend, "simcuda_memory_reserved"));
  const uint64_t bytes = ask != nullptr ? ask(device) : 0;
  dlclose(backend);
  return bytes;
}

}  // namespace

NVML_API int nvmlInit_v2() {
  ++uses;
  return kSuccess;
}

NVML_API int nvmlShutdown() {
  if (uses == 0) return kUninitialized;
  --uses;
  return kSuccess;
}

// A UUID of driver.cpp has the device's number plus one in every byte. A handle is that number.
NVML_API int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
  if (uses == 0) return kUninitialized;
  if (std::strlen(uuid) != 40 || std::strncmp(uuid, "GPU-", 4) != 0) return kNotFound;
  *device = reinterpret_cast<void *>(std::strtoull(uuid + 4, nullptr, 16) & 0xff);
  return kSuccess;
}

struct Memory {
  unsigned long long total, free, used;
};

NVML_API int nvmlDeviceGetMemoryInfo(void *device, Memory *memory) {
  if (uses == 0) return kUninitialized;
  const char *const text = std::getenv("SIMCUDA_MEMORY");
  memory->total = text != nullptr ? std::strtoull(text, nullptr, 10) : uint64_t{16} << 30;
  memory->used = reserved(static_cast<int>(reinterpret_cast<uintptr_t>(device)) - 1);
  memory->free = memory->total - memory->used;
  return kSuccess;
}
