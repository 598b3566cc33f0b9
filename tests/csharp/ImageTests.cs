using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using CogVideoX;
using static Support;

/// <summary>Image to video.</summary>
internal static class ImageTests
{
    internal static void List(List<KeyValuePair<string, Action>> tests)
    {
        tests.Add("images: bytes, alpha, gaps between rows, floats", Pictures);
        tests.Add("videos: bytes, alpha, gaps, floats, strength", Videos);
        tests.Add("control and inpainting", Fun);
        tests.Add("several prompts with a seed each", Several);
        tests.Add("images: files", Files);
        tests.Add("images: what cannot be is refused", Mistakes);
    }

    private static byte[] Picture(int width, int height, int channels = 3)
    {
        return Enumerable.Range(0, width * height)
            .SelectMany(i => Enumerable.Range(0, channels).Select(c => (byte)((i * 31 + c * 83) % 251)))
            .ToArray();
    }

    private static GenerateOptions Run(SourceImage image)
    {
        return new GenerateOptions("a red ball")
        {
            NumInferenceSteps = 1, Width = 32, Height = 32, NumFrames = 9, Output = OutputKind.Latents, Image = image,
        };
    }

    private static float[] Latents(Pipeline pipeline, SourceImage image)
    {
        using (Video video = pipeline.Generate(Run(image))) return video.CopyLatents().Data;
    }

    private static void Pictures()
    {
        using (Pipeline text = Load()) Equal(PipelineTask.TextToVideo, text.PipelineTask, "task");
        using (Pipeline pipeline = Load("1.5-5b-i2v"))
        {
            Equal(PipelineTask.ImageToVideo, pipeline.PipelineTask, "task");
            byte[] rgb = Picture(11, 6);
            float[] expected = Latents(pipeline, new SourceImage(rgb, 11, 6));
            True(!expected.SequenceEqual(Latents(pipeline, new SourceImage(rgb, 6, 11))), "the shape matters");
            Same(expected, Latents(pipeline, new SourceImage(Picture(11, 6, 4), 11, 6, PixelFormat.Rgba8)), "alpha");
            var spaced = new byte[5 * 40 + 33];
            for (int y = 0; y < 6; y++) Array.Copy(rgb, y * 33, spaced, y * 40, 33);
            Same(expected, Latents(pipeline, new SourceImage(spaced, 11, 6, PixelFormat.Rgb8, 40)), "gaps");
            float[] floats = rgb.Select(value => value / 255f).ToArray();
            float[] exact = Latents(pipeline, new SourceImage(floats, 11, 6));
            True(expected.Zip(exact, (a, b) => Math.Abs(a - b)).Max() < 0.1, "floats are about the same");

            var stages = new List<Stage>();
            GenerateOptions followed = Run(new SourceImage(rgb, 11, 6));
            followed.OnProgress = info =>
            {
                stages.Add(info.Stage);
                return true;
            };
            pipeline.Generate(followed).Dispose();
            Same(new[] { Stage.Encode, Stage.EncodeImage, Stage.Denoise }, stages.Distinct().ToArray(), "stages");
        }
    }

    private static GenerateOptions Remake(SourceVideo video, double? strength = null)
    {
        return new GenerateOptions("a red ball")
        {
            NumInferenceSteps = 4, Width = 32, Height = 32, Output = OutputKind.Latents, Video = video,
            Strength = strength,
        };
    }

