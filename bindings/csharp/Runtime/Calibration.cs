using System;
using System.Runtime.CompilerServices;
using CogVideoX.Native;

namespace CogVideoX
{
    /// <summary>
    /// What a pipeline has shown of itself: how its outputs change from step to step, what leaving
    /// something out does to its videos, and how long its parts take. Made once by
    /// <see cref="Pipeline.Calibrate"/> for a model, a scheduler, a number of steps and a guidance,
    /// kept as JSON, and used by <see cref="Pipeline.EstimateCache"/> for any config. Any thread may
    /// read it.
    /// </summary>
    public sealed class Calibration : IDisposable
    {
        private readonly CalibrationHandle handle;

        internal Calibration(IntPtr native)
        {
            handle = new CalibrationHandle(native);
        }

        internal CalibrationHandle Handle
        {
            get { return NativeHandle.Open(handle, "Calibration"); }
        }

        /// <summary>A calibration from what <see cref="Json"/> gave.</summary>
        /// <param name="json">One JSON object.</param>
        /// <returns>The calibration, to be disposed of.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument, naming what is wrong.</exception>
        public static Calibration FromJson(string json)
        {
            if (json == null) throw new ArgumentNullException("json");
            Loader.Ensure();
            return NewFromJson(json);
        }

        /// <summary>The calibration as one line, for a file kept or shipped beside the model.</summary>
        public string Json
        {
            get
            {
                using (new Lease(Handle)) return Utf8.Read(NativeMethods.cvx_calibration_json(handle));
            }
        }

        // Apart from its caller; Loader says why.
        [MethodImpl(MethodImplOptions.NoInlining)]
        private static Calibration NewFromJson(string json)
        {
            IntPtr calibration;
            Errors.Check(NativeMethods.cvx_calibration_from_json(Utf8.Bytes(json, "json"), out calibration));
            return new Calibration(calibration);
        }

        /// <summary>Frees the calibration.</summary>
        public void Dispose()
        {
            handle.Dispose();
        }
    }
}
