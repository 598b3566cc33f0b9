using System;

namespace CogVideoX
{
    /// <summary>
    /// What the library answered instead of doing what it was asked. The message is one line that
    /// names the file, tensor, option or callback at fault, what was expected and what was found.
    /// The objects of the failed call are as usable as before.
    /// </summary>
    public class CogVideoXException : Exception
    {
        /// <summary>An exception with a code, a message and no inner exception.</summary>
        /// <param name="code">What kind of thing went wrong.</param>
        /// <param name="message">What went wrong, in one line.</param>
        public CogVideoXException(ErrorCode code, string message) : this(code, message, null) { }

        /// <summary>An exception with a code, a message and what caused it.</summary>
        /// <param name="code">What kind of thing went wrong.</param>
        /// <param name="message">What went wrong, in one line.</param>
        /// <param name="inner">What a callback threw, or null.</param>
        public CogVideoXException(ErrorCode code, string message, Exception inner) : base(message, inner)
        {
            Code = code;
        }

        /// <summary>What kind of thing went wrong.</summary>
        public ErrorCode Code { get; private set; }
    }
}
