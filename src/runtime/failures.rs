//! What a failure inside libtorch means, told from its text: on the way through C++ exceptions
//! and tch nothing else is left of it.

use crate::Error;

/// How libtorch and the libraries under it say that memory is out. Of CUDA's own libraries each
/// has words of its own, and they reach us unchanged.
const OUT_OF_MEMORY: &[&str] = &[
    // "CUDA out of memory" of the caching allocator, "CUDA error: out of memory" of pinned
    // memory and of the driver.
    "out of memory",
    // "DefaultCPUAllocator: can't allocate memory" (c10/core/impl/alloc_cpu.cpp).
    "can't allocate memory",
    // A C++ container on the host.
    "std::bad_alloc",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUFFT_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    // CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED and its likes of cuDNN 9.
    "_ALLOCATION_FAILED",
    // "GET was" or "FIND was unable to find an engine to execute this computation": all of
    // cuDNN's plans found no room for their workspaces (aten/src/ATen/native/cudnn/Conv_v8.cpp).
    "was unable to find an engine",
];

/// The error that a message of libtorch's stands for: [`Error::OutOfMemory`] or
/// [`Error::Internal`], with the message's first line; the C++ backtrace is left out.
pub(crate) fn of_libtorch(message: &str) -> Error {
    let message = message.split("Exception raised from").next().unwrap_or(message);
    let line = first_line(message);
    if OUT_OF_MEMORY.iter().any(|words| message.contains(words)) {
        Error::OutOfMemory(line)
    } else {
        Error::Internal(format!("libtorch: {line}"))
    }
}

/// The error of libtorch that a panic of tch stands for; `None` for any other panic.
///
/// An operator's error lies in a place of the thread until tch fetches it, after the call. A
/// number that was given to the operator is dropped before that, which fetches it too, and
/// unwraps it (tch 0.24 src/wrappers/scalar.rs, `Drop`): so operators that take numbers tell
/// their failures by panics. The text is that of `Result::unwrap` on a [`tch::TchError`].
pub(crate) fn of_panic(text: &str) -> Option<Error> {
    const START: &str = "on an `Err` value: Torch(\"";
    let (_, quoted) = text.split_once(START)?;
    let quoted = quoted.strip_suffix("\")").unwrap_or(quoted);
    // As `{:?}` writes a string.
    let message = quoted.replace("\\n", "\n").replace("\\\"", "\"").replace("\\'", "'");
    Some(of_libtorch(&message))
}

/// The first line of a libtorch message.
pub(crate) fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or("").trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind, TchError, Tensor};

    #[test]
    fn messages_lose_their_backtrace() {
        let shape =
            "mat1 and mat2 shapes cannot be multiplied\nException raised from out of memory";
        let expected = "libtorch: mat1 and mat2 shapes cannot be multiplied".to_string();
        assert_eq!(of_libtorch(shape), Error::Internal(expected.clone()));
        assert_eq!(Error::from(TchError::Torch(shape.into())), Error::Internal(expected));
    }

    #[test]
    fn memory_that_is_out_is_told_in_many_words() {
        for message in [
            "CUDA out of memory. Tried to allocate 2.00 GiB.",
            "CUDA error: out of memory\nCUDA kernel errors might be reported later",
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate \
             memory: you tried to allocate 8 bytes.",
            "std::bad_alloc",
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            "cuFFT error: CUFFT_ALLOC_FAILED",
            "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
            "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
            "GET was unable to find an engine to execute this computation",
            "FIND was unable to find an engine to execute this computation",
        ] {
            let line = first_line(message);
            assert_eq!(of_libtorch(message), Error::OutOfMemory(line), "{message}");
        }
        assert!(matches!(of_libtorch("CUDA error: invalid argument"), Error::Internal(_)));
    }

    /// What tch does, rather than what is written above about it.
    #[test]
    fn an_operator_with_a_number_panics_with_its_error() {
        let panic = std::panic::catch_unwind(|| {
            let one = Tensor::f_zeros([1], (Kind::Float, Device::Cpu)).unwrap();
            // 2^62 bytes for the result: no machine has them.
            one.f_expand([1i64 << 60], false).unwrap().f_mul_scalar(2.0).map(|_| ())
        });
        let Err(payload) = panic else { panic!("tch returns such errors now: `of_panic` can go") };
        let text = payload.downcast_ref::<String>().unwrap();
        let Some(Error::OutOfMemory(message)) = of_panic(text) else { panic!("{text}") };
        assert!(message.contains("can't allocate memory"), "{message}");
        assert!(!message.contains(['\\', '\n']), "{message}");
    }

    #[test]
    fn other_panics_are_not_libtorchs() {
        assert_eq!(of_panic("index out of bounds: the len is 3 but the index is 3"), None);
        assert_eq!(of_panic("out of memory"), None);
    }
}
