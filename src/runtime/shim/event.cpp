// Marks in the work of a device, which say when it has got there, and copies to a device that
// nobody waits for.
#include "guarded.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

struct cvx_shim_event {
  c10::Event event;
};

struct cvx_shim_copy_stream {
  c10::Stream stream;

  const c10::impl::DeviceGuardImplInterface &impl() const {
    return *c10::impl::getDeviceGuardImpl(stream.device_type());
  }
  c10::Stream current() const { return impl().getStream(stream.device()); }
  // `later` goes on only behind what `earlier` has to do now.
  static void order(const c10::Stream &earlier, const c10::Stream &later) {
    c10::Event event(earlier.device_type());
    event.record(earlier);
    event.block(later);
  }
};

extern "C" {

cvx_shim_status cvx_shim_event_record(int32_t index, int32_t timed, cvx_shim_event **out,
                                      char **message) {
  return cvx::guarded(message, [&] {
    const c10::Device device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(index));
    // PyTorch's default is an event without a time, which costs less.
    const auto flag = timed ? c10::EventFlag::BACKEND_DEFAULT : c10::EventFlag::PYTORCH_DEFAULT;
    c10::Event event(device.type(), flag);
    event.record(c10::impl::getDeviceGuardImpl(device.type())->getStream(device));
    *out = new cvx_shim_event{std::move(event)};
  });
}

cvx_shim_status cvx_shim_event_query(const cvx_shim_event *event, int32_t *done, char **message) {
  return cvx::guarded(message, [&] { *done = event->event.query() ? 1 : 0; });
}

cvx_shim_status cvx_shim_event_wait(const cvx_shim_event *event, char **message) {
  return cvx::guarded(message, [&] { event->event.synchronize(); });
}

cvx_shim_status cvx_shim_event_elapsed(const cvx_shim_event *from, const cvx_shim_event *to,
                                       double *milliseconds, char **message) {
  return cvx::guarded(message, [&] { *milliseconds = from->event.elapsedTime(to->event); });
}

void cvx_shim_event_free(cvx_shim_event *event) {
  // An event of a lost device can't be destroyed, of which libtorch warns: on stderr, where no
  // scope of ours is open.
  struct : c10::WarningHandler {
    void process(const c10::Warning &) override {}
  } silent;
  const c10::WarningUtils::WarningHandlerGuard guard(&silent);
  delete event;
}

cvx_shim_status cvx_shim_upload(cvx_shim_const_tensor tensor, int32_t index, cvx_shim_tensor *out,
                                char **message) {
  return cvx::guarded(message, [&] {
    const at::Tensor &host = *static_cast<const at::Tensor *>(tensor);
    const c10::Device device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(index));
    // libtorch keeps the pinned block from being used again before the copy has been made.
    at::Tensor pinned = at::empty(host.sizes(), host.options().pinned_memory(true));
    pinned.copy_(host);
    *out = new at::Tensor(pinned.to(device, /*non_blocking=*/true));
  });
}

cvx_shim_status cvx_shim_host_bytes(int64_t bytes, int32_t pinned, cvx_shim_tensor *out,
                                    char **message) {
  return cvx::guarded(message, [&] {
    const auto options = at::TensorOptions().dtype(at::kByte).pinned_memory(pinned != 0);
    *out = new at::Tensor(at::empty({bytes}, options));
  });
}

cvx_shim_status cvx_shim_copy_stream_new(int32_t index, cvx_shim_copy_stream **out,
                                         char **message) {
  return cvx::guarded(message, [&] {
    const c10::Device device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(index));
    const auto *const impl = c10::impl::getDeviceGuardImpl(device.type());
    *out = new cvx_shim_copy_stream{impl->getStreamFromGlobalPool(device)};
  });
}

void cvx_shim_copy_stream_free(cvx_shim_copy_stream *copies) { delete copies; }

cvx_shim_status cvx_shim_copy_stream_follow(const cvx_shim_copy_stream *copies, char **message) {
  return cvx::guarded(message, [&] { copies->order(copies->current(), copies->stream); });
}

cvx_shim_status cvx_shim_copy_stream_join(const cvx_shim_copy_stream *copies, char **message) {
  return cvx::guarded(message, [&] { copies->order(copies->stream, copies->current()); });
}

cvx_shim_status cvx_shim_copy_stream_copy(const cvx_shim_copy_stream *copies,
                                          cvx_shim_tensor target, cvx_shim_const_tensor source,
                                          char **message) {
  return cvx::guarded(message, [&] {
    const c10::StreamGuard guard(copies->stream);
    static_cast<at::Tensor *>(target)->copy_(*static_cast<const at::Tensor *>(source),
                                             /*non_blocking=*/true);
  });
}

cvx_shim_status cvx_shim_copy_stream_mark(const cvx_shim_copy_stream *copies,
                                          cvx_shim_event **out, char **message) {
  return cvx::guarded(message, [&] {
    c10::Event event(copies->stream.device_type());
    event.record(copies->stream);
    *out = new cvx_shim_event{std::move(event)};
  });
}

cvx_shim_status cvx_shim_copy_stream_await(const cvx_shim_copy_stream *copies,
                                           const cvx_shim_event *event, char **message) {
  return cvx::guarded(message, [&] { event->event.block(copies->current()); });
}

}  // extern "C"
