using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Threading;
using CogVideoX;
using static Support;

internal static class LoadTests
{
    internal static void List(List<KeyValuePair<string, Action>> tests)
    {
        tests.Add("load: the library's version and interface", Versions);
        tests.Add("load: every declared function is in the library", EveryFunction);
        tests.Add("load: a pipeline and what it says of itself", Loads);
        tests.Add("load: progress, in bytes, from first to last", Progress);
        tests.Add("load: stopped by its callback, and by a token", Stopped);
        tests.Add("load: what is wrong with a folder or an option", Mistakes);
        tests.Add("load: products in bfloat16", MatmulPrecision);
        tests.Add("load: quantized weights take less", Quantized);
        tests.Add("load: weights that stream make the same video", Streams);
        tests.Add("load: a plan, and what follows it", Plans);
        tests.Add("load: kernels of CUDA devices", KernelsOfCudaDevices);
        tests.Add("load: asynchronously", Async);
        tests.Add("load: names that are not ASCII", Unicode);
        tests.Add("library: not there; the message lists what was tried", NotThere);
        tests.Add("library: there, but not loadable; the message has the loader's words", NotLoadable);
        tests.Add("library: by property, in the first call", ByProperty);
    }

    private static void Versions()
    {
        Equal(CogVideoXLibrary.BindingVersion, CogVideoXLibrary.Version, "version");
        Equal(1, CogVideoXLibrary.AbiVersion, "interface");
        Equal("INVALID_ARGUMENT", CogVideoXLibrary.NameOf(ErrorCode.InvalidArgument), "name");
        Equal("UNKNOWN", CogVideoXLibrary.NameOf((ErrorCode)999), "name of no code");
        foreach (ErrorCode code in Enum.GetValues(typeof(ErrorCode)))
        {
            string name = CogVideoXLibrary.NameOf(code).Replace("_", "");
            Equal(code.ToString().ToUpperInvariant(), name, "name of a code");
        }
    }

    private static void EveryFunction()
    {
        CogVideoXLibrary.Load();
        Type natives = typeof(Pipeline).Assembly.GetType("CogVideoX.Native.NativeMethods", true);
        MethodInfo[] functions = natives
            .GetMethods(BindingFlags.Static | BindingFlags.NonPublic)
            .Where(method => method.GetCustomAttribute<DllImportAttribute>() != null).ToArray();
        True(functions.Length > 140, "too few functions: " + functions.Length);
        foreach (MethodInfo function in functions) Marshal.Prelink(function); // throws without it
    }

