/*
 * libcogvideox: CogVideoX text, image and video to video with training-free caching.
 *
 * Generated from the Rust sources by `make header`; do not edit.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A program is: cvx_pipeline_load, cvx_generate_options_new and its setters,
 * cvx_pipeline_generate, cvx_video_save or cvx_video_frames_rgb8, and the _free function of
 * each. examples/c/generate.c of the source repository is one; docs/, which comments name, is there
 * too. A program that must not wait calls cvx_pipeline_submit instead of cvx_pipeline_generate, and
 * asks the job with cvx_job_poll. A pipeline for image to
 * video (cvx_pipeline_task) needs cvx_generate_options_set_image besides; one for text to video takes
 * a video too, with cvx_generate_options_set_video; one for control needs
 * cvx_generate_options_set_control_video, and one for inpainting takes parts of its video. Caching is
 * cvx_pab_config_new or cvx_faster_cache_config_new and cvx_pipeline_enable_cache before it; see
 * examples/c/cache_callbacks.c there.
 *
 * Errors. A function that can fail returns cvx_error *: NULL is success, anything else is an
 * error object that the caller owns, reads and frees with cvx_error_free. A failed call changes
 * nothing: its handles are as usable as before, and its out-parameters are untouched. Where a
 * comment lists errors, NULL_ARGUMENT (a pointer that must not be NULL), OUT_OF_MEMORY,
 * DEVICE_LOST (where a device is worked on) and INTERNAL (a defect of the library) are possible
 * besides. Functions that cannot fail answer what their comment says for NULL.
 *
 * Ownership. Handles are opaque; each has a _free function, for which NULL is a no-op, and is
 * freed once; one that was freed before, or is of another type, is refused with
 * INVALID_ARGUMENT, as far as that can be told. Strings and arrays passed in are copied or read
 * during the call, never kept; memory that a run writes to, such as a frames buffer, says how long it
 * must stay. Each pointer handed out says whose memory it is and until when it lives. Parameters whose
 * name ends in _or_null may be NULL, others may not. Strings are UTF-8, ended by NUL.
 *
 * Threads. Handles belong to no thread. What is passed as const T * may be used by many
 * threads at once; what is passed as T * by one at a time (a pipeline that is at work answers
 * BUSY to a second caller). Cancel tokens may be cancelled from any thread and from a signal
 * handler. No function but cvx_cancel_token_cancel and cvx_cancel_token_is_cancelled may be
 * called from a signal handler.
 *
 * Callbacks. Each belongs to options, a cache config or a communicator, and so to a load or a run;
 * there are no process-wide ones. They are called on the thread that called the function they serve, or
 * for a job on the worker thread of its pipeline, with the user_data given beside them, and must
 * return: a longjmp out of one is undefined. A C++ exception ends the work with CALLBACK_FAILED, or
 * is dropped where nobody can be told: in a log, job or free callback.
 *
 * The host's process. Nothing is written to stdout or stderr, but by libtorch's cpuinfo where neither
 * /proc nor /sys can be read. An exit handler ends what still runs, see cvx_pipeline_submit. No signal
 * handler, locale, umask, environment variable, working directory, thread count, floating-point mode or
 * random generator of the process is changed, and no file stays open. Computations use the
 * default floating-point modes, whatever the caller's are; callbacks find the caller's. A thread that
 * calls needs 256 KiB of stack. No panic and no C++ exception comes out of a function, and none ends
 * the process, but where the system refuses OpenMP's library a thread, or C++ memory in a function that
 * may not throw, although either was there just before. Work on a CUDA device is done on threads of the
 * library's own, while the calling thread waits: that thread's CUDA context and current device are
 * neither used nor changed, and callbacks come as above.
 *
 * Unloading. libtorch cannot be unloaded: once loaded, keep the library in the process, and do
 * not dlclose it. After fork, use the library in the child only if the parent has not yet:
 * else loads and runs in the child are refused with DEVICE_UNAVAILABLE.
 *
 * Versions. CVX_ABI_VERSION is raised when programs must be built anew, and then the SONAME
 * changes too. Structs that are written by the library begin with struct_size and only grow. Codes and
 * constants keep their values. A function that is to go is marked with CVX_DEPRECATED, which names
 * what takes its place, and says since when in its comment; it works as before until CVX_ABI_VERSION
 * is raised, and for two releases at least. cvx_has_capability tells what a library can do.
 */


#ifndef COGVIDEOX_H
#define COGVIDEOX_H

#include <stddef.h>
#include <stdint.h>

/* Marks functions whose result, an error, must not be dropped. Define it yourself to change
 * how. */
#ifndef CVX_MUST_USE
#  if defined(__cplusplus) && __cplusplus >= 201703L
#    define CVX_MUST_USE [[nodiscard]]
#  elif defined(__GNUC__) || defined(__clang__)
#    define CVX_MUST_USE __attribute__((warn_unused_result))
#  elif defined(_MSC_VER)
#    define CVX_MUST_USE _Check_return_
#  else
#    define CVX_MUST_USE
#  endif
#endif

/* Marks functions that are to go: compilers warn of their use, and say what takes their place. Define
 * it yourself, as nothing, to be told nothing. */
#ifndef CVX_DEPRECATED
#  if (defined(__cplusplus) && __cplusplus >= 201402L)
#    define CVX_DEPRECATED(instead) [[deprecated(instead)]]
#  elif defined(__GNUC__) || defined(__clang__)
#    define CVX_DEPRECATED(instead) __attribute__((deprecated(instead)))
#  elif defined(_MSC_VER)
#    define CVX_DEPRECATED(instead) __declspec(deprecated(instead))
#  else
#    define CVX_DEPRECATED(instead)
#  endif
#endif

/* Of dlpack.h, which programs that use it include themselves. */
struct DLManagedTensor;


/**
 * The release that this header belongs to.
 */
#define CVX_VERSION_MAJOR 0

/**
 * The release that this header belongs to.
 */
#define CVX_VERSION_MINOR 1

/**
 * The release that this header belongs to.
 */
#define CVX_VERSION_PATCH 0

/**
 * The binary interface that this header describes. It is raised when a program built against
 * an older header can no longer use the library, and only then: functions, codes and struct
 * fields that are merely added leave it alone.
 */
#define CVX_ABI_VERSION 1

/**
 * No error: what `cvx_error_code` returns for NULL.
 */
#define CVX_OK 0

/**
 * A pointer that must not be NULL is NULL.
 */
#define CVX_ERROR_NULL_ARGUMENT 1

/**
 * An argument, option or configuration value is outside what it may be.
 */
#define CVX_ERROR_INVALID_ARGUMENT 2

/**
 * A string is not valid UTF-8.
 */
#define CVX_ERROR_INVALID_UTF8 3

/**
 * A file or folder that must be there is not.
 */
#define CVX_ERROR_NOT_FOUND 4

/**
 * A file of the pipeline folder is damaged or contradicts another one.
 */
#define CVX_ERROR_INVALID_CHECKPOINT 5

/**
 * The pipeline folder is sound, but asks for something this library does not implement.
 */
#define CVX_ERROR_UNSUPPORTED_MODEL 6

/**
 * The device asked for cannot be used: no CUDA library, no driver, no such index.
 */
#define CVX_ERROR_DEVICE_UNAVAILABLE 7

/**
 * The device or the host has too little memory. What the handle was before, it still is.
 */
#define CVX_ERROR_OUT_OF_MEMORY 8

/**
 * The pipeline is generating already, or a callback called back into its own pipeline.
 */
#define CVX_ERROR_BUSY 9

/**
 * A cancel token or a callback's stop answer ended the work.
 */
#define CVX_ERROR_CANCELLED 10

/**
 * A host callback answered something that cannot be used.
 */
#define CVX_ERROR_CALLBACK_FAILED 11

/**
 * Reading or writing a file failed.
 */
#define CVX_ERROR_IO 12

/**
 * A defect of this library, or an unexpected failure inside libtorch.
 */
#define CVX_ERROR_INTERNAL 13

/**
 * The device failed for good, by a fault of its own or by work that damaged its state in this
 * process. Every later call that needs what lies there fails so; freeing works, and so does work
 * on other devices. The process must be restarted to use the device again.
 */
#define CVX_ERROR_DEVICE_LOST 14

/**
 * Reading weights; counted in bytes.
 */
#define CVX_STAGE_LOAD 1

/**
 * Running the text encoder; counted in its layers.
 */
#define CVX_STAGE_ENCODE 2

/**
 * Running the transformer; counted in denoising steps.
 */
#define CVX_STAGE_DENOISE 3

/**
 * Running the VAE decoder; counted in chunks of latent frames, and in tiles where it tiles.
 */
#define CVX_STAGE_DECODE 4

/**
 * Tuning a cache schedule; counted in runs, of which there may be fewer than foretold.
 */
#define CVX_STAGE_TUNE 5

/**
 * Running the VAE encoder over the image or the video of a run; counted in chunks of frames, and in
 * tiles where it tiles.
 */
#define CVX_STAGE_ENCODE_IMAGE 6

/**
 * Details for developers.
 */
#define CVX_LOG_DEBUG 1

/**
 * What was chosen where the host left a choice.
 */
#define CVX_LOG_INFO 2

/**
 * The work goes on, but not quite as asked: a prompt was truncated, a setting has no effect.
 */
#define CVX_LOG_WARNING 3

/**
 * Something failed that no error object can tell.
 */
#define CVX_LOG_ERROR 4

/**
 * Bytes of NCCL's unique id.
 */
#define CVX_NCCL_UNIQUE_ID_BYTES 128

/**
 * A video is made from a prompt, or from a prompt and a video, see cvx_generate_options_set_video:
 * the networks are the same.
 */
#define CVX_TASK_TEXT_TO_VIDEO 1

/**
 * A video is made from a prompt and an image, which is its first frame, see
 * cvx_generate_options_set_image.
 */
#define CVX_TASK_IMAGE_TO_VIDEO 2

/**
 * A video is made from a prompt and a video, see cvx_generate_options_set_video.
 */
#define CVX_TASK_VIDEO_TO_VIDEO 3

/**
 * A video is made from a prompt and a video that it follows, such as edges, poses or depths, see
 * cvx_generate_options_set_control_video.
 */
#define CVX_TASK_CONTROL 4

/**
 * A video is made from a prompt and what there is of it already: a first frame, a last one
 * (cvx_generate_options_set_image, cvx_generate_options_set_last_image), or the parts of a video that a
 * mask leaves (cvx_generate_options_set_mask); or from a prompt alone.
 */
#define CVX_TASK_INPAINTING 5

/**
 * The most pixels that the width or the height of a video, or of a tile, may have.
 */
#define CVX_MAX_SIDE 16384

/**
 * The most frames of a video.
 */
#define CVX_MAX_FRAMES 4096

/**
 * The most videos of one run.
 */
#define CVX_MAX_VIDEOS 256

/**
 * The most tokens that a prompt is cut or padded to.
 */
#define CVX_MAX_SEQUENCE_LENGTH 8192

/**
 * The most runs that a cache schedule is tuned on.
 */
#define CVX_MAX_TUNE_RUNS 1000

/**
 * The most threads that a pipeline computes with.
 */
#define CVX_MAX_THREADS 1024

/**
 * The video is decoded to frames.
 */
#define CVX_OUTPUT_FRAMES 0

/**
 * The run ends with latents; the VAE does not run, and the video has no frames.
 */
#define CVX_OUTPUT_LATENTS 1

/**
 * Bytes R, G, B from 0 to 255: 3 bytes a pixel.
 */
#define CVX_PIXELS_RGB8 1

/**
 * Bytes R, G, B, A from 0 to 255, A being 255: 4 bytes a pixel.
 */
#define CVX_PIXELS_RGBA8 2

/**
 * Floats R, G, B from 0 to 1: 12 bytes a pixel.
 */
#define CVX_PIXELS_F32 3

/**
 * Bytes B, G, R, A from 0 to 255, A being 255: 4 bytes a pixel. Of frames that are handed out while
 * they are decoded, as is the next.
 */
#define CVX_PIXELS_BGRA8 4

/**
 * Numbers in half precision R, G, B from 0 to 1, and A, which is 1: 8 bytes a pixel.
 */
#define CVX_PIXELS_RGBA16F 5

/**
 * No job: what cvx_job_poll returns for NULL.
 */
#define CVX_JOB_NONE 0

/**
 * It waits for its turn.
 */
#define CVX_JOB_QUEUED 1

/**
 * It runs.
 */
#define CVX_JOB_RUNNING 2

/**
 * It has ended, and its video can be taken.
 */
#define CVX_JOB_SUCCEEDED 3

/**
 * It has ended with an error.
 */
#define CVX_JOB_FAILED 4

/**
 * It has ended because it was asked to stop, by cvx_job_cancel, a cancel token or a callback.
 */
#define CVX_JOB_CANCELLED 5

/**
 * The run ended before it reached the layer, or there is no such step or layer.
 */
#define CVX_LAYER_NOT_REACHED 0

/**
 * The attention module was computed.
 */
#define CVX_LAYER_COMPUTED 1

/**
 * A kept output was used as it was.
 */
#define CVX_LAYER_REUSED 2

/**
 * An output was extrapolated from kept ones.
 */
#define CVX_LAYER_APPROXIMATED 3

/**
 * The block did not run: what it added in an earlier step was added again.
 */
#define CVX_LAYER_SKIPPED 4

/**
 * Neither attention nor the feed-forward layer was computed: what they, or the whole model, would
 * have given was extrapolated from kept outputs.
 */
#define CVX_LAYER_PREDICTED 5

/**
 * Attention was computed, the output of the feed-forward layer extrapolated from kept ones.
 */
#define CVX_LAYER_FEED_FORWARD_PREDICTED 6

/**
 * Guidance is off: there is no unconditional half. Also for a step that there is none of.
 */
#define CVX_UNCONDITIONAL_ABSENT 0

/**
 * The unconditional half ran.
 */
#define CVX_UNCONDITIONAL_RAN 1

/**
 * The unconditional half was rebuilt from the conditional one.
 */
#define CVX_UNCONDITIONAL_REBUILT 2

/**
 * Neither half ran: the output of the step was predicted.
 */
#define CVX_UNCONDITIONAL_PREDICTED 3

/**
 * Bytes that the library made, freed by cvx_buffer_free. They do not change.
 *
 * Since 0.1.
 */
typedef struct cvx_buffer cvx_buffer;

/**
 * A caching technique with its settings, such as Pyramid Attention Broadcast (PAB) or
 * FasterCache, with the fields of diffusers' configs under the same names. Made by
 * cvx_pab_config_new, cvx_faster_cache_config_new, cvx_cache_config_new or
 * cvx_cache_config_from_json, freed by cvx_cache_config_free. cvx_pipeline_enable_cache copies it:
 * it may be changed or freed afterwards, and may serve many pipelines.
 *
 * Since 0.1.
 */
typedef struct cvx_cache_config cvx_cache_config;

/**
 * The statistics of a run, or of one that is previewed. A snapshot: it does not change and
 * outlives its pipeline. Made by cvx_pipeline_cache_stats, cvx_pipeline_preview_cache or
 * cvx_cache_config_preview, freed by cvx_cache_stats_free. Every function that reads it
 * returns 0, NULL or "" for NULL, and may be called from any thread.
 *
 * Since 0.1.
 */
typedef struct cvx_cache_stats cvx_cache_stats;

/**
 * How a pipeline's outputs change from step to step, what leaving something out does to its
 * videos, and how long its parts take: made once by cvx_pipeline_calibrate for a model, a
 * scheduler, a number of steps and a guidance, kept as JSON, and used by
 * cvx_pipeline_estimate_cache for any config. It does not change; it may be read by several
 * threads at once. Freed by cvx_calibration_free.
 *
 * Since 0.1.
 */
typedef struct cvx_calibration cvx_calibration;

/**
 * A request to stop that can be made from any thread and from a signal handler. It is
 * sticky: once cancelled it stays cancelled, also when that comes before the work starts,
 * so use a new token for each run that is to be cancelled on its own. One token may be given
 * to any number of loads and runs.
 *
 * Since 0.1.
 */
typedef struct cvx_cancel_token cvx_cancel_token;

/**
 * This process's end of what connects the processes that share the runs of a pipeline. Made by
 * cvx_communicator_new, freed by cvx_communicator_free; pipelines keep what they use.
 *
 * Since 0.1.
 */
typedef struct cvx_communicator cvx_communicator;

/**
 * The devices of the machine as they were when the list was made. Made by cvx_device_list_new,
 * freed by cvx_device_list_free.
 *
 * Threads: everything but freeing it may be done from many threads at once. Since 0.1.
 */
typedef struct cvx_device_list cvx_device_list;

/**
 * What went wrong: a code and one line of text. The caller owns it and frees it with
 * cvx_error_free. It belongs to no thread and to no handle: it may be read and freed on any
 * thread, also after the handles it speaks of are gone.
 *
 * Since 0.1.
 */
typedef struct cvx_error cvx_error;

/**
 * What a run is asked to do. Made by cvx_generate_options_new, freed by
 * cvx_generate_options_free. A run copies what it needs when it starts: the options may be
 * changed or freed while it is under way, and may serve many runs, also at once from several
 * threads as long as nobody changes them while a run starts.
 *
 * Since 0.1.
 */
typedef struct cvx_generate_options cvx_generate_options;

/**
 * A picture that was read from a file by cvx_image_load, freed by cvx_image_free. It does not
 * change.
 *
 * Since 0.1.
 */
typedef struct cvx_image cvx_image;

/**
 * A run that was submitted to a pipeline's queue. Made by cvx_pipeline_submit, freed by
 * cvx_job_free. It does not depend on the pipeline's handle or the options.
 *
 * Threads: everything but taking the video and freeing it may be done from many threads at
 * once. Since 0.1.
 */
typedef struct cvx_job cvx_job;

/**
 * How a pipeline is loaded. Made by cvx_load_options_new, freed by cvx_load_options_free.
 * One load_options may serve many loads, also at once from several threads as long as nobody
 * changes it meanwhile.
 *
 * Since 0.1.
 */
typedef struct cvx_load_options cvx_load_options;

/**
 * A loaded pipeline: tokenizer, text encoder, transformer, VAE decoder, scheduler settings.
 * Made by cvx_pipeline_load or cvx_pipeline_clone, freed by cvx_pipeline_free.
 *
 * Threads: it may be used from any thread, and belongs to none. What it was loaded as may be
 * asked at any time, also while it generates. It does one piece of work at a time: a second
 * caller, or a callback that calls back into its own pipeline, is answered with
 * CVX_ERROR_BUSY and may use a clone.
 *
 * Since 0.1.
 */
typedef struct cvx_pipeline cvx_pipeline;

/**
 * What a run takes in each way of keeping the weights, and which of them fit into a budget. Made by
 * cvx_plan_new, freed by cvx_plan_free; it does not change.
 *
 * Since 0.1.
 */
typedef struct cvx_plan cvx_plan;

/**
 * A denoising step that has just finished: what the step callback's functions, cvx_step_…, work
 * on. It belongs to the library and is good until the callback returns, on the callback's thread.
 * What it hands out lives as long, but for what says otherwise.
 *
 * Since 0.1.
 */
typedef struct cvx_step cvx_step;

/**
 * What a run made: one or several videos of the same size, as frames or as latents. Made by
 * cvx_pipeline_generate, cvx_pipeline_decode_latents and cvx_job_take_video, freed by
 * cvx_video_free.
 *
 * Pointers to frames and latents that it hands out stay where they are until it is freed.
 * They are made when they are first asked for and kept.
 *
 * Threads: everything but freeing it may be done from many threads at once. Since 0.1.
 */
typedef struct cvx_video cvx_video;

/**
 * A device, as cvx_device_list_get tells it. Later versions may add fields at the end: read a
 * field only if struct_size reaches beyond it.
 *
 * The texts belong to the list and live until it is freed. Since 0.1.
 */
typedef struct cvx_device_info {
    /**
     * Set it to the struct's size before cvx_device_list_get, which writes no more than that and
     * leaves here how many bytes it wrote.
     */
    uint32_t struct_size;
    /**
     * 1 if pipelines can be loaded on it, else 0.
     */
    int32_t usable;
    /**
     * What cvx_load_options_set_device takes: "cpu", "cuda:0", …
     */
    const char *device;
    /**
     * What its maker calls it, for people. "" where that is not known.
     */
    const char *name;
    /**
     * As NVIDIA's tools write it, such as "GPU-" and 32 digits in groups: what tells which of
     * Vulkan's or of another process's devices it is. "" for the CPU and where it is not known.
     */
    const char *uuid;
    /**
     * Why it cannot be used, in one line; "" if it can be.
     */
    const char *unusable_reason;
    /**
     * Bytes of its memory, for the CPU of the machine. 0 where that is not known.
     */
    uint64_t memory_total;
    /**
     * Bytes of it that nobody used when the list was made, in this process or another; for the
     * CPU, what the system could hand out without swapping. What libtorch keeps to use again is
     * not among it (see cvx_device_trim). 0 where that is not known.
     */
    uint64_t memory_free;
    /**
     * CUDA's compute capability, such as 9 and 0; 0 and 0 for the CPU.
     */
    int32_t compute_capability_major;
    int32_t compute_capability_minor;
    /**
     * 1 if the next two are known, which is on Windows; else 0.
     */
    int32_t has_luid;
    /**
     * The LUID's node, as a mask with one bit: deviceNodeMask of Vulkan, the node of D3D12. 0 where
     * that is not known.
     */
    uint32_t luid_node_mask;
    /**
     * Windows' name of the adapter, to find it among those of D3D12 (AdapterLuid) and Vulkan
     * (deviceLUID): their 8 bytes, read as one number. 0 where that is not known.
     */
    uint64_t luid;
} cvx_device_info;

/**
 * How far a load or a generation is. Later versions may add fields at the end: read a field
 * only if struct_size reaches beyond it.
 *
 * Since 0.1.
 */
