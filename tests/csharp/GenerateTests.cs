using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Threading;
using CogVideoX;
using static Support;

internal static class GenerateTests
{
    internal static void List(List<KeyValuePair<string, Action>> tests)
    {
        tests.Add("generate: progress in order, on the calling thread", Progress);
        tests.Add("generate: cancelled by a token in the middle, from another thread", Cancelled);
        tests.Add("generate: a token that is cancelled already", CancelledBefore);
        tests.Add("generate: stopped by the callback", Stopped);
        tests.Add("generate: options out of range are named", Mistakes);
        tests.Add("generate: busy for a second thread and for its own callback", Busy);
        tests.Add("generate: several clones at once, each what it makes alone", Clones);
        tests.Add("generate: every option reaches the library", EveryOption);
        tests.Add("generate: log messages", Log);
        tests.Add("generate: latents out and in again", LatentsOut);
    }

    private static void Progress()
    {
        using (Pipeline pipeline = Load())
        {
            var seen = new List<ProgressInfo>();
            var threads = new HashSet<int>();
            GenerateOptions options = Options(4);
            options.OnProgress = info =>
            {
                seen.Add(info);
                threads.Add(Thread.CurrentThread.ManagedThreadId);
                return true;
            };
            pipeline.Generate(options).Dispose();
            Same(new[] { Thread.CurrentThread.ManagedThreadId }, threads.ToArray(), "threads");
            Same(new[] { Stage.Encode, Stage.Denoise, Stage.Decode },
                seen.Select(info => info.Stage).Distinct().ToArray(), "stages");
            ProgressInfo[] steps = seen.Where(info => info.Stage == Stage.Denoise).ToArray();
            Same(new ulong[] { 1, 2, 3, 4 }, steps.Select(info => info.Done).ToArray(), "steps");
            True(steps.All(info => info.Total == 4 && info.Timestep >= 0 && info.Timestep < 1000), "timesteps");
            Equal("Denoise 1/4", steps[0].ToString(), "text");
        }
    }

    private static void Cancelled()
    {
        using (Pipeline pipeline = Load())
        using (var source = new CancellationTokenSource())
        using (var midway = new ManualResetEventSlim())
        {
            GenerateOptions options = Options(1000);
            ulong done = 0;
            options.OnProgress = info =>
            {
                if (info.Stage == Stage.Denoise) done = info.Done;
                if (done == 5) midway.Set();
                return true;
            };
            var canceller = new Thread(() => { midway.Wait(); source.Cancel(); });
            canceller.Start();
            var stop = Throws<OperationCanceledException>(() => pipeline.Generate(options, null, source.Token));
            canceller.Join();
            Equal(source.Token, stop.CancellationToken, "token");
            Equal(ErrorCode.Cancelled, ((CogVideoXException)stop.InnerException).Code, "code");
            True(done >= 5 && done < 1000, "steps: " + done);
            StillWorks(pipeline);
        }
    }

    private static void CancelledBefore()
    {
        using (Pipeline pipeline = Load())
        {
            GenerateOptions options = Options();
            bool called = false;
            options.OnProgress = info => { called = true; return true; };
            Throws<OperationCanceledException>(
                () => pipeline.Generate(options, null, new CancellationToken(true)));
            True(!called, "it ran");
        }
    }

    private static void Stopped()
    {
        using (Pipeline pipeline = Load())
        {
            GenerateOptions options = Options();
            options.OnProgress = info => !(info.Stage == Stage.Denoise && info.Done == 2);
            var stop = Throws<OperationCanceledException>(() => pipeline.Generate(options));
            Equal(CancellationToken.None, stop.CancellationToken, "token");
            StillWorks(pipeline);
        }
    }

