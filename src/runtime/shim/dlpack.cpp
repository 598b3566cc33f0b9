// Tensors for other libraries, in the way that array libraries agreed on (DLPack).
#include "guarded.h"

#include <ATen/DLConvertor.h>
#include <ATen/Functions.h>

#include <memory>

extern "C" {

cvx_shim_status cvx_shim_dlpack(cvx_shim_const_tensor tensor, DLManagedTensor **out,
                                char **message) {
  return cvx::guarded(message,
                      [&] { *out = at::toDLPack(*static_cast<const at::Tensor *>(tensor)); });
}

cvx_shim_status cvx_shim_dlpack_bytes(const uint8_t *data, const int64_t *shape, size_t rank,
                                      void *owner, void (*release)(void *),
                                      DLManagedTensor **out, char **message) {
  return cvx::guarded(message, [&] {
    // Called with the last copy of `kept`, and by the constructor if that fails.
    const std::shared_ptr<void> kept(owner, release);
    const at::Tensor bytes =
        at::from_blob(const_cast<uint8_t *>(data), at::IntArrayRef(shape, rank),
                      [kept](void *) {}, at::TensorOptions().dtype(at::kByte));
    *out = at::toDLPack(bytes);
  });
}

void cvx_shim_dlpack_free(DLManagedTensor *tensor) {
  if (tensor != nullptr && tensor->deleter != nullptr) tensor->deleter(tensor);
}

}  // extern "C"