typedef struct cvx_progress_info {
    /**
     * Bytes of this struct in the library that calls.
     */
    uint32_t struct_size;
    /**
     * One of CVX_STAGE_*.
     */
    int32_t stage;
    /**
     * Units of the stage that are finished: bytes, layers, steps or chunks, see CVX_STAGE_*.
     */
    uint64_t done;
    /**
     * Units of the stage in all.
     */
    uint64_t total;
    /**
     * The training timestep of the denoising step that has just finished, in
     * [0, number of training timesteps); -1 outside denoising.
     */
    double timestep;
} cvx_progress_info;

/**
 * Told of progress; returns 0 to go on and anything else to stop, which ends the work with
 * CVX_ERROR_CANCELLED.
 *
 * Called on the thread that called cvx_pipeline_load or cvx_pipeline_generate, or on the
 * pipeline's worker thread for a job, between pieces of work; the work waits for it. info lives during the call only. It must not throw
 * or longjmp. Calling back into the pipeline that is working is answered with
 * CVX_ERROR_BUSY; other objects may be used freely.
 *
 * Since 0.1.
 */
typedef int32_t (*cvx_progress_callback)(const struct cvx_progress_info *info, void *user_data);

/**
 * Frees the user_data that it was given beside. Called exactly once for each successful or
 * failed call of the function that took it: when the callback is replaced, when the last
 * object, run or job that uses it is gone, or at once when the call fails. It is called on the
 * thread that gave up the last use, which for a job is the pipeline's worker, and must not
 * throw or longjmp. NULL means there is nothing to free.
 *
 * Since 0.1.
 */
typedef void (*cvx_free_callback)(void *user_data);

/**
 * A message for the host's log. Later versions may add fields at the end: read a field only
 * if struct_size reaches beyond it.
 *
 * Since 0.1.
 */
typedef struct cvx_log_info {
    /**
     * Bytes of this struct in the library that calls.
     */
    uint32_t struct_size;
    /**
     * One of CVX_LOG_*.
     */
    int32_t level;
    /**
     * One line of UTF-8, alive during the call only.
     */
    const char *message;
} cvx_log_info;

/**
 * Given a log message. Called on the thread that called the function which logs, or on the
 * pipeline's worker thread for a job; info lives during the call only. It must not throw or longjmp.
 *
 * Since 0.1.
 */
typedef void (*cvx_log_callback)(const struct cvx_log_info *info, void *user_data);

/**
 * What a process gives to others and takes from them. Later versions may add fields at the end:
 * read a field only if struct_size reaches beyond it.
 *
 * The arrays have num_ranks entries, the i-th for rank first_rank + i. All of them are host memory,
 * and live during the call only.
 *
 * Since 0.1.
 */
typedef struct cvx_exchange_info {
    /**
     * Bytes of this struct in the library that calls.
     */
    uint32_t struct_size;
    /**
     * The first of the ranks that exchange. Those from it on, and no others, make the same call.
     */
    int32_t first_rank;
    /**
     * How many ranks exchange, this one included.
     */
    int32_t num_ranks;
    /**
     * What each is given.
     */
    const void *const *send;
    /**
     * Its bytes; 0 for nothing, which the other side knows, and for this rank itself.
     */
    const uint64_t *send_bytes;
    /**
     * Where what each gives is written.
     */
    void *const *receive;
    /**
     * Its bytes, which are those that the other side sends.
     */
    const uint64_t *receive_bytes;
} cvx_exchange_info;

/**
 * Exchanges what info tells with other processes, and returns once what is to be received is
 * there and what is to be sent may change: 0 if so, and anything else for a failure, which ends the
 * run with CVX_ERROR_CALLBACK_FAILED, or with what cvx_communicator_abort was told.
 *
 * All ranks call the same functions in the same order. Called on the thread that called the
 * function which runs, or on the pipeline's worker thread for a job. It must not throw or longjmp.
 *
 * Since 0.1.
 */
typedef int32_t (*cvx_exchange_callback)(const struct cvx_exchange_info *info, void *user_data);

/**
 * Why a rank can't go on. Later versions may add fields at the end: read a field only if
 * struct_size reaches beyond it.
 *
 * Since 0.1.
 */
typedef struct cvx_abort_info {
    /**
     * Bytes of this struct in the library that calls.
     */
    uint32_t struct_size;
    /**
     * One of CVX_ERROR_*.
     */
    int32_t code;
    /**
     * One line of UTF-8, alive during the call only.
     */
    const char *message;
} cvx_abort_info;

/**
 * Told that this rank's run has failed: the host sees to it that the exchanges that other ranks wait
 * in fail, too, and hands them the code and the message where it can (cvx_communicator_abort). It
 * must not throw or longjmp.
 *
 * Since 0.1.
 */
typedef void (*cvx_abort_callback)(const struct cvx_abort_info *info, void *user_data);

/**
 * What a pipeline has in memory, in bytes, as cvx_pipeline_memory tells it. Later versions may add
 * fields at the end: read a field only if struct_size reaches beyond it. Since 0.1.
 */
typedef struct cvx_memory_info {
    /**
     * Set it to the struct's size before cvx_pipeline_memory, which writes no more than that and
     * leaves here how many bytes it wrote.
     */
    uint32_t struct_size;
    /**
     * 1 while a run, or other work that another call would be BUSY for, is under way, else 0.
     */
    int32_t working;
    /**
     * As cvx_pipeline_weight_bytes: weights that are in memory, shared with clones.
     */
    uint64_t weight_bytes;
    /**
     * Embeddings of the last prompts (cvx_load_options_set_prompt_cache_size), shared with clones.
     */
    uint64_t prompt_bytes;
    /**
     * What the cache of the run under way keeps now; 0 between runs.
     */
    uint64_t cache_bytes;
    /**
     * The most that the cache of the last run, or of the one under way, kept.
     */
    uint64_t cache_bytes_peak;
    /**
     * What libtorch has handed out on the pipeline's device, to all of this process: the weights
     * among it, and what runs work with. 0 on the CPU.
     */
    uint64_t device_bytes;
    /**
     * The most that it has handed out there. 0 on the CPU.
     */
    uint64_t device_bytes_peak;
    /**
     * What of this process lies in the machine's memory: on the CPU the weights, what runs work with,
     * and all else that the host has. 0 where the system does not tell.
     */
    uint64_t process_bytes;
    /**
     * The most that it was. 0 where the system does not tell.
     */
    uint64_t process_bytes_peak;
} cvx_memory_info;

/**
 * The denoising step that has just finished. Later versions may add fields at the end: read a
 * field only if struct_size reaches beyond it.
 *
 * Since 0.1.
 */
typedef struct cvx_step_end_info {
    /**
     * Bytes of this struct in the library that calls.
     */
    uint32_t struct_size;
    /**
     * The step, counted from 0.
     */
    int32_t step;
    /**
     * Steps of the run.
     */
    int32_t num_steps;
    /**
     * 0.
     */
    int32_t reserved;
    /**
     * The training timestep that the step began at.
     */
    double timestep;
    /**
     * What the step was guided with; with use_dynamic_cfg what that made of it.
     */
    double guidance_scale;
    /**
     * For the functions cvx_step_…, during the call only.
     */
    struct cvx_step *handle;
} cvx_step_end_info;

/**
 * Called after each denoising step, as callback_on_step_end of diffusers; returns 0 to go on and
 * anything else to stop, which ends the run with CVX_ERROR_CANCELLED.
 *
 * Called before the progress callback is told of the step, on the thread that called
 * cvx_pipeline_generate, or on the pipeline's worker thread for a job; the run waits for it. info
 * lives during the call only. It must not throw or longjmp. Calling back into the pipeline that is
 * working is answered with CVX_ERROR_BUSY; other objects may be used freely.
 *
 * Since 0.1.
 */
typedef int32_t (*cvx_step_callback)(const struct cvx_step_end_info *info, void *user_data);

/**
 * Frames of one video that follow each other. Later versions may add fields at the end: read
 * a field only if struct_size reaches beyond it.
 *
 * Since 0.1.
 */
typedef struct cvx_frames_info {
    /**
     * Bytes of this struct in the library that calls.
     */
    uint32_t struct_size;
    /**
     * What the callback was set with: one of CVX_PIXELS_*.
     */
    int32_t pixels;
    /**
     * Which video of the run, counted from 0.
     */
    int32_t video;
    /**
     * Which of its frames is the first one at data, counted from 0.
     */
    int32_t first_frame;
    /**
     * Frames at data.
     */
    int32_t num_frames;
    /**
     * Frames of the whole video.
     */
    int32_t total_frames;
    /**
     * In pixels.
     */
    int32_t width;
    /**
     * In pixels.
     */
    int32_t height;
    /**
     * The frames one after another, rows from top to bottom, densely packed. Alive during the
     * call only.
     */
    const void *data;
    /**
     * Bytes from a row to the next.
     */
    size_t row_stride;
    /**
     * Bytes from a frame to the next.
     */
    size_t frame_stride;
} cvx_frames_info;

/**
 * Given frames as soon as they are decoded; returns 0 to go on and anything else to stop,
 * which ends the run with CVX_ERROR_CANCELLED.
 *
 * Frames come video by video, in each from the first to the last, every frame once; the
 * first of a video come before its last are decoded. In tiles a video is decoded as a whole
 * and its frames come then, before the next video. The bytes are those of
 * cvx_video_frames_rgb8, _rgba8 or _f32 of the finished video, or the same in another order or in
 * half precision.
 *
 * Called on the thread that runs: the one that called cvx_pipeline_generate or
 * cvx_pipeline_decode_latents, or the pipeline's worker for a job. The run waits for it. info
 * lives during the call only. It must not throw or longjmp. Calling back into the pipeline
 * that is working is answered with CVX_ERROR_BUSY; other objects may be used freely.
 *
 * Since 0.1.
 */
typedef int32_t (*cvx_frames_callback)(const struct cvx_frames_info *info, void *user_data);

/**
 * Frames of one video that follow each other, on the device that decoded them. Later versions may
 * add fields at the end: read a field only if struct_size reaches beyond it.
 *
 * Since 0.1.
 */
typedef struct cvx_device_frames_info {
    /**
     * Bytes of this struct in the library that calls.
     */
    uint32_t struct_size;
    /**
     * What the device frames buffer was set with, or without one, what the callback was: one of
     * CVX_PIXELS_*.
     */
    int32_t pixels;
    /**
     * Which video of the run, counted from 0.
     */
    int32_t video;
    /**
     * Which of its frames is the first one at data, counted from 0.
     */
    int32_t first_frame;
    /**
     * Frames at data.
     */
    int32_t num_frames;
    /**
     * Frames of the whole video.
     */
    int32_t total_frames;
    /**
     * In pixels.
     */
    int32_t width;
    /**
     * In pixels.
     */
    int32_t height;
    /**
     * An address on the device: in the device frames buffer if there is one, else in memory of the
     * library. The frames are there once the work that stream has got so far is done.
     */
    const void *data;
    /**
     * Bytes from a row to the next.
     */
    size_t row_stride;
    /**
     * Bytes from a frame to the next.
     */
    size_t frame_stride;
    /**
     * A cudaStream_t: the one of cvx_generate_options_set_stream, or without it the library's, where
     * NULL is CUDA's default stream. NULL on the CPU, where the frames are there already.
     */
    void *stream;
    /**
     * "cpu", "cuda:0", …; alive during the call only.
     */
    const char *device;
} cvx_device_frames_info;

/**
 * Told of frames on the device as soon as the work that makes them is launched; returns 0 to go on
 * and anything else to stop, which ends the run with CVX_ERROR_CANCELLED. Order, thread and rules
 * are those of cvx_frames_callback.
 *
 * Nothing has been waited for: launch what reads the frames on stream, or record an event there and
 * wait for that. In memory of the library, data is good for what the callback launches on stream
 * before it returns, and for nothing else.
 *
 * Since 0.1.
 */
typedef int32_t (*cvx_device_frames_callback)(const struct cvx_device_frames_info *info,
                                              void *user_data);

/**
 * A job at one moment. Later versions may add fields at the end: read a field only if
 * struct_size reaches beyond it.
 *
 * Since 0.1.
 */
typedef struct cvx_job_status {
    /**
     * Set it to the struct's size before cvx_job_poll, which writes no more than that and
     * leaves here how many bytes it wrote. In a callback: bytes of the struct in the library.
     */
    uint32_t struct_size;
    /**
     * One of CVX_JOB_*. SUCCEEDED, FAILED and CANCELLED are final.
     */
    int32_t state;
    /**
     * What the run last reported, see cvx_progress_info: one of CVX_STAGE_*, or 0 before the
     * first report.
     */
    int32_t stage;
    /**
     * Jobs of the same pipeline handle that run before it; 0 once it runs.
     */
    int32_t jobs_ahead;
    /**
     * Units of the stage that are finished.
     */
    uint64_t done;
    /**
     * Units of the stage in all.
     */
    uint64_t total;
    /**
     * The timestep of the denoising step that has just finished; -1 outside denoising.
     */
    double timestep;
    /**
     * How much of the whole job is done, from 0 to 1. It never falls, and is 1 only if the
     * job succeeded.
     */
    double fraction;
    /**
     * How long it has run, in seconds; 0 before, and still once it has ended.
     */
    double seconds;
} cvx_job_status;

/**
 * Told once that a job has ended, in whatever way, also if it was cancelled before it ran. The
 * state is final: cvx_job_poll and cvx_job_take_video answer at once, and the pipeline is free
 * for the next run, which may be started here.
 *
 * Called on the pipeline's worker thread; the jobs behind it wait for it. If the job was
 * cancelled in the queue, it comes when the run under way has ended. status lives during the
 * call only. It must not throw or longjmp. The job and its pipeline may be freed in it.
 *
 * Since 0.1.
 */
typedef void (*cvx_job_callback)(const struct cvx_job_status *status, void *user_data);

/**
 * A denoising step. Later versions may add fields at the end: read a field only if
 * struct_size reaches beyond it.
 *
 * Since 0.1.
 */
typedef struct cvx_step_info {
    /**
     * Bytes of this struct in the library that calls.
     */
    uint32_t struct_size;
    /**
     * The step, from 0.
     */
    int32_t step;
    /**
     * How many steps the run has.
     */
    int32_t num_steps;
    /**
     * Always 0.
     */
    int32_t reserved;
    /**
     * The pipeline's own timestep of the step: what pipe.current_timestep is in diffusers.
     */
    double timestep;
} cvx_step_info;

/**
 * Returns the current timestep, which decides whether a step lies in a window: what
 * `lambda: pipe.current_timestep` returns in Python, and what is used without a callback. It
 * must lie in [0, number of training timesteps).
 *
 * Asked once per step on the thread that called cvx_pipeline_generate, or on the pipeline's
 * worker thread for a job; info lives during the call only. NaN, infinity or a number outside ends the run with CVX_ERROR_CALLBACK_FAILED.
 * It may cancel the run's token. It must not throw or longjmp. Calling back into the pipeline
 * that is working is answered with CVX_ERROR_BUSY. A config that is enabled for several
 * pipelines may be asked by several threads at once.
 *
 * Since 0.1.
 */
typedef double (*cvx_timestep_callback)(const struct cvx_step_info *info, void *user_data);

/**
 * A layer in a denoising step. Later versions may add fields at the end: read a field only if
 * struct_size reaches beyond it.
 *
 * Since 0.1.
 */
typedef struct cvx_layer_info {
    /**
     * Bytes of this struct in the library that calls.
     */
    uint32_t struct_size;
    /**
     * The step, from 0.
     */
    int32_t step;
    /**
     * How many steps the run has.
     */
    int32_t num_steps;
    /**
     * The attention layer, from 0.
     */
    int32_t layer;
    /**
     * The pipeline's own timestep of the step: what pipe.current_timestep is in diffusers.
     */
    double timestep;
    /**
     * The layer's name in the checkpoint, such as "transformer_blocks.0.attn1", alive during
     * the call only.
     */
    const char *layer_name;
} cvx_layer_info;

/**
 * Returns the weight of attention's extrapolation in one layer and step: the layer goes on
 * with newer + (newer - older) * weight. Any number that is
 * finite in float32.
 *
 * Asked once per layer that is extrapolated; otherwise as for cvx_timestep_callback.
 *
 * Since 0.1.
 */
typedef double (*cvx_attention_weight_callback)(const struct cvx_layer_info *info, void *user_data);

/**
 * Returns what the low or the high frequencies of the unconditional half are multiplied by in
 * one step. Any number that is finite in float32. Answers multiply from one full step to the next.
 *
 * Asked once per step whose unconditional half is rebuilt, after the model has run; otherwise
 * as for cvx_timestep_callback.
 *
 * Since 0.1.
 */
typedef double (*cvx_frequency_weight_callback)(const struct cvx_step_info *info, void *user_data);

/**
 * Bytes of a file that is being encoded. Later versions may add fields at the end: read a field
 * only if struct_size reaches beyond it.
 *
 * Since 0.1.
 */
typedef struct cvx_write_info {
    /**
     * Bytes of this struct in the library that calls.
     */
    uint32_t struct_size;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * Where the bytes lie in the file: how many were handed over before.
     */
    uint64_t offset;
    /**
     * The bytes. Alive during the call only.
     */
    const uint8_t *data;
    /**
     * How many, at least 1.
     */
    size_t size;
} cvx_write_info;

/**
 * Given the bytes of a file in order; returns 0 to go on and anything else to stop, which ends the
 * encoding with CVX_ERROR_CANCELLED.
 *
 * Called on the thread that called cvx_video_encode, which waits for it. info lives during the
 * call only. It must not throw or longjmp.
 *
 * Since 0.1.
 */
typedef int32_t (*cvx_write_callback)(const struct cvx_write_info *info, void *user_data);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The library's release, "major.minor.patch".
 *
 * The text is static and never freed. Threads: any. Since 0.1.
 */
const char *cvx_version(void);

/**
 * The library's CVX_ABI_VERSION.
 *
 * Threads: any. Since 0.1.
 */
int32_t cvx_abi_version(void);

/**
 * Whether a program built against header_abi (pass CVX_ABI_VERSION) can use this library:
 * NULL if so, else CVX_ERROR_INVALID_ARGUMENT. Worth calling once at the start of a program
 * that loads the library at run time.
 *
 * Threads: any. Since 0.1.
 */
CVX_MUST_USE struct cvx_error *cvx_abi_check(int32_t header_abi);

/**
 * Whether this library can do what a name says: 1 if so; 0 if not, for a name that it does not
 * know, which may be a later release's, and for NULL. So a host that finds the library at run time
 * asks instead of comparing releases. Names are made of a group and what it has, such as
 * "save.mp4", "cache.pab", "quantization.int8", "load.gguf", "task.image_to_video",
 * "device.cuda" (the code is there; cvx_device_list_new says whether a GPU is) or "cpu.avx2" (the
 * kernels that libtorch takes on this processor); cvx_capabilities has them all. Names are never
 * taken back.
 *
 * Threads: any. Since 0.1.
 */
int32_t cvx_has_capability(const char *name);

/**
 * Every name that cvx_has_capability answers 1 for, sorted, with a space between two.
 *
 * The text is static and never freed. Threads: any. Since 0.1.
 */
const char *cvx_capabilities(void);

/**
 * The code of an error: one of CVX_ERROR_*, or CVX_OK for NULL. Codes keep their values for
 * ever; later versions may add some, so treat one you do not know like
 * CVX_ERROR_INTERNAL.
 *
 * Threads: any. Since 0.1.
 */
int32_t cvx_error_code(const struct cvx_error *error);

/**
 * The name of a code without its prefix, such as "INVALID_ARGUMENT"; "OK" for CVX_OK and
 * "UNKNOWN" for a number that is no code.
 *
 * The text is static and never freed. Threads: any. Since 0.1.
 */
const char *cvx_error_code_name(int32_t code);

/**
 * What went wrong, in one line of UTF-8 that names the file, tensor, parameter or callback
 * at fault, what was expected and what was found. "" for NULL.
 *
 * At most some 2 KiB: of a longer text the middle is left out. The text belongs to the error and
 * lives until cvx_error_free. Threads: any. Since 0.1.
 */
const char *cvx_error_message(const struct cvx_error *error);

/**
 * Frees an error. NULL is allowed and does nothing.
 *
 * Threads: any, once. Since 0.1.
 */
void cvx_error_free(struct cvx_error *error);

/**
 * A new token that is not cancelled. The caller owns it and frees it with
 * cvx_cancel_token_free. Never NULL.
 *
 * Since 0.1.
 */
struct cvx_cancel_token *cvx_cancel_token_new(void);

/**
 * Cancels everything that uses the token: it ends with CVX_ERROR_CANCELLED, on the CPU within
 * about a quarter of a second (docs/reliability.md), on CUDA within about two layers of the text
 * encoder or the transformer, or one chunk of the VAE decoder. Its pipeline is usable afterwards. Cancelling twice is once; NULL does nothing.
 *
 * Threads: any, and async-signal-safe: it is one atomic store.
 * Since 0.1.
 */
void cvx_cancel_token_cancel(const struct cvx_cancel_token *token);

/**
 * 1 if the token was cancelled, else 0; 0 for NULL.
 *
 * Threads: any, and async-signal-safe. Since 0.1.
 */
int32_t cvx_cancel_token_is_cancelled(const struct cvx_cancel_token *token);

/**
 * Frees the caller's token. Options and runs that use it keep it alive for themselves, so it
 * may be freed at any time, also while a run uses it (nobody can cancel that run then). NULL
 * is allowed and does nothing.
 *
 * Threads: any, once, and not while another thread cancels through the same pointer.
 * Since 0.1.
 */
void cvx_cancel_token_free(struct cvx_cancel_token *token);

/**
 * Lists the devices: "cpu" first, which is always there, then the GPUs that NVIDIA's driver
 * knows, in the order of their indices, also those that cannot be used. If there is one, this
 * loads the CUDA library, which takes some seconds the first time, and no memory of a GPU. On
 * success *out_devices is a new list, owned by the caller, freed with cvx_device_list_free.
 *
 * CUDA keeps to what it found first: a GPU that is added, or a driver that is installed, while
 * the process runs is not seen. As after a load, a process that was forked off cannot work.
 *
 * Errors: NULL_ARGUMENT; DEVICE_UNAVAILABLE in a process that was forked from one that has
 * worked. Threads: any. Since 0.1.
 */
