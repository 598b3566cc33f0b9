// What a call costs from C#: microseconds per call, as JSON. Run at the root of the checkout; the
// best of many short rounds is told, since anything else on the machine only adds. The same calls
// as in call_overhead.cpp.

using System;
using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using CogVideoX;

internal static class CallOverhead
{
    private static long sink;
    private static bool printed;

    private static void Measure(string name, int calls, Action<int> call)
    {
        // Rounds are shorter than the time that a busy machine leaves a program without a break.
        const int Rounds = 500;
        calls /= Rounds;
        double best = double.MaxValue;
        for (int round = 0; round < Rounds; round++)
        {
            var watch = Stopwatch.StartNew();
            for (int i = 0; i < calls; i++) call(i);
            best = Math.Min(best, watch.Elapsed.TotalMilliseconds * 1000 / calls);
        }
        Console.Write("{0}\n    \"{1}\": {{\"csharp\": {2}}}", printed ? "," : "", name,
            best.ToString("0.00000", CultureInfo.InvariantCulture));
        printed = true;
    }

    private static int Main()
    {
        var options = new GenerateOptions("")
        {
            Width = 32, Height = 32, NumFrames = 9, NumInferenceSteps = 1, MaxSequenceLength = 8,
        };
        using (Pipeline pipeline = Pipeline.Load("tests/pipelines/5b"))
        using (Video video = pipeline.Generate(options))
        using (Job job = pipeline.Submit(options))
        using (CacheConfig config = CacheConfig.Pab())
        {
            job.Wait();
            Console.Write("{{\n  \"unit\": \"microseconds per call\",\n  \"library\": \"{0}\",\n  \"calls\": {{",
                CogVideoXLibrary.Version);
            Measure("number", 1000000, i => sink = video.NumFrames);
            Measure("text", 200000, i => sink = pipeline.Family[0]);
            Measure("set number", 500000, i => config.SetSpatialAttentionBlockSkipRange(2));
            Measure("set text", 200000, i => config.SetCacheDtype("f16"));
            Measure("set callback", 50000,
                i => config.SetCurrentTimestepCallback(step => step.Timestep + i));
            Measure("error", 5000, i =>
            {
                try
                {
                    config.SetSpatialAttentionBlockSkipRange(-1);
                }
                catch (CogVideoXException e)
                {
                    sink = (long)e.Code + e.Message[0];
                }
            });
            Measure("object", 50000, i => CacheConfig.Pab().Dispose());
            Measure("poll", 200000, i => sink = (long)job.Status.State);
            Measure("frames", 200000, i => sink = Marshal.ReadByte(video.Frames().Pointer));
            Console.WriteLine("\n  }\n}");
        }
        return 0;
    }
}
