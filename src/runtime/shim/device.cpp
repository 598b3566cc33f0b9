// Questions about memory and CUDA. Only interfaces of libtorch_cpu.so and libc10.so are used:
// they reach the CUDA backend through virtual functions once it is loaded, so that this file
// needs neither CUDA's headers nor its libraries.
#include "guarded.h"

#include <ATen/Context.h>
#include <ATen/Version.h>
#include <ATen/core/Tensor.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/headeronly/version.h>

#include <algorithm>

namespace {

c10::CachingDeviceAllocator::DeviceStats cuda_stats(int32_t index) {
  return c10::getDeviceAllocator(c10::DeviceType::CUDA)
      ->getDeviceStats(static_cast<c10::DeviceIndex>(index));
}

// Of the stream that this thread uses on `device`.
void *stream_handle(c10::Device device) {
  const auto *const impl = c10::impl::getDeviceGuardImpl(device.type());
  const c10::Stream stream = impl->getStream(device);
  // A backend need not tell the handle of its default stream, and CUDA's is NULL.
  const bool own = stream != impl->getDefaultStream(device);
  return own ? stream.native_handle() : nullptr;
}

}  // namespace

namespace cvx {

// The beginning of c10::cuda::CUDACachingAllocator::CUDAAllocator (c10/cuda/CUDACachingAllocator.h
// of 2.11), whose header needs CUDA's: these virtual functions, in this order, follow those of
// DeviceAllocator. A library of another release is refused before it is loaded (versions.rs).
// Not in an unnamed namespace: a compiler that sees all of a class sees that nothing overrides
// these, and calls none.
struct CudaAllocator : c10::DeviceAllocator {
  virtual void *raw_alloc(size_t bytes) = 0;
  virtual void *raw_alloc_with_stream(size_t bytes, void *stream) = 0;
  virtual void raw_delete(void *data) = 0;
  virtual void init(int devices) = 0;
  virtual double getMemoryFraction(c10::DeviceIndex device) = 0;
  virtual void setMemoryFraction(double fraction, c10::DeviceIndex device) = 0;
};

static_assert(TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR == 11,
              "compare CudaAllocator with c10/cuda/CUDACachingAllocator.h");

}  // namespace cvx

extern "C" {

cvx_shim_status cvx_shim_storage_bytes(cvx_shim_const_tensor tensor, uint64_t *out,
                                       char **message) {
  return cvx::guarded(message, [&] {
    *out = static_cast<const at::Tensor *>(tensor)->storage().nbytes();
  });
}

const void *cvx_shim_libtorch_address(void) {
  return reinterpret_cast<const void *>(&at::detail::getCUDAHooks);
}

cvx_shim_status cvx_shim_cuda_devices(int32_t *has_backend, int32_t *count, char **message) {
  return cvx::guarded(message, [&] {
    const at::CUDAHooksInterface &hooks = at::detail::getCUDAHooks();
    const int32_t devices = hooks.getNumGPUs();
    *has_backend = hooks.hasCUDART() ? 1 : 0;
    *count = devices;
  });
}

cvx_shim_status cvx_shim_cuda_synchronize(int32_t index, char **message) {
  return cvx::guarded(message, [&] {
    at::detail::getCUDAHooks().deviceSynchronize(static_cast<c10::DeviceIndex>(index));
  });
}

cvx_shim_status cvx_shim_cuda_set_device(int32_t index, char **message) {
  return cvx::guarded(message, [&] {
    c10::impl::getDeviceGuardImpl(c10::DeviceType::CUDA)
        ->setDevice({c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(index)});
  });
}

cvx_shim_status cvx_shim_cuda_query(int32_t index, char **message) {
  return cvx::guarded(message, [&] {
    const c10::Device device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(index));
    const auto *const impl = c10::impl::getDeviceGuardImpl(device.type());
    (void)impl->queryStream(impl->getStream(device));
  });
}

cvx_shim_status cvx_shim_finish_stream(cvx_shim_const_tensor tensor, void **out, char **message) {
  return cvx::guarded(message, [&] {
    const c10::Device device = static_cast<const at::Tensor *>(tensor)->device();
    if (device.is_cpu()) {
      *out = nullptr;
      return;
    }
    c10::impl::getDeviceGuardImpl(device.type())->getStream(device).synchronize();
    *out = stream_handle(device);
  });
}

cvx_shim_status cvx_shim_cuda_stream(int32_t index, void **out, char **message) {
  return cvx::guarded(message, [&] {
    *out = stream_handle({c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(index)});
  });
}

cvx_shim_status cvx_shim_cuda_memory(int32_t index, uint64_t *now, uint64_t *peak,
                                     char **message) {
  return cvx::guarded(message, [&] {
    const auto stats = cuda_stats(index);
    const auto &bytes =
        stats.allocated_bytes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)];
    *now = static_cast<uint64_t>(bytes.current);
    *peak = static_cast<uint64_t>(bytes.peak);
  });
}

cvx_shim_status cvx_shim_cuda_reset_peak_memory(int32_t index, char **message) {
  return cvx::guarded(message, [&] {
    c10::getDeviceAllocator(c10::DeviceType::CUDA)
        ->resetPeakStats(static_cast<c10::DeviceIndex>(index));
  });
}

cvx_shim_status cvx_shim_cuda_empty_cache(char **message) {
  return cvx::guarded(message,
                      [&] { c10::getDeviceAllocator(c10::DeviceType::CUDA)->emptyCache(); });
}

cvx_shim_status cvx_shim_cuda_has_bfloat16(int32_t index, int32_t *out, char **message) {
  return cvx::guarded(message, [&] {
    // Of the current device cuDNN's answer is whether its capability is 8.0 or later
    // (aten/src/ATen/cuda/detail/CUDAHooks.cpp).
    const c10::DeviceGuard guard(
        c10::Device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(index)));
    const at::CUDAHooksInterface &hooks = at::detail::getCUDAHooks();
    *out = !hooks.compiledWithCuDNN() || hooks.supportsBFloat16ConvolutionWithCuDNNv8();
  });
}

cvx_shim_status cvx_shim_cuda_limit_memory(int32_t index, uint64_t bytes, char **message) {
  return cvx::guarded(message, [&] {
    const auto device = static_cast<c10::DeviceIndex>(index);
    at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
    const c10::DeviceGuard guard(c10::Device(c10::DeviceType::CUDA, device));
    auto *const allocator = c10::getDeviceAllocator(c10::DeviceType::CUDA);
    const auto total = static_cast<double>(allocator->getMemoryInfo(device).second);
    const double fraction = std::min(1.0, static_cast<double>(bytes) / std::max(1.0, total));
    static_cast<cvx::CudaAllocator *>(allocator)->setMemoryFraction(fraction, device);
  });
}

cvx_shim_status cvx_shim_cuda_versions(int64_t *runtime, int64_t *cudnn, char **message) {
  return cvx::guarded(message, [&] {
    const at::CUDAHooksInterface &hooks = at::detail::getCUDAHooks();
    const int64_t found = hooks.versionCUDART();
    *cudnn = hooks.hasCuDNN() ? hooks.versionRuntimeCuDNN() : 0;
    *runtime = found;
  });
}

const char *cvx_shim_torch_version(void) { return TORCH_VERSION; }

cvx_shim_status cvx_shim_torch_config(char **out, char **message) {
  return cvx::guarded(message, [&] {
    char *const text = cvx::copy_string(at::show_config().c_str());
    if (text == nullptr) throw std::bad_alloc();
    *out = text;
  });
}

}  // extern "C"
