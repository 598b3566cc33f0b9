//! `cvx_load_options`.

use super::callbacks::{
    cvx_log_callback, cvx_progress_callback, log_fn, progress_fn, LogCallback, ProgressCallback,
};
use super::cancel_token::cvx_cancel_token;
use super::convert::{flag, optional_text, text, within};
use super::error::{cvx_error, Failure};
use super::handle::{self, borrow_mut, free, optional};
use super::limits::CVX_MAX_THREADS;
use super::panic::{fallible, infallible};
use super::user_data::{cvx_free_callback, Callback};
use crate::backend::{CudaKernels, MatmulPrecision, Quantization};
use crate::checkpoint::Streaming;
use crate::parallel::Degrees;
use crate::pipeline::{LoadOptions, Residency, MAX_RANKS};
use crate::runtime::{device, CancelToken, Control, DType};
use std::ffi::{c_char, c_void};
use std::mem::replace;
use std::sync::Arc;

/// How a pipeline is loaded. Made by cvx_load_options_new, freed by cvx_load_options_free.
/// One load_options may serve many loads, also at once from several threads as long as nobody
/// changes it meanwhile.
///
/// Since 0.1.
#[derive(Default)]
pub struct cvx_load_options {
    pub(super) options: LoadOptions,
    cancel: Option<CancelToken>,
    progress: Option<Arc<ProgressCallback>>,
    log: Option<Arc<LogCallback>>,
}

impl cvx_load_options {
    pub(super) fn control(&self) -> Control {
        Control {
            cancel: self.cancel.clone(),
            job_cancel: None,
            progress: self.progress.as_ref().map(progress_fn),
            log: self.log.as_ref().map(log_fn),
            ..Control::default()
        }
    }
}

/// Load options with every default. The caller owns them and frees them with
/// cvx_load_options_free. Never NULL.
///
/// Since 0.1.
#[no_mangle]
pub extern "C" fn cvx_load_options_new() -> *mut cvx_load_options {
    infallible(std::ptr::null_mut(), || handle::new(Default::default()))
}

/// Frees load options. Pipelines loaded with them are not affected. NULL is allowed and does
/// nothing.
///
/// Since 0.1.
#[no_mangle]
pub unsafe extern "C" fn cvx_load_options_free(options: *mut cvx_load_options) {
    infallible((), || {
        // SAFETY: NULL or options that `cvx_load_options_new` handed out, not freed yet.
        unsafe { free(options) }
    })
}

/// Where the pipeline computes: "cpu", "cuda", "cuda:N" with N from 0, or "auto" (default),
/// which is "cuda" where it works and else "cpu". Whether the device is there is found out by
/// cvx_pipeline_load.
///
/// Errors: INVALID_ARGUMENT for any other text. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_load_options_set_device(
    options: *mut cvx_load_options,
    device: *const c_char,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (options, device) =
            unsafe { (borrow_mut(options, "options")?, text(device, "device")?) };
        device::check_name(device)?;
        options.options.set_devices(None)?;
        options.options.device = device.into();
        Ok(())
    })
}

/// The devices that share each run, with commas between them: "cuda:0,cuda:1". Each has the
/// transformer and the VAE (one copy for a device that is named twice, as in "cpu,cpu", which is of
/// use to try it), the first one also the text encoder. They compute the video of one device, within
/// float32's rounding; caches work as on one. NULL, or one device: that alone. Replaces
/// cvx_load_options_set_device, as that replaces this.
///
/// A run is shared by guidance, by the sequence, or by both (cvx_load_options_set_parallel); in tiles
/// (cvx_generate_options_set_vae_tiling) they also share the VAE. Callbacks are called on the thread
/// that they are called on with one device, and only for the first one. A device that fails ends the
/// run on all of them with its own error. The first device is what cvx_pipeline_device tells.
///
/// Errors: INVALID_ARGUMENT for any name that cvx_load_options_set_device would refuse, and more
/// than 1024. cvx_pipeline_load fails with INVALID_ARGUMENT if the devices can't share the model, and
/// names the degrees that it allows. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_load_options_set_devices(
    options: *mut cvx_load_options,
    devices_or_null: *const c_char,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (options, devices) = unsafe {
            (borrow_mut(options, "options")?, optional_text(devices_or_null, "devices")?)
        };
        Ok(options.options.set_devices(devices)?)
    })
}

