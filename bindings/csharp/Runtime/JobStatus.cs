using System;
using System.Runtime.InteropServices;
using CogVideoX.Native;

namespace CogVideoX
{
    /// <summary>Everything about a job, from one moment.</summary>
    public struct JobStatus
    {
        internal static readonly uint NativeSize = (uint)Marshal.SizeOf(typeof(cvx_job_status));

        internal JobStatus(cvx_job_status native)
        {
            State = (JobState)native.state;
            Stage = (Stage)native.stage;
            JobsAhead = native.jobs_ahead;
            Done = native.done;
            Total = native.total;
            Timestep = native.timestep;
            Fraction = native.fraction;
            Elapsed = TimeSpan.FromSeconds(native.seconds);
        }

        /// <summary>How far it is.</summary>
        public JobState State { get; private set; }

        /// <summary>What it is doing, or did last; None before the first.</summary>
        public Stage Stage { get; private set; }

        /// <summary>Jobs of the same pipeline before it; 0 once it runs.</summary>
        public int JobsAhead { get; private set; }

        /// <summary>Units of the stage that are finished.</summary>
        public ulong Done { get; private set; }

        /// <summary>Units of the stage in all.</summary>
        public ulong Total { get; private set; }

        /// <summary>As <see cref="ProgressInfo.Timestep"/>.</summary>
        public double Timestep { get; private set; }

        /// <summary>
        /// How much of the whole job is done, from 0 to 1; never falls, and is 1 only when it has
        /// succeeded.
        /// </summary>
        public double Fraction { get; private set; }

        /// <summary>Since it began to run; zero before, and standing still once it ended.</summary>
        public TimeSpan Elapsed { get; private set; }
    }
}
