// Image to video: a picture becomes the first frame.
//
//   ImageToVideo.exe CogVideoX-5b-I2V cat.jpg "the cat looks around and yawns" cat.mp4

using System;
using CogVideoX;

static class ImageToVideo
{
    static int Main(string[] arguments)
    {
        if (arguments.Length != 4)
        {
            Console.Error.WriteLine("usage: ImageToVideo MODEL IMAGE PROMPT VIDEO");
            return 2;
        }
        try
        {
            using (var pipeline = Pipeline.Load(arguments[0]))
            {
                var options = new GenerateOptions(arguments[2])
                {
                    Image = SourceImage.Load(arguments[1]),
                    Scheduler = "dpm", // which the published models are recommended with
                };
                using (var video = pipeline.Generate(options))
                {
                    video.Save(arguments[3]);
                    Console.WriteLine("{0}: {1} frames of {2}x{3}", arguments[3], video.NumFrames, video.Width, video.Height);
                }
            }
            return 0;
        }
        catch (CogVideoXException exception)
        {
            Console.Error.WriteLine("ImageToVideo: " + exception.Message);
            return 1;
        }
    }
}
