using System;
using System.IO;
using System.Runtime.InteropServices;

namespace CogVideoX.Native
{
    // What the user_data of each callback leads to. Errors is where an exception of the host's
    // delegate is kept until the call that started the work has returned.

    /// <summary>Told when the library gave its user_data back.</summary>
    internal interface IReleased
    {
        void Released();
    }

    internal sealed class ProgressCallback
    {
        internal readonly CallbackErrors Errors;
        private readonly Func<ProgressInfo, bool> handler;
        private readonly IProgress<ProgressInfo> progress;

        internal ProgressCallback(
            CallbackErrors errors, Func<ProgressInfo, bool> handler, IProgress<ProgressInfo> progress)
        {
            Errors = errors;
            this.handler = handler;
            this.progress = progress;
        }

        internal bool Report(ref cvx_progress_info native)
        {
            if (progress == null && handler == null) return true;
            var info = new ProgressInfo((Stage)native.stage, native.done, native.total, native.timestep);
            if (progress != null) progress.Report(info);
            return handler == null || handler(info);
        }
    }

    internal sealed class LogCallback
    {
        internal readonly CallbackErrors Errors;
        internal readonly Action<LogMessage> Handler;

        internal LogCallback(CallbackErrors errors, Action<LogMessage> handler)
        {
            Errors = errors;
            Handler = handler;
        }
    }

    internal sealed class FramesCallback
    {
        internal readonly CallbackErrors Errors;
        internal readonly Func<FrameChunk, bool> Handler;

        internal FramesCallback(CallbackErrors errors, Func<FrameChunk, bool> handler)
        {
            Errors = errors;
            Handler = handler;
        }
    }

    internal sealed class StepEndCallback
    {
        internal readonly CallbackErrors Errors;
        internal readonly Func<StepEnd, bool> Handler;

        internal StepEndCallback(CallbackErrors errors, Func<StepEnd, bool> handler)
        {
            Errors = errors;
            Handler = handler;
        }
    }

    internal sealed class ExchangeCallback
    {
        internal readonly Action<Exchange> Handler;

        internal ExchangeCallback(Action<Exchange> handler)
        {
            Handler = handler;
        }
    }

    internal sealed class AbortCallback
    {
        internal readonly Action<ErrorCode, string> Handler;

        internal AbortCallback(Action<ErrorCode, string> handler)
        {
            Handler = handler;
        }
    }

    internal sealed class WriteCallback
    {
        internal readonly CallbackErrors Errors = new CallbackErrors();
        private readonly Stream stream;
        private byte[] piece = new byte[0];

        internal WriteCallback(Stream stream)
        {
            this.stream = stream;
        }

        internal void Write(ref cvx_write_info info)
        {
            int size = checked((int)info.size);
            if (piece.Length < size) piece = new byte[size];
            Marshal.Copy(info.data, piece, 0, size);
            stream.Write(piece, 0, size);
        }
    }

    internal sealed class StepCallback
    {
        internal readonly CallbackErrors Errors;
        internal readonly Func<StepInfo, double> Handler;

        internal StepCallback(CallbackErrors errors, Func<StepInfo, double> handler)
        {
            Errors = errors;
            Handler = handler;
        }
    }

    internal sealed class LayerCallback
    {
        internal readonly CallbackErrors Errors;
        internal readonly Func<LayerInfo, double> Handler;

        internal LayerCallback(CallbackErrors errors, Func<LayerInfo, double> handler)
        {
            Errors = errors;
            Handler = handler;
        }
    }
}
