// Every operator that has no kernel of its own in kernels.cpp: the CPU's kernel, on tensors that
// are lent to it. Where CUDA is stricter than the CPU, so is this.
//
// libtorch's own fallback to the CPU is of no use here: it copies every tensor there and back,
// knows no views, and would not notice tensors of two devices.
#include "lending.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <optional>
#include <set>
#include <vector>

namespace simcuda {
namespace {

using Names = std::set<std::string>;

// Of these operators the host must know a result before it can go on: its shape, or its value.
const Names kHostNeedsResult = {
    "aten::nonzero",    "aten::masked_select", "aten::equal",
    "aten::_unique2",   "aten::unique_dim",    "aten::unique_consecutive",
    "aten::bincount",   "aten::repeat_interleave.Tensor",
    "aten::is_set_to",  "aten::_linalg_check_errors"};

// Indices on the host are copied to the device.
const Names kHostIndices = {"aten::index", "aten::index_put", "aten::index_put_",
                            "aten::_index_put_impl_"};

// CUDA's kernels want one dtype where the CPU's mix float32 weights with half-precision inputs.
const Names kOneDtype = {"aten::native_layer_norm", "aten::native_group_norm"};

class Call {
 public:
  Call(const c10::OperatorHandle &op, torch::jit::Stack *stack)
      : op_(op),
        schema_(op.schema()),
        stack_(stack),
        first_(stack->size() - schema_.arguments().size()),
        arguments_(stack->begin() + static_cast<std::ptrdiff_t>(first_), stack->end()),
        device_(common_device()),
        guard_(device_),
        lending_(device_) {}

  void run() {
    const c10::DispatchKey key = hollow() ? c10::DispatchKey::Meta : c10::DispatchKey::CPU;
    if (hollow() && !makes_view() && writes_what_is_there()) return done_in_place();
    TORCH_CHECK_NOT_IMPLEMENTED(op_.hasComputedKernelForDispatchKey(key),
                                "simulated CUDA: ", op_.operator_name(),
                                " has no kernel on the ", key, ": it needs one in kernels.cpp");
    launched();

    std::vector<c10::IValue> lent;
    for (size_t i = 0; i < arguments_.size(); ++i) {
      lent.push_back(map(arguments_[i], [&](const at::Tensor &t) { return lending_.lend(t); }));
      if (lent.back().isDevice())
        lent.back() = c10::Device(hollow() ? c10::DeviceType::Meta : c10::DeviceType::CPU);
      (*stack_)[first_ + i] = lent.back();
    }
    op_.redispatchBoxed(c10::DispatchKeySet(key), stack_);

    for (size_t i = 0; i < arguments_.size(); ++i)
      if (is_written(schema_.arguments()[i])) follow(arguments_[i], lent[i]);
    const size_t results = schema_.returns().size();
    for (size_t i = 0; i < results; ++i) {
      c10::IValue &result = (*stack_)[stack_->size() - results + i];
      result = take(result, schema_.returns()[i]);
    }
  }

 private:
  void launched() const {
    const std::string name = c10::toString(op_.operator_name());
    if (!makes_view()) launch(name);
    if (kHostNeedsResult.count(schema_.name()) + kHostNeedsResult.count(name) > 0)
      wait(kShapes, name);
  }

  // All results are arguments, and have their shape already: without computing there is nothing to do.
  bool writes_what_is_there() const {
    for (const c10::Argument &result : schema_.returns())
      if (!is_written(result)) return false;
    for (size_t i = 0; i < arguments_.size(); ++i)
      if (is_written(schema_.arguments()[i]) && schema_.arguments()[i].is_out() &&
          arguments_[i].isTensor() && arguments_[i].toTensor().numel() == 0)
        return false;
    return !schema_.returns().empty();
  }

  void done_in_place() {
    launched();
    std::vector<c10::IValue> results;
    for (const c10::Argument &result : schema_.returns()) results.push_back(take({}, result));
    stack_->resize(first_);
    for (c10::IValue &result : results) stack_->push_back(std::move(result));
  }

  static bool is_written(const c10::Argument &argument) {
    return argument.alias_info() != nullptr && argument.alias_info()->isWrite();
  }

  // All results look into an argument's memory, and none is written to.
  bool makes_view() const {
    for (const c10::Argument &result : schema_.returns())
      if (result.alias_info() == nullptr || is_written(result)) return false;
    return !schema_.returns().empty();
  }

