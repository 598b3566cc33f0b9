using System;
using System.Collections.Generic;
using CogVideoX;
using static Support;

internal static class MemoryTests
{
    internal static void List(List<KeyValuePair<string, Action>> tests)
    {
        tests.Add("memory: estimates, and runs that can't fit", Estimates);
        tests.Add("memory: 50 cycles of load, generate and free", Cycles);
    }

    private static void Estimates()
    {
        using (Pipeline pipeline = Pipeline.Load(Folder("2b"), new LoadOptions { NumThreads = 1 }))
        {
            GenerateOptions options = Options(1);
            ulong small = pipeline.EstimateMemory(options);
            options.Width = options.Height = Limits.MaxSide;
            options.NumFrames = Limits.MaxFrames;
            ulong large = pipeline.EstimateMemory(options);
            True(small > 0 && large > small && pipeline.EstimateMemory() > 0, small + ", " + large);
            Fails(ErrorCode.OutOfMemory, () => pipeline.Generate(options), large.ToString());
            options.MemoryCheck = false;
            options.OnProgress = info => false;
            Throws<OperationCanceledException>(() => pipeline.Generate(options));
        }
        Fails(ErrorCode.InvalidArgument,
            () => Pipeline.Load(Folder("2b"), new LoadOptions { NumThreads = Limits.MaxThreads + 1 }),
            "num_threads");
    }

    private static void Cycle()
    {
        using (Pipeline pipeline = Load("5b"))
        using (CacheConfig config = CacheConfig.Pab())
        {
            config.SetCurrentTimestepCallback(step => step.Timestep);
            pipeline.EnableCache(config);
            GenerateOptions options = Options(1);
            options.OnProgress = info => true;
            options.FrameBuffer = new FrameBuffer(PixelFormat.Rgba8, new byte[1 << 20]);
            using (Video video = pipeline.Generate(options)) True(video.CopyFrames().Length > 0, "frames");
            using (Video video = pipeline.GenerateAsync(options).Result) True(video.NumFrames > 0, "frames");
        }
    }

    private static void Cycles()
    {
        for (int i = 0; i < 15; i++) Cycle();
        // A leak grows for as long as there are cycles; heaps of the runtimes grow in steps, and
        // on a busy machine one may come late. So growth must stop, in one of three times 50.
        long grown = long.MaxValue;
        for (int time = 0; time < 3 && grown >= 8 << 20; time++)
        {
            Collect();
            long before = ResidentBytes();
            for (int i = 0; i < 50; i++) Cycle();
            Collect();
            grown = ResidentBytes() - before;
            Console.WriteLine("        grown by {0} KiB in 50 cycles", grown >> 10);
        }
        True(grown < 8 << 20, "grown by " + (grown >> 10) + " KiB, again and again");
    }
}
