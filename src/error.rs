//! The one error type of the library. `capi::error` maps it once to the codes of the header.

use crate::runtime::failures;
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
    /// The device failed for good: it is of no more use to this process.
    #[error("{0}")]
    DeviceLost(String),
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
            DeviceLost(m) => DeviceLost(wrap(m)),
        }
    }
}

impl From<TchError> for Error {
    fn from(error: TchError) -> Self {
        match error {
            TchError::Torch(message) => failures::of_libtorch(&message),
            other => failures::of_libtorch(&other.to_string()),
        }
    }
}