    private static void Loads()
    {
        using (Pipeline pipeline = Load("2b"))
        {
            True(pipeline.Family.Contains("sine-cosine"), pipeline.Family);
            Equal("cpu", pipeline.Device, "device");
            Equal("f32", pipeline.Dtype, "dtype");
            Equal(8.0, pipeline.DefaultFps, "fps");
            Equal(50, pipeline.DefaultNumInferenceSteps, "steps");
            Equal(6.0, pipeline.DefaultGuidanceScale, "guidance");
            True(pipeline.WeightBytes > 1000, "weights: " + pipeline.WeightBytes);
            MemoryInfo memory = pipeline.ReadMemory();
            Equal(pipeline.WeightBytes, memory.Weights, "weights");
            True(memory.Process > memory.Weights && memory.ProcessPeak >= memory.Process, "process");
            True(!memory.IsWorking && memory.Cache == 0 && memory.CachePeak == 0, "no run");
            True(memory.Prompts == 0 && memory.Device == 0 && memory.DevicePeak == 0, "cpu");
            string[] capabilities = CogVideoXLibrary.ListCapabilities();
            True(capabilities.All(CogVideoXLibrary.HasCapability), "capabilities");
            True(capabilities.Contains("save.mp4") && !CogVideoXLibrary.HasCapability("save.webm"), "mp4");
            True(pipeline.NumAttentionLayers >= 1, "layers");
            Equal("transformer_blocks.0.attn1", pipeline.AttentionLayerName(0), "layer");
            Throws<ArgumentOutOfRangeException>(() => pipeline.AttentionLayerName(pipeline.NumAttentionLayers));
            Throws<ArgumentOutOfRangeException>(() => pipeline.AttentionLayerName(-1));
            LatentShape shape = pipeline.LatentShape();
            Equal(5, shape.Sides.Length, "sides");
            Equal(1L, shape.Sides[0], "videos");
            Equal(0, shape.PaddingFrames, "padding");
            Equal(shape.Sides.Aggregate(1L, (a, b) => a * b), shape.Count, "count");
            long[] ids = pipeline.Tokenize("a ball", 8);
            Equal(8, ids.Length, "ids");
            Equal(1L, ids.First(id => id == 1), "the end of the text");
            float[] embeddings = pipeline.EncodePrompt("a ball", 8);
            Equal(8 * pipeline.TextEmbedDim, embeddings.Length, "embeddings");
            True(embeddings.Any(x => x != 0) && embeddings.All(x => !float.IsNaN(x)), "numbers");
            using (var source = new CancellationTokenSource())
            {
                True(embeddings.SequenceEqual(pipeline.EncodePrompt("a ball", 8, source.Token)), "the same numbers");
                source.Cancel();
                Throws<OperationCanceledException>(() => pipeline.EncodePrompt("another ball", 8, source.Token));
            }
            Equal(pipeline.DefaultMaxSequenceLength, pipeline.Tokenize("a ball").Length, "default length");
        }
        using (Pipeline pipeline = Load("1.5-5b"))
        {
            Equal(16.0, pipeline.DefaultFps, "fps");
        }
    }

    private static void Progress()
    {
        var seen = new List<ProgressInfo>();
        var options = new LoadOptions { Device = "cpu", Dtype = "f32", OnProgress = info => { seen.Add(info); return true; } };
        var reported = new List<ProgressInfo>();
        using (Pipeline.Load(Folder(), options, new Collected(reported))) { }
        True(seen.Count > 1, "calls: " + seen.Count);
        True(seen.All(info => info.Stage == Stage.Load && info.Timestep == -1), "stage");
        Equal(seen.Last().Total, seen.Last().Done, "the end");
        for (int i = 1; i < seen.Count; i++) True(seen[i].Done >= seen[i - 1].Done, "falls");
        Equal(seen.Count, reported.Count, "IProgress besides the callback");
    }

    private static void MatmulPrecision()
    {
        try
        {
            using (Pipeline.Load(Folder(), new LoadOptions { CpuMatmulPrecision = "bfloat16" })) { }
        }
        catch (CogVideoXException error) when (error.Code == ErrorCode.InvalidArgument)
        {
            True(error.Message.Contains("AVX512_BF16"), error.Message);
        }
        Fails(ErrorCode.InvalidArgument,
            () => Pipeline.Load(Folder(), new LoadOptions { CpuMatmulPrecision = "bf16" }), "bfloat16");
    }

    private static void Quantized()
    {
        var kinds = new Dictionary<string, string> { { "transformer", "int4" }, { "text_encoder", "int8" } };
        using (Pipeline whole = Load())
        using (Pipeline pipeline = Pipeline.Load(Folder(), new LoadOptions { ComponentQuantizations = kinds }))
        {
            True(pipeline.WeightBytes < whole.WeightBytes, "weights: " + pipeline.WeightBytes);
            InTemporary(folder =>
            {
                string saved = Path.Combine(folder, "saved");
                pipeline.Save(saved);
                using (Pipeline again = Pipeline.Load(saved))
                {
                    Equal(pipeline.WeightBytes, again.WeightBytes, "weights of what was saved");
                }
                Fails(ErrorCode.InvalidArgument, () => pipeline.Save(saved), "saved");
            });
        }
        kinds["vae"] = "int8";
        Fails(ErrorCode.InvalidArgument,
            () => Pipeline.Load(Folder(), new LoadOptions { ComponentQuantizations = kinds }), "vae");
    }

    internal sealed class Collected : IProgress<ProgressInfo>
    {
        private readonly List<ProgressInfo> into;

