using System;
using System.Linq;

namespace CogVideoX
{
    /// <summary>
    /// Latents: numbers with a shape (videos, latent frames, channels, latent height, latent
    /// width), densely packed, the last dimension the fastest.
    /// </summary>
    public sealed class Latents
    {
        /// <summary>Latents over an array, which is not copied.</summary>
        /// <param name="data">The numbers.</param>
        /// <param name="shape">Their shape; its product is how many there are.</param>
        /// <exception cref="ArgumentException">There are more or fewer numbers.</exception>
        public Latents(float[] data, long[] shape)
        {
            if (data == null) throw new ArgumentNullException("data");
            if (shape == null) throw new ArgumentNullException("shape");
            // The library reads as many numbers as the shape says, so that has to be right here.
            decimal count = 1;
            foreach (long side in shape)
            {
                count *= side;
                if (side < 0 || count > int.MaxValue) break;
            }
            if (count != data.Length || shape.Any(side => side < 0))
            {
                throw new ArgumentException(
                    "expected as many numbers as the shape (" + string.Join(", ", shape) + ") says, found "
                    + data.Length, "data");
            }
            Data = data;
            Shape = (long[])shape.Clone();
        }

        /// <summary>The numbers.</summary>
        public float[] Data { get; private set; }

        /// <summary>The five sides.</summary>
        public long[] Shape { get; private set; }
    }

    /// <summary>The shape of the latents of a run.</summary>
    public sealed class LatentShape
    {
        internal LatentShape(long[] sides, int paddingFrames)
        {
            Sides = sides;
            PaddingFrames = paddingFrames;
        }

        /// <summary>
        /// The five sides: videos, latent frames with <see cref="PaddingFrames"/>, channels, latent
        /// height, latent width.
        /// </summary>
        public long[] Sides { get; private set; }

        /// <summary>
        /// Latent frames at the front that the 1.5 family drops before it decodes; else 0.
        /// </summary>
        public int PaddingFrames { get; private set; }

        /// <summary>How many numbers such latents have.</summary>
        public long Count
        {
            get { return Sides.Aggregate(1L, (product, side) => checked(product * side)); }
        }
    }
}
