//! Safe wrappers of the C++ shim: what this library needs of libtorch and tch does not bind.
//!
//! The interface is `shim.h`, beside this file; both sides are compiled into this library.

pub mod callback;
pub mod copies;
pub mod dlpack;
pub(super) mod driver;
pub mod event;
pub(crate) mod host_objects;
pub mod mapped;
pub mod modules;
pub mod spare;
pub mod starts;

use crate::runtime::failures::{self, first_line};
use crate::runtime::versions::CudaVersions;
use crate::{Error, Result};
use std::ffi::{c_char, c_void, CStr};
use std::marker::PhantomData;
use std::ptr::NonNull;
use tch::{Device, Kind, Tensor};

pub(super) mod loader;

mod ffi {
    use super::{c_char, c_void};
    use torch_sys::C_tensor;

    pub const OK: i32 = 0;

    #[repr(C)]
    pub struct Generator {
        _opaque: [u8; 0],
    }

    #[repr(C)]
    pub struct Warnings {
        _opaque: [u8; 0],
    }

    extern "C" {
        pub fn cvx_shim_string_free(string: *mut c_char);
        pub fn cvx_shim_generator_new(
            seed: u64,
            out: *mut *mut Generator,
            message: *mut *mut c_char,
        ) -> i32;
        pub fn cvx_shim_generator_free(generator: *mut Generator);
        pub fn cvx_shim_fill_normal(
            generator: *mut Generator,
            tensor: *mut C_tensor,
            message: *mut *mut c_char,
        ) -> i32;
        pub fn cvx_shim_generator_state(
            generator: *mut Generator,
            out: *mut *mut C_tensor,
            message: *mut *mut c_char,
        ) -> i32;
        pub fn cvx_shim_generator_set_state(
            generator: *mut Generator,
            state: *const C_tensor,
            message: *mut *mut c_char,
        ) -> i32;
        #[cfg(test)]
        pub fn cvx_shim_default_generator_state(
            out: *mut *mut C_tensor,
            message: *mut *mut c_char,
        ) -> i32;
        pub fn cvx_shim_storage_bytes(
            tensor: *const C_tensor,
            out: *mut u64,
            message: *mut *mut c_char,
        ) -> i32;
        pub fn cvx_shim_libtorch_address() -> *const c_void;
        pub fn cvx_shim_cuda_devices(
            has_backend: *mut i32,
            count: *mut i32,
            message: *mut *mut c_char,
        ) -> i32;
        pub fn cvx_shim_cuda_synchronize(index: i32, message: *mut *mut c_char) -> i32;
        pub fn cvx_shim_cuda_set_device(index: i32, message: *mut *mut c_char) -> i32;
        pub fn cvx_shim_cuda_query(index: i32, message: *mut *mut c_char) -> i32;
        pub fn cvx_shim_cuda_stream(
            index: i32,
            out: *mut *mut c_void,
            message: *mut *mut c_char,
        ) -> i32;
        pub fn cvx_shim_finish_stream(
            tensor: *const C_tensor,
            out: *mut *mut c_void,
            message: *mut *mut c_char,
        ) -> i32;
        pub fn cvx_shim_cuda_memory(
            index: i32,
            now: *mut u64,
            peak: *mut u64,
            message: *mut *mut c_char,
        ) -> i32;
        pub fn cvx_shim_cuda_reset_peak_memory(index: i32, message: *mut *mut c_char) -> i32;
        pub fn cvx_shim_cuda_empty_cache(message: *mut *mut c_char) -> i32;
        pub fn cvx_shim_cuda_has_bfloat16(
            index: i32,
            out: *mut i32,
            message: *mut *mut c_char,
        ) -> i32;
        pub fn cvx_shim_cuda_limit_memory(index: i32, bytes: u64, message: *mut *mut c_char)
            -> i32;
        pub fn cvx_shim_cuda_versions(
            runtime: *mut i64,
            cudnn: *mut i64,
            message: *mut *mut c_char,
        ) -> i32;
        pub fn cvx_shim_torch_version() -> *const c_char;
        pub fn cvx_shim_cpu_capability(out: *mut *mut c_char, message: *mut *mut c_char) -> i32;
        pub fn cvx_shim_silence_onednn();
        pub fn cvx_shim_spare_install() -> i32;
        pub fn cvx_shim_spare_hold() -> i32;
        pub fn cvx_shim_spare_drop();
        pub fn cvx_shim_torch_config(out: *mut *mut c_char, message: *mut *mut c_char) -> i32;
        pub fn cvx_shim_warnings_begin(out: *mut *mut Warnings, message: *mut *mut c_char) -> i32;
        pub fn cvx_shim_warnings_take(
            warnings: *mut Warnings,
            out: *mut *mut c_char,
            message: *mut *mut c_char,
        ) -> i32;
        pub fn cvx_shim_warnings_end(warnings: *mut Warnings);
    }
}

