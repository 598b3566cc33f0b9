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
#pragma warning disable 414 // held, never read
        private JobHandle kept;
#pragma warning restore 414
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
        /// Keeps the handle until the job has ended: a job whose Job object was dropped goes on,
        /// where freeing its handle would cancel it.
        /// </summary>
        internal void Keep(JobHandle handle)
        {
            lock (gate)
            {
                if (!settled) kept = handle;
            }
        }

        /// <summary>Called by the library's worker, before the next job begins.</summary>
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
            // One that was cancelled in the queue: a job before it may be running now.
            bool began = status.state != NativeMethods.CVX_JOB_CANCELLED || status.seconds > 0;
            lock (gate)
            {
                if (settled) return;
                settled = true;
                thrown = began ? run.TakeThrown() : run.Errors.Take();
                asked = run.Asked;
                kept = null;
            }
            run.Dispose();
        }

        public void Released()
        {
            run.Dispose(); // for a submission that failed; otherwise done already
        }
    }
}
