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
    // A tensor's sides (c10/core/impl/SizesAndStrides.h).
    "Could not allocate memory",
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

/// How oneDNN says so, whose own status does not come through: no room for a primitive's
/// scratchpad, or for the code that it generates. What it can't do it says of a "primitive
/// descriptor".
const OF_ONEDNN: &[&str] = &["could not execute a primitive", "could not create a primitive"];

/// Whether `message` is oneDNN's way to say that it had no memory.
pub(crate) fn is_onednns(message: &str) -> bool {
    !message.contains("primitive descriptor") && OF_ONEDNN.iter().any(|text| message.contains(text))
}

/// How CUDA says that its context in this process is of no more use: what `cudaGetErrorString` of
/// CUDA 13.0 has for the errors of which driver_types.h says that the process must be terminated
/// and relaunched, and for those of a device that fails.
const DEVICE_LOST: &[&str] = &[
    "an illegal memory access was encountered",
    "an illegal instruction was encountered",
    "misaligned address",
    "operation not supported on global/shared address space",
    "invalid program counter",
    "hardware stack error",
    "device-side assert triggered",
    "the launch timed out and was terminated",
    "unspecified launch failure",
    "Invalid access of peer GPU memory",
    "tensor memory not completely freed",
    "the MPS client has been terminated by the server",
    "an async error has occured in external entity outside of CUDA",
    "uncorrectable ECC error encountered",
    "uncorrectable NVLink error detected",
    "context is destroyed",
];

/// The error that a message of libtorch's stands for: [`Error::OutOfMemory`],
/// [`Error::DeviceLost`] or [`Error::Internal`], with the message's first line; the C++ backtrace
/// is left out.
pub(crate) fn of_libtorch(message: &str) -> Error {
    let message = message.split("Exception raised from").next().unwrap_or(message);
    let line = first_line(message);
    if is_onednns(message) || OUT_OF_MEMORY.iter().any(|words| message.contains(words)) {
        Error::OutOfMemory(line)
    } else if message.contains("CUDA") && DEVICE_LOST.iter().any(|words| message.contains(words)) {
        Error::DeviceLost(format!(
            "the device is lost to this process: {line}; free what lies on it, and restart the \
             process to use it again"
        ))
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

/// The first line of a libtorch message, without the folders that it was built in.
pub(crate) fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or("").trim();
    line.split(' ').map(without_folders).collect::<Vec<_>>().join(" ")
}

/// A word of a message: `"/pytorch/aten/src/ATen/Context.cpp":42,` becomes `"Context.cpp":42,`.
/// Paths of other files stay.
fn without_folders(word: &str) -> String {
    const SOURCES: [&str; 8] = [".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp", ".rs"];
    let whole = || word.to_string();
    let Some((folders, file)) = word.rsplit_once('/') else { return whole() };
    let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let name = file.split(|c| !in_name(c)).next().unwrap_or_default();
    if !SOURCES.iter().any(|ending| name.ends_with(ending)) {
        return whole();
    }
    let before: String = folders.chars().take_while(|&c| c != '/' && !in_name(c)).collect();
    before + file
}

/// The source file of a panic as messages name it: within this library or a crate, without the
/// folders that they were built in.
pub(crate) fn place_in_sources(file: &str) -> &str {
    match file.split_once("/registry/src/").and_then(|(_, rest)| rest.split_once('/')) {
        Some((_, in_crate)) => in_crate,
        // Rust's own sources, or a crate from elsewhere.
        None if file.starts_with('/') => file.rsplit('/').next().unwrap_or(file),
        None => file,
    }
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
            "could not execute a primitive",
            "could not create a primitive",
        ] {
            let line = first_line(message);
            assert_eq!(of_libtorch(message), Error::OutOfMemory(line), "{message}");
        }
        for message in ["CUDA error: invalid argument", "could not create a primitive descriptor"] {
            assert!(matches!(of_libtorch(message), Error::Internal(_)), "{message}");
        }
    }

    #[test]
    fn a_device_that_is_lost_is_told_from_a_call_that_failed() {
        for (message, lost) in [
            ("CUDA error: an illegal memory access was encountered\nCUDA kernel errors…", true),
            ("CUDA error: device-side assert triggered", true),
            ("CUDA driver error: unspecified launch failure", true),
            ("CUDA error: invalid device ordinal", false),
            // Of the host's.
            ("misaligned address", false),
        ] {
            let found = of_libtorch(message);
            assert_eq!(matches!(found, Error::DeviceLost(_)), lost, "{found:?}");
            assert!(found.to_string().contains(&first_line(message)), "{found}");
        }
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
    fn messages_lose_the_folders_that_libtorch_was_built_in() {
        for (message, expected) in [
            (
                "!x INTERNAL ASSERT FAILED at \"/pytorch/c10/core/Context.cpp\":42, please report",
                "!x INTERNAL ASSERT FAILED at \"Context.cpp\":42, please report",
            ),
            ("failed (../aten/src/a-b.h:7) here", "failed (a-b.h:7) here"),
            (
                "[enforce fail at alloc_cpu.cpp:127] 3/4 of a/b",
                "[enforce fail at alloc_cpu.cpp:127] 3/4 of a/b",
            ),
            ("cannot open /models/vae/config.json", "cannot open /models/vae/config.json"),
        ] {
            assert_eq!(first_line(message), expected);
        }
    }

    #[test]
    fn places_lose_the_folders_of_crates_and_of_rust() {
        for (file, expected) in [
            ("src/pipeline/load.rs", "src/pipeline/load.rs"),
            ("/home/x/.cargo/registry/src/index-1/tch-0.24.0/src/lib.rs", "tch-0.24.0/src/lib.rs"),
            ("/rustc/5980/library/core/src/option.rs", "option.rs"),
        ] {
            assert_eq!(place_in_sources(file), expected);
        }
    }

    #[test]
    fn other_panics_are_not_libtorchs() {
        assert_eq!(of_panic("index out of bounds: the len is 3 but the index is 3"), None);
        assert_eq!(of_panic("out of memory"), None);
    }
}
