using System;

namespace CogVideoX
{
    /// <summary>
    /// What the text encoder makes of a prompt, such as <see cref="Pipeline.EncodePrompt(string, int)"/> gives it:
    /// <see cref="Dim"/> numbers for each token, the library checks both when a run starts.
    /// </summary>
    public sealed class PromptEmbeddings
    {
        /// <summary>Embeddings over an array, which is not copied.</summary>
        /// <param name="data">The numbers, token by token.</param>
        /// <param name="dim">How many a token has: <see cref="Pipeline.TextEmbedDim"/>.</param>
        /// <exception cref="ArgumentException">They are not whole tokens, or none.</exception>
        public PromptEmbeddings(float[] data, int dim)
        {
            if (data == null) throw new ArgumentNullException("data");
            if (dim < 1) throw new ArgumentOutOfRangeException("dim", dim, "expected 1 or more");
            if (data.Length == 0 || data.Length % dim != 0)
            {
                throw new ArgumentException(
                    "expected tokens of " + dim + " numbers, found " + data.Length + " numbers", "data");
            }
            Data = data;
            Dim = dim;
        }

        /// <summary>The numbers.</summary>
        public float[] Data { get; private set; }

        /// <summary>Numbers of a token.</summary>
        public int Dim { get; private set; }

        /// <summary>Tokens.</summary>
        public int SequenceLength
        {
            get { return Data.Length / Dim; }
        }

        internal UIntPtr NativeLength
        {
            get { return (UIntPtr)(uint)SequenceLength; }
        }

        internal UIntPtr NativeDim
        {
            get { return (UIntPtr)(uint)Dim; }
        }
    }
}
