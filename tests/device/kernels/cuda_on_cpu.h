// What the kernels of src/backend/cuda/kernels need of CUDA, on the CPU: the same source, compiled by a
// C++ compiler, runs a block at a time. Each thread of a block has a stack of its own and runs until it
// waits for others, at a barrier or in a shuffle. What can't go on is told as a deadlock, an address
// that is not a multiple of 16 as misaligned, and threads may be run in either order, so that what
// depends on the order shows.
//
// Not shown: rounding of rsqrtf and expf, which CUDA has in its own way; memory that several blocks
// write; time.
#pragma once

#include <math.h>
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
// A block is run by one thread of the CPU, from begin to end.
#define __shared__ static thread_local

struct bf16;
struct f16;
template <class T>
struct PerToken;
struct Frames;

struct Side3 {
  unsigned x = 1, y = 1, z = 1;
};

inline thread_local Side3 threadIdx, blockIdx, blockDim, gridDim;

namespace cuda_on_cpu {

constexpr unsigned kWarp = 32;
constexpr size_t kStack = 64 << 10;

class Block {
 public:
  enum class Order { kForward, kBackward };

  // Runs `kernel` by all threads of one block. blockIdx and its likes are set by the caller.
  template <class Kernel>
  void run(unsigned threads, Order order, Kernel &&kernel) {
    work_ = [](void *kernel) { (*static_cast<std::remove_reference_t<Kernel> *>(kernel))(); };
    kernel_ = &kernel;
    while (threads_.size() < threads) add();
    live_ = threads;
    for (unsigned i = 0; i < threads; ++i) threads_[i]->state = State::kReady;
    current_block = this;
    left_ = threads;
    const unsigned warps = (threads + kWarp - 1) / kWarp;
    while (left_ > 0) {
      // Each warp as far as it comes before the next one moves: what lacks a barrier shows.
      bool any = false;
      for (unsigned i = 0; i < warps; ++i)
        while (step(order == Order::kForward ? i : warps - 1 - i, order)) any = true;
      if (!failure_ && left_ > 0 && !any && !pass_barrier())
        failure_ = std::make_exception_ptr(
            std::logic_error("deadlock: threads of a block wait in different places"));
      if (failure_) {
        threads_.clear();  // stacks in the middle of a kernel
        std::rethrow_exception(std::exchange(failure_, nullptr));
      }
    }
  }

  void barrier() {
    running_->state = State::kBarrier;
    pause();
  }

  float shuffle(unsigned mask, float value, unsigned other) {
    Thread &thread = *running_;
    if ((mask >> (thread.number % kWarp) & 1) == 0)
      throw std::logic_error("a shuffle by a thread that is not in its mask");
    thread.state = State::kShuffle;
    thread.mask = mask;
    thread.value = value;
    thread.other = other;
    pause();
    return thread.received;
  }

  static inline thread_local Block *current_block = nullptr;

 private:
  enum class State { kReady, kBarrier, kShuffle, kDone };

  struct Thread {
    unsigned number;
    State state = State::kDone;
    unsigned mask = 0, other = 0;
    float value = 0, received = 0;
    bool started = false;
    ucontext_t first;
    jmp_buf at;
    std::unique_ptr<char[]> stack;
  };

  void add() {
    auto thread = std::make_unique<Thread>();
    thread->number = static_cast<unsigned>(threads_.size());
    thread->stack.reset(new char[kStack]);
    threads_.push_back(std::move(thread));
  }

  // A new stack begins with makecontext; from then on _setjmp and _longjmp go from one to another,
  // without a call of the system.
  void resume(Thread &thread) {
    running_ = &thread;
    threadIdx = {thread.number, 0, 0};
    if (_setjmp(scheduler_) != 0) return;
    if (thread.started) _longjmp(thread.at, 1);
    thread.started = true;
    getcontext(&thread.first);
    thread.first.uc_stack.ss_sp = thread.stack.get();
    thread.first.uc_stack.ss_size = kStack;
    thread.first.uc_link = nullptr;
    makecontext(&thread.first, &Block::body, 0);
    setcontext(&thread.first);
  }