/// How devices, or processes, share a run: guidance × sequence must be their number. With guidance 2
/// half of them compute the conditional half of the guidance and half the unconditional one, and
/// exchange one output a step; with 1 each computes both. Those of one half share the sequence: each
/// has a part of the tokens, and in each attention that is computed they exchange tokens for heads
/// and back (Ulysses), so that sequence must divide the model's attention heads (30 of 2b: 1, 2, 3,
/// 5, 6, 10, 15, 30; 48 of 5b and 1.5: 1, 2, 3, 4, 6, 8, 12, 16, 24, 48). 0 (default) is chosen for
/// each run: guidance 2 where it fits, but not with a cache that leaves out the unconditional half of
/// some steps, in which half of the devices would wait. A run without guidance shares the sequence
/// among as many of them as divide the heads.
///
/// Errors: INVALID_ARGUMENT for a guidance other than 0, 1 and 2, and a sequence beyond 0 to 1024.
/// Whether they fit devices and model is found out by cvx_pipeline_load. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_load_options_set_parallel(
    options: *mut cvx_load_options,
    guidance: i32,
    sequence: i32,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let options = unsafe { borrow_mut(options, "options")? };
        let degree = |degree: i32| usize::try_from(degree).ok().filter(|degree| *degree > 0);
        let guidance = degree(within("guidance", guidance, 0..=2)?);
        let sequence = degree(within("sequence", sequence, 0..=MAX_RANKS as i32)?);
        options.options.degrees = Degrees { guidance, sequence };
        Ok(())
    })
}

/// The floating-point type of the computation: "f32", "f16", "bf16", or "auto" (default). The CPU
/// always computes in f32; where f16 or bf16 is asked for, the log says so. On CUDA "auto" is the
/// type of the transformer's file. Weights are converted while they are read.
///
/// Errors: INVALID_ARGUMENT for any other text. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_load_options_set_dtype(
    options: *mut cvx_load_options,
    dtype: *const c_char,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (options, dtype) = unsafe { (borrow_mut(options, "options")?, text(dtype, "dtype")?) };
        DType::parse(dtype)?;
        options.options.dtype = dtype.into();
        Ok(())
    })
}

/// Where one component computes: component is "text_encoder", "transformer" or "vae", device as for
/// cvx_load_options_set_device; NULL (default) is the pipeline's device. So a text encoder of 9 GB
/// stays on the CPU while the rest is on a GPU. Embeddings and latents are moved on the way. The
/// transformer's device is what cvx_pipeline_device tells, and where latents are.
///
/// Errors: INVALID_ARGUMENT for any other component or device. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_load_options_set_component_device(
    options: *mut cvx_load_options,
    component: *const c_char,
    device_or_null: *const c_char,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (options, component, device) = unsafe {
            (
                borrow_mut(options, "options")?,
                text(component, "component")?,
                optional_text(device_or_null, "device")?,
            )
        };
        device.map_or(Ok(()), device::check_name)?;
        options.options.placements.of(component)?.device = device.map(String::from);
        Ok(())
    })
}

/// What one component computes in: component as above, dtype as for cvx_load_options_set_dtype; NULL
/// (default) is the pipeline's dtype. Published folders have a VAE in float32 beside a transformer
/// in bfloat16, for instance; the CPU computes in float32 whatever is asked for.
///
/// Errors: INVALID_ARGUMENT for any other component or dtype. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_load_options_set_component_dtype(
    options: *mut cvx_load_options,
    component: *const c_char,
    dtype_or_null: *const c_char,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (options, component, dtype) = unsafe {
            (
                borrow_mut(options, "options")?,
                text(component, "component")?,
                optional_text(dtype_or_null, "dtype")?,
            )
        };
        dtype.map_or(Ok(()), |dtype| DType::parse(dtype).map(drop))?;
        options.options.placements.of(component)?.dtype = dtype.map(String::from);
        Ok(())
    })
}

