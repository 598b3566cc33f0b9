using System;
using System.Threading;

namespace CogVideoX.Native
{
    /// <summary>From cvx_error to exceptions.</summary>
    internal static class Errors
    {
        /// <summary>Throws what a call answered, unless that is success; frees it.</summary>
        internal static void Check(IntPtr error)
        {
            if (error != IntPtr.Zero) throw Take(error, null);
        }

        /// <summary>
        /// The exception for what a piece of work answered, or null for success; frees error.
        /// </summary>
        /// <param name="error">What the library answered.</param>
        /// <param name="thrown">What a callback of the work threw, or null.</param>
        /// <param name="cancellation">The token that the work was given.</param>
        internal static Exception Outcome(IntPtr error, Exception thrown, CancellationToken cancellation)
        {
            if (error == IntPtr.Zero)
            {
                // Thrown after the last point at which the library could be stopped.
                return thrown == null ? null : Threw(thrown);
            }
            CogVideoXException failure = Take(error, thrown);
            bool stopped = failure.Code == ErrorCode.Cancelled;
            bool asked = cancellation.IsCancellationRequested;
            if (thrown is OperationCanceledException && asked)
            {
                return new OperationCanceledException(thrown.Message, thrown, cancellation);
            }
            if (thrown != null)
            {
                return stopped || failure.Code == ErrorCode.CallbackFailed ? Threw(thrown) : failure;
            }
            if (!stopped) return failure;
            return new OperationCanceledException(
                failure.Message, failure, asked ? cancellation : CancellationToken.None);
        }

        private static CogVideoXException Threw(Exception thrown)
        {
            return new CogVideoXException(
                ErrorCode.CallbackFailed,
                "a callback of the host threw " + thrown.GetType().FullName + ": " + thrown.Message,
                thrown);
        }

        private static CogVideoXException Take(IntPtr error, Exception inner)
        {
            var code = (ErrorCode)NativeMethods.cvx_error_code(error);
            string message = Utf8.Read(NativeMethods.cvx_error_message(error));
            NativeMethods.cvx_error_free(error);
            return new CogVideoXException(code, message, inner);
        }
    }
}
