// What lies between the matrix products of a transformer block.
//
// Tokens are (batch × tokens) rows of `width` numbers, of which the first `text` of each batch row are
// the text's. Widths are multiples of 8, and all addresses multiples of 16.
#pragma once

#include "numbers.cuh"

// ---- Norms of query and key, and their rotary positions -----------------------------------------

// (batch × tokens, 3, heads, head_dim), of which query and key are normed in place. Eight threads have
// one head, eight numbers each; head_dim is at most 64. `rotary` has cosine and sine for each pair of
// numbers of each video token; NULL: positions are not turned. `units` is heads × 2 × rows. Threads are
// counted in 32 bits: dividing 64 takes longer than the rest.
template <class T>
__device__ __forceinline__ void norm_heads(T *qkv, const T *query_weight, const T *query_bias,
                                           const T *key_weight, const T *key_bias,
                                           const float *rotary, int tokens, int text, int heads,
                                           int head_dim, u32 units, float epsilon) {
  const u32 unit = blockIdx.x * (blockDim.x >> 3) + (threadIdx.x >> 3);
  if (unit >= units) return;  // all eight threads of a head together
  const int lane = threadIdx.x & 7;
  const bool has_numbers = lane * 8 < head_dim;
  const u32 row = unit / (2 * heads);
  const int in_row = unit - row * (2 * heads);
  const bool is_key = in_row >= heads;
  T *const at = qkv + ((long long)row * 3 * heads + in_row) * head_dim + lane * 8;

  float x[8] = {};
  if (has_numbers) load(at, x);
  float sum = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) sum += x[i];
  const u32 together = 0xffu << (threadIdx.x & 24);
#pragma unroll
  for (int other = 4; other > 0; other >>= 1) sum += __shfl_xor_sync(together, sum, other);
  const float mean = sum / head_dim;
  float squares = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    x[i] -= mean;
    squares += x[i] * x[i];
  }
  if (!has_numbers) squares = 0;
#pragma unroll
  for (int other = 4; other > 0; other >>= 1) squares += __shfl_xor_sync(together, squares, other);
  if (!has_numbers) return;

  const float scale = rsqrtf(squares / head_dim + epsilon);
  float weight[8], bias[8];
  load((is_key ? key_weight : query_weight) + lane * 8, weight);
  load((is_key ? key_bias : query_bias) + lane * 8, bias);
#pragma unroll
  for (int i = 0; i < 8; ++i) x[i] = x[i] * scale * weight[i] + bias[i];

  const int token = row % (u32)tokens;
  if (rotary != nullptr && token >= text) {
    float turn[8];
    load(rotary + (long long)(token - text) * head_dim + lane * 8, turn);
#pragma unroll
    for (int i = 0; i < 8; i += 2) {
      const float a = x[i], b = x[i + 1];
      x[i] = a * turn[i] - b * turn[i + 1];
      x[i + 1] = a * turn[i + 1] + b * turn[i];
    }
  }
  store(at, x);
}

// ---- Gate, residual, norm, modulation -----------------------------------------------------------

// A vector of `width` for the video's tokens, and one for the text's.
template <class T>
struct PerToken {
  const T *video, *text;
};

constexpr int kRowThreads = 128;

// The sum over the threads of a block.
__device__ __forceinline__ float over_row(float x, float *shared) {
#pragma unroll
  for (int other = 16; other > 0; other >>= 1) x += __shfl_xor_sync(0xffffffffu, x, other);
  if ((threadIdx.x & 31) == 0) shared[threadIdx.x >> 5] = x;
  __syncthreads();
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kRowThreads / 32; ++i) sum += shared[i];
  __syncthreads();
  return sum;
}

// A block has a row. With `branch`: x += gate · branch, in place. Then
// out = (norm(x) · weight + bias) · (1 + scale) + shift, where weight and bias may be NULL. A thread
// has `kParts` times eight numbers at most.
template <int kParts, bool kGated, class T>
__device__ __forceinline__ void norm_modulate(T *x, const T *branch, PerToken<T> gate, T *out,
                                              const T *weight, const T *bias, PerToken<T> scale,
                                              PerToken<T> shift, int width, int tokens, int text,
                                              float epsilon) {
  __shared__ float shared[kRowThreads / 32];
  const bool is_text = blockIdx.x % (u32)tokens < (u32)text;
  const long long start = (long long)blockIdx.x * width;
  float v[kParts][8] = {};
  float sum = 0;
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
    const int at = (part * kRowThreads + (int)threadIdx.x) * 8;
    if (at >= width) continue;
    load(x + start + at, v[part]);
    if (kGated) {
      float b[8], g[8];
      load(branch + start + at, b);
      load((is_text ? gate.text : gate.video) + at, g);
#pragma unroll
      for (int i = 0; i < 8; ++i) v[part][i] += g[i] * b[i];
      store(x + start + at, v[part]);
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) sum += v[part][i];
  }
  const float mean = over_row(sum, shared) / width;
  float squares = 0;
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
    if ((part * kRowThreads + (int)threadIdx.x) * 8 >= width) continue;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      v[part][i] -= mean;
      squares += v[part][i] * v[part][i];
    }
  }
  const float inverse = rsqrtf(over_row(squares, shared) / width + epsilon);
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
    const int at = (part * kRowThreads + (int)threadIdx.x) * 8;
    if (at >= width) continue;
    float factor[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) v[part][i] *= inverse;
    if (weight != nullptr) {
      load(weight + at, factor);
#pragma unroll
      for (int i = 0; i < 8; ++i) v[part][i] *= factor[i];
      load(bias + at, factor);
#pragma unroll
      for (int i = 0; i < 8; ++i) v[part][i] += factor[i];
    }
    load((is_text ? scale.text : scale.video) + at, factor);
