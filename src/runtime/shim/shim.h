// What this library needs of libtorch and tch does not bind, as a plain C interface.
//
// Every function that can fail answers a cvx_shim_status and, unless that is CVX_SHIM_OK,
// writes a message to *message that the caller frees with cvx_shim_string_free; NULL where there
// is no memory for it. What the failure means is told from its text, as everywhere
// (failures.rs). No C++ exception leaves a function. Out-parameters are written only on success.
//
// A `cvx_shim_tensor` is the `C_tensor` of torch-sys: a heap-allocated at::Tensor. Tensors
// handed out are owned by the caller, who passes them to torch-sys.
#pragma once

#include <cstddef>
#include <cstdint>

typedef void *cvx_shim_tensor;
typedef const void *cvx_shim_const_tensor;
typedef struct cvx_shim_generator cvx_shim_generator;
typedef struct cvx_shim_warnings cvx_shim_warnings;
typedef struct cvx_shim_event cvx_shim_event;
typedef struct cvx_shim_copy_stream cvx_shim_copy_stream;
typedef struct cvx_shim_starts cvx_shim_starts;
struct DLManagedTensor;

typedef int32_t cvx_shim_status;
enum : cvx_shim_status {
  CVX_SHIM_OK = 0,
  CVX_SHIM_FAILED = 1,
};