    private static void Videos()
    {
        using (Pipeline pipeline = Load())
        {
            Func<GenerateOptions, float[]> run = options =>
            {
                using (Video video = pipeline.Generate(options)) return video.CopyLatents().Data;
            };
            byte[] rgb = Picture(11, 6 * 5);
            float[] expected = run(Remake(new SourceVideo(rgb, 11, 6, 5)));
            Same(expected, run(Remake(new SourceVideo(rgb, 11, 6, 5), 0.8)), "default strength");
            True(!expected.SequenceEqual(run(Remake(new SourceVideo(rgb, 11, 6, 5), 0.5))), "strength");
            Same(
                expected, run(Remake(new SourceVideo(Picture(11, 6 * 5, 4), 11, 6, 5, PixelFormat.Rgba8))), "alpha");
            var spaced = new byte[4 * 250 + 5 * 40 + 33];
            for (int i = 0; i < 30; i++) Array.Copy(rgb, i * 33, spaced, i / 6 * 250 + i % 6 * 40, 33);
            Same(expected, run(Remake(new SourceVideo(spaced, 11, 6, 5, PixelFormat.Rgb8, 40, 250))), "gaps");
            float[] floats = rgb.Select(value => value / 255f).ToArray();
            float[] exact = run(Remake(new SourceVideo(floats, 11, 6, 5)));
            True(expected.Zip(exact, (a, b) => Math.Abs(a - b)).Max() < 0.1, "floats are about the same");
            Fails(ErrorCode.InvalidArgument, () => run(Remake(null, 0.5)), "strength");
            Fails(ErrorCode.InvalidArgument, () => run(Remake(new SourceVideo(rgb, 11, 6, 5), -0.5)), "strength");
            Fails(ErrorCode.InvalidArgument, () => run(Remake(new SourceVideo(rgb, 0, 6, 5))), "width");
            Fails(ErrorCode.InvalidArgument, () => run(Remake(new SourceVideo(new byte[0], 11, 6, 0))), "num_frames");
            Throws<ArgumentException>(() => new SourceVideo(rgb, 11, 6, 6));
            Throws<ArgumentException>(() => new SourceVideo(rgb, 11, 6, 5, PixelFormat.F32));
            Throws<ArgumentException>(() => new SourceVideo(rgb, 11, 6, 5, PixelFormat.Rgb8, 33, 300));
            Throws<ArgumentException>(
                () => new SourceVideo(rgb, int.MaxValue, int.MaxValue, int.MaxValue, PixelFormat.Rgba8));
            Throws<ArgumentNullException>(() => new SourceVideo((byte[])null, 1, 1, 1));
            Throws<ArgumentOutOfRangeException>(() => new SourceVideo(rgb, 1, 1, 1, PixelFormat.Rgb8, -1));
            Throws<ArgumentOutOfRangeException>(() => new SourceVideo(rgb, 1, 1, 1, PixelFormat.Rgb8, 0, -1));
        }
    }

    private static void Fun()
    {
        var clip = new SourceVideo(Picture(16, 12 * 9), 16, 12, 9);
        var image = new SourceImage(Picture(7, 5), 7, 5);
        Func<Pipeline, GenerateOptions, float[]> run = (pipeline, options) =>
        {
            options.NumInferenceSteps = 1;
            options.Width = options.Height = 32;
            options.Output = OutputKind.Latents;
            using (Video video = pipeline.Generate(options)) return video.CopyLatents().Data;
        };
        Func<GenerateOptions> plain = () => new GenerateOptions("a red ball");
        using (Pipeline pipeline = Load("5b-control"))
        {
            Equal(PipelineTask.Control, pipeline.PipelineTask, "task");
            Fails(ErrorCode.InvalidArgument, () => run(pipeline, plain()), "control_video: expected one");
            GenerateOptions options = plain();
            options.ControlVideo = clip;
            True(run(pipeline, options).Length > 0, "latents");
        }
        using (Pipeline pipeline = Load("5b-inp"))
        {
            Equal(PipelineTask.Inpainting, pipeline.PipelineTask, "task");
            GenerateOptions ends = plain();
            ends.NumFrames = 9;
            float[] nothing = run(pipeline, ends);
            ends.Image = ends.LastImage = image;
            True(!nothing.SequenceEqual(run(pipeline, ends)), "ends matter");
            GenerateOptions masked = plain();
            masked.Video = clip;
            Fails(ErrorCode.InvalidArgument, () => run(pipeline, masked), "mask: expected one");
            masked.Mask = new SourceMask(new byte[] { 0, 255 }, 2, 1);
            True(run(pipeline, masked).Length > 0, "latents");
            masked.Mask = new SourceMask(new byte[0], 2, 1, 0);
            Fails(ErrorCode.InvalidArgument, () => run(pipeline, masked), "num_frames");
        }
        Throws<ArgumentException>(() => new SourceMask(new byte[3], 2, 2));
        Throws<ArgumentNullException>(() => new SourceMask(null, 2, 2));
    }

