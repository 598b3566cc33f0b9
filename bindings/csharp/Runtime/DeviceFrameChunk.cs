using System;
using CogVideoX.Native;

namespace CogVideoX
{
    /// <summary>
    /// Frames on the device that decoded them. Nothing has been waited for: what reads them is
    /// launched on <see cref="Stream"/>. Without a <see cref="GenerateOptions.DeviceFrameBuffer"/>
    /// the address is good for what is launched there during the callback, and for nothing else.
    /// </summary>
    public sealed class DeviceFrameChunk
    {
        internal DeviceFrameChunk(ref cvx_device_frames_info info)
        {
            Format = (PixelFormat)info.pixels;
            Video = info.video;
            FirstFrame = info.first_frame;
            NumFrames = info.num_frames;
            TotalFrames = info.total_frames;
            Width = info.width;
            Height = info.height;
            Pointer = info.data;
            RowStride = (long)info.row_stride;
            FrameStride = (long)info.frame_stride;
            Stream = info.stream;
            Device = Utf8.Read(info.device);
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

        /// <summary>An address on the device; of host memory on the CPU.</summary>
        public IntPtr Pointer { get; private set; }

        /// <summary>Bytes from row to row.</summary>
        public long RowStride { get; private set; }

        /// <summary>Bytes from frame to frame.</summary>
        public long FrameStride { get; private set; }

        /// <summary>A cudaStream_t; zero for CUDA's default stream, and on the CPU.</summary>
        public IntPtr Stream { get; private set; }

        /// <summary>"cpu", "cuda:0", …</summary>
        public string Device { get; private set; }
    }
}
