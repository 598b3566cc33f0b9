using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Linq;
using CogVideoX;

internal sealed class FailedException : Exception
{
    internal FailedException(string message) : base(message) { }
}

internal static class Support
{
    internal static string Root;
    internal static string CProgram;

    internal static void Add(this List<KeyValuePair<string, Action>> tests, string name, Action test)
    {
        tests.Add(new KeyValuePair<string, Action>(name, test));
    }

    /// <summary>One of the tests' tiny random pipelines.</summary>
    internal static string Folder(string family = "2b")
    {
        return Path.Combine(Root, "tests", "pipelines", family);
    }

    internal static Pipeline Load(string family = "2b")
    {
        return Pipeline.Load(Folder(family));
    }

    /// <summary>A run that takes about a tenth of a second.</summary>
    internal static GenerateOptions Options(int steps = 4)
    {
        return new GenerateOptions("a red ball") { NumInferenceSteps = steps, Seed = 7 };
    }

    internal static void True(bool condition, string what)
    {
        if (!condition) throw new FailedException(what);
    }

    internal static void Equal<T>(T expected, T found, string what)
    {
        if (!EqualityComparer<T>.Default.Equals(expected, found))
        {
            throw new FailedException(what + ": expected " + expected + ", found " + found);
        }
    }

    internal static void Same<T>(T[] expected, T[] found, string what)
    {
        Equal(expected.Length, found.Length, what + ", length");
        for (int i = 0; i < expected.Length; i++)
        {
            if (!expected[i].Equals(found[i]))
            {
                throw new FailedException(
                    what + ": at " + i + " expected " + expected[i] + ", found " + found[i]);
            }
        }
    }

    /// <summary>The exception of just this type that the action throws.</summary>
    internal static T Throws<T>(Action action) where T : Exception
    {
        try
        {
            action();
        }
        catch (Exception e) when (e.GetType() == typeof(T))
        {
            return (T)e;
        }
        catch (Exception e)
        {
            throw new FailedException("expected " + typeof(T).Name + ", found " + e);
        }
        throw new FailedException("expected " + typeof(T).Name + ", and nothing was thrown");
    }

    /// <summary>The action fails with a code, and its message has each of the words.</summary>
    internal static CogVideoXException Fails(ErrorCode code, Action action, params string[] words)
    {
        var failure = Throws<CogVideoXException>(action);
        Equal(code, failure.Code, failure.Message);
        True(!failure.Message.Contains("\n"), "more than a line: " + failure.Message);
        foreach (string word in words)
        {
            True(failure.Message.Contains(word), "no \"" + word + "\" in: " + failure.Message);
        }
        return failure;
    }

    /// <summary>The pipeline does what it did before.</summary>
    internal static void StillWorks(Pipeline pipeline)
    {
        using (Video video = pipeline.Generate(Options(2))) Equal(9, video.NumFrames, "frames");
    }

    internal static void Collect()
    {
        for (int i = 0; i < 3; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
    }

    /// <summary>Waits until the condition holds, for half a minute at most.</summary>
    internal static void Until(Func<bool> condition, string what)
    {
        var watch = Stopwatch.StartNew();
        while (!condition())
        {
            True(watch.Elapsed.TotalSeconds < 30, "not within half a minute: " + what);
            System.Threading.Thread.Sleep(2);
        }
    }

    /// <summary>A file or folder that is gone when the action has returned.</summary>
    internal static void InTemporary(Action<string> action)
    {
        string folder = Path.Combine(Path.GetTempPath(), "cogvideox-csharp-" + Guid.NewGuid().ToString("N"));
        Directory.CreateDirectory(folder);
        try
        {
            action(folder);
        }
        finally
        {
            Directory.Delete(folder, true);
        }
    }

    /// <summary>Memory of this process that is in use, in bytes.</summary>
    internal static long ResidentBytes()
    {
        string line = File.ReadAllLines("/proc/self/status").First(l => l.StartsWith("VmRSS:"));
        return long.Parse(line.Substring(6).Replace("kB", "").Trim()) * 1024;
    }

    internal static string RunChild(string arguments, IDictionary<string, string> environment, int expectedStatus)
    {
        var start = new ProcessStartInfo("mono", typeof(Support).Assembly.Location + " " + arguments)
        {
            UseShellExecute = false,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (KeyValuePair<string, string> pair in environment)
        {
            start.EnvironmentVariables.Remove(pair.Key);
            if (pair.Value != null) start.EnvironmentVariables[pair.Key] = pair.Value;
        }
        using (Process child = Process.Start(start))
        {
            var errors = child.StandardError.ReadToEndAsync();
            var printed = child.StandardOutput.ReadToEndAsync();
            if (!child.WaitForExit(60000))
            {
                child.Kill();
                throw new FailedException("\"" + arguments + "\" did not end within a minute");
            }
            string output = printed.Result;
            Equal(expectedStatus, child.ExitCode, "exit status; " + output + errors.Result);
            return output;
        }
    }
}
