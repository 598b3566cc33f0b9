using System;
using System.Collections.Generic;

namespace CogVideoX
{
    /// <summary>
    /// The native library, or something that it needs, could not be loaded. The message lists
    /// every place that was tried and what was found there.
    /// </summary>
    public class CogVideoXLoadException : DllNotFoundException
    {
        internal CogVideoXLoadException(string message, string[] tried, Exception inner) : base(message, inner)
        {
            Tried = tried;
        }

        /// <summary>A line for each place that was tried, with what was found there.</summary>
        public IReadOnlyList<string> Tried { get; private set; }
    }
}
