// A stand-in for NVIDIA's driver, libcuda.so.1, as far as it is asked for its devices. They are
// those of the simulated libtorch_cuda.so: device.cpp has the environment that says what they are.
// SIMCUDA_DRIVER_DEVICES says how many of them there are here, where that is another number, and
// SIMCUDA_LUID (1) that they have LUIDs, as on Windows.
#include "driver.h"

#include <dlfcn.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace {

uint64_t number(const char *name, uint64_t otherwise) {
  const char *text = std::getenv(name);
  return text != nullptr && *text != '\0' ? std::strtoull(text, nullptr, 10) : otherwise;
}

int devices() {
  return static_cast<int>(number("SIMCUDA_DRIVER_DEVICES", number("SIMCUDA_DEVICES", 1)));
}

bool initialized = false;

int check(int device) {
  if (!initialized) return kNotInitialized;
  return device >= 0 && device < devices() ? kSuccess : kInvalidDevice;
}

}  // namespace

DRIVER_API int cuInit(unsigned flags) {
  if (flags != 0) return kInvalidValue;
  if (devices() == 0) return kNoDevice;
  initialized = true;
  return kSuccess;
}

DRIVER_API int cuDeviceGetCount(int *count) {
  if (!initialized) return kNotInitialized;
  *count = devices();
  return kSuccess;
}

DRIVER_API int cuDeviceGet(int *device, int ordinal) {
  if (const int status = check(ordinal)) return status;
  *device = ordinal;
  return kSuccess;
}

DRIVER_API int cuDeviceGetName(char *name, int size, int device) {
  if (const int status = check(device)) return status;
  std::snprintf(name, static_cast<size_t>(size), "Simulated GPU %d", device);
  return kSuccess;
}

// The device's number in every byte.
DRIVER_API int cuDeviceGetUuid_v2(unsigned char *uuid, int device) {
  if (const int status = check(device)) return status;
  std::memset(uuid, device + 1, 16);
  return kSuccess;
}

DRIVER_API int cuDeviceTotalMem_v2(size_t *bytes, int device) {
  if (const int status = check(device)) return status;
  *bytes = number("SIMCUDA_MEMORY", uint64_t{16} << 30);
  return kSuccess;
}

DRIVER_API int cuDeviceGetAttribute(int *value, int attribute, int device) {
  if (const int status = check(device)) return status;
  const auto capability = static_cast<int>(number("SIMCUDA_CAPABILITY", 90));
  if (attribute != 75 && attribute != 76) return kInvalidValue;
  *value = attribute == 75 ? capability / 10 : capability % 10;
  return kSuccess;
}

// The device's number in every byte.
DRIVER_API int cuDeviceGetLuid(char *luid, unsigned *node_mask, int device) {
  if (const int status = check(device)) return status;
  constexpr int kNotSupported = 801;
  if (number("SIMCUDA_LUID", 0) == 0) return kNotSupported;
  std::memset(luid, device + 1, 8);
  *node_mask = 1u << device;
  return kSuccess;
}

// ---- Addresses ----------------------------------------------------------------------------------

// Of memory that a host took by itself the simulated libtorch_cuda.so knows where it is; of other
// addresses on a device, no more than that they are on one.
DRIVER_API int cuPointerGetAttribute(void *value, int attribute, uintptr_t address) {
  if (!initialized) return kNotInitialized;
  if ((address >> 62) != 1) return kInvalidValue;
  int32_t device = 0;
  void *start = nullptr;
  uint64_t bytes = 0;
  bool known = false;
  if (void *const backend = dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_NOLOAD)) {
    using Place = int32_t (*)(const void *, int32_t *, void **, uint64_t *);
    const auto ask = reinterpret_cast<Place>(dlsym(backend, "simcuda_place"));
    known = ask != nullptr && ask(reinterpret_cast<void *>(address), &device, &start, &bytes) != 0;
    dlclose(backend);
  }
  switch (attribute) {
    case 2: *static_cast<unsigned *>(value) = 2; return kSuccess;  // CU_MEMORYTYPE_DEVICE
    case 8: *static_cast<bool *>(value) = false; return kSuccess;
    case 9: *static_cast<int *>(value) = device; return kSuccess;
    case 11: *static_cast<void **>(value) = start; break;
    case 12: *static_cast<size_t *>(value) = bytes; break;
    default: return kInvalidValue;
  }
  return known ? kSuccess : kInvalidValue;
}

// ---- Streams and contexts -----------------------------------------------------------------------
// Nothing is under way here, so all there is to see is who waits for whom.

