using System;
using System.Runtime.InteropServices;
using CogVideoX.Native;

namespace CogVideoX
{
    /// <summary>
    /// A video that a run starts from: frames one after another, rows from top to bottom, of any size up
    /// to 16384 by 16384. Alpha is dropped, as it is. The pixels are read when a run starts, or when a
    /// job is submitted.
    /// </summary>
    public sealed class SourceVideo
    {
        private readonly Array pixels;

        /// <summary>A video over bytes, which are not copied.</summary>
        /// <param name="pixels">The bytes of all frames.</param>
        /// <param name="width">In pixels.</param>
        /// <param name="height">In pixels.</param>
        /// <param name="numFrames">How many frames there are.</param>
        /// <param name="format">Rgb8 or Rgba8.</param>
        /// <param name="rowStride">Bytes from row to row; 0: rows without a gap.</param>
        /// <param name="frameStride">Bytes from frame to frame; 0: frames without a gap.</param>
        /// <exception cref="ArgumentException">There are fewer bytes than that takes.</exception>
        public SourceVideo(
            byte[] pixels, int width, int height, int numFrames, PixelFormat format = PixelFormat.Rgb8,
            int rowStride = 0, int frameStride = 0)
            : this(pixels, width, height, numFrames, format, rowStride, frameStride, 1)
        {
            if (format == PixelFormat.F32) throw new ArgumentException("expected bytes of colours", "format");
        }

        /// <summary>
        /// A video over floats R, G, B from 0 to 1 (<see cref="PixelFormat.F32"/>), which are not
        /// copied.
        /// </summary>
        /// <param name="pixels">The floats of all frames.</param>
        /// <param name="width">In pixels.</param>
        /// <param name="height">In pixels.</param>
        /// <param name="numFrames">How many frames there are.</param>
        /// <param name="rowStride">Bytes from row to row, a multiple of 4; 0: rows without a gap.</param>
        /// <param name="frameStride">
        /// Bytes from frame to frame, a multiple of 4; 0: frames without a gap.
        /// </param>
        /// <exception cref="ArgumentException">There are fewer floats than that takes.</exception>
        public SourceVideo(
            float[] pixels, int width, int height, int numFrames, int rowStride = 0, int frameStride = 0)
            : this(pixels, width, height, numFrames, PixelFormat.F32, rowStride, frameStride, sizeof(float))
        {
        }

        private SourceVideo(
            Array pixels, int width, int height, int numFrames, PixelFormat format, int rowStride,
            int frameStride, int size)
        {
            if (pixels == null) throw new ArgumentNullException("pixels");
            if (rowStride < 0) throw new ArgumentOutOfRangeException("rowStride", rowStride, "expected 0 or more bytes");
            if (frameStride < 0)
            {
                throw new ArgumentOutOfRangeException("frameStride", frameStride, "expected 0 or more bytes");
            }
            // As many as the library reads of that size; it refuses what is no size itself.
            long row = (long)width * (format == PixelFormat.Rgba8 ? 4 : 3) * size;
            long stride = rowStride == 0 ? row : rowStride;
            long needed = 0;
            if (width > 0 && height > 0 && numFrames > 0)
            {
                decimal frames = (decimal)(numFrames - 1) * (frameStride == 0 ? (decimal)stride * height : frameStride);
                decimal all = frames + (decimal)(height - 1) * stride + row;
                needed = all > long.MaxValue ? long.MaxValue : (long)all;
            }
            if (pixels.LongLength * size < needed)
            {
                throw new ArgumentException(
                    "expected " + needed + " bytes for " + numFrames + " frames of " + width + " x " + height
                    + " pixels, found " + pixels.LongLength * size, "pixels");
            }
            this.pixels = pixels;
            Width = width;
            Height = height;
            NumFrames = numFrames;
            Format = format;
            RowStride = rowStride;
            FrameStride = frameStride;
        }

        /// <summary>Width in pixels.</summary>
        public int Width { get; private set; }

        /// <summary>Height in pixels.</summary>
        public int Height { get; private set; }

        /// <summary>How many frames there are.</summary>
        public int NumFrames { get; private set; }

        /// <summary>How a pixel is stored.</summary>
        public PixelFormat Format { get; private set; }

        /// <summary>Bytes from row to row; 0: rows without a gap.</summary>
        public int RowStride { get; private set; }

        /// <summary>Bytes from frame to frame; 0: frames without a gap.</summary>
        public int FrameStride { get; private set; }

        /// <summary>Gives the pixels to one of the library's functions, which copies them.</summary>
        internal void Apply(GenerateOptionsHandle options, Setter set)
        {
            GCHandle pin = GCHandle.Alloc(pixels, GCHandleType.Pinned);
            try
            {
                // NULL would take a video away; an empty one is refused by its size.
                IntPtr data = pixels.Length == 0 ? new IntPtr(sizeof(float)) : pin.AddrOfPinnedObject();
                Errors.Check(set(
                    options, data, Width, Height, NumFrames, (UIntPtr)(uint)RowStride,
                    (UIntPtr)(uint)FrameStride, (int)Format));
            }
            finally
            {
                pin.Free();
            }
        }

        internal delegate IntPtr Setter(
            GenerateOptionsHandle options, IntPtr data, int width, int height, int numFrames,
            UIntPtr rowStride, UIntPtr frameStride, int format);
    }
}
