// Scaled dot-product attention in float32 on the CPU: heads and blocks of queries, shared among
// libtorch's threads.
#include "attention.h"

#include "guarded.h"
#include "kernels.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <string>

namespace {

// The instruction set is the one that libtorch takes its kernels for, which its own variable may
// lower (ATEN_CPU_CAPABILITY).
cvx::Attend *kernel() {
#ifdef CVX_X86_KERNELS
  static cvx::Attend *const kernel = []() -> cvx::Attend * {
    const std::string set = at::get_cpu_capability();
    if (set == "AVX512") return cvx::avx512::attend;
    if (set == "AVX2") return cvx::avx2::attend;
    return nullptr;
  }();
  return kernel;
#else
  return nullptr;
#endif
}

const at::Tensor &tokens(cvx_shim_const_tensor tensor) {
  const at::Tensor &t = *static_cast<const at::Tensor *>(tensor);
  TORCH_CHECK(t.is_cpu() && t.scalar_type() == at::kFloat && t.dim() == 4 && t.stride(3) == 1,
              "expected float32 heads on the CPU, whose numbers lie side by side, found ",
              t.scalar_type(), " ", t.sizes());
  return t;
}

}  // namespace

extern "C" {

int32_t cvx_shim_attention_available(int64_t head_size) {
  try {
    return head_size > 0 && head_size <= cvx::kAttentionHead && kernel() != nullptr;
  } catch (...) {
    return 0;
  }
}

cvx_shim_status cvx_shim_attention(cvx_shim_const_tensor query, cvx_shim_const_tensor key,
                                   cvx_shim_const_tensor value, double scale, cvx_shim_tensor out,
                                   char **message) {
  return cvx::guarded(message, [&] {
    const at::Tensor &q = tokens(query), &k = tokens(key), &v = tokens(value), &to = tokens(out);
    const int64_t batch = q.size(0), heads = q.size(1), queries = q.size(2), size = q.size(3);
    TORCH_CHECK(k.sizes() == v.sizes() && k.size(0) == batch && k.size(1) == heads &&
                    k.size(2) > 0 && k.size(3) == size,
                "keys ", k.sizes(), " and values ", v.sizes(), " for queries ", q.sizes());
    TORCH_CHECK(to.size(0) == batch && to.size(1) == queries && to.size(2) == heads &&
                    to.size(3) == size,
                "output of another size");
    cvx::Attend *const attend = kernel();
    TORCH_CHECK(attend != nullptr && size <= cvx::kAttentionHead, "no kernel for heads of ", size);
    const float *const from = q.const_data_ptr<float>();
    const float *const keys = k.const_data_ptr<float>(), *const values = v.const_data_ptr<float>();
    float *const found = to.mutable_data_ptr<float>();
    const int64_t blocks = (queries + cvx::kAttentionQueries - 1) / cvx::kAttentionQueries;
    at::parallel_for(0, batch * heads * blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t row = i / blocks / heads, h = i / blocks % heads;
        const int64_t first = i % blocks * cvx::kAttentionQueries;
        const cvx::AttentionHead head = {
            from + row * q.stride(0) + h * q.stride(1),
            keys + row * k.stride(0) + h * k.stride(1),
            values + row * v.stride(0) + h * v.stride(1),
            found + row * to.stride(0) + h * to.stride(2),
            q.stride(2), k.stride(2), v.stride(2), to.stride(1),
            k.size(2), size, static_cast<float>(scale)};
        attend(head, first, std::min<int64_t>(queries - first, cvx::kAttentionQueries));
      }
    });
  });
}

}  // extern "C"
