using System;
using System.Runtime.InteropServices;
using System.Threading;

namespace CogVideoX.Native
{
    /// <summary>
    /// Everything that lives as long as one run: its native options, the token that a
    /// CancellationToken cancels, the pinned frame buffer, and what its callbacks threw.
    /// </summary>
    internal sealed class Run : IDisposable
    {
        internal readonly CallbackErrors Errors = new CallbackErrors();
        internal readonly CancelTokenHandle Token;
        internal readonly GenerateOptionsHandle Options;

        private readonly CallbackErrors cacheErrors;
        private readonly CancellationToken cancellation;
        private CancellationTokenRegistration registration;
        private GCHandle pinned;
        private int disposed;

        /// <param name="options">What to run.</param>
        /// <param name="progress">Told of progress, or null.</param>
        /// <param name="log">Receives messages where the options have no OnLog, or null.</param>
        /// <param name="cacheErrors">What cache callbacks of the pipeline throw.</param>
        /// <param name="cancellation">Stops the run.</param>
        internal Run(
            GenerateOptions options,
            IProgress<ProgressInfo> progress,
            Action<LogMessage> log,
            CallbackErrors cacheErrors,
            CancellationToken cancellation)
        {
            this.cacheErrors = cacheErrors;
            this.cancellation = cancellation;
            try
            {
                Token = NewToken(cancellation, out registration);
                Options = options.ToNative(this, progress, log);
            }
            catch
            {
                Dispose();
                throw;
            }
        }

        /// <summary>A native token that follows a CancellationToken; null if that never asks.</summary>
        internal static CancelTokenHandle NewToken(
            CancellationToken cancellation, out CancellationTokenRegistration registration)
        {
            registration = default(CancellationTokenRegistration);
            if (!cancellation.CanBeCanceled) return null;
            var token = new CancelTokenHandle(NativeMethods.cvx_cancel_token_new());
            registration = cancellation.Register(Cancel, token);
            return token;
        }

        private static void Cancel(object token)
        {
            NativeMethods.cvx_cancel_token_cancel((CancelTokenHandle)token);
        }

        /// <summary>Cancels the native token, if there is one.</summary>
        internal void Cancel()
        {
            if (Token == null || Token.IsClosed) return;
            try
            {
                Cancel(Token);
            }
            catch (ObjectDisposedException)
            {
                // The run has ended just now.
            }
        }

        /// <summary>The buffer's address, the same until the run is disposed of.</summary>
        internal IntPtr Pin(FrameBuffer buffer)
        {
            if (buffer.Array == null) return buffer.Data;
            pinned = GCHandle.Alloc(buffer.Array, GCHandleType.Pinned);
            return pinned.AddrOfPinnedObject();
        }

        /// <summary>
        /// What callbacks of the run threw, or null. The exceptions of cache callbacks are the
        /// pipeline's and not the run's, which is why a run that did not begin must not ask.
        /// </summary>
        internal Exception TakeThrown()
        {
            Exception thrown = Errors.Take();
            Exception fromCache = cacheErrors.Take();
            return thrown ?? fromCache;
        }

        /// <summary>The CancellationToken if it asked for the end, else one that did not.</summary>
        internal CancellationToken Asked
        {
            get
            {
                bool asked = Token != null && !Token.IsClosed
                    && NativeMethods.cvx_cancel_token_is_cancelled(Token) != 0;
                return asked ? cancellation : CancellationToken.None;
            }
        }

        /// <summary>The run's video, or its exception.</summary>
        internal Video End(IntPtr error, IntPtr video, double fps)
        {
            bool began = NativeMethods.cvx_error_code(error) != NativeMethods.CVX_ERROR_BUSY;
            Exception thrown = began ? TakeThrown() : Errors.Take();
            return Finish(error, thrown, Asked, video, fps);
        }

        /// <summary>The exception of what made something other than a video, if it has one.</summary>
        internal void End(IntPtr error)
        {
            bool began = NativeMethods.cvx_error_code(error) != NativeMethods.CVX_ERROR_BUSY;
            Exception thrown = began ? TakeThrown() : Errors.Take();
            Exception failure = Native.Errors.Outcome(error, thrown, Asked);
            if (failure != null) throw failure;
        }

        internal static Video Finish(
            IntPtr error, Exception thrown, CancellationToken asked, IntPtr video, double fps)
        {
            var handle = new VideoHandle(error == IntPtr.Zero ? video : IntPtr.Zero);
            Exception failure = Native.Errors.Outcome(error, thrown, asked);
            if (failure == null) return new Video(handle, fps);
            handle.Dispose();
            throw failure;
        }

        public void Dispose()
        {
            if (Interlocked.Exchange(ref disposed, 1) != 0) return;
            registration.Dispose(); // first: it uses the token
            if (Options != null) Options.Dispose();
            if (Token != null) Token.Dispose();
            if (pinned.IsAllocated) pinned.Free();
        }
    }
}
