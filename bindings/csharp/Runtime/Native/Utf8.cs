using System;
using System.Runtime.InteropServices;
using System.Text;

namespace CogVideoX.Native
{
    /// <summary>
    /// Texts for C and from C. By hand, because what the runtime's own marshalling calls a
    /// string is not UTF-8 everywhere.
    /// </summary>
    internal static class Utf8
    {
        private static readonly UTF8Encoding Strict = new UTF8Encoding(false, true);

        /// <summary>The text ended by NUL; null for null.</summary>
        /// <exception cref="ArgumentException">It holds a NUL, or half a surrogate pair.</exception>
        internal static byte[] Bytes(string text, string name)
        {
            if (text == null) return null;
            int nul = text.IndexOf('\0');
            if (nul >= 0)
            {
                throw new ArgumentException(
                    name + " has a NUL character at position " + nul + ", where a C text would end", name);
            }
            try
            {
                var bytes = new byte[Strict.GetByteCount(text) + 1];
                Strict.GetBytes(text, 0, text.Length, bytes, 0);
                return bytes;
            }
            catch (EncoderFallbackException e)
            {
                throw new ArgumentException(
                    name + " has half a surrogate pair at position " + e.Index + ", which is no character",
                    name, e);
            }
        }

        /// <summary>The same for a text that must be there.</summary>
        internal static byte[] Required(string text, string name)
        {
            if (text == null) throw new ArgumentNullException(name);
            return Bytes(text, name);
        }

        /// <summary>A text of the library, copied; null for NULL.</summary>
        internal static string Read(IntPtr text)
        {
            if (text == IntPtr.Zero) return null;
            int length = 0;
            while (Marshal.ReadByte(text, length) != 0) length++;
            if (length == 0) return "";
            var bytes = new byte[length];
            Marshal.Copy(text, bytes, 0, length);
            return Encoding.UTF8.GetString(bytes, 0, length);
        }
    }

    /// <summary>An array of C texts, alive until it is disposed of.</summary>
    internal sealed class Utf8Array : IDisposable
    {
        internal readonly IntPtr[] Pointers;

        internal Utf8Array(string[] texts, string name)
        {
            if (texts == null) throw new ArgumentNullException(name);
            Pointers = new IntPtr[texts.Length];
            try
            {
                for (int i = 0; i < texts.Length; i++)
                {
                    byte[] bytes = Utf8.Required(texts[i], name + "[" + i + "]");
                    Pointers[i] = Marshal.AllocHGlobal(bytes.Length);
                    Marshal.Copy(bytes, 0, Pointers[i], bytes.Length);
                }
            }
            catch
            {
                Dispose();
                throw;
            }
        }

        public void Dispose()
        {
            for (int i = 0; i < Pointers.Length; i++)
            {
                Marshal.FreeHGlobal(Pointers[i]);
                Pointers[i] = IntPtr.Zero;
            }
        }
    }
}
