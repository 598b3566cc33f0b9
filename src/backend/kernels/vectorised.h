// Loops over numbers, compiled for several instruction sets, and what they share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

// The library is built for the oldest x86-64; these functions are compiled for newer ones too,
// and the loader picks.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && \
    __GNUC__ >= 12
#define CVX_VECTORISED \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#elif defined(__x86_64__) && defined(__linux__) && defined(__GNUC__)
#define CVX_VECTORISED __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CVX_VECTORISED
#endif

namespace cvx {

// e^x to about one unit in the last place, for x in [-87, 88]; NaN stays NaN. After Cephes'
// expf: 2^n · e^r with |r| <= ln 2 / 2.
static inline float exp_in_range(float x) {
  constexpr float kShift = 12582912.0f;  // 1.5 · 2^23: adding it rounds to an integer
  const float shifted = x * 1.44269504088896341f + kShift;
  const float n = shifted - kShift;
  uint32_t exponent, shift;
  std::memcpy(&exponent, &shifted, sizeof exponent);
  std::memcpy(&shift, &kShift, sizeof shift);
  const uint32_t bits = (exponent - shift + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  return (p * r * r + r + 1.0f) * power;
}

// Between what exp_in_range is asked; to be read before a loop. Where the compiler knew them it would work out x / (1 + e^88) for
// every x, to use it for the few beyond; for common x that is a denormal number, and a division that
// makes one takes five times as long.
static const volatile float kLeast = -87.0f, kMost = 88.0f;

// x / (1 + e^-z), `least` and `most` being kLeast and kMost.
static inline float times_logistic(float x, float z, float least, float most) {
  return x / (1.0f + exp_in_range(std::min(std::max(-z, least), most)));
}

}  // namespace cvx
