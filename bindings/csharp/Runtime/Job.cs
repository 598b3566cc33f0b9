using System;
using System.Threading;
using System.Threading.Tasks;
using CogVideoX.Native;

namespace CogVideoX
{
    /// <summary>
    /// A run that was submitted. It is asked from any thread, without waiting, by
    /// <see cref="Status"/>; or awaited by <see cref="Completion"/>. Dispose cancels a job that
    /// has not ended; a job that is merely forgotten goes on.
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
            get { return new JobStatus(Poll()); }
        }

        /// <summary>How far it is. Never waits.</summary>
        public JobState State
        {
            get { return (JobState)Poll().state; }
        }

        private cvx_job_status Poll()
        {
            var status = new cvx_job_status { struct_size = JobStatus.NativeSize };
            NativeMethods.cvx_job_poll(Handle, ref status);
            return status;
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
            Errors.Check(NativeMethods.cvx_job_wait(Handle, seconds, out state));
            return Ended(state);
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
            cvx_job_status status = Poll();
            IntPtr video;
            IntPtr error = NativeMethods.cvx_job_take_video(Handle, out video);
            if (NativeMethods.cvx_error_code(error) == NativeMethods.CVX_ERROR_BUSY) Errors.Check(error);
            if (!Ended(status.state)) status = Poll(); // it ended between the two calls
            CancellationToken asked;
            Exception thrown = run.Settle(ref status, out asked);
            return Run.Finish(error, thrown, asked, video, fps);
        }

        private static bool Ended(int state)
        {
            return state != NativeMethods.CVX_JOB_QUEUED && state != NativeMethods.CVX_JOB_RUNNING;
        }

        /// <summary>
        /// Asks it to stop, and returns at once. A job that waits for its turn never runs. After
        /// the end, and after Dispose, it does nothing.
        /// </summary>
        public void Cancel()
        {
            if (handle.IsClosed) return;
            try
            {
                NativeMethods.cvx_job_cancel(handle);
            }
            catch (ObjectDisposedException)
            {
                // Disposed of by another thread just now, which cancels it too.
            }
        }

        /// <summary>Frees it, and cancels it if it has not ended. Does not wait.</summary>
        public void Dispose()
        {
            handle.Dispose();
        }
    }
}