/// With 1, each component is in memory only while it does its part of a run, and is read from its
/// files each time: the text encoder leaves before latents are denoised, the transformer before frames
/// are decoded, the VAE after that. The load reads no weights then. So a run takes the largest of the
/// three rather than all together, for the time that reading takes. Runs of clones at once share
/// what is in memory just then. Frames are decoded in tiles (cvx_generate_options_set_vae_tiling)
/// where whole ones do not fit into what is free, or did not, which is logged. It goes together with
/// cvx_load_options_set_weight_streaming; it wins over cvx_load_options_set_text_encoder_on_demand.
/// With 0 (default), components stay.
///
/// Errors: INVALID_ARGUMENT unless offload is 0 or 1. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_load_options_set_offload(
    options: *mut cvx_load_options,
    offload: i32,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let options = unsafe { borrow_mut(options, "options")? };
        options.options.residency = match (flag("offload", offload)?, options.options.residency) {
            (true, _) => Residency::OneAtATime,
            (false, Residency::OneAtATime) => Residency::All,
            (false, other) => other,
        };
        Ok(())
    })
}

/// What memory there is: cvx_pipeline_load plans a run of the model's own size (cvx_plan_new) and keeps
/// the weights in the fastest way that fits, in place of what the options say of offloading and
/// streaming; the log tells which. Frames are decoded in tiles where what is left of it is too
/// little for whole ones. bytes is meant for the whole process, on the transformer's device, or of host
/// memory on "cpu"; it is no limit that anything enforces (cvx_load_options_set_max_device_memory
/// is). A load for which no way fits is CVX_ERROR_OUT_OF_MEMORY with the least that would do. 0
/// (default): no budget.
///
/// Errors: none but NULL_ARGUMENT. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_load_options_set_memory_budget(
    options: *mut cvx_load_options,
    bytes: u64,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let options = unsafe { borrow_mut(options, "options")? };
        options.options.memory_budget = (bytes != 0).then_some(bytes);
        Ok(())
    })
}

/// How the matrices of one component's blocks are kept in memory: component is "text_encoder" or
/// "transformer"; quantization is "int8" (a byte an element and a scale for each output), "fp8" (float8
/// e4m3 and a scale for each output), "int4" (half a byte, and a scale for every 32 inputs), "fp8_compute" (stored as fp8, and
/// products are of float8 numbers: on CUDA devices of compute capability 8.9 or later alone; not run
/// on a card yet), or NULL
/// (default): in the component's dtype. They are quantized while they are read, so that the component
/// is never in memory whole. Embeddings, norms, biases and what lies before and after the blocks
/// stay as they are. Computed is in the component's dtype, on every device: each matrix is made
/// dense for the product with it. Videos differ, int8 least; docs/quantization.md has memory, time
/// and quality. LoRA adapters go on top; fused with such weights, the sum is quantized anew.
///
/// Errors: INVALID_ARGUMENT for any other component or quantization. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_load_options_set_component_quantization(
    options: *mut cvx_load_options,
    component: *const c_char,
    quantization_or_null: *const c_char,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (options, component, quantization) = unsafe {
            (
                borrow_mut(options, "options")?,
                text(component, "component")?,
                optional_text(quantization_or_null, "quantization")?,
            )
        };
        let place = options.options.quantizations.of_mut(component)?;
        *place = quantization.map(Quantization::parse).transpose()?;
        Ok(())
    })
}

/// In which numbers the matrix products of transformer and text encoder blocks are made where they
/// compute on the CPU: precision is "float32" (default), "bfloat16" or "int8". With bfloat16 both factors
/// of a product and its result are rounded to it and sums are made in float32. With int8 both factors
/// are rounded to 255 numbers about zero, as far apart as the largest of a token, or of an output of the
/// matrix, asks for, and sums are exact. Attention, norms and everything that is added up stay in
/// float32. Those matrices take half of their memory, or a quarter. Videos differ, with int8 more
/// than with bfloat16; docs/performance.md has how much, and the time. The processor must multiply
/// bfloat16 (AVX512_BF16) or int8 (AVX512_VNNI), as those with AMX do, too; the load is
/// INVALID_ARGUMENT with what is lacking where it does not. Nothing changes for components on CUDA
/// devices, for matrices of fewer than 16384 elements, and for those that are quantized. Told in the log.
///
/// Errors: INVALID_ARGUMENT for any other precision. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_load_options_set_cpu_matmul_precision(
    options: *mut cvx_load_options,
    precision: *const c_char,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (options, precision) =
            unsafe { (borrow_mut(options, "options")?, text(precision, "precision")?) };
        options.options.matmul_precision = MatmulPrecision::parse(precision)?;
        Ok(())
    })
}

