// Linear layers whose products are of int8 numbers: "vector-wise quantization" of Dettmers et al., arXiv
// 2208.07339, section 2, a scale for each row of x and one for each of the matrix.
//
// The product is oneDNN's, under names that only libtorch's dispatcher knows
// (aten/src/ATen/native/quantized/cpu/qlinear.cpp). A processor multiplies unsigned with signed bytes,
// so that codes of x lie about 128; products of signed ones are computed number by number there. What
// those 128 add is taken off again while sums are whole numbers.
#include "guarded.h"
#include "kernels.h"
#include "vectorised.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/core/List.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <string_view>
#include <vector>

namespace {

using Prepack = at::Tensor(at::Tensor, std::optional<c10::List<int64_t>>);
using Pointwise = at::Tensor(at::Tensor, double, int64_t, at::Tensor, at::Tensor, at::Tensor,
                             std::optional<at::Tensor>, double, int64_t,
                             std::optional<c10::ScalarType>, std::string_view,
                             c10::List<std::optional<at::Scalar>>, std::string_view);

struct Operators {
  c10::TypedOperatorHandle<Prepack> prepack;
  c10::TypedOperatorHandle<Pointwise> pointwise;
};

std::optional<Operators> find_operators() {
  auto &dispatcher = c10::Dispatcher::singleton();
  const auto prepack = dispatcher.findSchema({"onednn::qlinear_prepack", ""});
  const auto pointwise = dispatcher.findSchema({"onednn::qlinear_pointwise", ""});
  if (!prepack || !pointwise) return {};
  return Operators{prepack->typed<Prepack>(), pointwise->typed<Pointwise>()};
}

// The code of zero.
constexpr int64_t kZero = 128;
// Rows are taken some at a time, so that a product is finished while it is in the caches: so many
// numbers of it, but so many rows, and rows for each thread, that the matrix is not read for few.
constexpr int64_t kFloatsAtOnce = 1 << 18, kRowsAtOnce = 256, kRowsOfAThread = 64;
// Enough numbers to keep a thread busy for some microseconds.
constexpr int64_t kGrainFloats = 1 << 14;

// Codes of a row, and what they are to be multiplied by: NaN where a number is not finite. Of a row
// of zeros, or of less than float32 can divide by, all are the code of zero.
CVX_VECTORISED
float quantize_row(const float *__restrict x, uint8_t *__restrict codes, int64_t count) {
  constexpr uint32_t kInfinity = 0x7f800000, kMagnitude = 0x7fffffff;
  constexpr float kLeastDivided = 1e-36f;
  constexpr float kShift = 12582912.0f;  // 1.5 · 2^23: adding it rounds to an integer, ties to even
  // Of floats without a sign, the bits are ordered as the numbers are, NaN above all.
  int32_t most = 0;
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits;
    std::memcpy(&bits, x + i, sizeof bits);
    most = std::max(most, static_cast<int32_t>(bits & kMagnitude));
  }
  float largest;
  std::memcpy(&largest, &most, sizeof largest);
  const bool finite = static_cast<uint32_t>(most) < kInfinity;
  if (!finite || largest < kLeastDivided) {
    std::memset(codes, kZero, count);
    return finite ? 0.0f : std::numeric_limits<float>::quiet_NaN();
  }
  const float inverse = 127.0f / largest;
  for (int64_t i = 0; i < count; ++i) {
    const float shifted = x[i] * inverse + kShift;
    uint32_t bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    // The low byte is that of the integer, in two's complement.
    codes[i] = static_cast<uint8_t>(bits + kZero);
  }
  return largest / 127.0f;
}

CVX_VECTORISED
void finish_row(const float *__restrict y, float scale, const float *__restrict bias,
                float *__restrict out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = y[i] * scale + bias[i];
}

// The same, then GELU: x / (1 + e^-2u), u = √(2/π) (x + 0.044715 x³), is x (1 + tanh u) / 2.
CVX_VECTORISED
void finish_row_gelu(const float *__restrict y, float scale, const float *__restrict bias,
                     float *__restrict out, int64_t count) {
  constexpr float kLinear = 1.5957691216057308f, kCubic = 0.044715f * kLinear;
  const float least = cvx::kLeast, most = cvx::kMost;
  for (int64_t i = 0; i < count; ++i) {
    const float x = y[i] * scale + bias[i];
    out[i] = cvx::times_logistic(x, x * (kLinear + kCubic * x * x), least, most);
  }
}

const at::Tensor &numbers(cvx_shim_const_tensor tensor, const char *what) {
  const at::Tensor &found = *static_cast<const at::Tensor *>(tensor);
  TORCH_CHECK(found.is_cpu() && found.scalar_type() == at::kFloat && found.is_contiguous(), what,
              ": expected dense float32 on the CPU, found ", found.scalar_type(), " ",
              found.sizes(), " on ", found.device());
  return found;
}

