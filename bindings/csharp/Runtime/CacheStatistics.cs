using System;
using CogVideoX.Native;

namespace CogVideoX
{
    /// <summary>
    /// What a run computed and reused, or a previewed one would. A snapshot: it does not change,
    /// outlives its pipeline, and may be read from any thread. Steps and layers count from 0.
    /// </summary>
    public sealed class CacheStatistics : IDisposable
    {
        private readonly CacheStatsHandle handle;

        internal CacheStatistics(IntPtr native)
        {
            handle = new CacheStatsHandle(native);
        }

        private CacheStatsHandle Handle
        {
            get { return NativeHandle.Open(handle, "CacheStatistics"); }
        }

        /// <summary>
        /// A table for people: a column for each step, a row for each group of layers that did the
        /// same, and below it counts, bytes and the predicted speed-up.
        /// </summary>
        public string Text
        {
            get
            {
                using (new Lease(Handle)) return Utf8.Read(NativeMethods.cvx_cache_stats_text(handle));
            }
        }

        /// <summary>The same for programs, as one JSON object.</summary>
        public string Json
        {
            get
            {
                using (new Lease(Handle)) return Utf8.Read(NativeMethods.cvx_cache_stats_json(handle));
            }
        }

        /// <summary>
        /// "Pyramid Attention Broadcast" or "FasterCache"; "" where no cache was enabled.
        /// </summary>
        public string Technique
        {
            get
            {
                using (new Lease(Handle)) return Utf8.Read(NativeMethods.cvx_cache_stats_technique(handle));
            }
        }

        /// <summary>How many steps the run has, also if it ended before the last.</summary>
        public int TotalSteps
        {
            get { return NativeMethods.cvx_cache_stats_total_steps(Handle); }
        }

        /// <summary>How many steps have begun.</summary>
        public int NumSteps
        {
            get { return NativeMethods.cvx_cache_stats_num_steps(Handle); }
        }

        /// <summary>How many attention layers there are.</summary>
        public int NumLayers
        {
            get { return NativeMethods.cvx_cache_stats_num_layers(Handle); }
        }

        /// <summary>Bytes kept when the statistics were taken; 0 once the run is over.</summary>
        public ulong BytesNow
        {
            get { return NativeMethods.cvx_cache_stats_bytes_now(Handle); }
        }

        /// <summary>The most bytes kept at any time; 0 where the sizes are not known.</summary>
        public ulong BytesPeak
        {
            get { return NativeMethods.cvx_cache_stats_bytes_peak(Handle); }
        }

        /// <summary>
        /// How many of <see cref="BytesNow"/> are in host memory, as
        /// <see cref="CacheConfig.SetCacheLocation"/> asked for.
        /// </summary>
        public ulong HostBytesNow
        {
            get { return NativeMethods.cvx_cache_stats_host_bytes_now(Handle); }
        }

        /// <summary>The most of those at any time of the run; 0 of a preview.</summary>
        public ulong HostBytesPeak
        {
            get { return NativeMethods.cvx_cache_stats_host_bytes_peak(Handle); }
        }

        /// <summary>Devices or processes that computed the run together; 1 for a run on one.</summary>
        public int RankCount
        {
            get { return NativeMethods.cvx_cache_stats_num_ranks(Handle); }
        }

        /// <summary>Among how many of them the halves of the guidance were shared: 1 or 2.</summary>
        public int GuidanceDegree
        {
            get { return NativeMethods.cvx_cache_stats_guidance_degree(Handle); }
        }

        /// <summary>Among how many of them a sequence was shared.</summary>
        public int SequenceDegree
        {
            get { return NativeMethods.cvx_cache_stats_sequence_degree(Handle); }
        }

        /// <summary>
        /// Bytes that they sent to each other in denoising. Reused attention exchanges nothing.
        /// </summary>
        public ulong BytesExchanged
        {
            get { return NativeMethods.cvx_cache_stats_bytes_exchanged(Handle); }
        }

        /// <summary>In how many messages those bytes were sent.</summary>
        public ulong MessagesExchanged
        {
            get { return NativeMethods.cvx_cache_stats_messages_exchanged(Handle); }
        }

        /// <summary>
        /// Units computed of attention, averaged over the layers. A unit is one half of the
        /// guidance batch in one step: 50 steps with guidance have 100.
        /// </summary>
        public double AttentionUnits
        {
            get { return NativeMethods.cvx_cache_stats_attention_units(Handle); }
        }