        internal Collected(List<ProgressInfo> into) { this.into = into; }

        public void Report(ProgressInfo value) { into.Add(value); }
    }

    private static void Stopped()
    {
        var stop = Throws<OperationCanceledException>(
            () => Pipeline.Load(Folder(), new LoadOptions { OnProgress = info => false }));
        Equal(ErrorCode.Cancelled, ((CogVideoXException)stop.InnerException).Code, "code");

        using (var source = new CancellationTokenSource())
        {
            var options = new LoadOptions { OnProgress = info => { source.Cancel(); return true; } };
            stop = Throws<OperationCanceledException>(
                () => Pipeline.Load(Folder(), options, null, source.Token));
            Equal(source.Token, stop.CancellationToken, "token");
            Throws<OperationCanceledException>(() => Pipeline.Load(Folder(), null, null, source.Token));
        }
    }

    private static void Mistakes()
    {
        Fails(ErrorCode.NotFound, () => Pipeline.Load("/no/such/folder"), "/no/such/folder");
        Fails(
            ErrorCode.NotFound,
            () => Pipeline.Load(
                Path.Combine(Root, "tests", "pipelines", "2b"), new LoadOptions { PreviewDecoder = "no/decoder" }),
            "no/decoder");
        Fails(ErrorCode.InvalidArgument,
            () => Pipeline.Load(Folder(), new LoadOptions { Device = "toaster" }), "toaster");
        Fails(ErrorCode.InvalidArgument,
            () => Pipeline.Load(Folder(), new LoadOptions { Dtype = "f8" }), "f8");
        Fails(ErrorCode.NotFound,
            () => Pipeline.Load(Folder(), new LoadOptions { Variant = "none" }), "none");
        Throws<ArgumentNullException>(() => Pipeline.Load(null));
        var mistake = Throws<ArgumentException>(() => Pipeline.Load("a\0b"));
        True(mistake.Message.Contains("NUL") && mistake.ParamName == "folder", mistake.Message);
        Throws<ArgumentException>(() => Pipeline.Load("half a pair \ud800"));
        InTemporary(folder =>
        {
            File.WriteAllText(Path.Combine(folder, "model_index.json"), "{ not json");
            Fails(ErrorCode.InvalidCheckpoint, () => Pipeline.Load(folder), "model_index.json");
        });
    }

    private static void Plans()
    {
        byte[] expected;
        using (Pipeline pipeline = Load("2b"))
        using (Video video = pipeline.Generate(Options(2))) expected = video.CopyFrames();
        using (Plan plan = Plan.Make(Folder("2b"), 1UL << 40, new LoadOptions { Device = "cpu" }, Options(2)))
        {
            True(plan.Json.Contains("\"best\":0"), plan.Json);
            True(plan.ToString().Contains("yes, the fastest"), plan.ToString());
            foreach (LoadOptions options in new[]
            {
                new LoadOptions { Plan = plan }, new LoadOptions { MemoryBudget = 1UL << 40 },
                new LoadOptions { Offload = true },
            })
            {
                options.Device = "cpu";
                using (Pipeline pipeline = Pipeline.Load(Folder("2b"), options))
                using (Video video = pipeline.Generate(Options(2))) Same(expected, video.CopyFrames(), "frames");
            }
        }
        using (Plan none = Plan.Make(Folder("2b"), 1))
        {
            Fails(ErrorCode.OutOfMemory, () => Pipeline.Load(Folder("2b"), new LoadOptions { Plan = none }), "budget");
        }
        Fails(ErrorCode.NotFound, () => Plan.Make("nowhere", 0), "nowhere");
    }

