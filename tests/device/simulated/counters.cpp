// What the simulated device counts, how much memory it has, and the functions for tests.
#include "simcuda.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>

namespace simcuda {
namespace {

// The caching allocator counts in blocks of this size (c10/cuda/CUDACachingAllocator.cpp).
constexpr size_t kBlock = 512;

constexpr const char *kNames[kCounters] = {
#define X(enumerator, name) name,
    SIMCUDA_COUNTERS(X)
#undef X
};

using Tally = std::map<std::string, uint64_t>;

struct State {
  std::array<std::atomic<uint64_t>, kCounters> counters{};
  std::atomic<bool> waits_forbidden{false}, lost{false};
  std::atomic<uint64_t> kernel_time{0};

  std::mutex mutex;  // of what follows
  Tally waits, launches;
  std::array<MemoryUse, kMaxDevices> memory{};
  uint64_t capacity = from_environment("SIMCUDA_MEMORY", uint64_t{16} << 30);
  uint64_t fail_in = 0;
  State() {
    for (MemoryUse &use : memory) use.fraction = 1.0;
  }

  std::set<std::thread::id> threads;
  std::deque<uint64_t> under_way;  // when each launch will be done
  uint64_t busy_until = 0, most_ahead = 0;
};

// Tensors are freed until the very end of the process, so this is never destroyed.
State &state() {
  static State *const state = new State;
  return *state;
}

using Lock = std::lock_guard<std::mutex>;

thread_local bool hosts_context = false;

}  // namespace

void used() {
  if (hosts_context) count(kForeign);
  const Lock lock(state().mutex);
  state().threads.insert(std::this_thread::get_id());
}

uint64_t from_environment(const char *name, uint64_t otherwise) {
  const char *text = std::getenv(name);
  return text != nullptr && *text != '\0' ? std::strtoull(text, nullptr, 10) : otherwise;
}

bool hollow() {
  static const bool is = from_environment("SIMCUDA_HOLLOW", 0) != 0;
  return is;
}

void *hollow_address(size_t bytes) {
  // Far from what the process has mapped, which ends below 2^47.
  static std::atomic<uintptr_t> next{uintptr_t{1} << 48};
  return to_device(reinterpret_cast<void *>(next.fetch_add(bytes)));
}

void count(Counter counter, uint64_t by) { state().counters[counter] += by; }

void check_lost() {
  used();
  TORCH_CHECK(!state().lost, "CUDA error: an illegal memory access was encountered\n(simulated)");
}

void wait(Counter counter, const std::string &reason) {
  State &s = state();
  TORCH_CHECK(!s.waits_forbidden, "simulated CUDA: the host waits for the device (", reason,
              ") where that was forbidden");
  // Where a GPU's asynchronous error surfaces.
  check_lost();
  count(counter);
  count(kWaits);
  const Lock lock(s.mutex);
  ++s.waits[reason];
}

uint64_t now() {
  const auto time = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(time).count());
}

uint64_t busy_until() {
  const Lock lock(state().mutex);
  return state().busy_until;
}

void launch(const std::string &name) {
  State &s = state();
  check_lost();
  count(kKernels);
  const uint64_t time = s.kernel_time;
  const Lock lock(s.mutex);
  ++s.launches[name];
  if (time == 0) return;
  const uint64_t clock = now();
  while (!s.under_way.empty() && s.under_way.front() <= clock) s.under_way.pop_front();
  s.busy_until = std::max(s.busy_until, clock) + time;
  s.under_way.push_back(s.busy_until);
  s.most_ahead = std::max<uint64_t>(s.most_ahead, s.under_way.size());
}

size_t charge(c10::DeviceIndex device, size_t bytes) {
  check_lost();
  const size_t rounded = (bytes + kBlock - 1) / kBlock * kBlock;
  State &s = state();
  const Lock lock(s.mutex);
  MemoryUse &memory = s.memory.at(static_cast<size_t>(device));
  const bool wanted = s.fail_in != 0 && --s.fail_in == 0;
  const auto allowed = static_cast<size_t>(memory.fraction * static_cast<double>(s.capacity));
  if (wanted || memory.now + rounded > allowed) {
    count(kOutOfMemory);
    TORCH_CHECK_WITH(OutOfMemoryError, false, "CUDA out of memory. Tried to allocate ", bytes,
                     " bytes. GPU ", static_cast<int>(device), " has a total capacity of ",
                     s.capacity, " bytes, of which ", allowed, " may and ", memory.now,
                     " do lie in use (simulated",
                     wanted ? ", as a test wants it)" : ")");
  }
  memory.now += rounded;
  memory.peak = std::max(memory.peak, memory.now);
  memory.reserved = std::max(memory.reserved, memory.now);
  count(kAllocations);
  return rounded;
}