CVX_MUST_USE struct cvx_error *cvx_device_list_new(struct cvx_device_list **out_devices);

/**
 * How many devices the list has: at least 1, the CPU. 0 for NULL.
 *
 * Threads: any. Since 0.1.
 */
int32_t cvx_device_list_count(const struct cvx_device_list *devices);

/**
 * Writes what is known of a device to *out_info, as far as its struct_size reaches, which must
 * be set before. index counts from 0.
 *
 * Errors: NULL_ARGUMENT; INVALID_ARGUMENT for an index that the list does not have, and for a
 * struct_size that does not reach beyond itself. Threads: any. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_device_list_get(const struct cvx_device_list *devices,
                                      int32_t index,
                                      struct cvx_device_info *out_info);

/**
 * Frees a list and the texts that it handed out. NULL is allowed and does nothing.
 *
 * Threads: any, once. Since 0.1.
 */
void cvx_device_list_free(struct cvx_device_list *devices);

/**
 * Gives memory back that is kept to be used again and that nothing uses: for "cuda" and "cuda:N",
 * what libtorch's allocator keeps, on all CUDA devices of the process, also of other users of
 * libtorch in it; for "cpu", what the C library's malloc keeps (glibc's malloc_trim; nothing with
 * another one). Weights, caches and videos stay. The next run takes a little longer, as it must
 * ask for memory anew; a device is waited for. Freeing the last pipeline over its weights does
 * this for its device. Where CUDA was never loaded there is nothing to do, and it is not loaded.
 *
 * Errors: NULL_ARGUMENT, INVALID_UTF8; INVALID_ARGUMENT for any other text; DEVICE_UNAVAILABLE
 * for an index that does not exist. Threads: any, also while a pipeline generates. Since 0.1.
 */
CVX_MUST_USE struct cvx_error *cvx_device_trim(const char *device);

/**
 * Load options with every default. The caller owns them and frees them with
 * cvx_load_options_free. Never NULL.
 *
 * Since 0.1.
 */
struct cvx_load_options *cvx_load_options_new(void);

/**
 * Frees load options. Pipelines loaded with them are not affected. NULL is allowed and does
 * nothing.
 *
 * Since 0.1.
 */
void cvx_load_options_free(struct cvx_load_options *options);

/**
 * Where the pipeline computes: "cpu", "cuda", "cuda:N" with N from 0, or "auto" (default),
 * which is "cuda" where it works and else "cpu". Whether the device is there is found out by
 * cvx_pipeline_load.
 *
 * Errors: INVALID_ARGUMENT for any other text. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_load_options_set_device(struct cvx_load_options *options,
                                              const char *device);

/**
 * The devices that share each run, with commas between them: "cuda:0,cuda:1". Each has the
 * transformer and the VAE (one copy for a device that is named twice, as in "cpu,cpu", which is of
 * use to try it), the first one also the text encoder. They compute the video of one device, within
 * float32's rounding; caches work as on one. NULL, or one device: that alone. Replaces
 * cvx_load_options_set_device, as that replaces this.
 *
 * A run is shared by guidance, by the sequence, or by both (cvx_load_options_set_parallel); in tiles
 * (cvx_generate_options_set_vae_tiling) they also share the VAE. Callbacks are called on the thread
 * that they are called on with one device, and only for the first one. A device that fails ends the
 * run on all of them with its own error. The first device is what cvx_pipeline_device tells.
 *
 * Errors: INVALID_ARGUMENT for any name that cvx_load_options_set_device would refuse, and more
 * than 1024. cvx_pipeline_load fails with INVALID_ARGUMENT if the devices can't share the model, and
 * names the degrees that it allows. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_load_options_set_devices(struct cvx_load_options *options,
                                               const char *devices_or_null);

/**
 * How devices, or processes, share a run: guidance × sequence must be their number. With guidance 2
 * half of them compute the conditional half of the guidance and half the unconditional one, and
 * exchange one output a step; with 1 each computes both. Those of one half share the sequence: each
 * has a part of the tokens, and in each attention that is computed they exchange tokens for heads
 * and back (Ulysses), so that sequence must divide the model's attention heads (30 of 2b: 1, 2, 3,
 * 5, 6, 10, 15, 30; 48 of 5b and 1.5: 1, 2, 3, 4, 6, 8, 12, 16, 24, 48). 0 (default) is chosen for
 * each run: guidance 2 where it fits, but not with a cache that leaves out the unconditional half of
 * some steps, in which half of the devices would wait. A run without guidance shares the sequence
 * among as many of them as divide the heads.
 *
 * Errors: INVALID_ARGUMENT for a guidance other than 0, 1 and 2, and a sequence beyond 0 to 1024.
 * Whether they fit devices and model is found out by cvx_pipeline_load. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_load_options_set_parallel(struct cvx_load_options *options,
                                                int32_t guidance,
                                                int32_t sequence);

/**
 * The floating-point type of the computation: "f32", "f16", "bf16", or "auto" (default). The CPU
 * always computes in f32; where f16 or bf16 is asked for, the log says so. On CUDA "auto" is the
 * type of the transformer's file. Weights are converted while they are read.
 *
 * Errors: INVALID_ARGUMENT for any other text. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_load_options_set_dtype(struct cvx_load_options *options,
                                             const char *dtype);

/**
 * Where one component computes: component is "text_encoder", "transformer" or "vae", device as for
 * cvx_load_options_set_device; NULL (default) is the pipeline's device. So a text encoder of 9 GB
 * stays on the CPU while the rest is on a GPU. Embeddings and latents are moved on the way. The
 * transformer's device is what cvx_pipeline_device tells, and where latents are.
 *
 * Errors: INVALID_ARGUMENT for any other component or device. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_load_options_set_component_device(struct cvx_load_options *options,
                                                        const char *component,
                                                        const char *device_or_null);

/**
 * What one component computes in: component as above, dtype as for cvx_load_options_set_dtype; NULL
 * (default) is the pipeline's dtype. Published folders have a VAE in float32 beside a transformer
 * in bfloat16, for instance; the CPU computes in float32 whatever is asked for.
 *
 * Errors: INVALID_ARGUMENT for any other component or dtype. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_load_options_set_component_dtype(struct cvx_load_options *options,
                                                       const char *component,
                                                       const char *dtype_or_null);

/**
 * With 1, each component is in memory only while it does its part of a run, and is read from its
 * files each time: the text encoder leaves before latents are denoised, the transformer before frames
 * are decoded, the VAE after that. The load reads no weights then. So a run takes the largest of the
 * three rather than all together, for the time that reading takes. Runs of clones at once share
 * what is in memory just then. Frames are decoded in tiles (cvx_generate_options_set_vae_tiling)
 * where whole ones do not fit into what is free, or did not, which is logged. It goes together with
 * cvx_load_options_set_weight_streaming; it wins over cvx_load_options_set_text_encoder_on_demand.
 * With 0 (default), components stay.
 *
 * Errors: INVALID_ARGUMENT unless offload is 0 or 1. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_load_options_set_offload(struct cvx_load_options *options,
                                               int32_t offload);

/**
 * What memory there is: cvx_pipeline_load plans a run of the model's own size (cvx_plan_new) and keeps
 * the weights in the fastest way that fits, in place of what the options say of offloading and
 * streaming; the log tells which. Frames are decoded in tiles where what is left of it is too
 * little for whole ones. bytes is meant for the whole process, on the transformer's device, or of host
 * memory on "cpu"; it is no limit that anything enforces (cvx_load_options_set_max_device_memory
 * is). A load for which no way fits is CVX_ERROR_OUT_OF_MEMORY with the least that would do. 0
 * (default): no budget.
 *
 * Errors: none but NULL_ARGUMENT. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_load_options_set_memory_budget(struct cvx_load_options *options,
                                                     uint64_t bytes);

/**
 * How the matrices of one component's blocks are kept in memory: component is "text_encoder" or
 * "transformer"; quantization is "int8" (a byte an element and a scale for each output), "fp8" (float8
 * e4m3 and a scale for each output), "int4" (half a byte, and a scale for every 32 inputs), "fp8_compute" (stored as fp8, and
 * products are of float8 numbers: on CUDA devices of compute capability 8.9 or later alone; not run
 * on a card yet), or NULL
 * (default): in the component's dtype. They are quantized while they are read, so that the component
 * is never in memory whole. Embeddings, norms, biases and what lies before and after the blocks
 * stay as they are. Computed is in the component's dtype, on every device: each matrix is made
 * dense for the product with it. Videos differ, int8 least; docs/quantization.md has memory, time
 * and quality. LoRA adapters go on top; fused with such weights, the sum is quantized anew.
 *
 * Errors: INVALID_ARGUMENT for any other component or quantization. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_load_options_set_component_quantization(struct cvx_load_options *options,
                                                              const char *component,
                                                              const char *quantization_or_null);

/**
 * In which numbers the matrix products of transformer and text encoder blocks are made where they
 * compute on the CPU: precision is "float32" (default), "bfloat16" or "int8". With bfloat16 both factors
 * of a product and its result are rounded to it and sums are made in float32. With int8 both factors
 * are rounded to 255 numbers about zero, as far apart as the largest of a token, or of an output of the
 * matrix, asks for, and sums are exact. Attention, norms and everything that is added up stay in
 * float32. Those matrices take half of their memory, or a quarter. Videos differ, with int8 more
 * than with bfloat16; docs/performance.md has how much, and the time. The processor must multiply
 * bfloat16 (AVX512_BF16) or int8 (AVX512_VNNI), as those with AMX do, too; the load is
 * INVALID_ARGUMENT with what is lacking where it does not. Nothing changes for components on CUDA
 * devices, for matrices of fewer than 16384 elements, and for those that are quantized. Told in the log.
 *
 * Errors: INVALID_ARGUMENT for any other precision. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_load_options_set_cpu_matmul_precision(struct cvx_load_options *options,
                                                            const char *precision);

/**
 * What computes on CUDA devices between matrix products, attention and convolutions: "libtorch"
 * (default), its operators; or "fused", kernels of this library's own, which go through memory less
 * often: the norms of query and key with their rotary positions, the gate of a residual with the
 * norm and modulation after it, and the VAE's norms with their SiLU. They round once where libtorch's
 * operators round several times, so that videos differ in last bits. What they have no kernel for
 * (another layout or size) libtorch computes; so it does everything where the driver can't load
 * them, which the log says (compute capability 8.0 or later, a driver of release 570 or later). The
 * CPU takes no notice. cvx_video_kernels tells which it was. They have not run on a card yet:
 * docs/cuda.md.
 *
 * Errors: INVALID_ARGUMENT for any other text. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_load_options_set_cuda_kernels(struct cvx_load_options *options,
                                                    const char *kernels);

/**
 * How the weights of one component's blocks are kept, so that a model runs where it does not fit.
 * component is "text_encoder" or "transformer"; mode is one of
 *
 * "resident"  all blocks lie where they compute, in the dtype that they compute in (default);
 * "file"      they stay in their files. While a block computes, the next one is read and converted
 *             by a thread of the library: on the CPU into the memory of the block before, on a
 *             CUDA device through host memory into that of the device. Weights are in memory twice
 *             nowhere; the system's page cache may hold the files, and gives way to others;
 * "host"      they are read by the load and stay in host memory: on the CPU in the files' dtype, so
 *             that bfloat16 takes half of what float32 does; for a CUDA device such that it
 *             fetches them by itself while it computes (pinned memory, which can't be swapped
 *             out).
 *
 * Matrices that cvx_load_options_set_component_quantization asks for, and that the files do not have
 * so, are quantized once by the load and stay in host memory in mode "file" too, which the log says.
 *
 * Two blocks of the component are in (device) memory then, and only during a run; what is
 * no block (embeddings, norms, projections) stays resident. Videos are the same to the last bit in
 * all modes, cached or not, with and without LoRA, and what a cache skips isn't read. Each clone that
 * generates reads for itself. cvx_pipeline_weight_bytes counts what stays in memory, on device or
 * host.
 *
 * The files must not be written to while a pipeline streams from them: a run that finds it is
 * CVX_ERROR_INVALID_CHECKPOINT with the file's name, and the handle stays usable. They are held
 * open, one descriptor a file, so they may be removed, or replaced by files of the same name, which
 * a loaded pipeline does not see.
 *
 * Errors: INVALID_ARGUMENT for any other component or mode. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_load_options_set_weight_streaming(struct cvx_load_options *options,
                                                        const char *component,
                                                        const char *mode);

/**
 * The file that the weights of one component are read from, in place of the folder's own, which then
 * need not be there: component is "text_encoder", "transformer" or "vae"; path_or_null is a
 * safetensors file with diffusers' or transformers' names, or a GGUF file (told by its first bytes):
 * a CogVideoX transformer with diffusers' names or those of the original (SAT) code, or a T5 encoder with llama.cpp's. Of GGUF the formats
 * F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K and Q6_K are read, and become the
 * numbers that they stand for, in the component's dtype: nothing is lost, and memory is that of
 * whole weights unless cvx_load_options_set_component_quantization says otherwise. NULL (default)
 * is the folder's own. Configs are always the folder's. Whether the file is there and fits is
 * found out by cvx_pipeline_load.
 *
 * Errors: INVALID_ARGUMENT for any other component or an empty path. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_load_options_set_component_weights(struct cvx_load_options *options,
                                                         const char *component,
                                                         const char *path_or_null);

/**
 * Which variant of the weight files is read: "fp16" reads model.fp16.safetensors. Default:
 * NULL, the files without a variant.
 *
 * Errors: INVALID_ARGUMENT unless it is 1 to 64 letters, digits, '-' or '_'. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_load_options_set_variant(struct cvx_load_options *options,
                                               const char *variant_or_null);

/**
 * With 1, cvx_pipeline_load reads no weights: the text encoder is read when a prompt is
 * encoded and released right after, then the transformer and the VAE are read and stay. So
 * the text encoder of the first run is never in memory together with them, and the published
 * 5b folder runs on a 24 GB card; later runs with the same prompts need no text encoder (see
 * cvx_load_options_set_prompt_cache_size), and others read it again; runs with embeddings (see
 * cvx_generate_options_set_prompt_embeddings) never read it. The video is the same. With 0 (default), everything is read by
 * cvx_pipeline_load and stays.
 *
 * Errors: INVALID_ARGUMENT unless on_demand is 0 or 1. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_load_options_set_text_encoder_on_demand(struct cvx_load_options *options,
                                                              int32_t on_demand);

/**
 * The file of a tiny decoder that previews are made with, in place of the linear map: then
 * cvx_step_preview_rgb8 hands out whole frames, which takes more time than the map and far less than
 * the VAE. It is a safetensors file in the layout of madebyollin's taecvx (layers decoder.1 to
 * decoder.22, which other tensors may lie beside), read by cvx_pipeline_load, in float32 on the
 * transformer's device. NULL (default): the folder's own, a file taecvx.safetensors beside its
 * model_index.json, or the linear map where there is none. The text is copied.
 *
 * Errors: INVALID_UTF8; what is wrong with the file is told by cvx_pipeline_load. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_load_options_set_preview_decoder(struct cvx_load_options *options,
                                                       const char *path_or_null);

/**
 * How many prompts' embeddings the pipeline and its clones keep, so that a prompt, or a negative
 * prompt, that was encoded before needs no text encoder again; from 0 (none) to 1024. They take at
 * most 64 MiB in all, beside the weights: those that were used least lately go first. Runs are the
 * same with and without. Default: 8.
 *
 * Errors: INVALID_ARGUMENT. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_load_options_set_prompt_cache_size(struct cvx_load_options *options,
                                                         int32_t prompts);

/**
 * Threads that the pipeline and its clones compute with, from 1 to CVX_MAX_THREADS, on the CPU: the
 * load, each run, and the calls that run a part of one, whatever thread makes them. The host's own
 * setting (at::set_num_threads, omp_set_num_threads) is neither changed nor heeded. Default: 0,
 * as many as libtorch has it, or fewer where the system lets no more be started. Where they are seen to
 * wait for processors that other programs keep busy, they wait for each other asleep, not spinning. The number of
 * threads may change the last bits of a video: set it, and the bytes depend neither on how many
 * cores the machine has nor on the host's setting (cvx_video_kernels says how many there were).
 *
 * Errors: INVALID_ARGUMENT. Loads and runs of such a pipeline fail with OUT_OF_MEMORY where so many
 * threads can't be started. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_load_options_set_num_threads(struct cvx_load_options *options,
                                                   int32_t num_threads);

/**
 * The most bytes that libtorch's allocator takes of the device from this load on: what would be
 * more is CVX_ERROR_OUT_OF_MEMORY, in loads and in runs, which leaves what is loaded as usable as
 * before. 0 (default) leaves the limit as it is, which at first is the device itself. It holds for
 * everything that uses libtorch on that device in this process, until another load on it sets
 * another one, also when the pipeline is freed; a number beyond the device's memory lifts it. What
 * CUDA itself needs of the device (its context and its libraries' workspaces, some hundred
 * megabytes) is not counted. Without effect on the CPU.
 *
 * Errors: none but NULL_ARGUMENT. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_load_options_set_max_device_memory(struct cvx_load_options *options,
                                                         uint64_t bytes);

/**
 * Follows loading: called with CVX_STAGE_LOAD and bytes of weights. NULL (default) follows
 * nothing.
 *
 * Takes over user_data in any case, see cvx_free_callback. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_load_options_set_progress_callback(struct cvx_load_options *options,
                                                         cvx_progress_callback callback,
                                                         void *user_data,
                                                         cvx_free_callback free_user_data);

/**
 * Receives messages of the load, and of every run of the pipeline and its clones whose
 * generate options set no log callback. NULL (default) means silence: the library itself
 * never writes to stdout or stderr.
 *
 * Takes over user_data in any case, see cvx_free_callback; the pipeline and its clones keep
 * it until they are freed, and clones may call it from several threads at once.
 * Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_load_options_set_log_callback(struct cvx_load_options *options,
                                                    cvx_log_callback callback,
                                                    void *user_data,
                                                    cvx_free_callback free_user_data);

/**
 * Loads that use these options end with CVX_ERROR_CANCELLED once the token is cancelled.
 * NULL (default) takes a token away again. The caller keeps owning its token and may free it
 * at any time.
 *
 * Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_load_options_set_cancel_token(struct cvx_load_options *options,
                                                    const struct cvx_cancel_token *token_or_null);

/**
 * This process's end: it is rank, from 0, of num_ranks processes, from 2 to 1024. all_to_all gives
 * each rank its part and takes one from each; with it alone the library can do everything. Every
 * process loads the same folder with a communicator of its own, sets the same options and calls the
 * same functions; rank 0 has the frames, and the others' videos have latents alone. What is
 * exchanged goes through host memory.
 *
 * Takes over user_data in any case, see cvx_free_callback; pipelines keep it until they are freed.
 *
 * Errors: INVALID_ARGUMENT, NULL_ARGUMENT for no function. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_communicator_new(int32_t rank,
                                       int32_t num_ranks,
                                       cvx_exchange_callback all_to_all,
                                       void *user_data,
                                       cvx_free_callback free_user_data,
                                       struct cvx_communicator **out_communicator);

/**
 * Frees a communicator. Pipelines that were loaded with it are not affected. NULL is allowed and
 * does nothing.
 *
 * Since 0.1.
 */
void cvx_communicator_free(struct cvx_communicator *communicator);

/**
 * How each of the ranks gives the same part to all: every entry of send is that part, and receive has
 * room for every rank's, this one's included. NULL (default): made of all_to_all.
 *
 * Takes over user_data in any case, see cvx_free_callback.
 *
 * Errors: INVALID_ARGUMENT once load options have the communicator. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_communicator_set_all_gather(struct cvx_communicator *communicator,
                                                  cvx_exchange_callback all_gather,
                                                  void *user_data,
                                                  cvx_free_callback free_user_data);

/**
 * How the first of the ranks gives a part to all: every entry of its send is that part, and receive[0]
 * is where the others take it. NULL (default): made of all_to_all.
 *
 * Takes over user_data in any case, see cvx_free_callback.
 *
 * Errors: INVALID_ARGUMENT once load options have the communicator. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_communicator_set_broadcast(struct cvx_communicator *communicator,
                                                 cvx_exchange_callback broadcast,
                                                 void *user_data,
                                                 cvx_free_callback free_user_data);

/**
 * How all ranks wait for each other; nothing is sent. NULL (default): made of all_to_all.
 *
 * Takes over user_data in any case, see cvx_free_callback.
 *
 * Errors: INVALID_ARGUMENT once load options have the communicator. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_communicator_set_barrier(struct cvx_communicator *communicator,
                                               cvx_exchange_callback barrier,
                                               void *user_data,
                                               cvx_free_callback free_user_data);

/**
 * Told when this rank's run fails, before the call that ran returns. NULL (default): nobody is told, and
 * other ranks wait as long as the host's functions do.
 *
 * Takes over user_data in any case, see cvx_free_callback.
 *
 * Errors: INVALID_ARGUMENT once load options have the communicator. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_communicator_set_abort(struct cvx_communicator *communicator,
                                             cvx_abort_callback abort,
                                             void *user_data,
                                             cvx_free_callback free_user_data);

/**
 * Ends the run of this rank, which is under way or begins next, with an error that the host has from
 * another rank; code is one of CVX_ERROR_*. Exchanges that the run waits in have to fail or
 * return by the host's own means. The first error counts. May be called from any thread.
 *
 * Errors: INVALID_ARGUMENT for an unknown code. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_communicator_abort(const struct cvx_communicator *communicator,
                                         int32_t code,
                                         const char *message);

/**
 * After a failure every run fails with the same error, since ranks may have stopped at different
 * exchanges: tells that the host has put that right on all ranks, and runs may begin again.
 *
 * Errors: INVALID_ARGUMENT for one of NCCL, which can't go on. Since 0.1.
 */