    private static void Mistakes()
    {
        using (Pipeline pipeline = Load())
        {
            Action<string, Action<GenerateOptions>> refuses = (word, change) =>
            {
                GenerateOptions options = Options();
                change(options);
                Fails(ErrorCode.InvalidArgument, () => pipeline.Generate(options), word);
                Fails(ErrorCode.InvalidArgument, () => pipeline.Submit(options), word);
            };
            refuses("num_inference_steps", o => o.NumInferenceSteps = 0);
            refuses("guidance_scale", o => o.GuidanceScale = double.NaN);
            refuses("num_frames", o => o.NumFrames = -1);
            refuses("width", o => { o.Width = 7; o.Height = 64; });
            refuses("eta", o => o.Eta = 2);
            refuses("scheduler", o => o.Scheduler = "euler");
            refuses("timestep_spacing", o => o.TimestepSpacing = "x");
            refuses("snr_shift_scale", o => o.SnrShiftScale = -1);
            refuses("num_videos", o => o.NumVideos = 0);
            refuses("max_sequence_length", o => o.MaxSequenceLength = -5);
            refuses("16392", o => { o.Width = Limits.MaxSide + 8; o.Height = 32; });
            refuses("4097", o => o.NumFrames = Limits.MaxFrames + 1);
            refuses("257", o => o.NumVideos = Limits.MaxVideos + 1);
            refuses("8193", o => o.MaxSequenceLength = Limits.MaxSequenceLength + 1);
            refuses("output", o => o.Output = (OutputKind)9);
            refuses("timesteps", o => o.Timesteps = new long[] { 5, 5 });
            refuses("latents", o => o.Latents = new Latents(new float[8], new long[] { 1, 1, 2, 2, 2 }));
            refuses("tile", o => o.VaeTile = new VaeTile { OverlapHeight = 1.5 });
            Throws<ArgumentNullException>(() => pipeline.Generate((GenerateOptions)null));
            Throws<ArgumentNullException>(() => pipeline.Generate((string)null));
            Throws<ArgumentException>(() => pipeline.Generate("a\0b"));
            Throws<ArgumentException>(() => new Latents(new float[7], new long[] { 1, 1, 2, 2, 2 }));
            Throws<ArgumentException>(
                () => new Latents(new float[4], new[] { long.MaxValue, long.MaxValue, 4, 1, 1 }));
            Throws<ArgumentException>(() => new Latents(new float[4], new long[] { -2, -2, 1, 1, 1 }));
            Fails(ErrorCode.InvalidArgument, () => pipeline.CacheStatistics());
            StillWorks(pipeline);
        }
    }

    private static void Busy()
    {
        using (Pipeline pipeline = Load())
        {
            CogVideoXException inside = null, beside = null;
            GenerateOptions options = Options();
            options.OnProgress = info =>
            {
                if (inside != null) return true;
                inside = Fails(ErrorCode.Busy, () => pipeline.Generate(Options()));
                var other = new Thread(() => beside = Fails(ErrorCode.Busy, () => pipeline.EncodePrompt("x", 4)));
                other.Start();
                other.Join();
                return true;
            };
            pipeline.Generate(options).Dispose();
            True(inside != null && beside != null, "not asked");
        }
    }

    private static void Clones()
    {
        const int count = 4;
        using (Pipeline pipeline = Load("5b"))
        {
            Func<int, GenerateOptions> options = i => new GenerateOptions("video " + i)
            {
                NumInferenceSteps = 3, Seed = (ulong)i,
            };
            var alone = new byte[count][];
            for (int i = 0; i < count; i++)
            {
                using (Video video = pipeline.Generate(options(i))) alone[i] = video.CopyFrames();
            }
            var together = new byte[count][];
            var failures = new Exception[count];
            Thread[] threads = Enumerable.Range(0, count).Select(i => new Thread(() =>
            {
                try
                {
                    using (Pipeline clone = pipeline.Clone())
                    using (Video video = clone.Generate(options(i))) together[i] = video.CopyFrames();
                }
                catch (Exception e)
                {
                    failures[i] = e;
                }
            })).ToArray();
            foreach (Thread thread in threads) thread.Start();
            foreach (Thread thread in threads) thread.Join();
            for (int i = 0; i < count; i++)
            {
                if (failures[i] != null) throw new FailedException("clone " + i + ": " + failures[i]);
                Same(alone[i], together[i], "clone " + i);
            }
        }
    }

