// The simulated device as libtorch asks about it: memory, streams and events, hooks.
//
// Environment, read when it is first needed:
//   SIMCUDA_DEVICES     how many there are (1); 0 is a machine without a driver
//   SIMCUDA_MEMORY      bytes that each of them has (16 GiB)
//   SIMCUDA_CAPABILITY  their compute capability, such as 75 (90)
//   SIMCUDA_CUDART      the version of the CUDA runtime (13000)
//   SIMCUDA_CUDNN       the version of cuDNN (91900); 0: there is none
//   SIMCUDA_HOLLOW      1: nothing is computed (simcuda.h)
//   SIMCUDA_TF32        float32 is cut for tensor cores: 1 in convolutions that allow it, 2 in all
//                       products (0)
#include "simcuda.h"

#include <ATen/core/Generator.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>

namespace simcuda {
namespace {

c10::DeviceIndex device_count() {
  static const auto count = static_cast<c10::DeviceIndex>(
      std::min<uint64_t>(from_environment("SIMCUDA_DEVICES", 1), kMaxDevices));
  return count;
}

thread_local c10::DeviceIndex current_device = 0;

// ---- Memory of the device ---------------------------------------------------------------------

struct Block {
  void *host;
  size_t charged;
  c10::DeviceIndex device;
};

void free_block(void *context) {
  auto *const block = static_cast<Block *>(context);
  release(block->device, block->charged);
  std::free(block->host);  // nothing, in a hollow device
  delete block;
}

// The beginning of c10::cuda::CUDACachingAllocator::CUDAAllocator: what libtorch and the library
// call on it beside DeviceAllocator's functions has its place behind these.
struct CUDAAllocator : c10::DeviceAllocator {
  virtual void *raw_alloc(size_t bytes) = 0;
  virtual void *raw_alloc_with_stream(size_t bytes, void *stream) = 0;
  virtual void raw_delete(void *data) = 0;
  virtual void init(int devices) = 0;
  virtual double getMemoryFraction(c10::DeviceIndex device) = 0;
  virtual void setMemoryFraction(double fraction, c10::DeviceIndex device) = 0;
};

struct DeviceMemory final : CUDAAllocator {
  void *raw_alloc(size_t) override { TORCH_CHECK(false, "not simulated"); }
  void *raw_alloc_with_stream(size_t, void *) override { TORCH_CHECK(false, "not simulated"); }
  void raw_delete(void *) override { TORCH_CHECK(false, "not simulated"); }
  void init(int) override {}
  double getMemoryFraction(c10::DeviceIndex device) override {
    return memory_use(device).fraction;
  }
  void setMemoryFraction(double fraction, c10::DeviceIndex device) override {
    TORCH_CHECK(0 <= fraction && fraction <= 1, "invalid fraction: ", fraction);
    limit_memory(device, fraction);
  }

  c10::DataPtr allocate(size_t bytes) override {
    const c10::Device device(c10::DeviceType::CUDA, current_device);
    if (bytes == 0) return {nullptr, device};
    const size_t charged = charge(device.index(), bytes);
    void *host = nullptr;
    if (hollow())
      return {hollow_address(charged), new Block{nullptr, charged, device.index()}, &free_block,
              device};
    if (posix_memalign(&host, 512, charged) != 0) {
      release(device.index(), charged);
      TORCH_CHECK_WITH(OutOfMemoryError, false, "CUDA out of memory (really: of the host)");
    }
    // What fresh memory of a GPU holds is anything. These bytes are NaN in every floating-point
    // type, so that it shows where they are used.
    std::memset(host, 0xff, charged);
    return {to_device(host), new Block{host, charged, device.index()}, &free_block, device};
  }

  void copy_data(void *to, const void *from, size_t bytes) const override {
    if (!hollow()) std::memcpy(to_host(to), to_host(from), bytes);
  }

  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t) override { empty_cache(); }
  void recordStream(const c10::DataPtr &, c10::Stream) override {}

  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex device) override {
    const MemoryUse use = memory_use(device);
    c10::CachingDeviceAllocator::DeviceStats stats;
    stats.allocated_bytes[0].current = static_cast<int64_t>(use.now);
    stats.allocated_bytes[0].peak = static_cast<int64_t>(use.peak);
    stats.reserved_bytes[0].current = static_cast<int64_t>(use.reserved);
    return stats;
  }

  void resetAccumulatedStats(c10::DeviceIndex) override {}
  void resetPeakStats(c10::DeviceIndex device) override { reset_memory_peak(device); }

  std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex device) override {
    const MemoryUse use = memory_use(device);
    return {use.capacity - use.reserved, use.capacity};
  }
};

DeviceMemory &device_memory() {
  static auto *const memory = new DeviceMemory;
  return *memory;
}

// ---- Memory of the host that the device can read by itself --------------------------------------