CVX_MUST_USE struct cvx_error *cvx_communicator_reset(const struct cvx_communicator *communicator);

/**
 * The rank of this process; -1 for NULL.
 *
 * Since 0.1.
 */
int32_t cvx_communicator_rank(const struct cvx_communicator *communicator);

/**
 * How many ranks there are; 0 for NULL.
 *
 * Since 0.1.
 */
int32_t cvx_communicator_num_ranks(const struct cvx_communicator *communicator);

/**
 * Runs of pipelines that are loaded with these options are shared with the other processes that the
 * communicator reaches, instead of with other devices: every process loads the same folder, on a
 * device of its own, and makes the same runs with the same options in the same order, one at a
 * time. Rank 0 encodes prompts, is asked by caches' callbacks and step callbacks, and gets the
 * frames; progress and logs are each process's own. NULL (default) takes it away again. The options
 * keep what they need of it.
 *
 * Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_load_options_set_communicator(struct cvx_load_options *options,
                                                    const struct cvx_communicator *communicator_or_null);

/**
 * NCCL's unique id for a group of processes: one of them makes it, and the host carries it to the
 * others (in a file, through MPI, as an argument), which are to make their communicators with it. The
 * library opens libnccl.so.2, which it does not link. out_id is CVX_NCCL_UNIQUE_ID_BYTES bytes.
 *
 * Errors: DEVICE_UNAVAILABLE where there is no NCCL, INVALID_ARGUMENT for another size. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_nccl_unique_id(uint8_t *out_id,
                                     size_t size);

/**
 * This process's end of what NCCL connects, from device to device: it is rank, from 0, of num_ranks
 * processes, from 2 to 1024, and computes on device, "cuda" or "cuda:N", which is to be that of the
 * pipelines loaded with it. Returns once all ranks with the same unique id have called it. After a
 * failed run it is of no more use, and a new id makes another.
 *
 * Errors: DEVICE_UNAVAILABLE where there is no NCCL or no such device, INVALID_ARGUMENT, INTERNAL for
 * what NCCL says. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_communicator_new_nccl(int32_t rank,
                                            int32_t num_ranks,
                                            const uint8_t *unique_id,
                                            size_t unique_id_size,
                                            const char *device,
                                            struct cvx_communicator **out_communicator);

/**
 * Loads a pipeline folder as diffusers saves it (model_index.json, transformer/, vae/,
 * text_encoder/, tokenizer/, scheduler/; safetensors in one file or in shards, f32, f16 or
 * bf16). What it is follows from its configs, never from its name. options_or_null: NULL for
 * every default. On success *out_pipeline is a new pipeline, owned by the caller, freed with
 * cvx_pipeline_free.
 *
 * Errors: NOT_FOUND, INVALID_CHECKPOINT (file, tensor, expected, found), UNSUPPORTED_MODEL,
 * DEVICE_UNAVAILABLE, OUT_OF_MEMORY, IO, CANCELLED. Threads: any. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_pipeline_load(const char *folder,
                                    const struct cvx_load_options *options_or_null,
                                    struct cvx_pipeline **out_pipeline);

/**
 * Another pipeline over the same weights, with a cache and a run of its own: clones generate
 * at the same time, each on its thread. On success *out_pipeline is a new pipeline, owned by
 * the caller, freed with cvx_pipeline_free; the weights live until the last of them is freed.
 * The clone starts with no cache enabled, and with the LoRA adapters that the pipeline has now.
 *
 * Errors: NULL_ARGUMENT, DEVICE_LOST. Threads: any, also while the pipeline generates. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_pipeline_clone(const struct cvx_pipeline *pipeline,
                                     struct cvx_pipeline **out_pipeline);

/**
 * Frees a pipeline, without waiting. NULL is allowed and does nothing. Videos that it made are
 * not affected. Jobs that were submitted to it and have not ended go on, and the weights go with
 * the last of them; cvx_job_cancel or cvx_job_free stops them.
 *
 * Threads: any, also in callbacks; once. Freeing a pipeline that another thread is using is a
 * mistake of the host; a run that is under way then still ends in order, and the weights go
 * when it ends. Since 0.1.
 */
void cvx_pipeline_free(struct cvx_pipeline *pipeline);

/**
 * What the pipeline makes videos from: one of CVX_TASK_*, by the class that model_index.json names, and
 * for control and inpainting by the transformer's channels. 0 for NULL.
 *
 * Threads: any. Since 0.1.
 */
int32_t cvx_pipeline_task(const struct cvx_pipeline *pipeline);

/**
 * What the configs describe, for people: such as "CogVideoX 1.0, rotary positions, 42 layers,
 * DPM scheduler". "" for NULL.
 *
 * The text belongs to the pipeline and lives until it is freed. Threads: any. Since 0.1.
 */
const char *cvx_pipeline_family(const struct cvx_pipeline *pipeline);

/**
 * Where the pipeline computes: "cpu" or "cuda:N". "" for NULL.
 *
 * The text belongs to the pipeline and lives until it is freed. Threads: any. Since 0.1.
 */
const char *cvx_pipeline_device(const struct cvx_pipeline *pipeline);

/**
 * The floating-point type of the computation: "f32", "f16" or "bf16". "" for NULL.
 *
 * The text is static and never freed. Threads: any. Since 0.1.
 */
const char *cvx_pipeline_dtype(const struct cvx_pipeline *pipeline);

/**
 * The width in pixels of a run that sets no size. 0 for NULL.
 *
 * Threads: any. Since 0.1.
 */
int32_t cvx_pipeline_default_width(const struct cvx_pipeline *pipeline);

/**
 * The height in pixels of a run that sets no size. 0 for NULL.
 *
 * Threads: any. Since 0.1.
 */
int32_t cvx_pipeline_default_height(const struct cvx_pipeline *pipeline);

/**
 * The number of frames of a run that sets none. 0 for NULL.
 *
 * Threads: any. Since 0.1.
 */
int32_t cvx_pipeline_default_num_frames(const struct cvx_pipeline *pipeline);

/**
 * The frames per second that the family was trained at, for cvx_video_save: 8, or 16 for the
 * 1.5 family. 0 for NULL.
 *
 * Threads: any. Since 0.1.
 */
double cvx_pipeline_default_fps(const struct cvx_pipeline *pipeline);

/**
 * The number of denoising steps of a run that sets none. 0 for NULL.
 *
 * Threads: any. Since 0.1.
 */
int32_t cvx_pipeline_default_num_inference_steps(const struct cvx_pipeline *pipeline);

/**
 * The guidance scale of a run that sets none. 0 for NULL.
 *
 * Threads: any. Since 0.1.
 */
double cvx_pipeline_default_guidance_scale(const struct cvx_pipeline *pipeline);

/**
 * The number of tokens that a prompt is cut or padded to in a run that sets none. 0 for NULL.
 *
 * Threads: any. Since 0.1.
 */
int32_t cvx_pipeline_default_max_sequence_length(const struct cvx_pipeline *pipeline);

/**
 * The width of the text encoder's output, for cvx_pipeline_encode_prompt. 0 for NULL.
 *
 * Threads: any. Since 0.1.
 */
int32_t cvx_pipeline_text_embed_dim(const struct cvx_pipeline *pipeline);

/**
 * The number of attention layers, which is how many a cache decides about. 0 for NULL.
 *
 * Threads: any. Since 0.1.
 */
int32_t cvx_pipeline_num_attention_layers(const struct cvx_pipeline *pipeline);

/**
 * The name of an attention layer in the checkpoint, such as "transformer_blocks.0.attn1"; a
 * cache's block identifiers are matched against it. layer counts from 0; NULL if there is no
 * such layer, or for NULL.
 *
 * The text belongs to the pipeline and lives until it is freed. Threads: any. Since 0.1.
 */
const char *cvx_pipeline_attention_layer_name(const struct cvx_pipeline *pipeline, int32_t layer);

/**
 * How many bytes the folder's weights take that are in memory now, on the device or the host.
 * Clones share them: each returns the same bytes. LoRA adapters, and the copies that fusing makes,
 * are not among them. 0 for NULL.
 *
 * Threads: any. Since 0.1.
 */
uint64_t cvx_pipeline_weight_bytes(const struct cvx_pipeline *pipeline);

/**
 * About how many bytes of memory a run with these options takes at its peak on the pipeline's
 * device, with the cache that is enabled now: beside the weights and all else that is in memory
 * already. Runs of some size were measured on the CPU to take between 0.5 and 1.5 times that; on a
 * CUDA device it is what libtorch's allocator counts, within 5% for published models, without the
 * workspaces of CUDA's libraries. NULL options mean every default. Weights that are read on demand
 * are not counted.
 *
 * Errors: NULL_ARGUMENT, INVALID_ARGUMENT (an option the model cannot honour), as
 * cvx_pipeline_generate. Threads: any, also while the pipeline generates. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_pipeline_estimate_memory(const struct cvx_pipeline *pipeline,
                                               const struct cvx_generate_options *options_or_null,
                                               uint64_t *out_bytes);

/**
 * The shape of the latents of a run: writes (num_videos, latent frames, channels, latent
 * height, latent width) to the 5 numbers at out_shape. A width and height of 0, or a
 * num_frames of 0, mean the model's own. In the 1.5 family, latent frames count the padding
 * frames at the front that a run drops before it decodes; out_padding_frames_or_null says how
 * many those are.
 *
 * Errors: INVALID_ARGUMENT for a size that the model cannot make. Threads: any, also while
 * the pipeline generates. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_pipeline_latent_shape(const struct cvx_pipeline *pipeline,
                                            int32_t num_videos,
                                            int32_t width,
                                            int32_t height,
                                            int32_t num_frames,
                                            int64_t *out_shape,
                                            int32_t *out_padding_frames_or_null);

/**
 * Writes what the pipeline has in memory now to *out_info, as far as its struct_size reaches, which
 * must be set before. cvx_pipeline_estimate_memory tells what a run will take.
 *
 * Errors: NULL_ARGUMENT; INVALID_ARGUMENT for a struct_size that does not reach beyond itself.
 * Threads: any, also while the pipeline generates, whose run it does not wait for. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_pipeline_memory(const struct cvx_pipeline *pipeline,
                                      struct cvx_memory_info *out_info);

/**
 * Loads a LoRA adapter for the transformer, as diffusers' load_lora_weights does: path is a
 * safetensors file, or a folder that holds pytorch_lora_weights.safetensors. Afterwards it is the
 * one active adapter, with the weight 1; those that were loaded before stay loaded, and
 * cvx_pipeline_set_adapters makes them active again. adapter_name_or_null: NULL for the first of
 * "default_0", "default_1", … that is free, counted from the number of loaded adapters. The text
 * is copied.
 *
 * Keys are read as diffusers saves them for CogVideoX ("transformer.….lora_A.weight", lora_B;
 * lora.down and lora.up of older releases), for every linear layer and the convolution over
 * patches. Those of the original model are taken too ("model.diffusion_model.transformer.layers.0.
 * attention.query_key_value.lora_A.weight", or SAT's own matrix_A.0 and matrix_B.0; as safetensors): what
 * is one layer there and several modules here is parted as diffusers' conversion script does. SAT's
 * files say no alpha: pass alpha / rank of its training to cvx_pipeline_set_adapters.
 * The scale alpha / rank comes from the header's lora_adapter_metadata or from a module's
 * "….alpha"; without either it is 1. DoRA's dora_scale is passed over with a warning in the log,
 * as in diffusers. The factors are kept in the pipeline's dtype, on its device.
 *
 * Nothing has changed after an error. Adapters belong to one handle: cvx_pipeline_clone takes
 * over those that are there, and after that each handle has its own. Runs take the adapters as
 * they are when cvx_pipeline_generate or cvx_pipeline_submit is called: changes reach later runs
 * only, and this may be called while the pipeline generates.
 *
 * Errors: NULL_ARGUMENT, INVALID_UTF8; NOT_FOUND; INVALID_CHECKPOINT naming file, tensor or
 * module, expected and found, for an adapter of another model, factors that don't fit each other,
 * one factor without the other, other tensors, none, or numbers that aren't finite;
 * UNSUPPORTED_MODEL for another layout or kind of adapter, which it names; INVALID_ARGUMENT for a
 * name that is taken, empty or longer than 256 bytes, and while adapters are fused; OUT_OF_MEMORY,
 * IO. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_pipeline_load_lora(struct cvx_pipeline *pipeline,
                                         const char *path,
                                         const char *adapter_name_or_null);

/**
 * Makes the count adapters at names the active ones, in place of those that were, as diffusers'
 * set_adapters does: each adds weights[i] times its own alpha / rank times B A x to the outputs of
 * its layers. Weights are from -1e6 to 1e6, also 0 and negative ones; weights_or_null: NULL for
 * all 1. The arrays are copied.
 *
 * Errors, and nothing has changed: NULL_ARGUMENT, INVALID_UTF8; INVALID_ARGUMENT for a count of 0,
 * a name that is not loaded (the message lists those that are), one that comes twice, a weight
 * out of range, and while adapters are fused. Threads: as cvx_pipeline_load_lora. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_pipeline_set_adapters(struct cvx_pipeline *pipeline,
                                            const char *const *names,
                                            const double *weights_or_null,
                                            size_t count);

/**
 * Whether the active adapters are in force: 1, as after loading, or 0, as if none were loaded
 * (diffusers' enable_lora and disable_lora). Which are active, and their weights, stays as it is.
 * Disabling unfuses what is fused. Allowed also where no adapter is loaded, and without effect
 * then.
 *
 * Errors: NULL_ARGUMENT; INVALID_ARGUMENT unless enabled is 0 or 1. Threads: as
 * cvx_pipeline_load_lora. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_pipeline_enable_lora(struct cvx_pipeline *pipeline,
                                           int32_t enabled);

/**
 * Adds the active adapters, lora_scale times their weights, to the weights of this handle, as
 * diffusers' fuse_lora does: W + lora_scale · weight · alpha / rank · B A. Runs cost then what they
 * cost without adapters. The layers that change are copied, and the transformer is read if it is not
 * in memory yet; clones, which share the other layers, don't see it. While adapters are fused, none can be loaded, chosen or fused, and
 * cvx_generate_options_set_lora_scale has no effect. As in diffusers, the weights of the active
 * adapters are multiplied by lora_scale, and stay so after cvx_pipeline_unfuse_lora.
 *
 * Errors, and nothing has changed: NULL_ARGUMENT; INVALID_ARGUMENT if no adapter is active, if
 * they are disabled or fused already, or lora_scale does not lie in [-1e6, 1e6]; OUT_OF_MEMORY; BUSY if another
 * thread changed the adapters meanwhile. Threads: as cvx_pipeline_load_lora. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_pipeline_fuse_lora(struct cvx_pipeline *pipeline,
                                         double lora_scale);

/**
 * Takes back what cvx_pipeline_fuse_lora did, to the byte; the active adapters are in force as
 * before. Allowed also where nothing is fused, and without effect then.
 *
 * Errors: NULL_ARGUMENT. Threads: as cvx_pipeline_load_lora. Since 0.1.
 */
CVX_MUST_USE struct cvx_error *cvx_pipeline_unfuse_lora(struct cvx_pipeline *pipeline);

/**
 * Unloads every adapter, and enables those that are loaded next. What is fused stays in the
 * weights of this handle for good, as with diffusers' unload_lora_weights: unfuse first to take
 * it back. Allowed also where none is loaded.
 *
 * Errors: NULL_ARGUMENT. Threads: as cvx_pipeline_load_lora. Since 0.1.
 */
CVX_MUST_USE struct cvx_error *cvx_pipeline_unload_lora(struct cvx_pipeline *pipeline);

/**
 * How many adapters are loaded, active or not. 0 for NULL.
 *
 * Threads: any. Since 0.1.
 */
int32_t cvx_pipeline_num_adapters(const struct cvx_pipeline *pipeline);

/**
 * The name of a loaded adapter. index counts from 0, in the order of loading; NULL if there is no
 * such adapter, or for NULL.
 *
 * The text belongs to the pipeline and lives until it is freed, also when the adapter is
 * unloaded. Threads: any. Since 0.1.
 */
const char *cvx_pipeline_adapter_name(const struct cvx_pipeline *pipeline, int32_t index);

/**
 * The weight of a loaded adapter if it is active, 0 if it is not; 0 if there is no such adapter,
 * or for NULL. index counts from 0, in the order of loading.
 *
 * Threads: any. Since 0.1.
 */
double cvx_pipeline_adapter_weight(const struct cvx_pipeline *pipeline, int32_t index);

/**
 * Writes the pipeline's folder to `folder`, where nothing may be yet: configs, tokenizer, scheduler,
 * and the weights in one file for each component, with quantized matrices as the pipeline has them
 * (see cvx_load_options_set_component_quantization). cvx_pipeline_load finds out by itself that a
 * folder is quantized, makes the same videos of it, and has little to read; such folders are for
 * this library, docs/quantization.md has the layout. Everything else is copied from the folder that
 * the pipeline was loaded from, which must be as it was. The new folder is there whole or not at
 * all. Adapters are not saved.
 *
 * Errors: INVALID_ARGUMENT if there is something at `folder`, or adapters are fused; NOT_FOUND if
 * the folder above it, or a file of the pipeline's own, is missing; INVALID_CHECKPOINT, IO. Threads:
 * any, also while the pipeline generates. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_pipeline_save(const struct cvx_pipeline *pipeline,
                                    const char *folder);

/**
 * Generate options with every default and an empty prompt. The caller owns them and frees
 * them with cvx_generate_options_free. Never NULL.
 *
 * Since 0.1.
 */
struct cvx_generate_options *cvx_generate_options_new(void);

/**
 * Frees generate options. Runs under way are not affected. NULL is allowed and does nothing.
 *
 * Since 0.1.
 */
void cvx_generate_options_free(struct cvx_generate_options *options);