// Calls body(row) for each of `rows` of `floats` numbers.
template <typename F>
void for_rows(int64_t rows, int64_t floats, const F &body) {
  const int64_t grain = std::max<int64_t>(1, kGrainFloats / std::max<int64_t>(1, floats));
  at::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) body(row);
  });
}

}  // namespace

extern "C" {

cvx_shim_status cvx_shim_int8_pack(cvx_shim_const_tensor codes, cvx_shim_tensor *out,
                                   char **message) {
  return cvx::guarded(message, [&] {
    const auto &found = *static_cast<const at::Tensor *>(codes);
    TORCH_CHECK(found.is_cpu() && found.scalar_type() == at::kChar && found.dim() == 2,
                "expected codes of a matrix on the CPU, found ", found.scalar_type(), " ",
                found.sizes());
    const auto &context = at::globalContext();
    const bool enabled = context.hasMKLDNN() && context.userEnabledMkldnn();
    const auto operators = enabled ? find_operators() : std::nullopt;
    *out = operators ? new at::Tensor(operators->prepack.call(found, std::nullopt)) : nullptr;
  });
}

cvx_shim_status cvx_shim_int8_linear(cvx_shim_const_tensor x, cvx_shim_const_tensor packed,
                                     cvx_shim_const_tensor scale, cvx_shim_const_tensor bias,
                                     int32_t gelu, cvx_shim_tensor out, char **message) {
  return cvx::guarded(message, [&] {
    const auto operators = find_operators();
    TORCH_CHECK(operators, "oneDNN's products of int8 are not there any more");
    const auto &matrix = *static_cast<const at::Tensor *>(packed);
    TORCH_CHECK(matrix.is_mkldnn() && matrix.dim() == 2 && matrix.scalar_type() == at::kChar,
                "expected a packed matrix");
    const int64_t inputs = matrix.size(0), outputs = matrix.size(1);
    const at::Tensor &from = numbers(x, "x"), &to = numbers(out, "out");
    const at::Tensor &scales = numbers(scale, "scale");
    TORCH_CHECK(from.dim() > 0 && from.size(-1) == inputs && to.dim() > 0 &&
                    to.size(-1) == outputs && from.numel() / inputs == to.numel() / outputs,
                "expected rows of ", inputs, " and ", outputs, " numbers, found ", from.sizes(),
                " and ", to.sizes());
    const at::Tensor added = bias != nullptr ? numbers(bias, "bias") : at::zeros({outputs});
    TORCH_CHECK(scales.numel() == outputs && added.numel() == outputs,
                "scale or bias of another size than ", outputs);
    const int64_t rows = from.numel() / inputs;
    if (rows == 0) return;
    const int64_t at_once =
        std::min(rows, std::max({kRowsAtOnce, kRowsOfAThread * at::get_num_threads(),
                                 kFloatsAtOnce / std::max<int64_t>(1, outputs)}));
    const at::Tensor codes = at::empty({at_once, inputs}, at::kByte);
    const at::Tensor no_zeros = at::zeros({outputs}, at::kInt);
    std::vector<float> by(static_cast<size_t>(at_once));
    const float *const numbers_of_x = from.const_data_ptr<float>();
    const float *const addend = added.const_data_ptr<float>();
    uint8_t *const code = codes.mutable_data_ptr<uint8_t>();
    float *const target = to.mutable_data_ptr<float>();
    for (int64_t first = 0; first < rows; first += at_once) {
      const int64_t count = std::min(at_once, rows - first);
      for_rows(count, inputs, [&](int64_t row) {
        by[row] = quantize_row(numbers_of_x + (first + row) * inputs, code + row * inputs, inputs);
      });
      const at::Tensor product = operators->pointwise.call(
          codes.narrow(0, 0, count), 1.0, kZero, matrix, scales, no_zeros, std::nullopt, 1.0, 0,
          at::kFloat, "none", c10::List<std::optional<at::Scalar>>(), "");
      TORCH_CHECK(product.is_contiguous() && product.scalar_type() == at::kFloat &&
                      product.numel() == count * outputs,
                  "a product of another shape");
      const float *const y = product.const_data_ptr<float>();
      for_rows(count, outputs, [&](int64_t row) {
        float *const result = target + (first + row) * outputs;
        if (gelu != 0) {
          finish_row_gelu(y + row * outputs, by[row], addend, result, outputs);
        } else {
          finish_row(y + row * outputs, by[row], addend, result, outputs);
        }
      });
    }
  });
}

}  // extern "C"
