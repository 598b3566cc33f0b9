using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using CogVideoX;
using static Support;

internal static class LoraTests
{
    internal static void List(List<KeyValuePair<string, Action>> tests)
    {
        tests.Add("lora: adapters loaded, chosen, disabled, fused and unloaded", Adapters);
        tests.Add("lora: mistakes are named and change nothing", Mistakes);
    }

    /// <summary>One of the adapters that the goldens were made with.</summary>
    private static string Adapter(string file, string family = "2b")
    {
        return Path.Combine(Root, "tests", "goldens", "lora", family, file + ".safetensors");
    }

    private static byte[] Frames(Pipeline pipeline, double scale = 1)
    {
        GenerateOptions options = Options(2);
        options.LoraScale = scale;
        using (Video video = pipeline.Generate(options)) return video.CopyFrames();
    }

    private static string Told(Pipeline pipeline)
    {
        return string.Join(", ", pipeline.Adapters);
    }

    private static void Adapters()
    {
        using (Pipeline pipeline = Load())
        {
            byte[] plain = Frames(pipeline);
            pipeline.LoadLora(Adapter("every"));
            byte[] adapted = Frames(pipeline);
            True(!adapted.SequenceEqual(plain), "the adapter changes nothing");
            Same(plain, Frames(pipeline, 0), "scale 0");
            pipeline.LoadLora(Adapter("attention"), "style");
            Equal("default_0: 0, style: 1", Told(pipeline), "the last loaded is active");
            pipeline.SetAdapters(new[] { "style", "default_0" }, new[] { -0.5, 0.25 });
            Equal("default_0: 0.25, style: -0.5", Told(pipeline), "weights");
            byte[] both = Frames(pipeline);
            using (Pipeline clone = pipeline.Clone())
            {
                pipeline.EnableLora(false);
                Same(plain, Frames(pipeline), "disabled");
                Same(both, Frames(clone), "the clone");
                pipeline.EnableLora(true);
                pipeline.SetAdapters("default_0");
                pipeline.FuseLora();
                Same(Frames(pipeline), Frames(pipeline, 0), "fused adapters have no scale");
                Fails(ErrorCode.InvalidArgument, () => pipeline.FuseLora(), "fused");
                pipeline.UnfuseLora();
                Same(adapted, Frames(pipeline), "unfused");
                pipeline.UnloadLora();
                Same(plain, Frames(pipeline), "unloaded");
                Equal(0, pipeline.Adapters.Count, "adapters");
                Equal(2, clone.Adapters.Count, "adapters of the clone");
            }
        }
    }

    private static void Mistakes()
    {
        using (Pipeline pipeline = Load())
        {
            Throws<ArgumentNullException>(() => pipeline.LoadLora(null));
            Throws<ArgumentNullException>(() => pipeline.SetAdapters((string[])null));
            Throws<ArgumentNullException>(() => pipeline.SetAdapters("a", null));
            Throws<ArgumentException>(() => pipeline.SetAdapters(new[] { "a" }, new[] { 1.0, 2 }));
            Throws<ArgumentException>(() => pipeline.LoadLora("a\0b"));
            Fails(ErrorCode.NotFound, () => pipeline.LoadLora("no/such"), "no/such");
            Fails(ErrorCode.InvalidCheckpoint, () => pipeline.LoadLora(Adapter("every", "5b")), "expected");
            Fails(ErrorCode.InvalidArgument, () => pipeline.SetAdapters("a"), "\"a\"", "loaded are none");
            Fails(ErrorCode.InvalidArgument, () => pipeline.SetAdapters(), "at least one");
            pipeline.LoadLora(Adapter("older"), "a");
            Fails(ErrorCode.InvalidArgument, () => pipeline.LoadLora(Adapter("older"), "a"), "\"a\"");
            Fails(ErrorCode.InvalidArgument,
                () => pipeline.SetAdapters(new[] { "a" }, new[] { double.NaN }), "weights[0]");
            Fails(ErrorCode.InvalidArgument, () => Frames(pipeline, double.NaN), "lora_scale");
            Equal("a: 1", Told(pipeline), "adapters");
        }
    }
}
