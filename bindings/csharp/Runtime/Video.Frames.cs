using System;
using System.Runtime.InteropServices;
using CogVideoX.Native;

namespace CogVideoX
{
    public sealed partial class Video
    {
        /// <summary>
        /// The frames where they are, without a copy. They are converted when they are first asked
        /// for, and kept until the video is disposed of.
        /// </summary>
        /// <param name="format">The pixels.</param>
        /// <param name="index">Which video of several.</param>
        /// <returns>Where they are, and ways to copy them.</returns>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument (no such video, no frames), OutOfMemory.
        /// </exception>
        public VideoFrames Frames(PixelFormat format = PixelFormat.Rgb8, int index = 0)
        {
            VideoHandle video = Handle;
            IntPtr data;
            UIntPtr stride;
            using (new Lease(video))
            {
                switch (format)
                {
                    case PixelFormat.Rgb8:
                        Errors.Check(NativeMethods.cvx_video_frames_rgb8(video, index, out data, out stride));
                        break;
                    case PixelFormat.Rgba8:
                        Errors.Check(NativeMethods.cvx_video_frames_rgba8(video, index, out data, out stride));
                        break;
                    case PixelFormat.F32:
                        Errors.Check(NativeMethods.cvx_video_frames_f32(video, index, out data, out stride));
                        break;
                    default:
                        throw new ArgumentOutOfRangeException("format", format, "expected Rgb8, Rgba8 or F32");
                }
            }
            return new VideoFrames(video, data, (long)stride, NumFrames, Width, Height, format);
        }

        /// <summary>
        /// A copy of the frames as bytes, one frame after another, rows from top to bottom, without
        /// gaps.
        /// </summary>
        /// <param name="format">The pixels: Rgb8 or Rgba8, or F32 as its bytes.</param>
        /// <param name="index">Which video of several.</param>
        /// <returns>The bytes.</returns>
        /// <exception cref="CogVideoXException">As for <see cref="Frames"/>.</exception>
        public byte[] CopyFrames(PixelFormat format = PixelFormat.Rgb8, int index = 0)
        {
            return Frames(format, index).ToArray();
        }

        /// <summary>The latents that the run ended with, of all its videos, copied.</summary>
        /// <returns>The numbers and their shape, with the padding frames of the 1.5 family.</returns>
        /// <exception cref="CogVideoXException">OutOfMemory.</exception>
        public Latents CopyLatents()
        {
            using (new Lease(Handle))
            {
                IntPtr data;
                var shape = new long[5];
                Errors.Check(NativeMethods.cvx_video_latents(handle, out data, shape));
                long count = 1;
                foreach (long side in shape) count = checked(count * side);
                var numbers = new float[count];
                Marshal.Copy(data, numbers, 0, numbers.Length);
                return new Latents(numbers, shape);
            }
        }

        /// <summary>The latents where they are, without a copy.</summary>
        /// <param name="shape">Their five sides; the numbers are densely packed floats.</param>
        /// <returns>A pointer that lives until the video is disposed of.</returns>
        /// <exception cref="CogVideoXException">OutOfMemory.</exception>
        public IntPtr LatentsPointer(out long[] shape)
        {
            IntPtr data;
            shape = new long[5];
            Errors.Check(NativeMethods.cvx_video_latents(Handle, out data, shape));
            return data;
        }

        /// <summary>
        /// Where the frames of <see cref="PixelFormat.F32"/> lie: "cpu", or such as "cuda:0" with
        /// <see cref="GenerateOptions.FramesOnDevice"/>; "" if there are none.
        /// </summary>
        public string FramesDevice
        {
            get
            {
                using (new Lease(Handle)) return Utf8.Read(NativeMethods.cvx_video_frames_device(handle));
            }
        }

        /// <summary>
        /// The F32 frames where they are, on whatever device
        /// (<see cref="GenerateOptions.FramesOnDevice"/>), without a copy.
        /// </summary>
        /// <param name="index">Which video of several.</param>
        /// <returns>Pointer, bytes and stream; they live until the video is disposed of.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument (no such video, no frames).</exception>
        public DeviceFrames DeviceFrames(int index = 0)
        {
            IntPtr data, stream;
            UIntPtr size;
            Errors.Check(NativeMethods.cvx_video_device_frames(Handle, index, out data, out size, out stream));
            return new DeviceFrames(data, (long)size, stream);
        }

        /// <summary>
        /// The frames of one video as a DLPack tensor (frames, height, width, 3 or 4) that shares
        /// memory with the video and keeps it alive.
        /// </summary>
        /// <param name="format">F32, where the frames lie; or bytes.</param>
        /// <param name="index">Which video of several.</param>
        /// <returns>The tensor, to be disposed of or handed over.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument (no such video, no frames).</exception>
        public DlpackTensor FramesDlpack(PixelFormat format = PixelFormat.F32, int index = 0)
        {
            IntPtr tensor;
            Errors.Check(NativeMethods.cvx_video_frames_dlpack(Handle, index, (int)format, out tensor));
            return new DlpackTensor(tensor);
        }

        /// <summary>
        /// The latents as a DLPack tensor (videos, latent frames, channels, latent height, latent
        /// width) in the pipeline's dtype and on its device, which shares memory with the video and
        /// keeps it alive.
        /// </summary>
        /// <returns>The tensor, to be disposed of or handed over.</returns>
        /// <exception cref="CogVideoXException">OutOfMemory.</exception>
        public DlpackTensor LatentsDlpack()
        {
            IntPtr tensor;
            Errors.Check(NativeMethods.cvx_video_latents_dlpack(Handle, out tensor));
            return new DlpackTensor(tensor);
        }
    }

    /// <summary>F32 frames on a device.</summary>
    public struct DeviceFrames
    {
        internal DeviceFrames(IntPtr data, long size, IntPtr stream)
        {
            Data = data;
            Size = size;
            Stream = stream;
        }

        /// <summary>The first number, on the device that Video.FramesDevice names.</summary>
        public IntPtr Data { get; private set; }

        /// <summary>How many bytes there are.</summary>
        public long Size { get; private set; }

        /// <summary>
        /// The cudaStream_t they were made on; zero for the CPU and for CUDA's default stream.
        /// </summary>
        public IntPtr Stream { get; private set; }
    }
}