#pragma unroll
    for (int i = 0; i < 8; ++i) v[part][i] *= 1 + factor[i];
    load((is_text ? shift.text : shift.video) + at, factor);
#pragma unroll
    for (int i = 0; i < 8; ++i) v[part][i] += factor[i];
    store(out + start + at, v[part]);
  }
}

// x += gate · branch, in place. A thread has eight numbers; `vectors` is rows × width / 8.
template <class T>
__device__ __forceinline__ void add_gated(T *x, const T *branch, PerToken<T> gate, int width,
                                          int tokens, int text, u32 vectors) {
  const u32 vector = blockIdx.x * blockDim.x + threadIdx.x;
  if (vector >= vectors) return;
  const u32 each = width / 8, row = vector / each, at = (vector - row * each) * 8;
  const long long from = (long long)vector * 8;
  float v[8], b[8], g[8];
  load(x + from, v);
  load(branch + from, b);
  load((row % (u32)tokens < (u32)text ? gate.text : gate.video) + at, g);
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] += g[i] * b[i];
  store(x + from, v);
}

// ---- For each dtype -----------------------------------------------------------------------------

#define CVX_NORM_MODULATE(T, parts)                                                               \
  extern "C" __global__ void __launch_bounds__(kRowThreads, 6) cvx_norm_modulate_##parts##_##T(      \
      T *x, T *out, const T *weight, const T *bias, PerToken<T> scale, PerToken<T> shift,         \
      int width, int tokens, int text, float epsilon) {                                           \
    norm_modulate<parts, false>(x, (const T *)nullptr, scale, out, weight, bias, scale, shift,    \
                                width, tokens, text, epsilon);                                    \
  }                                                                                               \
  CVX_EXPORT(cvx_norm_modulate_##parts##_##T)                                                     \
  extern "C" __global__ void __launch_bounds__(kRowThreads, 6) cvx_gate_norm_modulate_##parts##_##T( \
      T *x, const T *branch, PerToken<T> gate, T *out, const T *weight, const T *bias,            \
      PerToken<T> scale, PerToken<T> shift, int width, int tokens, int text, float epsilon) {     \
    norm_modulate<parts, true>(x, branch, gate, out, weight, bias, scale, shift, width, tokens,   \
                               text, epsilon);                                                    \
  }                                                                                               \
  CVX_EXPORT(cvx_gate_norm_modulate_##parts##_##T)

#define CVX_TOKENS(T)                                                                             \
  extern "C" __global__ void __launch_bounds__(256) cvx_norm_heads_##T(                           \
      T *qkv, const T *query_weight, const T *query_bias, const T *key_weight, const T *key_bias, \
      const float *rotary, int tokens, int text, int heads, int head_dim, u32 units,              \
      float epsilon) {                                                                            \
    norm_heads(qkv, query_weight, query_bias, key_weight, key_bias, rotary, tokens, text, heads,  \
               head_dim, units, epsilon);                                                         \
  }                                                                                               \
  CVX_EXPORT(cvx_norm_heads_##T)                                                                  \
  CVX_NORM_MODULATE(T, 1)                                                                         \
  CVX_NORM_MODULATE(T, 2)                                                                         \
  CVX_NORM_MODULATE(T, 3)                                                                         \
  extern "C" __global__ void __launch_bounds__(256) cvx_add_gated_##T(                            \
      T *x, const T *branch, PerToken<T> gate, int width, int tokens, int text,                   \
      u32 vectors) {                                                                        \
    add_gated(x, branch, gate, width, tokens, text, vectors);                                     \
  }                                                                                               \
  CVX_EXPORT(cvx_add_gated_##T)

CVX_TOKENS(bf16)
CVX_TOKENS(f16)
CVX_TOKENS(float)
