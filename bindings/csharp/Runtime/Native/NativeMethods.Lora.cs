using System;
using System.Runtime.InteropServices;

namespace CogVideoX.Native
{
    internal static partial class NativeMethods
    {
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_load_lora(
            PipelineHandle pipeline, byte[] path, byte[] adapter_name_or_null);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_set_adapters(
            PipelineHandle pipeline, IntPtr[] names, double[] weights_or_null, UIntPtr count);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_enable_lora(PipelineHandle pipeline, int enabled);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_fuse_lora(PipelineHandle pipeline, double lora_scale);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_unfuse_lora(PipelineHandle pipeline);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_unload_lora(PipelineHandle pipeline);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_pipeline_num_adapters(PipelineHandle pipeline);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_adapter_name(PipelineHandle pipeline, int index);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern double cvx_pipeline_adapter_weight(PipelineHandle pipeline, int index);
    }
}
