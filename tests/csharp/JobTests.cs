using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using CogVideoX;
using static Support;

internal static class JobTests
{
    internal static void List(List<KeyValuePair<string, Action>> tests)
    {
        tests.Add("jobs: run in order, and give what Generate gives", InOrder);
        tests.Add("jobs: polled in a loop as an engine does", Polled);
        tests.Add("jobs: cancelled while it runs, and in the queue", Cancelled);
        tests.Add("jobs: waiting", Waiting);
        tests.Add("jobs: disposed of in any state; forgotten ones go on", Disposed);
        tests.Add("jobs: outlive their pipeline", OutlivePipeline);
        tests.Add("jobs: a process ends with objects that nobody disposed of", Left);
        tests.Add("jobs: a process ends in the middle of a job", LeftRunning);
    }

    // A job that runs until it is released, and says when it has begun.
    private sealed class Gate : IDisposable
    {
        internal readonly ManualResetEventSlim Began = new ManualResetEventSlim();
        internal readonly ManualResetEventSlim Open = new ManualResetEventSlim();

        internal GenerateOptions Options()
        {
            GenerateOptions options = Support.Options();
            options.OnProgress = info => { Began.Set(); Open.Wait(); return true; };
            return options;
        }

        public void Dispose()
        {
            Open.Set();
        }
    }

    private static JobState LastState(System.Threading.Tasks.Task<JobState> completion)
    {
        True(completion.Wait(TimeSpan.FromMinutes(1)), "the job did not end within a minute");
        return completion.Result;
    }

    private static void InOrder()
    {
        using (Pipeline pipeline = Load())
        {
            var ran = new List<int>();
            var jobs = new List<Job>();
            for (int i = 0; i < 3; i++)
            {
                int number = i;
                GenerateOptions options = Options();
                options.Seed = (ulong)i;
                options.OnProgress = info => { if (!ran.Contains(number)) ran.Add(number); return true; };
                jobs.Add(pipeline.Submit(options));
                options.Seed = 99; // copied when it was submitted
            }
            for (int i = 0; i < 3; i++)
            {
                jobs[i].Wait();
                Equal(JobState.Succeeded, jobs[i].Completion.Result, "state");
                GenerateOptions options = Options();
                options.Seed = (ulong)i;
                if (i < 2) jobs[2].Wait(); // Generate would be Busy
                using (Video direct = pipeline.Generate(options))
                using (Video video = jobs[i].TakeVideo())
                {
                    Same(direct.CopyFrames(), video.CopyFrames(), "job " + i);
                    Equal(8.0, video.DefaultFps, "fps");
                }
                jobs[i].Dispose();
            }
            Same(new[] { 0, 1, 2 }, ran.ToArray(), "order");
        }
    }

    private static void Polled()
    {
        using (Pipeline pipeline = Load())
        using (Job job = pipeline.Submit(Options(12)))
        {
            double fraction = 0;
            var states = new List<JobState>();
            Until(() =>
            {
                JobStatus status = job.Status;
                True(status.Fraction >= fraction && status.Fraction <= 1, "fraction " + status.Fraction);
                True(status.Fraction < 1 || status.State == JobState.Succeeded, "1 before the end");
                fraction = status.Fraction;
                if (states.LastOrDefault() != status.State) states.Add(status.State);
                return status.State == JobState.Succeeded;
            }, "the job");
            JobStatus last = job.Status;
            Equal(1.0, last.Fraction, "fraction");
            True(last.Elapsed > TimeSpan.Zero, "elapsed");
            Equal(Stage.Decode, last.Stage, "stage");
            Equal(last.Total, last.Done, "done");
            Equal(0, last.JobsAhead, "ahead");
            Equal(last.Elapsed, job.Status.Elapsed, "elapsed stands still");
            job.Cancel(); // does nothing any more
            Equal(JobState.Succeeded, job.State, "state");
            job.TakeVideo().Dispose();
        }
    }