struct PinnedMemory final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    c10::DataPtr memory = c10::GetCPUAllocator()->allocate(bytes);
    void *const data = memory.get();
    const std::lock_guard<std::mutex> lock(mutex);
    pinned.insert(data);
    return {data, new c10::DataPtr(std::move(memory)),
            [](void *context) {
              auto *const memory = static_cast<c10::DataPtr *>(context);
              {
                const std::lock_guard<std::mutex> lock(mutex);
                pinned.erase(memory->get());
              }
              delete memory;
            },
            c10::Device(c10::DeviceType::CPU)};
  }

  void copy_data(void *to, const void *from, size_t bytes) const override {
    std::memcpy(to, from, bytes);
  }

  static bool contains(const void *data) {
    const std::lock_guard<std::mutex> lock(mutex);
    return pinned.count(const_cast<void *>(data)) != 0;
  }

  static std::mutex mutex;
  static std::set<void *> pinned;  // by their first byte, which is what libtorch asks about
};

std::mutex PinnedMemory::mutex;
std::set<void *> PinnedMemory::pinned;

PinnedMemory &pinned_memory() {
  static auto *const memory = new PinnedMemory;
  return *memory;
}

// ---- Memory that a host takes by itself ---------------------------------------------------------

struct HostBlock {
  size_t bytes;
  c10::DeviceIndex device;
};

std::mutex host_blocks_mutex;
std::map<uintptr_t, HostBlock> host_blocks;  // by their addresses on the device

// The block that holds an address, or the end.
std::map<uintptr_t, HostBlock>::iterator host_block(const void *address) {
  const auto wanted = reinterpret_cast<uintptr_t>(address);
  auto after = host_blocks.upper_bound(wanted);
  if (after == host_blocks.begin()) return host_blocks.end();
  --after;
  return wanted - after->first < after->second.bytes ? after : host_blocks.end();
}

// ---- Streams and events -----------------------------------------------------------------------
// Results are there when they were asked for; only the clock of simcuda_set_kernel_time runs
// behind. So a stream is a number, and an event the time at which it will have passed.

thread_local std::array<c10::StreamId, kMaxDevices> current_stream{};

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return c10::DeviceType::CUDA; }

  c10::Device exchangeDevice(c10::Device device) const override {
    used();
    const c10::Device previous = getDevice();
    setDevice(device);
    return previous;
  }

  c10::Device getDevice() const override { return {c10::DeviceType::CUDA, current_device}; }

  void setDevice(c10::Device device) const override {
    used();
    TORCH_CHECK(device.is_cuda(), "not a CUDA device: ", device);
    TORCH_CHECK(device.index() >= 0 && device.index() < device_count(),
                "CUDA error: invalid device ordinal: ", device);
    current_device = device.index();
  }

  void uncheckedSetDevice(c10::Device device) const noexcept override {
    used();
    current_device = device.index();
  }

  c10::DeviceIndex deviceCount() const noexcept override { return device_count(); }

  c10::Stream getStream(c10::Device device) const override {
    return stream(current_stream.at(index(device)), device);
  }

  c10::Stream getDefaultStream(c10::Device device) const override { return stream(0, device); }

  c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override {
    return getNewStream(device, 0);
  }

  c10::Stream getNewStream(c10::Device device, int) const override {
    static std::atomic<c10::StreamId> next{1};
    return stream(next++, device);
  }

  c10::Stream exchangeStream(c10::Stream to) const override {
    const c10::Stream previous = getStream(to.device());
    current_stream.at(index(to.device())) = to.id();
    return previous;
  }

  void *getStreamNativeHandle(const c10::Stream of) const override {
    return reinterpret_cast<void *>(of.id());
  }

  bool queryStream(const c10::Stream &) const override {
    check_lost();
    return busy_until() <= now();
  }
  void synchronizeStream(const c10::Stream &) const override { wait(kSynchronize, "stream"); }
  void synchronizeDevice(c10::DeviceIndex) const override { wait(kSynchronize, "device"); }

  void record(void **event, const c10::Stream &, c10::DeviceIndex,
              c10::EventFlag) const override {
    check_lost();
    if (*event == nullptr) *event = new uint64_t;
    *static_cast<uint64_t *>(*event) = busy_until();
  }
  void block(void *, const c10::Stream &) const override {}
  bool queryEvent(void *event) const override {
    check_lost();
    return event == nullptr || *static_cast<uint64_t *>(event) <= now();
  }
  void synchronizeEvent(void *) const override { wait(kSynchronize, "event"); }
  void destroyEvent(void *event, c10::DeviceIndex) const noexcept override {
    used();
    delete static_cast<uint64_t *>(event);
    try {
      check_lost();
    } catch (const c10::Error &error) {
      TORCH_WARN("CUDA warning: ", error.what_without_backtrace());
    }
  }
  double elapsedTime(void *from, void *to, c10::DeviceIndex) const override {
    return static_cast<double>(*static_cast<uint64_t *>(to) - *static_cast<uint64_t *>(from)) / 1e6;
  }

 private:
  static size_t index(c10::Device device) {
    return static_cast<size_t>(device.has_index() ? device.index() : current_device);
  }
  static c10::Stream stream(c10::StreamId id, c10::Device device) {
    const auto of = static_cast<c10::DeviceIndex>(index(device));
    return c10::Stream(c10::Stream::UNSAFE, {c10::DeviceType::CUDA, of}, id);
  }
};

