// A C# program outside the checkout: generates a short video and writes its frames, three bytes
// a pixel, to a file.
//
//   generate.exe PIPELINE_FOLDER FILE

using System;
using System.IO;
using CogVideoX;

public static class Generate
{
    public static int Main(string[] arguments)
    {
        if (arguments.Length != 2)
        {
            Console.Error.WriteLine("usage: generate.exe PIPELINE_FOLDER FILE");
            return 2;
        }
        var options = new GenerateOptions("a red ball moves right on a black background");
        options.NumInferenceSteps = 3;
        options.Seed = 7;
        using (Pipeline pipeline = Pipeline.Load(arguments[0]))
        using (Video video = pipeline.Generate(options))
        {
            File.WriteAllBytes(arguments[1], video.CopyFrames(PixelFormat.Rgb8));
        }
        return 0;
    }
}