/**
 * Custom timesteps instead of the scheduler's own: count numbers, strictly descending, from
 * 0 to the number of training timesteps less 1. They win over num_inference_steps. A count
 * of 0 (default) goes back to the scheduler's. The array is copied.
 *
 * Errors: INVALID_ARGUMENT naming the position at fault. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_timesteps(struct cvx_generate_options *options,
                                                     const int64_t *timesteps,
                                                     size_t count);

/**
 * Latents to start from instead of noise of the seed: shape is (videos, latent frames,
 * channels, latent height, latent width), as cvx_pipeline_latent_shape tells it for the
 * run's size; data holds that many numbers, densely packed. NULL data (default) goes back to
 * noise. The data is copied.
 *
 * Errors: INVALID_ARGUMENT if a side of shape is not positive or there are more than 2^31
 * numbers; a shape that does not fit the run is found by cvx_pipeline_generate. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_latents(struct cvx_generate_options *options,
                                                   const float *data_or_null,
                                                   const int64_t *shape,
                                                   size_t rank);

/**
 * Follows the run: called with CVX_STAGE_ENCODE, _DENOISE and _DECODE (and _LOAD where the
 * text encoder is loaded on demand, and _ENCODE_IMAGE before _DENOISE where there is an image or a
 * video). An answer other than 0 stops the run. NULL (default) follows nothing.
 *
 * Takes over user_data in any case, see cvx_free_callback; a run under way keeps it until it
 * ends. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_progress_callback(struct cvx_generate_options *options,
                                                             cvx_progress_callback callback,
                                                             void *user_data,
                                                             cvx_free_callback free_user_data);

/**
 * Receives the run's messages. NULL (default) leaves them to the log callback that the
 * pipeline was loaded with.
 *
 * Takes over user_data in any case, see cvx_free_callback; a run under way keeps it until it
 * ends. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_log_callback(struct cvx_generate_options *options,
                                                        cvx_log_callback callback,
                                                        void *user_data,
                                                        cvx_free_callback free_user_data);

/**
 * Runs with these options end with CVX_ERROR_CANCELLED once the token is cancelled, also if
 * it was cancelled before. NULL (default) takes a token away again. The caller keeps owning
 * its token and may free it at any time.
 *
 * Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_cancel_token(struct cvx_generate_options *options,
                                                        const struct cvx_cancel_token *token_or_null);

/**
 * What the video shows, in UTF-8, 256 KiB at most. Tokens beyond max_sequence_length are cut
 * off, and the log says so. Default: "". The text is copied.
 *
 * Errors: NULL_ARGUMENT, INVALID_UTF8, INVALID_ARGUMENT. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_prompt(struct cvx_generate_options *options,
                                                  const char *prompt);

/**
 * What guidance leads away from, in UTF-8, 256 KiB at most. Has no effect without guidance
 * (guidance_scale <= 1). Default: NULL, which means "". The text is copied.
 *
 * Errors: INVALID_UTF8, INVALID_ARGUMENT. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_negative_prompt(struct cvx_generate_options *options,
                                                           const char *negative_prompt_or_null);

/**
 * Width and height of the video in pixels, each from 8 to CVX_MAX_SIDE and a multiple of 8; the
 * run also checks them against the model's patches, and against the model's own size where
 * positions are learned (CogVideoX-5b-I2V). The 1.5 models were made for 1360 × 768, though their configs
 * say 2400 × 2400: the log warns of more than twice as many pixels. Default: 0, 0, the model's own size, see
 * cvx_pipeline_default_width.
 *
 * Errors: INVALID_ARGUMENT. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_size(struct cvx_generate_options *options,
                                                int32_t width,
                                                int32_t height);

/**
 * How many frames the video has, from 1 to CVX_MAX_FRAMES. They are made from
 * (num_frames - 1) / 4 + 1 latent frames, rounded down; an odd number n of those becomes 4 n - 3 frames, an even one
 * 4 n. So 9, 17, 49 and 81 are made as they are, and 5 becomes 8, as in the reference; the
 * log says so where the number changes. Default: 0, the model's own number, see
 * cvx_pipeline_default_num_frames.
 *
 * Errors: INVALID_ARGUMENT. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_num_frames(struct cvx_generate_options *options,
                                                      int32_t num_frames);

/**
 * How many denoising steps are made, from 1 to 100000; the run also checks that there are no
 * more than the model's training timesteps. Default: 50.
 *
 * Errors: INVALID_ARGUMENT. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_num_inference_steps(struct cvx_generate_options *options,
                                                               int32_t num_inference_steps);

/**
 * How strongly the video follows the prompt. 1 or less means no guidance, which halves the
 * work of a step. Default: 6.
 *
 * Errors: INVALID_ARGUMENT unless it is a number from -1e6 to 1e6. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_guidance_scale(struct cvx_generate_options *options,
                                                          double guidance_scale);

/**
 * What the weights of the active LoRA adapters are multiplied by in this run, as diffusers'
 * attention_kwargs={"scale": lora_scale} does; 0 runs as without adapters. Has no effect without
 * adapters, or on those that are fused. Default: 1.
 *
 * Errors: INVALID_ARGUMENT unless it is a number from -1e6 to 1e6. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_lora_scale(struct cvx_generate_options *options,
                                                      double lora_scale);

/**
 * With 1, guidance grows from 1 to guidance_scale over the run, along a cosine. Default: 0.
 *
 * Errors: INVALID_ARGUMENT unless it is 0 or 1. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_use_dynamic_cfg(struct cvx_generate_options *options,
                                                           int32_t use_dynamic_cfg);

/**
 * How much noise each step of the DDIM scheduler adds: 0 (default) none, 1 as much as DDPM.
 * The DPM scheduler ignores it.
 *
 * Errors: INVALID_ARGUMENT unless it lies in [0, 1]. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_eta(struct cvx_generate_options *options,
                                               double eta);

/**
 * What the run's random numbers start from; any value. The same seed, options, device, dtype,
 * kind of CPU and number of threads (cvx_load_options_set_num_threads) give the same video, to
 * the byte where cvx_video_kernels says the same; and the same noise as
 * torch.Generator().manual_seed(seed) on the CPU. Another kind of CPU gives the same within
 * float32 rounding: the noise to the bit where both have AVX2, the frames within one level.
 * Default: 0.
 *
 * Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_seed(struct cvx_generate_options *options,
                                                uint64_t seed);

/**
 * How many tokens a prompt is cut or padded to, from 1 to CVX_MAX_SEQUENCE_LENGTH. Default: 0, the
 * model's own number, see cvx_pipeline_default_max_sequence_length.
 *
 * Errors: INVALID_ARGUMENT. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_max_sequence_length(struct cvx_generate_options *options,
                                                               int32_t max_sequence_length);

/**
 * How many videos of the prompt one run makes, from 1 to CVX_MAX_VIDEOS. Their noise is drawn as
 * one batch, so the first of several differs from the only one of a run of its own where the
 * reference's does; cvx_generate_options_set_seeds gives each a seed of its own, and
 * cvx_generate_options_set_prompts a prompt. Default: 1.
 *
 * Errors: INVALID_ARGUMENT. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_num_videos(struct cvx_generate_options *options,
                                                      int32_t num_videos);

/**
 * What the run ends with: CVX_OUTPUT_FRAMES (default) or CVX_OUTPUT_LATENTS.
 *
 * Errors: INVALID_ARGUMENT for another number. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_output(struct cvx_generate_options *options,
                                                  int32_t output);

/**
 * With 1, the VAE decodes tiles that overlap and are blended: less memory, more time, and a
 * slightly different picture. Tile size and overlap are the model's own unless
 * cvx_generate_options_set_vae_tile sets others. Default: 0.
 *
 * Errors: INVALID_ARGUMENT unless it is 0 or 1. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_vae_tiling(struct cvx_generate_options *options,
                                                      int32_t enabled);

/**
 * Turns tiling on with tiles of tile_sample_min_height × tile_sample_min_width pixels (from 8
 * to CVX_MAX_SIDE; 0 is the model's own, half of its sample size) of which a tile shares the
 * fractions tile_overlap_factor_height and _width with its neighbours (from 0 to below 1; a
 * negative number is the model's own, 1/6 and 1/5).
 *
 * Errors: INVALID_ARGUMENT. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_vae_tile(struct cvx_generate_options *options,
                                                    int32_t tile_sample_min_height,
                                                    int32_t tile_sample_min_width,
                                                    double tile_overlap_factor_height,
                                                    double tile_overlap_factor_width);

/**
 * With 1, the VAE decodes several videos one after another instead of together: less memory,
 * the same picture. Default: 0.
 *
 * Errors: INVALID_ARGUMENT unless it is 0 or 1. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_vae_slicing(struct cvx_generate_options *options,
                                                       int32_t enabled);

/**
 * With 1 (default), a run that can't fit into memory is refused with OUT_OF_MEMORY and the numbers
 * before anything is computed, see cvx_pipeline_estimate_memory: more than the machine, the
 * process's control group or its address space has left, on CUDA more than the device has beside
 * what this process uses. With 0 it is begun all the same.
 *
 * Errors: INVALID_ARGUMENT unless memory_check is 0 or 1. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_memory_check(struct cvx_generate_options *options,
                                                        int32_t memory_check);

/**
 * The prompt's embeddings instead of the prompt, such as cvx_pipeline_encode_prompt gives them:
 * sequence_length × dim numbers at data, token by token. dim must be cvx_pipeline_text_embed_dim.
 * The prompt must be "" then; sequence_length stands for max_sequence_length, which may be set only
 * to the same, and a text on the other side of guidance is encoded at this length. With embeddings
 * on both sides (or without guidance on this one) the run needs no text encoder: with
 * cvx_load_options_set_text_encoder_on_demand it is not read. NULL data (default) goes back to the
 * prompt; the other arguments do not matter then. The data is copied.
 *
 * In float32 the run is that of the text, to the byte.
 *
 * Errors: NULL_ARGUMENT, INVALID_ARGUMENT (a length outside [1, CVX_MAX_SEQUENCE_LENGTH], a dim
 * outside [1, 65536], a number that is not finite); what was set before stays then. A shape that does not fit
 * the model or the other embeddings is found by cvx_pipeline_generate. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_prompt_embeddings(struct cvx_generate_options *options,
                                                             const float *data_or_null,
                                                             size_t sequence_length,
                                                             size_t dim);

/**
 * The negative prompt's embeddings instead of the negative prompt, which must be NULL or "" then.
 * They have the shape of the prompt's embeddings where both are given, and no effect without
 * guidance. Otherwise as cvx_generate_options_set_prompt_embeddings.
 *
 * Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_negative_prompt_embeddings(struct cvx_generate_options *options,
                                                                      const float *data_or_null,
                                                                      size_t sequence_length,
                                                                      size_t dim);

/**
 * Makes a video of each of count prompts in one run, in place of the one prompt of
 * cvx_generate_options_set_prompt, which must be "" then: video i is that of prompts[i], as diffusers'
 * call makes it of a list of prompts. num_videos stays 1, or is count. Each prompt is in UTF-8, of 256
 * KiB at most; there are CVX_MAX_VIDEOS at most. A step of the whole batch costs about as much as one
 * of each, and memory grows with it: see cvx_pipeline_estimate_memory. A count of 0 (default) goes
 * back to the one prompt. The texts are copied.
 *
 * Without seeds of their own (cvx_generate_options_set_seeds), all noise is drawn as one batch from
 * the run's seed.
 *
 * Errors: NULL_ARGUMENT, INVALID_UTF8, INVALID_ARGUMENT, naming the position; the prompts that were
 * set before stay. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_prompts(struct cvx_generate_options *options,
                                                   const char *const *prompts,
                                                   size_t count);

/**
 * A negative prompt for each video, in place of the one of all
 * (cvx_generate_options_set_negative_prompt, which must be "" or NULL then). There must be as many as
 * the run makes videos, which the run checks. A count of 0 (default) goes back to the one of all.
 * The texts are copied.
 *
 * Errors: as cvx_generate_options_set_prompts. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_negative_prompts(struct cvx_generate_options *options,
                                                            const char *const *negative_prompts,
                                                            size_t count);

/**
 * A seed for each video, in place of the run's seed, as a list of generators in diffusers: video i is
 * drawn from seeds[i] alone, and so is, within rounding, the one that a run of its own with that seed
 * and prompt makes. There must be as many as the run makes videos (of several prompts, or num_videos
 * of one), which the run checks; there are CVX_MAX_VIDEOS at most. A count of 0 (default) goes back
 * to the one seed. The array is copied.
 *
 * Errors: NULL_ARGUMENT, INVALID_ARGUMENT. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_seeds(struct cvx_generate_options *options,
                                                 const uint64_t *seeds,
                                                 size_t count);

/**
 * The image that an image-to-video pipeline (see cvx_pipeline_task) starts its video from; it
 * must be set there. A pipeline for inpainting takes one as the first frame. It may not be set for other
 * pipelines.
 *
 * Row y starts at data + y * stride_bytes, rows from top to bottom; format is one of
 * CVX_PIXELS_*. Alpha is dropped, as it is: put a transparent picture on a background first.
 * Floats lie in [0, 1] and are aligned to 4 bytes, and so is stride_bytes then. A stride_bytes of
 * 0 stands for densely packed rows. The pixels are copied: they may be freed or changed at once.
 * width and height are from 1 to 16384 and need not be those of the run: the image is resized to
 * them, without keeping its proportions, as diffusers resizes pictures (in 8 bits by Pillow's
 * Lanczos filter, to the byte; floats by the same filter, not rounded).
 *
 * Errors: NULL_ARGUMENT, INVALID_ARGUMENT (size, stride, format, a float outside [0, 1]); the
 * image that was set before stays. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_image(struct cvx_generate_options *options,
                                                 const void *data,
                                                 int32_t width,
                                                 int32_t height,
                                                 size_t stride_bytes,
                                                 int32_t format);

/**
 * Takes the image away again.
 *
 * Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_clear_image(struct cvx_generate_options *options);

/**
 * Reads a picture from a .png or .jpeg file (told apart by what is in it), as 8-bit R, G, B: grey
 * and palettes become colours, 16 bits become 8, alpha is dropped, and a photograph is turned the
 * way up that its EXIF data says, as diffusers' load_image does. Colour profiles are not heeded.
 * On success *out_image is a new image, owned by the caller, freed with cvx_image_free; give its
 * pixels to cvx_generate_options_set_image.
 *
 * Errors: NULL_ARGUMENT, INVALID_UTF8, NOT_FOUND, IO, INVALID_ARGUMENT (another format, a damaged
 * file, a side of more than 16384 pixels). Threads: any. Since 0.1.
 */
CVX_MUST_USE struct cvx_error *cvx_image_load(const char *path, struct cvx_image **out_image);

/**
 * Width in pixels; 0 for NULL.
 *
 * Threads: any. Since 0.1.
 */
int32_t cvx_image_width(const struct cvx_image *image);

/**
 * Height in pixels; 0 for NULL.
 *
 * Threads: any. Since 0.1.
 */
int32_t cvx_image_height(const struct cvx_image *image);

/**
 * The pixels as bytes R, G, B (CVX_PIXELS_RGB8). Row y starts at data + y * stride, with stride
 * in bytes. out_stride_or_null may be NULL. The memory belongs to the image and lives until
 * cvx_image_free.
 *
 * Errors: NULL_ARGUMENT. Threads: any. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_image_rgb8(const struct cvx_image *image,
                                 const uint8_t **out_data,
                                 size_t *out_stride_or_null);

/**
 * Writes pixels as one picture to path, which ends in .png. Row y starts at data + y *
 * stride_bytes, rows from top to bottom; format is CVX_PIXELS_RGB8 or CVX_PIXELS_RGBA8, of which
 * alpha is dropped. A stride_bytes of 0 stands for densely packed rows. width and height are from 1
 * to 16384. A file that is there already is replaced, whole or not at all.
 *
 * Errors: NULL_ARGUMENT, INVALID_UTF8, INVALID_ARGUMENT (size, stride, format, ending), NOT_FOUND
 * (the parent folder), IO. Threads: any. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_image_save_png(const char *path,
                                     const void *data,
                                     int32_t width,
                                     int32_t height,
                                     size_t stride_bytes,
                                     int32_t format);

/**
 * Frees an image. Options that its pixels were given to keep their own. NULL is allowed and does
 * nothing.
 *
 * Since 0.1.
 */
void cvx_image_free(struct cvx_image *image);

/**
 * The video that the run begins with: it is made noisy and then made anew from there, as the prompt
 * says, by as much as cvx_generate_options_set_strength asks for (diffusers'
 * CogVideoXVideoToVideoPipeline). A pipeline for video to video (see cvx_pipeline_task) needs one, a
 * pipeline for text to video takes one, one for inpainting takes one with a
 * cvx_generate_options_set_mask, others take none.
 *
 * Row y of frame f starts at data + f * frame_stride_bytes + y * row_stride_bytes, rows from top to
 * bottom, frames from the first to the last; format is one of CVX_PIXELS_*. Alpha is dropped, as it
 * is. Floats lie in [0, 1] and are aligned to 4 bytes, and so are the strides then. A
 * row_stride_bytes of 0 stands for densely packed rows, a frame_stride_bytes of 0 for frames that
 * follow each other without a gap. The pixels are copied: they may be freed or changed at once.
 * width and height are from 1 to 16384 and need not be those of the run: each frame is resized to
 * them, without keeping its proportions, as cvx_generate_options_set_image does.
 *
 * The run makes as many frames as the video has, from 1 to CVX_MAX_FRAMES; num_frames stays unset, or
 * says the same number. They become (num_frames - 1) / 4 + 1 latent frames, rounded down, and the
 * run ends with the frames that those make, see cvx_generate_options_set_num_frames: 9, 17, 25, 49
 * and 81 stay as many. In the 1.5 family latent frames must be even in number, since they are not
 * padded here: 13 to 16, 45 to 48 or 77 to 80 frames will do, and 81 will not, which the run says.
 * NULL data (default) takes the video away again.
 *
 * Memory: the VAE's encoder of a pipeline for text to video is read from the folder when a run first
 * needs it, and stays with the weights.
 *
 * Errors: INVALID_ARGUMENT (size, count, strides, format, a float outside [0, 1]), OUT_OF_MEMORY; the
 * video that was set before stays. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_video(struct cvx_generate_options *options,
                                                 const void *data_or_null,
                                                 int32_t width,
                                                 int32_t height,
                                                 int32_t num_frames,
                                                 size_t row_stride_bytes,
                                                 size_t frame_stride_bytes,
                                                 int32_t format);

/**
 * The video that a control model's video follows, frame by frame: edges, poses, depths, as the model
 * was trained for. A pipeline for control (see cvx_pipeline_task) needs one, others take none. Frames
 * are given and numbered as cvx_generate_options_set_video says; in the 1.5 family the same numbers of
 * frames will do. NULL data (default) takes it away again.
 *
 * This is diffusers' CogVideoXFunControlPipeline, and takes either scheduler; that one can't be run
 * with DPM.
 *
 * Errors: as cvx_generate_options_set_video. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_control_video(struct cvx_generate_options *options,
                                                         const void *data_or_null,
                                                         int32_t width,
                                                         int32_t height,
                                                         int32_t num_frames,
                                                         size_t row_stride_bytes,
                                                         size_t frame_stride_bytes,
                                                         int32_t format);

/**
 * What of the video an inpainting model makes anew: a byte for each pixel, 128 to 255 where it is made
 * anew, 0 to 127 where the video's own stays. Only for pipelines for inpainting (see
 * cvx_pipeline_task), beside cvx_generate_options_set_video; in the time as in the picture: a video
 * goes on where the masks of its later frames are 255 throughout.
 *
 * The byte of pixel (x, y) of frame f is at data + f * frame_stride_bytes + y * row_stride_bytes + x;
 * strides of 0 stand for dense rows and frames. num_frames is as many as the video has, or 1: then it is the
 * mask of all frames. width and height, from 1 to 16384, need not be the video's or the run's: the
 * nearest pixels count. The bytes are copied. NULL data (default) takes the mask away again.
 *
 * Errors: INVALID_ARGUMENT (size, count, strides), OUT_OF_MEMORY; the mask that was set before stays.
 * Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_mask(struct cvx_generate_options *options,
                                                const uint8_t *data_or_null,
                                                int32_t width,
                                                int32_t height,
                                                int32_t num_frames,
                                                size_t row_stride_bytes,
                                                size_t frame_stride_bytes);

/**
 * The last frame of the video, for pipelines for inpainting (see cvx_pipeline_task), beside or instead
 * of the first, cvx_generate_options_set_image. Pixels are given as there. NULL data (default)
 * takes it away again.
 *
 * Errors: as cvx_generate_options_set_image. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_last_image(struct cvx_generate_options *options,
                                                      const void *data_or_null,
                                                      int32_t width,
                                                      int32_t height,
                                                      size_t stride_bytes,
                                                      int32_t format);

/**
 * How much of the video is made anew, from 0 to 1: 1 keeps nothing of it but what its latents leave
 * in the noise, smaller numbers keep more and take fewer steps, num_inference_steps * strength of
 * them, rounded down; at least one must be left. A negative number goes back to the default: 0.8, and
 * 1 in pipelines for inpainting, where the mask says what is made anew. Only with
 * cvx_generate_options_set_video.
 *
 * Errors: INVALID_ARGUMENT if strength is above 1 or no number. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_strength(struct cvx_generate_options *options,
                                                    double strength);

/**
 * Which scheduler the runs step with: "ddim" or "dpm", in place of the one that the folder's
 * model_index.json names; everything else stays as the folder says, as with diffusers'
 * from_config. Every published folder names DDIM; 5b and the 1.5 family are recommended with DPM
 * and the timestep spacing "trailing", which these folders have. Default: NULL, the folder's own.
 * A run may choose again: cvx_generate_options_set_scheduler.
 *
 * Errors: INVALID_UTF8, INVALID_ARGUMENT for any other text. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_load_options_set_scheduler(struct cvx_load_options *options,
                                                 const char *scheduler_or_null);

/**
 * Which of the training timesteps runs visit: "leading", "linspace" or "trailing", in place of
 * the folder's own (Lin et al., arXiv 2305.08891, table 2). Default: NULL, the folder's own.
 *
 * Errors: INVALID_UTF8, INVALID_ARGUMENT for any other text. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_load_options_set_timestep_spacing(struct cvx_load_options *options,
                                                        const char *timestep_spacing_or_null);

/**
 * What the signal-to-noise ratio of the schedule is divided by, from 1e-6 to 1e6, in place of
 * the folder's own; the published folders have 3 (2b) and 1 (the others). Default: 0,
 * the folder's own.
 *
 * Errors: INVALID_ARGUMENT. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_load_options_set_snr_shift_scale(struct cvx_load_options *options,
                                                       double snr_shift_scale);

/**
 * Whether the schedule is rescaled so that nothing of the sample is left at the last training
 * timestep (Lin et al., arXiv 2305.08891, algorithm 1): 1 or 0, in place of
 * the folder's own. Default: -1, the folder's own.
 *
 * Errors: INVALID_ARGUMENT unless it is -1, 0 or 1. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_load_options_set_rescale_betas_zero_snr(struct cvx_load_options *options,
                                                              int32_t rescale_betas_zero_snr);

/**
 * Which scheduler the run steps with: "ddim" or "dpm", in place of what the pipeline was loaded
 * with; everything else stays as it was. Default: NULL, the pipeline's.
 *
 * Errors: INVALID_UTF8, INVALID_ARGUMENT for any other text. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_scheduler(struct cvx_generate_options *options,
                                                     const char *scheduler_or_null);

/**
 * Which of the training timesteps the run visits: "leading", "linspace" or "trailing", in place of
 * what the pipeline was loaded with (Lin et al., arXiv 2305.08891, table 2). Default: NULL, what the pipeline was loaded with.
 *
 * Errors: INVALID_UTF8, INVALID_ARGUMENT for any other text. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_timestep_spacing(struct cvx_generate_options *options,
                                                            const char *timestep_spacing_or_null);

/**
 * What the signal-to-noise ratio of the schedule is divided by, from 1e-6 to 1e6, in place of
 * what the pipeline was loaded with; the published folders have 3 (2b) and 1 (the others). Default: 0,
 * what the pipeline was loaded with.
 *
 * Errors: INVALID_ARGUMENT. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_snr_shift_scale(struct cvx_generate_options *options,
                                                           double snr_shift_scale);

/**
 * Whether the schedule is rescaled so that nothing of the sample is left at the last training
 * timestep (Lin et al., arXiv 2305.08891, algorithm 1): 1 or 0, in place of
 * what the pipeline was loaded with. Default: -1, what the pipeline was loaded with.
 *
 * Errors: INVALID_ARGUMENT unless it is -1, 0 or 1. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_rescale_betas_zero_snr(struct cvx_generate_options *options,
                                                                  int32_t rescale_betas_zero_snr);

/**
 * Called after each denoising step, with access to the latents. NULL (default) calls nothing.
 * Runs that tune or calibrate a cache do not call it.
 *
 * Takes over user_data in any case, see cvx_free_callback; a run or job keeps it until it ends.
 * Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_step_callback(struct cvx_generate_options *options,
                                                         cvx_step_callback callback,
                                                         void *user_data,
                                                         cvx_free_callback free_user_data);

/**
 * The latents that the next step starts from, in host memory: out_shape receives 5 numbers,
 * (videos, latent frames, channels, latent height, latent width), and the numbers at data are
 * densely packed. In the 1.5 family the padding frames at the front are among them. The memory
 * lives until the callback returns, or cvx_step_set_latents is called; it is read only.
 *
 * Errors: NULL_ARGUMENT, OUT_OF_MEMORY. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_step_latents(struct cvx_step *step,
                                   const float **out_data,
                                   int64_t *out_shape);

/**
 * The same latents where they lie, in the pipeline's dtype and on its device, as DLPack's
 * DLManagedTensor (dlpack.h, which the host includes itself). The memory is the run's, not a copy,
 * and is read only. It lives as long as the tensor, also when the callback has returned. On success
 * *out_tensor is owned by the caller; whoever consumes it calls its deleter, once, on any thread.
 * What the device was given to do with them is done.
 *
 * Errors: NULL_ARGUMENT, OUT_OF_MEMORY. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_step_latents_dlpack(struct cvx_step *step,
                                          struct DLManagedTensor **out_tensor);

/**
 * The run goes on with these latents instead: shape must be the one that cvx_step_latents tells,
 * data holds that many numbers, densely packed. The data is copied. Afterwards the other functions
 * show the new latents.
 *
 * Errors: NULL_ARGUMENT, INVALID_ARGUMENT (another shape, a number that is not finite); the latents
 * stay as they were then. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_step_set_latents(struct cvx_step *step,
                                       const float *data,
                                       const int64_t *shape,
                                       size_t rank);

/**
 * Guides with another scale from the next step on, from -1e6 to 1e6; with use_dynamic_cfg it is
 * what guidance grows to. A run that began without guidance has none to change.
 *
 * Errors: NULL_ARGUMENT, INVALID_ARGUMENT. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_step_set_guidance_scale(struct cvx_step *step,
                                              double guidance_scale);

/**
 * The latents as a small picture of each latent frame: bytes R, G, B at latent resolution, densely
 * packed; out_shape receives 5 numbers, (videos, latent frames, latent height, latent width, 3).
 * Padding frames of the 1.5 family are left out. The memory lives until the callback returns or the
 * function is called again.
 *
 * Each pixel is a linear map of the channels of a latent pixel, and nothing is decoded: it takes far
 * less time than a step. The map is made when the first preview of a pipeline or its clones is asked
 * for: a few small random latents are decoded, and it is fitted to their colours by least squares.
 * With a tiny decoder (a file taecvx.safetensors in the pipeline's folder, or that of
 * cvx_load_options_set_preview_decoder), frames of the full size instead, as many as the run ends
 * with: out_shape is (videos, frames, height, width, 3) then.
 * Early in a run latents are mostly noise, and so is the picture.
 *
 * Errors: NULL_ARGUMENT, CANCELLED, OUT_OF_MEMORY. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_step_preview_rgb8(struct cvx_step *step,
                                        const uint8_t **out_data,
                                        int64_t *out_shape);

/**
 * Writes to path, a safetensors file, what a run needs to go on after this step with
 * cvx_generate_options_set_resume: latents and guidance as they are after what the callback
 * changed, the random numbers, what the scheduler keeps, and what the run was asked for. A file
 * that is there already is replaced, whole or not at all.
 *
 * Errors: NULL_ARGUMENT, INVALID_UTF8, NOT_FOUND (the parent folder), IO, OUT_OF_MEMORY.
 * Since 0.1.
 */
