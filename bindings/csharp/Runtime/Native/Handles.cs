using System;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace CogVideoX.Native
{
    // One SafeHandle for each object of the C library: freed once, also when its owner forgets
    // Dispose, and never while a call that was given it is under way.

    /// <summary>What the handles share. NULL is "invalid", and is not freed.</summary>
    internal abstract class NativeHandle : SafeHandleZeroOrMinusOneIsInvalid
    {
        protected NativeHandle(IntPtr value) : base(true)
        {
            SetHandle(value);
        }

        /// <summary>Itself, or the exception for an object that was disposed.</summary>
        internal static T Open<T>(T handle, string owner) where T : NativeHandle
        {
            if (handle.IsClosed) throw new ObjectDisposedException(owner);
            return handle;
        }
    }

    internal sealed class CancelTokenHandle : NativeHandle
    {
        internal CancelTokenHandle(IntPtr value) : base(value) { }

        protected override bool ReleaseHandle()
        {
            NativeMethods.cvx_cancel_token_free(handle);
            return true;
        }
    }

    internal sealed class CommunicatorHandle : NativeHandle
    {
        internal CommunicatorHandle(IntPtr value) : base(value) { }

        protected override bool ReleaseHandle()
        {
            NativeMethods.cvx_communicator_free(handle);
            return true;
        }
    }

    internal sealed class DeviceListHandle : NativeHandle
    {
        internal DeviceListHandle(IntPtr value) : base(value) { }

        protected override bool ReleaseHandle()
        {
            NativeMethods.cvx_device_list_free(handle);
            return true;
        }
    }

    internal sealed class LoadOptionsHandle : NativeHandle
    {
        internal LoadOptionsHandle(IntPtr value) : base(value) { }

        protected override bool ReleaseHandle()
        {
            NativeMethods.cvx_load_options_free(handle);
            return true;
        }
    }

    internal sealed class PipelineHandle : NativeHandle
    {
        internal PipelineHandle(IntPtr value) : base(value) { }

        protected override bool ReleaseHandle()
        {
            NativeMethods.cvx_pipeline_free(handle);
            return true;
        }
    }

    internal sealed class GenerateOptionsHandle : NativeHandle
    {
        internal GenerateOptionsHandle(IntPtr value) : base(value) { }

        protected override bool ReleaseHandle()
        {
            NativeMethods.cvx_generate_options_free(handle);
            return true;
        }
    }

    internal sealed class ImageHandle : NativeHandle
    {
        internal ImageHandle(IntPtr value) : base(value) { }

        protected override bool ReleaseHandle()
        {
            NativeMethods.cvx_image_free(handle);
            return true;
        }
    }

    internal sealed class JobHandle : NativeHandle
    {
        internal JobHandle(IntPtr value) : base(value) { }

        protected override bool ReleaseHandle()
        {
            NativeMethods.cvx_job_free(handle);
            return true;
        }
    }

    internal sealed class BufferHandle : NativeHandle
    {
        internal BufferHandle(IntPtr value) : base(value) { }

        protected override bool ReleaseHandle()
        {
            NativeMethods.cvx_buffer_free(handle);
            return true;
        }
    }

    internal sealed class VideoHandle : NativeHandle
    {
        internal VideoHandle(IntPtr value) : base(value) { }

        protected override bool ReleaseHandle()
        {
            NativeMethods.cvx_video_free(handle);
            return true;
        }
    }

    internal sealed class CacheConfigHandle : NativeHandle
    {
        internal CacheConfigHandle(IntPtr value) : base(value) { }

        protected override bool ReleaseHandle()
        {
            NativeMethods.cvx_cache_config_free(handle);
            return true;
        }
    }

    internal sealed class PlanHandle : NativeHandle
    {
        internal PlanHandle(IntPtr value) : base(value) { }

        protected override bool ReleaseHandle()
        {
            NativeMethods.cvx_plan_free(handle);
            return true;
        }
    }

    internal sealed class CalibrationHandle : NativeHandle
    {
        internal CalibrationHandle(IntPtr value) : base(value) { }

        protected override bool ReleaseHandle()
        {
            NativeMethods.cvx_calibration_free(handle);
            return true;
        }
    }

    internal sealed class CacheStatsHandle : NativeHandle
    {
        internal CacheStatsHandle(IntPtr value) : base(value) { }

        protected override bool ReleaseHandle()
        {
            NativeMethods.cvx_cache_stats_free(handle);
            return true;
        }
    }

    /// <summary>
    /// A DLManagedTensor of dlpack.h that nobody has taken yet: freed by its own deleter.
    /// </summary>
    internal sealed class DlpackHandle : NativeHandle
    {
        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        private delegate void Deleter(IntPtr tensor);

        internal DlpackHandle(IntPtr value) : base(value) { }

        protected override bool ReleaseHandle()
        {
            IntPtr deleter = Marshal.ReadIntPtr(handle, DlpackLayout.Deleter);
            if (deleter == IntPtr.Zero) return true;
            ((Deleter)Marshal.GetDelegateForFunctionPointer(deleter, typeof(Deleter)))(handle);
            return true;
        }
    }

    /// <summary>
    /// Keeps an object from being freed while the memory behind one of its pointers is read,
    /// also if another thread disposes of it meanwhile; and in its place while a call with it lasts. Mono's
    /// collector, as it is by default (hybrid suspension), does not see what the wrapper of such a call keeps in
    /// registers: it would move a young handle, and the wrapper would give back one that is no longer
    /// there (InvalidOperationException). What is leased is on the stack as well, where it is seen.
    /// </summary>
    internal struct Lease : IDisposable
    {
        private SafeHandle held;

        /// <summary>Throws ObjectDisposedException if the object is disposed of already.</summary>
        internal Lease(NativeHandle handle)
        {
            held = null;
            bool added = false;
            handle.DangerousAddRef(ref added);
            if (added) held = handle;
        }

        public void Dispose()
        {
            if (held != null) held.DangerousRelease();
            held = null;
        }
    }
}
