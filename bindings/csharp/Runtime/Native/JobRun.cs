using System;
using System.Threading;
using System.Threading.Tasks;

namespace CogVideoX.Native
{
    /// <summary>
    /// The managed side of a job: the user_data of its callback. It outlives the Job object that
    /// the host holds, if that is dropped or disposed of while the job still runs.
    /// </summary>
    internal sealed class JobRun : IReleased
    {
        private readonly object gate = new object();
        private readonly Run run;
        private readonly TaskCompletionSource<JobState> completion =
            new TaskCompletionSource<JobState>(TaskCreationOptions.RunContinuationsAsynchronously);
        private JobHandle handle;
        private CancellationTokenRegistration registration;
        private bool settled;
        private Exception thrown;
        private CancellationToken asked;

        internal JobRun(Run run)
        {
            this.run = run;
        }

        internal Task<JobState> Completion
        {
            get { return completion.Task; }
        }

        /// <summary>
        /// Given the handle, which is held until the job has ended: a job whose Job object was
        /// dropped goes on, where freeing its handle would cancel it. And the token, which the run
        /// has already, but would look at only when its turn comes.
        /// </summary>
        internal void Submitted(JobHandle job, CancellationToken cancellation)
        {
            lock (gate)
            {
                if (settled) return;
                handle = job;
                Shutdown.Began(this);
            }
            CancellationTokenRegistration made = cancellation.Register(CancelByToken, this);
            lock (gate)
            {
                if (!settled)
                {
                    registration = made;
                    return;
                }
            }
            made.Dispose();
        }

        private static void CancelByToken(object job)
        {
            var self = (JobRun)job;
            self.run.Cancel(); // tells later that it was the token who asked
            self.Cancel();
        }

        /// <summary>Cancels the job, unless it has ended.</summary>
        internal void Cancel()
        {
            JobHandle job;
            lock (gate) job = handle;
            if (job == null) return;
            try
            {
                NativeMethods.cvx_job_cancel(job);
                // One that was queued has ended now. Its callback comes later, after the run that
                // is under way; nobody has to wait for that.
                cvx_job_status status = Poll(job);
                if (HasEnded(status.state)) Ended(ref status);
            }
            catch (ObjectDisposedException)
            {
                // Freed by another thread just now, which cancelled it.
            }
        }

        internal static cvx_job_status Poll(JobHandle job)
        {
            var status = new cvx_job_status { struct_size = JobStatus.NativeSize };
            NativeMethods.cvx_job_poll(job, ref status);
            return status;
        }

        internal static bool HasEnded(int state)
        {
            return state != NativeMethods.CVX_JOB_QUEUED && state != NativeMethods.CVX_JOB_RUNNING;
        }

        /// <summary>
        /// The job has ended. Called by the library's worker before the next job begins, and
        /// possibly before that by the thread that cancelled.
        /// </summary>
        internal void Ended(ref cvx_job_status status)
        {
            Settle(ref status);
            completion.TrySetResult((JobState)status.state);
        }

        /// <summary>Once the job has ended: what its callbacks threw, and who asked it to stop.</summary>
        internal Exception Settle(ref cvx_job_status status, out CancellationToken askedBy)
        {
            Settle(ref status);
            askedBy = asked;
            return thrown;
        }

        private void Settle(ref cvx_job_status status)
        {
            // Not so for one that was cancelled in the queue: a job before it may run now.
            bool began = status.state != NativeMethods.CVX_JOB_CANCELLED || status.seconds > 0;
            CancellationTokenRegistration made;
            lock (gate)
            {
                if (settled) return;
                settled = true;
                thrown = began ? run.TakeThrown() : run.Errors.Take();
                asked = run.Asked;
                handle = null;
                made = registration;
                Shutdown.Ended(this);
            }
            made.Dispose(); // not under the lock: it waits for a Cancel that is under way
            run.Dispose();
        }

        public void Released()
        {
            run.Dispose(); // for a submission that failed; otherwise done already
        }
    }
}