/// Takes over a string of the shim; an empty one for NULL.
fn take_string(string: *mut c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: the shim hands out NUL-terminated strings that nobody else holds.
    let text = unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned();
    // SAFETY: `string` came from the shim's allocator and is not used again.
    unsafe { ffi::cvx_shim_string_free(string) };
    text
}

/// Runs one function of the shim, which returns a status and may write a message.
pub(crate) fn call(function: impl FnOnce(*mut *mut c_char) -> i32) -> Result<()> {
    let mut message = std::ptr::null_mut();
    match function(&mut message) {
        ffi::OK => Ok(()),
        // The shim has no memory left for a copy of the message.
        _ if message.is_null() => Err(Error::OutOfMemory("out of memory on the host".into())),
        _ => Err(failures::of_libtorch(&take_string(message))),
    }
}

/// `at::Generator` on the CPU, of the caller alone.
pub struct Generator(NonNull<ffi::Generator>);

// SAFETY: the generator is a heap object without ties to a thread; it is used through
// `&mut self` only, and libtorch locks its mutex while drawing.
unsafe impl Send for Generator {}

impl Generator {
    pub fn new(seed: u64) -> Result<Generator> {
        let mut out = std::ptr::null_mut();
        // SAFETY: both out-parameters are valid for writing.
        call(|message| unsafe { ffi::cvx_shim_generator_new(seed, &mut out, message) })?;
        NonNull::new(out).map(Generator).ok_or_else(|| Error::Internal("no generator".into()))
    }

    /// Standard normal numbers on the CPU in `kind`, as `torch.randn(shape, generator=…,
    /// dtype=…)` draws them.
    pub fn randn(&mut self, shape: &[i64], kind: Kind) -> Result<Tensor> {
        let mut tensor = Tensor::f_empty(shape, (kind, Device::Cpu))?;
        // SAFETY: generator and tensor are alive and borrowed by nobody else; the
        // out-parameter is valid for writing.
        call(|message| unsafe {
            ffi::cvx_shim_fill_normal(self.0.as_ptr(), tensor.as_mut_ptr(), message)
        })?;
        Ok(tensor)
    }

    /// A copy of the state: bytes on the CPU.
    pub fn state(&self) -> Result<Tensor> {
        let mut out = std::ptr::null_mut();
        // SAFETY: the generator is alive, both out-parameters are valid for writing.
        call(|message| unsafe {
            ffi::cvx_shim_generator_state(self.0.as_ptr(), &mut out, message)
        })?;
        // SAFETY: on success `out` is a heap-allocated at::Tensor that nobody else holds.
        Ok(unsafe { Tensor::from_ptr(out) })
    }

    /// Takes on a state, which libtorch checks. After a failure the state is the old one, or one
    /// that was half taken on.
    pub fn set_state(&mut self, state: &Tensor) -> Result<()> {
        // SAFETY: generator and tensor are alive; the state is only read.
        call(|message| unsafe {
            ffi::cvx_shim_generator_set_state(self.0.as_ptr(), state.as_ptr(), message)
        })
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `cvx_shim_generator_new` and is freed once.
        unsafe { ffi::cvx_shim_generator_free(self.0.as_ptr()) };
    }
}

/// A copy of the state of the generator that the whole process shares.
#[cfg(test)]
pub fn default_generator_state() -> Result<Tensor> {
    let mut out = std::ptr::null_mut();
    // SAFETY: both out-parameters are valid for writing.
    call(|message| unsafe { ffi::cvx_shim_default_generator_state(&mut out, message) })?;
    // SAFETY: on success `out` is a heap-allocated at::Tensor that nobody else holds.
    Ok(unsafe { Tensor::from_ptr(out) })
}

/// Bytes of the storage that keeps `tensor` alive. For a view these are the bytes of the whole
/// buffer it looks into, so that what a cache really holds can be counted.
pub fn storage_bytes(tensor: &Tensor) -> Result<u64> {
    let mut out = 0;
    // SAFETY: `tensor` is alive during the call and both out-parameters are valid for writing.
    call(|message| unsafe { ffi::cvx_shim_storage_bytes(tensor.as_ptr(), &mut out, message) })?;
    Ok(out)
}

/// An address inside libtorch_cpu.so, for `dladdr`.
pub(super) fn libtorch_address() -> *const c_void {
    // SAFETY: takes no arguments and only forms an address.
    unsafe { ffi::cvx_shim_libtorch_address() }
}