/// What computes on CUDA devices between matrix products, attention and convolutions: "libtorch"
/// (default), its operators; or "fused", kernels of this library's own, which go through memory less
/// often: the norms of query and key with their rotary positions, the gate of a residual with the
/// norm and modulation after it, and the VAE's norms with their SiLU. They round once where libtorch's
/// operators round several times, so that videos differ in last bits. What they have no kernel for
/// (another layout or size) libtorch computes; so it does everything where the driver can't load
/// them, which the log says (compute capability 8.0 or later, a driver of release 570 or later). The
/// CPU takes no notice. cvx_video_kernels tells which it was. They have not run on a card yet:
/// docs/cuda.md.
///
/// Errors: INVALID_ARGUMENT for any other text. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_load_options_set_cuda_kernels(
    options: *mut cvx_load_options,
    kernels: *const c_char,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (options, kernels) =
            unsafe { (borrow_mut(options, "options")?, text(kernels, "kernels")?) };
        options.options.cuda_kernels = CudaKernels::parse(kernels)?;
        Ok(())
    })
}

/// How the weights of one component's blocks are kept, so that a model runs where it does not fit.
/// component is "text_encoder" or "transformer"; mode is one of
///
/// "resident"  all blocks lie where they compute, in the dtype that they compute in (default);
/// "file"      they stay in their files. While a block computes, the next one is read and converted
///             by a thread of the library: on the CPU into the memory of the block before, on a
///             CUDA device through host memory into that of the device. Weights are in memory twice
///             nowhere; the system's page cache may hold the files, and gives way to others;
/// "host"      they are read by the load and stay in host memory: on the CPU in the files' dtype, so
///             that bfloat16 takes half of what float32 does; for a CUDA device such that it
///             fetches them by itself while it computes (pinned memory, which can't be swapped
///             out).
///
/// Matrices that cvx_load_options_set_component_quantization asks for, and that the files do not have
/// so, are quantized once by the load and stay in host memory in mode "file" too, which the log says.
///
/// Two blocks of the component are in (device) memory then, and only during a run; what is
/// no block (embeddings, norms, projections) stays resident. Videos are the same to the last bit in
/// all modes, cached or not, with and without LoRA, and what a cache skips isn't read. Each clone that
/// generates reads for itself. cvx_pipeline_weight_bytes counts what stays in memory, on device or
/// host.
///
/// The files must not be written to while a pipeline streams from them: a run that finds it is
/// CVX_ERROR_INVALID_CHECKPOINT with the file's name, and the handle stays usable. They are held
/// open, one descriptor a file, so they may be removed, or replaced by files of the same name, which
/// a loaded pipeline does not see.
///
/// Errors: INVALID_ARGUMENT for any other component or mode. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_load_options_set_weight_streaming(
    options: *mut cvx_load_options,
    component: *const c_char,
    mode: *const c_char,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (options, component, mode) = unsafe {
            (borrow_mut(options, "options")?, text(component, "component")?, text(mode, "mode")?)
        };
        let mode = Streaming::parse(mode)?;
        *options.options.streaming.of(component)? = mode;
        Ok(())
    })
}

/// The file that the weights of one component are read from, in place of the folder's own, which then
/// need not be there: component is "text_encoder", "transformer" or "vae"; path_or_null is a
/// safetensors file with diffusers' or transformers' names, or a GGUF file (told by its first bytes):
/// a CogVideoX transformer with diffusers' names or those of the original (SAT) code, or a T5 encoder with llama.cpp's. Of GGUF the formats
/// F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K and Q6_K are read, and become the
/// numbers that they stand for, in the component's dtype: nothing is lost, and memory is that of
/// whole weights unless cvx_load_options_set_component_quantization says otherwise. NULL (default)
/// is the folder's own. Configs are always the folder's. Whether the file is there and fits is
/// found out by cvx_pipeline_load.
///
/// Errors: INVALID_ARGUMENT for any other component or an empty path. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_load_options_set_component_weights(
    options: *mut cvx_load_options,
    component: *const c_char,
    path_or_null: *const c_char,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (options, component, path) = unsafe {
            (
                borrow_mut(options, "options")?,
                text(component, "component")?,
                optional_text(path_or_null, "path")?,
            )
        };
        if path.is_some_and(str::is_empty) {
            return Err(Failure::invalid("path must not be empty"));
        }
        *options.options.weights.of_mut(component)? = path.map(Into::into);
        Ok(())
    })
}

