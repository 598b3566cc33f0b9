using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using CogVideoX;
using static Support;

/// <summary>Embeddings in place of prompts; files in memory.</summary>
internal static class StepTests
{
    internal static void List(List<KeyValuePair<string, Action>> tests)
    {
        tests.Add("steps: embeddings in place of prompts", Embeddings);
        tests.Add("steps: files in memory", InMemory);
    }

    private static void Embeddings()
    {
        using (Pipeline pipeline = Pipeline.Load(Folder("2b"), new LoadOptions { Device = "cpu", PromptCacheSize = 1 }))
        {
            GenerateOptions options = Options(1);
            options.NegativePrompt = "blurry";
            string prompt = options.Prompt;
            int length = options.MaxSequenceLength, dim = pipeline.TextEmbedDim;
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
}
