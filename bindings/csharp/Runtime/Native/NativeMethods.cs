using System;
using System.Runtime.InteropServices;

namespace CogVideoX.Native
{
    /// <summary>
    /// The C functions of the library, of loading and of pipelines; the other files of this
    /// class have the rest.
    ///
    /// Every declaration in this folder has the name that the header gives it: functions,
    /// constants (CVX_*), structs and callback types. A handle passed in is a SafeHandle, so
    /// that it is not freed during the call; handles, errors and texts handed out are IntPtr.
    /// Texts passed in are UTF-8 ended by NUL. Arrays of numbers are pinned, not copied.
    /// </summary>
    internal static partial class NativeMethods
    {
        /// <summary>What the runtime looks for: libcogvideox.so on Linux.</summary>
        internal const string Library = "cogvideox";

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_version();

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_abi_version();

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_has_capability(byte[] name);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_capabilities();

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_abi_check(int header_abi);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_error_code(IntPtr error);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_error_code_name(int code);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_error_message(IntPtr error);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern void cvx_error_free(IntPtr error);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cancel_token_new();

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern void cvx_cancel_token_cancel(CancelTokenHandle token);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_cancel_token_is_cancelled(CancelTokenHandle token);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern void cvx_cancel_token_free(IntPtr token);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_device_list_new(out IntPtr out_devices);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_device_list_count(DeviceListHandle devices);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_device_list_get(
            DeviceListHandle devices, int index, ref cvx_device_info out_info);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern void cvx_device_list_free(IntPtr devices);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_device_trim(byte[] device);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_load_options_new();

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern void cvx_load_options_free(IntPtr options);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_load_options_set_device(LoadOptionsHandle options, byte[] device);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_load_options_set_devices(LoadOptionsHandle options, byte[] devices_or_null);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_load_options_set_parallel(
            LoadOptionsHandle options, int guidance, int sequence);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_communicator_new(
            int rank, int num_ranks, cvx_exchange_callback all_to_all, IntPtr user_data,
            cvx_free_callback free_user_data, out IntPtr out_communicator);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern void cvx_communicator_free(IntPtr communicator);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_communicator_set_all_gather(
            CommunicatorHandle communicator, cvx_exchange_callback all_gather, IntPtr user_data, cvx_free_callback free_user_data);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_communicator_set_broadcast(
            CommunicatorHandle communicator, cvx_exchange_callback broadcast, IntPtr user_data, cvx_free_callback free_user_data);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_communicator_set_barrier(
            CommunicatorHandle communicator, cvx_exchange_callback barrier, IntPtr user_data, cvx_free_callback free_user_data);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_communicator_set_abort(
            CommunicatorHandle communicator, cvx_abort_callback abort, IntPtr user_data, cvx_free_callback free_user_data);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_communicator_abort(
            CommunicatorHandle communicator, int code, byte[] message);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_communicator_reset(CommunicatorHandle communicator);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_communicator_rank(CommunicatorHandle communicator);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_communicator_num_ranks(CommunicatorHandle communicator);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_nccl_unique_id([Out] byte[] out_id, UIntPtr size);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_communicator_new_nccl(
            int rank, int num_ranks, byte[] unique_id, UIntPtr unique_id_size, byte[] device,
            out IntPtr out_communicator);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_load_options_set_communicator(
            LoadOptionsHandle options, CommunicatorHandle communicator_or_null);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_load_options_set_dtype(LoadOptionsHandle options, byte[] dtype);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_load_options_set_cuda_kernels(LoadOptionsHandle options, byte[] kernels);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_load_options_set_num_threads(
            LoadOptionsHandle options, int num_threads);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_load_options_set_component_device(
            LoadOptionsHandle options, byte[] component, byte[] device_or_null);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_load_options_set_component_dtype(
            LoadOptionsHandle options, byte[] component, byte[] dtype_or_null);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_load_options_set_offload(LoadOptionsHandle options, int offload);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_load_options_set_memory_budget(
            LoadOptionsHandle options, ulong bytes);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_plan_new(
            byte[] folder,
            LoadOptionsHandle load_options_or_null,
            GenerateOptionsHandle generate_options_or_null,
            CacheConfigHandle cache_or_null,
            ulong budget_bytes,
            out IntPtr out_plan);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern void cvx_plan_free(IntPtr plan);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_plan_text(PlanHandle plan);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_plan_json(PlanHandle plan);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_plan_apply(PlanHandle plan, LoadOptionsHandle load_options);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_load_options_set_component_quantization(
            LoadOptionsHandle options, byte[] component, byte[] quantization_or_null);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_load_options_set_cpu_matmul_precision(
            LoadOptionsHandle options, byte[] precision);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_load_options_set_weight_streaming(
            LoadOptionsHandle options, byte[] component, byte[] mode);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_load_options_set_component_weights(
            LoadOptionsHandle options, byte[] component, byte[] path_or_null);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_load_options_set_variant(
            LoadOptionsHandle options, byte[] variant_or_null);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_load_options_set_scheduler(
            LoadOptionsHandle options, byte[] scheduler_or_null);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_load_options_set_timestep_spacing(
            LoadOptionsHandle options, byte[] timestep_spacing_or_null);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_load_options_set_snr_shift_scale(
            LoadOptionsHandle options, double snr_shift_scale);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_load_options_set_rescale_betas_zero_snr(
            LoadOptionsHandle options, int rescale_betas_zero_snr);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_load_options_set_text_encoder_on_demand(
            LoadOptionsHandle options, int on_demand);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_load_options_set_prompt_cache_size(
            LoadOptionsHandle options, int prompts);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_load_options_set_preview_decoder(
            LoadOptionsHandle options, byte[] path_or_null);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_load_options_set_max_device_memory(
            LoadOptionsHandle options, ulong bytes);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_load_options_set_progress_callback(
            LoadOptionsHandle options,
            cvx_progress_callback callback,
            IntPtr user_data,
            cvx_free_callback free_user_data);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_load_options_set_log_callback(
            LoadOptionsHandle options,
            cvx_log_callback callback,
            IntPtr user_data,
            cvx_free_callback free_user_data);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_load_options_set_cancel_token(
            LoadOptionsHandle options, CancelTokenHandle token_or_null);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_load(
            byte[] folder, LoadOptionsHandle options_or_null, out IntPtr out_pipeline);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_clone(PipelineHandle pipeline, out IntPtr out_pipeline);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern void cvx_pipeline_free(IntPtr pipeline);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_pipeline_task(PipelineHandle pipeline);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_family(PipelineHandle pipeline);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_device(PipelineHandle pipeline);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_dtype(PipelineHandle pipeline);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_pipeline_default_width(PipelineHandle pipeline);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_pipeline_default_height(PipelineHandle pipeline);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_pipeline_default_num_frames(PipelineHandle pipeline);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern double cvx_pipeline_default_fps(PipelineHandle pipeline);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_pipeline_default_num_inference_steps(PipelineHandle pipeline);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern double cvx_pipeline_default_guidance_scale(PipelineHandle pipeline);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_pipeline_default_max_sequence_length(PipelineHandle pipeline);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_pipeline_text_embed_dim(PipelineHandle pipeline);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_pipeline_num_attention_layers(PipelineHandle pipeline);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_attention_layer_name(PipelineHandle pipeline, int layer);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern ulong cvx_pipeline_weight_bytes(PipelineHandle pipeline);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_memory(
            PipelineHandle pipeline, ref cvx_memory_info out_info);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_estimate_memory(
            PipelineHandle pipeline, GenerateOptionsHandle options_or_null, out ulong out_bytes);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_save(PipelineHandle pipeline, byte[] folder);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_latent_shape(
            PipelineHandle pipeline,
            int num_videos,
            int width,
            int height,
            int num_frames,
            [Out] long[] out_shape,
            out int out_padding_frames_or_null);
    }
}
