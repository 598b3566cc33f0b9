using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Linq;
using CogVideoX;
using static Support;

/// <summary>
/// The same run by a C program (frames.c) and by the binding: the same bytes.
/// </summary>
internal static class ParityTests
{
    internal static void List(List<KeyValuePair<string, Action>> tests)
    {
        foreach (string family in new[] { "2b", "5b", "1.5-5b" })
        {
            foreach (string technique in new[] { "none", "pab", "faster_cache" })
            {
                tests.Add("parity: " + family + ", " + technique, () => Compare(family, technique));
            }
        }
    }

    private const string Prompt = "ein roter Ball 🎾 fällt";

    private static void Compare(string family, string technique)
    {
        InTemporary(folder =>
        {
            string file = Path.Combine(folder, "frames");
            RunC(Folder(family), Prompt, technique, file);
            using (Pipeline pipeline = Load(family))
            {
                // As frames.c does it.
                if (technique != "none")
                {
                    using (CacheConfig config = CacheConfig.Create(technique))
                    {
                        config.SetCurrentTimestepCallback(step => step.Timestep * 0.75);
                        if (technique == "faster_cache") config.SetAttentionWeightCallback(
                            layer => 0.25 + 0.125 * layer.Layer + 0.03125 * layer.Step);
                        pipeline.EnableCache(config);
                    }
                }
                var options = new GenerateOptions(Prompt)
                {
                    NegativePrompt = "blau",
                    NumInferenceSteps = 12,
                    Seed = 0xfedcba9876543210,
                    GuidanceScale = 4.5,
                };
                using (Video video = pipeline.Generate(options))
                {
                    byte[] expected = File.ReadAllBytes(file);
                    byte[] found = video.CopyFrames(PixelFormat.Rgb8)
                        .Concat(video.CopyFrames(PixelFormat.Rgba8))
                        .Concat(video.CopyFrames(PixelFormat.F32))
                        .Concat(Bytes(video.CopyLatents().Data)).ToArray();
                    Same(expected, found, "bytes");
                }
            }
        });
    }

    private static byte[] Bytes(float[] numbers)
    {
        var bytes = new byte[numbers.Length * 4];
        Buffer.BlockCopy(numbers, 0, bytes, 0, bytes.Length);
        return bytes;
    }

    private static void RunC(params string[] arguments)
    {
        var start = new ProcessStartInfo(CProgram, string.Join(" ", arguments.Select(a => "\"" + a + "\"")))
        {
            UseShellExecute = false,
            RedirectStandardError = true,
        };
        using (Process child = Process.Start(start))
        {
            string errors = child.StandardError.ReadToEnd();
            child.WaitForExit();
            Equal(0, child.ExitCode, "exit status of the C program; " + errors);
        }
    }
}
