using System;
using System.Runtime.InteropServices;
using CogVideoX.Native;

namespace CogVideoX
{
    /// <summary>
    /// The picture that an image-to-video pipeline starts from: rows from top to bottom, of any size
    /// up to 16384 by 16384. Alpha is dropped, as it is. The pixels are read when a run starts, or
    /// when a job is submitted.
    /// </summary>
    public sealed class SourceImage
    {
        private readonly Array pixels;

        /// <summary>A picture over bytes, which are not copied.</summary>
        /// <param name="pixels">The bytes.</param>
        /// <param name="width">In pixels.</param>
        /// <param name="height">In pixels.</param>
        /// <param name="format">Rgb8 or Rgba8.</param>
        /// <param name="stride">Bytes from row to row; 0: rows without a gap.</param>
        /// <exception cref="ArgumentException">There are fewer bytes than that takes.</exception>
        public SourceImage(
            byte[] pixels, int width, int height, PixelFormat format = PixelFormat.Rgb8, int stride = 0)
            : this(pixels, width, height, format, stride, 1)
        {
            if (format == PixelFormat.F32) throw new ArgumentException("expected bytes of colours", "format");
        }

        /// <summary>
        /// A picture over floats R, G, B from 0 to 1 (<see cref="PixelFormat.F32"/>), which are not
        /// copied.
        /// </summary>
        /// <param name="pixels">The floats.</param>
        /// <param name="width">In pixels.</param>
        /// <param name="height">In pixels.</param>
        /// <param name="stride">Bytes from row to row, a multiple of 4; 0: rows without a gap.</param>
        /// <exception cref="ArgumentException">There are fewer floats than that takes.</exception>
        public SourceImage(float[] pixels, int width, int height, int stride = 0)
            : this(pixels, width, height, PixelFormat.F32, stride, sizeof(float))
        {
        }

        private SourceImage(Array pixels, int width, int height, PixelFormat format, int stride, int size)
        {
            if (pixels == null) throw new ArgumentNullException("pixels");
            if (stride < 0) throw new ArgumentOutOfRangeException("stride", stride, "expected 0 or more bytes");
            // The library reads as many as the size says, so there have to be as many here; it
            // refuses what is no size itself.
            long row = (long)width * (format == PixelFormat.Rgba8 ? 4 : 3) * size;
            long needed = width > 0 && height > 0 ? (height - 1L) * (stride == 0 ? row : stride) + row : 0;
            if (pixels.LongLength * size < needed)
            {
                throw new ArgumentException(
                    "expected " + needed + " bytes for " + width + " x " + height + " pixels, found "
                    + pixels.LongLength * size, "pixels");
            }
            this.pixels = pixels;
            Width = width;
            Height = height;
            Format = format;
            Stride = stride;
        }

        /// <summary>Width in pixels.</summary>
        public int Width { get; private set; }

        /// <summary>Height in pixels.</summary>
        public int Height { get; private set; }

        /// <summary>How a pixel is stored.</summary>
        public PixelFormat Format { get; private set; }

        /// <summary>Bytes from row to row; 0: rows without a gap.</summary>
        public int Stride { get; private set; }

        /// <summary>
        /// Reads a .png or .jpeg file as 8-bit R, G, B: alpha dropped, the right way up. A host with
        /// pictures of its own (Unity's textures) takes a constructor instead.
        /// </summary>
        /// <param name="path">The file.</param>
        /// <returns>The picture.</returns>
        /// <exception cref="CogVideoXException">
        /// NotFound, Io, InvalidArgument (another format, a damaged file).
        /// </exception>
        public static SourceImage Load(string path)
        {
            if (path == null) throw new ArgumentNullException("path");
            Loader.Ensure();
            IntPtr loaded;
            Errors.Check(NativeMethods.cvx_image_load(Utf8.Bytes(path, "path"), out loaded));
            using (var image = new ImageHandle(loaded))
            {
                IntPtr data;
                UIntPtr stride;
                Errors.Check(NativeMethods.cvx_image_rgb8(image, out data, out stride));
                int width = NativeMethods.cvx_image_width(image), height = NativeMethods.cvx_image_height(image);
                var bytes = new byte[checked(height * (int)stride)];
                Marshal.Copy(data, bytes, 0, bytes.Length);
                return new SourceImage(bytes, width, height, PixelFormat.Rgb8, (int)stride);
            }
        }

        /// <summary>Writes bytes as a .png file; alpha is dropped.</summary>
        /// <param name="path">The file, ending in .png.</param>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument (floats, size, stride, ending), NotFound (the parent folder), Io.
        /// </exception>
        public void SavePng(string path)
        {
            if (path == null) throw new ArgumentNullException("path");
            Loader.Ensure();
            GCHandle pin = GCHandle.Alloc(pixels, GCHandleType.Pinned);
            try
            {
                IntPtr data = pixels.Length == 0 ? IntPtr.Zero : pin.AddrOfPinnedObject();
                Errors.Check(NativeMethods.cvx_image_save_png(
                    Utf8.Bytes(path, "path"), data, Width, Height, (UIntPtr)(uint)Stride, (int)Format));
            }
            finally
            {
                pin.Free();
            }
        }

        /// <summary>Gives the pixels to the library, which copies them.</summary>
        internal void Apply(GenerateOptionsHandle options, Setter set)
        {
            GCHandle pin = GCHandle.Alloc(pixels, GCHandleType.Pinned);
            try
            {
                // NULL may take an image away; an empty one is refused by its size.
                IntPtr data = pixels.Length == 0 ? new IntPtr(sizeof(float)) : pin.AddrOfPinnedObject();
                Errors.Check(set(
                    options, data, Width, Height, (UIntPtr)(uint)Stride, (int)Format));
            }
            finally
            {
                pin.Free();
            }
        }

        internal delegate IntPtr Setter(
            GenerateOptionsHandle options, IntPtr data, int width, int height, UIntPtr stride, int format);
    }
}