/// What libtorch says of CUDA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CudaDevices {
    /// The backend is registered, rather than the stub that libtorch remembers when the first
    /// CUDA query comes before the backend is loaded.
    pub has_backend: bool,
    pub count: usize,
}

/// Asks libtorch for its CUDA devices. This is a CUDA query: load the backend first.
pub(super) fn cuda_devices() -> Result<CudaDevices> {
    let (mut has_backend, mut count) = (0, 0);
    // SAFETY: the three out-parameters are valid for writing.
    call(|message| unsafe { ffi::cvx_shim_cuda_devices(&mut has_backend, &mut count, message) })?;
    Ok(CudaDevices { has_backend: has_backend != 0, count: usize::try_from(count).unwrap_or(0) })
}

/// Waits for everything that was launched on CUDA device `index`.
pub(super) fn cuda_synchronize(index: i32) -> Result<()> {
    // SAFETY: the out-parameter is valid for writing.
    call(|message| unsafe { ffi::cvx_shim_cuda_synchronize(index, message) })
}

/// Asks CUDA device `index` whether it is busy, and fails if it can't say. Does not wait.
pub(super) fn cuda_query(index: i32) -> Result<()> {
    // SAFETY: the out-parameter is valid for writing.
    call(|message| unsafe { ffi::cvx_shim_cuda_query(index, message) })
}

/// Waits for the stream that this thread uses on the device of `tensor`, and returns the
/// backend's own handle of it as a number; 0 for the CPU and for a default stream.
pub(super) fn finish_stream(tensor: &Tensor) -> Result<usize> {
    let mut out = std::ptr::null_mut();
    // SAFETY: `tensor` is alive during the call and both out-parameters are valid for writing.
    call(|message| unsafe { ffi::cvx_shim_finish_stream(tensor.as_ptr(), &mut out, message) })?;
    Ok(out.expose_provenance())
}

/// The handle of the stream that this thread uses on CUDA device `index`; 0 for the default stream.
pub(super) fn cuda_stream(index: i32) -> Result<usize> {
    let mut out = std::ptr::null_mut();
    // SAFETY: both out-parameters are valid for writing.
    call(|message| unsafe { ffi::cvx_shim_cuda_stream(index, &mut out, message) })?;
    Ok(out.expose_provenance())
}

/// Bytes that libtorch's allocator has handed out on CUDA device `index`: now, and the most
/// since the last reset.
pub(super) fn cuda_memory(index: i32) -> Result<(u64, u64)> {
    let (mut now, mut peak) = (0, 0);
    // SAFETY: the three out-parameters are valid for writing.
    call(|message| unsafe { ffi::cvx_shim_cuda_memory(index, &mut now, &mut peak, message) })?;
    Ok((now, peak))
}

pub(super) fn cuda_reset_peak_memory(index: i32) -> Result<()> {
    // SAFETY: the out-parameter is valid for writing.
    call(|message| unsafe { ffi::cvx_shim_cuda_reset_peak_memory(index, message) })
}

/// Makes CUDA device `index` the current one of this thread.
pub(super) fn cuda_set_device(index: i32) -> Result<()> {
    // SAFETY: the out-parameter is valid for writing.
    call(|message| unsafe { ffi::cvx_shim_cuda_set_device(index, message) })
}

pub(super) fn cuda_empty_cache() -> Result<()> {
    // SAFETY: the out-parameter is valid for writing.
    call(|message| unsafe { ffi::cvx_shim_cuda_empty_cache(message) })
}

pub(super) fn cuda_has_bfloat16(index: i32) -> Result<bool> {
    let mut out = 0;
    // SAFETY: both out-parameters are valid for writing.
    call(|message| unsafe { ffi::cvx_shim_cuda_has_bfloat16(index, &mut out, message) })?;
    Ok(out != 0)
}

/// Lets libtorch's allocator take at most `bytes` of CUDA device `index` from now on.
pub(super) fn cuda_limit_memory(index: i32, bytes: u64) -> Result<()> {
    // SAFETY: the out-parameter is valid for writing.
    call(|message| unsafe { ffi::cvx_shim_cuda_limit_memory(index, bytes, message) })
}

/// Versions of the CUDA runtime and of cuDNN. This is a CUDA query.
pub(super) fn cuda_versions() -> Result<CudaVersions> {
    let (mut runtime, mut cudnn) = (0, 0);
    // SAFETY: the three out-parameters are valid for writing.
    call(|message| unsafe { ffi::cvx_shim_cuda_versions(&mut runtime, &mut cudnn, message) })?;
    Ok(CudaVersions { runtime, cudnn })
}

