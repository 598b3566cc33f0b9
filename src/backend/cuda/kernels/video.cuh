// What lies between the convolutions of the VAE. Videos are dense, frames × height × width ×
// channels; channels are a multiple of 8 and at most 2048.
#pragma once

#include "numbers.cuh"

constexpr int kMomentThreads = 256;

// How many numbers there were, their mean, and the sum of squared differences from it. (Chan, Golub
// and LeVeque 1983: a mean far from zero costs the variance no digits.)
struct Moments {
  float count, mean, squares;
};

__device__ __forceinline__ void merge(Moments &into, const Moments &other) {
  const float count = into.count + other.count;
  if (other.count == 0) return;
  const float difference = other.mean - into.mean, share = other.count / count;
  into.mean += difference * share;
  into.squares += other.squares + difference * difference * into.count * share;
  into.count = count;
}

// Means and sums of squares of the channels over `chunk` rows for each block, to
// partial[block][channel][2]. A thread has eight channels of every `steps`-th row.
template <class T>
__device__ __forceinline__ void moments(const T *x, float *partial, long long rows, int channels,
                                        long long chunk) {
  __shared__ float means[kMomentThreads * 8], squares[kMomentThreads * 8];
  __shared__ float counts[kMomentThreads];
  const int lanes = channels / 8, steps = kMomentThreads / lanes;
  const int lane = threadIdx.x % lanes, step = threadIdx.x / lanes;
  const long long start = blockIdx.x * chunk;
  const long long end = start + chunk < rows ? start + chunk : rows;
  float mean[8] = {}, square[8] = {}, count = 0;
  if (step < steps) {
#pragma unroll 1
    for (long long row = start + step; row < end; row += steps) {
      float v[8];
      load(x + row * channels + lane * 8, v);
      count += 1;
      const float share = 1 / count;
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const float difference = v[i] - mean[i];
        mean[i] += difference * share;
        square[i] += difference * (v[i] - mean[i]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    means[threadIdx.x * 8 + i] = mean[i];
    squares[threadIdx.x * 8 + i] = square[i];
  }
  counts[threadIdx.x] = count;
  __syncthreads();
#pragma unroll 1
  for (int channel = threadIdx.x; channel < channels; channel += kMomentThreads) {
    Moments all = {0, 0, 0};
#pragma unroll 1
    for (int i = 0; i < steps; ++i) {
      const int thread = i * lanes + channel / 8, at = thread * 8 + channel % 8;
      merge(all, {counts[thread], means[at], squares[at]});
    }
    float *const to = partial + (blockIdx.x * (long long)channels + channel) * 2;
    to[0] = all.mean;
    to[1] = all.squares;
  }
}

// From those of `blocks` blocks, the mean of each group of channels, then the variance of each, in
// `out`. A block has a group.
__device__ __forceinline__ void moments_of_groups(const float *partial, float *out, long long rows,
                                                  int channels, long long chunk, int blocks) {
  __shared__ float means[kMomentThreads], squares[kMomentThreads], counts[kMomentThreads];
  const int width = channels / gridDim.x, group = blockIdx.x;
  Moments all = {0, 0, 0};
#pragma unroll 1
  for (int i = threadIdx.x; i < blocks * width; i += kMomentThreads) {
    const int block = i / width, channel = group * width + i % width;
    const long long left = rows - block * chunk;
    const float *const from = partial + (block * (long long)channels + channel) * 2;
    merge(all, {(float)(left < chunk ? left : chunk), from[0], from[1]});
  }
#pragma unroll 1
  for (u32 half = kMomentThreads / 2; half > 0; half >>= 1) {
    counts[threadIdx.x] = all.count;
    means[threadIdx.x] = all.mean;
    squares[threadIdx.x] = all.squares;
    __syncthreads();
    if (threadIdx.x < half) {
      const u32 other = threadIdx.x + half;
      merge(all, {counts[other], means[other], squares[other]});
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) {
    out[group] = all.mean;
    out[gridDim.x + group] = all.squares / all.count;
  }
}

constexpr int kMostFrames = 64;

// Which frame of the modulation each frame of the video belongs to.
struct Frames {
  int of[kMostFrames];
};

// out = silu(x · scale + shift). A pixel of `modulation` (frames, lines, pixels, 2 · channels) has
// scales, then shifts, and serves a rectangle of the video's, as in nearest-neighbour upsampling. A
// thread has eight channels of a pixel; the grid's second side is frames.
template <class T>
__device__ __forceinline__ void modulate_silu(const T *x, T *out, const float *modulation,
                                              const Frames &frames, int height, int width,
                                              int channels, int lines, int pixels) {
  const u32 lanes = channels / 8, vectors = (u32)height * width * lanes;
  const u32 vector = blockIdx.x * blockDim.x + threadIdx.x;
  if (vector >= vectors) return;
  const u32 pixel = vector / lanes, lane = vector - pixel * lanes;
  const u32 row = pixel / width, column = pixel - row * width;
  const u32 line = row / (height / lines), place = column / (width / pixels);
  const long long table = ((long long)frames.of[blockIdx.y] * lines + line) * pixels + place;
  const long long at = ((long long)blockIdx.y * vectors + vector) * 8;
  float v[8], scale[8], shift[8];
  load(x + at, v);
  load(modulation + table * 2 * channels + lane * 8, scale);
  load(modulation + table * 2 * channels + channels + lane * 8, shift);
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const float y = v[i] * scale[i] + shift[i];
    v[i] = y / (1 + expf(-y));
  }
  store(out + at, v);
}

#define CVX_VIDEO(T)                                                                             \
  extern "C" __global__ void __launch_bounds__(kMomentThreads) cvx_moments_##T(                  \
      const T *x, float *partial, long long rows, int channels, long long chunk) {               \
    moments(x, partial, rows, channels, chunk);                                                  \
  }                                                                                              \
  CVX_EXPORT(cvx_moments_##T)                                                                    \
  extern "C" __global__ void __launch_bounds__(256) cvx_modulate_silu_##T(                       \
      const T *x, T *out, const float *modulation, Frames frames, int height, int width,         \
      int channels, int lines, int pixels) {                                                     \
    modulate_silu(x, out, modulation, frames, height, width, channels, lines, pixels);           \
  }                                                                                              \
  CVX_EXPORT(cvx_modulate_silu_##T)

CVX_VIDEO(bf16)
CVX_VIDEO(f16)
CVX_VIDEO(float)

extern "C" __global__ void __launch_bounds__(kMomentThreads) cvx_moments_of_groups(
    const float *partial, float *out, long long rows, int channels, long long chunk, int blocks) {
  moments_of_groups(partial, out, rows, channels, chunk, blocks);
}
CVX_EXPORT(cvx_moments_of_groups)
