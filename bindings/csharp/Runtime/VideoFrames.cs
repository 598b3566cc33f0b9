using System;
using System.Runtime.InteropServices;
using CogVideoX.Native;

namespace CogVideoX
{
    /// <summary>
    /// The frames of one video where they are: one after another, rows from top to bottom. The
    /// methods throw ObjectDisposedException once the video is disposed of; who uses
    /// <see cref="Pointer"/> has to see to that himself.
    /// </summary>
    public struct VideoFrames
    {
        private readonly VideoHandle video;

        internal VideoFrames(
            VideoHandle video, IntPtr pointer, long stride, int count, int width, int height, PixelFormat format)
        {
            this.video = video;
            Pointer = pointer;
            Stride = stride;
            Count = count;
            Width = width;
            Height = height;
            Format = format;
        }

        /// <summary>The first byte; lives until the video is disposed of.</summary>
        public IntPtr Pointer { get; private set; }

        /// <summary>Bytes from row to row.</summary>
        public long Stride { get; private set; }

        /// <summary>How many frames there are.</summary>
        public int Count { get; private set; }

        /// <summary>Width in pixels.</summary>
        public int Width { get; private set; }

        /// <summary>Height in pixels.</summary>
        public int Height { get; private set; }

        /// <summary>The pixels.</summary>
        public PixelFormat Format { get; private set; }

        /// <summary>Bytes of one frame.</summary>
        public long FrameSize
        {
            get { return Stride * Height; }
        }

        /// <summary>Bytes of all frames.</summary>
        public long Length
        {
            get { return FrameSize * Count; }
        }

        /// <summary>The first byte of a frame; lives until the video is disposed of.</summary>
        /// <param name="frame">The frame, from 0.</param>
        /// <returns>A pointer to <see cref="FrameSize"/> bytes.</returns>
        /// <exception cref="ArgumentOutOfRangeException">There is no such frame.</exception>
        public IntPtr Frame(int frame)
        {
            if (frame < 0 || frame >= Count)
            {
                throw new ArgumentOutOfRangeException("frame", frame, "expected a frame from 0 to " + (Count - 1));
            }
            return new IntPtr(Pointer.ToInt64() + frame * FrameSize);
        }

        /// <summary>Copies one frame.</summary>
        /// <param name="frame">The frame, from 0.</param>
        /// <param name="destination">Where to.</param>
        /// <param name="offset">The first byte of destination to write.</param>
        /// <exception cref="ArgumentException">It does not fit.</exception>
        public void CopyFrame(int frame, byte[] destination, int offset = 0)
        {
            Copy(Frame(frame), FrameSize, destination, offset);
        }

        /// <summary>Copies all frames.</summary>
        /// <param name="destination">Where to.</param>
        /// <param name="offset">The first byte of destination to write.</param>
        /// <exception cref="ArgumentException">They do not fit.</exception>
        public void CopyTo(byte[] destination, int offset = 0)
        {
            Copy(Pointer, Length, destination, offset);
        }

        /// <summary>A copy of all frames as bytes.</summary>
        /// <returns><see cref="Length"/> bytes.</returns>
        public byte[] ToArray()
        {
            var bytes = new byte[Length];
            CopyTo(bytes);
            return bytes;
        }

        /// <summary>A copy of all frames of <see cref="PixelFormat.F32"/> as numbers.</summary>
        /// <returns>A quarter of <see cref="Length"/> numbers.</returns>
        /// <exception cref="InvalidOperationException">The pixels are bytes.</exception>
        public float[] ToFloatArray()
        {
            if (Format != PixelFormat.F32)
            {
                throw new InvalidOperationException("expected frames of F32, found " + Format);
            }
            var numbers = new float[Length / sizeof(float)];
            using (Held()) Marshal.Copy(Pointer, numbers, 0, numbers.Length);
            return numbers;
        }

        private void Copy(IntPtr from, long size, byte[] destination, int offset)
        {
            if (destination == null) throw new ArgumentNullException("destination");
            if (offset < 0 || size > destination.LongLength - offset)
            {
                throw new ArgumentException(
                    "expected room for " + size + " bytes from " + offset + ", found an array of "
                    + destination.LongLength, "destination");
            }
            using (Held()) Marshal.Copy(from, destination, offset, (int)size);
        }

        private Lease Held()
        {
            if (video == null) throw new InvalidOperationException("these frames are of no video");
            return new Lease(NativeHandle.Open(video, "Video"));
        }
    }
}
