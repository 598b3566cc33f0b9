// Random numbers of one run. The generator of the process is read here, never drawn from.
#include "guarded.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/normal.h>

struct cvx_shim_generator {
  at::Generator generator;
};

extern "C" {

cvx_shim_status cvx_shim_generator_new(uint64_t seed, cvx_shim_generator **out, char **message) {
  return cvx::guarded(message, [&] {
    *out = new cvx_shim_generator{at::make_generator<at::CPUGeneratorImpl>(seed)};
  });
}

void cvx_shim_generator_free(cvx_shim_generator *generator) { delete generator; }

cvx_shim_status cvx_shim_fill_normal(cvx_shim_generator *generator, cvx_shim_tensor tensor,
                                     char **message) {
  return cvx::guarded(message, [&] {
    // at::randn is at::empty and this call (aten/src/ATen/native/TensorFactories.cpp).
    static_cast<at::Tensor *>(tensor)->normal_(0, 1, generator->generator);
  });
}

cvx_shim_status cvx_shim_generator_state(cvx_shim_generator *generator, cvx_shim_tensor *out,
                                         char **message) {
  return cvx::guarded(message, [&] {
    std::lock_guard<std::mutex> lock(generator->generator.mutex());
    *out = new at::Tensor(generator->generator.get_state());
  });
}

cvx_shim_status cvx_shim_generator_set_state(cvx_shim_generator *generator,
                                             cvx_shim_const_tensor state, char **message) {
  return cvx::guarded(message, [&] {
    std::lock_guard<std::mutex> lock(generator->generator.mutex());
    generator->generator.set_state(*static_cast<const at::Tensor *>(state));
  });
}

cvx_shim_status cvx_shim_default_generator_state(cvx_shim_tensor *out, char **message) {
  return cvx::guarded(message, [&] {
    at::Generator generator = at::detail::getDefaultCPUGenerator();  // shares the object
    std::lock_guard<std::mutex> lock(generator.mutex());
    *out = new at::Tensor(generator.get_state());
  });
}

}  // extern "C"
