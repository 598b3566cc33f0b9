using System;
using System.Runtime.InteropServices;

namespace CogVideoX.Native
{
    // Options of a run, the run, jobs and videos.
    internal static partial class NativeMethods
    {
        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_new();

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern void cvx_generate_options_free(IntPtr options);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_timesteps(
            GenerateOptionsHandle options, long[] timesteps, UIntPtr count);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_latents(
            GenerateOptionsHandle options, float[] data_or_null, long[] shape, UIntPtr rank);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_progress_callback(
            GenerateOptionsHandle options,
            cvx_progress_callback callback,
            IntPtr user_data,
            cvx_free_callback free_user_data);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_log_callback(
            GenerateOptionsHandle options,
            cvx_log_callback callback,
            IntPtr user_data,
            cvx_free_callback free_user_data);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_cancel_token(
            GenerateOptionsHandle options, CancelTokenHandle token_or_null);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_prompt(
            GenerateOptionsHandle options, byte[] prompt);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_negative_prompt(
            GenerateOptionsHandle options, byte[] negative_prompt_or_null);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_prompt_embeddings(
            GenerateOptionsHandle options, float[] data_or_null, UIntPtr sequence_length, UIntPtr dim);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_negative_prompt_embeddings(
            GenerateOptionsHandle options, float[] data_or_null, UIntPtr sequence_length, UIntPtr dim);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_size(
            GenerateOptionsHandle options, int width, int height);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_num_frames(
            GenerateOptionsHandle options, int num_frames);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_num_inference_steps(
            GenerateOptionsHandle options, int num_inference_steps);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_guidance_scale(
            GenerateOptionsHandle options, double guidance_scale);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_memory_check(
            GenerateOptionsHandle options, int memory_check);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_lora_scale(
            GenerateOptionsHandle options, double lora_scale);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_use_dynamic_cfg(
            GenerateOptionsHandle options, int use_dynamic_cfg);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_eta(GenerateOptionsHandle options, double eta);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_seed(
            GenerateOptionsHandle options, ulong seed);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_image(
            GenerateOptionsHandle options, IntPtr data, int width, int height, UIntPtr stride_bytes, int format);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_clear_image(GenerateOptionsHandle options);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_video(
            GenerateOptionsHandle options, IntPtr data_or_null, int width, int height, int num_frames,
            UIntPtr row_stride_bytes, UIntPtr frame_stride_bytes, int format);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_strength(
            GenerateOptionsHandle options, double strength);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_control_video(
            GenerateOptionsHandle options, IntPtr data_or_null, int width, int height, int num_frames,
            UIntPtr row_stride_bytes, UIntPtr frame_stride_bytes, int format);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_mask(
            GenerateOptionsHandle options, byte[] data_or_null, int width, int height, int num_frames,
            UIntPtr row_stride_bytes, UIntPtr frame_stride_bytes);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_last_image(
            GenerateOptionsHandle options, IntPtr data_or_null, int width, int height, UIntPtr stride_bytes,
            int format);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_prompts(
            GenerateOptionsHandle options, IntPtr[] prompts, UIntPtr count);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_negative_prompts(
            GenerateOptionsHandle options, IntPtr[] negative_prompts, UIntPtr count);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_seeds(
            GenerateOptionsHandle options, ulong[] seeds, UIntPtr count);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_image_load(byte[] path, out IntPtr out_image);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_image_width(ImageHandle image);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_image_height(ImageHandle image);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_image_rgb8(
            ImageHandle image, out IntPtr out_data, out UIntPtr out_stride_or_null);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern void cvx_image_free(IntPtr image);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_scheduler(
            GenerateOptionsHandle options, byte[] scheduler_or_null);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_timestep_spacing(
            GenerateOptionsHandle options, byte[] timestep_spacing_or_null);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_snr_shift_scale(
            GenerateOptionsHandle options, double snr_shift_scale);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_rescale_betas_zero_snr(
            GenerateOptionsHandle options, int rescale_betas_zero_snr);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_max_sequence_length(
            GenerateOptionsHandle options, int max_sequence_length);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_num_videos(
            GenerateOptionsHandle options, int num_videos);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_output(
            GenerateOptionsHandle options, int output);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_vae_tiling(
            GenerateOptionsHandle options, int enabled);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_vae_tile(
            GenerateOptionsHandle options,
            int tile_sample_min_height,
            int tile_sample_min_width,
            double tile_overlap_factor_height,
            double tile_overlap_factor_width);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_vae_slicing(
            GenerateOptionsHandle options, int enabled);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_generate(
            PipelineHandle pipeline, GenerateOptionsHandle options, out IntPtr out_video);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_tokenize(
            PipelineHandle pipeline, byte[] text, [Out] long[] out_ids, UIntPtr length);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_encode_prompt(
            PipelineHandle pipeline,
            byte[] text,
            UIntPtr max_sequence_length,
            [Out] float[] out_embeddings,
            UIntPtr capacity);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_encode_prompt_with(
            PipelineHandle pipeline,
            byte[] text,
            UIntPtr max_sequence_length,
            [Out] float[] out_embeddings,
            UIntPtr capacity,
            GenerateOptionsHandle options_or_null);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_decode_latents(
            PipelineHandle pipeline,
            float[] data,
            long[] shape,
            UIntPtr rank,
            GenerateOptionsHandle options_or_null,
            out IntPtr out_video);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_video_save_contact_sheet(
            IntPtr[] videos, UIntPtr count, int columns, byte[] path);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_video_count(VideoHandle video);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_video_num_frames(VideoHandle video);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_video_width(VideoHandle video);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_video_height(VideoHandle video);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_video_kernels(VideoHandle video);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_video_frames_rgb8(
            VideoHandle video, int index, out IntPtr out_data, out UIntPtr out_stride_or_null);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_video_frames_rgba8(
            VideoHandle video, int index, out IntPtr out_data, out UIntPtr out_stride_or_null);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_video_frames_f32(
            VideoHandle video, int index, out IntPtr out_data, out UIntPtr out_stride_or_null);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_video_latents(
            VideoHandle video, out IntPtr out_data, [Out] long[] out_shape);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_video_save(VideoHandle video, int index, byte[] path, double fps);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_video_encode(
            VideoHandle video,
            int index,
            byte[] format,
            double fps,
            cvx_write_callback callback,
            IntPtr user_data,
            cvx_free_callback free_user_data);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_video_encode_buffer(
            VideoHandle video, int index, byte[] format, double fps, out IntPtr out_buffer);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_buffer_data(BufferHandle buffer);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern UIntPtr cvx_buffer_size(BufferHandle buffer);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern void cvx_buffer_free(IntPtr buffer);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_video_check_path(byte[] path, double fps);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern void cvx_video_free(IntPtr video);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_frames_callback(
            GenerateOptionsHandle options,
            int pixels,
            cvx_frames_callback callback,
            IntPtr user_data,
            cvx_free_callback free_user_data);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_step_callback(
            GenerateOptionsHandle options,
            cvx_step_callback callback,
            IntPtr user_data,
            cvx_free_callback free_user_data);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_resume(GenerateOptionsHandle options, byte[] path_or_null);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_step_latents(IntPtr step, out IntPtr out_data, [Out] long[] out_shape);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_step_latents_dlpack(IntPtr step, out IntPtr out_tensor);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_step_set_latents(IntPtr step, float[] data, long[] shape, UIntPtr rank);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_step_set_guidance_scale(IntPtr step, double guidance_scale);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_step_preview_rgb8(IntPtr step, out IntPtr out_data, [Out] long[] out_shape);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_step_save(IntPtr step, byte[] path);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_image_save_png(
            byte[] path, IntPtr data, int width, int height, UIntPtr stride_bytes, int format);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_frames_buffer(
            GenerateOptionsHandle options,
            int pixels,
            IntPtr data_or_null,
            UIntPtr size,
            UIntPtr row_stride,
            UIntPtr frame_stride);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_device_frames_callback(
            GenerateOptionsHandle options,
            int pixels,
            cvx_device_frames_callback callback,
            IntPtr user_data,
            cvx_free_callback free_user_data);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_device_frames_buffer(
            GenerateOptionsHandle options,
            int pixels,
            IntPtr data_or_null,
            UIntPtr size,
            UIntPtr row_stride,
            UIntPtr frame_stride);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_stream(
            GenerateOptionsHandle options, IntPtr stream_or_null);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_wait_event(
            GenerateOptionsHandle options, IntPtr event_or_null);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_record_event(
            GenerateOptionsHandle options, IntPtr event_or_null);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_generate_options_set_frames_on_device(
            GenerateOptionsHandle options, int on_device);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_pipeline_submit(
            PipelineHandle pipeline,
            GenerateOptionsHandle options,
            cvx_job_callback callback_or_null,
            IntPtr user_data,
            cvx_free_callback free_user_data,
            out IntPtr out_job);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern int cvx_job_poll(JobHandle job, ref cvx_job_status out_status_or_null);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_job_wait(JobHandle job, double seconds, out int out_state_or_null);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_job_take_video(JobHandle job, out IntPtr out_video);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern void cvx_job_cancel(JobHandle job);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern void cvx_job_free(IntPtr job);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_video_frames_dlpack(
            VideoHandle video, int index, int pixels, out IntPtr out_tensor);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_video_latents_dlpack(VideoHandle video, out IntPtr out_tensor);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_video_frames_device(VideoHandle video);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl, ExactSpelling = true)]
        internal static extern IntPtr cvx_video_device_frames(
            VideoHandle video,
            int index,
            out IntPtr out_data,
            out UIntPtr out_size,
            out IntPtr out_stream_or_null);
    }
}
