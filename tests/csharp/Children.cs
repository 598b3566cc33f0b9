using System;
using System.Linq;
using System.Threading;
using CogVideoX;

/// <summary>What the tests run in processes of their own: mono "tests.exe --child-NAME ...".</summary>
internal static class Children
{
    internal static int Run(string[] arguments)
    {
        switch (arguments[0])
        {
            case "--child-version": return Version();
            case "--child-path": return ByPath(arguments[1]);
            case "--child-leave": return Leave(arguments[1]);
            case "--child-running": return Running(arguments[1], arguments[2]);
            default: return 2;
        }
    }

    // Loads the library, or says why not.
    private static int Version()
    {
        try
        {
            Console.WriteLine(CogVideoXLibrary.Version);
            return 0;
        }
        catch (CogVideoXLoadException e)
        {
            Console.WriteLine(e.Message);
            Console.WriteLine("TRIED " + e.Tried.Count);
            return 3;
        }
    }

    // The property, in the first call that the process makes, which is the load.
    private static int ByPath(string path)
    {
        CogVideoXLibrary.Path = path;
        try
        {
            Pipeline.Load("/nowhere");
        }
        catch (CogVideoXException e)
        {
            Console.WriteLine(e.Code);
        }
        try
        {
            CogVideoXLibrary.Path = "/elsewhere";
        }
        catch (InvalidOperationException)
        {
            Console.WriteLine("too late");
        }
        return 0;
    }

    // Ends in the middle of a job, with another behind it.
    private static int Running(string folder, string how)
    {
        Pipeline pipeline = Pipeline.Load(folder);
        using (var began = new ManualResetEventSlim())
        {
            var options = new GenerateOptions("running") { NumInferenceSteps = 1000 };
            options.OnProgress = info => { began.Set(); return true; };
            Job[] jobs = { pipeline.Submit(options), pipeline.Submit(options) };
            began.Wait();
            Console.WriteLine(jobs[0].State + " " + jobs[1].State);
            if (how == "exit") Environment.Exit(0);
            return 0;
        }
    }

    // Ends with objects that nobody disposed of, and a worker thread that has run jobs.
    private static int Leave(string folder)
    {
        Pipeline pipeline = Pipeline.Load(folder);
        var options = new GenerateOptions("left") { NumInferenceSteps = 2 };
        Job[] jobs = Enumerable.Range(0, 2).Select(_ => pipeline.Submit(options)).ToArray();
        foreach (Job job in jobs) job.Wait();
        Video video = pipeline.Generate(options);
        Console.WriteLine(video.NumFrames);
        GC.KeepAlive(jobs);
        return 0;
    }
}
