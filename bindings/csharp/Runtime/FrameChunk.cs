using System;
using System.Runtime.InteropServices;
using CogVideoX.Native;

namespace CogVideoX
{
    /// <summary>
    /// Frames that have just been decoded, and the same bytes as the finished video's. Valid
    /// during the callback only: what is needed later has to be copied, and every member that
    /// reaches the pixels throws ObjectDisposedException afterwards.
    /// </summary>
    public sealed class FrameChunk
    {
        private readonly IntPtr data;
        private bool ended;

        internal FrameChunk(ref cvx_frames_info info)
        {
            data = info.data;
            Format = (PixelFormat)info.pixels;
            Video = info.video;
            FirstFrame = info.first_frame;
            NumFrames = info.num_frames;
            TotalFrames = info.total_frames;
            Width = info.width;
            Height = info.height;
            RowStride = (long)info.row_stride;
            FrameStride = (long)info.frame_stride;
        }

        /// <summary>The pixels.</summary>
        public PixelFormat Format { get; private set; }

        /// <summary>Which video of several, from 0.</summary>
        public int Video { get; private set; }

        /// <summary>The place of the chunk's first frame in its video, from 0.</summary>
        public int FirstFrame { get; private set; }

        /// <summary>Frames in this chunk.</summary>
        public int NumFrames { get; private set; }

        /// <summary>Frames of the whole video.</summary>
        public int TotalFrames { get; private set; }

        /// <summary>Width in pixels.</summary>
        public int Width { get; private set; }

        /// <summary>Height in pixels.</summary>
        public int Height { get; private set; }

        /// <summary>Bytes from row to row.</summary>
        public long RowStride { get; private set; }

        /// <summary>Bytes from frame to frame.</summary>
        public long FrameStride { get; private set; }

        /// <summary>The first byte of the first frame; for a texture upload, for one.</summary>
        public IntPtr Pointer
        {
            get
            {
                if (ended) throw new ObjectDisposedException("FrameChunk", "its callback has returned");
                return data;
            }
        }

        /// <summary>Bytes of the chunk: frames one after another, rows from top to bottom.</summary>
        public long Length
        {
            get { return FrameStride * NumFrames; }
        }

        /// <summary>Copies one frame.</summary>
        /// <param name="frame">The frame of the chunk, from 0.</param>
        /// <param name="destination">Where to.</param>
        /// <param name="offset">The first byte of destination to write.</param>
        /// <exception cref="ArgumentException">There is no such frame, or it does not fit.</exception>
        public void CopyFrame(int frame, byte[] destination, int offset = 0)
        {
            if (frame < 0 || frame >= NumFrames)
            {
                throw new ArgumentOutOfRangeException(
                    "frame", frame, "expected a frame from 0 to " + (NumFrames - 1));
            }
            Copy(new IntPtr(Pointer.ToInt64() + frame * FrameStride), FrameStride, destination, offset);
        }

        /// <summary>A copy of the whole chunk.</summary>
        /// <returns><see cref="Length"/> bytes.</returns>
        public byte[] ToArray()
        {
            var bytes = new byte[Length];
            Copy(Pointer, Length, bytes, 0);
            return bytes;
        }

        internal void End()
        {
            ended = true;
        }

        private static void Copy(IntPtr from, long size, byte[] destination, int offset)
        {
            if (destination == null) throw new ArgumentNullException("destination");
            if (offset < 0 || size > destination.LongLength - offset)
            {
                throw new ArgumentException(
                    "expected room for " + size + " bytes from " + offset + ", found an array of "
                    + destination.LongLength, "destination");
            }
            Marshal.Copy(from, destination, offset, (int)size);
        }
    }
}
