using System;
using System.Runtime.InteropServices;

namespace CogVideoX.Native
{
    // Cache configs, what enables them, and their statistics.
    internal static partial class NativeMethods
    {
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pab_config_new();

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_faster_cache_config_new();

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_new(
            byte[] technique, byte[] preset_or_null, out IntPtr out_config);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern void cvx_cache_config_free(IntPtr config);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_set_field(
            CacheConfigHandle config, byte[] field, byte[] value_json);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_from_json(
            byte[] json, out IntPtr out_config);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_to_json(
            CacheConfigHandle config, out IntPtr out_json);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_set_max_cache_bytes(
            CacheConfigHandle config, ulong bytes);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_set_cache_dtype(
            CacheConfigHandle config, byte[] dtype);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_set_cache_location(
            CacheConfigHandle config, byte[] location);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_preview(
            CacheConfigHandle config,
            int num_layers,
            int num_inference_steps,
            int guided,
            out IntPtr out_stats);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_set_spatial_attention_block_skip_range(
            CacheConfigHandle config, int n);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_set_temporal_attention_block_skip_range(
            CacheConfigHandle config, int n);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_set_cross_attention_block_skip_range(
            CacheConfigHandle config, int n);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_set_spatial_attention_timestep_skip_range(
            CacheConfigHandle config, int low, int high);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_set_temporal_attention_timestep_skip_range(
            CacheConfigHandle config, int low, int high);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_set_cross_attention_timestep_skip_range(
            CacheConfigHandle config, int low, int high);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_set_spatial_attention_block_identifiers(
            CacheConfigHandle config, IntPtr[] identifiers, UIntPtr count);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_set_temporal_attention_block_identifiers(
            CacheConfigHandle config, IntPtr[] identifiers, UIntPtr count);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_set_cross_attention_block_identifiers(
            CacheConfigHandle config, IntPtr[] identifiers, UIntPtr count);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_set_unconditional_batch_skip_range(
            CacheConfigHandle config, int n);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_set_unconditional_batch_timestep_skip_range(
            CacheConfigHandle config, int low, int high);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_set_low_frequency_weight_update_timestep_range(
            CacheConfigHandle config, int low, int high);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_set_high_frequency_weight_update_timestep_range(
            CacheConfigHandle config, int low, int high);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_set_alpha_low_frequency(
            CacheConfigHandle config, double alpha);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_set_alpha_high_frequency(
            CacheConfigHandle config, double alpha);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_set_tensor_format(
            CacheConfigHandle config, byte[] format);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_set_is_guidance_distilled(
            CacheConfigHandle config, int distilled);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_set_attention_weight(
            CacheConfigHandle config, double weight);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_set_reuse_attention_on_full_guidance_steps(
            CacheConfigHandle config, int reuse);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_set_current_timestep_callback(
            CacheConfigHandle config,
            cvx_timestep_callback callback,
            IntPtr user_data,
            cvx_free_callback free_user_data);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_set_attention_weight_callback(
            CacheConfigHandle config,
            cvx_attention_weight_callback callback,
            IntPtr user_data,
            cvx_free_callback free_user_data);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_set_low_frequency_weight_callback(
            CacheConfigHandle config,
            cvx_frequency_weight_callback callback,
            IntPtr user_data,
            cvx_free_callback free_user_data);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_config_set_high_frequency_weight_callback(
            CacheConfigHandle config,
            cvx_frequency_weight_callback callback,
            IntPtr user_data,
            cvx_free_callback free_user_data);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_enable_cache(
            PipelineHandle pipeline, CacheConfigHandle config);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_disable_cache(PipelineHandle pipeline);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_cache_stats(PipelineHandle pipeline, out IntPtr out_stats);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_calibrate(
            PipelineHandle pipeline,
            IntPtr[] runs,
            UIntPtr count,
            out IntPtr out_calibration);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_calibration_from_json(byte[] json, out IntPtr out_calibration);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_calibration_json(CalibrationHandle calibration);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern void cvx_calibration_free(IntPtr calibration);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_estimate_cache(
            PipelineHandle pipeline,
            CacheConfigHandle config,
            GenerateOptionsHandle options_or_null,
            CalibrationHandle calibration,
            out IntPtr out_stats);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern double cvx_cache_stats_estimated_seconds(CacheStatsHandle stats);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern double cvx_cache_stats_estimated_psnr(CacheStatsHandle stats);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_tune_calibrated_cache(
            PipelineHandle pipeline,
            CalibrationHandle calibration,
            IntPtr[] runs,
            UIntPtr count,
            double min_psnr,
            out IntPtr out_config);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_tune_cache(
            PipelineHandle pipeline,
            IntPtr[] runs,
            UIntPtr count,
            double min_psnr,
            out IntPtr out_config);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_preview_cache(
            PipelineHandle pipeline,
            CacheConfigHandle config,
            GenerateOptionsHandle options_or_null,
            out IntPtr out_stats);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern void cvx_cache_stats_free(IntPtr stats);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_stats_text(CacheStatsHandle stats);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_stats_json(CacheStatsHandle stats);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_stats_technique(CacheStatsHandle stats);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_cache_stats_total_steps(CacheStatsHandle stats);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_cache_stats_num_steps(CacheStatsHandle stats);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_cache_stats_num_layers(CacheStatsHandle stats);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_cache_stats_layer_name(CacheStatsHandle stats, int layer);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern long cvx_cache_stats_timestep(CacheStatsHandle stats, int step);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_cache_stats_layer_state(CacheStatsHandle stats, int step, int layer);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_cache_stats_layer_count(CacheStatsHandle stats, int layer, int state);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_cache_stats_unconditional(CacheStatsHandle stats, int step);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_cache_stats_layer_over_budget(CacheStatsHandle stats, int layer);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern ulong cvx_cache_stats_bytes_now(CacheStatsHandle stats);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern ulong cvx_cache_stats_bytes_peak(CacheStatsHandle stats);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern ulong cvx_cache_stats_host_bytes_now(CacheStatsHandle stats);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern ulong cvx_cache_stats_host_bytes_peak(CacheStatsHandle stats);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_cache_stats_num_ranks(CacheStatsHandle stats);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_cache_stats_guidance_degree(CacheStatsHandle stats);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_cache_stats_sequence_degree(CacheStatsHandle stats);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern ulong cvx_cache_stats_bytes_exchanged(CacheStatsHandle stats);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern ulong cvx_cache_stats_messages_exchanged(CacheStatsHandle stats);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern double cvx_cache_stats_attention_units(CacheStatsHandle stats);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern double cvx_cache_stats_rest_units(CacheStatsHandle stats);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern double cvx_cache_stats_total_units(CacheStatsHandle stats);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern double cvx_cache_stats_attention_share(
            CacheStatsHandle stats, out int out_is_measured_or_null);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern double cvx_cache_stats_predicted_speed_up(CacheStatsHandle stats);
    }
}
