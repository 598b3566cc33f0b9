#include "lending.h"

#include <ATen/ops/clone.h>
#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>

namespace simcuda {
namespace {

struct Owned {
  c10::DataPtr host;
  size_t charged;
  c10::DeviceIndex device;
};

// Host memory that a kernel allocated becomes the device's; in a hollow device there is none.
c10::DataPtr take_memory(c10::DataPtr host, size_t bytes, c10::Device device) {
  if (hollow() ? bytes == 0 : !host) return {nullptr, device};
  const size_t charged = charge(device.index(), bytes);
  void *const address = hollow() ? hollow_address(charged) : to_device(host.get());
  const auto free = [](void *context) {
    auto *const owned = static_cast<Owned *>(context);
    release(owned->device, owned->charged);
    delete owned;
  };
  return {address, new Owned{std::move(host), charged, device.index()}, free, device};
}

// What kernels are lent: tensors of the CPU, in a hollow device tensors without data.
c10::DeviceType lent_type() { return hollow() ? c10::DeviceType::Meta : c10::DeviceType::CPU; }
c10::DispatchKey lent_key() { return hollow() ? c10::DispatchKey::Meta : c10::DispatchKey::CPU; }

c10::DataPtr no_memory() { return {nullptr, c10::Device(lent_type())}; }

at::Tensor over(const c10::Storage &storage, c10::DispatchKey key, const at::Tensor &like) {
  at::Tensor tensor = at::detail::make_tensor<c10::TensorImpl>(
      c10::Storage(storage), c10::DispatchKeySet(key), like.dtype());
  c10::TensorImpl *const impl = tensor.unsafeGetTensorImpl();
  impl->set_sizes_and_strides(like.sizes(), like.strides(), like.storage_offset());
  // A number of the program in the clothes of a tensor: it does not take part in the result's
  // dtype.
  if (like.unsafeGetTensorImpl()->is_wrapped_number()) impl->set_wrapped_number(true);
  return tensor;
}

c10::Storage storage_of(size_t bytes, c10::DataPtr memory, c10::DeviceType type) {
  return c10::Storage(c10::make_intrusive<c10::StorageImpl>(
      c10::StorageImpl::use_byte_size_t(), bytes, std::move(memory), c10::GetAllocator(type),
      /*resizable=*/true));
}

}  // namespace

at::Tensor Lending::lend(const at::Tensor &tensor) {
  if (!tensor.defined() || !tensor.is_cuda()) return tensor;
  return over(host_of(tensor.storage()), lent_key(), tensor);
}

at::Tensor Lending::take(const at::Tensor &result) {
  if (!result.defined() || result.device().type() != lent_type()) return result;
  const c10::Storage &storage = result.storage();
  // What somebody else holds too can't be taken away from them.
  if (storage.use_count() > 1 && !is_lent(storage)) return take(at::clone(result));
  return over(device_of(storage), c10::DispatchKey::CUDA, result);
}

void Lending::follow(const at::Tensor &tensor, const at::Tensor &lent) {
  if (!tensor.defined() || !tensor.is_cuda()) return;
  c10::StorageImpl *const from = lent.storage().unsafeGetStorageImpl();
  c10::StorageImpl *const to = tensor.storage().unsafeGetStorageImpl();
  if (hollow() ? from->nbytes() != to->nbytes() : from->data() != to_host(to->data())) {
    const size_t bytes = from->nbytes();
    to->set_data_ptr_noswap(take_memory(from->set_data_ptr(no_memory()), bytes, tensor.device()));
    to->set_nbytes(bytes);
  }
  if (tensor.sizes() != lent.sizes() || tensor.strides() != lent.strides() ||
      tensor.storage_offset() != lent.storage_offset())
    tensor.unsafeGetTensorImpl()->set_sizes_and_strides(lent.sizes(), lent.strides(),
                                                        lent.storage_offset());
}

bool Lending::is_lent(const c10::Storage &host) const {
  for (const Pair &pair : pairs_)
    if (pair.host.is_alias_of(host)) return true;
  return false;
}

c10::Storage Lending::host_of(const c10::Storage &device) {
  for (const Pair &pair : pairs_)
    if (pair.device.is_alias_of(device)) return pair.host;
  c10::DataPtr borrowed = no_memory();
  if (!hollow()) borrowed = {to_host(device.data()), c10::Device(lent_type())};
  c10::Storage host = storage_of(device.nbytes(), std::move(borrowed), lent_type());
  pairs_.push_back({device, host});
  return host;
}

c10::Storage Lending::device_of(const c10::Storage &host) {
  for (const Pair &pair : pairs_)
    if (pair.host.is_alias_of(host)) return pair.device;
  c10::StorageImpl *const from = host.unsafeGetStorageImpl();
  const size_t bytes = from->nbytes();
  c10::DataPtr memory = take_memory(from->set_data_ptr(no_memory()), bytes, device_);
  c10::Storage device = storage_of(bytes, std::move(memory), c10::DeviceType::CUDA);
  pairs_.push_back({device, host});
  return device;
}

void check_same_device(c10::Device one, c10::Device other, const std::string &where) {
  TORCH_CHECK(one == other, "Expected all tensors to be on the same device, but found at least "
              "two devices, ", one, " and ", other, "! (simulated CUDA, ", where, ")");
}

}  // namespace simcuda
