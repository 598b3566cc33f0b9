using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using CogVideoX;
using static Support;

internal static class ExceptionTests
{
    private sealed class Thrown : Exception
    {
        internal Thrown() : base("thrown by a test") { }
    }

    internal static void List(List<KeyValuePair<string, Action>> tests)
    {
        tests.Add("exceptions: out of each callback of a run", OfRun);
        tests.Add("exceptions: out of each callback of a cache", OfCache);
        tests.Add("exceptions: out of the callbacks of a load", OfLoad);
        tests.Add("exceptions: out of the callbacks of a job, each to its own job", OfJobs);
        tests.Add("exceptions: of clones with one config stay apart", OfClones);
        tests.Add("exceptions: out of a decoder", OfDecoder);
        tests.Add("exceptions: a cancellation that a callback throws", Cancellation);
        tests.Add("exceptions: an answer that cannot be used", Unusable);
    }

    private sealed class Throwing : IProgress<ProgressInfo>
    {
        public void Report(ProgressInfo value) { throw new Thrown(); }
    }

    private static void Throws(Action action)
    {
        CogVideoXException failure = Fails(ErrorCode.CallbackFailed, action, "Thrown", "thrown by a test");
        True(failure.InnerException is Thrown, "inner: " + failure.InnerException);
    }

    private static readonly Dictionary<string, Action<GenerateOptions>> RunCallbacks =
        new Dictionary<string, Action<GenerateOptions>>
        {
            { "progress", o => o.OnProgress = info => { throw new Thrown(); } },
            { "progress in the middle", o => o.OnProgress = info =>
                {
                    if (info.Stage == Stage.Denoise && info.Done == 2) throw new Thrown();
                    return true;
                } },
            { "progress at the end", o => o.OnProgress = info =>
                {
                    if (info.Stage == Stage.Decode && info.Done == info.Total) throw new Thrown();
                    return true;
                } },
            { "frames", o => o.OnFrames = chunk => { throw new Thrown(); } },
            { "log", o =>
                {
                    o.OnLog = message => { throw new Thrown(); };
                    o.Prompt = string.Join(" ", Enumerable.Repeat("ball", 60));
                    o.MaxSequenceLength = 8;
                } },
        };

    private static void OfRun()
    {
        using (Pipeline pipeline = Load())
        {
            foreach (KeyValuePair<string, Action<GenerateOptions>> callback in RunCallbacks)
            {
                GenerateOptions options = Options();
                callback.Value(options);
                Throws(() => pipeline.Generate(options));
                StillWorks(pipeline);
            }
            Throws(() => pipeline.Generate(Options(), new Throwing()));
            StillWorks(pipeline);
        }
    }

    private static readonly Dictionary<string, Action<CacheConfig>> CacheCallbacks =
        new Dictionary<string, Action<CacheConfig>>
        {
            { "timestep", c => c.SetCurrentTimestepCallback(step => { throw new Thrown(); }) },
            { "weight", c => c.SetAttentionWeightCallback(layer => { throw new Thrown(); }) },
            { "low", c => c.SetLowFrequencyWeightCallback(step => { throw new Thrown(); }) },
            { "high", c => c.SetHighFrequencyWeightCallback(step => { throw new Thrown(); }) },
        };

    private static void OfCache()
    {
        using (Pipeline pipeline = Load())
        {
            foreach (KeyValuePair<string, Action<CacheConfig>> callback in CacheCallbacks)
            {
                using (CacheConfig config = CacheConfig.FasterCache())
                {
                    config.SetUnconditionalBatchTimestepSkipRange(-1, 1000);
                    config.SetSpatialAttentionTimestepSkipRange(-1, 1000);
                    callback.Value(config);
                    pipeline.EnableCache(config);
                }
                Throws(() => pipeline.Generate(Options(12)));
                Throws(() => pipeline.Generate(Options(12))); // and again
                using (Job job = pipeline.Submit(Options(12)))
                {
                    job.Wait();
                    Throws(() => job.TakeVideo());
                }
                pipeline.DisableCache();
                StillWorks(pipeline);
            }
        }
    }

