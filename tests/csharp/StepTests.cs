using System;
using System.Collections.Generic;
using System.Linq;
using CogVideoX;
using static Support;

/// <summary>Embeddings in place of prompts.</summary>
internal static class StepTests
{
    internal static void List(List<KeyValuePair<string, Action>> tests)
    {
        tests.Add("steps: embeddings in place of prompts", Embeddings);
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
}
