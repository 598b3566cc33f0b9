using System;
using System.Collections.Generic;
using System.Threading;
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
        /// Makes the cheapest cache schedule it finds for this pipeline whose videos have a median
        /// PSNR of at least minPsnr decibels against the uncached ones. At most 49 runs for each of
        /// the options; it returns when it is done. The pipeline's own cache stays as it was.
        /// </summary>
        /// <param name="runs">
        /// Options of one size, number of steps and guidance, with different prompts and seeds, at
        /// most a thousand. Callbacks are those of the first.
        /// </param>
        /// <param name="minPsnr">From 10 to 90: 40 is hard to tell from the uncached video.</param>
        /// <param name="progress">Told of the runs that are done; or null.</param>
        /// <param name="cancellation">Stops it.</param>
        /// <returns>
        /// The config, to be disposed of. Keep it with ToJson: it belongs to this model, scheduler,
        /// number of steps and guidance.
        /// </returns>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument, also if no schedule reaches minPsnr; and those of Generate.
        /// </exception>
        /// <exception cref="OperationCanceledException">It was stopped.</exception>
        public CacheConfig TuneCache(
            IReadOnlyList<GenerateOptions> runs,
            double minPsnr,
            IProgress<ProgressInfo> progress = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            IntPtr config = IntPtr.Zero;
            WithRuns(runs, progress, cancellation, (pipeline, given) =>
                NativeMethods.cvx_pipeline_tune_cache(
                    pipeline, given, (UIntPtr)given.Length, minPsnr, out config));
            return new CacheConfig(config);
        }

        /// <summary>
        /// TuneCache with a calibration that is there already: for several bounds, or to check
        /// schedules with other prompts. At most 17 runs for each of the options.
        /// </summary>
        /// <param name="calibration">Of this model, number of steps and guidance.</param>
        /// <param name="runs">Options as for Calibrate.</param>
        /// <param name="minPsnr">From 10 to 90: 40 is hard to tell from the uncached video.</param>
        /// <param name="progress">Told of the runs that are done; or null.</param>
        /// <param name="cancellation">Stops it.</param>
        /// <returns>The config, to be disposed of.</returns>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument, also if no schedule reaches minPsnr; and those of Generate.
        /// </exception>
        /// <exception cref="OperationCanceledException">It was stopped.</exception>
        public CacheConfig TuneCache(
            Calibration calibration,
            IReadOnlyList<GenerateOptions> runs,
            double minPsnr,
            IProgress<ProgressInfo> progress = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            GC.KeepAlive(Handle); // a disposed pipeline says so first
            if (calibration == null) throw new ArgumentNullException("calibration");
            IntPtr config = IntPtr.Zero;
            using (new Lease(calibration.Handle))
            {
                WithRuns(runs, progress, cancellation, (pipeline, given) =>
                    NativeMethods.cvx_pipeline_tune_calibrated_cache(
                        pipeline, calibration.Handle, given, (UIntPtr)given.Length, minPsnr, out config));
            }
            return new CacheConfig(config);
        }

        /// <summary>
        /// Calibrates this pipeline, for estimates before a run. At most 33 runs for each of the
        /// options; it returns when it is done. The pipeline's own cache stays as it was.
        /// </summary>
        /// <param name="runs">
        /// Options of one size, number of steps and guidance, with different prompts and seeds, at
        /// most a thousand. Callbacks are those of the first.
        /// </param>
        /// <param name="progress">Told of the runs that are done; or null.</param>
        /// <param name="cancellation">Stops it.</param>
        /// <returns>The calibration, to be disposed of.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument; and those of Generate.</exception>
        /// <exception cref="OperationCanceledException">It was stopped.</exception>
        public Calibration Calibrate(
            IReadOnlyList<GenerateOptions> runs,
            IProgress<ProgressInfo> progress = null,
            CancellationToken cancellation = default(CancellationToken))
        {
            IntPtr calibration = IntPtr.Zero;
            WithRuns(runs, progress, cancellation, (pipeline, given) =>
                NativeMethods.cvx_pipeline_calibrate(
                    pipeline, given, (UIntPtr)given.Length, out calibration));
            return new Calibration(calibration);
        }

        /// <summary>
        /// PreviewCache with the seconds and the PSNR that a calibration expects of the run.
        /// </summary>
        /// <param name="config">The technique and its settings.</param>
        /// <param name="calibration">Of this model, number of steps and guidance.</param>
        /// <param name="options">Size, steps and guidance; null for every default.</param>
        /// <returns>Statistics, to be disposed of.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public CacheStatistics EstimateCache(
            CacheConfig config, Calibration calibration, GenerateOptions options = null)
        {
            PipelineHandle pipeline = Handle;
            if (config == null) throw new ArgumentNullException("config");
            if (calibration == null) throw new ArgumentNullException("calibration");
            using (GenerateOptionsHandle native = (options ?? new GenerateOptions()).ToNative(null, null, null))
            {
                IntPtr stats;
                using (new Lease(pipeline))
                using (new Lease(config.Handle))
                using (new Lease(calibration.Handle))
                {
                    Check(NativeMethods.cvx_pipeline_estimate_cache(
                        pipeline, config.Handle, native, calibration.Handle, out stats));
                }
                return new CacheStatistics(stats);
            }
        }

        // Calls with the runs as the library takes them; the first one's callbacks are used.
        private void WithRuns(
            IReadOnlyList<GenerateOptions> runs,
            IProgress<ProgressInfo> progress,
            CancellationToken cancellation,
            Func<PipelineHandle, IntPtr[], IntPtr> call)
        {
            PipelineHandle pipeline = Handle;
            if (runs == null) throw new ArgumentNullException("runs");
            if (runs.Count == 0) throw new ArgumentException("at least one run", "runs");
            cancellation.ThrowIfCancellationRequested();
            var others = new List<GenerateOptionsHandle>();
            try
            {
                for (int i = 1; i < runs.Count; i++) others.Add(runs[i].ToNative(null, null, null));
                using (var run = new Run(runs[0], progress, log, cacheErrors, cancellation))
                {
                    var given = new IntPtr[runs.Count];
                    given[0] = run.Options.DangerousGetHandle();
                    for (int i = 1; i < given.Length; i++)
                    {
                        given[i] = others[i - 1].DangerousGetHandle();
                    }
                    using (new Lease(pipeline))
                    {
                        IntPtr error = call(pipeline, given);
                        GC.KeepAlive(others);
                        run.End(error);
                    }
                }
            }
            finally
            {
                foreach (GenerateOptionsHandle other in others) other.Dispose();
            }
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
                using (new Lease(pipeline))
                using (new Lease(config.Handle))
                {
                    Check(NativeMethods.cvx_pipeline_preview_cache(pipeline, config.Handle, native, out stats));
                }
                return new CacheStatistics(stats);
            }
        }
    }
}
