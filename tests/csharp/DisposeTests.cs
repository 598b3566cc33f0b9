using System;
using System.Collections.Generic;
using System.Linq;
using System.Reflection;
using System.Threading;
using CogVideoX;
using static Support;

internal static class DisposeTests
{
    internal static void List(List<KeyValuePair<string, Action>> tests)
    {
        tests.Add("dispose: every member returns ObjectDisposedException afterwards", EveryMember);
        tests.Add("dispose: twice, and in any order", AnyOrder);
        tests.Add("dispose: of a pipeline while it generates", WhileItRuns);
        tests.Add("dispose: of a video by one thread while another copies", WhileCopied);
    }

    // Members that are meant to work afterwards.
    private static readonly string[] Allowed =
    {
        "Dispose", "Job.Completion", "Job.Cancel", "Video.DefaultFps",
    };

    private static void EveryMember()
    {
        Pipeline pipeline = Load();
        CacheConfig config = CacheConfig.FasterCache();
        Video video = pipeline.Generate(Options(1));
        CacheStatistics statistics = pipeline.CacheStatistics();
        DlpackTensor tensor = video.FramesDlpack();
        Job job = pipeline.Submit(Options(1));
        job.Wait();
        var samples = new Dictionary<Type, object>
        {
            { typeof(GenerateOptions), Options() },
            { typeof(Latents), new Latents(new float[1], new long[] { 1, 1, 1, 1, 1 }) },
            { typeof(string), "cpu" },
            { typeof(string[]), new[] { "blocks" } },
        };
        using (CacheConfig other = CacheConfig.Pab())
        {
            samples[typeof(CacheConfig)] = other;
            samples[typeof(Func<StepInfo, double>)] = new Func<StepInfo, double>(step => 1);
            samples[typeof(Func<LayerInfo, double>)] = new Func<LayerInfo, double>(layer => 1);
            int members = 0;
            foreach (IDisposable disposed in new IDisposable[] { job, tensor, statistics, video, config, pipeline })
            {
                disposed.Dispose();
                foreach (MethodInfo method in disposed.GetType().GetMethods(
                    BindingFlags.Public | BindingFlags.Instance | BindingFlags.DeclaredOnly))
                {
                    string name = method.Name.Replace("get_", "");
                    if (Allowed.Contains(name) || Allowed.Contains(disposed.GetType().Name + "." + name)) continue;
                    object[] arguments = method.GetParameters().Select(p => Sample(p, samples)).ToArray();
                    members++;
                    try
                    {
                        method.Invoke(disposed, arguments);
                    }
                    catch (TargetInvocationException e) when (e.InnerException is ObjectDisposedException)
                    {
                        string owner = ((ObjectDisposedException)e.InnerException).ObjectName;
                        Equal(disposed.GetType().Name, owner, "object named by " + name);
                        continue;
                    }
                    catch (TargetInvocationException e)
                    {
                        throw new FailedException(disposed.GetType().Name + "." + name + ": " + e.InnerException);
                    }
                    throw new FailedException(disposed.GetType().Name + "." + name + " threw nothing");
                }
            }
            True(members >= 100, "members: " + members);
        }
    }

    private static object Sample(ParameterInfo parameter, Dictionary<Type, object> samples)
    {
        object sample;
        if (samples.TryGetValue(parameter.ParameterType, out sample)) return sample;
        if (parameter.IsOut || !parameter.ParameterType.IsValueType) return null;
        return Activator.CreateInstance(parameter.ParameterType);
    }

    private static void AnyOrder()
    {
        Pipeline pipeline = Load();
        Pipeline clone = pipeline.Clone();
        CacheConfig config = CacheConfig.Pab();
        clone.EnableCache(config);
        config.Dispose();
        config.Dispose();
        pipeline.Dispose();
        pipeline.Dispose();
        Video video = clone.Generate(Options(2));
        clone.Dispose();
        Equal(9, video.NumFrames, "frames");
        True(video.CopyFrames().Length > 0, "frames");
        video.Dispose();
        video.Dispose();
    }

    private static void WhileItRuns()
    {
        Pipeline pipeline = Load();
        Pipeline clone = pipeline.Clone();
        GenerateOptions options = Options();
        options.OnProgress = info => { clone.Dispose(); return true; };
        using (Video video = clone.Generate(options)) Equal(9, video.NumFrames, "frames");
        Throws<ObjectDisposedException>(() => clone.Generate(Options()));
        StillWorks(pipeline);
        pipeline.Dispose();
    }

    private static void WhileCopied()
    {
        using (Pipeline pipeline = Load())
        {
            for (int i = 0; i < 20; i++)
            {
                Video video = pipeline.Generate(Options(1));
                byte[] expected = video.CopyFrames();
                VideoFrames frames = video.Frames();
                Exception wrong = null;
                using (var begun = new ManualResetEventSlim())
                {
                    var copier = new Thread(() =>
                    {
                        try
                        {
                            while (true)
                            {
                                if (!frames.ToArray().SequenceEqual(expected)) throw new FailedException("other bytes");
                                begun.Set();
                            }
                        }
                        catch (ObjectDisposedException)
                        {
                            // as it should
                        }
                        catch (Exception e)
                        {
                            wrong = e;
                            begun.Set();
                        }
                    });
                    copier.Start();
                    begun.Wait();
                    video.Dispose();
                    copier.Join();
                }
                if (wrong != null) throw new FailedException(wrong.ToString());
            }
        }
    }
}
