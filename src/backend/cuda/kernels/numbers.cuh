// Eight numbers at a time, as the kernels read and write them: 16 bytes in half precision, 32 in
// float32. Everything is computed in float32 and rounded once, to nearest even.
#pragma once

#ifdef __CUDACC_RTC__
#define CVX_EXPORT(kernel)
template <class T>
__device__ __forceinline__ T *aligned(T *address) {
  return address;
}
#else
#include "cuda_on_cpu.h"  // of tests/device/kernels: the same source on the CPU
#endif

typedef unsigned short u16;
typedef unsigned int u32;

struct bf16 {
  u16 bits;
};
struct f16 {
  u16 bits;
};

struct alignas(16) Words {
  u32 at[4];
};

// ---- Two numbers in a word ----------------------------------------------------------------------

#ifdef __CUDACC_RTC__

__device__ __forceinline__ u32 bits_of(float x) { return __float_as_uint(x); }
__device__ __forceinline__ float float_of(u32 bits) { return __uint_as_float(bits); }

__device__ __forceinline__ u32 pack(float low, float high, bf16) {
  u32 word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
}

__device__ __forceinline__ u32 pack(float low, float high, f16) {
  u32 word;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
}

__device__ __forceinline__ float wide(u16 bits, f16) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
  return x;
}

#endif

__device__ __forceinline__ float wide(u16 bits, bf16) { return float_of(u32(bits) << 16); }

// ---- Eight numbers ------------------------------------------------------------------------------

template <class T>
__device__ __forceinline__ void load(const T *from, float (&x)[8]) {
  const Words words = *reinterpret_cast<const Words *>(aligned(from));
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    x[2 * i] = wide(u16(words.at[i]), T());
    x[2 * i + 1] = wide(u16(words.at[i] >> 16), T());
  }
}

__device__ __forceinline__ void load(const float *from, float (&x)[8]) {
  const Words *const words = reinterpret_cast<const Words *>(aligned(from));
  const Words low = words[0], high = words[1];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    x[i] = float_of(low.at[i]);
    x[4 + i] = float_of(high.at[i]);
  }
}

// Writes x, and leaves in it what was written.
template <class T>
__device__ __forceinline__ void store(T *to, float (&x)[8]) {
  Words words;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    words.at[i] = pack(x[2 * i], x[2 * i + 1], T());
    x[2 * i] = wide(u16(words.at[i]), T());
    x[2 * i + 1] = wide(u16(words.at[i] >> 16), T());
  }
  *reinterpret_cast<Words *>(aligned(to)) = words;
}

__device__ __forceinline__ void store(float *to, float (&x)[8]) {
  Words low, high;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    low.at[i] = bits_of(x[i]);
    high.at[i] = bits_of(x[4 + i]);
  }
  Words *const words = reinterpret_cast<Words *>(aligned(to));
  words[0] = low;
  words[1] = high;
}
