using System;
using System.Linq;
using System.Runtime.CompilerServices;
using CogVideoX.Native;

namespace CogVideoX
{
    public sealed partial class GenerateOptions
    {
        /// <summary>The same settings for the library.</summary>
        /// <param name="run">What the callbacks and the cancel token belong to.</param>
        /// <param name="progress">Told of progress besides OnProgress, or null.</param>
        /// <param name="fallbackLog">Receives messages where OnLog is null, or null.</param>
        [MethodImpl(MethodImplOptions.NoInlining)]
        internal GenerateOptionsHandle ToNative(
            Run run, IProgress<ProgressInfo> progress, Action<LogMessage> fallbackLog)
        {
            var native = new GenerateOptionsHandle(NativeMethods.cvx_generate_options_new());
            try
            {
                ApplyText(native);
                ApplyNumbers(native);
                ApplyScheduler(native);
                ApplyDecoding(native);
                if (run != null) ApplyCallbacks(native, run, progress, OnLog ?? fallbackLog);
                return native;
            }
            catch
            {
                native.Dispose();
                throw;
            }
        }

        private void ApplyText(GenerateOptionsHandle native)
        {
            Errors.Check(NativeMethods.cvx_generate_options_set_prompt(native, Utf8.Required(Prompt, "Prompt")));
            if (Prompts != null)
            {
                using (var texts = new Utf8Array(Prompts.ToArray(), "Prompts"))
                {
                    Errors.Check(NativeMethods.cvx_generate_options_set_prompts(
                        native, texts.Pointers, (UIntPtr)texts.Pointers.Length));
                }
            }
            if (NegativePrompts != null)
            {
                using (var texts = new Utf8Array(NegativePrompts.ToArray(), "NegativePrompts"))
                {
                    Errors.Check(NativeMethods.cvx_generate_options_set_negative_prompts(
                        native, texts.Pointers, (UIntPtr)texts.Pointers.Length));
                }
            }
            if (Seeds != null)
            {
                ulong[] seeds = Seeds.ToArray();
                Errors.Check(NativeMethods.cvx_generate_options_set_seeds(native, seeds, (UIntPtr)seeds.Length));
            }
            if (NegativePrompt != null)
            {
                Errors.Check(NativeMethods.cvx_generate_options_set_negative_prompt(
                    native, Utf8.Bytes(NegativePrompt, "NegativePrompt")));
            }
            if (PromptEmbeddings != null)
            {
                Errors.Check(NativeMethods.cvx_generate_options_set_prompt_embeddings(
                    native, PromptEmbeddings.Data, PromptEmbeddings.NativeLength, PromptEmbeddings.NativeDim));
            }
            if (NegativePromptEmbeddings != null)
            {
                Errors.Check(NativeMethods.cvx_generate_options_set_negative_prompt_embeddings(
                    native, NegativePromptEmbeddings.Data, NegativePromptEmbeddings.NativeLength,
                    NegativePromptEmbeddings.NativeDim));
            }
            if (MaxSequenceLength != 0)
            {
                Errors.Check(NativeMethods.cvx_generate_options_set_max_sequence_length(native, MaxSequenceLength));
            }
        }

        private void ApplyNumbers(GenerateOptionsHandle native)
        {
            if (Width != 0 || Height != 0)
            {
                Errors.Check(NativeMethods.cvx_generate_options_set_size(native, Width, Height));
            }
            if (NumFrames != 0) Errors.Check(NativeMethods.cvx_generate_options_set_num_frames(native, NumFrames));
            if (NumInferenceSteps.HasValue)
            {
                Errors.Check(NativeMethods.cvx_generate_options_set_num_inference_steps(
                    native, NumInferenceSteps.Value));
            }
            if (GuidanceScale.HasValue)
            {
                Errors.Check(NativeMethods.cvx_generate_options_set_guidance_scale(native, GuidanceScale.Value));
            }
            Errors.Check(NativeMethods.cvx_generate_options_set_lora_scale(native, LoraScale));
            Errors.Check(NativeMethods.cvx_generate_options_set_memory_check(native, MemoryCheck ? 1 : 0));
            Errors.Check(NativeMethods.cvx_generate_options_set_use_dynamic_cfg(native, UseDynamicCfg ? 1 : 0));
            Errors.Check(NativeMethods.cvx_generate_options_set_eta(native, Eta));
            Errors.Check(NativeMethods.cvx_generate_options_set_seed(native, Seed));
            Errors.Check(NativeMethods.cvx_generate_options_set_num_videos(native, NumVideos));
            if (Timesteps != null)
            {
                long[] timesteps = Timesteps.ToArray();
                Errors.Check(NativeMethods.cvx_generate_options_set_timesteps(
                    native, timesteps, (UIntPtr)timesteps.Length));
            }
            if (Latents != null)
            {
                Errors.Check(NativeMethods.cvx_generate_options_set_latents(
                    native, Latents.Data, Latents.Shape, (UIntPtr)Latents.Shape.Length));
            }
            if (Image != null) Image.Apply(native, NativeMethods.cvx_generate_options_set_image);
            if (LastImage != null) LastImage.Apply(native, NativeMethods.cvx_generate_options_set_last_image);
            if (ControlVideo != null)
            {
                ControlVideo.Apply(native, NativeMethods.cvx_generate_options_set_control_video);
            }
            if (Mask != null) Mask.Apply(native);
            if (Video != null) Video.Apply(native, NativeMethods.cvx_generate_options_set_video);
            if (Strength.HasValue)
            {
                // The library's own default is asked for by leaving it out.
                double strength = Strength.Value < 0 ? double.NaN : Strength.Value;
                Errors.Check(NativeMethods.cvx_generate_options_set_strength(native, strength));
            }
            if (Resume != null)
            {
                Errors.Check(NativeMethods.cvx_generate_options_set_resume(native, Utf8.Bytes(Resume, "Resume")));
            }
        }

