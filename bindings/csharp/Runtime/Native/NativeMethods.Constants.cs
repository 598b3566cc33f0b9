namespace CogVideoX.Native
{
    // The constants of the header, by their own names. The public enums and Limits take their values
    // from here.
    internal static partial class NativeMethods
    {
        internal const int CVX_VERSION_MAJOR = 0;
        internal const int CVX_VERSION_MINOR = 1;
        internal const int CVX_VERSION_PATCH = 0;
        internal const int CVX_ABI_VERSION = 1;
        internal const int CVX_OK = 0;
        internal const int CVX_ERROR_NULL_ARGUMENT = 1;
        internal const int CVX_ERROR_INVALID_ARGUMENT = 2;
        internal const int CVX_ERROR_INVALID_UTF8 = 3;
        internal const int CVX_ERROR_NOT_FOUND = 4;
        internal const int CVX_ERROR_INVALID_CHECKPOINT = 5;
        internal const int CVX_ERROR_UNSUPPORTED_MODEL = 6;
        internal const int CVX_ERROR_DEVICE_UNAVAILABLE = 7;
        internal const int CVX_ERROR_OUT_OF_MEMORY = 8;
        internal const int CVX_ERROR_BUSY = 9;
        internal const int CVX_ERROR_CANCELLED = 10;
        internal const int CVX_ERROR_CALLBACK_FAILED = 11;
        internal const int CVX_ERROR_IO = 12;
        internal const int CVX_ERROR_INTERNAL = 13;
        internal const int CVX_ERROR_DEVICE_LOST = 14;
        internal const int CVX_STAGE_LOAD = 1;
        internal const int CVX_STAGE_ENCODE = 2;
        internal const int CVX_STAGE_DENOISE = 3;
        internal const int CVX_STAGE_DECODE = 4;
        internal const int CVX_STAGE_TUNE = 5;
        internal const int CVX_STAGE_ENCODE_IMAGE = 6;
        internal const int CVX_TASK_TEXT_TO_VIDEO = 1;
        internal const int CVX_TASK_IMAGE_TO_VIDEO = 2;
        internal const int CVX_TASK_VIDEO_TO_VIDEO = 3;
        internal const int CVX_TASK_CONTROL = 4;
        internal const int CVX_TASK_INPAINTING = 5;
        internal const int CVX_LOG_DEBUG = 1;
        internal const int CVX_LOG_INFO = 2;
        internal const int CVX_LOG_WARNING = 3;
        internal const int CVX_LOG_ERROR = 4;
        internal const int CVX_MAX_SIDE = 16384;
        internal const int CVX_MAX_FRAMES = 4096;
        internal const int CVX_MAX_VIDEOS = 256;
        internal const int CVX_MAX_SEQUENCE_LENGTH = 8192;
        internal const int CVX_MAX_TUNE_RUNS = 1000;
        internal const int CVX_MAX_THREADS = 1024;
        internal const int CVX_NCCL_UNIQUE_ID_BYTES = 128;
        internal const int CVX_OUTPUT_FRAMES = 0;
        internal const int CVX_OUTPUT_LATENTS = 1;
        internal const int CVX_LAYER_NOT_REACHED = 0;
        internal const int CVX_LAYER_COMPUTED = 1;
        internal const int CVX_LAYER_REUSED = 2;
        internal const int CVX_LAYER_APPROXIMATED = 3;
        internal const int CVX_LAYER_SKIPPED = 4;
        internal const int CVX_LAYER_PREDICTED = 5;
        internal const int CVX_LAYER_FEED_FORWARD_PREDICTED = 6;
        internal const int CVX_UNCONDITIONAL_ABSENT = 0;
        internal const int CVX_UNCONDITIONAL_RAN = 1;
        internal const int CVX_UNCONDITIONAL_REBUILT = 2;
        internal const int CVX_UNCONDITIONAL_PREDICTED = 3;
        internal const int CVX_PIXELS_RGB8 = 1;
        internal const int CVX_PIXELS_RGBA8 = 2;
        internal const int CVX_PIXELS_F32 = 3;
        internal const int CVX_JOB_NONE = 0;
        internal const int CVX_JOB_QUEUED = 1;
        internal const int CVX_JOB_RUNNING = 2;
        internal const int CVX_JOB_SUCCEEDED = 3;
        internal const int CVX_JOB_FAILED = 4;
        internal const int CVX_JOB_CANCELLED = 5;
    }
}