/// Which variant of the weight files is read: "fp16" reads model.fp16.safetensors. Default:
/// NULL, the files without a variant.
///
/// Errors: INVALID_ARGUMENT unless it is 1 to 64 letters, digits, '-' or '_'. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_load_options_set_variant(
    options: *mut cvx_load_options,
    variant_or_null: *const c_char,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (options, variant) = unsafe {
            (
                borrow_mut(options, "options")?,
                super::convert::optional_text(variant_or_null, "variant")?,
            )
        };
        if let Some(variant) = variant {
            within("variant's length in bytes", variant.len(), 1..=64)?;
            // A variant is a part of a file name: it must not lead out of the folder.
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if !variant.chars().all(plain) {
                return Err(Failure::invalid(format!(
                    "variant must be letters, digits, '-' or '_', found {variant:?}"
                )));
            }
        }
        options.options.variant = variant.map(Into::into);
        Ok(())
    })
}

/// With 1, cvx_pipeline_load reads no weights: the text encoder is read when a prompt is
/// encoded and released right after, then the transformer and the VAE are read and stay. So
/// the text encoder of the first run is never in memory together with them, and the published
/// 5b folder runs on a 24 GB card; later runs with the same prompts need no text encoder (see
/// cvx_load_options_set_prompt_cache_size), and others read it again; runs with embeddings (see
/// cvx_generate_options_set_prompt_embeddings) never read it. The video is the same. With 0 (default), everything is read by
/// cvx_pipeline_load and stays.
///
/// Errors: INVALID_ARGUMENT unless on_demand is 0 or 1. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_load_options_set_text_encoder_on_demand(
    options: *mut cvx_load_options,
    on_demand: i32,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let options = unsafe { borrow_mut(options, "options")? };
        options.options.residency = match (flag("on_demand", on_demand)?, options.options.residency)
        {
            // It leaves no component more to release.
            (_, Residency::OneAtATime) => Residency::OneAtATime,
            (true, _) => Residency::TextEncoderOnDemand,
            (false, _) => Residency::All,
        };
        Ok(())
    })
}

/// The file of a tiny decoder that previews are made with, in place of the linear map: then
/// cvx_step_preview_rgb8 hands out whole frames, which takes more time than the map and far less than
/// the VAE. It is a safetensors file in the layout of madebyollin's taecvx (layers decoder.1 to
/// decoder.22, which other tensors may lie beside), read by cvx_pipeline_load, in float32 on the
/// transformer's device. NULL (default): the folder's own, a file taecvx.safetensors beside its
/// model_index.json, or the linear map where there is none. The text is copied.
///
/// Errors: INVALID_UTF8; what is wrong with the file is told by cvx_pipeline_load. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_load_options_set_preview_decoder(
    options: *mut cvx_load_options,
    path_or_null: *const c_char,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (options, path) =
            unsafe { (borrow_mut(options, "options")?, optional_text(path_or_null, "path")?) };
        options.options.preview_decoder = path.map(Into::into);
        Ok(())
    })
}

/// How many prompts' embeddings the pipeline and its clones keep, so that a prompt, or a negative
/// prompt, that was encoded before needs no text encoder again; from 0 (none) to 1024. They take at
/// most 64 MiB in all, beside the weights: those that were used least lately go first. Runs are the
/// same with and without. Default: 8.
///
/// Errors: INVALID_ARGUMENT. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_load_options_set_prompt_cache_size(
    options: *mut cvx_load_options,
    prompts: i32,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let options = unsafe { borrow_mut(options, "options")? };
        options.options.prompt_cache_size = within("prompts", prompts, 0..=1024)? as usize;
        Ok(())
    })
}

