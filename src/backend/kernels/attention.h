// Attention of one head, for each instruction set that there is a kernel for.
#pragma once

#include <cstdint>

namespace cvx {

// Queries that a kernel takes at once, and the most numbers of a head.
constexpr int kAttentionQueries = 48;
constexpr int kAttentionHead = 128;

// A head of one row of a batch. Strides are in numbers, from one token to the next; the numbers of a
// token lie side by side.
struct AttentionHead {
  const float *query, *key, *value;
  float *out;
  int64_t query_stride, key_stride, value_stride, out_stride;
  int64_t keys, size;
  float scale;
};

// Attended values of `count` queries from `first` on, at most kAttentionQueries.
using Attend = void(const AttentionHead &head, int64_t first, int64_t count);

namespace avx512 {
Attend attend;
}
namespace avx2 {
Attend attend;
}

}  // namespace cvx
