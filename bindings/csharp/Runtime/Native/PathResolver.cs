using System;
using System.Reflection;
using System.Runtime.InteropServices;

namespace CogVideoX.Native
{
    /// <summary>
    /// Tells the runtime that the library is a file which the host chose. netstandard2.0 has no
    /// word for that, so each runtime is told in its own way. Unity is not told: there the plugin
    /// import settings say where the library is.
    /// </summary>
    internal static class PathResolver
    {
        /// <summary>Must be called before the first function is looked up.</summary>
        internal static void Use(string path)
        {
#if !UNITY_5_3_OR_NEWER
            if (Type.GetType("Mono.Runtime") != null) UseInMono(path);
            else UseInDotnet(path);
#endif
        }

#if !UNITY_5_3_OR_NEWER
        // "__Internal" is the mono program itself.
        [DllImport("__Internal", CallingConvention = CallingConvention.Cdecl)]
        private static extern void mono_dllmap_insert(
            IntPtr assembly, byte[] dll, byte[] function, byte[] targetDll, byte[] targetFunction);

        private static void UseInMono(string path)
        {
            mono_dllmap_insert(
                IntPtr.Zero, Utf8.Bytes(NativeMethods.Library, "library"), null, Utf8.Required(path, "path"), null);
        }

        private static string chosen;
        private static Type nativeLibrary;

        // .NET 5 and later: NativeLibrary.SetDllImportResolver, found by reflection because
        // netstandard2.0 does not have it.
        private static void UseInDotnet(string path)
        {
            chosen = path;
            if (nativeLibrary != null) return;
            Type type = Type.GetType("System.Runtime.InteropServices.NativeLibrary");
            MethodInfo set = type == null ? null : type.GetMethod("SetDllImportResolver");
            if (set == null)
            {
                throw new PlatformNotSupportedException(
                    "this runtime cannot be told a path of the library; put the library beside the program, "
                    + "or into a folder of LD_LIBRARY_PATH, and leave the path unset");
            }
            MethodInfo resolve = typeof(PathResolver).GetMethod(
                "Resolve", BindingFlags.NonPublic | BindingFlags.Static);
            Type resolver = set.GetParameters()[1].ParameterType;
            set.Invoke(null, new object[]
            {
                typeof(PathResolver).Assembly, Delegate.CreateDelegate(resolver, resolve)
            });
            nativeLibrary = type;
        }

        private static IntPtr Resolve(string name, Assembly assembly, DllImportSearchPath? searchPath)
        {
            if (name != NativeMethods.Library) return IntPtr.Zero;
            MethodInfo load = nativeLibrary.GetMethod("Load", new[] { typeof(string) });
            try
            {
                return (IntPtr)load.Invoke(null, new object[] { chosen });
            }
            catch (TargetInvocationException e)
            {
                throw e.InnerException ?? e;
            }
        }
#endif
    }
}
