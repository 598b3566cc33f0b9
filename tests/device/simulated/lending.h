// Device tensors lent to the CPU's kernels, and their results taken over, without a copy.
#pragma once

#include "simcuda.h"

#include <ATen/core/Tensor.h>
#include <c10/core/Allocator.h>
#include <c10/core/StorageImpl.h>

#include <vector>

namespace simcuda {

// The tensors of one call of an operator. Two tensors over one storage stay two over one: kernels
// look whether what they read and what they write overlap.
class Lending {
 public:
  explicit Lending(c10::Device device) : device_(device) {}

  // `tensor` as a CPU tensor over the same memory; any tensor that is not on a device, itself.
  at::Tensor lend(const at::Tensor &tensor);

  // A result of a kernel as a tensor of the device, which owns its memory from then on.
  at::Tensor take(const at::Tensor &result);

  // What a kernel did to a tensor that it was lent, beyond the elements: another shape, and other
  // memory where it was resized.
  void follow(const at::Tensor &tensor, const at::Tensor &lent);

 private:
  struct Pair {
    c10::Storage device, host;
  };

  c10::Storage host_of(const c10::Storage &device);
  c10::Storage device_of(const c10::Storage &host);
  bool is_lent(const c10::Storage &host) const;

  c10::Device device_;
  std::vector<Pair> pairs_;
};

// Throws libtorch's own words where tensors lie on different devices.
void check_same_device(c10::Device one, c10::Device other, const std::string &where);

}  // namespace simcuda
