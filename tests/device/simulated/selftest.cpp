// The simulated device by itself: operators give on it what they give on the CPU, and it refuses
// what a GPU refuses.
#include "simcuda.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/Event.h>
#include <c10/core/GradMode.h>
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <functional>
#include <string>
#include <vector>

using at::Tensor;
using Tensors = std::vector<Tensor>;

namespace {

int failures = 0;

void expect(bool ok, const char *what) {
  if (ok) return;
  std::printf("FAILED: %s\n", what);
  ++failures;
}

void *const library = dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_LOCAL);

// A function of the device, as tests find it.
#define DEVICE(name) (*reinterpret_cast<decltype(&name)>(dlsym(library, #name)))

const c10::Device kDevice(at::kCUDA, 0);

// `f` of tensors on the device gives what it gives of the same tensors on the CPU.
void same(const char *what, const Tensors &arguments, const std::function<Tensor(Tensors &)> &f,
          double tolerance = 1e-5) {
  Tensors device, host;
  for (const Tensor &t : arguments) {
    device.push_back(t.to(kDevice));
    host.push_back(t.clone());
  }
  const Tensor found = f(device), expected = f(host);
  expect(found.device() == kDevice, what);
  expect(found.sizes() == expected.sizes() && found.dtype() == expected.dtype(), what);
  expect(at::allclose(found.cpu(), expected, tolerance, tolerance), what);
}

bool throws(const std::function<void()> &f, const char *words) {
  try {
    f();
  } catch (const c10::Error &error) {
    return std::string(error.what()).find(words) != std::string::npos;
  }
  return false;
}

void operators() {
  const Tensor x = at::randn({2, 48, 192}), w = at::randn({768, 192}), b = at::randn({768});
  const Tensor g = at::randn({192}), h = at::randn({192});
  same("linear", {x, w, b}, [](Tensors &t) { return at::linear(t[0], t[1], t[2]); }, 1e-4);
  same("layer norm of a view", {x, g, h}, [](Tensors &t) {
    return at::layer_norm(t[0].narrow(1, 3, 16), {192}, t[1], t[2]);
  });
  same("in place on a view", {x, x * 2, g}, [](Tensors &t) {
    t[0].narrow(1, 16, 32).addcmul_(t[1].narrow(1, 16, 32), t[2]);
    return t[0];
  });
  same("chunks, concatenated", {x}, [](Tensors &t) { return at::cat(t[0].chunk(3, -1), 1); });
  same("a copy that broadcasts", {x, g}, [](Tensors &t) {
    t[0].select(0, 1).copy_(t[1]);
    return t[0];
  });
  same("reshape of a permutation", {x}, [](Tensors &t) {
    return t[0].unflatten(-1, {3, 64}).permute({2, 0, 3, 1}).reshape({-1, 6});
  });
  same("Fourier transforms", {at::randn({2, 3, 8, 10})}, [](Tensors &t) {
    return at::fft_irfft2(at::fft_rfft2(t[0]) * 2, at::IntArrayRef{8, 10});
  });
  same("complex numbers", {at::randn({1, 2, 8, 32}), at::randn({8, 16}), at::randn({8, 16})},
       [](Tensors &t) {
         at::view_as_complex(t[0].unflatten(-1, {-1, 2})).mul_(at::complex(t[1], t[2]));
         return t[0];
       });
  same("conv3d", {at::randn({1, 4, 5, 6, 7}), at::randn({8, 4, 3, 3, 3}), at::randn({8})},
       [](Tensors &t) {
         return at::conv3d(t[0], t[1], t[2], at::IntArrayRef(1), at::IntArrayRef{0, 1, 1});
       }, 1e-4);
  const auto counted = [](const char *name) { return DEVICE(simcuda_counter)(name); };
  expect(counted("tf32") == 1, "libtorch allows TF32 in a convolution");
  const auto convolution = [](at::ScalarType type, bool allow_tf32) {
    const auto input = at::randn({1, 4, 8, 8}).to(type).to(kDevice);
    const auto weight = at::randn({4, 4, 3, 3}).to(type).to(kDevice);
    const at::IntArrayRef one{1, 1}, none{0, 0};
    at::_convolution(input, weight, {}, one, none, one, false, none, 1, false, false, true,
                     allow_tf32);
  };
  convolution(at::kFloat, false), convolution(at::kHalf, true);
  expect(counted("tf32") == 1 && counted("no_tensor_cores") == 0, "TF32 as it is asked for");
  convolution(at::kBFloat16, false);
  expect(counted("no_tensor_cores") == 1, "tensor cores ruled out");
  for (const at::ScalarType type : {at::kFloat, at::kHalf, at::kBFloat16}) {
    const auto qkv = [&] { return at::randn({1, 2, 24, 32}).to(type); };
    same("attention", {qkv(), qkv(), qkv(), at::randn({1, 2, 24, 24}).to(type)}, [](Tensors &t) {
      return at::scaled_dot_product_attention(t[0], t[1], t[2]) +
             at::scaled_dot_product_attention(t[0], t[1], t[2], t[3]);
    }, type == at::kFloat ? 1e-5 : 5e-2);
  }
  // The CPU's kernel of this operator takes the exact GELU: compared with its parts instead.
  const auto fused = [&](bool gelu) {
    return at::_addmm_activation(b.to(kDevice), x[0].to(kDevice), w.to(kDevice).t(), 1, 1, gelu)
        .cpu();
  };
  const Tensor sum = at::linear(x[0], w, b);
  expect(at::allclose(fused(true), at::gelu(sum, "tanh"), 1e-4, 1e-4), "product with GELU");
  expect(at::allclose(fused(false), at::relu(sum), 1e-4, 1e-4), "product with ReLU");
}