    private static void EveryOption()
    {
        using (Pipeline pipeline = Load())
        {
            byte[] plain = Frames(pipeline, o => { });
            Same(plain, Frames(pipeline, o => { }), "the same seed");
            Action<string, Action<GenerateOptions>> changes = (what, change) =>
                True(!plain.SequenceEqual(Frames(pipeline, change)), what + " changes nothing");
            changes("prompt", o => o.Prompt = "something else");
            changes("negative prompt", o => o.NegativePrompt = "blue");
            changes("size", o => { o.Width = 64; o.Height = 48; });
            changes("frames", o => o.NumFrames = 17);
            changes("steps", o => o.NumInferenceSteps = 2);
            changes("guidance", o => o.GuidanceScale = 1);
            changes("dynamic guidance", o => o.UseDynamicCfg = true);
            changes("seed", o => o.Seed = ulong.MaxValue);
            changes("sequence length", o => o.MaxSequenceLength = 6);
            changes("scheduler", o => o.Scheduler = "dpm");
            changes("spacing", o => o.TimestepSpacing = "leading");
            changes("shift", o => o.SnrShiftScale = 1);
            changes("rescaling", o => o.RescaleBetasZeroSnr = false);
            byte[] dpm = Frames(pipeline, o => { o.Scheduler = "dpm"; o.TimestepSpacing = "leading"; });
            var swapped = new LoadOptions { Device = "cpu", Scheduler = "dpm", TimestepSpacing = "leading" };
            using (Pipeline chosen = Pipeline.Load(Folder(), swapped))
                Same(dpm, Frames(chosen, o => { }), "chosen at load and by the run");
            changes("timesteps", o => o.Timesteps = new long[] { 900, 500, 100 });
            changes("tiles", o => o.VaeTile = new VaeTile { MinHeight = 32, MinWidth = 32 });
            Same(plain, Frames(pipeline, o => o.VaeSlicing = true), "slicing");
            Same(plain, Frames(pipeline, o => o.FramesOnDevice = true), "on the device, which is the CPU");
            LatentShape shape = pipeline.LatentShape();
            changes("latents", o => o.Latents = new Latents(new float[shape.Count], shape.Sides));
            using (Video video = pipeline.Generate(new GenerateOptions("two") { NumVideos = 2, NumInferenceSteps = 2 }))
            {
                Equal(2, video.Count, "videos");
                True(!video.CopyFrames(PixelFormat.Rgb8, 0).SequenceEqual(video.CopyFrames(PixelFormat.Rgb8, 1)),
                    "two videos are the same");
                Fails(ErrorCode.InvalidArgument, () => video.Frames(PixelFormat.Rgb8, 2));
            }
        }
    }

    private static byte[] Frames(Pipeline pipeline, Action<GenerateOptions> change)
    {
        GenerateOptions options = Options(3);
        change(options);
        using (Video video = pipeline.Generate(options)) return video.CopyFrames();
    }

    private static void Log()
    {
        string words = string.Join(" ", Enumerable.Repeat("ball", 60));
        var ofLoad = new List<LogMessage>();
        var ofRun = new List<LogMessage>();
        using (Pipeline pipeline = Pipeline.Load(Folder(), new LoadOptions { OnLog = ofLoad.Add }))
        {
            ofLoad.Clear();
            var options = new GenerateOptions(words) { NumInferenceSteps = 1, MaxSequenceLength = 8 };
            pipeline.Generate(options).Dispose();
            True(ofLoad.Any(message => message.Level == LogLevel.Warning), "no warning: " + string.Join("; ", ofLoad));
            int before = ofLoad.Count;
            options.OnLog = ofRun.Add;
            pipeline.Generate(options).Dispose();
            Equal(before, ofLoad.Count, "messages that the run's own callback was to have");
            Equal(before, ofRun.Count, "messages");
            True(ofRun.All(message => message.Text.Length > 0 && !message.Text.Contains("\n")), "text");
            using (Pipeline clone = pipeline.Clone())
            {
                options.OnLog = null;
                clone.Generate(options).Dispose();
                Equal(2 * before, ofLoad.Count, "a clone's messages");
            }
        }
    }

    private static void LatentsOut()
    {
        using (Pipeline pipeline = Load("1.5-5b"))
        {
            GenerateOptions options = Options(2);
            byte[] frames;
            using (Video video = pipeline.Generate(options)) frames = video.CopyFrames();
            options.Output = OutputKind.Latents;
            using (Video video = pipeline.Generate(options))
            {
                Equal(0, video.NumFrames, "frames");
                Fails(ErrorCode.InvalidArgument, () => video.Frames());
                Latents latents = video.CopyLatents();
                LatentShape shape = pipeline.LatentShape();
                Same(shape.Sides, latents.Shape, "shape");
                long[] sides;
                True(video.LatentsPointer(out sides) != IntPtr.Zero, "pointer");
                Same(shape.Sides, sides, "shape beside the pointer");
                Latents unpadded = WithoutPadding(latents, shape.PaddingFrames);
                using (Video decoded = pipeline.DecodeLatents(unpadded))
                {
                    Same(frames, decoded.CopyFrames(), "frames decoded apart");
                }
                Fails(ErrorCode.InvalidArgument,
                    () => pipeline.DecodeLatents(new Latents(new float[4], new long[] { 1, 1, 1, 2, 2 })));
            }
        }
    }

    private static Latents WithoutPadding(Latents latents, int padding)
    {
        var shape = (long[])latents.Shape.Clone();
        Equal(1L, shape[0], "videos");
        int frame = (int)(shape[2] * shape[3] * shape[4]);
        shape[1] -= padding;
        return new Latents(latents.Data.Skip(padding * frame).ToArray(), shape);
    }
}
