using CogVideoX.Native;

namespace CogVideoX
{
    /// <summary>What a pipeline has in memory, in bytes, as it was when it was asked.</summary>
    public sealed class MemoryInfo
    {
        internal MemoryInfo(cvx_memory_info native)
        {
            IsWorking = native.working != 0;
            Weights = native.weight_bytes;
            Prompts = native.prompt_bytes;
            Cache = native.cache_bytes;
            CachePeak = native.cache_bytes_peak;
            Device = native.device_bytes;
            DevicePeak = native.device_bytes_peak;
            Process = native.process_bytes;
            ProcessPeak = native.process_bytes_peak;
        }

        /// <summary>
        /// Whether a run, or other work that another call would be busy for, was under way.
        /// </summary>
        public bool IsWorking { get; private set; }

        /// <summary>Weights, shared with clones.</summary>
        public ulong Weights { get; private set; }

        /// <summary>Embeddings of the last prompts, shared with clones.</summary>
        public ulong Prompts { get; private set; }

        /// <summary>What the cache of the run under way kept; 0 between runs.</summary>
        public ulong Cache { get; private set; }

        /// <summary>
        /// The most that the cache of the last run, or of the one under way, had kept.
        /// </summary>
        public ulong CachePeak { get; private set; }

        /// <summary>
        /// What libtorch had handed out on the pipeline's device to this process; 0 on the CPU.
        /// </summary>
        public ulong Device { get; private set; }

        /// <summary>The most that it had handed out there; 0 on the CPU.</summary>
        public ulong DevicePeak { get; private set; }

        /// <summary>
        /// What of this process lay in the machine's memory; 0 where the system does not tell.
        /// </summary>
        public ulong Process { get; private set; }

        /// <summary>The most that it had been; 0 where the system does not tell.</summary>
        public ulong ProcessPeak { get; private set; }
    }
}