/// Threads that the pipeline and its clones compute with, from 1 to CVX_MAX_THREADS, on the CPU: the
/// load, each run, and the calls that run a part of one, whatever thread makes them. The host's own
/// setting (at::set_num_threads, omp_set_num_threads) is neither changed nor heeded. Default: 0,
/// as many as libtorch has it, or fewer where the system lets no more be started. Where they are seen to
/// wait for processors that other programs keep busy, they wait for each other asleep, not spinning. The number of
/// threads may change the last bits of a video: set it, and the bytes depend neither on how many
/// cores the machine has nor on the host's setting (cvx_video_kernels says how many there were).
///
/// Errors: INVALID_ARGUMENT. Loads and runs of such a pipeline fail with OUT_OF_MEMORY where so many
/// threads can't be started. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_load_options_set_num_threads(
    options: *mut cvx_load_options,
    num_threads: i32,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let options = unsafe { borrow_mut(options, "options")? };
        options.options.num_threads = within("num_threads", num_threads, 0..=CVX_MAX_THREADS)?;
        Ok(())
    })
}

/// The most bytes that libtorch's allocator takes of the device from this load on: what would be
/// more is CVX_ERROR_OUT_OF_MEMORY, in loads and in runs, which leaves what is loaded as usable as
/// before. 0 (default) leaves the limit as it is, which at first is the device itself. It holds for
/// everything that uses libtorch on that device in this process, until another load on it sets
/// another one, also when the pipeline is freed; a number beyond the device's memory lifts it. What
/// CUDA itself needs of the device (its context and its libraries' workspaces, some hundred
/// megabytes) is not counted. Without effect on the CPU.
///
/// Errors: none but NULL_ARGUMENT. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_load_options_set_max_device_memory(
    options: *mut cvx_load_options,
    bytes: u64,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let options = unsafe { borrow_mut(options, "options")? };
        options.options.max_device_memory = (bytes != 0).then_some(bytes);
        Ok(())
    })
}

/// Follows loading: called with CVX_STAGE_LOAD and bytes of weights. NULL (default) follows
/// nothing.
///
/// Takes over user_data in any case, see cvx_free_callback. Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_load_options_set_progress_callback(
    options: *mut cvx_load_options,
    callback: cvx_progress_callback,
    user_data: *mut c_void,
    free_user_data: cvx_free_callback,
) -> *mut cvx_error {
    fallible(|| {
        let callback = Callback::new(callback, user_data, free_user_data);
        // SAFETY: by the contract of the header.
        let before = replace(&mut unsafe { borrow_mut(options, "options")? }.progress, callback);
        // Its free function may set again: the new one is in its place by now.
        drop(before);
        Ok(())
    })
}

/// Receives messages of the load, and of every run of the pipeline and its clones whose
/// generate options set no log callback. NULL (default) means silence: the library itself
/// never writes to stdout or stderr.
///
/// Takes over user_data in any case, see cvx_free_callback; the pipeline and its clones keep
/// it until they are freed, and clones may call it from several threads at once.
/// Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_load_options_set_log_callback(
    options: *mut cvx_load_options,
    callback: cvx_log_callback,
    user_data: *mut c_void,
    free_user_data: cvx_free_callback,
) -> *mut cvx_error {
    fallible(|| {
        let callback = Callback::new(callback, user_data, free_user_data);
        // SAFETY: by the contract of the header.
        let before = replace(&mut unsafe { borrow_mut(options, "options")? }.log, callback);
        // Its free function may set again: the new one is in its place by now.
        drop(before);
        Ok(())
    })
}

/// Loads that use these options end with CVX_ERROR_CANCELLED once the token is cancelled.
/// NULL (default) takes a token away again. The caller keeps owning its token and may free it
/// at any time.
///
/// Since 0.1.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn cvx_load_options_set_cancel_token(
    options: *mut cvx_load_options,
    token_or_null: *const cvx_cancel_token,
) -> *mut cvx_error {
    fallible(|| {
        // SAFETY: by the contract of the header.
        let (options, token) =
            unsafe { (borrow_mut(options, "options")?, optional(token_or_null, "token")?) };
        options.cancel = token.map(|token| token.token.clone());
        Ok(())
    })
}

/// What `options_or_null` asks for.
pub(super) fn resolve(options: Option<&cvx_load_options>) -> (LoadOptions, Control) {
    match options {
        Some(options) => (options.options.clone(), options.control()),
        None => (LoadOptions::default(), Control::default()),
    }
}
