// Convolutions with oneDNN's own weight layout, and ones that add to what is there. libtorch has
// them as operators of its `mkldnn` namespace, which only the dispatcher reaches. And convolutions
// in float32 that are float32 on CUDA too.
#include "guarded.h"
#include "kernels.h"

#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/ivalue.h>
#include <ATen/core/stack.h>
#include <ATen/ops/_convolution.h>

namespace {

using Operator = std::optional<c10::OperatorHandle>;

Operator find(const char *name, const char *overload) {
  return c10::Dispatcher::singleton().findSchema({name, overload});
}

const Operator &pack_operator() {
  static const Operator found = find("mkldnn::_reorder_convolution_weight", "");
  return found;
}

const Operator &conv_operator() {
  static const Operator found = find("mkldnn::_convolution_pointwise", "");
  return found;
}

const Operator &conv_add_operator() {
  static const Operator found = find("mkldnn::_convolution_pointwise_", "binary");
  return found;
}

const at::Tensor &tensor(cvx_shim_const_tensor tensor) {
  return *static_cast<const at::Tensor *>(tensor);
}

at::Tensor call(const Operator &op, torch::jit::Stack &stack) {
  TORCH_CHECK(op.has_value(), "this libtorch has no oneDNN convolutions");
  op->callBoxed(stack);
  return stack.at(0).toTensor();
}

std::vector<int64_t> ones(int64_t count) {
  return std::vector<int64_t>(static_cast<size_t>(count), 1);
}

}  // namespace

extern "C" {

int32_t cvx_shim_conv_available(void) {
  try {
    return at::hasMKLDNN() && pack_operator() && conv_operator() && conv_add_operator();
  } catch (...) {
    return 0;
  }
}

cvx_shim_status cvx_shim_conv_pack(cvx_shim_const_tensor weight, const int64_t *padding,
                                   int64_t dimensions, const int64_t *input_size,
                                   cvx_shim_tensor *out, char **message) {
  return cvx::guarded(message, [&] {
    const std::vector<int64_t> pad(padding, padding + dimensions);
    const std::vector<int64_t> size(input_size, input_size + dimensions + 2);
    torch::jit::Stack stack{tensor(weight), pad, ones(dimensions), ones(dimensions),
                            int64_t{1}, size};
    *out = new at::Tensor(call(pack_operator(), stack));
  });
}

cvx_shim_status cvx_shim_conv(cvx_shim_const_tensor x, cvx_shim_const_tensor packed,
                              cvx_shim_const_tensor bias, const int64_t *padding,
                              int64_t dimensions, cvx_shim_tensor *out, char **message) {
  return cvx::guarded(message, [&] {
    const std::vector<int64_t> pad(padding, padding + dimensions);
    const c10::List<std::optional<at::Scalar>> none;
    torch::jit::Stack stack{tensor(x),  tensor(packed), tensor(bias),
                            pad,        ones(dimensions), ones(dimensions),
                            int64_t{1}, "none",         c10::impl::toList(none),
                            ""};
    *out = new at::Tensor(call(conv_operator(), stack));
  });
}

cvx_shim_status cvx_shim_conv_add(cvx_shim_tensor sum, cvx_shim_const_tensor x,
                                  cvx_shim_const_tensor packed, cvx_shim_const_tensor bias,
                                  const int64_t *padding, int64_t dimensions, char **message) {
  return cvx::guarded(message, [&] {
    const std::vector<int64_t> pad(padding, padding + dimensions);
    const c10::List<std::optional<at::Scalar>> none;
    torch::jit::Stack stack{tensor(sum),  tensor(x),        tensor(packed),
                            tensor(bias), pad,              ones(dimensions),
                            ones(dimensions), int64_t{1},   "add",
                            at::Scalar(1.0),  c10::IValue(), c10::impl::toList(none),
                            c10::IValue()};
    call(conv_add_operator(), stack);
  });
}

cvx_shim_status cvx_shim_conv_in_full(cvx_shim_const_tensor x, cvx_shim_const_tensor weight,
                                      cvx_shim_const_tensor bias, int64_t stride,
                                      const int64_t *padding, int64_t dimensions,
                                      cvx_shim_tensor *out, char **message) {
  return cvx::guarded(message, [&] {
    // What at::convolution reads of the context, with its TF32 for cuDNN left out.
    const at::Context &context = at::globalContext();
    const std::vector<int64_t> pad(padding, padding + dimensions);
    const std::vector<int64_t> none(static_cast<size_t>(dimensions), 0);
    const std::vector<int64_t> strides(static_cast<size_t>(dimensions), stride);
    *out = new at::Tensor(at::_convolution(
        tensor(x), tensor(weight),
        bias != nullptr ? std::optional<at::Tensor>(tensor(bias)) : std::nullopt, strides, pad,
        ones(dimensions), /*transposed=*/false, /*output_padding=*/none, /*groups=*/1,
        context.benchmarkCuDNN(), context.deterministicCuDNN() || context.deterministicAlgorithms(),
        context.userEnabledCuDNN(), /*allow_tf32=*/false));
  });
}

}  // extern "C"