CVX_MUST_USE struct cvx_error *cvx_step_save(struct cvx_step *step, const char *path);

/**
 * The run goes on from a file that cvx_step_save wrote, instead of from noise, and gives the bytes
 * of the unbroken run, on the same kind of device. The other options must be those of that run:
 * prompts, size, steps, guidance, seed, scheduler, image, adapters by name and weight; what comes
 * after denoising and the callbacks may differ. Weights are not compared. With a cache the run is
 * not the unbroken one to the byte: what a cache keeps is not in the file, so it starts anew at this
 * step, as if the run began there, and the log says so. NULL (default) starts from noise. The file
 * is read when a run starts.
 *
 * Errors of the run: NOT_FOUND, IO, INVALID_ARGUMENT (no such file, or the state of another run,
 * naming the setting, what was expected and what was found). Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_resume(struct cvx_generate_options *options,
                                                  const char *path_or_null);

/**
 * Hands out frames while the VAE decodes the next ones. pixels is one of CVX_PIXELS_*. A NULL
 * callback (default) hands out none; pixels does not matter then. A run that ends with
 * latents has no frames to hand out. With a frames buffer besides, the frames are in it
 * already when they are handed out.
 *
 * Takes over user_data in any case, see cvx_free_callback; a run or job keeps it until it
 * ends.
 *
 * Errors: NULL_ARGUMENT, INVALID_ARGUMENT (pixels). Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_frames_callback(struct cvx_generate_options *options,
                                                           int32_t pixels,
                                                           cvx_frames_callback callback,
                                                           void *user_data,
                                                           cvx_free_callback free_user_data);

/**
 * Writes frames into the host's own memory (a mapped texture, a ring buffer) as they are
 * decoded: frame f of video v lies at data + (v * frames + f) * frame_stride, with as many
 * frames as a video of the run has, and its row r at r * row_stride from there. pixels is one
 * of CVX_PIXELS_*; size and strides are in bytes, a stride of 0 is packed. The bytes are
 * those of cvx_video_frames_rgb8, _rgba8 or _f32 of the finished video, which is there
 * besides; bytes between rows and frames are not touched. A run that ends with latents
 * writes nothing.
 *
 * NULL data (default) takes the memory away; the other arguments do not matter then. The
 * memory stays the host's: it must stay valid until runs and jobs with these options have
 * ended, and be left alone meanwhile, except for frames that the frames callback was already
 * called for. It serves one run at a time. A run that fails may have written some frames.
 *
 * Errors: NULL_ARGUMENT, INVALID_ARGUMENT (pixels, a size beyond memory). A run for which
 * the memory or a stride is too small, or for which data is known to be an address on a CUDA
 * device (see cvx_generate_options_set_device_frames_buffer), ends with INVALID_ARGUMENT before
 * anything is computed, naming the bytes it needs. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_frames_buffer(struct cvx_generate_options *options,
                                                         int32_t pixels,
                                                         void *data_or_null,
                                                         size_t size,
                                                         size_t row_stride,
                                                         size_t frame_stride);

/**
 * With 1, the frames of the video stay on the pipeline's device, for cvx_video_frames_dlpack
 * and cvx_video_device_frames; the functions that hand out frames in host memory copy them
 * when they are asked. Default: 0, host memory. On the CPU there is no difference.
 *
 * Errors: NULL_ARGUMENT, INVALID_ARGUMENT unless it is 0 or 1. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_frames_on_device(struct cvx_generate_options *options,
                                                            int32_t on_device);

/**
 * Hands out frames on the device while the VAE decodes the next ones. pixels is one of
 * CVX_PIXELS_*; a device frames buffer's own win over it. A NULL callback (default) hands out none;
 * pixels does not matter then. The same call works on the CPU, where the device's memory is the
 * host's.
 *
 * Takes over user_data in any case, see cvx_free_callback; a run or job keeps it until it ends.
 *
 * Errors: NULL_ARGUMENT, INVALID_ARGUMENT (pixels). Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_device_frames_callback(struct cvx_generate_options *options,
                                                                  int32_t pixels,
                                                                  cvx_device_frames_callback callback,
                                                                  void *user_data,
                                                                  cvx_free_callback free_user_data);

/**
 * Writes frames into memory of the host's on the device that decodes them (an imported texture, a
 * buffer of another library), laid out as in cvx_generate_options_set_frames_buffer: data is an
 * address on the CUDA device of the pipeline's VAE, or of host memory where that is on the CPU.
 * pixels is one of CVX_PIXELS_*; data and strides must be multiples of a number's size, which is 1
 * byte, 2 for CVX_PIXELS_RGBA16F and 4 for CVX_PIXELS_F32.
 *
 * Writing is work on the device that nobody waits for: see cvx_generate_options_set_stream and
 * cvx_device_frames_callback for when the frames are there. When cvx_pipeline_generate or a job has
 * ended they are, but where frames stay on the device and a stream is set. The finished video is
 * there besides, in host memory unless cvx_generate_options_set_frames_on_device says otherwise.
 *
 * NULL data (default) takes the memory away; the other arguments do not matter then. The memory
 * stays the host's: it must stay valid until runs and jobs with these options have ended, and the
 * work on the device that they launched. It serves one run at a time.
 *
 * Errors: NULL_ARGUMENT, INVALID_ARGUMENT (pixels, a size beyond memory). A run for which the
 * memory or a stride is too small, an address or a stride is no multiple, or for which the driver
 * says that data is memory of another device or of the host, ends with INVALID_ARGUMENT before
 * anything is computed. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_device_frames_buffer(struct cvx_generate_options *options,
                                                                int32_t pixels,
                                                                void *data_or_null,
                                                                size_t size,
                                                                size_t row_stride,
                                                                size_t frame_stride);

/**
 * A CUDA stream of the host's that runs are ordered against, a cudaStream_t or CUstream: the
 * library writes frames on the device behind what the stream has got when decoding begins, and what
 * the stream is given after a group of frames was handed out, or after the run, comes behind those
 * frames. The device keeps the order, and neither waits for the other's host thread. With
 * cvx_generate_options_set_frames_on_device besides, a run does not wait for the device at its end
 * either: what reads the video on the stream needs no waiting, and cvx_video_frames_dlpack waits
 * for the video's frames alone.
 *
 * The stream may be of any context of the process, on the device that decodes, and must live until
 * runs and jobs with these options have ended. NULL (default) takes it away: CUDA's default stream
 * needs no ordering, as the library works on that. On the CPU there is no difference.
 *
 * Errors: NULL_ARGUMENT; INVALID_ARGUMENT for cudaStreamPerThread, which is another stream on each
 * thread. A run ends with INVALID_ARGUMENT where the driver does not know the stream. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_stream(struct cvx_generate_options *options,
                                                  void *stream_or_null);

/**
 * A CUDA event of the host's that a run waits for on the device, a cudaEvent_t or CUevent: the library
 * writes frames there behind the work that the event was recorded behind last, as it is when decoding
 * begins and again when the callback of cvx_generate_options_set_device_frames_callback has returned,
 * which may record it behind what it has launched. No host thread waits. An event that was never
 * recorded orders nothing. With cvx_generate_options_set_stream besides, both orders hold.
 *
 * The event may be of any context of the process, and must live until runs and jobs with these options
 * have ended. NULL (default) takes it away. On the CPU there is no difference.
 *
 * Errors: NULL_ARGUMENT. A run ends with INVALID_ARGUMENT where the driver does not know the event.
 * Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_wait_event(struct cvx_generate_options *options,
                                                      void *event_or_null);

/**
 * A CUDA event of the host's that a run records, a cudaEvent_t or CUevent: behind each group of frames
 * before the callback of cvx_generate_options_set_device_frames_callback is told of it, and behind the
 * whole video before the run ends. Any stream that waits for it then has those frames before it, and no
 * host thread waits. With cvx_generate_options_set_frames_on_device besides, a run does not wait for the
 * device at its end either, as with cvx_generate_options_set_stream. A run that fails may have
 * recorded it, or not.
 *
 * The event must be of the primary context of the device that decodes, in which cudaEventCreate makes
 * them, serves one run at a time, and must live until runs and jobs with these options have ended. NULL
 * (default) takes it away. On the CPU there is no difference.
 *
 * Errors: NULL_ARGUMENT. A run ends with INVALID_ARGUMENT where the driver does not take the event.
 * Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_generate_options_set_record_event(struct cvx_generate_options *options,
                                                        void *event_or_null);

/**
 * Generates what options ask for. On success *out_video is a new video, owned by the caller,
 * freed with cvx_video_free; it does not depend on the pipeline or the options. However the
 * run ends, the pipeline is as usable as before.
 *
 * Errors: INVALID_ARGUMENT (an option the model cannot honour, an image that is missing or has no
 * use, a frames buffer that is too small), BUSY, CANCELLED, CALLBACK_FAILED, OUT_OF_MEMORY. Threads: any; while it runs, a second call on this
 * pipeline, from whatever thread, is BUSY. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_pipeline_generate(struct cvx_pipeline *pipeline,
                                        const struct cvx_generate_options *options,
                                        struct cvx_video **out_video);

/**
 * The token ids of a text: writes exactly length numbers to out_ids, the text's ids cut to
 * length, ended by the end-of-sequence id and padded. length is the max_sequence_length of a
 * run, from 1 to CVX_MAX_SEQUENCE_LENGTH.
 *
 * Errors: NULL_ARGUMENT, INVALID_UTF8, INVALID_ARGUMENT. Threads: any, also while the
 * pipeline generates. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_pipeline_tokenize(const struct cvx_pipeline *pipeline,
                                        const char *text,
                                        int64_t *out_ids,
                                        size_t length);

/**
 * The text encoder's output for a text of max_sequence_length tokens (from 1 to
 * CVX_MAX_SEQUENCE_LENGTH): writes
 * max_sequence_length × cvx_pipeline_text_embed_dim numbers to out_embeddings, token by token,
 * whatever the pipeline's own dtype is. capacity is how many numbers there is room for.
 *
 * Errors: NULL_ARGUMENT, INVALID_UTF8, INVALID_ARGUMENT (too little room), BUSY,
 * OUT_OF_MEMORY. Threads: as cvx_pipeline_generate. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_pipeline_encode_prompt(struct cvx_pipeline *pipeline,
                                             const char *text,
                                             size_t max_sequence_length,
                                             float *out_embeddings,
                                             size_t capacity);

/**
 * As cvx_pipeline_encode_prompt, followed and stopped as a run is: options_or_null gives cancel
 * token, progress callback (stage CVX_STAGE_ENCODE) and log callback; its other settings do not
 * matter here. A cancelled token ends it on the CPU within about a quarter of a second; nothing is
 * written to out_embeddings then.
 *
 * Errors: those of cvx_pipeline_encode_prompt, CANCELLED, CALLBACK_FAILED. Threads: as
 * cvx_pipeline_generate. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_pipeline_encode_prompt_with(struct cvx_pipeline *pipeline,
                                                  const char *text,
                                                  size_t max_sequence_length,
                                                  float *out_embeddings,
                                                  size_t capacity,
                                                  const struct cvx_generate_options *options_or_null);

/**
 * Decodes latents as runs end with them, of shape (videos, latent frames, channels, latent
 * height, latent width), densely packed at data; without the padding frames that the 1.5
 * family has in front (see cvx_pipeline_latent_shape). options_or_null gives tiling, slicing,
 * where frames go, callbacks and cancel token; its other settings do not matter here. On success *out_video
 * is a new video, owned by the caller, freed with cvx_video_free.
 *
 * Errors: NULL_ARGUMENT, INVALID_ARGUMENT (shape), BUSY, CANCELLED, OUT_OF_MEMORY.
 * Threads: as cvx_pipeline_generate. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_pipeline_decode_latents(struct cvx_pipeline *pipeline,
                                              const float *data,
                                              const int64_t *shape,
                                              size_t rank,
                                              const struct cvx_generate_options *options_or_null,
                                              struct cvx_video **out_video);

/**
 * The job's state now, one of CVX_JOB_*; CVX_JOB_NONE for NULL. If out_status_or_null is not
 * NULL, everything about the job at that moment is written there, as far as its struct_size
 * reaches, which must be set before.
 *
 * Never waits for the run. Threads: any. Since 0.1.
 */
int32_t cvx_job_poll(const struct cvx_job *job, struct cvx_job_status *out_status_or_null);

/**
 * Waits until the job has ended or seconds are over, and writes its state then: QUEUED or
 * RUNNING if the time was over, which is no error. 0 seconds do not wait; a negative number
 * waits without end. out_state_or_null may be NULL. When it returns an ended state, the
 * callbacks of the job's options are not called any more; the job callback may be under way.
 *
 * Errors: NULL_ARGUMENT; INVALID_ARGUMENT if seconds is not a number; BUSY where it would
 * wait for the thread it is called on, the pipeline's worker (in a callback of one of its
 * jobs). Threads: any. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_job_wait(const struct cvx_job *job,
                               double seconds,
                               int32_t *out_state_or_null);

/**
 * The video of a job that succeeded: on success *out_video is owned by the caller, freed with
 * cvx_video_free, and does not depend on the job. It can be taken once.
 *
 * Errors: NULL_ARGUMENT; BUSY before the job has ended; INVALID_ARGUMENT if the video was
 * taken already; for a job that failed or was cancelled its own error, as often as asked.
 * Threads: any. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_job_take_video(struct cvx_job *job,
                                     struct cvx_video **out_video);

/**
 * Asks the job to stop. One that is queued ends at once, without having run; one that runs
 * ends within one layer of the text encoder or the transformer, or one chunk of the VAE
 * decoder. It is sticky, and does nothing for NULL and for a job that has ended.
 *
 * Never waits for the run. Threads: any, also in callbacks; not from a signal handler (a
 * cancel token is). Since 0.1.
 */
void cvx_job_cancel(const struct cvx_job *job);

/**
 * Frees a job at any time, in any state, without waiting. One that has not ended is cancelled;
 * until its user_data is freed, its callbacks may still be called. A video that was not taken
 * is freed too. NULL is allowed and does nothing.
 *
 * Threads: any, also in callbacks; once, and not while another thread uses it. Since 0.1.
 */
void cvx_job_free(struct cvx_job *job);

/**
 * Queues what cvx_pipeline_generate would do, and returns at once. On success *out_job is a
 * new job, owned by the caller, freed with cvx_job_free; it is written before anything
 * happens to the job.
 *
 * Each pipeline handle, clones too, has one worker thread, which is started by the first job
 * and runs its jobs one after another in the order in which they were submitted; it ends when
 * the handle is freed and the jobs are done. The options are copied now. Their callbacks are
 * called on the worker. Jobs keep what they need of the pipeline: its handle may be freed
 * while they wait or run. The cache is the one that is enabled when a job begins to run, the LoRA
 * adapters are those of now.
 *
 * While a job runs, cvx_pipeline_generate and the like on the same handle are BUSY; a job
 * whose turn comes while the host generates waits for that. A cancel token of the options
 * stops the job, too; one that is queued then ends when its turn comes. cvx_pipeline_cache_stats
 * tells of jobs as of other runs.
 *
 * callback_or_null is told when the job has ended; with NULL, user_data is not used. Takes
 * over user_data in any case, see cvx_free_callback.
 *
 * When the process ends (exit, or a return from main), jobs and runs under way are cancelled and
 * waited for, 10 seconds at most, before statics that were made before the library first worked
 * are destroyed. No callback is called from then on; user_data is freed as ever.
 *
 * Errors: NULL_ARGUMENT; INVALID_ARGUMENT for options that the pipeline cannot honour, as far
 * as cvx_pipeline_generate finds that before it computes; OUT_OF_MEMORY if the worker thread
 * cannot be started. What goes wrong later, the job tells. Threads: any, also in callbacks and
 * while the pipeline generates. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_pipeline_submit(struct cvx_pipeline *pipeline,
                                      const struct cvx_generate_options *options,
                                      cvx_job_callback callback_or_null,
                                      void *user_data,
                                      cvx_free_callback free_user_data,
                                      struct cvx_job **out_job);

/**
 * Pyramid Attention Broadcast (arXiv 2408.12588) with diffusers' defaults: an attention
 * module's output is used again on every second step while 100 < timestep < 800. The caller
 * owns the config and frees it with cvx_cache_config_free. Never NULL.
 *
 * Since 0.1.
 */
struct cvx_cache_config *cvx_pab_config_new(void);

/**
 * FasterCache (arXiv 2410.19355) with diffusers' defaults: while timestep < 641, the
 * unconditional half of the guidance batch runs on every fifth step only and is rebuilt on
 * the others, on which attention is extrapolated from its last two outputs every second time.
 * The caller owns the config and frees it with cvx_cache_config_free. Never NULL.
 *
 * Since 0.1.
 */
struct cvx_cache_config *cvx_faster_cache_config_new(void);

/**
 * A technique, "pab", "faster_cache", "taylor_seer", "mag_cache", "tea_cache", "first_block_cache",
 * "cfg_cache" or "schedule", with the settings of a preset; NULL is the first that the technique
 * has:
 *
 * - "diffusers" (all but taylor_seer, tea_cache and schedule): the defaults of diffusers 0.42.1;
 * - "diffusers-docs": the snippet of diffusers' caching guide;
 * - "videosys" (pab): the authors' own settings for CogVideoX, the window (100, 850);
 * - "official" (faster_cache): the authors' 50-step script for CogVideoX, with the half that
 *   it runs put right (conditional); other numbers of steps take its counts as fractions;
 * - "aggressive" (faster_cache): "diffusers-docs" with attention extrapolated on steps that
 *   run both halves too: the fastest, the furthest from the uncached video, and half again the
 *   bytes;
 * - "lite", "attention-and-feed-forward" (taylor_seer): the model's output is predicted, or
 *   those of both modules of each block;
 * - "calibrate" (mag_cache): a run that computes everything and measures the ratios that
 *   "mag_ratios" must be set to in others, for cvx_cache_stats_json's "measured";
 * - "authors", "cogvideox-1.5-5b-i2v" (tea_cache): with the coefficients that were fitted for the
 *   model's family, or for that model;
 * - "diffusers-docs", "official" (cfg_cache): as for faster_cache;
 * - "empty" (schedule): no steps yet, which must be set.
 *
 * docs/caching-techniques.md has the fields without setters of their own, which
 * cvx_cache_config_set_field sets. On success *out_config is a new config, owned by the caller,
 * freed with cvx_cache_config_free; its fields can be changed further.
 *
 * Errors: INVALID_ARGUMENT for any other name, naming those there are. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_new(const char *technique,
                                       const char *preset_or_null,
                                       struct cvx_cache_config **out_config);

/**
 * Frees a config. Pipelines that it was enabled for are not affected. NULL is allowed and
 * does nothing.
 *
 * Since 0.1.
 */
void cvx_cache_config_free(struct cvx_cache_config *config);