    private static void OfLoad()
    {
        Throws(() => Pipeline.Load(Folder(), new LoadOptions { OnProgress = info => { throw new Thrown(); } }));
        Throws(() => Pipeline.Load(Folder(), null, new Throwing()));
        // What "auto" chose is a message.
        Throws(() => Pipeline.Load(Folder(), new LoadOptions { OnLog = message => { throw new Thrown(); } }));

        // A log callback of the load that throws in a run, and in enabling a cache.
        bool quiet = true;
        var options = new LoadOptions { OnLog = message => { if (!quiet) throw new Thrown(); } };
        using (Pipeline pipeline = Pipeline.Load(Folder(), options))
        using (CacheConfig config = CacheConfig.Pab())
        {
            quiet = false;
            var cut = new GenerateOptions(string.Join(" ", Enumerable.Repeat("ball", 60)))
            {
                NumInferenceSteps = 2, MaxSequenceLength = 8,
            };
            Throws(() => pipeline.Generate(cut));
            config.SetCrossAttentionBlockSkipRange(2);
            config.SetSpatialAttentionBlockSkipRange(2);
            try
            {
                pipeline.EnableCache(config); // may log that cross-attention selects nothing
            }
            catch (CogVideoXException e)
            {
                True(e.InnerException is Thrown, "inner: " + e);
            }
            quiet = true;
            StillWorks(pipeline);
        }
    }

    private static void OfJobs()
    {
        using (Pipeline pipeline = Load())
        {
            GenerateOptions bad = Options();
            bad.OnProgress = info => { throw new Thrown(); };
            using (Job first = pipeline.Submit(Options()))
            using (Job second = pipeline.Submit(bad))
            using (Job third = pipeline.Submit(Options()))
            {
                third.Wait();
                Throws(() => second.TakeVideo());
                Throws(() => second.TakeVideo()); // as often as asked
                first.TakeVideo().Dispose();
                third.TakeVideo().Dispose();
                Fails(ErrorCode.InvalidArgument, () => third.TakeVideo());
            }
        }
    }

    private static void OfClones()
    {
        using (Pipeline pipeline = Load())
        using (Pipeline clone = pipeline.Clone())
        using (CacheConfig config = CacheConfig.Pab())
        {
            // Throws for runs of 7 steps only.
            config.SetCurrentTimestepCallback(step =>
            {
                if (step.NumSteps == 7 && step.Step == 3) throw new Thrown();
                return step.Timestep;
            });
            pipeline.EnableCache(config);
            clone.EnableCache(config);
            for (int i = 0; i < 5; i++)
            {
                Exception beside = null;
                var thread = new Thread(() =>
                {
                    try
                    {
                        clone.Generate(Options(8)).Dispose();
                    }
                    catch (Exception e)
                    {
                        beside = e;
                    }
                });
                thread.Start();
                Throws(() => pipeline.Generate(Options(7)));
                thread.Join();
                Equal(null, beside, "the clone's exception");
            }
        }
    }

    private static void OfDecoder()
    {
        using (Pipeline pipeline = Load())
        {
            LatentShape shape = pipeline.LatentShape();
            var latents = new Latents(new float[shape.Count], shape.Sides);
            var options = new GenerateOptions { OnProgress = info => { throw new Thrown(); } };
            Throws(() => pipeline.DecodeLatents(latents, options));
            pipeline.DecodeLatents(latents).Dispose();
        }
    }

    private static void Cancellation()
    {
        using (Pipeline pipeline = Load())
        using (var source = new CancellationTokenSource())
        {
            GenerateOptions options = Options();
            options.OnProgress = info =>
            {
                source.Cancel();
                source.Token.ThrowIfCancellationRequested();
                return true;
            };
            var stop = Support.Throws<OperationCanceledException>(
                () => pipeline.Generate(options, null, source.Token));
            Equal(source.Token, stop.CancellationToken, "token");

            // Of somebody else's token: an exception like others.
            var failure = Fails(ErrorCode.CallbackFailed, () => pipeline.Generate(options));
            True(failure.InnerException is OperationCanceledException, "inner: " + failure.InnerException);
        }
    }

    private static void Unusable()
    {
        using (Pipeline pipeline = Load())
        using (CacheConfig config = CacheConfig.Pab())
        {
            config.SetCurrentTimestepCallback(step => double.NaN);
            pipeline.EnableCache(config);
            CogVideoXException failure = Fails(ErrorCode.CallbackFailed, () => pipeline.Generate(Options()));
            Equal(null, failure.InnerException, "inner");
            config.SetCurrentTimestepCallback(step => 5000);
            pipeline.EnableCache(config);
            Fails(ErrorCode.CallbackFailed, () => pipeline.Generate(Options()), "5000");
        }
    }
}