    private static void Several()
    {
        using (Pipeline pipeline = Load())
        {
            Func<GenerateOptions> small = () => new GenerateOptions("")
            {
                NumInferenceSteps = 2, Width = 32, Height = 32, NumFrames = 9, Output = OutputKind.Latents,
            };
            Func<GenerateOptions, float[]> run = options =>
            {
                using (Video video = pipeline.Generate(options)) return video.CopyLatents().Data;
            };
            GenerateOptions alone = small();
            alone.Prompt = "a red ball";
            alone.Seed = ulong.MaxValue;
            float[] expected = run(alone);
            GenerateOptions both = small();
            both.Prompts = new[] { "the moon", "a red ball" };
            both.Seeds = new ulong[] { 3, ulong.MaxValue };
            float[] found = run(both);
            Equal(2 * expected.Length, found.Length, "two videos");
            float most = expected.Zip(found.Skip(expected.Length), (a, b) => Math.Abs(a - b)).Max();
            True(most < 1e-4, "the second is that of its own run");
            both.NegativePrompts = new[] { "dark", "" };
            True(!found.SequenceEqual(run(both)), "negative prompts matter");
            both.Seeds = new ulong[] { 1 };
            Fails(ErrorCode.InvalidArgument, () => run(both), "seeds: expected 2");
        }
    }

    private static void Files()
    {
        string folder = Path.Combine(Root, "tests", "goldens", "images");
        SourceImage image = SourceImage.Load(Path.Combine(folder, "turned.png"));
        Equal(26, image.Width, "width");
        Equal(37, image.Height, "height");
        Equal(PixelFormat.Rgb8, image.Format, "format");
        using (Pipeline pipeline = Load("1.5-5b-i2v")) True(Latents(pipeline, image).Length > 0, "latents");
        Fails(ErrorCode.NotFound, () => SourceImage.Load(Path.Combine(folder, "missing.png")), "missing.png");
        Fails(ErrorCode.InvalidArgument, () => SourceImage.Load(Path.Combine(Root, "README.md")), "PNG or JPEG");
        Throws<ArgumentNullException>(() => SourceImage.Load(null));
    }

    private static void Mistakes()
    {
        byte[] rgb = Picture(4, 4);
        Throws<ArgumentException>(() => new SourceImage(rgb, 4, 5));
        Throws<ArgumentException>(() => new SourceImage(rgb, 4, 4, PixelFormat.Rgba8));
        Throws<ArgumentException>(() => new SourceImage(rgb, 1, 1, PixelFormat.F32));
        Throws<ArgumentException>(() => new SourceImage(new float[47], 4, 4));
        Throws<ArgumentNullException>(() => new SourceImage((byte[])null, 4, 4));
        Throws<ArgumentOutOfRangeException>(() => new SourceImage(rgb, 4, 4, PixelFormat.Rgb8, -1));
        using (Pipeline pipeline = Load("1.5-5b-i2v"))
        {
            Action<SourceImage, string> refused = (image, word) =>
                Fails(ErrorCode.InvalidArgument, () => pipeline.Generate(Run(image)), word);
            refused(null, "image: expected one");
            refused(new SourceImage(rgb, 0, 4), "width");
            refused(new SourceImage(rgb, 4, -1), "height");
            refused(new SourceImage(rgb, 4, 4, PixelFormat.Rgb8, 11), "stride_bytes");
            refused(new SourceImage(new[] { 2f, 0f, 0f }, 1, 1), "[0, 1]");
            True(Latents(pipeline, new SourceImage(rgb, 4, 4)).Length > 0, "it still works");
        }
        using (Pipeline pipeline = Load())
        {
            GenerateOptions options = Options(1);
            options.Image = new SourceImage(rgb, 4, 4);
            Fails(ErrorCode.InvalidArgument, () => pipeline.Generate(options), "image: expected none");
            options.Image = null;
            pipeline.Generate(options).Dispose();
        }
    }
}
