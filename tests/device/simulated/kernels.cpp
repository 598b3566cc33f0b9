// Operators with a kernel of their own on the simulated device: those that allocate or copy, those
// that only CUDA has, and those that CUDA computes otherwise than the CPU.
#include "lending.h"

#include <ATen/EmptyTensor.h>
#include <ATen/SDPBackend.h>
#include <ATen/WrapDimUtils.h>
#include <ATen/native/ConvUtils.h>
#include <ATen/native/transformers/attention.h>
#include <ATen/ops/_local_scalar_dense.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

#include <algorithm>
#include <vector>

namespace simcuda {

void register_hidden_kernels(torch::Library &library);  // fallback.cpp

namespace {

using at::IntArrayRef;
using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

// ---- Allocating --------------------------------------------------------------------------------

const c10::DispatchKeySet kCudaKeys(c10::DispatchKey::CUDA);

Tensor empty(IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
             std::optional<at::Device> device, std::optional<bool>,
             std::optional<at::MemoryFormat> format) {
  const c10::DeviceGuard guard(c10::device_or_default(device));
  return at::detail::empty_generic(size, c10::GetAllocator(at::kCUDA), kCudaKeys,
                                   c10::dtype_or_default(dtype), format);
}

Tensor empty_strided(IntArrayRef size, IntArrayRef stride, std::optional<at::ScalarType> dtype,
                     std::optional<at::Layout>, std::optional<at::Device> device,
                     std::optional<bool>) {
  const c10::DeviceGuard guard(c10::device_or_default(device));
  return at::detail::empty_strided_generic(size, stride, c10::GetAllocator(at::kCUDA), kCudaKeys,
                                           c10::dtype_or_default(dtype));
}

// ---- Copying -----------------------------------------------------------------------------------

// Every copy across makes the host wait, also one to the device (aten/src/ATen/native/cuda/Copy.cu
// ends in a synchronisation of the stream), unless it is asked not to and the host's side is
// pinned memory: only then does the device fetch by itself.
Tensor &copy(Tensor &to, const Tensor &from, bool non_blocking) {
  if (to.is_same(from) || to.numel() == 0) return to;
  if (to.is_cuda() && from.is_cuda()) {
    launch("copy");
    count(kDeviceToDevice);
  } else {
    const Tensor &host = to.is_cuda() ? from : to;
    const Counter counter = to.is_cuda() ? kHostToDevice : kDeviceToHost;
    const size_t bytes =
        static_cast<size_t>(from.numel()) * std::min(to.element_size(), from.element_size());
    if (non_blocking && host.is_pinned()) {
      count(counter);
      count(kUnawaited);
    } else {
      wait(counter, c10::str(from.device().type(), " to ", to.device().type(), ", ",
                             from.scalar_type(), " ", from.sizes()));
    }
    count(to.is_cuda() ? kHostToDeviceBytes : kDeviceToHostBytes, bytes);
  }
  if (hollow()) {
    if (!to.is_cuda()) const_cast<Tensor &>(to).zero_();
    return to;
  }
  Lending lending(to.is_cuda() ? to.device() : from.device());
  lending.lend(to).copy_(lending.lend(from));
  return to;
}

at::Scalar item(const Tensor &self) {
  wait(kItems, c10::str("item of ", self.scalar_type()));
  if (hollow()) return at::scalar_tensor(0, at::dtype(self.scalar_type())).item();
  return at::_local_scalar_dense(Lending(self.device()).lend(self));
}

void record_stream(Tensor &, at::Stream) {}

// ---- Products ----------------------------------------------------------------------------------
// Half precision is added up in float32 and rounded once, as tensor cores do; operands must have
// one dtype, which the CPU does not always ask for.

bool is_half(const Tensor &tensor) {
  return tensor.scalar_type() == at::kHalf || tensor.scalar_type() == at::kBFloat16;
}

// float32 as tensor cores read it with TF32: ten bits of fraction, rounded to nearest.
Tensor tf32(const Tensor &tensor) {
  Tensor rounded = tensor.contiguous().clone();
  auto *const bits = reinterpret_cast<uint32_t *>(rounded.data_ptr<float>());
  for (int64_t i = 0; i < rounded.numel(); ++i)
    bits[i] = (bits[i] + 0x0fffu + (bits[i] >> 13 & 1u)) & ~uint32_t{0x1fff};
  return rounded;
}

// SIMCUDA_TF32: 1: convolutions that are allowed to take it do, as on a GPU; 2: all products do.
bool takes_tf32(bool allowed) {
  static const auto which = from_environment("SIMCUDA_TF32", 0);
  return which == 2 || (which == 1 && allowed);
}

// A launch on `operands`, lent and in float32 where they are in half precision.
class Product {
 public:
  Product(const char *name, std::vector<Tensor> operands, bool allow_tf32 = false)
      : lending_(operands[0].device()) {
    for (const Tensor &operand : operands) {
      check_same_device(operands[0].device(), operand.device(), name);
      TORCH_CHECK(operand.scalar_type() == operands[0].scalar_type(), name,
                  ": expected all tensors to have the same dtype, but got ",
                  operands[0].scalar_type(), " and ", operand.scalar_type(),
                  " (simulated CUDA)");
      if (hollow()) continue;
      const Tensor lent = lending_.lend(operand);
      operands_.push_back(is_half(lent) ? lent.to(at::kFloat) : lent);
      if (lent.scalar_type() == at::kFloat && takes_tf32(allow_tf32))
        operands_.back() = tf32(operands_.back());
    }
    launch(name);
  }