void release(c10::DeviceIndex device, size_t charged) noexcept {
  const Lock lock(state().mutex);
  state().memory[static_cast<size_t>(device)].now -= charged;
  count(kFrees);
}

MemoryUse memory_use(c10::DeviceIndex device) {
  const Lock lock(state().mutex);
  MemoryUse use = state().memory.at(static_cast<size_t>(device));
  use.capacity = state().capacity;
  return use;
}

void limit_memory(c10::DeviceIndex device, double fraction) {
  const Lock lock(state().mutex);
  state().memory.at(static_cast<size_t>(device)).fraction = fraction;
}

void reset_memory_peak(c10::DeviceIndex device) {
  const Lock lock(state().mutex);
  MemoryUse &memory = state().memory.at(static_cast<size_t>(device));
  memory.peak = memory.now;
}

void empty_cache() {
  check_lost();
  count(kEmptyCache);
  const Lock lock(state().mutex);
  for (MemoryUse &memory : state().memory) memory.reserved = memory.now;
}

}  // namespace simcuda

using namespace simcuda;

uint64_t simcuda_counter(const char *name) {
  for (int i = 0; i < kCounters; ++i)
    if (std::strcmp(name, kNames[i]) == 0) return state().counters[i];
  return UINT64_MAX;
}

void simcuda_reset() {
  State &s = state();
  for (auto &counter : s.counters) counter = 0;
  const Lock lock(s.mutex);
  s.waits.clear();
  s.launches.clear();
  s.most_ahead = 0;
  s.threads.clear();
  for (MemoryUse &memory : s.memory) memory.peak = memory.now;
}

uint64_t simcuda_memory(int32_t device) {
  return memory_use(static_cast<c10::DeviceIndex>(device)).now;
}

uint64_t simcuda_memory_peak(int32_t device) {
  return memory_use(static_cast<c10::DeviceIndex>(device)).peak;
}

uint64_t simcuda_memory_reserved(int32_t device) {
  return memory_use(static_cast<c10::DeviceIndex>(device)).reserved;
}

void simcuda_set_capacity(uint64_t bytes) {
  const Lock lock(state().mutex);
  state().capacity = bytes;
}

void simcuda_fail_allocation(uint64_t n) {
  const Lock lock(state().mutex);
  state().fail_in = n;
}

void simcuda_forbid_waits(int32_t forbidden) { state().waits_forbidden = forbidden != 0; }

void simcuda_lose_device(int32_t lost) { state().lost = lost != 0; }

int32_t simcuda_launch(const char *name) {
  try {
    launch(name);
    return 0;
  } catch (const c10::Error &) {
    return 1;
  }
}

void simcuda_set_kernel_time(uint64_t nanoseconds) { state().kernel_time = nanoseconds; }

void simcuda_host_context(int32_t current) { hosts_context = current != 0; }

uint64_t simcuda_threads() {
  const Lock lock(state().mutex);
  return state().threads.size();
}

uint64_t simcuda_most_ahead() {
  const Lock lock(state().mutex);
  return state().most_ahead;
}

int32_t simcuda_report(const char *path) {
  std::FILE *const file = std::fopen(path, "w");
  if (file == nullptr) return 1;
  const auto tally = [file](const char *name, const Tally &tally) {
    std::fprintf(file, ",\n \"%s\": {", name);
    const char *comma = "";
    for (const auto &[key, number] : tally) {
      std::fprintf(file, "%s\n  \"%s\": %llu", comma, key.c_str(),
                   static_cast<unsigned long long>(number));
      comma = ",";
    }
    std::fputs("}", file);
  };
  std::fputs("{", file);
  for (int i = 0; i < kCounters; ++i)
    std::fprintf(file, "%s\n \"%s\": %llu", i == 0 ? "" : ",", kNames[i],
                 static_cast<unsigned long long>(state().counters[i].load()));
  const Lock lock(state().mutex);
  tally("waits_by_reason", state().waits);
  tally("launches_by_operator", state().launches);
  std::fputs("\n}\n", file);
  return std::fclose(file);
}
