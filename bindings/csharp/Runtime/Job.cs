using System;
using System.Threading;
using System.Threading.Tasks;
using CogVideoX.Native;

namespace CogVideoX
{
    /// <summary>
    /// A run that was submitted. It is asked from any thread, without waiting, by
    /// <see cref="Status"/>; or awaited by <see cref="Completion"/>. Dispose cancels a job that
    /// has not ended; a job that is merely forgotten goes on. When
    /// the process ends, jobs under way are cancelled and waited for, 10 seconds at most; no
    /// callback is called from then on.
    /// </summary>
    public sealed class Job : IDisposable
    {
        private readonly JobHandle handle;
        private readonly JobRun run;
        private readonly double fps;

        internal Job(JobHandle handle, JobRun run, double fps)
        {
            this.handle = handle;
            this.run = run;
            this.fps = fps;
        }

        private JobHandle Handle
        {
            get { return NativeHandle.Open(handle, "Job"); }
        }

        /// <summary>
        /// Done when the job has ended, with its last state; it does not fail, and asks no thread
        /// to wait. What went wrong comes out of <see cref="TakeVideo"/>. Works after Dispose.
        /// </summary>
        public Task<JobState> Completion
        {
            get { return run.Completion; }
        }

        /// <summary>Everything about it, from one moment. Never waits.</summary>
        public JobStatus Status
        {
            get { return new JobStatus(JobRun.Poll(Handle)); }
        }

        /// <summary>How far it is. Never waits.</summary>
        public JobState State
        {
            get { return (JobState)JobRun.Poll(Handle).state; }
        }

        /// <summary>Waits until it has ended.</summary>
        /// <exception cref="CogVideoXException">Busy: called by a callback of the job.</exception>
        public void Wait()
        {
            Wait(Timeout.InfiniteTimeSpan);
        }

        /// <summary>Waits until it has ended or the time is over.</summary>
        /// <param name="timeout">How long; negative (Timeout.InfiniteTimeSpan) without end.</param>
        /// <returns>Whether it has ended.</returns>
        /// <exception cref="CogVideoXException">Busy: called by a callback of the job.</exception>
        public bool Wait(TimeSpan timeout)
        {
            int state;
            double seconds = timeout < TimeSpan.Zero ? -1 : timeout.TotalSeconds;
            using (new Lease(Handle)) Errors.Check(NativeMethods.cvx_job_wait(Handle, seconds, out state));
            return JobRun.HasEnded(state);
        }

        /// <summary>The video of a job that has succeeded, once; or why there is none.</summary>
        /// <returns>The video, to be disposed of.</returns>
        /// <exception cref="CogVideoXException">
        /// What the run failed with, as Generate throws it; Busy before the end; InvalidArgument
        /// if the video was taken already.
        /// </exception>
        /// <exception cref="OperationCanceledException">The job was cancelled.</exception>
        public Video TakeVideo()
        {
            IntPtr video;
            IntPtr error = NativeMethods.cvx_job_take_video(Handle, out video);
            if (NativeMethods.cvx_error_code(error) == NativeMethods.CVX_ERROR_BUSY) Errors.Check(error);
            cvx_job_status status = JobRun.Poll(Handle);
            CancellationToken asked;
            Exception thrown = run.Settle(ref status, out asked);
            return Run.Finish(error, thrown, asked, video, fps);
        }

        /// <summary>
        /// Asks it to stop, and returns at once. A job that waits for its turn never runs. After
        /// the end, and after Dispose, it does nothing.
        /// </summary>
        public void Cancel()
        {
            run.Cancel();
        }

        /// <summary>Frees it, and cancels it if it has not ended. Does not wait.</summary>
        public void Dispose()
        {
            run.Cancel();
            handle.Dispose();
        }
    }
}
