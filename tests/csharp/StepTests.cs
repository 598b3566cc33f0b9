using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using CogVideoX;
using static Support;

/// <summary>Embeddings in place of prompts; files in memory; the step callback.</summary>
internal static class StepTests
{
    internal static void List(List<KeyValuePair<string, Action>> tests)
    {
        tests.Add("steps: embeddings in place of prompts", Embeddings);
        tests.Add("steps: files in memory", InMemory);
        tests.Add("steps: latents and guidance in the callback", Callback);
        tests.Add("steps: saved and resumed", Resumed);
        tests.Add("steps: pictures", Pictures);
    }

    private static void Embeddings()
    {
        using (Pipeline pipeline = Pipeline.Load(Folder("2b"), new LoadOptions { Device = "cpu", PromptCacheSize = 1 }))
        {
            GenerateOptions options = Options(1);
            options.NegativePrompt = "blurry";
            string prompt = options.Prompt;
            int length = 16, dim = pipeline.TextEmbedDim;
            byte[] expected;
            using (Video video = pipeline.Generate(options)) expected = video.CopyFrames();
            options.PromptEmbeddings = new PromptEmbeddings(pipeline.EncodePrompt(prompt, length), dim);
            options.NegativePromptEmbeddings = new PromptEmbeddings(pipeline.EncodePrompt("blurry", length), dim);
            Equal(length, options.PromptEmbeddings.SequenceLength, "tokens");
            Fails(ErrorCode.InvalidArgument, () => pipeline.Generate(options), "prompt: expected none");
            options.Prompt = "";
            options.NegativePrompt = null;
            using (Video video = pipeline.Generate(options)) Same(expected, video.CopyFrames(), "embeddings");
            options.PromptEmbeddings = new PromptEmbeddings(new float[dim + 1], dim + 1);
            Fails(ErrorCode.InvalidArgument, () => pipeline.Generate(options), "prompt_embeddings: expected");
        }
        Throws<ArgumentNullException>(() => new PromptEmbeddings(null, 4));
        Throws<ArgumentException>(() => new PromptEmbeddings(new float[7], 4));
        Throws<ArgumentOutOfRangeException>(() => new PromptEmbeddings(new float[7], 0));
    }

    private sealed class Full : MemoryStream
    {
        public override void Write(byte[] buffer, int offset, int count)
        {
            throw new IOException("full");
        }
    }

    private static void InMemory()
    {
        using (Pipeline pipeline = Load())
        using (Video video = pipeline.Generate(Options(1)))
        {
            string path = Path.Combine(Path.GetTempPath(), Guid.NewGuid() + ".mp4");
            video.Save(path, 8);
            byte[] expected = File.ReadAllBytes(path);
            File.Delete(path);
            Same(expected, video.Encode("mp4", 8), "bytes");
            using (var stream = new MemoryStream())
            {
                video.Encode(stream, "mp4", 8);
                Same(expected, stream.ToArray(), "stream");
            }
            CogVideoXException failure = Fails(ErrorCode.CallbackFailed, () => video.Encode(new Full(), "gif"), "full");
            True(failure.InnerException is IOException, "what the stream threw");
            Fails(ErrorCode.InvalidArgument, () => video.Encode("webm"), "webm");
            Throws<ArgumentNullException>(() => video.Encode((Stream)null, "gif"));
        }
    }

    private static float[] Run(Pipeline pipeline, GenerateOptions options)
    {
        options.Output = OutputKind.Latents;
        using (Video video = pipeline.Generate(options)) return video.CopyLatents().Data;
    }

    private static void Callback()
    {
        using (Pipeline pipeline = Load())
        {
            float[] plain = Run(pipeline, Options(3));
            GenerateOptions options = Options(3);
            float[] last = null;
            StepEnd kept = null;
            var steps = new List<int>();
            options.OnStep = step =>
            {
                steps.Add(step.Step);
                Equal(3, step.NumSteps, "steps");
                Equal(6.0, step.GuidanceScale, "guidance");
                last = step.CopyLatents().Data;
                StepPreview preview = step.Preview();
                Equal(preview.Videos * preview.Frames * preview.Height * preview.Width * 3, preview.Pixels.Length, "preview");
                using (step.LatentsDlpack()) { }
                kept = step;
                return true;
            };
            Same(plain, Run(pipeline, options), "looking");
            Same(plain, last, "the last latents");
            Same(new[] { 0, 1, 2 }, steps.ToArray(), "steps");
            Throws<ObjectDisposedException>(() => kept.CopyLatents());

            options.OnStep = step =>
            {
                Latents latents = step.CopyLatents();
                latents.Data[0] += 1;
                step.SetLatents(latents);
                step.SetGuidanceScale(2);
                Fails(ErrorCode.InvalidArgument, () => step.SetGuidanceScale(double.NaN), "guidance_scale");
                Fails(ErrorCode.InvalidArgument,
                    () => step.SetLatents(new Latents(new float[1], new long[] { 1, 1, 1, 1, 1 })), "expected");
                return true;
            };
            True(!plain.SequenceEqual(Run(pipeline, options)), "changed");
            options.OnStep = step => false;
            Throws<OperationCanceledException>(() => Run(pipeline, options));
            options.OnStep = step => { throw new InvalidOperationException("mine"); };
            CogVideoXException failure = Fails(ErrorCode.CallbackFailed, () => Run(pipeline, options), "mine");
            True(failure.InnerException is InvalidOperationException, "the exception");
            options.OnStep = null;
            Same(plain, Run(pipeline, options), "without");
        }
    }

    private static void Resumed()
    {
        string path = Path.Combine(Path.GetTempPath(), Guid.NewGuid() + ".state");
        using (Pipeline pipeline = Load())
        {
            GenerateOptions options = Options(4);
            options.OnStep = step =>
            {
                if (step.Step == 1) step.Save(path);
                return true;
            };
            float[] unbroken = Run(pipeline, options);
            options.OnStep = null;
            options.Resume = path;
            Same(unbroken, Run(pipeline, options), "resumed");
            options.Seed++;
            Fails(ErrorCode.InvalidArgument, () => Run(pipeline, options), "seed");
            File.Delete(path);
            Fails(ErrorCode.NotFound, () => Run(pipeline, options), path);
        }
    }

    private static void Pictures()
    {
        string path = Path.Combine(Path.GetTempPath(), Guid.NewGuid() + ".png");
        var picture = new SourceImage(Enumerable.Range(0, 24).Select(i => (byte)(9 * i)).ToArray(), 4, 2);
        picture.SavePng(path);
        SourceImage read = SourceImage.Load(path);
        File.Delete(path);
        Equal(4, read.Width, "width");
        Equal(2, read.Height, "height");
        Fails(ErrorCode.InvalidArgument, () => picture.SavePng("a.jpg"), ".png");
        Fails(ErrorCode.InvalidArgument, () => new SourceImage(new float[12], 2, 2).SavePng(path), "format");
    }
}