  const Tensor &operator[](size_t i) const { return operands_[i]; }

  // What `f` makes into `out`, in its dtype.
  template <typename F>
  Tensor &into(Tensor &out, F &&f) {
    if (!hollow()) lending_.lend(out).copy_(f());
    return out;
  }

  Tensor take(const Tensor &result) { return lending_.take(result); }

 private:
  Lending lending_;
  std::vector<Tensor> operands_;
};

Tensor &mm(const Tensor &a, const Tensor &b, Tensor &out) {
  Product p("aten::mm.out", {a, b});
  return p.into(out, [&] { return at::mm(p[0], p[1]); });
}

Tensor &bmm(const Tensor &a, const Tensor &b, Tensor &out) {
  Product p("aten::bmm.out", {a, b});
  return p.into(out, [&] { return at::bmm(p[0], p[1]); });
}

Tensor &addmm(const Tensor &bias, const Tensor &a, const Tensor &b, const at::Scalar &beta,
              const at::Scalar &alpha, Tensor &out) {
  Product p("aten::addmm.out", {bias, a, b});
  return p.into(out, [&] { return at::addmm(p[0], p[1], p[2], beta, alpha); });
}

Tensor &baddbmm(const Tensor &bias, const Tensor &a, const Tensor &b, const at::Scalar &beta,
                const at::Scalar &alpha, Tensor &out) {
  Product p("aten::baddbmm.out", {bias, a, b});
  return p.into(out, [&] { return at::baddbmm(p[0], p[1], p[2], beta, alpha); });
}

// On CUDA its GELU is the tanh approximation (aten/src/ATen/native/cuda/Blas.cpp); the CPU's kernel
// takes the exact one.
Tensor &addmm_activation(const Tensor &bias, const Tensor &a, const Tensor &b,
                         const at::Scalar &beta, const at::Scalar &alpha, bool use_gelu,
                         Tensor &out) {
  Product p("aten::_addmm_activation.out", {bias, a, b});
  return p.into(out, [&] {
    const Tensor sum = at::addmm(p[0], p[1], p[2], beta, alpha);
    return use_gelu ? at::gelu(sum, "tanh") : at::relu(sum);
  });
}

Tensor cudnn_convolution(const Tensor &x, const Tensor &weight, IntArrayRef padding,
                         IntArrayRef stride, IntArrayRef dilation, int64_t groups, bool, bool,
                         bool allow_tf32) {
  // For half precision the same argument rules out engines that work in tensor cores.
  if (x.scalar_type() == at::kFloat && allow_tf32) count(kTf32);
  if (is_half(x) && !allow_tf32) count(kNoTensorCores);
  Product p("aten::cudnn_convolution", {x, weight}, allow_tf32);
  const auto format = at::native::cudnn_conv_suggest_memory_format(x, weight);
  if (hollow())
    return at::empty(at::native::conv_output_size(x.sizes(), weight.sizes(), padding, stride,
                                                  dilation),
                     x.options(), format);
  const std::vector<int64_t> none(padding.size(), 0);
  const Tensor result =
      at::convolution(p[0], p[1], {}, stride, padding, dilation, false, none, groups);
  return p.take(result.to(x.scalar_type()).contiguous(format));
}

// ---- Attention ---------------------------------------------------------------------------------

// What libtorch takes where it may choose: in half precision cuDNN from capability 9.0 on, also
// with a mask, before that flash attention, which knows none; else the memory-efficient kernel.
int64_t choose_attention(const Tensor &query, const Tensor &, const Tensor &,
                         const OptionalTensor &mask, double dropout, bool, std::optional<double>,
                         bool) {
  static const bool hopper = from_environment("SIMCUDA_CAPABILITY", 90) >= 90;
  const int64_t width = query.size(-1);
  auto choice = at::SDPBackend::math;
  if (is_half(query) && hopper && width % 8 == 0 && width <= 256)
    choice = at::SDPBackend::cudnn_attention;
  else if (is_half(query) && !mask && width <= 256)
    choice = at::SDPBackend::flash_attention;
  else if (width % (is_half(query) ? 8 : 4) == 0 && dropout == 0)
    choice = at::SDPBackend::efficient_attention;
  return static_cast<int64_t>(choice);
}

// (batch, heads, length, width) that lies in memory as (batch, length, heads, width), as CUDA's
// kernels leave it.
Tensor attend(const char *name, const Tensor &query, const Tensor &key, const Tensor &value,
              const OptionalTensor &mask, bool causal, std::optional<double> scale) {
  std::vector<Tensor> operands{query, key, value};
  if (mask) operands.push_back(*mask);
  Product p(name, operands);
  if (hollow())
    return at::empty({query.size(0), query.size(2), query.size(1), value.size(3)}, query.options())
        .transpose(1, 2);
  const Tensor result = at::scaled_dot_product_attention(
      p[0], p[1], p[2], mask ? OptionalTensor(p[3]) : std::nullopt, 0.0, causal, scale);
  return p.take(result.to(query.scalar_type()).transpose(1, 2).contiguous()).transpose(1, 2);
}

// CUDA's kernels read a mask in vectors of 16 bytes: rows must begin at multiples of that. The
// chooser does not look at it, and what follows is an error (cuDNN) or a copy (the others).
void check_mask_of_cudnn(const OptionalTensor &mask) {
  if (!mask) return;
  for (int64_t dim = 0; dim < mask->dim() - 1; ++dim) {
    const auto bytes = static_cast<size_t>(mask->stride(dim)) * mask->element_size();
    TORCH_CHECK(mask->size(dim) == 1 || bytes % 16 == 0,
                "cuDNN error: CUDNN_STATUS_BAD_PARAM (simulated: a mask's rows are not aligned)");
  }
}

Tensor logsumexp(const Tensor &query, bool wanted) {
  const int64_t length = wanted ? query.size(2) : 0;
  return at::empty({query.size(0), query.size(1), length}, query.options().dtype(at::kFloat));
}

std::tuple<Tensor, Tensor, Tensor, Tensor> efficient_attention(
    const Tensor &query, const Tensor &key, const Tensor &value, const OptionalTensor &mask,
    bool with_sums, double, bool causal, std::optional<double> scale) {
  Tensor out = attend("aten::_scaled_dot_product_efficient_attention", query, key, value, mask,
                      causal, scale);
  return {out, logsumexp(query, with_sums), Tensor(), Tensor()};
}

using AttentionResult = std::tuple<Tensor, Tensor, Tensor, Tensor, c10::SymInt, c10::SymInt,
                                   Tensor, Tensor, Tensor>;

AttentionResult cudnn_attention(const Tensor &query, const Tensor &key, const Tensor &value,
                                const OptionalTensor &mask, bool, double, bool causal, bool,
                                std::optional<double> scale) {
  check_mask_of_cudnn(mask);
  Tensor out = attend("aten::_scaled_dot_product_cudnn_attention", query, key, value, mask, causal,
                      scale);
  return {out, Tensor(), Tensor(), Tensor(), query.size(2), key.size(2), Tensor(), Tensor(),
          Tensor()};
}

AttentionResult flash_attention(const Tensor &query, const Tensor &key, const Tensor &value,
                                double, bool causal, bool, std::optional<double> scale) {
  Tensor out = attend("aten::_scaled_dot_product_flash_attention", query, key, value, {}, causal,
                      scale);
  return {out, logsumexp(query, true), Tensor(), Tensor(), query.size(2), key.size(2), Tensor(),
          Tensor(), Tensor()};
}

// ---- Shapes alone ------------------------------------------------------------------------------
// In a hollow device, results of operators that libtorch has no such kernels for: its own are in Python.

Tensor index_select(const Tensor &x, int64_t dim, const Tensor &index) {
  launch("aten::index_select");
  std::vector<int64_t> size = x.sizes().vec();
  size.at(static_cast<size_t>(c10::maybe_wrap_dim(dim, x.dim()))) = index.numel();
  return at::empty(size, x.options());
}

std::tuple<Tensor, Tensor, Tensor> native_layer_norm(const Tensor &x, IntArrayRef normalized,
                                                     const OptionalTensor &,
                                                     const OptionalTensor &, double) {
  launch("aten::native_layer_norm");
  std::vector<int64_t> size = x.sizes().vec();
  std::fill(size.end() - static_cast<std::ptrdiff_t>(normalized.size()), size.end(), 1);
  const auto moments = x.options().dtype(is_half(x) ? at::kFloat : x.scalar_type());
  return {at::empty(x.sizes(), x.options()), at::empty(size, moments), at::empty(size, moments)};
}

std::tuple<Tensor, Tensor> var_mean(const Tensor &x, at::OptionalIntArrayRef dims,
                                    const std::optional<at::Scalar> &, bool keepdim) {
  launch("aten::var_mean.correction");
  std::vector<int64_t> size = x.sizes().vec();
  std::vector<bool> reduced(size.size(), !dims || dims->empty());
  if (dims)
    for (const int64_t dim : *dims)
      reduced.at(static_cast<size_t>(c10::maybe_wrap_dim(dim, x.dim()))) = true;
  std::vector<int64_t> left;
  for (size_t i = 0; i < size.size(); ++i)
    if (keepdim || !reduced[i]) left.push_back(reduced[i] ? 1 : size[i]);
  return {at::empty(left, x.options()), at::empty(left, x.options())};
}

Tensor fft_r2c(const Tensor &x, IntArrayRef dims, int64_t, bool onesided) {
  launch("aten::_fft_r2c");
  std::vector<int64_t> size = x.sizes().vec();
  int64_t &last = size.at(static_cast<size_t>(c10::maybe_wrap_dim(dims.back(), x.dim())));
  if (onesided) last = last / 2 + 1;
  return at::empty(size, x.options().dtype(c10::toComplexType(x.scalar_type())));
}

Tensor fft_c2r(const Tensor &x, IntArrayRef dims, int64_t, int64_t last_size) {
  launch("aten::_fft_c2r");
  std::vector<int64_t> size = x.sizes().vec();
  size.at(static_cast<size_t>(c10::maybe_wrap_dim(dims.back(), x.dim()))) = last_size;
  return at::empty(size, x.options().dtype(c10::toRealValueType(x.scalar_type())));
}

const bool attention_registered = [] {
  at::native::_fused_sdp_choice_stub.set_cuda_dispatch_ptr(&choose_attention);
  return true;
}();

}  // namespace

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("empty.memory_format", TORCH_FN(empty));
  library.impl("empty_strided", TORCH_FN(empty_strided));
  library.impl("copy_", TORCH_FN(copy));
  library.impl("_local_scalar_dense", TORCH_FN(item));
  library.impl("record_stream", TORCH_FN(record_stream));
  library.impl("mm.out", TORCH_FN(mm));
  library.impl("bmm.out", TORCH_FN(bmm));
  library.impl("addmm.out", TORCH_FN(addmm));
  library.impl("baddbmm.out", TORCH_FN(baddbmm));
  library.impl("_addmm_activation.out", TORCH_FN(addmm_activation));
  library.impl("cudnn_convolution", TORCH_FN(cudnn_convolution));
  library.impl("_scaled_dot_product_efficient_attention", TORCH_FN(efficient_attention));
  library.impl("_scaled_dot_product_cudnn_attention", TORCH_FN(cudnn_attention));
  library.impl("_scaled_dot_product_flash_attention", TORCH_FN(flash_attention));
  if (hollow()) {
    library.impl("index_select", TORCH_FN(index_select));
    library.impl("native_layer_norm", TORCH_FN(native_layer_norm));
    library.impl("var_mean.correction", TORCH_FN(var_mean));
    library.impl("_fft_r2c", TORCH_FN(fft_r2c));
    library.impl("_fft_c2r", TORCH_FN(fft_c2r));
  }
  register_hidden_kernels(library);
}

}  // namespace simcuda
