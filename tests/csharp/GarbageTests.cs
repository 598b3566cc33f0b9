using System;
using System.Collections.Generic;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Threading;
using CogVideoX;
using static Support;

internal static class GarbageTests
{
    internal static void List(List<KeyValuePair<string, Action>> tests)
    {
        tests.Add("collector: in every callback", InCallbacks);
        tests.Add("collector: all the time on another thread", Beside);
        tests.Add("collector: callbacks are let go when their runs are over", LetGo);
        tests.Add("collector: objects that nobody disposed of are freed", Finalized);
    }

    private static void Litter()
    {
        for (int i = 0; i < 200; i++) GC.KeepAlive(new byte[1000]);
        GC.Collect();
    }

    private static GenerateOptions Littering()
    {
        GenerateOptions options = Options(8);
        options.Prompt = string.Join(" ", Enumerable.Repeat("ball", 60));
        options.MaxSequenceLength = 8;
        options.OnProgress = info => { Litter(); return true; };
        options.OnLog = message => Litter();
        options.OnFrames = chunk =>
        {
            byte[] before = chunk.ToArray();
            Litter();
            Same(before, chunk.ToArray(), "a chunk after a collection");
            return true;
        };
        return options;
    }

    private static void InCallbacks()
    {
        using (Pipeline pipeline = Load("5b"))
        {
            int asked = 0;
            using (CacheConfig config = CacheConfig.FasterCache())
            {
                config.SetUnconditionalBatchTimestepSkipRange(-1, 1000)
                    .SetSpatialAttentionTimestepSkipRange(-1, 1000)
                    .SetCurrentTimestepCallback(step => { Litter(); asked++; return step.Timestep; })
                    .SetAttentionWeightCallback(layer => { Litter(); asked++; return 0.5; })
                    .SetLowFrequencyWeightCallback(step => { Litter(); asked++; return 1.1; })
                    .SetHighFrequencyWeightCallback(step => { Litter(); asked++; return 1.1; });
                pipeline.EnableCache(config);
            }
            Collect();
            byte[] first;
            using (Video video = pipeline.Generate(Littering())) first = video.CopyFrames();
            using (Video video = pipeline.GenerateAsync(Littering()).Result)
            {
                Same(first, video.CopyFrames(), "frames");
            }
            True(asked > 2 * 8, "asked " + asked + " times");
        }
    }

    private static void Beside()
    {
        bool stop = false;
        int collections = 0;
        var collector = new Thread(() =>
        {
            while (!Volatile.Read(ref stop))
            {
                Litter();
                GC.WaitForPendingFinalizers();
                collections++;
            }
        });
        collector.Start();
        try
        {
            byte[] first = null;
            for (int i = 0; i < 15; i++)
            {
                using (Pipeline pipeline = Load())
                using (CacheConfig config = CacheConfig.Pab())
                {
                    config.SetCurrentTimestepCallback(step => step.Timestep);
                    pipeline.EnableCache(config);
                    GenerateOptions options = Options(3);
                    options.OnProgress = info => info.Total > 0;
                    using (Video video = pipeline.Generate(options))
                    {
                        byte[] frames = video.CopyFrames();
                        Same(first ?? frames, frames, "run " + i);
                        first = frames;
                    }
                }
            }
        }
        finally
        {
            Volatile.Write(ref stop, true);
            collector.Join();
        }
        True(collections > 15, "collections: " + collections);
    }

    private sealed class Payload
    {
        internal readonly byte[] Bytes = new byte[100];
    }

    // mono's collector reads the stack conservatively: a word there may look like a reference,
    // so a few objects may stay; all of them would mean that user_data is not freed.
    private static void LetGo()
    {
        const int runs = 20;
        using (Pipeline pipeline = Load())
        {
            var payloads = new List<WeakReference>();
            for (int i = 0; i < runs; i++) RunWithPayload(pipeline, payloads, i);
            pipeline.DisableCache();
            Burn(100);
            Until(() =>
            {
                Collect();
                return payloads.Count(payload => payload.IsAlive) <= payloads.Count / 10;
            }, "payloads are let go");
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void RunWithPayload(Pipeline pipeline, List<WeakReference> payloads, int run)
    {
        var payload = new Payload();
        payloads.Add(new WeakReference(payload));
        GenerateOptions options = Options(2);
        options.OnProgress = info => payload.Bytes.Length > 0;
        options.OnLog = message => GC.KeepAlive(payload);
        options.OnFrames = chunk => payload.Bytes.Length > 0;
        using (CacheConfig config = CacheConfig.Pab())
        {
            config.SetCurrentTimestepCallback(step => payload.Bytes.Length);
            pipeline.EnableCache(config);
        }
        switch (run % 4)
        {
            case 0: // ends well
                pipeline.Generate(options).Dispose();
                break;
            case 1: // as a job
                pipeline.GenerateAsync(options).Result.Dispose();
                break;
            case 2: // is stopped
                options.OnProgress = info => payload.Bytes.Length < 0;
                Throws<OperationCanceledException>(() => pipeline.Generate(options));
                break;
            default: // is refused before it begins
                options.NumFrames = -1;
                Fails(ErrorCode.InvalidArgument, () => pipeline.Submit(options));
                break;
        }
    }

    // Overwrites what earlier calls left on the stack.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static int Burn(int depth)
    {
        return depth == 0 ? 0 : Burn(depth - 1) + depth;
    }

    private static void Finalized()
    {
        // What is never freed is so each time; what the heap and the collector keep is not.
        long grown = long.MaxValue;
        for (int time = 0; time < 3 && grown >= 24 << 20; time++)
        {
            Collect();
            long before = ResidentBytes();
            for (int i = 0; i < 60; i++)
            {
                Leave();
                if (i % 5 == 4) Collect();
            }
            Collect();
            grown = ResidentBytes() - before;
        }
        True(grown < 24 << 20, "grown by " + (grown >> 10) + " KiB, again and again");
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Leave()
    {
        Pipeline pipeline = Load();
        CacheConfig config = CacheConfig.Pab();
        pipeline.EnableCache(config);
        GC.KeepAlive(pipeline.Generate(Options(1)).Frames(PixelFormat.F32));
        GC.KeepAlive(pipeline.CacheStatistics());
    }
}
