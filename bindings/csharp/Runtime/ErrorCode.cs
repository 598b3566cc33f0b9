using CogVideoX.Native;

namespace CogVideoX
{
    /// <summary>
    /// What kind of thing went wrong. Later versions of the library may add codes: treat one that
    /// you do not know like <see cref="Internal"/>.
    /// </summary>
    public enum ErrorCode
    {
        /// <summary>No error. No exception has it.</summary>
        Ok = NativeMethods.CVX_OK,

        /// <summary>Something that must be given is not.</summary>
        NullArgument = NativeMethods.CVX_ERROR_NULL_ARGUMENT,

        /// <summary>An argument, option or configuration value is outside what it may be.</summary>
        InvalidArgument = NativeMethods.CVX_ERROR_INVALID_ARGUMENT,

        /// <summary>A text is not valid UTF-8. The binding itself never passes such a text.</summary>
        InvalidUtf8 = NativeMethods.CVX_ERROR_INVALID_UTF8,

        /// <summary>A file or folder that must be there is not.</summary>
        NotFound = NativeMethods.CVX_ERROR_NOT_FOUND,

        /// <summary>A file of the pipeline folder is damaged or contradicts another one.</summary>
        InvalidCheckpoint = NativeMethods.CVX_ERROR_INVALID_CHECKPOINT,

        /// <summary>The pipeline folder is sound, but asks for something the library lacks.</summary>
        UnsupportedModel = NativeMethods.CVX_ERROR_UNSUPPORTED_MODEL,

        /// <summary>The device asked for cannot be used.</summary>
        DeviceUnavailable = NativeMethods.CVX_ERROR_DEVICE_UNAVAILABLE,

        /// <summary>The device or the host has too little memory. Objects stay as they were.</summary>
        OutOfMemory = NativeMethods.CVX_ERROR_OUT_OF_MEMORY,

        /// <summary>The pipeline is generating already, or a callback called back into it.</summary>
        Busy = NativeMethods.CVX_ERROR_BUSY,

        /// <summary>
        /// The work was stopped. Calls throw OperationCanceledException for it, whose inner
        /// exception has this code.
        /// </summary>
        Cancelled = NativeMethods.CVX_ERROR_CANCELLED,

        /// <summary>
        /// A callback threw (its exception is the inner one), or answered something unusable.
        /// </summary>
        CallbackFailed = NativeMethods.CVX_ERROR_CALLBACK_FAILED,

        /// <summary>Reading or writing a file failed.</summary>
        Io = NativeMethods.CVX_ERROR_IO,

        /// <summary>A defect of the library, or an unexpected failure inside libtorch.</summary>
        Internal = NativeMethods.CVX_ERROR_INTERNAL,

        /// <summary>
        /// The device failed for good: later calls that need what lies there fail so, too. The
        /// process must be restarted to use it again; other devices go on.
        /// </summary>
        DeviceLost = NativeMethods.CVX_ERROR_DEVICE_LOST
    }
}