/**
 * The most bytes that a run may keep between steps. Layers are given room in their order;
 * those that do not fit are computed on every step, and the statistics say which
 * (cvx_cache_stats_layer_over_budget). 0 (default): no limit.
 *
 * Errors: NULL_ARGUMENT. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_set_max_cache_bytes(struct cvx_cache_config *config,
                                                       uint64_t bytes);

/**
 * The type in which kept outputs are: "f32", "f16", "bf16", "fp8" (float8 e4m3 with an f32 scale for
 * each token), or "auto" (default), which is what the pipeline computes in. On the CPU, which
 * computes in f32, "f16" or "bf16" halves the bytes for a small loss; f16 ends at 65504, bf16
 * keeps f32's range. "fp8" takes about half of what those take; docs/memory.md has what it
 * costs. What the unconditional half is rebuilt from is small and always f32.
 *
 * Errors: INVALID_ARGUMENT for any other text. A technique that keeps its outputs its own way
 * (TaylorSeer, CFG-Cache alone) is refused together with "fp8" when it is enabled or previewed.
 * Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_set_cache_dtype(struct cvx_cache_config *config,
                                                   const char *dtype);

/**
 * Where kept outputs are: "device" (default), where the model computes, or "host", in host memory. A
 * CUDA device copies them there and back by itself (pinned memory, which can't be swapped out), beside
 * what it computes: nothing waits, and where the technique knows which layer reads next (Pyramid
 * Attention Broadcast and FasterCache) its output is on its way while the layer before computes. The
 * video is the same to the last bit. On the device are then the outputs of a layer or two, in place
 * of those of all layers. On the CPU, whose memory is the host's, nothing changes.
 * The statistics' host bytes are what is there.
 *
 * Errors: INVALID_ARGUMENT for any other text. A technique that keeps its outputs its own way
 * (TaylorSeer, CFG-Cache alone) is refused together with "host" when it is enabled or previewed.
 * Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_set_cache_location(struct cvx_cache_config *config,
                                                      const char *location);

/**
 * What a run would compute and reuse with this config, told without a model by the code that
 * decides during a run: for num_layers attention layers (1 to 1000), num_inference_steps steps
 * (1 to 100000) with the timesteps of the published CogVideoX models (1000, trailing), and
 * guided 1 or 0 for guidance on or off. cvx_pipeline_preview_cache tells it for a pipeline,
 * with bytes. Callbacks are not called; a current timestep callback counts as if it answered
 * the pipeline's own timestep.
 *
 * On success *out_stats is read like the statistics of a run, printed with
 * cvx_cache_stats_text, owned by the caller and freed with cvx_cache_stats_free.
 *
 * Errors: INVALID_ARGUMENT, also for identifiers that match no layer. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_preview(const struct cvx_cache_config *config,
                                           int32_t num_layers,
                                           int32_t num_inference_steps,
                                           int32_t guided,
                                           struct cvx_cache_stats **out_stats);

/**
 * Attention is computed on every n-th step of the run, counted from its first, and outside its
 * window, and reused on the others; 1 reuses nothing. faster_cache extrapolates it only on steps
 * whose unconditional half is rebuilt, unless reuse_attention_on_full_guidance_steps. CogVideoX'
 * attention is what diffusers calls spatial. Defaults: pab 2 (where none of the three skip ranges
 * is set), faster_cache 2.
 *
 * Errors: INVALID_ARGUMENT if n is not positive, or for a technique without the field.
 * Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_set_spatial_attention_block_skip_range(struct cvx_cache_config *config,
                                                                          int32_t n);

/**
 * The same for temporal attention, which CogVideoX has none of: it selects a layer only if
 * temporal identifiers of the host's own match one that the spatial identifiers do not.
 * Otherwise it is accepted, and the log says that it selects nothing. Default: unset.
 *
 * Errors: INVALID_ARGUMENT if n is not positive, or for a technique without the field.
 * Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_set_temporal_attention_block_skip_range(struct cvx_cache_config *config,
                                                                           int32_t n);

/**
 * The same for cross-attention, which CogVideoX has none of: accepted, and the log says that
 * it selects nothing. Field of pab. Default: unset. Setting it, or the temporal one, alone
 * leaves spatial attention computed on every step, as in diffusers.
 *
 * Errors: INVALID_ARGUMENT if n is not positive, or for a technique without the field.
 * Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_set_cross_attention_block_skip_range(struct cvx_cache_config *config,
                                                                        int32_t n);

/**
 * Attention may be reused while low < timestep < high, both strictly. Timesteps fall from 999
 * to 0 in the course of a run. Defaults: pab (100, 800), faster_cache (-1, 681).
 *
 * Errors: INVALID_ARGUMENT if no whole timestep lies strictly between low and high, or for a
 * technique without the field. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_set_spatial_attention_timestep_skip_range(struct cvx_cache_config *config,
                                                                             int32_t low,
                                                                             int32_t high);

/**
 * The same for temporal attention; see
 * cvx_cache_config_set_temporal_attention_block_skip_range. Defaults as for spatial attention.
 *
 * Errors: INVALID_ARGUMENT if no whole timestep lies strictly between low and high, or for a
 * technique without the field. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_set_temporal_attention_timestep_skip_range(struct cvx_cache_config *config,
                                                                              int32_t low,
                                                                              int32_t high);

/**
 * The same for cross-attention; see cvx_cache_config_set_cross_attention_block_skip_range.
 * Field of pab. Default: (100, 800).
 *
 * Errors: INVALID_ARGUMENT if no whole timestep lies strictly between low and high, or for a
 * technique without the field. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_set_cross_attention_timestep_skip_range(struct cvx_cache_config *config,
                                                                           int32_t low,
                                                                           int32_t high);

/**
 * Which layers are cached: those whose name in the checkpoint, such as
 * "transformer_blocks.0.attn1", one of these regular expressions is found in (Python's
 * re.search). They replace the defaults, which match all layers: pab "blocks",
 * "transformer_blocks", "single_transformer_blocks", "layers", "visual_transformer_blocks";
 * faster_cache "^blocks.*attn", "^transformer_blocks.*attn",
 * "^single_transformer_blocks.*attn". The strings are copied. Identifiers that match no layer
 * are an error of cvx_pipeline_enable_cache.
 *
 * Errors: INVALID_ARGUMENT naming an identifier that is no regular expression, or for a
 * technique without the field; NULL_ARGUMENT, INVALID_UTF8. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_set_spatial_attention_block_identifiers(struct cvx_cache_config *config,
                                                                           const char *const *identifiers,
                                                                           size_t count);

/**
 * The same for temporal attention. Defaults: pab "temporal_transformer_blocks", faster_cache
 * "^temporal_transformer_blocks.*attn", which match no layer of CogVideoX.
 *
 * Errors: INVALID_ARGUMENT naming an identifier that is no regular expression, or for a
 * technique without the field; NULL_ARGUMENT, INVALID_UTF8. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_set_temporal_attention_block_identifiers(struct cvx_cache_config *config,
                                                                            const char *const *identifiers,
                                                                            size_t count);

/**
 * The same for cross-attention, which no layer of CogVideoX is whatever its name. Field of
 * pab. Default: "blocks", "transformer_blocks", "layers".
 *
 * Errors: INVALID_ARGUMENT naming an identifier that is no regular expression, or for a
 * technique without the field; NULL_ARGUMENT, INVALID_UTF8. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_set_cross_attention_block_identifiers(struct cvx_cache_config *config,
                                                                         const char *const *identifiers,
                                                                         size_t count);

/**
 * Inside its window, the unconditional half of the guidance batch runs on every n-th step of the
 * run, counted from its first, and is rebuilt from the conditional half on the others; 1 rebuilds
 * nothing. Field of faster_cache. Default: 5.
 *
 * Errors: INVALID_ARGUMENT if n is not positive, or for a technique without the field.
 * Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_set_unconditional_batch_skip_range(struct cvx_cache_config *config,
                                                                      int32_t n);

/**
 * The unconditional half may be skipped while low < timestep < high. Field of faster_cache.
 * Default: (-1, 641).
 *
 * Errors: INVALID_ARGUMENT if no whole timestep lies strictly between low and high, or for a
 * technique without the field. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_set_unconditional_batch_timestep_skip_range(struct cvx_cache_config *config,
                                                                               int32_t low,
                                                                               int32_t high);

/**
 * While low < timestep < high, each rebuilt step multiplies what the unconditional half has of
 * low frequencies by alpha_low_frequency. Field of faster_cache; not used with a low frequency
 * weight callback. Default: (99, 901).
 *
 * Errors: INVALID_ARGUMENT if no whole timestep lies strictly between low and high, or for a
 * technique without the field. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_set_low_frequency_weight_update_timestep_range(struct cvx_cache_config *config,
                                                                                  int32_t low,
                                                                                  int32_t high);

/**
 * The same for high frequencies and alpha_high_frequency. Field of faster_cache; not used with
 * a high frequency weight callback. Default: (-1, 301).
 *
 * Errors: INVALID_ARGUMENT if no whole timestep lies strictly between low and high, or for a
 * technique without the field. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_set_high_frequency_weight_update_timestep_range(struct cvx_cache_config *config,
                                                                                   int32_t low,
                                                                                   int32_t high);

/**
 * The gain of low frequencies on each rebuilt step inside its window; gains multiply from one
 * full step to the next. Field of faster_cache. Default: 1.1.
 *
 * Errors: INVALID_ARGUMENT if alpha is not finite in float32, or for a technique without the field.
 * Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_set_alpha_low_frequency(struct cvx_cache_config *config,
                                                           double alpha);

/**
 * The gain of high frequencies on each rebuilt step inside its window. Field of faster_cache.
 * Default: 1.1.
 *
 * Errors: INVALID_ARGUMENT if alpha is not finite in float32, or for a technique without the field.
 * Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_set_alpha_high_frequency(struct cvx_cache_config *config,
                                                            double alpha);

/**
 * The order of dimensions that diffusers is told: "BCFHW", "BFCHW" or "BCHW". All three give
 * the same video here and in diffusers: frequencies are split frame by frame and channel by
 * channel, over height and width alone. Field of faster_cache. Default: "BCFHW".
 *
 * Errors: INVALID_ARGUMENT for any other text, or for a technique without the field.
 * Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_set_tensor_format(struct cvx_cache_config *config,
                                                     const char *format);

/**
 * Whether guidance was distilled into the model: then no unconditional half is skipped, and
 * attention is extrapolated for the whole batch. Without guidance (guidance_scale <= 1) this
 * is so whatever is set here. Field of faster_cache. Default: 0.
 *
 * Errors: INVALID_ARGUMENT unless distilled is 0 or 1, or for a technique without the field.
 * Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_set_is_guidance_distilled(struct cvx_cache_config *config,
                                                             int32_t distilled);

/**
 * The weight of the extrapolation, newer + (newer - older) * weight, where no attention weight
 * callback is set: 0 repeats the last output. Field of faster_cache, and not one of diffusers,
 * where only a callback can change it. Default: 0.5.
 *
 * Errors: INVALID_ARGUMENT if weight is not finite in float32, or for a technique without the field.
 * Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_set_attention_weight(struct cvx_cache_config *config,
                                                        double weight);

/**
 * Whether attention is extrapolated also on steps that run both halves: the unconditional half is
 * then the conditional one plus what it was more on the last step that computed both, which takes
 * half again the bytes. Field of faster_cache, and not one of diffusers. Default: 0; 1 in the
 * preset "aggressive".
 *
 * Errors: INVALID_ARGUMENT unless reuse is 0 or 1, or for a technique without the field.
 * Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_set_reuse_attention_on_full_guidance_steps(struct cvx_cache_config *config,
                                                                              int32_t reuse);

/**
 * Sets any field of the config's technique by its name, the same as in the setters and in
 * cvx_cache_stats_json's "settings", to a value written as JSON: 2, 0.3, true, "BCFHW",
 * [100, 800] for a timestep range, ["^transformer_blocks"] for identifiers; null unsets a field
 * that is unset by default. Callbacks have setters of their own. "cache_dtype", "cache_location" and
 * "max_cache_bytes" are fields of every technique.
 *
 * Errors: INVALID_ARGUMENT for a field that the technique does not have, text that is not JSON,
 * or a value that the field can't take; nothing is changed then. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_set_field(struct cvx_cache_config *config,
                                             const char *field,
                                             const char *value_json);

/**
 * A config from JSON, as cvx_cache_config_to_json writes it: one object with "technique" (as for
 * cvx_cache_config_new), optionally "preset", the technique's fields, "max_cache_bytes",
 * "cache_dtype" and "cache_location". Fields that are left out have the preset's values. On success *out_config is a
 * new config, owned by the caller, freed with cvx_cache_config_free.
 *
 * Errors: INVALID_ARGUMENT, naming the field at fault, what it expects and what was found.
 * Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_from_json(const char *json,
                                             struct cvx_cache_config **out_config);

/**
 * The whole config as JSON, technique and every field, for a file that a host keeps or ships
 * beside its model; cvx_cache_config_from_json reads it. On success *out_json is a text that
 * belongs to the config, until this is called again for it or the config is freed.
 *
 * Errors: INVALID_ARGUMENT if a callback is set, which a text can't hold. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_to_json(struct cvx_cache_config *config,
                                           const char **out_json);

/**
 * Asks the host for the current timestep instead of taking the pipeline's own. NULL (default)
 * takes the pipeline's own. With a callback the future of a run is not known, so outputs are
 * kept longer; see cvx_cache_stats_bytes_peak.
 *
 * Takes over user_data in any case, see cvx_free_callback; the config, pipelines that it is
 * enabled for and runs under way keep it. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_set_current_timestep_callback(struct cvx_cache_config *config,
                                                                 cvx_timestep_callback callback,
                                                                 void *user_data,
                                                                 cvx_free_callback free_user_data);

/**
 * Asks the host for the weight of attention's extrapolation. NULL (default) takes
 * attention_weight, 0.5 in diffusers. Field of faster_cache.
 *
 * Takes over user_data in any case, see cvx_free_callback; the config, pipelines that it is
 * enabled for and runs under way keep it.
 *
 * Errors: INVALID_ARGUMENT for a technique without the field. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_set_attention_weight_callback(struct cvx_cache_config *config,
                                                                 cvx_attention_weight_callback callback,
                                                                 void *user_data,
                                                                 cvx_free_callback free_user_data);

/**
 * Asks the host for the gain of low frequencies. NULL (default) takes alpha_low_frequency
 * inside its window and 1 outside. Field of faster_cache.
 *
 * Takes over user_data in any case, see cvx_free_callback; the config, pipelines that it is
 * enabled for and runs under way keep it.
 *
 * Errors: INVALID_ARGUMENT for a technique without the field. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_set_low_frequency_weight_callback(struct cvx_cache_config *config,
                                                                     cvx_frequency_weight_callback callback,
                                                                     void *user_data,
                                                                     cvx_free_callback free_user_data);

/**
 * Asks the host for the gain of high frequencies. NULL (default) takes alpha_high_frequency
 * inside its window and 1 outside. Field of faster_cache.
 *
 * Takes over user_data in any case, see cvx_free_callback; the config, pipelines that it is
 * enabled for and runs under way keep it.
 *
 * Errors: INVALID_ARGUMENT for a technique without the field. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_cache_config_set_high_frequency_weight_callback(struct cvx_cache_config *config,
                                                                      cvx_frequency_weight_callback callback,
                                                                      void *user_data,
                                                                      cvx_free_callback free_user_data);

/**
 * Caches the next runs of this pipeline with config, instead of what was enabled before.
 * Clones are not affected. What a run keeps dies with the run, however it ends, so nothing of
 * one run reaches another. The config is copied; its callbacks' user_data is kept until the
 * last config, pipeline or run that has it is gone.
 *
 * Errors: NULL_ARGUMENT; INVALID_ARGUMENT for identifiers that match no layer, naming them and
 * what layers are called; BUSY while the pipeline generates. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_pipeline_enable_cache(struct cvx_pipeline *pipeline,
                                            const struct cvx_cache_config *config);

/**
 * Computes everything from the next run on, exactly as if no cache had been enabled. Allowed
 * also where none is.
 *
 * Errors: NULL_ARGUMENT, BUSY while the pipeline generates. Since 0.1.
 */
CVX_MUST_USE struct cvx_error *cvx_pipeline_disable_cache(struct cvx_pipeline *pipeline);

/**
 * The statistics of this pipeline's last run, however it ended, or of the run under way: for
 * each step and layer whether attention was computed, whether the unconditional half ran,
 * bytes kept, and the speed-up that the counts predict. Runs without a cache have them too.
 * On success *out_stats is owned by the caller, freed with cvx_cache_stats_free.
 *
 * Errors: NULL_ARGUMENT; INVALID_ARGUMENT before the first run. Threads: any, also while the
 * pipeline generates. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_pipeline_cache_stats(const struct cvx_pipeline *pipeline,
                                           struct cvx_cache_stats **out_stats);

/**
 * What a run of this pipeline would compute and reuse with config, told without running it by
 * the code that decides during a run: for the pipeline's layers and timesteps, and the size,
 * steps and guidance of the options; NULL for every default. It says the bytes too, what
 * max_cache_bytes leaves out, and the predicted speed-up, with the attention share that the
 * pipeline's last run measured. Callbacks are not called; a current timestep callback counts
 * as if it answered the pipeline's own timestep. On success *out_stats is owned by the
 * caller, freed with cvx_cache_stats_free.
 *
 * Errors: NULL_ARGUMENT; INVALID_ARGUMENT as for cvx_pipeline_enable_cache and for options
 * that the pipeline cannot run. Threads: any, also while the pipeline generates. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_pipeline_preview_cache(const struct cvx_pipeline *pipeline,
                                             const struct cvx_cache_config *config,
                                             const struct cvx_generate_options *options_or_null,
                                             struct cvx_cache_stats **out_stats);

/**
 * Makes the cheapest cache schedule it finds for this pipeline whose videos have a median PSNR of
 * at least min_psnr decibels (from 10 to 90) against the uncached ones: 40 is hard to tell from
 * the uncached video, 30 is near it. runs are count options (1 to CVX_MAX_TUNE_RUNS), each with a
 * prompt and a seed of its own, and all of the size, steps and guidance that the schedule is for; a
 * few different prompts make a schedule that holds for others. Where frames go does not matter
 * here.
 *
 * The pipeline is calibrated with the runs as by cvx_pipeline_calibrate, a solver (after LeMiCa,
 * arXiv 2511.00090) proposes which steps run both halves of the guidance batch, which the
 * conditional one, which neither, and in which attention or blocks are left out, and at most 16
 * proposals are run to see how good they are: at most 49 x count runs. The progress callback of
 * the first options is called with CVX_STAGE_TUNE, and its cancel token stops all of it.
 *
 * On success *out_config is a new config of the technique "schedule", owned by the caller, freed
 * with cvx_cache_config_free: for cvx_pipeline_enable_cache, or cvx_cache_config_to_json to keep
 * it. It belongs to this model, scheduler, number of steps and guidance. The pipeline's own cache
 * stays as it was; its statistics are those of the last run that was made.
 *
 * Errors: NULL_ARGUMENT; INVALID_ARGUMENT for numbers out of range, runs of different numbers of
 * steps, or if no schedule reaches min_psnr, naming the best; BUSY, CANCELLED, and those of
 * cvx_pipeline_generate. Threads: as cvx_pipeline_generate. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_pipeline_tune_cache(struct cvx_pipeline *pipeline,
                                          const struct cvx_generate_options *const *runs,
                                          size_t count,
                                          double min_psnr,
                                          struct cvx_cache_config **out_config);

/**
 * Calibrates a pipeline with count runs (1 to CVX_MAX_TUNE_RUNS), each with a prompt and a seed of
 * its own, and all of one size, number of steps and guidance: those that estimates are wanted for.
 * Each is made once without a cache, 16 times with one step left out, and 8 times each with one
 * step's attention and one step's blocks left out: at most 33 x count runs. The progress callback of
 * the first options is called with CVX_STAGE_TUNE, and its cancel token stops all of it.
 *
 * On success *out_calibration is owned by the caller, freed with cvx_calibration_free. The
 * pipeline's own cache stays as it was; its statistics are those of the last run that was made.
 *
 * Errors: NULL_ARGUMENT; INVALID_ARGUMENT for a count out of range, and for runs of less than 2
 * or of different numbers of steps, or with and without guidance; BUSY, CANCELLED, and those of
 * cvx_pipeline_generate. Threads: as cvx_pipeline_generate. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_pipeline_calibrate(struct cvx_pipeline *pipeline,
                                         const struct cvx_generate_options *const *runs,
                                         size_t count,
                                         struct cvx_calibration **out_calibration);

/**
 * A calibration from JSON that cvx_calibration_json wrote. On success *out_calibration is owned by
 * the caller, freed with cvx_calibration_free.
 *
 * Errors: NULL_ARGUMENT, INVALID_ARGUMENT naming what is wrong with the text. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_calibration_from_json(const char *json,
                                            struct cvx_calibration **out_calibration);

/**
 * The calibration as one line of JSON, about 200 KB for 50 steps: for a file that a host keeps or
 * ships beside its model. It belongs to the calibration. "" for NULL.
 *
 * Since 0.1.
 */
const char *cvx_calibration_json(const struct cvx_calibration *calibration);

/**
 * Frees a calibration and its text. NULL is allowed and does nothing.
 *
 * Since 0.1.
 */
void cvx_calibration_free(struct cvx_calibration *calibration);