C10_REGISTER_GUARD_IMPL(CUDA, Guard)

const bool registered = [] {
  c10::SetAllocator(c10::DeviceType::CUDA, &device_memory());
  return true;
}();

}  // namespace
}  // namespace simcuda

// ---- What libtorch asks of the backend -------------------------------------------------------

namespace at {  // where libtorch's registry looks for the name

struct SimulatedCUDAHooks final : CUDAHooksInterface {
  explicit SimulatedCUDAHooks(CUDAHooksArgs) {}

  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return getNumGPUs() > 0; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  bool hasCUDA() const override { return true; }
  bool hasCUDART() const override { return true; }
  // With cuDNN a convolution arrives as one operator, as it does on a GPU.
  bool hasCuDNN() const override { return versionCuDNN() != 0; }
  bool compiledWithCuDNN() const override { return versionCuDNN() != 0; }
  bool supportsDilatedConvolutionWithCuDNN() const override { return true; }
  bool supportsDepthwiseConvolutionWithCuDNN() const override { return true; }
  bool supportsBFloat16ConvolutionWithCuDNNv8() const override {
    return simcuda::from_environment("SIMCUDA_CAPABILITY", 90) >= 80;
  }
  long versionCuDNN() const override {
    static const auto version = simcuda::from_environment("SIMCUDA_CUDNN", 91900);
    return static_cast<long>(version);
  }
  long versionRuntimeCuDNN() const override { return versionCuDNN(); }
  long versionCUDART() const override {
    return static_cast<long>(simcuda::from_environment("SIMCUDA_CUDART", 13000));
  }
  std::string showConfig() const override { return "simulated CUDA"; }

  int getNumGPUs() const override {
    const int count = simcuda::device_count();
    if (count == 0) TORCH_WARN("CUDA initialization: Found no NVIDIA driver (simulated)");
    return count;
  }
  DeviceIndex deviceCount() const override { return simcuda::device_count(); }
  DeviceIndex current_device() const override { return simcuda::current_device; }
  DeviceIndex getCurrentDevice() const override { return simcuda::current_device; }
  void setCurrentDevice(DeviceIndex device) const override { exchangeDevice(device); }
  DeviceIndex exchangeDevice(DeviceIndex device) const override {
    return c10::impl::getDeviceGuardImpl(kCUDA)->exchangeDevice({kCUDA, device}).index();
  }
  DeviceIndex maybeExchangeDevice(DeviceIndex device) const override {
    return device < 0 ? current_device() : exchangeDevice(device);
  }

  bool isPinnedPtr(const void *data) const override {
    return simcuda::PinnedMemory::contains(data);
  }
  Allocator *getPinnedMemoryAllocator() const override { return &simcuda::pinned_memory(); }
  Allocator *getCUDADeviceAllocator() const override { return &simcuda::device_memory(); }
  Device getDeviceFromPtr(void *data) const override {
    int32_t device = simcuda::current_device;
    simcuda_place(data, &device, nullptr, nullptr);
    return {kCUDA, static_cast<DeviceIndex>(device)};
  }
  void deviceSynchronize(DeviceIndex) const override {
    simcuda::wait(simcuda::kSynchronize, "device");
  }
};

C10_REGISTER_TYPED_CLASS(CUDAHooksRegistry, "CUDAHooks", SimulatedCUDAHooks)

}  // namespace at

using namespace simcuda;

int32_t simcuda_current_device() { return current_device; }

void simcuda_set_current_device(int32_t device) {
  current_device = static_cast<c10::DeviceIndex>(device);
}

void *simcuda_host_alloc(int32_t device, uint64_t bytes) {
  void *host = nullptr;
  if (posix_memalign(&host, 512, bytes) != 0) return nullptr;
  std::memset(host, 0x5a, bytes);
  void *const address = to_device(host);
  const std::lock_guard<std::mutex> lock(host_blocks_mutex);
  host_blocks[reinterpret_cast<uintptr_t>(address)] = {bytes,
                                                       static_cast<c10::DeviceIndex>(device)};
  return address;
}

void simcuda_host_free(void *data) {
  {
    const std::lock_guard<std::mutex> lock(host_blocks_mutex);
    if (host_blocks.erase(reinterpret_cast<uintptr_t>(data)) == 0) return;
  }
  std::free(to_host(data));
}

void simcuda_read(void *to, const void *device, uint64_t bytes) {
  std::memcpy(to, to_host(device), bytes);
}

int32_t simcuda_place(const void *address, int32_t *device, void **start, uint64_t *bytes) {
  const std::lock_guard<std::mutex> lock(host_blocks_mutex);
  const auto found = host_block(address);
  if (found == host_blocks.end()) return 0;
  if (device != nullptr) *device = found->second.device;
  if (start != nullptr) *start = reinterpret_cast<void *>(found->first);
  if (bytes != nullptr) *bytes = found->second.bytes;
  return 1;
}
