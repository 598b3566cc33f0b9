using System;
using CogVideoX;

static class Quickstart
{
    static int Main()
    {
        try
        {
            using (var pipeline = Pipeline.Load("examples/demo-model/pipeline"))
            using (var cache = CacheConfig.Pab())
            {
                pipeline.EnableCache(cache);
                using (var video = pipeline.Generate("a red ball moves right on a black background"))
                    video.Save("ball.mp4");
            }
            return 0;
        }
        catch (CogVideoXException exception)
        {
            Console.Error.WriteLine(exception.Message);
            return 1;
        }
    }
}