  static void body() {
    for (;;) {
      Block &block = *current_block;
      try {
        block.work_(block.kernel_);
      } catch (...) {
        block.failure_ = std::current_exception();
      }
      block.running_->state = State::kDone;
      block.pause();
    }
  }

  void pause() {
    Thread &thread = *running_;
    if (_setjmp(thread.at) == 0) _longjmp(scheduler_, 1);
  }

  // Runs the threads of a warp that can run, then lets those go on that have met in a shuffle: whether
  // anything was done.
  bool step(unsigned warp, Order order) {
    const unsigned first = warp * kWarp, end = std::min(live_, first + kWarp);
    bool any = false;
    for (unsigned i = first; i < end && !failure_; ++i) {
      Thread &thread = *threads_[order == Order::kForward ? i : first + end - 1 - i];
      if (thread.state != State::kReady) continue;
      any = true;
      resume(thread);
      if (thread.state == State::kDone) --left_;
    }
    if (failure_) return false;
    std::vector<Thread *> go;
    for (unsigned i = first; i < end; ++i) {
      const Thread &thread = *threads_[i];
      if (thread.state == State::kShuffle && all_in(thread.mask, first, end))
        go.push_back(threads_[i].get());
    }
    // All values are read before any of them goes on.
    for (Thread *thread : go) {
      const unsigned lane = (thread->number % kWarp) ^ thread->other;
      const bool there = lane < kWarp && (thread->mask >> lane & 1) != 0;
      thread->received = there ? threads_[first + lane]->value : std::nanf("");
    }
    for (Thread *thread : go) thread->state = State::kReady;
    return any || !go.empty();
  }

  // Lets all go on if all that are there have come to the barrier.
  bool pass_barrier() {
    unsigned waiting = 0;
    for (unsigned i = 0; i < live_; ++i) waiting += threads_[i]->state == State::kBarrier;
    if (waiting != left_) return false;
    for (unsigned i = 0; i < live_; ++i)
      if (threads_[i]->state == State::kBarrier) threads_[i]->state = State::kReady;
    return true;
  }

  bool all_in(unsigned mask, unsigned warp, unsigned end) const {
    for (unsigned lane = 0; lane < kWarp; ++lane) {
      if ((mask >> lane & 1) == 0) continue;
      if (warp + lane >= end) return false;
      const Thread &thread = *threads_[warp + lane];
      if (thread.state != State::kShuffle || thread.mask != mask) return false;
    }
    return true;
  }

