using System;
using System.Reflection;
using System.Runtime.CompilerServices;

namespace CogVideoX.Native
{
    /// <summary>
    /// Makes sure, before anything else of the library is called, that it is there and fits.
    ///
    /// Methods that may be the first to call the library call Ensure and then another method,
    /// which must not be inlined, for the call itself: mono looks a native function up when it
    /// compiles the method that calls it, which must not be before Ensure said where to look.
    /// </summary>
    internal static class Loader
    {
        private static readonly object Gate = new object();
        private static volatile bool loaded;
        private static string path;

        internal static bool Loaded
        {
            get { return loaded; }
        }

        /// <summary>The file that the host chose, by property or environment; or null.</summary>
        internal static string Path
        {
            get
            {
                string chosen = path ?? Environment.GetEnvironmentVariable(CogVideoXLibrary.PathVariable);
                return string.IsNullOrEmpty(chosen) ? null : chosen;
            }
            set
            {
                lock (Gate)
                {
                    if (loaded)
                    {
                        throw new InvalidOperationException(
                            "the library is loaded already; set its path before anything else is called");
                    }
                    path = value;
                }
            }
        }

        internal static void Ensure()
        {
            if (loaded) return;
            lock (Gate)
            {
                if (loaded) return;
                string chosen = Path;
                if (chosen != null) PathResolver.Use(System.IO.Path.GetFullPath(chosen));
                try
                {
                    CheckAbi();
                }
                catch (Exception e) when (
                    e is DllNotFoundException || e is EntryPointNotFoundException || e is BadImageFormatException)
                {
                    string[] tried = Search.Tried(chosen);
                    throw new CogVideoXLoadException(Search.Describe(e, tried), tried, e);
                }
                loaded = true;
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static void CheckAbi()
        {
            Errors.Check(NativeMethods.cvx_abi_check(NativeMethods.CVX_ABI_VERSION));
        }
    }
}