namespace {

struct Stream {
  int context;  // 0 is the primary one
};

struct Event {
  int context;
  bool hosts;
  std::string of;  // what it was recorded behind; nothing yet
};

std::mutex mutex;
std::set<Event *> events;
std::vector<std::string> orders;
thread_local std::vector<int> contexts;

// Primary contexts of devices but the first, whose number is 0, begin here.
constexpr int kPrimary = 1000;

int context_of(Stream *stream) { return stream != nullptr ? stream->context : 0; }
int current() { return contexts.empty() ? 0 : contexts.back(); }
std::string name(Stream *stream) { return stream == nullptr ? "library" : "host"; }

}  // namespace

int current_context() { return current(); }

int tell_launch(const char *name) {
  void *const backend = dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_NOLOAD);
  if (backend == nullptr) return 0;  // nobody counts
  using Launch = int32_t (*)(const char *);
  const auto launch = reinterpret_cast<Launch>(dlsym(backend, "simcuda_launch"));
  const int lost = launch == nullptr ? 0 : launch(name);
  dlclose(backend);
  return lost;
}

DRIVER_API int cuDevicePrimaryCtxRetain(void **context, int device) {
  if (device < 0 || device >= devices()) return kInvalidDevice;
  const int number = device == 0 ? 0 : kPrimary + device;
  *context = reinterpret_cast<void *>(static_cast<intptr_t>(number + 1));
  return kSuccess;
}

DRIVER_API int cuDevicePrimaryCtxRelease_v2(int device) {
  return device >= 0 && device < devices() ? kSuccess : kInvalidDevice;
}

DRIVER_API int cuStreamGetCtx(Stream *stream, void **context) {
  *context = reinterpret_cast<void *>(static_cast<intptr_t>(context_of(stream) + 1));
  return kSuccess;
}

DRIVER_API int cuCtxPushCurrent_v2(void *context) {
  contexts.push_back(static_cast<int>(reinterpret_cast<intptr_t>(context)) - 1);
  return kSuccess;
}

DRIVER_API int cuCtxPopCurrent_v2(void **context) {
  if (contexts.empty()) return kInvalidContext;
  *context = reinterpret_cast<void *>(static_cast<intptr_t>(contexts.back() + 1));
  contexts.pop_back();
  return kSuccess;
}

namespace {
Event *make_event(int context, bool hosts) {
  const std::lock_guard<std::mutex> lock(mutex);
  return *events.insert(new Event{context, hosts, ""}).first;
}
}  // namespace

DRIVER_API int cuEventCreate(Event **event, unsigned) {
  *event = make_event(current(), false);
  return kSuccess;
}

DRIVER_API int cuEventDestroy_v2(Event *event) {
  const std::lock_guard<std::mutex> lock(mutex);
  if (events.erase(event) == 0) return kInvalidHandle;
  delete event;
  return kSuccess;
}

// An event and the stream that it is recorded on are of one context.
DRIVER_API int cuEventRecord(Event *event, Stream *stream) {
  const std::lock_guard<std::mutex> lock(mutex);
  if (events.count(event) == 0 || context_of(stream) != current() || event->context != current())
    return kInvalidHandle;
  event->of = name(stream);
  if (event->hosts) orders.push_back(event->of + " > event");
  return kSuccess;
}

// For one that was never recorded nothing is waited.
DRIVER_API int cuStreamWaitEvent(Stream *stream, Event *event, unsigned) {
  const std::lock_guard<std::mutex> lock(mutex);
  if (events.count(event) == 0) return kInvalidHandle;
  if (!event->of.empty())
    orders.push_back(event->of + (event->hosts ? " > event > " : " > ") + name(stream));
  return kSuccess;
}

// For tests: a stream of a context, which lives for ever; and what was ordered behind what, one line
// each, since it was asked last.
DRIVER_API void *simdriver_stream(int context) { return new Stream{context}; }

// For tests: an event of a context, as cuEventCreate makes it there for a host; recorded by the host on
// such a stream.
DRIVER_API void *simdriver_event(int context) { return make_event(context, true); }
DRIVER_API int simdriver_record(Event *event, Stream *stream) {
  contexts.push_back(context_of(stream));
  const int status = cuEventRecord(event, stream);
  contexts.pop_back();
  return status;
}

DRIVER_API const char *simdriver_orders() {
  static std::string text;
  const std::lock_guard<std::mutex> lock(mutex);
  text.clear();
  for (const std::string &order : orders) text += order + "\n";
  orders.clear();
  return text.c_str();
}