  void (*work_)(void *) = nullptr;
  void *kernel_ = nullptr;
  unsigned live_ = 0, left_ = 0;
  std::vector<std::unique_ptr<Thread>> threads_;
  Thread *running_ = nullptr;
  std::exception_ptr failure_;
  jmp_buf scheduler_;
};

// ---- Launching ----------------------------------------------------------------------------------

// What a launch gives: addresses are turned into those of the host by `host`.
struct Launch {
  Side3 grid, block;
  Block::Order order = Block::Order::kForward;
  void *(*host)(const void *) = [](const void *address) { return const_cast<void *>(address); };
};

template <class T>
void to_host(T &argument, const Launch &launch) {
  if constexpr (std::is_pointer_v<T>) {
    if (argument != nullptr) argument = static_cast<T>(launch.host(argument));
  } else {
    static_assert(std::is_arithmetic_v<T>, "a struct of which it is not known where its addresses are");
  }
}

template <class T>
void to_host(PerToken<T> &argument, const Launch &launch) {
  to_host(argument.video, launch);
  to_host(argument.text, launch);
}

inline void to_host(Frames &, const Launch &) {}

template <class... A>
void run(void (*kernel)(A...), const Launch &launch, std::tuple<std::decay_t<A>...> arguments) {
  std::apply([&](auto &...argument) { (to_host(argument, launch), ...); }, arguments);
  static thread_local Block block;
  gridDim = launch.grid;
  blockDim = launch.block;
  for (unsigned y = 0; y < launch.grid.y; ++y) {
    for (unsigned x = 0; x < launch.grid.x; ++x) {
      blockIdx = {x, y, 0};
      block.run(launch.block.x, launch.order, [&] { std::apply(kernel, arguments); });
    }
  }
}

// As cuLaunchKernel has them: one address for each argument.
template <class... A, size_t... I>
void run_untyped(void (*kernel)(A...), const Launch &launch, void **arguments,
                 std::index_sequence<I...>) {
  run(kernel, launch, {*static_cast<std::decay_t<A> *>(arguments[I])...});
}

using Runner = void (*)(const Launch &, void **);

// By their names.
inline std::map<std::string, Runner> &kernels() {
  static std::map<std::string, Runner> all;
  return all;
}

template <auto kernel>
struct Untyped;

template <class... A, void (*kernel)(A...)>
struct Untyped<kernel> {
  static void run(const Launch &launch, void **arguments) {
    run_untyped(kernel, launch, arguments, std::index_sequence_for<A...>());
  }
};

struct Export {
  Export(const char *name, Runner runner) { kernels()[name] = runner; }
};

}  // namespace cuda_on_cpu

#define CVX_EXPORT(kernel)                                  \
  static const cuda_on_cpu::Export kernel##_is_exported(    \
      #kernel, &cuda_on_cpu::Untyped<&kernel>::run);

// ---- CUDA's functions ---------------------------------------------------------------------------

inline void __syncthreads() { cuda_on_cpu::Block::current_block->barrier(); }

inline float __shfl_xor_sync(unsigned mask, float value, unsigned other) {
  return cuda_on_cpu::Block::current_block->shuffle(mask, value, other);
}

inline float rsqrtf(float x) { return 1 / std::sqrt(x); }


template <class T>
T *aligned(T *address) {
  if (reinterpret_cast<uintptr_t>(address) % 16 != 0) throw std::logic_error("misaligned address");
  return address;
}

// ---- Two numbers in a word ----------------------------------------------------------------------

inline uint32_t bits_of(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

inline float float_of(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

inline uint32_t to_bf16(float x) {
  const uint32_t bits = bits_of(x);
  if (x != x) return 0x7fff;
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

// Half of IEEE 754, by arithmetic in double, which holds all that is needed.
inline uint32_t to_f16(float x) {
  if (x != x) return 0x7fff;
  const uint32_t sign = bits_of(x) >> 16 & 0x8000;
  const double size = std::fabs(static_cast<double>(x));
  if (size >= 65520) return sign | 0x7c00;
  // The distance between neighbours; 2^-24 among the smallest.
  int exponent = -14;
  if (size >= std::ldexp(1.0, -14)) std::frexp(size, &exponent), --exponent;
  const double steps = std::nearbyint(std::ldexp(size, 10 - exponent));
  return sign | static_cast<uint32_t>((exponent + 14) * 1024 + steps);
}

inline float of_f16(uint32_t bits) {
  const int exponent = static_cast<int>(bits >> 10 & 31);
  const double fraction = bits & 1023;
  double size;
  if (exponent == 31) size = fraction == 0 ? INFINITY : NAN;
  else if (exponent == 0) size = std::ldexp(fraction, -24);
  else size = std::ldexp(1024 + fraction, exponent - 25);
  return static_cast<float>((bits & 0x8000) != 0 ? -size : size);
}

inline uint32_t pack(float low, float high, const bf16 &) {
  return to_bf16(low) | to_bf16(high) << 16;
}

inline uint32_t pack(float low, float high, const f16 &) {
  return to_f16(low) | to_f16(high) << 16;
}

inline float wide(uint16_t bits, const f16 &) { return of_f16(bits); }
