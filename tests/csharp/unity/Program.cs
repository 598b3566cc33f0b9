// Runs the scripts of docs/unity.md as Unity would.
//
//   unity.exe ROOT, in an empty folder

using System;
using System.IO;
using System.Linq;
using System.Reflection;
using System.Threading;
using CogVideoX;
using UnityEditor;
using UnityEditor.Build.Reporting;
using UnityEngine;

internal static class Unity
{
    private static int Main(string[] arguments)
    {
        Copies();
        Generates(Path.Combine(arguments[0], "tests", "pipelines"), "2b", false);
        Generates(Path.Combine(arguments[0], "tests", "pipelines"), "2b", true);
        Console.WriteLine("ok      the scripts of docs/unity.md");
        return 0;
    }

    private static void True(bool condition, string what)
    {
        if (!condition) throw new Exception(what);
    }

    private static void Copies()
    {
        const string libraries = "Assets/Plugins/CogVideoX/x86_64", plugins = "Build/Game_Data/Plugins";
        Directory.CreateDirectory(libraries);
        Directory.CreateDirectory(plugins);
        foreach (string name in new[] { "libcogvideox.so", "libgomp.so.1", "libgomp.so.1.meta", "libc10.so", "libc10.so.meta" })
        {
            File.WriteAllText(Path.Combine(libraries, name), name);
        }
        File.WriteAllText(Path.Combine(plugins, "libcogvideox.so"), "as Unity copied it");
        var report = new BuildReport();
        report.summary.outputPath = "Build/Game.x86_64";
        report.summary.platform = BuildTarget.StandaloneWindows64;
        new CopyCogVideoX().OnPostprocessBuild(report);
        True(Directory.GetFiles(plugins).Length == 1, "another platform's player was touched");
        report.summary.platform = BuildTarget.StandaloneLinux64;
        new CopyCogVideoX().OnPostprocessBuild(report);
        new CopyCogVideoX().OnPostprocessBuild(report); // a second build replaces the first
        string found = string.Join(" ", Directory.GetFiles(plugins).Select(Path.GetFileName).OrderBy(n => n));
        True(found == "libcogvideox.so libgomp.so.1", found);
        True(File.ReadAllText(plugins + "/libgomp.so.1") == "libgomp.so.1", "copied something else");
    }

    // What Unity does: calls the messages by name, and Update again and again.
    private static void Send(MonoBehaviour script, string message)
    {
        script.GetType().GetMethod(message, BindingFlags.Instance | BindingFlags.NonPublic).Invoke(script, null);
    }

    private static void Generates(string folder, string model, bool destroyEarly)
    {
        Application.streamingAssetsPath = folder;
        var script = new GeneratedVideo { Model = model };
        Send(script, "Start");
        int shown = 0;
        byte[] last = null;
        for (DateTime end = DateTime.Now.AddMinutes(3); ; Thread.Sleep(2))
        {
            True(DateTime.Now < end, "no video within three minutes");
            Send(script, "Update");
            if (destroyEarly && script.Progress > 0) break;
            if (script.Texture != null && script.Texture.Loaded != last)
            {
                last = script.Texture.Loaded;
                shown++;
            }
            if (shown == 9 && script.Progress == 1) break; // every frame, each in an Update of its own
        }
        True(last == null || last.Where((value, i) => i % 4 == 3).All(alpha => alpha == 255), "alpha");
        Send(script, "OnDestroy");
    }
}
