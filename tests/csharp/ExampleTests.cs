using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Threading;
using static Support;

/// <summary>examples/csharp, compiled beside the tests, as users run them.</summary>
internal static class ExampleTests
{
    internal static void List(List<KeyValuePair<string, Action>> tests)
    {
        tests.Add("example: the worker generates, cancels, refuses, and ends when its input does", Works);
        tests.Add("example: the worker is stopped in order", Stopped);
        tests.Add("example: the quickstart", Quickstart);
        tests.Add("example: image to video", ImageToVideo);
    }

    /// <summary>A program whose output lines are collected as they come.</summary>
    private sealed class Running : IDisposable
    {
        internal readonly Process Process;
        private readonly List<string> lines = new List<string>();

        internal Running(string program, string arguments, string folder)
        {
            string file = Path.Combine(Path.GetDirectoryName(typeof(ExampleTests).Assembly.Location), program);
            Process = Process.Start(new ProcessStartInfo("mono", "\"" + file + "\" " + arguments)
            {
                UseShellExecute = false,
                RedirectStandardInput = true,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
                WorkingDirectory = folder,
            });
            Process.OutputDataReceived += (sender, data) => Take(data.Data);
            Process.ErrorDataReceived += (sender, data) => Take(data.Data);
            Process.BeginOutputReadLine();
            Process.BeginErrorReadLine();
        }

        private void Take(string line)
        {
            if (line == null) return;
            lock (lines) lines.Add(line);
        }

        internal string[] Lines
        {
            get
            {
                lock (lines) return lines.ToArray();
            }
        }

        internal void Says(string line)
        {
            Process.StandardInput.WriteLine(line);
            Process.StandardInput.Flush();
        }

        internal void Hears(string beginning)
        {
            var watch = Stopwatch.StartNew();
            while (!Lines.Any(line => line.StartsWith(beginning, StringComparison.Ordinal)))
            {
                True(watch.Elapsed.TotalSeconds < 120 && !Process.HasExited,
                    "no \"" + beginning + "\" in " + string.Join("\n", Lines));
                Thread.Sleep(5);
            }
        }

        internal void Ends(int status)
        {
            True(Process.WaitForExit(120000), "it did not end: " + string.Join("\n", Lines));
            Process.WaitForExit(); // for the rest of its output
            Equal(status, Process.ExitCode, "exit status; " + string.Join("\n", Lines));
        }

        public void Dispose()
        {
            if (!Process.HasExited) Process.Kill();
            Process.Dispose();
        }
    }

    private static void Works()
    {
        InTemporary(folder =>
        {
            using (var worker = new Running("Worker.exe", "\"" + Folder() + "\" \"" + folder + "\" 2 40", folder))
            {
                worker.Says("generate one a ball");
                worker.Says("generate two another ball");
                worker.Says("generate three a third ball");
                worker.Says("generate three of the same name");
                worker.Says("cancel three");
                worker.Says("nonsense");
                worker.Says("generate no/such/folder a ball");
                worker.Process.StandardInput.Close();
                worker.Ends(0);
                foreach (string expected in new[]
                {
                    "one queued", "one 50 %", "one 100 %", "one done " + folder + "/one.mp4",
                    "two done " + folder + "/two.mp4", "three failed there is a request of this name",
                    "three cancelled",
                    "expected \"generate NAME PROMPT\" or \"cancel NAME\", found \"nonsense\"",
                })
                {
                    True(worker.Lines.Contains(expected),
                        "no \"" + expected + "\" in " + string.Join("\n", worker.Lines));
                }
                True(worker.Lines.Any(line => line.StartsWith("no/such/folder failed ")), "a folder that is not there");
                True(new FileInfo(Path.Combine(folder, "one.mp4")).Length > 500, "one.mp4");
                True(!File.Exists(Path.Combine(folder, "three.mp4")), "three.mp4 is there");
            }
        });
    }

    private static void Stopped()
    {
        InTemporary(folder =>
        {
            using (var worker = new Running("Worker.exe", "\"" + Folder() + "\" \"" + folder + "\" 1 1000", folder))
            {
                worker.Says("generate long a ball");
                worker.Says("generate behind a ball");
                worker.Hears("behind queued");
                worker.Hears("long 0 %");
                worker.Says("stop");
                worker.Ends(0);
                True(worker.Lines.Contains("long cancelled"), string.Join("\n", worker.Lines));
                True(worker.Lines.Contains("behind cancelled"), string.Join("\n", worker.Lines));
                Equal(0, Directory.GetFiles(folder).Length, "files");
            }
        });
    }

    private static void ImageToVideo()
    {
        InTemporary(folder =>
        {
            string picture = Path.Combine(Root, "tests", "goldens", "images", "rgb.jpg");
            Func<string, string> call = image =>
                "\"" + Folder("5b-i2v") + "\" \"" + image + "\" \"a red ball\" a.mp4";
            using (var program = new Running("ImageToVideo.exe", call(picture), folder))
            {
                program.Ends(0);
                Equal("a.mp4: 16 frames of 80x48", program.Lines.Single(), "what it says");
            }
            True(new FileInfo(Path.Combine(folder, "a.mp4")).Length > 500, "a.mp4");
            using (var program = new Running("ImageToVideo.exe", call("missing.png"), folder))
            {
                program.Ends(1);
                True(program.Lines.Single().Contains("missing.png"), program.Lines[0]);
            }
            using (var program = new Running("ImageToVideo.exe", "only", folder)) program.Ends(2);
        });
    }

    // On a tiny pipeline in the demo model's place.
    private static void Quickstart()
    {
        InTemporary(folder =>
        {
            Directory.CreateDirectory(Path.Combine(folder, "examples", "demo-model"));
            Process.Start("ln", "-s \"" + Folder("5b") + "\" \"" + folder + "/examples/demo-model/pipeline\"")
                .WaitForExit();
            using (var program = new Running("Quickstart.exe", "", folder)) program.Ends(0);
            True(new FileInfo(Path.Combine(folder, "ball.mp4")).Length > 500, "ball.mp4");
            using (var program = new Running("Quickstart.exe", "", Path.Combine(folder, "examples")))
            {
                program.Ends(1);
                True(program.Lines.Single().Contains("examples/demo-model/pipeline"), program.Lines[0]);
            }
        });
    }
}
