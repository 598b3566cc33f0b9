// The part of the stand-in for libcuda.so.1 (driver.cpp) that loads and launches kernels: those of
// src/backend/cuda/kernels, compiled for the CPU (tests/device/kernels/cuda_on_cpu.h), on the simulated
// device's memory. A module must be PTX that has an entry for each function that is asked for.
//
// SIMCUDA_PTX: the CUresult that loading a module ends with, such as 222, a version of PTX that the
// driver does not know.
#include "driver.h"

#include "../../../src/backend/cuda/kernels/kernels.cu"

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <set>
#include <string>

namespace {

constexpr int kOutOfMemory = 2, kInvalidPtx = 218, kNotFound = 500, kIllegalAddress = 700,
              kLaunchFailed = 719;

struct Module {
  int context;
  std::string ptx;
};

struct Function {
  Module *module;
  const std::string *name;
  cuda_on_cpu::Runner run;
};

// All that are loaded, so that a handle that is none is noticed.
std::mutex mutex;
std::set<Module *> modules;
int loaded = 0;

bool is_loaded(Module *module) {
  const std::lock_guard<std::mutex> lock(mutex);
  return modules.count(module) != 0;
}

// An address of the simulated device as the host has it (simcuda.h).
void *to_host(const void *address) {
  constexpr uintptr_t kDeviceBit = uintptr_t{1} << 62;
  const auto bits = reinterpret_cast<uintptr_t>(address);
  if ((bits & kDeviceBit) == 0) throw std::logic_error("an address of the host's");
  return reinterpret_cast<void *>(bits & ~kDeviceBit);
}

}  // namespace

DRIVER_API int cuModuleLoadData(Module **module, const void *image) {
  const char *const refused = std::getenv("SIMCUDA_PTX");
  if (refused != nullptr && *refused != '\0') return std::atoi(refused);
  const char *const text = static_cast<const char *>(image);
  if (std::strstr(text, ".version") == nullptr || std::strstr(text, ".target sm_80") == nullptr)
    return kInvalidPtx;
  *module = new Module{current_context(), text};
  const std::lock_guard<std::mutex> lock(mutex);
  modules.insert(*module);
  ++loaded;
  return kSuccess;
}

DRIVER_API int cuModuleUnload(Module *module) {
  {
    const std::lock_guard<std::mutex> lock(mutex);
    if (modules.erase(module) == 0) return kInvalidHandle;
  }
  if (module->context != current_context()) return kInvalidHandle;
  delete module;
  return kSuccess;
}

DRIVER_API int cuModuleGetFunction(Function **function, Module *module, const char *name) {
  if (!is_loaded(module) || module->context != current_context()) return kInvalidHandle;
  const auto found = cuda_on_cpu::kernels().find(name);
  const std::string entry = std::string(".entry ") + name + "(";
  if (found == cuda_on_cpu::kernels().end() || module->ptx.find(entry) == std::string::npos)
    return kNotFound;
  *function = new Function{module, &found->first, found->second};
  return kSuccess;
}

DRIVER_API int cuLaunchKernel(Function *function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                              unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared,
                              void *, void **arguments, void **extra) {
  if (!is_loaded(function->module) || function->module->context != current_context())
    return kInvalidHandle;
  if (grid_x == 0 || grid_y == 0 || grid_y > 65535 || grid_z != 1 || block_x == 0 || block_x > 1024 ||
      block_y != 1 || block_z != 1 || shared != 0 || extra != nullptr)
    return kInvalidValue;
  if (tell_launch(function->name->c_str()) != 0) return kIllegalAddress;
  cuda_on_cpu::Launch launch;
  launch.grid = {grid_x, grid_y, 1};
  launch.block = {block_x, 1, 1};
  launch.host = &to_host;
  try {
    function->run(launch, arguments);
  } catch (const std::exception &) {
    return kLaunchFailed;
  }
  return kSuccess;
}

DRIVER_API int cuGetErrorString(int status, const char **text) {
  switch (status) {
    case kOutOfMemory: *text = "out of memory"; return kSuccess;
    case kInvalidPtx: *text = "a PTX JIT compilation failed"; return kSuccess;
    case 222: *text = "the provided PTX was compiled with an unsupported toolchain."; return kSuccess;
    case kNotFound: *text = "named symbol not found"; return kSuccess;
    case kIllegalAddress: *text = "an illegal memory access was encountered"; return kSuccess;
    case kLaunchFailed: *text = "unspecified launch failure"; return kSuccess;
    case kInvalidHandle: *text = "invalid resource handle"; return kSuccess;
    default: return kInvalidValue;
  }
}

// For tests: modules that are there, and how many were ever loaded.
DRIVER_API int simdriver_modules(int *ever) {
  const std::lock_guard<std::mutex> lock(mutex);
  *ever = loaded;
  return static_cast<int>(modules.size());
}