  // `value` with `f` of every tensor in it.
  template <typename F>
  static c10::IValue map(const c10::IValue &value, F &&f) {
    if (value.isTensor()) return f(value.toTensor());
    if (value.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor &tensor : value.toTensorVector()) list.push_back(f(tensor));
      return list;
    }
    if (value.isOptionalTensorList()) {
      c10::List<std::optional<at::Tensor>> list;
      for (const std::optional<at::Tensor> &tensor : value.toOptionalTensorVector())
        list.push_back(tensor ? std::optional<at::Tensor>(f(*tensor)) : std::nullopt);
      return list;
    }
    return value;
  }

  // Where the call happens. Throws unless all its tensors lie there.
  c10::Device common_device() const {
    const std::string &name = schema_.name();
    std::optional<c10::Device> device, host;
    std::optional<at::ScalarType> dtype;
    for (const c10::IValue &argument : arguments_) {
      if (argument.isDevice() && argument.toDevice().is_cuda()) device = argument.toDevice();
      map(argument, [&](const at::Tensor &tensor) {
        if (!tensor.defined()) return tensor;
        if (kOneDtype.count(name) != 0)
          TORCH_CHECK(tensor.scalar_type() == dtype.value_or(tensor.scalar_type()),
                      "expected scalar type ", *dtype, " but found ", tensor.scalar_type(),
                      " (simulated CUDA, ", name, ")");
        dtype = tensor.scalar_type();
        if (tensor.is_cuda()) {
          check_same_device(device.value_or(tensor.device()), tensor.device(), name);
          device = tensor.device();
        } else if (tensor.dim() > 0) {
          // One number of the host's goes along as an argument of the launch.
          host = tensor.device();
        }
        return tensor;
      });
    }
    for (const c10::Argument &argument : schema_.arguments()) {
      const auto *const type = argument.type()->castRaw<c10::OptionalType>();
      TORCH_CHECK(type == nullptr ||
                      type->getElementType()->kind() != c10::TypeKind::GeneratorType,
                  "simulated CUDA: ", name, " draws random numbers on the device, whose stream is "
                  "not the CPU's");
    }
    if (host && device) {
      if (kHostIndices.count(name) != 0) wait(kHostToDevice, name);
      else check_same_device(*device, *host, name);
    }
    const c10::Device found = device.value_or(c10::Device(c10::DeviceType::CUDA));
    return found.has_index() ? found : c10::impl::getDeviceGuardImpl(at::kCUDA)->getDevice();
  }

  void follow(const c10::IValue &argument, const c10::IValue &lent) {
    if (argument.isTensor()) {
      lending_.follow(argument.toTensor(), lent.toTensor());
    } else if (argument.isTensorList()) {
      const auto tensors = argument.toTensorVector(), others = lent.toTensorVector();
      for (size_t i = 0; i < tensors.size(); ++i) lending_.follow(tensors[i], others[i]);
    }
  }

  c10::IValue take(const c10::IValue &value, const c10::Argument &result) {
    // In place or out=: the argument itself.
    if (is_written(result)) {
      for (size_t i = 0; i < arguments_.size(); ++i) {
        const c10::AliasInfo *const alias = schema_.arguments()[i].alias_info();
        if (alias != nullptr && *alias == *result.alias_info()) return arguments_[i];
      }
    }
    return map(value, [&](const at::Tensor &tensor) { return lending_.take(tensor); });
  }

  const c10::OperatorHandle &op_;
  const c10::FunctionSchema &schema_;
  torch::jit::Stack *const stack_;
  const size_t first_;
  const std::vector<c10::IValue> arguments_;
  const c10::Device device_;
  const c10::DeviceGuard guard_;
  Lending lending_;
};

void fallback(const c10::OperatorHandle &op, torch::jit::Stack *stack) { Call(op, stack).run(); }

// Where an operator has a default that is made of other operators, the dispatcher prefers that to
// a fallback. Those of them that the CPU has a kernel for, CUDA has one for too.
bool has_hidden_kernel(const c10::OperatorHandle &op) {
  const auto has = [&](c10::DispatchKey key) { return op.hasKernelForDispatchKey(key); };
  return has(c10::DispatchKey::CPU) && !has(c10::DispatchKey::CUDA) &&
         (has(c10::DispatchKey::CompositeExplicitAutograd) ||
          has(c10::DispatchKey::CompositeImplicitAutograd));
}

}  // namespace

void register_hidden_kernels(torch::Library &library) {
  auto &dispatcher = c10::Dispatcher::singleton();
  for (const c10::OperatorName &name : dispatcher.getAllOpNames()) {
    const auto op = dispatcher.findOp(name);
    if (op && name.name.rfind("aten::", 0) == 0 && has_hidden_kernel(*op))
      library.impl(c10::toString(name).c_str(),
                   torch::CppFunction::makeFromBoxedFunction<&fallback>());
  }
}

TORCH_LIBRARY_IMPL(_, CUDA, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>());
}

}  // namespace simcuda
