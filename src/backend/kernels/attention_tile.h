// Attention of some queries of one head in float32, in vectors of one width: included by one file for
// each instruction set, which names the namespace and the sizes. Nothing else is included here: what
// a header of the standard library defines would be compiled for that set, too, and might be the
// copy that the whole library gets.
//
// Scores are kept transposed, keys by queries: every lane of a vector is a query. So a maximum or a sum
// over keys is one of vectors, keys and values are read as they lie, a number at a time for all lanes,
// and nothing but the queries is packed. Softmax is taken block by block of keys (Milakov and
// Gimelshein, arXiv 1805.02867; Dao et al., arXiv 2205.14135). What a query's numbers are does not
// depend on the queries beside it.
#pragma once

#include "attention.h"

namespace cvx {
namespace CVX_ATTENTION_SET {

constexpr int kLanes = CVX_ATTENTION_LANES;
// Sums in registers: so many rows of so many vectors.
constexpr int kRows = CVX_ATTENTION_ROWS, kVectors = CVX_ATTENTION_VECTORS;
constexpr int kWidth = kLanes * kVectors;
static_assert(kAttentionQueries % kWidth == 0, "queries are whole groups");
constexpr int kGroups = kAttentionQueries / kWidth;
// Keys whose scores are held at once.
constexpr int kKeys = 96;
static_assert(kKeys % kRows == 0, "keys are whole tiles");

typedef float Vector __attribute__((vector_size(4 * CVX_ATTENTION_LANES)));
typedef int Whole __attribute__((vector_size(4 * CVX_ATTENTION_LANES)));

static inline Vector all(float x) { return x - Vector{}; }

// e^x to about one unit in the last place, for x <= 0; below -87 that of -87; NaN stays NaN.
static inline Vector exponential(Vector x) {
  const Vector least = all(-87.0f);
  x = least > x ? least : x;
  const Vector magic = all(12582912.0f);  // 1.5 · 2^23: adding it rounds to an integer
  const Vector shifted = x * 1.44269504088896341f + magic;
  const Vector n = shifted - magic;
  // Casts between vectors keep the bits.
  const Whole power = ((Whole)shifted - (Whole)magic + 127) << 23;
  const Vector r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Vector p = all(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  return (p * (r * r) + r + 1.0f) * (Vector)power;
}

// Rows of `to` (rows × kVectors vectors): of row i the sum over k < count of left[i · row + k · step]
// times the vectors k of `right`. With `scale`, added to that many times what is there.
template <int Rows>
static inline void product(const float *left, int64_t row, int64_t step, const Vector *right,
                           int64_t count, const Vector *scale, Vector *to) {
  Vector sum[Rows][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      sum[i][v] = scale != nullptr ? to[i * kVectors + v] * scale[v] : Vector{};
    }
  }
  for (int64_t k = 0; k < count; ++k) {
    Vector of[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) of[v] = right[k * kVectors + v];
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      const Vector by = all(left[i * row + k * step]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sum[i][v] += by * of[v];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) to[i * kVectors + v] = sum[i][v];
  }
}

// The same for any number of rows.
static inline void products(const float *left, int64_t rows, int64_t row, int64_t step,
                            const Vector *right, int64_t count, const Vector *scale, Vector *to) {
  int64_t i = 0;
  for (; i + kRows <= rows; i += kRows) {
    product<kRows>(left + i * row, row, step, right, count, scale, to + i * kVectors);
  }
  for (; i + 2 <= rows; i += 2) {
    product<2>(left + i * row, row, step, right, count, scale, to + i * kVectors);
  }
  if (i < rows) product<1>(left + i * row, row, step, right, count, scale, to + i * kVectors);
}

void attend(const AttentionHead &head, int64_t first, int64_t count) {
  const int64_t size = head.size;
  // Of each group of kWidth queries: a vector for each of the head's numbers.
  Vector query[kGroups][kAttentionHead * kVectors], out[kGroups][kAttentionHead * kVectors];
  Vector scores[kKeys * kVectors], most[kGroups][kVectors], sum[kGroups][kVectors];
  const int64_t groups = (count + kWidth - 1) / kWidth;
  for (int64_t g = 0; g < groups; ++g) {
    float *const packed = reinterpret_cast<float *>(query[g]);
    for (int64_t q = 0; q < kWidth; ++q) {
      const int64_t at = g * kWidth + q;
      const float *const from = head.query + (first + at) * head.query_stride;
      // Queries that are not there are zeros, and their outputs written nowhere.
      for (int64_t d = 0; d < size; ++d) packed[d * kWidth + q] = at < count ? from[d] * head.scale : 0;
    }
    for (int64_t i = 0; i < size * kVectors; ++i) out[g][i] = Vector{};
    for (int v = 0; v < kVectors; ++v) {
      most[g][v] = all(-__builtin_inff());
      sum[g][v] = Vector{};
    }
  }
  for (int64_t start = 0; start < head.keys; start += kKeys) {
    const int64_t keys = head.keys - start < kKeys ? head.keys - start : kKeys;
    const float *const key = head.key + start * head.key_stride;
    const float *const value = head.value + start * head.value_stride;
    for (int64_t g = 0; g < groups; ++g) {
      products(key, keys, head.key_stride, 1, query[g], size, nullptr, scores);
      Vector before[kVectors];
      for (int v = 0; v < kVectors; ++v) {
        Vector high = most[g][v];
        for (int64_t j = 0; j < keys; ++j) {
          const Vector score = scores[j * kVectors + v];
          high = score > high ? score : high;
        }
        before[v] = exponential(most[g][v] - high);
        most[g][v] = high;
        Vector added = Vector{};
        for (int64_t j = 0; j < keys; ++j) {
          const Vector weight = exponential(scores[j * kVectors + v] - high);
          scores[j * kVectors + v] = weight;
          added += weight;
        }
        sum[g][v] = sum[g][v] * before[v] + added;
      }
      products(value, size, 1, head.value_stride, scores, keys, before, out[g]);
    }
  }
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t d = 0; d < size; ++d) {
      for (int v = 0; v < kVectors; ++v) out[g][d * kVectors + v] /= sum[g][v];
    }
    const float *const found = reinterpret_cast<const float *>(out[g]);
    for (int64_t q = 0; q < kWidth && g * kWidth + q < count; ++q) {
      float *const to = head.out + (first + g * kWidth + q) * head.out_stride;
      for (int64_t d = 0; d < size; ++d) to[d] = found[d * kWidth + q];
    }
  }
}

}  // namespace CVX_ATTENTION_SET
}  // namespace cvx