extern "C" {

void cvx_shim_string_free(char *string);

// mapped.cpp

// Bytes on the CPU in pages of their own, which go back to the system as soon as they are freed; those
// of a `passing` tensor may have been another one's before, and serve the next.
cvx_shim_status cvx_shim_mapped_bytes(int64_t bytes, int32_t passing, cvx_shim_tensor *out,
                                      char **message);
// Has the pages of the largest passing tensor kept when it is freed, until it has been called as often
// with 0.
void cvx_shim_mapped_keep(int32_t keep);

// generator.cpp

// A generator on the CPU that is nobody else's, seeded as torch.Generator().manual_seed(seed).
cvx_shim_status cvx_shim_generator_new(uint64_t seed, cvx_shim_generator **out, char **message);
void cvx_shim_generator_free(cvx_shim_generator *generator);
// Fills `tensor` (on the CPU) with standard normal numbers, as torch.randn does its result.
cvx_shim_status cvx_shim_fill_normal(cvx_shim_generator *generator, cvx_shim_tensor tensor,
                                     char **message);
// A copy of the generator's state, bytes on the CPU; and back from one, which is checked.
cvx_shim_status cvx_shim_generator_state(cvx_shim_generator *generator, cvx_shim_tensor *out,
                                         char **message);
cvx_shim_status cvx_shim_generator_set_state(cvx_shim_generator *generator,
                                             cvx_shim_const_tensor state, char **message);
// A copy of the state of the generator that the whole process shares.
cvx_shim_status cvx_shim_default_generator_state(cvx_shim_tensor *out, char **message);

// device.cpp

// Bytes of the storage that keeps `tensor` alive: for a view, those of the whole buffer.
cvx_shim_status cvx_shim_storage_bytes(cvx_shim_const_tensor tensor, uint64_t *out,
                                       char **message);
// An address inside libtorch_cpu.so, for dladdr.
const void *cvx_shim_libtorch_address(void);
// Whether libtorch holds the CUDA backend (rather than the stub it remembers when the first
// CUDA query comes before the backend is loaded), and how many devices it can use. This is
// such a query.
cvx_shim_status cvx_shim_cuda_devices(int32_t *has_backend, int32_t *count, char **message);
// Waits for everything that was launched on CUDA device `index`.
cvx_shim_status cvx_shim_cuda_synchronize(int32_t index, char **message);
// Makes CUDA device `index` the current one of this thread.
cvx_shim_status cvx_shim_cuda_set_device(int32_t index, char **message);
// Asks CUDA device `index` whether it is busy, and fails if it can't say. Does not wait.
cvx_shim_status cvx_shim_cuda_query(int32_t index, char **message);
// Bytes that libtorch's allocator has handed out on CUDA device `index`: now, and the most
// since the last reset.
cvx_shim_status cvx_shim_cuda_memory(int32_t index, uint64_t *now, uint64_t *peak,
                                     char **message);
cvx_shim_status cvx_shim_cuda_reset_peak_memory(int32_t index, char **message);
// Gives back to the driver what libtorch's allocator keeps and nobody uses, on all CUDA devices.
cvx_shim_status cvx_shim_cuda_empty_cache(char **message);
// Whether CUDA device `index` has fast arithmetic in bfloat16: compute capability 8.0 or later.
cvx_shim_status cvx_shim_cuda_has_bfloat16(int32_t index, int32_t *out, char **message);

// libtorch's allocator takes at most `bytes` of CUDA device `index` from now on, in the whole
// process; more than the device has is no limit. Makes the device's context.
cvx_shim_status cvx_shim_cuda_limit_memory(int32_t index, uint64_t bytes, char **message);
// Versions of the CUDA runtime and of cuDNN, as they tell them; 0 without cuDNN. A CUDA query.
cvx_shim_status cvx_shim_cuda_versions(int64_t *runtime, int64_t *cudnn, char **message);
// The release of libtorch whose headers this was compiled with. Static.
const char *cvx_shim_torch_version(void);

// What the libtorch that runs says of how it was built; freed with cvx_shim_string_free. A CUDA
// query.
cvx_shim_status cvx_shim_torch_config(char **out, char **message);

// The backend's own handle of the stream that this thread uses on CUDA device `index`, as
// cvx_shim_finish_stream writes it.
cvx_shim_status cvx_shim_cuda_stream(int32_t index, void **out, char **message);
// cpu.cpp
// The instruction set whose kernels libtorch takes, such as "AVX512"; freed with
// cvx_shim_string_free.
cvx_shim_status cvx_shim_cpu_capability(char **out, char **message);
// oneDNN prints its failures to stdout unless it is told not to. Does nothing where its own
// variables say what it is to print.
void cvx_shim_silence_onednn(void);

// spare.cpp: memory that is held while code runs that does not heed that there is none.
enum : int32_t {
  // There was not enough for it.
  CVX_SHIM_SPARE_SHORT = 0,
  // cvx_shim_spare_drop is to be called by the same thread.
  CVX_SHIM_SPARE_HELD = 1,
  // This thread holds some already, or too many do.
  CVX_SHIM_SPARE_OUTER = 2,
};
// How many entries of libtorch's have stand-ins. The first call puts them there.
int32_t cvx_shim_spare_install(void);
// The same for libgomp, in which `inside` is an address; it ends the process where it has no memory.
int32_t cvx_shim_spare_install_in_libgomp(void *inside);
int32_t cvx_shim_spare_hold(void);
void cvx_shim_spare_drop(void);
// Calls `function`, which calls C++ that is linked into this library. 0 where it has returned, 1
// where std::bad_alloc came out of it; a panic of Rust's passes through.
int32_t cvx_shim_without_bad_alloc(void (*function)(void *), void *data);

// Waits for the stream that this thread uses on the device of `tensor`, and writes the
// backend's own handle of it (a cudaStream_t): NULL for the CPU and for a default stream.
cvx_shim_status cvx_shim_finish_stream(cvx_shim_const_tensor tensor, void **out, char **message);

// event.cpp

// A mark behind everything that was launched so far on the current stream of CUDA device `index`;
// with `timed`, one that knows when it was passed.
cvx_shim_status cvx_shim_event_record(int32_t index, int32_t timed, cvx_shim_event **out,
                                      char **message);
// Whether the device has passed it; does not wait.
cvx_shim_status cvx_shim_event_query(const cvx_shim_event *event, int32_t *done, char **message);
// Waits until the device has passed it.
cvx_shim_status cvx_shim_event_wait(const cvx_shim_event *event, char **message);
// Time of the device between two marks that it has passed.
cvx_shim_status cvx_shim_event_elapsed(const cvx_shim_event *from, const cvx_shim_event *to,
                                       double *milliseconds, char **message);
void cvx_shim_event_free(cvx_shim_event *event);
// A copy of `tensor`, on the CPU, on CUDA device `index`, through pinned memory. The host does not
// wait for it.
cvx_shim_status cvx_shim_upload(cvx_shim_const_tensor tensor, int32_t index, cvx_shim_tensor *out,
                                char **message);
// `bytes` bytes on the CPU that are not set to anything; `pinned` ones a CUDA device reads by
// itself.
cvx_shim_status cvx_shim_host_bytes(int64_t bytes, int32_t pinned, cvx_shim_tensor *out,
                                    char **message);

// A stream of CUDA device `index` beside the one that this thread computes on (the current one).
cvx_shim_status cvx_shim_copy_stream_new(int32_t index, cvx_shim_copy_stream **out,
                                         char **message);
void cvx_shim_copy_stream_free(cvx_shim_copy_stream *copies);
// What is copied from here on begins behind what the current stream has to do now.
cvx_shim_status cvx_shim_copy_stream_follow(const cvx_shim_copy_stream *copies, char **message);
// The current stream goes on behind all that is copied so far.
cvx_shim_status cvx_shim_copy_stream_join(const cvx_shim_copy_stream *copies, char **message);
// Copies `source`, in memory from cvx_shim_host_bytes, to `target` on the device. Nobody waits.
cvx_shim_status cvx_shim_copy_stream_copy(const cvx_shim_copy_stream *copies,
                                          cvx_shim_tensor target, cvx_shim_const_tensor source,
                                          char **message);
// A mark behind what is copied so far; and the current stream goes on behind a mark.
cvx_shim_status cvx_shim_copy_stream_mark(const cvx_shim_copy_stream *copies,
                                          cvx_shim_event **out, char **message);
cvx_shim_status cvx_shim_copy_stream_await(const cvx_shim_copy_stream *copies,
                                           const cvx_shim_event *event, char **message);

// dlpack.cpp

// A DLPack tensor that shares memory with `tensor` and keeps it alive; its deleter is the
// receiver's to call.
cvx_shim_status cvx_shim_dlpack(cvx_shim_const_tensor tensor, DLManagedTensor **out,
                                char **message);
// The same of bytes on the host, densely packed. `release(owner)` is called exactly once: when
// nothing uses them any more, or before this returns where it fails.
cvx_shim_status cvx_shim_dlpack_bytes(const uint8_t *data, const int64_t *shape, size_t rank,
                                      void *owner, void (*release)(void *),
                                      DLManagedTensor **out, char **message);
void cvx_shim_dlpack_free(DLManagedTensor *tensor);

// callback.cpp

// Calls a function of the host: CVX_SHIM_FAILED, with its text, if it throws.
cvx_shim_status cvx_shim_call_int(int32_t (*function)(const void *, void *), const void *info,
                                  void *user_data, int32_t *out, char **message);
cvx_shim_status cvx_shim_call_double(double (*function)(const void *, void *), const void *info,
                                     void *user_data, double *out, char **message);
cvx_shim_status cvx_shim_call_void(void (*function)(const void *, void *), const void *info,
                                   void *user_data, char **message);
cvx_shim_status cvx_shim_call_free(void (*function)(void *), void *user_data, char **message);

// warnings.cpp

// From here to cvx_shim_warnings_end libtorch's warnings of this thread are kept instead of
// printed. Scopes of a thread end in reverse order.
cvx_shim_status cvx_shim_warnings_begin(cvx_shim_warnings **out, char **message);
// Moves the oldest kept warning to *out, or NULL when there is none.
cvx_shim_status cvx_shim_warnings_take(cvx_shim_warnings *warnings, char **out, char **message);
// Restores what handled warnings before, and frees `warnings`.
void cvx_shim_warnings_end(cvx_shim_warnings *warnings);

// starts.cpp

// Has libgomp, in which `inside` is an address, take threads that wait where the system refuses it
// one. Returns 0 where that can't be done.
int32_t cvx_shim_starts_install(void *inside);
// Announces that this thread is to start threads through libgomp, until cvx_shim_starts_end, and starts as many
// of `count` as the system lets, which wait for work: those that libgomp is refused. NULL where
// memory is out.
cvx_shim_starts *cvx_shim_starts_begin(int32_t count);
// How many wait.
int32_t cvx_shim_starts_count(const cvx_shim_starts *starts);
// Ends those that were given nothing to do.
void cvx_shim_starts_release(cvx_shim_starts *starts);
// Also frees `starts`. On the thread that began.
void cvx_shim_starts_end(cvx_shim_starts *starts);

}  // extern "C"
