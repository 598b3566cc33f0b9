using System;
using System.Runtime.InteropServices;

namespace CogVideoX.Native
{
    // The callback types of the header. A struct that the header passes by pointer is a ref
    // here: it is read where it lies.

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    internal delegate void cvx_free_callback(IntPtr user_data);

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    internal delegate int cvx_progress_callback(ref cvx_progress_info info, IntPtr user_data);

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    internal delegate void cvx_log_callback(ref cvx_log_info info, IntPtr user_data);

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    internal delegate double cvx_timestep_callback(ref cvx_step_info info, IntPtr user_data);

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    internal delegate double cvx_attention_weight_callback(ref cvx_layer_info info, IntPtr user_data);

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    internal delegate double cvx_frequency_weight_callback(ref cvx_step_info info, IntPtr user_data);

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    internal delegate int cvx_frames_callback(ref cvx_frames_info info, IntPtr user_data);

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    internal delegate int cvx_step_callback(ref cvx_step_end_info info, IntPtr user_data);

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    internal delegate int cvx_write_callback(ref cvx_write_info info, IntPtr user_data);

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    internal delegate int cvx_exchange_callback(ref cvx_exchange_info info, IntPtr user_data);

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    internal delegate void cvx_abort_callback(ref cvx_abort_info info, IntPtr user_data);

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    internal delegate void cvx_job_callback(ref cvx_job_status status, IntPtr user_data);
}