        private void ApplyScheduler(GenerateOptionsHandle native)
        {
            if (Scheduler != null)
            {
                Errors.Check(NativeMethods.cvx_generate_options_set_scheduler(
                    native, Utf8.Bytes(Scheduler, "Scheduler")));
            }
            if (TimestepSpacing != null)
            {
                Errors.Check(NativeMethods.cvx_generate_options_set_timestep_spacing(
                    native, Utf8.Bytes(TimestepSpacing, "TimestepSpacing")));
            }
            if (SnrShiftScale.HasValue)
            {
                Errors.Check(NativeMethods.cvx_generate_options_set_snr_shift_scale(native, SnrShiftScale.Value));
            }
            if (RescaleBetasZeroSnr.HasValue)
            {
                Errors.Check(NativeMethods.cvx_generate_options_set_rescale_betas_zero_snr(
                    native, RescaleBetasZeroSnr.Value ? 1 : 0));
            }
        }

        private void ApplyDecoding(GenerateOptionsHandle native)
        {
            Errors.Check(NativeMethods.cvx_generate_options_set_output(native, (int)Output));
            if (VaeTiling) Errors.Check(NativeMethods.cvx_generate_options_set_vae_tiling(native, 1));
            if (VaeTile != null)
            {
                Errors.Check(NativeMethods.cvx_generate_options_set_vae_tile(
                    native, VaeTile.MinHeight, VaeTile.MinWidth, VaeTile.OverlapHeight, VaeTile.OverlapWidth));
            }
            if (VaeSlicing) Errors.Check(NativeMethods.cvx_generate_options_set_vae_slicing(native, 1));
            if (FramesOnDevice) Errors.Check(NativeMethods.cvx_generate_options_set_frames_on_device(native, 1));
        }

        private void ApplyCallbacks(
            GenerateOptionsHandle native, Run run, IProgress<ProgressInfo> progress, Action<LogMessage> log)
        {
            if (run.Token != null)
            {
                Errors.Check(NativeMethods.cvx_generate_options_set_cancel_token(native, run.Token));
            }
            if (log != null)
            {
                UserData.Give(new LogCallback(run.Errors, log), data =>
                    NativeMethods.cvx_generate_options_set_log_callback(native, Thunks.Log, data, Thunks.Free));
            }
            if (OnProgress != null || log != null || progress != null)
            {
                UserData.Give(new ProgressCallback(run.Errors, OnProgress, progress), data =>
                    NativeMethods.cvx_generate_options_set_progress_callback(
                        native, Thunks.Progress, data, Thunks.Free));
            }
            if (OnStep != null)
            {
                UserData.Give(new StepEndCallback(run.Errors, OnStep), data =>
                    NativeMethods.cvx_generate_options_set_step_callback(
                        native, Thunks.StepEnd, data, Thunks.Free));
            }
            if (OnFrames != null)
            {
                UserData.Give(new FramesCallback(run.Errors, OnFrames), data =>
                    NativeMethods.cvx_generate_options_set_frames_callback(
                        native, (int)FramesFormat, Thunks.Frames, data, Thunks.Free));
            }
            if (OnDeviceFrames != null)
            {
                UserData.Give(new DeviceFramesCallback(run.Errors, OnDeviceFrames), data =>
                    NativeMethods.cvx_generate_options_set_device_frames_callback(
                        native, (int)FramesFormat, Thunks.DeviceFrames, data, Thunks.Free));
            }
            if (DeviceFrameBuffer != null)
            {
                if (DeviceFrameBuffer.Array != null)
                {
                    throw new ArgumentException(
                        "expected memory by its address, found an array", "DeviceFrameBuffer");
                }
                Errors.Check(NativeMethods.cvx_generate_options_set_device_frames_buffer(
                    native,
                    (int)DeviceFrameBuffer.Format,
                    DeviceFrameBuffer.Data,
                    (UIntPtr)(ulong)DeviceFrameBuffer.Size,
                    (UIntPtr)(ulong)DeviceFrameBuffer.RowStride,
                    (UIntPtr)(ulong)DeviceFrameBuffer.FrameStride));
            }
            if (Stream != IntPtr.Zero)
            {
                Errors.Check(NativeMethods.cvx_generate_options_set_stream(native, Stream));
            }
            if (WaitEvent != IntPtr.Zero)
            {
                Errors.Check(NativeMethods.cvx_generate_options_set_wait_event(native, WaitEvent));
            }
            if (RecordEvent != IntPtr.Zero)
            {
                Errors.Check(
                    NativeMethods.cvx_generate_options_set_record_event(native, RecordEvent));
            }
            if (FrameBuffer != null)
            {
                Errors.Check(NativeMethods.cvx_generate_options_set_frames_buffer(
                    native,
                    (int)FrameBuffer.Format,
                    run.Pin(FrameBuffer),
                    (UIntPtr)(ulong)FrameBuffer.Size,
                    (UIntPtr)(ulong)FrameBuffer.RowStride,
                    (UIntPtr)(ulong)FrameBuffer.FrameStride));
            }
        }
    }
}