        /// <summary>Units computed of everything but attention.</summary>
        public double RestUnits
        {
            get { return NativeMethods.cvx_cache_stats_rest_units(Handle); }
        }

        /// <summary>Units that a run without a cache would have computed.</summary>
        public double TotalUnits
        {
            get { return NativeMethods.cvx_cache_stats_total_units(Handle); }
        }

        /// <summary>
        /// How many times as fast as without a cache the steps are, by the cost model of the
        /// units; 0 where attention's share is not known.
        /// </summary>
        public double PredictedSpeedUp
        {
            get { return NativeMethods.cvx_cache_stats_predicted_speed_up(Handle); }
        }

        /// <summary>
        /// Seconds that the run is expected to take, where Pipeline.EstimateCache made this; else 0.
        /// </summary>
        public double EstimatedSeconds
        {
            get { return NativeMethods.cvx_cache_stats_estimated_seconds(Handle); }
        }

        /// <summary>
        /// The PSNR in decibels against the uncached video that is expected, where
        /// Pipeline.EstimateCache made this: infinite where nothing is left out, 0 where it is not
        /// known.
        /// </summary>
        public double EstimatedPsnr
        {
            get { return NativeMethods.cvx_cache_stats_estimated_psnr(Handle); }
        }

        /// <summary>
        /// Attention's part of the time of a full step, between 0 and 1; 0 where it is not known.
        /// </summary>
        public double AttentionShare
        {
            get
            {
                int measured;
                return NativeMethods.cvx_cache_stats_attention_share(Handle, out measured);
            }
        }

        /// <summary>Whether that was timed in the run, and not estimated.</summary>
        public bool AttentionShareIsMeasured
        {
            get
            {
                int measured;
                NativeMethods.cvx_cache_stats_attention_share(Handle, out measured);
                return measured != 0;
            }
        }

        /// <summary>The name of a layer, such as "transformer_blocks.0.attn1".</summary>
        /// <param name="layer">The layer.</param>
        /// <returns>The name; null if there is no such layer.</returns>
        public string LayerName(int layer)
        {
            using (new Lease(Handle)) return Utf8.Read(NativeMethods.cvx_cache_stats_layer_name(handle, layer));
        }

        /// <summary>The pipeline's timestep of a step.</summary>
        /// <param name="step">The step.</param>
        /// <returns>The timestep; -1 for a step that has not begun.</returns>
        public long Timestep(int step)
        {
            return NativeMethods.cvx_cache_stats_timestep(Handle, step);
        }

        /// <summary>What a layer was in a step.</summary>
        /// <param name="step">The step.</param>
        /// <param name="layer">The layer.</param>
        /// <returns>Computed, reused, approximated or not reached.</returns>
        public LayerState LayerState(int step, int layer)
        {
            return (LayerState)NativeMethods.cvx_cache_stats_layer_state(Handle, step, layer);
        }

        /// <summary>How often a layer was in a state.</summary>
        /// <param name="layer">The layer; -1 for all of them together.</param>
        /// <param name="state">Computed, Reused or Approximated.</param>
        /// <returns>How many steps.</returns>
        public int LayerCount(int layer, LayerState state)
        {
            return NativeMethods.cvx_cache_stats_layer_count(Handle, layer, (int)state);
        }

        /// <summary>What became of the unconditional half in a step.</summary>
        /// <param name="step">The step.</param>
        /// <returns>Absent, ran or rebuilt.</returns>
        public UnconditionalState Unconditional(int step)
        {
            return (UnconditionalState)NativeMethods.cvx_cache_stats_unconditional(Handle, step);
        }

        /// <summary>
        /// Whether a layer was to be cached, and computed on every step because
        /// <see cref="CacheConfig.SetMaxCacheBytes"/> left no room for it.
        /// </summary>
        /// <param name="layer">The layer.</param>
        /// <returns>Whether it was.</returns>
        public bool IsLayerOverBudget(int layer)
        {
            return NativeMethods.cvx_cache_stats_layer_over_budget(Handle, layer) != 0;
        }

        /// <summary>Frees it.</summary>
        public void Dispose()
        {
            handle.Dispose();
        }
    }
}
