/// Tensors for other libraries. Part of cogvideox.hpp.
#ifndef COGVIDEOX_DLPACK_HPP
#define COGVIDEOX_DLPACK_HPP

#include "config.hpp"

#include <memory>

namespace cvx {
inline namespace CVX_HPP_MODE {

/// Calls the deleter of a DLManagedTensor. The host includes dlpack.h itself.
struct DlpackDeleter {
    /// Frees the tensor.
    template <class Tensor> void operator()(Tensor *tensor) const noexcept {
        if (tensor->deleter != nullptr) {
            tensor->deleter(tensor);
        }
    }
};

/// A DLManagedTensor that frees itself; release() gives it to a consumer that frees it.
template <class Tensor> using DlpackTensor = std::unique_ptr<Tensor, DlpackDeleter>;

} // namespace CVX_HPP_MODE
} // namespace cvx

#endif // COGVIDEOX_DLPACK_HPP