    private static void Cancelled()
    {
        using (Pipeline pipeline = Load())
        using (var gate = new Gate())
        using (Job running = pipeline.Submit(gate.Options()))
        using (Job queued = pipeline.Submit(Options()))
        using (var source = new CancellationTokenSource())
        using (Job byToken = pipeline.Submit(Options(), null, source.Token))
        {
            gate.Began.Wait();
            Equal(JobState.Running, running.State, "first");
            Equal(1, queued.Status.JobsAhead, "ahead");
            Fails(ErrorCode.Busy, () => running.TakeVideo());
            Fails(ErrorCode.Busy, () => pipeline.Generate(Options()));

            // The queued ones end at once, though the first still runs.
            queued.Cancel();
            Equal(JobState.Cancelled, queued.State, "queued");
            Equal(JobState.Cancelled, LastState(queued.Completion), "queued, awaited");
            var stop = Throws<OperationCanceledException>(() => queued.TakeVideo());
            Equal(CancellationToken.None, stop.CancellationToken, "no token");
            source.Cancel();
            Equal(JobState.Cancelled, LastState(byToken.Completion), "by token");
            stop = Throws<OperationCanceledException>(() => byToken.TakeVideo());
            Equal(source.Token, stop.CancellationToken, "token");

            Equal(JobState.Running, running.State, "first");
            running.Cancel();
            gate.Open.Set();
            running.Wait();
            Equal(JobState.Cancelled, running.State, "running");
            Throws<OperationCanceledException>(() => running.TakeVideo());
            Until(() => running.Completion.IsCompleted, "completion");
            StillWorks(pipeline);
        }
    }

    private static void Waiting()
    {
        using (Pipeline pipeline = Load())
        using (var gate = new Gate())
        using (Job job = pipeline.Submit(gate.Options()))
        {
            gate.Began.Wait();
            True(!job.Wait(TimeSpan.Zero), "0 seconds");
            True(!job.Wait(TimeSpan.FromMilliseconds(30)), "30 milliseconds");
            gate.Open.Set();
            True(job.Wait(TimeSpan.FromSeconds(60)), "a minute");
        }
        using (Pipeline pipeline = Load())
        {
            CogVideoXException busy = null;
            Job job = null;
            using (var known = new ManualResetEventSlim())
            {
                GenerateOptions options = Options();
                options.OnProgress = info =>
                {
                    known.Wait();
                    if (busy == null) busy = Fails(ErrorCode.Busy, () => job.Wait());
                    return true;
                };
                using (job = pipeline.Submit(options))
                {
                    known.Set();
                    job.Wait();
                    Equal(JobState.Succeeded, job.State, "state");
                }
            }
            True(busy != null, "waiting for itself");
        }
    }

    private static void Disposed()
    {
        using (Pipeline pipeline = Load())
        using (var gate = new Gate())
        {
            Job running = pipeline.Submit(gate.Options());
            Job queued = pipeline.Submit(Options());
            gate.Began.Wait();
            queued.Dispose();
            Equal(JobState.Cancelled, LastState(queued.Completion), "queued");
            running.Dispose();
            running.Dispose();
            gate.Open.Set();
            Equal(JobState.Cancelled, LastState(running.Completion), "running");
            Throws<ObjectDisposedException>(() => running.TakeVideo());
            Throws<ObjectDisposedException>(() => running.State.ToString());
            Throws<ObjectDisposedException>(() => running.Wait());
            running.Cancel(); // nothing

            // Not disposed of, and nobody has it: it goes on all the same.
            var task = SubmitAndForget(pipeline);
            for (int i = 0; i < 5; i++) Collect();
            Equal(JobState.Succeeded, LastState(task), "forgotten");
            StillWorks(pipeline);
        }
    }

    private static System.Threading.Tasks.Task<JobState> SubmitAndForget(Pipeline pipeline)
    {
        return pipeline.Submit(Options(20)).Completion;
    }

    private static void OutlivePipeline()
    {
        Pipeline pipeline = Load();
        using (Job first = pipeline.Submit(Options()))
        using (Job second = pipeline.Submit(Options()))
        {
            pipeline.Dispose();
            Throws<ObjectDisposedException>(() => pipeline.Submit(Options()));
            second.Wait();
            using (Video one = first.TakeVideo())
            using (Video other = second.TakeVideo()) Same(one.CopyFrames(), other.CopyFrames(), "frames");
        }
    }

    private static void Left()
    {
        Equal("9\n", RunChild("--child-leave " + Folder(), new Dictionary<string, string>(), 0), "output");
    }

    private static void LeftRunning()
    {
        foreach (string how in new[] { "return", "exit" })
        {
            Equal("Running Queued\n",
                RunChild("--child-running " + Folder() + " " + how, new Dictionary<string, string>(), 0), how);
        }
    }
}
