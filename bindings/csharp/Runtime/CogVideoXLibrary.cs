using System;
using System.Runtime.CompilerServices;
using CogVideoX.Native;

namespace CogVideoX
{
    /// <summary>
    /// The native library itself: where it is, and which release. It is loaded when it is first
    /// needed, and checked then for the binary interface that this binding was written for. It
    /// stays in the process until that ends, because libtorch cannot be unloaded.
    /// </summary>
    public static class CogVideoXLibrary
    {
        /// <summary>
        /// The environment variable that may name the library's file, for hosts that do not set
        /// <see cref="Path"/>.
        /// </summary>
        public const string PathVariable = "COGVIDEOX_LIBRARY";

        /// <summary>
        /// The library's file. Null (default) takes the one that <see cref="PathVariable"/> names,
        /// or without one what the runtime finds: libcogvideox.so beside this assembly, in the
        /// folders of LD_LIBRARY_PATH, or in the system's. Understood by mono and by .NET 5 and
        /// later; without effect in Unity, where the plugin's import settings say where it is.
        /// </summary>
        /// <exception cref="InvalidOperationException">Set when the library was loaded.</exception>
        public static string Path
        {
            get { return Loader.Path; }
            set { Loader.Path = value; }
        }

        /// <summary>Loads and checks the library, if that has not happened yet.</summary>
        /// <exception cref="CogVideoXLoadException">It could not be loaded.</exception>
        /// <exception cref="CogVideoXException">Its binary interface is another one.</exception>
        public static void Load()
        {
            Loader.Ensure();
        }

        /// <summary>The release of the native library, such as "0.1.0".</summary>
        /// <exception cref="CogVideoXLoadException">It could not be loaded.</exception>
        public static string Version
        {
            get
            {
                Loader.Ensure();
                return ReadVersion();
            }
        }

        /// <summary>The number of the native library's binary interface.</summary>
        /// <exception cref="CogVideoXLoadException">It could not be loaded.</exception>
        public static int AbiVersion
        {
            get
            {
                Loader.Ensure();
                return ReadAbiVersion();
            }
        }

        /// <summary>The release that this binding was written for, such as "0.1.0".</summary>
        public static string BindingVersion
        {
            get
            {
                return NativeMethods.CVX_VERSION_MAJOR + "." + NativeMethods.CVX_VERSION_MINOR + "."
                    + NativeMethods.CVX_VERSION_PATCH;
            }
        }

        /// <summary>The library's own name of a code, such as "INVALID_ARGUMENT".</summary>
        /// <param name="code">A code; "UNKNOWN" is the name of one that there is not.</param>
        /// <returns>The name, without the prefix CVX_ERROR_.</returns>
        /// <exception cref="CogVideoXLoadException">The library could not be loaded.</exception>
        public static string NameOf(ErrorCode code)
        {
            Loader.Ensure();
            return ReadName(code);
        }

        /// <summary>
        /// Whether the library can do what a name says, such as "save.mp4" or "cache.pab".
        /// </summary>
        /// <param name="name">A name; false for one that the library does not know.</param>
        /// <returns>Whether it can.</returns>
        /// <exception cref="CogVideoXLoadException">The library could not be loaded.</exception>
        public static bool HasCapability(string name)
        {
            Loader.Ensure();
            return ReadCapability(name);
        }

        /// <summary>
        /// All names that <see cref="HasCapability"/> answers true for, sorted.
        /// </summary>
        /// <returns>The names.</returns>
        /// <exception cref="CogVideoXLoadException">The library could not be loaded.</exception>
        public static string[] ListCapabilities()
        {
            Loader.Ensure();
            return ReadCapabilities().Split(' ');
        }

        // Apart from their callers; Loader says why.

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static bool ReadCapability(string name)
        {
            return NativeMethods.cvx_has_capability(Utf8.Required(name, "name")) != 0;
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static string ReadCapabilities()
        {
            return Utf8.Read(NativeMethods.cvx_capabilities());
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static string ReadVersion()
        {
            return Utf8.Read(NativeMethods.cvx_version());
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static int ReadAbiVersion()
        {
            return NativeMethods.cvx_abi_version();
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static string ReadName(ErrorCode code)
        {
            return Utf8.Read(NativeMethods.cvx_error_code_name((int)code));
        }
    }
}
