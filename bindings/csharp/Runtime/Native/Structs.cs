using System;
using System.Runtime.InteropServices;

// The library fills them in.
#pragma warning disable 649

namespace CogVideoX.Native
{
    // The structs of the header, field by field. The library may hand out longer ones
    // (struct_size says how long); these are their beginning, which never changes.

    [StructLayout(LayoutKind.Sequential)]
    internal struct cvx_progress_info
    {
        internal uint struct_size;
        internal int stage;
        internal ulong done;
        internal ulong total;
        internal double timestep;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct cvx_log_info
    {
        internal uint struct_size;
        internal int level;
        internal IntPtr message;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct cvx_exchange_info
    {
        internal uint struct_size;
        internal int first_rank;
        internal int num_ranks;
        internal IntPtr send;
        internal IntPtr send_bytes;
        internal IntPtr receive;
        internal IntPtr receive_bytes;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct cvx_abort_info
    {
        internal uint struct_size;
        internal int code;
        internal IntPtr message;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct cvx_memory_info
    {
        internal uint struct_size;
        internal int working;
        internal ulong weight_bytes;
        internal ulong prompt_bytes;
        internal ulong cache_bytes;
        internal ulong cache_bytes_peak;
        internal ulong device_bytes;
        internal ulong device_bytes_peak;
        internal ulong process_bytes;
        internal ulong process_bytes_peak;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct cvx_device_info
    {
        internal uint struct_size;
        internal int usable;
        internal IntPtr device;
        internal IntPtr name;
        internal IntPtr uuid;
        internal IntPtr unusable_reason;
        internal ulong memory_total;
        internal ulong memory_free;
        internal int compute_capability_major;
        internal int compute_capability_minor;
        internal int has_luid;
        internal uint luid_node_mask;
        internal ulong luid;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct cvx_step_info
    {
        internal uint struct_size;
        internal int step;
        internal int num_steps;
        internal int reserved;
        internal double timestep;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct cvx_layer_info
    {
        internal uint struct_size;
        internal int step;
        internal int num_steps;
        internal int layer;
        internal double timestep;
        internal IntPtr layer_name;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct cvx_frames_info
    {
        internal uint struct_size;
        internal int pixels;
        internal int video;
        internal int first_frame;
        internal int num_frames;
        internal int total_frames;
        internal int width;
        internal int height;
        internal IntPtr data;
        internal UIntPtr row_stride;
        internal UIntPtr frame_stride;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct cvx_device_frames_info
    {
        internal uint struct_size;
        internal int pixels;
        internal int video;
        internal int first_frame;
        internal int num_frames;
        internal int total_frames;
        internal int width;
        internal int height;
        internal IntPtr data;
        internal UIntPtr row_stride;
        internal UIntPtr frame_stride;
        internal IntPtr stream;
        internal IntPtr device;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct cvx_step_end_info
    {
        internal uint struct_size;
        internal int step;
        internal int num_steps;
        internal int reserved;
        internal double timestep;
        internal double guidance_scale;
        internal IntPtr handle;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct cvx_write_info
    {
        internal uint struct_size;
        internal uint reserved;
        internal ulong offset;
        internal IntPtr data;
        internal UIntPtr size;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct cvx_job_status
    {
        internal uint struct_size;
        internal int state;
        internal int stage;
        internal int jobs_ahead;
        internal ulong done;
        internal ulong total;
        internal double timestep;
        internal double fraction;
        internal double seconds;
    }
}
