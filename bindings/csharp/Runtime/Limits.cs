using CogVideoX.Native;

namespace CogVideoX
{
    /// <summary>The most that a run may be asked for.</summary>
    public static class Limits
    {
        /// <summary>
        /// The most pixels that the width or the height of a video, or of a tile, may have.
        /// </summary>
        public const int MaxSide = NativeMethods.CVX_MAX_SIDE;

        /// <summary>The most frames of a video.</summary>
        public const int MaxFrames = NativeMethods.CVX_MAX_FRAMES;

        /// <summary>The most videos of one run.</summary>
        public const int MaxVideos = NativeMethods.CVX_MAX_VIDEOS;

        /// <summary>The most tokens that a prompt is cut or padded to.</summary>
        public const int MaxSequenceLength = NativeMethods.CVX_MAX_SEQUENCE_LENGTH;

        /// <summary>The most runs that a cache schedule is tuned on.</summary>
        public const int MaxTuneRuns = NativeMethods.CVX_MAX_TUNE_RUNS;

        /// <summary>The most threads that a pipeline computes with.</summary>
        public const int MaxThreads = NativeMethods.CVX_MAX_THREADS;

        /// <summary>Bytes of NCCL's unique id.</summary>
        public const int NcclUniqueIdBytes = NativeMethods.CVX_NCCL_UNIQUE_ID_BYTES;
    }
}
