// The linear layer with GELU in the epilogue of its matrix product.
//
// For the CPU libtorch keeps it for compiled models, under names that only its dispatcher knows
// (aten/src/ATen/native/mkldnn/Linear.cpp, RegisterMkldnnOpContextClass.cpp).
#include "guarded.h"
#include "kernels.h"

#include <ATen/Context.h>
#include <ATen/core/List.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/_addmm_activation.h>

#include <optional>
#include <string_view>

namespace {

using Reorder = at::Tensor(const at::Tensor &, std::optional<int64_t>);
using Pointwise = at::Tensor(const at::Tensor &, const at::Tensor &,
                             const std::optional<at::Tensor> &, std::string_view,
                             c10::List<std::optional<at::Scalar>>,
                             std::optional<std::string_view>);

struct Operators {
  c10::TypedOperatorHandle<Reorder> reorder;
  c10::TypedOperatorHandle<Pointwise> pointwise;
};

std::optional<Operators> find_operators() {
  auto &dispatcher = c10::Dispatcher::singleton();
  const auto reorder = dispatcher.findSchema({"mkldnn::_reorder_linear_weight", ""});
  const auto pointwise = dispatcher.findSchema({"mkldnn::_linear_pointwise", ""});
  if (!reorder || !pointwise) return {};
  return Operators{reorder->typed<Reorder>(), pointwise->typed<Pointwise>()};
}

}  // namespace

extern "C" {

cvx_shim_status cvx_shim_linear_pack(cvx_shim_const_tensor weight, cvx_shim_tensor *out,
                                     char **message) {
  return cvx::guarded(message, [&] {
    const auto &context = at::globalContext();
    const bool enabled = context.hasMKLDNN() && context.userEnabledMkldnn();
    const auto operators = enabled ? find_operators() : std::nullopt;
    *out = operators ? new at::Tensor(operators->reorder.call(
                           *static_cast<const at::Tensor *>(weight), std::nullopt))
                     : nullptr;
  });
}

cvx_shim_status cvx_shim_linear(cvx_shim_const_tensor x, cvx_shim_const_tensor packed,
                                cvx_shim_const_tensor bias, int32_t gelu, cvx_shim_tensor *out,
                                char **message) {
  return cvx::guarded(message, [&] {
    const auto operators = find_operators();
    TORCH_CHECK(operators, "oneDNN's linear layer is not there any more");
    const auto *const added = static_cast<const at::Tensor *>(bias);
    *out = new at::Tensor(operators->pointwise.call(
        *static_cast<const at::Tensor *>(x), *static_cast<const at::Tensor *>(packed),
        added != nullptr ? std::optional<at::Tensor>(*added) : std::nullopt,
        gelu != 0 ? "gelu" : "none", c10::List<std::optional<at::Scalar>>(),
        gelu != 0 ? std::optional<std::string_view>("tanh") : std::nullopt));
  });
}

cvx_shim_status cvx_shim_addmm_gelu(cvx_shim_const_tensor bias, cvx_shim_const_tensor rows,
                                    cvx_shim_const_tensor weight, cvx_shim_tensor *out,
                                    char **message) {
  return cvx::guarded(message, [&] {
    *out = new at::Tensor(at::_addmm_activation(
        *static_cast<const at::Tensor *>(bias), *static_cast<const at::Tensor *>(rows),
        *static_cast<const at::Tensor *>(weight), /*beta=*/1, /*alpha=*/1, /*use_gelu=*/true));
  });
}

}  // extern "C"
