using System;
using System.Threading;

namespace CogVideoX.Native
{
    /// <summary>
    /// The first exception that a callback of the host threw. It is kept here while the native
    /// code that called unwinds in its own way, and comes out of the call that started the work.
    /// </summary>
    internal sealed class CallbackErrors
    {
        private Exception first;

        internal bool Any
        {
            get { return Volatile.Read(ref first) != null; }
        }

        internal void Add(Exception thrown)
        {
            Interlocked.CompareExchange(ref first, thrown, null);
        }

        /// <summary>The exception, if any; afterwards there is none.</summary>
        internal Exception Take()
        {
            return Interlocked.Exchange(ref first, null);
        }
    }
}
