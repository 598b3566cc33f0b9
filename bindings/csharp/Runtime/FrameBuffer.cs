using System;

namespace CogVideoX
{
    /// <summary>
    /// Memory of the host that frames are written into as they are decoded: frame f of video v at
    /// (v * frames + f) * <see cref="FrameStride"/>, its row r at + r * <see cref="RowStride"/>.
    /// A run for which it is too small ends with <see cref="ErrorCode.InvalidArgument"/> before
    /// anything is computed. One buffer serves one run at a time, and must not be touched until
    /// that has ended.
    /// </summary>
    public sealed class FrameBuffer
    {
        /// <summary>A buffer of bytes, which the binding pins while a run uses it.</summary>
        /// <param name="format">The pixels to write.</param>
        /// <param name="array">The memory.</param>
        /// <param name="rowStride">Bytes from row to row; 0: rows without a gap.</param>
        /// <param name="frameStride">Bytes from frame to frame; 0: frames without a gap.</param>
        public FrameBuffer(PixelFormat format, byte[] array, long rowStride = 0, long frameStride = 0)
            : this(format, rowStride, frameStride)
        {
            if (array == null) throw new ArgumentNullException("array");
            Array = array;
            Size = array.LongLength;
        }

        /// <summary>A buffer of floats, for <see cref="PixelFormat.F32"/>; pinned likewise.</summary>
        /// <param name="array">The memory.</param>
        /// <param name="rowStride">Bytes from row to row; 0: rows without a gap.</param>
        /// <param name="frameStride">Bytes from frame to frame; 0: frames without a gap.</param>
        public FrameBuffer(float[] array, long rowStride = 0, long frameStride = 0)
            : this(PixelFormat.F32, rowStride, frameStride)
        {
            if (array == null) throw new ArgumentNullException("array");
            Array = array;
            Size = array.LongLength * sizeof(float);
        }

        /// <summary>Memory that is not the garbage collector's: a mapped texture, for one.</summary>
        /// <param name="format">The pixels to write.</param>
        /// <param name="data">The memory; valid until the run has ended.</param>
        /// <param name="size">How many bytes there are.</param>
        /// <param name="rowStride">Bytes from row to row; 0: rows without a gap.</param>
        /// <param name="frameStride">Bytes from frame to frame; 0: frames without a gap.</param>
        public FrameBuffer(PixelFormat format, IntPtr data, long size, long rowStride = 0, long frameStride = 0)
            : this(format, rowStride, frameStride)
        {
            if (data == IntPtr.Zero) throw new ArgumentNullException("data");
            if (size < 0) throw new ArgumentOutOfRangeException("size", size, "expected 0 or more bytes");
            Data = data;
            Size = size;
        }

        private FrameBuffer(PixelFormat format, long rowStride, long frameStride)
        {
            if (rowStride < 0)
            {
                throw new ArgumentOutOfRangeException("rowStride", rowStride, "expected 0 or more bytes");
            }
            if (frameStride < 0)
            {
                throw new ArgumentOutOfRangeException("frameStride", frameStride, "expected 0 or more bytes");
            }
            Format = format;
            RowStride = rowStride;
            FrameStride = frameStride;
        }

        /// <summary>The pixels to write.</summary>
        public PixelFormat Format { get; private set; }

        /// <summary>How many bytes there are.</summary>
        public long Size { get; private set; }

        /// <summary>Bytes from row to row; 0: rows without a gap.</summary>
        public long RowStride { get; private set; }

        /// <summary>Bytes from frame to frame; 0: frames without a gap.</summary>
        public long FrameStride { get; private set; }

        /// <summary>The memory, if it is an array; else null.</summary>
        internal Array Array { get; private set; }

        /// <summary>The memory, if it is no array.</summary>
        internal IntPtr Data { get; private set; }
    }
}
