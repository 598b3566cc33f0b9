using System;
using CogVideoX.Native;

namespace CogVideoX
{
    /// <summary>
    /// What of a video an inpainting model makes anew: a byte for each pixel, 128 to 255 where it is made
    /// anew, 0 to 127 where the video's own stays. The bytes are read when a run starts, or when a job
    /// is submitted.
    /// </summary>
    public sealed class SourceMask
    {
        private readonly byte[] bytes;

        /// <summary>A mask over bytes without gaps, which are not copied.</summary>
        /// <param name="bytes">Row by row and frame by frame.</param>
        /// <param name="width">In pixels; need not be the video's.</param>
        /// <param name="height">In pixels; need not be the video's.</param>
        /// <param name="numFrames">As many as the video has, or 1: the mask of all frames.</param>
        /// <exception cref="ArgumentException">There are fewer bytes than that takes.</exception>
        public SourceMask(byte[] bytes, int width, int height, int numFrames = 1)
        {
            if (bytes == null) throw new ArgumentNullException("bytes");
            if (width > 0 && height > 0 && numFrames > 0 && bytes.LongLength < (decimal)width * height * numFrames)
            {
                throw new ArgumentException(
                    "expected " + (decimal)width * height * numFrames + " bytes for " + numFrames + " masks of "
                    + width + " x " + height + " pixels, found " + bytes.LongLength, "bytes");
            }
            this.bytes = bytes.Length == 0 ? new byte[1] : bytes;
            Width = width;
            Height = height;
            NumFrames = numFrames;
        }

        /// <summary>Width in pixels.</summary>
        public int Width { get; private set; }

        /// <summary>Height in pixels.</summary>
        public int Height { get; private set; }

        /// <summary>How many frames there are.</summary>
        public int NumFrames { get; private set; }

        internal void Apply(GenerateOptionsHandle options)
        {
            Errors.Check(NativeMethods.cvx_generate_options_set_mask(
                options, bytes, Width, Height, NumFrames, UIntPtr.Zero, UIntPtr.Zero));
        }
    }
}
