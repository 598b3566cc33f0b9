//! The one error type of the library. `capi::error` maps it once to the codes of the header.

use tch::TchError;

pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can go wrong, by what the caller can do about it.
///
/// Every message is one line that names the thing at fault, what was expected and what was
/// found. Nothing of libtorch's C++ backtraces is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An argument, option or config value is outside what it may be.
    #[error("{0}")]
    InvalidArgument(String),
    /// A file or folder that must be there is not.
    #[error("{0}")]
    NotFound(String),
    /// A file of the pipeline folder is damaged or contradicts another one.
    #[error("{0}")]
    InvalidCheckpoint(String),
    /// The folder is sound, but asks for something this library does not implement.
    #[error("{0}")]
    UnsupportedModel(String),
    /// The device asked for can't be used: no CUDA library, no driver, no such index.
    #[error("{0}")]
    DeviceUnavailable(String),
    /// The device or the host has too little memory. The pipeline stays usable.
    #[error("{0}")]
    OutOfMemory(String),
    /// The pipeline is generating already, or a callback called back into its own pipeline.
    #[error("{0}")]
    Busy(String),
    /// A cancel token or a callback's stop answer ended the work.
    #[error("{0}")]
    Cancelled(String),
    /// A host callback answered something that can't be used.
    #[error("{0}")]
    CallbackFailed(String),
    /// Reading or writing a file failed.
    #[error("{0}")]
    Io(String),
    /// A defect of this library or an unexpected failure inside libtorch.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// The same error with `context: ` put before its message.
    pub fn context(self, context: impl std::fmt::Display) -> Error {
        use Error::*;
        let wrap = |m: String| format!("{context}: {m}");
        match self {
            InvalidArgument(m) => InvalidArgument(wrap(m)),
            NotFound(m) => NotFound(wrap(m)),
            InvalidCheckpoint(m) => InvalidCheckpoint(wrap(m)),
            UnsupportedModel(m) => UnsupportedModel(wrap(m)),
            DeviceUnavailable(m) => DeviceUnavailable(wrap(m)),
            OutOfMemory(m) => OutOfMemory(wrap(m)),
            Busy(m) => Busy(wrap(m)),
            Cancelled(m) => Cancelled(wrap(m)),
            CallbackFailed(m) => CallbackFailed(wrap(m)),
            Io(m) => Io(wrap(m)),
            Internal(m) => Internal(wrap(m)),
        }
    }
}

/// libtorch signals memory exhaustion only in the text of its exception: the CUDA caching
/// allocator says "CUDA out of memory", the CPU allocator "DefaultCPUAllocator: can't
/// allocate memory" (c10/core/impl/alloc_cpu.cpp).
fn is_out_of_memory(message: &str) -> bool {
    message.contains("out of memory") || message.contains("can't allocate memory")
}

/// The first line of a libtorch message, without the C++ backtrace that follows it.
pub(crate) fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or("").trim().to_string()
}

impl From<TchError> for Error {
    fn from(error: TchError) -> Self {
        let text = error.to_string();
        let line = first_line(text.strip_prefix("Internal torch error: ").unwrap_or(&text));
        if is_out_of_memory(&text) {
            Error::OutOfMemory(line)
        } else {
            Error::Internal(format!("libtorch: {line}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torch_messages_lose_their_backtrace_and_memory_exhaustion_is_told_apart() {
        let shape =
            TchError::Torch("mat1 and mat2 shapes cannot be multiplied\nframe #0: at".into());
        let Error::Internal(message) = Error::from(shape) else { panic!("not internal") };
        assert!(message.ends_with("cannot be multiplied"), "{message}");
        let memory =
            TchError::Torch("[enforce fail] DefaultCPUAllocator: can't allocate memory".into());
        assert!(matches!(Error::from(memory), Error::OutOfMemory(_)));
    }
}