/**
 * cvx_pipeline_tune_cache with a calibration that is there already: for several bounds, or to check
 * schedules with other prompts than the calibration saw, whose median then decides. At most
 * 17 x count runs.
 *
 * Errors: those of cvx_pipeline_tune_cache, and INVALID_ARGUMENT for a calibration of another model,
 * number of steps or guidance. Threads: as there. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_pipeline_tune_calibrated_cache(struct cvx_pipeline *pipeline,
                                                     const struct cvx_calibration *calibration,
                                                     const struct cvx_generate_options *const *runs,
                                                     size_t count,
                                                     double min_psnr,
                                                     struct cvx_cache_config **out_config);

/**
 * cvx_pipeline_preview_cache with an estimate of the run: how long it takes
 * (cvx_cache_stats_estimated_seconds), and how like the uncached video its frames are
 * (cvx_cache_stats_estimated_psnr), beside the bytes that a preview tells exactly. Times are those
 * of the machine and the size that the calibration was made with; the PSNR is one that a typical
 * prompt has, from what one step alone changed, and may be several decibels off: docs/caching.md
 * shows by how much on the embedded model.
 *
 * Errors: those of cvx_pipeline_preview_cache, and INVALID_ARGUMENT for a calibration of another
 * model or number of steps, or with guidance for a run without. Threads: as there. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_pipeline_estimate_cache(const struct cvx_pipeline *pipeline,
                                              const struct cvx_cache_config *config,
                                              const struct cvx_generate_options *options_or_null,
                                              const struct cvx_calibration *calibration,
                                              struct cvx_cache_stats **out_stats);

/**
 * Plans a run from the configs of a pipeline folder alone: nothing is loaded, and weight files need
 * not be there. load_options say device and dtype ("cuda" need not be there either; a dtype "auto"
 * that the transformer's file would tell is bf16 where there is none), generate_options size,
 * frames, videos, steps, guidance and output, cache what is kept beside. NULL for any of them means
 * every default. budget_bytes is what the device, or the host where "cpu" computes, has for the
 * whole process; 0: no bound.
 *
 * The ways are "resident", "stream text encoder", "offload", "offload, stream text encoder", "stream"
 * and "offload, stream" (cvx_load_options_set_weight_streaming with "file", and
 * cvx_load_options_set_offload), each with frames decoded whole and in tiles. For each the plan has
 * the most bytes while the prompt is encoded, while latents are denoised and while frames are
 * decoded, weights included, and how long a run takes beside one with resident weights: by the work
 * there is and by round numbers for the speed of devices and of reading, so it is for comparing.
 * On CUDA the bytes are what libtorch's allocator counts, within a tenth (in
 * tiles up to three tenths less is taken); what CUDA itself and
 * cuDNN's workspaces take comes on top. On the CPU a phase takes between 0.5 and 1.5 times that.
 * Matrices are counted as cvx_load_options_set_component_quantization or the folder's configs have
 * them, with what one takes that is made dense for a product; a plan never quantizes by itself.
 * What a cache keeps is counted in its cache_dtype and where its cache_location puts it. On success
 * *out_plan is owned by the caller.
 *
 * Errors: NULL_ARGUMENT; those of cvx_pipeline_load for the folder's configs; INVALID_ARGUMENT for
 * options that the model can't run. Threads: any. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_plan_new(const char *folder,
                               const struct cvx_load_options *load_options_or_null,
                               const struct cvx_generate_options *generate_options_or_null,
                               const struct cvx_cache_config *cache_or_null,
                               uint64_t budget_bytes,
                               struct cvx_plan **out_plan);

/**
 * Frees a plan. NULL is allowed and does nothing.
 *
 * Since 0.1.
 */
void cvx_plan_free(struct cvx_plan *plan);

/**
 * The plan as a table, a line for each way, in gigabytes of 1e9 bytes. It lives as long as the plan.
 * Empty for NULL.
 *
 * Threads: any. Since 0.1.
 */
const char *cvx_plan_text(const struct cvx_plan *plan);

/**
 * The plan as JSON: "device", "dtype", "budget_bytes" (null without), "weights" and "working" (bytes
 * of each network, and of each phase beside them), "choices", a list of objects with "mode",
 * "offload", "text_encoder" and "transformer" (their streaming), "tiles", "encode_bytes",
 * "denoise_bytes", "decode_bytes", "peak_bytes", "fits" and "relative_time"; and "best", the place
 * in that list of the fastest that fits, or null. It lives as long as the plan. Empty for NULL.
 *
 * Threads: any. Since 0.1.
 */
const char *cvx_plan_json(const struct cvx_plan *plan);

/**
 * Sets load options to the fastest way that fits: offloading, and the streaming of both networks.
 * Where that wants tiles, runs of the pipeline then decode in tiles if what is left of the plan's
 * budget is too little for whole frames.
 *
 * Errors: NULL_ARGUMENT; OUT_OF_MEMORY where none fits, with the least that would do; the options are
 * as before then. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_plan_apply(const struct cvx_plan *plan,
                                 struct cvx_load_options *load_options);

/**
 * Frees statistics and every text that they own. NULL is allowed and does nothing.
 *
 * Since 0.1.
 */
void cvx_cache_stats_free(struct cvx_cache_stats *stats);

/**
 * A table for people: a column for each step, a row for each group of layers that did the
 * same, whether the unconditional half ran, and below it counts, bytes and the predicted
 * speed-up. Several lines of ASCII, the last one ended too; "" for NULL.
 *
 * The text belongs to the statistics. Since 0.1.
 */
const char *cvx_cache_stats_text(const struct cvx_cache_stats *stats);

/**
 * The same for programs, as one JSON object: technique, settings, measured (what a calibration run
 * measured, by the fields that can be set to it; null for others), trace (for each step its
 * timestep, the unconditional half, and a string with a character for each layer: '#'
 * computed, '=' reused, '~' approximated, '-' skipped, '+' feed-forward
 * predicted, '^' predicted, '.' not reached), bytes, units, attention share,
 * predicted speed-up. "" for NULL.
 *
 * The text belongs to the statistics. Since 0.1.
 */
const char *cvx_cache_stats_json(const struct cvx_cache_stats *stats);

/**
 * The technique's name, "Pyramid Attention Broadcast" or "FasterCache"; "" where no cache was
 * enabled.
 *
 * The text belongs to the statistics. Since 0.1.
 */
const char *cvx_cache_stats_technique(const struct cvx_cache_stats *stats);

/**
 * How many steps the run has, also if it ended before the last.
 *
 * Since 0.1.
 */
int32_t cvx_cache_stats_total_steps(const struct cvx_cache_stats *stats);

/**
 * How many steps have begun: fewer than cvx_cache_stats_total_steps for a run that is under
 * way or ended early.
 *
 * Since 0.1.
 */
int32_t cvx_cache_stats_num_steps(const struct cvx_cache_stats *stats);

/**
 * How many attention layers there are.
 *
 * Since 0.1.
 */
int32_t cvx_cache_stats_num_layers(const struct cvx_cache_stats *stats);

/**
 * The name of a layer, from 0, such as "transformer_blocks.0.attn1"; NULL if there is none.
 *
 * The text belongs to the statistics. Since 0.1.
 */
const char *cvx_cache_stats_layer_name(const struct cvx_cache_stats *stats, int32_t layer);

/**
 * The pipeline's timestep of a step, from 0; -1 for a step that has not begun.
 *
 * Since 0.1.
 */
int64_t cvx_cache_stats_timestep(const struct cvx_cache_stats *stats, int32_t step);

/**
 * What a layer was in a step, both from 0: one of CVX_LAYER_*.
 *
 * Since 0.1.
 */
int32_t cvx_cache_stats_layer_state(const struct cvx_cache_stats *stats,
                                    int32_t step,
                                    int32_t layer);

/**
 * How often a layer, from 0, was in a state, one of CVX_LAYER_COMPUTED, _REUSED and
 * _APPROXIMATED; with -1, how often all layers together were.
 *
 * Since 0.1.
 */
int32_t cvx_cache_stats_layer_count(const struct cvx_cache_stats *stats,
                                    int32_t layer,
                                    int32_t state);

/**
 * What became of the unconditional half of the guidance batch in a step, from 0: one of
 * CVX_UNCONDITIONAL_*.
 *
 * Since 0.1.
 */
int32_t cvx_cache_stats_unconditional(const struct cvx_cache_stats *stats, int32_t step);

/**
 * 1 for a layer, from 0, that was to be cached and computed on every step instead, because
 * max_cache_bytes had no room for it; else 0.
 *
 * Since 0.1.
 */
int32_t cvx_cache_stats_layer_over_budget(const struct cvx_cache_stats *stats, int32_t layer);

/**
 * Bytes of tensors kept when the statistics were taken; 0 once the run is over.
 *
 * Since 0.1.
 */
uint64_t cvx_cache_stats_bytes_now(const struct cvx_cache_stats *stats);

/**
 * The most bytes of tensors kept at any time of the run; of a preview, the most that will be,
 * and 0 where the sizes are not known.
 *
 * Since 0.1.
 */
uint64_t cvx_cache_stats_bytes_peak(const struct cvx_cache_stats *stats);

/**
 * Of cvx_cache_stats_bytes_now the bytes that cvx_cache_config_set_cache_location has put into host
 * memory; the others are on the device.
 *
 * Since 0.1.
 */
uint64_t cvx_cache_stats_host_bytes_now(const struct cvx_cache_stats *stats);

/**
 * The most of those at any time of the run; 0 of a preview, which tells all bytes together
 * (cvx_cache_stats_bytes_peak).
 *
 * Since 0.1.
 */
uint64_t cvx_cache_stats_host_bytes_peak(const struct cvx_cache_stats *stats);

/**
 * How many devices or processes computed the run together; 1 for a run on one, and a preview; 0 for
 * NULL.
 *
 * Since 0.1.
 */
int32_t cvx_cache_stats_num_ranks(const struct cvx_cache_stats *stats);

/**
 * Among how many of them the halves of the guidance were shared: 2, or 1 for each computed both; 0
 * for NULL.
 *
 * Since 0.1.
 */
int32_t cvx_cache_stats_guidance_degree(const struct cvx_cache_stats *stats);

/**
 * Among how many of them a sequence was shared; 0 for NULL.
 *
 * Since 0.1.
 */
int32_t cvx_cache_stats_sequence_degree(const struct cvx_cache_stats *stats);

/**
 * The bytes that they sent to each other in denoising, all together; of a run that goes on or
 * failed, 0 or those of the first one. Attention that is reused exchanges nothing.
 *
 * Since 0.1.
 */
uint64_t cvx_cache_stats_bytes_exchanged(const struct cvx_cache_stats *stats);

/**
 * In how many messages from one to another those bytes were sent.
 *
 * Since 0.1.
 */
uint64_t cvx_cache_stats_messages_exchanged(const struct cvx_cache_stats *stats);

/**
 * The units that were computed of attention, averaged over the layers. A unit is one half of
 * the guidance batch in one step: 50 steps with guidance have 100, see
 * cvx_cache_stats_total_units.
 *
 * Since 0.1.
 */
double cvx_cache_stats_attention_units(const struct cvx_cache_stats *stats);

/**
 * The units that were computed of everything but attention.
 *
 * Since 0.1.
 */
double cvx_cache_stats_rest_units(const struct cvx_cache_stats *stats);

/**
 * The units that a run without a cache would have computed in the same steps.
 *
 * Since 0.1.
 */
double cvx_cache_stats_total_units(const struct cvx_cache_stats *stats);

/**
 * Attention's part of the time of a step in which everything is computed, between 0 and 1;
 * 0 where it is not known. out_is_measured_or_null is given 1 if it was timed in such steps of
 * the run, 0 if it was estimated by counting multiplications.
 *
 * Since 0.1.
 */
double cvx_cache_stats_attention_share(const struct cvx_cache_stats *stats,
                                       int32_t *out_is_measured_or_null);

/**
 * How many times as fast as without a cache the steps are, by the cost model
 * total / (share * attention + (1 - share) * rest) of the units above and the attention share;
 * 0 where the share is not known.
 *
 * Since 0.1.
 */
double cvx_cache_stats_predicted_speed_up(const struct cvx_cache_stats *stats);

/**
 * How many seconds the run is expected to take from the prompt to the frames, where
 * cvx_pipeline_estimate_cache made these statistics; else 0.
 *
 * Since 0.1.
 */
double cvx_cache_stats_estimated_seconds(const struct cvx_cache_stats *stats);

/**
 * The PSNR in decibels against the uncached video that is expected of the run's, where
 * cvx_pipeline_estimate_cache made these statistics: infinite where nothing is left out, 0 where
 * what the run computes decides, and in all other statistics.
 *
 * Since 0.1.
 */
double cvx_cache_stats_estimated_psnr(const struct cvx_cache_stats *stats);

/**
 * Writes one .png picture to compare videos by eye: a row for each of the count videos (the
 * first video of each), with columns frames of it, evenly spaced from its first to its last.
 * The videos must have one size; small ones are enlarged. path is UTF-8 and ends in .png. As
 * with cvx_video_save, a failure leaves no half-written file.
 *
 * Errors: NULL_ARGUMENT, INVALID_UTF8, INVALID_ARGUMENT (no videos, sizes that differ, no
 * frames, a sheet of more than 32768 pixels a side, ending), NOT_FOUND (the parent folder),
 * IO. Threads: any. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_video_save_contact_sheet(const struct cvx_video *const *videos,
                                               size_t count,
                                               int32_t columns,
                                               const char *path);

/**
 * How many videos the run made: what num_videos was. 0 for NULL.
 *
 * Threads: any. Since 0.1.
 */
int32_t cvx_video_count(const struct cvx_video *video);

/**
 * Frames of each video; 0 if the run ended with latents, and for NULL.
 *
 * Threads: any. Since 0.1.
 */
int32_t cvx_video_num_frames(const struct cvx_video *video);

/**
 * Width in pixels; 0 if the run ended with latents, and for NULL.
 *
 * Threads: any. Since 0.1.
 */
int32_t cvx_video_width(const struct cvx_video *video);

/**
 * Height in pixels; 0 if the run ended with latents, and for NULL.
 *
 * Threads: any. Since 0.1.
 */
int32_t cvx_video_height(const struct cvx_video *video);

/**
 * What computed the video, as one line of text such as "libtorch 2.11.0 on the CPU for AVX512, with
 * oneDNN, 2 threads": the release of libtorch; on the CPU the instruction set that its kernels are
 * for, whether oneDNN computed what it computes where it can be used, and the number of threads, then
 * ", products by oneDNN" where it made the matrix products, too, with " in bfloat16" or " in int8" if
 * in that; on CUDA the device. Where two runs of the same options, weights and release of this library have
 * the same text, on the CPU their bytes are the same. An empty text for NULL. The text belongs to
 * the video and lives until cvx_video_free.
 *
 * Threads: any. Since 0.1.
 */
const char *cvx_video_kernels(const struct cvx_video *video);

/**
 * The frames of one video as bytes R, G, B, from 0 to 255. index counts from 0 to
 * cvx_video_count less 1.
 *
 * Row y of frame f starts at data + (f * height + y) * stride, with stride in bytes; frames
 * follow each other without a gap. out_stride_or_null may be NULL. The memory belongs to the
 * video and lives until cvx_video_free.
 *
 * Errors: NULL_ARGUMENT, INVALID_ARGUMENT (no such video, no frames), OUT_OF_MEMORY.
 * Threads: any. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_video_frames_rgb8(const struct cvx_video *video,
                                        int32_t index,
                                        const uint8_t **out_data,
                                        size_t *out_stride_or_null);

/**
 * The frames of one video as bytes R, G, B, A, from 0 to 255, with A 255 throughout. Layout,
 * ownership, errors and threads as for cvx_video_frames_rgb8.
 *
 * Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_video_frames_rgba8(const struct cvx_video *video,
                                         int32_t index,
                                         const uint8_t **out_data,
                                         size_t *out_stride_or_null);

/**
 * The frames of one video as numbers R, G, B, from 0 to 1. Layout (stride in bytes),
 * ownership, errors and threads as for cvx_video_frames_rgb8.
 *
 * Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_video_frames_f32(const struct cvx_video *video,
                                       int32_t index,
                                       const float **out_data,
                                       size_t *out_stride_or_null);

/**
 * The latents that the run ended with, of all its videos: out_shape receives 5 numbers,
 * (videos, latent frames, channels, latent height, latent width), and the numbers at data are
 * densely packed. In the 1.5 family the padding frames at the front are among them, as in
 * the reference. The memory belongs to the video and lives until cvx_video_free.
 *
 * Errors: NULL_ARGUMENT, OUT_OF_MEMORY. Threads: any. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_video_latents(const struct cvx_video *video,
                                    const float **out_data,
                                    int64_t *out_shape);

/**
 * Writes one video to a file; what it becomes follows from the path's ending, in upper or
 * lower case:
 *
 *   .mp4  H.264 in MP4, BT.709 limited range, for any player
 *   .gif  animated, endless
 *   .png  one file per frame: "name.png" becomes name_0000.png, name_0001.png, ...; a pattern
 *         such as "name-%04d.png" says itself where the number goes, and how many digits
 *
 * path is UTF-8. fps is frames per second, above 0 and up to 240 (see
 * cvx_pipeline_default_fps); a .gif counts in hundredths of a second and shows at most 50 per
 * second, and .png ignores it. A file that is there already is replaced. Each file is written
 * beside its place and then renamed into it, so that a failure leaves no half-written file;
 * a failed .png sequence leaves none of its files that were not there before.
 *
 * Errors: NULL_ARGUMENT, INVALID_UTF8, INVALID_ARGUMENT (ending, fps, index, no frames),
 * NOT_FOUND (the parent folder), IO (disk full, no permission). Threads: any. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_video_save(const struct cvx_video *video,
                                 int32_t index,
                                 const char *path,
                                 double fps);

/**
 * Whether cvx_video_save could write to path at fps, as far as that can be told before there
 * is a video: the ending, the pattern, fps, the parent folder. Worth asking before a long run.
 *
 * Errors: NULL_ARGUMENT, INVALID_UTF8, INVALID_ARGUMENT, NOT_FOUND. Threads: any. Since 0.1.
 */
CVX_MUST_USE struct cvx_error *cvx_video_check_path(const char *path, double fps);

/**
 * Frees a video and every pointer it handed out. NULL is allowed and does nothing.
 *
 * Threads: any, once, and not while another thread uses it. Since 0.1.
 */
void cvx_video_free(struct cvx_video *video);

/**
 * Encodes one video and hands its bytes to callback as they come: those that cvx_video_save
 * would write. format is "mp4" or "gif", in upper or lower case; index and fps are as there.
 *
 * Takes over user_data in any case, see cvx_free_callback; it is freed before the function
 * returns.
 *
 * Errors: NULL_ARGUMENT, INVALID_UTF8, INVALID_ARGUMENT (format, fps, index, no frames),
 * CANCELLED, CALLBACK_FAILED, OUT_OF_MEMORY. Threads: any. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_video_encode(const struct cvx_video *video,
                                   int32_t index,
                                   const char *format,
                                   double fps,
                                   cvx_write_callback callback,
                                   void *user_data,
                                   cvx_free_callback free_user_data);

/**
 * Encodes one video as cvx_video_encode does, into memory of the library. On success *out_buffer
 * is a new buffer, owned by the caller, freed with cvx_buffer_free.
 *
 * Errors: NULL_ARGUMENT, INVALID_UTF8, INVALID_ARGUMENT (format, fps, index, no frames),
 * OUT_OF_MEMORY. Threads: any. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_video_encode_buffer(const struct cvx_video *video,
                                          int32_t index,
                                          const char *format,
                                          double fps,
                                          struct cvx_buffer **out_buffer);

/**
 * The bytes; NULL for NULL. The memory belongs to the buffer and lives until cvx_buffer_free.
 *
 * Threads: any. Since 0.1.
 */
const uint8_t *cvx_buffer_data(const struct cvx_buffer *buffer);

/**
 * How many bytes; 0 for NULL.
 *
 * Threads: any. Since 0.1.
 */
size_t cvx_buffer_size(const struct cvx_buffer *buffer);

/**
 * Frees a buffer. NULL is allowed and does nothing.
 *
 * Since 0.1.
 */
void cvx_buffer_free(struct cvx_buffer *buffer);

/**
 * One video's frames for another library, as DLPack's DLManagedTensor (dlpack.h, which the
 * host includes itself): (frames, height, width, 3) of float32 from 0 to 1 for CVX_PIXELS_F32,
 * wherever they lie, see cvx_video_frames_device; (frames, height, width, 3 or 4) of uint8 in
 * host memory for CVX_PIXELS_RGB8 and CVX_PIXELS_RGBA8.
 *
 * The memory is the video's, not a copy: what the consumer writes to it, the video shows. It
 * lives as long as the tensor, also when the video is freed first. On success *out_tensor is
 * owned by the caller; whoever consumes it calls its deleter, once, on any thread, and not before
 * the device has done what it was given to do with the tensor. The frames are there: where the run
 * has not waited for them (see cvx_generate_options_set_stream) they are waited for, and nothing
 * else that the device does.
 *
 * Errors: NULL_ARGUMENT, INVALID_ARGUMENT (no such video, no frames, pixels), OUT_OF_MEMORY.
 * Threads: any. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_video_frames_dlpack(const struct cvx_video *video,
                                          int32_t index,
                                          int32_t pixels,
                                          struct DLManagedTensor **out_tensor);

/**
 * The latents of all videos of the run for another library, as DLPack's DLManagedTensor:
 * (videos, latent frames, channels, latent height, latent width) in the pipeline's dtype and
 * on its device; for cvx_pipeline_decode_latents, as they were given. Memory, ownership,
 * errors and threads as for cvx_video_frames_dlpack.
 *
 * Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_video_latents_dlpack(const struct cvx_video *video,
                                           struct DLManagedTensor **out_tensor);

/**
 * Where the frames lie that cvx_video_frames_dlpack with CVX_PIXELS_F32 and
 * cvx_video_device_frames hand out: "cpu", or a device such as "cuda:0" if the run was asked
 * for that, see cvx_generate_options_set_frames_on_device. "" if the video has no frames.
 * NULL for NULL.
 *
 * The text belongs to the video and lives until cvx_video_free. Threads: any. Since 0.1.
 */
const char *cvx_video_frames_device(const struct cvx_video *video);

/**
 * The frames of one video where they lie, see cvx_video_frames_device: float32 from 0 to 1,
 * (frames, height, width, 3) without gaps. *out_data is an address on that device and belongs
 * to the video, *out_size is the size in bytes. *out_stream_or_null is the stream that the
 * frames were made on: a cudaStream_t; NULL for CUDA's default stream and for the CPU. The
 * library has waited for that stream before it returned the video, so the frames may be
 * read on any stream; where the run was given a stream of the host's, the frames may be read
 * behind what that stream waits for, see cvx_generate_options_set_stream.
 *
 * The address is valid until cvx_video_free; work on the device that reads it must be done by
 * then.
 *
 * Errors: NULL_ARGUMENT, INVALID_ARGUMENT (no such video, no frames). Threads: any. Since 0.1.
 */
CVX_MUST_USE
struct cvx_error *cvx_video_device_frames(const struct cvx_video *video,
                                          int32_t index,
                                          const void **out_data,
                                          size_t *out_size,
                                          void **out_stream_or_null);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* COGVIDEOX_H */