void shapes() {
  const Tensor x = at::randn({7}).to(kDevice);
  expect(at::arange(5, at::device(kDevice)).sum().item<int64_t>() == 10, "arange");
  expect(x.view({7, 1}).storage().is_alias_of(x.storage()), "a view shares memory");
  Tensor y = x.clone().view({1, 7});
  y.squeeze_(0);
  expect(y.dim() == 1, "a shape changed in place");
  y.resize_({100});
  expect(y.numel() == 100 && y.device() == kDevice, "resized");
  const uint64_t before = DEVICE(simcuda_counter)("shapes");
  expect(at::nonzero(x > 100).size(0) == 0, "nonzero");
  expect(DEVICE(simcuda_counter)("shapes") == before + 1, "nonzero waits");
  expect(x.index({at::tensor({1, 2})}).size(0) == 2, "indices on the host");
  expect(at::isnan(at::empty({9}, at::device(kDevice))).all().item<bool>(), "fresh memory is NaN");
}

void refusals() {
  const Tensor x = at::randn({4}).to(kDevice), host = at::randn({4});
  expect(throws([&] { x + host; }, "same device"), "two devices");
  expect(throws([&] { at::linear(x, host.view({1, 4})); }, "same device"), "…, product");
  expect(throws([&] { at::layer_norm(x, {4}, host); }, "same device"), "…, norm");
  expect(throws([&] { at::layer_norm(x.to(at::kHalf), {4}, x); }, "scalar type"), "two dtypes");
  expect((x + at::scalar_tensor(1.0)).device() == kDevice, "one number of the host is let through");
  expect(throws([&] { at::randn({3}, at::device(kDevice)); }, "random"), "random numbers");
  const Tensor q = at::randn({1, 2, 20, 32}).to(kDevice).to(at::kHalf);
  const Tensor mask = at::randn({1, 2, 20, 20}).to(kDevice).to(at::kHalf);
  expect(throws([&] { at::scaled_dot_product_attention(q, q, q, mask); }, "CUDNN"),
         "a mask with rows of 40 bytes, by cuDNN");
  const pid_t child = fork();
  if (child == 0) {
    volatile float read = *x.const_data_ptr<float>();
    _exit(read != 0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "the host reads device memory");
}

void waits() {
  const Tensor x = at::randn({4}).to(kDevice), y = at::empty_like(x);
  const Tensor pinned = at::randn({4}).pin_memory();
  expect(pinned.is_pinned() && !at::randn({4}).is_pinned(), "pinned memory is known");
  DEVICE(simcuda_forbid_waits)(1);
  expect(throws([&] { x.sum().item<float>(); }, "forbidden"), "forbidden: a number");
  expect(throws([&] { x.cpu(); }, "forbidden"), "forbidden: a copy");
  expect(throws([&] { y.copy_(at::randn({4}), true); }, "forbidden"), "forbidden: not pinned");
  y.copy_(pinned, /*non_blocking=*/true);
  DEVICE(simcuda_forbid_waits)(0);
  expect(at::equal(y.cpu(), pinned), "a copy without a wait");

  DEVICE(simcuda_reset)();
  DEVICE(simcuda_set_kernel_time)(50'000'000);
  c10::Event event(at::kCUDA);
  (void)(x + 1), (void)(x + 2);
  event.record(c10::impl::getDeviceGuardImpl(at::kCUDA)->getStream(kDevice));
  expect(!event.query(), "the device is busy");
  expect(DEVICE(simcuda_most_ahead)() == 2, "two launches under way");
  usleep(150'000);
  expect(event.query(), "the device is done");
  DEVICE(simcuda_set_kernel_time)(0);

  DEVICE(simcuda_lose_device)(1);
  expect(throws([&] { x + 1; }, "illegal memory access"), "a lost device");
  DEVICE(simcuda_lose_device)(0);
}

void memory() {
  const Tensor x = at::randn({4}).to(kDevice);
  DEVICE(simcuda_fail_allocation)(2);
  bool failed = false;
  try {
    const Tensor a = x + 1, b = x + 2;
  } catch (const c10::OutOfMemoryError &) {
    failed = true;
  }
  expect(failed, "an allocation that is to fail");
  auto *const allocator = c10::getDeviceAllocator(at::kCUDA);
  allocator->resetPeakStats(0);
  const auto bytes = [&] { return allocator->getDeviceStats(0).allocated_bytes[0]; };
  const int64_t before = bytes().current;
  at::empty({1000}, at::device(kDevice).dtype(at::kByte));
  expect(bytes().current == before && bytes().peak == before + 1024, "the allocator's counts");
  expect(DEVICE(simcuda_memory_reserved)(0) > DEVICE(simcuda_memory)(0), "freed blocks are kept");
  allocator->emptyCache();
  expect(DEVICE(simcuda_memory_reserved)(0) == DEVICE(simcuda_memory)(0), "until the cache goes");
}

}  // namespace

int main() {
  if (library == nullptr) return std::puts(dlerror()), 1;
  const c10::AutoGradMode no_grad(false);
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  generator.set_current_seed(1);
  operators();
  shapes();
  refusals();
  waits();
  memory();
  expect(DEVICE(simcuda_memory)(0) == 0, "all memory is given back");
  std::puts(failures != 0 ? "failed" : "the simulated device is as it should be");
  return failures != 0;
}
