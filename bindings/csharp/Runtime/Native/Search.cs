using System;
using System.Collections.Generic;
using System.IO;
using System.Runtime.InteropServices;

namespace CogVideoX.Native
{
    /// <summary>
    /// What can be told of a library that was not loaded: where it was looked for, and what the
    /// system's loader has against the files that are there. The runtimes keep that to themselves.
    /// </summary>
    internal static class Search
    {
        private const string FileName = "libcogvideox.so";

        /// <summary>A line for each place, with what was found there.</summary>
        internal static string[] Tried(string chosen)
        {
            var tried = new List<string>();
            if (chosen != null)
            {
                tried.Add(Look(Path.GetFullPath(chosen)) + " (chosen by "
                    + CogVideoXLibrary.PathVariable + " or CogVideoXLibrary.Path)");
                return tried.ToArray(); // nothing else is looked at
            }
            tried.Add(CogVideoXLibrary.PathVariable + ": not set");
            var folders = new List<string>();
            Add(folders, Folder(typeof(Search).Assembly.Location));
            Add(folders, AppDomain.CurrentDomain.BaseDirectory);
            string paths = Environment.GetEnvironmentVariable("LD_LIBRARY_PATH");
            foreach (string folder in (paths ?? "").Split(Path.PathSeparator)) Add(folders, folder);
            foreach (string folder in folders) tried.Add(Look(Path.Combine(folder, FileName)));
            if (string.IsNullOrEmpty(paths)) tried.Add("LD_LIBRARY_PATH: not set");
            tried.Add(FileName + " in the system's library folders: " + (OpenError(FileName) ?? "found"));
            return tried.ToArray();
        }

        internal static string Describe(Exception failure, string[] tried)
        {
            string what = failure is EntryPointNotFoundException
                ? "the library that was found lacks a function (" + failure.Message + ")"
                : failure is BadImageFormatException
                    ? "the library that was found is not for this platform"
                    : "the native library '" + NativeMethods.Library + "' could not be loaded";
            return what + "; tried:\n  " + string.Join("\n  ", tried);
        }

        private static string Folder(string file)
        {
            return string.IsNullOrEmpty(file) ? null : Path.GetDirectoryName(file);
        }

        private static void Add(List<string> folders, string folder)
        {
            if (string.IsNullOrEmpty(folder)) return;
            string full = Path.GetFullPath(folder);
            if (full.Length > 1) full = full.TrimEnd(Path.DirectorySeparatorChar);
            if (!folders.Contains(full)) folders.Add(full);
        }

        private static string Look(string file)
        {
            return file + ": " + (File.Exists(file) ? OpenError(file) ?? "can be loaded" : "not there");
        }

        // dlopen's own words, which name a missing dependency; null if the file can be loaded.

        private const int Lazy = 1;

        [DllImport("libdl.so.2", EntryPoint = "dlopen", CallingConvention = CallingConvention.Cdecl)]
        private static extern IntPtr dlopen(byte[] file, int flags);

        [DllImport("libdl.so.2", EntryPoint = "dlerror", CallingConvention = CallingConvention.Cdecl)]
        private static extern IntPtr dlerror();

        private static string OpenError(string file)
        {
            try
            {
                // Not closed again: libtorch cannot be unloaded.
                if (dlopen(Utf8.Bytes(file, "file"), Lazy) != IntPtr.Zero) return null;
                return Utf8.Read(dlerror()) ?? "cannot be loaded";
            }
            catch (Exception e) when (e is DllNotFoundException || e is EntryPointNotFoundException)
            {
                return "there, but not loaded"; // no dlopen on this system
            }
        }
    }
}
