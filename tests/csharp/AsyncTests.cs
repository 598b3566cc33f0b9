using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using CogVideoX;
using static Support;

internal static class AsyncTests
{
    internal static void List(List<KeyValuePair<string, Action>> tests)
    {
        tests.Add("async: what Generate gives, with progress on another thread", Gives);
        tests.Add("async: cancelled tasks", Cancelled);
        tests.Add("async: failed tasks", Failed);
        tests.Add("async: a thread pool that is full does not hold it up", NoPoolThread);
        tests.Add("async: several on one pipeline, and on clones", Several);
    }

    private static void Gives()
    {
        using (Pipeline pipeline = Load())
        {
            byte[] direct;
            using (Video video = pipeline.Generate(Options())) direct = video.CopyFrames();
            var seen = new List<ProgressInfo>();
            var threads = new HashSet<int>();
            GenerateOptions options = Options();
            options.OnProgress = info => { threads.Add(Thread.CurrentThread.ManagedThreadId); return true; };
            Task<Video> task = pipeline.GenerateAsync(options, new LoadTests.Collected(seen));
            using (Video video = task.Result) Same(direct, video.CopyFrames(), "frames");
            True(seen.Count > 4, "progress");
            True(!threads.Contains(Thread.CurrentThread.ManagedThreadId), "thread");
        }
    }

    private static void Cancelled()
    {
        using (Pipeline pipeline = Load())
        using (var source = new CancellationTokenSource())
        {
            GenerateOptions options = Options(1000);
            int steps = 0;
            options.OnProgress = info =>
            {
                if (info.Stage == Stage.Denoise && ++steps == 3) source.Cancel();
                return true;
            };
            Task<Video> task = pipeline.GenerateAsync(options, null, source.Token);
            Task<Video> behind = pipeline.GenerateAsync(Options());
            Throws<AggregateException>(() => task.Wait());
            True(task.IsCanceled, "status " + task.Status);
            True(steps >= 3 && steps < 1000, "steps " + steps);
            behind.Result.Dispose(); // not affected
            True(pipeline.GenerateAsync(Options(), null, source.Token).IsCanceled, "cancelled before");
        }
    }

    private static void Failed()
    {
        using (Pipeline pipeline = Load())
        {
            GenerateOptions options = Options();
            options.NumInferenceSteps = 0;
            Task<Video> task = pipeline.GenerateAsync(options);
            var failure = (CogVideoXException)Throws<AggregateException>(() => task.Wait()).InnerException;
            Equal(ErrorCode.InvalidArgument, failure.Code, "code");
            options = Options();
            options.OnProgress = info => { throw new FormatException("no"); };
            task = pipeline.GenerateAsync(options);
            failure = (CogVideoXException)Throws<AggregateException>(() => task.Wait()).InnerException;
            Equal(ErrorCode.CallbackFailed, failure.Code, "code");
            True(failure.InnerException is FormatException, "inner");
            Throws<ArgumentNullException>(() => pipeline.GenerateAsync(null));
        }
    }

    // With every thread of the pool taken, a run has to get as far as its end: only what
    // follows it, the task's own continuation, needs a thread of the pool.
    private static void NoPoolThread()
    {
        int workers, ports, oldWorkers, oldPorts;
        ThreadPool.GetMinThreads(out oldWorkers, out oldPorts);
        ThreadPool.GetMaxThreads(out workers, out ports);
        using (Pipeline pipeline = Load())
        using (var release = new ManualResetEventSlim())
        using (var ended = new ManualResetEventSlim())
        {
            int maximum = Math.Max(oldWorkers, 4);
            True(ThreadPool.SetMaxThreads(maximum, ports), "a small pool");
            try
            {
                using (var taken = new CountdownEvent(maximum))
                {
                    for (int i = 0; i < maximum; i++)
                    {
                        ThreadPool.QueueUserWorkItem(_ => { taken.Signal(); release.Wait(); });
                    }
                    True(taken.Wait(TimeSpan.FromSeconds(30)), "the pool could not be filled");
                    GenerateOptions options = Options();
                    options.OnProgress = info =>
                    {
                        True(!Thread.CurrentThread.IsThreadPoolThread, "it runs on the pool");
                        if (info.Stage == Stage.Decode && info.Done == info.Total) ended.Set();
                        return true;
                    };
                    Task<Video> task = pipeline.GenerateAsync(options);
                    True(ended.Wait(TimeSpan.FromSeconds(30)), "the run waited for the pool");
                    release.Set();
                    task.Result.Dispose();
                }
            }
            finally
            {
                release.Set();
                ThreadPool.SetMaxThreads(workers, ports);
            }
        }
    }

    private static void Several()
    {
        using (Pipeline pipeline = Load())
        using (Pipeline clone = pipeline.Clone())
        {
            byte[] direct;
            using (Video video = pipeline.Generate(Options())) direct = video.CopyFrames();
            Task<Video>[] tasks = Enumerable.Range(0, 6)
                .Select(i => (i % 2 == 0 ? pipeline : clone).GenerateAsync(Options())).ToArray();
            foreach (Task<Video> task in tasks)
            {
                using (Video video = task.Result) Same(direct, video.CopyFrames(), "frames");
            }
        }
    }
}