    private static void Streams()
    {
        GenerateOptions options = Options(2);
        byte[] expected;
        ulong whole;
        using (Pipeline pipeline = Load("2b"))
        {
            whole = pipeline.WeightBytes;
            using (Video video = pipeline.Generate(options)) expected = video.CopyFrames();
        }
        foreach (string mode in new[] { "file", "host" })
        {
            var modes = new Dictionary<string, string> { { "text_encoder", mode }, { "transformer", mode } };
            using (Pipeline pipeline = Pipeline.Load(
                Folder("2b"), new LoadOptions { Device = "cpu", WeightStreaming = modes }))
            {
                if (mode == "file") True(pipeline.WeightBytes < whole, "bytes: " + pipeline.WeightBytes);
                using (Video video = pipeline.Generate(options))
                {
                    Same(expected, video.CopyFrames(), mode);
                }
            }
        }
        var wrong = new LoadOptions { WeightStreaming = new Dictionary<string, string> { { "vae", "file" } } };
        Fails(ErrorCode.InvalidArgument, () => Pipeline.Load(Folder("2b"), wrong), "vae");
    }

    private static void KernelsOfCudaDevices()
    {
        using (Pipeline pipeline = Pipeline.Load(
            Folder("2b"), new LoadOptions { Device = "cpu", CudaKernels = "fused" }))
        using (Video video = pipeline.Generate(Options(2)))
        {
            True(!video.Kernels.Contains("fused"), video.Kernels);
        }
        Fails(ErrorCode.InvalidArgument,
            () => Pipeline.Load(Folder("2b"), new LoadOptions { CudaKernels = "triton" }), "triton");
    }

    private static void Async()
    {
        using (Pipeline pipeline = Pipeline.LoadAsync(Folder()).Result) Equal("cpu", pipeline.Device, "device");
        var failed = Throws<AggregateException>(() => Pipeline.LoadAsync("/nowhere").Wait());
        Equal(ErrorCode.NotFound, ((CogVideoXException)failed.InnerException).Code, "code");
        using (var source = new CancellationTokenSource())
        {
            var options = new LoadOptions { OnProgress = info => { source.Cancel(); return true; } };
            var task = Pipeline.LoadAsync(Folder(), options, null, source.Token);
            Throws<AggregateException>(() => task.Wait());
            True(task.IsCanceled, "status: " + task.Status);
        }
    }

    private static void Unicode()
    {
        InTemporary(folder =>
        {
            string named = Path.Combine(folder, "型 – пример 🎥");
            Directory.CreateDirectory(named);
            Fails(ErrorCode.NotFound, () => Pipeline.Load(named), "型 – пример 🎥");
        });
    }

    private static void NotThere()
    {
        string output = RunChild("--child-version", new Dictionary<string, string>
        {
            { "COGVIDEOX_LIBRARY", null }, { "LD_LIBRARY_PATH", "/some/folder:/other" },
        }, 3);
        foreach (string words in new[]
        {
            "could not be loaded", "COGVIDEOX_LIBRARY: not set", "/some/folder/libcogvideox.so: not there",
            "/other/libcogvideox.so: not there", "system's library folders",
            Path.GetDirectoryName(typeof(Pipeline).Assembly.Location) + "/libcogvideox.so: not there",
        })
        {
            True(output.Contains(words), "no \"" + words + "\" in " + output);
        }
        True(!output.Contains("TRIED 0") && output.Contains("TRIED"), output);

        output = RunChild("--child-version", new Dictionary<string, string>
        {
            { "COGVIDEOX_LIBRARY", "/no/such/library.so" },
        }, 3);
        True(output.Contains("/no/such/library.so: not there"), output);
    }

    private static void NotLoadable()
    {
        InTemporary(folder =>
        {
            string file = Path.Combine(folder, "libcogvideox.so");
            File.WriteAllText(file, "not a library");
            string output = RunChild("--child-version", new Dictionary<string, string>
            {
                { "COGVIDEOX_LIBRARY", file },
            }, 3);
            True(output.Contains(file) && output.Contains("invalid ELF header") || output.Contains("file too short"),
                output);
        });
    }

    private static void ByProperty()
    {
        string library = Environment.GetEnvironmentVariable(CogVideoXLibrary.PathVariable);
        string output = RunChild("--child-path " + library, new Dictionary<string, string>
        {
            { "COGVIDEOX_LIBRARY", "/no/such/library.so" }, // the property wins
        }, 0);
        Equal("NotFound\ntoo late\n", output, "output");
    }
}
