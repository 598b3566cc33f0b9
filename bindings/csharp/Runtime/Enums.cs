using CogVideoX.Native;

namespace CogVideoX
{
    /// <summary>What a load or a run is doing.</summary>
    public enum Stage
    {
        /// <summary>Nothing yet.</summary>
        None = 0,

        /// <summary>Reading weights; counted in bytes.</summary>
        Load = NativeMethods.CVX_STAGE_LOAD,

        /// <summary>Running the text encoder; counted in its layers.</summary>
        Encode = NativeMethods.CVX_STAGE_ENCODE,

        /// <summary>Running the transformer; counted in denoising steps.</summary>
        Denoise = NativeMethods.CVX_STAGE_DENOISE,

        /// <summary>Running the VAE decoder; counted in chunks, and in tiles where it tiles.</summary>
        Decode = NativeMethods.CVX_STAGE_DECODE,

        /// <summary>
        /// Tuning a cache schedule; counted in runs, of which there may be fewer than foretold.
        /// </summary>
        Tune = NativeMethods.CVX_STAGE_TUNE,

        /// <summary>
        /// Running the VAE encoder over the image of a run; counted in tiles where it tiles.
        /// </summary>
        EncodeImage = NativeMethods.CVX_STAGE_ENCODE_IMAGE
    }

    /// <summary>What a pipeline makes videos from.</summary>
    public enum PipelineTask
    {
        /// <summary>A prompt, or a prompt and a video: see <see cref="GenerateOptions.Video"/>.</summary>
        TextToVideo = NativeMethods.CVX_TASK_TEXT_TO_VIDEO,

        /// <summary>
        /// A prompt and an image, which is the first frame: see <see cref="GenerateOptions.Image"/>.
        /// </summary>
        ImageToVideo = NativeMethods.CVX_TASK_IMAGE_TO_VIDEO,

        /// <summary>A prompt and a video: see <see cref="GenerateOptions.Video"/>.</summary>
        VideoToVideo = NativeMethods.CVX_TASK_VIDEO_TO_VIDEO,

        /// <summary>
        /// A prompt and a video that the result follows: see
        /// <see cref="GenerateOptions.ControlVideo"/>.
        /// </summary>
        Control = NativeMethods.CVX_TASK_CONTROL,

        /// <summary>
        /// A prompt, and a first or last frame or the parts of a video that a mask leaves: see
        /// <see cref="GenerateOptions.Mask"/>.
        /// </summary>
        Inpainting = NativeMethods.CVX_TASK_INPAINTING
    }

    /// <summary>How much a log message matters.</summary>
    public enum LogLevel
    {
        /// <summary>Details for developers.</summary>
        Debug = NativeMethods.CVX_LOG_DEBUG,

        /// <summary>What was chosen where the host left a choice.</summary>
        Info = NativeMethods.CVX_LOG_INFO,

        /// <summary>The work goes on, but not quite as asked.</summary>
        Warning = NativeMethods.CVX_LOG_WARNING,

        /// <summary>Something failed that no exception can tell.</summary>
        Error = NativeMethods.CVX_LOG_ERROR
    }

    /// <summary>What a run ends with.</summary>
    public enum OutputKind
    {
        /// <summary>The video is decoded to frames.</summary>
        Frames = NativeMethods.CVX_OUTPUT_FRAMES,

        /// <summary>The run ends with latents; the VAE does not run.</summary>
        Latents = NativeMethods.CVX_OUTPUT_LATENTS
    }

    /// <summary>How a pixel is stored.</summary>
    public enum PixelFormat
    {
        /// <summary>3 bytes: red, green, blue, from 0 to 255.</summary>
        Rgb8 = NativeMethods.CVX_PIXELS_RGB8,

        /// <summary>4 bytes: red, green, blue and 255.</summary>
        Rgba8 = NativeMethods.CVX_PIXELS_RGBA8,

        /// <summary>3 floats of 4 bytes: red, green, blue, from 0 to 1.</summary>
        F32 = NativeMethods.CVX_PIXELS_F32,

        /// <summary>
        /// 4 bytes: blue, green, red and 255. Of frames that are handed out while they are decoded, as
        /// is the next.
        /// </summary>
        Bgra8 = NativeMethods.CVX_PIXELS_BGRA8,

        /// <summary>4 numbers of 2 bytes, in half precision: red, green, blue, from 0 to 1, and 1.</summary>
        Rgba16F = NativeMethods.CVX_PIXELS_RGBA16F
    }

    /// <summary>How far a job is.</summary>
    public enum JobState
    {
        /// <summary>No job. No <see cref="Job"/> is in it.</summary>
        None = NativeMethods.CVX_JOB_NONE,

        /// <summary>It waits for its turn.</summary>
        Queued = NativeMethods.CVX_JOB_QUEUED,

        /// <summary>It runs.</summary>
        Running = NativeMethods.CVX_JOB_RUNNING,

        /// <summary>It ended, and its video can be taken.</summary>
        Succeeded = NativeMethods.CVX_JOB_SUCCEEDED,

        /// <summary>It ended with an error.</summary>
        Failed = NativeMethods.CVX_JOB_FAILED,

        /// <summary>It was cancelled, before or while it ran.</summary>
        Cancelled = NativeMethods.CVX_JOB_CANCELLED
    }

    /// <summary>What an attention layer was in a step.</summary>
    public enum LayerState
    {
        /// <summary>The run ended before it, or there is no such step or layer.</summary>
        NotReached = NativeMethods.CVX_LAYER_NOT_REACHED,

        /// <summary>It was computed.</summary>
        Computed = NativeMethods.CVX_LAYER_COMPUTED,

        /// <summary>A kept output was used as it was.</summary>
        Reused = NativeMethods.CVX_LAYER_REUSED,

        /// <summary>An output was extrapolated from kept ones.</summary>
        Approximated = NativeMethods.CVX_LAYER_APPROXIMATED,

        /// <summary>
        /// The block did not run: what it added in an earlier step was added again.
        /// </summary>
        Skipped = NativeMethods.CVX_LAYER_SKIPPED,

        /// <summary>
        /// Nothing of the block was computed: its part was extrapolated from kept outputs.
        /// </summary>
        Predicted = NativeMethods.CVX_LAYER_PREDICTED,

        /// <summary>
        /// Attention was computed, the feed-forward layer's output extrapolated.
        /// </summary>
        FeedForwardPredicted = NativeMethods.CVX_LAYER_FEED_FORWARD_PREDICTED
    }

    /// <summary>What became of the unconditional half of the guidance batch in a step.</summary>
    public enum UnconditionalState
    {
        /// <summary>Guidance is off; also for a step that there is none of.</summary>
        Absent = NativeMethods.CVX_UNCONDITIONAL_ABSENT,

        /// <summary>It ran.</summary>
        Ran = NativeMethods.CVX_UNCONDITIONAL_RAN,

        /// <summary>It was rebuilt from the conditional half.</summary>
        Rebuilt = NativeMethods.CVX_UNCONDITIONAL_REBUILT,

        /// <summary>Neither half ran: the output of the step was predicted.</summary>
        Predicted = NativeMethods.CVX_UNCONDITIONAL_PREDICTED
    }
}
