using System;
using System.Collections.Generic;
using System.Diagnostics;

namespace CogVideoX.Native
{
    /// <summary>
    /// Ends jobs and workers before the process, or the application domain, ends: a job must not
    /// call into a runtime that is going away, and mono waits at its end for every thread that it
    /// has met in a callback. A host that disposed of its pipelines leaves nothing to do here.
    /// </summary>
    internal static class Shutdown
    {
        // Jobs notice a cancellation within one layer of a model; what takes longer is left.
        private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

        private static readonly object Gate = new object();
        private static readonly HashSet<JobRun> Running = new HashSet<JobRun>();
        private static readonly List<WeakReference> Workers = new List<WeakReference>();
        private static bool watching;

        /// <summary>A pipeline is about to be given a job, and so has a worker from now on.</summary>
        internal static void Watch(PipelineHandle pipeline)
        {
            lock (Gate)
            {
                if (!watching)
                {
                    AppDomain.CurrentDomain.ProcessExit += End;
                    AppDomain.CurrentDomain.DomainUnload += End;
                    watching = true;
                }
                Workers.RemoveAll(known => IsGone(known));
                // Tracked beyond its last use, until its finalizer has freed it.
                if (!Workers.Exists(known => known.Target == pipeline))
                {
                    Workers.Add(new WeakReference(pipeline, true));
                }
            }
        }

        internal static void Began(JobRun job)
        {
            lock (Gate) Running.Add(job);
        }

        internal static void Ended(JobRun job)
        {
            lock (Gate) Running.Remove(job);
        }

        private static bool IsGone(WeakReference known)
        {
            var pipeline = known.Target as PipelineHandle;
            return pipeline == null || pipeline.IsClosed;
        }

        private static void End(object sender, EventArgs arguments)
        {
            var jobs = new List<JobRun>();
            var pipelines = new List<PipelineHandle>();
            lock (Gate)
            {
                jobs.AddRange(Running);
                foreach (WeakReference known in Workers)
                {
                    var pipeline = known.Target as PipelineHandle;
                    if (pipeline != null) pipelines.Add(pipeline);
                }
            }
            foreach (JobRun job in jobs) job.Cancel();
            var watch = Stopwatch.StartNew();
            foreach (JobRun job in jobs)
            {
                TimeSpan left = Patience - watch.Elapsed;
                job.Completion.Wait(left > TimeSpan.Zero ? left : TimeSpan.Zero);
            }
            foreach (PipelineHandle pipeline in pipelines) pipeline.Dispose();
        }
    }
}
