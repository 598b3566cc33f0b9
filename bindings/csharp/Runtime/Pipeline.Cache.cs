using System;
using CogVideoX.Native;

namespace CogVideoX
{
    public sealed partial class Pipeline
    {
        /// <summary>
        /// Caches the next runs of this pipeline, instead of what was enabled before. Clones are
        /// not affected. The config is copied: it may be changed or disposed of afterwards, and
        /// may serve many pipelines. An exception that one of its callbacks throws ends the run
        /// that asked, and is the inner one of what that run throws.
        /// </summary>
        /// <param name="config">The technique and its settings.</param>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument (identifiers that match no layer), Busy.
        /// </exception>
        public void EnableCache(CacheConfig config)
        {
            if (config == null) throw new ArgumentNullException("config");
            PipelineHandle pipeline = Handle;
            Check(config.Enable(pipeline, cacheErrors));
        }

        /// <summary>
        /// Computes everything from the next run on. Allowed also where no cache is enabled.
        /// </summary>
        /// <exception cref="CogVideoXException">Busy.</exception>
        public void DisableCache()
        {
            Check(NativeMethods.cvx_pipeline_disable_cache(Handle));
        }

        /// <summary>
        /// The statistics of the last run, however it ended, or of the run under way; also of runs
        /// without a cache.
        /// </summary>
        /// <returns>A snapshot, to be disposed of.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument before the first run.</exception>
        public CacheStatistics CacheStatistics()
        {
            IntPtr stats;
            Errors.Check(NativeMethods.cvx_pipeline_cache_stats(Handle, out stats));
            return new CacheStatistics(stats);
        }

        /// <summary>
        /// What a run with this config would compute and reuse, told without running it. Callbacks
        /// are not called. Allowed also while the pipeline generates.
        /// </summary>
        /// <param name="config">The technique and its settings.</param>
        /// <param name="options">Size, steps and guidance; null for every default.</param>
        /// <returns>Statistics, to be disposed of.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public CacheStatistics PreviewCache(CacheConfig config, GenerateOptions options = null)
        {
            if (config == null) throw new ArgumentNullException("config");
            PipelineHandle pipeline = Handle;
            using (GenerateOptionsHandle native = (options ?? new GenerateOptions()).ToNative(null, null, null))
            {
                IntPtr stats;
                Check(NativeMethods.cvx_pipeline_preview_cache(pipeline, config.Handle, native, out stats));
                return new CacheStatistics(stats);
            }
        }
    }
}