/// The release of libtorch that this library was built with, such as "2.11.0".
pub(crate) fn torch_version() -> &'static str {
    // SAFETY: a static string.
    unsafe { CStr::from_ptr(ffi::cvx_shim_torch_version()) }.to_str().unwrap_or_default()
}

/// The instruction set whose kernels libtorch takes on the CPU, such as "AVX512".
pub(crate) fn cpu_capability() -> Result<String> {
    let mut out = std::ptr::null_mut();
    // SAFETY: both out-parameters are valid for writing.
    call(|message| unsafe { ffi::cvx_shim_cpu_capability(&mut out, message) })?;
    Ok(take_string(out))
}

/// Keeps oneDNN from printing its failures, unless the environment says what it is to print.
pub(super) fn silence_onednn() {
    // SAFETY: without preconditions.
    unsafe { ffi::cvx_shim_silence_onednn() }
}

/// What libtorch says of how it was built. This is a CUDA query.
pub(super) fn torch_config() -> Result<String> {
    let mut out = std::ptr::null_mut();
    // SAFETY: both out-parameters are valid for writing.
    call(|message| unsafe { ffi::cvx_shim_torch_config(&mut out, message) })?;
    Ok(take_string(out))
}

/// While it lives, libtorch's warnings of this thread are kept instead of printed to stderr.
/// Scopes of a thread must end in reverse order, as values of nested blocks do.
pub struct WarningScope {
    warnings: NonNull<ffi::Warnings>,
    // The handler is thread-local: the scope must end on the thread it began on.
    _not_send: PhantomData<*const ()>,
}

impl WarningScope {
    pub fn begin() -> Result<WarningScope> {
        let mut out = std::ptr::null_mut();
        // SAFETY: both out-parameters are valid for writing.
        call(|message| unsafe { ffi::cvx_shim_warnings_begin(&mut out, message) })?;
        let warnings =
            NonNull::new(out).ok_or_else(|| Error::Internal("no warning scope".into()))?;
        Ok(WarningScope { warnings, _not_send: PhantomData })
    }

    /// The warnings that came since the last call, oldest first, each one line.
    pub fn take(&mut self) -> Result<Vec<String>> {
        let mut taken = Vec::new();
        loop {
            let mut text = std::ptr::null_mut();
            // SAFETY: the scope is alive, on its thread, and both out-parameters are valid.
            call(|message| unsafe {
                ffi::cvx_shim_warnings_take(self.warnings.as_ptr(), &mut text, message)
            })?;
            if text.is_null() {
                return Ok(taken);
            }
            taken.push(first_line(&take_string(text)));
        }
    }
}

impl Drop for WarningScope {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `cvx_shim_warnings_begin` on this thread and is ended
        // once.
        unsafe { ffi::cvx_shim_warnings_end(self.warnings.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_become_errors_with_one_line() {
        let mut generator = Generator::new(0).unwrap();
        let negative = generator.randn(&[2, -3], Kind::Float).unwrap_err();
        let Error::Internal(message) = negative else { panic!("{negative:?}") };
        assert!(message.contains("-3") && !message.contains('\n'), "{message}");
        // 2^62 bytes: no machine has them, and no size arithmetic overflows.
        let huge = generator.randn(&[1 << 30, 1 << 30], Kind::Float).unwrap_err();
        assert!(matches!(huge, Error::OutOfMemory(_)), "{huge:?}");
        assert!(generator.randn(&[4], Kind::Int64).is_err());
        assert_eq!(generator.randn(&[4], Kind::Float).unwrap().size(), [4]);
    }

    #[test]
    fn a_view_holds_its_whole_buffer() {
        let buffer = Tensor::f_zeros([10, 10], (Kind::Float, Device::Cpu)).unwrap();
        let view = buffer.f_narrow(0, 0, 1).unwrap();
        assert_eq!(storage_bytes(&view).unwrap(), 400);
        let own = view.f_zeros_like().unwrap();
        assert_eq!(storage_bytes(&own).unwrap(), 40);
    }

    #[test]
    fn warnings_are_kept_by_the_innermost_scope() {
        let warn = || {
            // libtorch warns of a result tensor that it must resize, every time.
            let zeros = |n| Tensor::f_zeros([n], (Kind::Float, Device::Cpu)).unwrap();
            let _ = zeros(2).f_add_out(&zeros(1), &zeros(2)).unwrap();
        };
        let mut outer = WarningScope::begin().unwrap();
        {
            let mut inner = WarningScope::begin().unwrap();
            warn();
            let taken = inner.take().unwrap();
            assert!(taken.iter().any(|w| w.contains("resized")), "{taken:?}");
            assert_eq!(inner.take().unwrap(), Vec::<String>::new());
        }
        assert_eq!(outer.take().unwrap(), Vec::<String>::new());
    }
}
