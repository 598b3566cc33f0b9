using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using CogVideoX.Native;

namespace CogVideoX
{
    /// <summary>
    /// How a pipeline is loaded. A load reads them when it starts: they may be changed afterwards
    /// and serve many loads. The values are checked by the load.
    /// </summary>
    public sealed class LoadOptions
    {
        /// <summary>
        /// Where the pipeline computes: "cpu", "cuda", "cuda:N" with N from 0, or "auto", which is
        /// "cuda" where it works and else "cpu". Null (default) is "auto".
        /// </summary>
        public string Device { get; set; }

        /// <summary>
        /// The devices that share each run, as in { "cuda:0", "cuda:1" }, in place of Device. They
        /// compute the video of one device, within rounding. Null (default): Device alone.
        /// </summary>
        public IList<string> Devices { get; set; }

        /// <summary>
        /// Reaches the other processes that share each run, in place of Devices. Null (default): there
        /// are none.
        /// </summary>
        public Communicator Communicator { get; set; }

        /// <summary>
        /// How many of the devices, or processes, the halves of the guidance are shared among: 1 or
        /// 2. Default: 0, chosen for each run.
        /// </summary>
        public int GuidanceDegree { get; set; }

        /// <summary>
        /// How many of them share a sequence: a divisor of the model's attention heads, which times
        /// GuidanceDegree is their number. Default: 0, chosen for each run.
        /// </summary>
        public int SequenceDegree { get; set; }

        /// <summary>
        /// The floating-point type of the computation: "f32", "f16", "bf16" or "auto". Null
        /// (default) is "auto": f32 on the CPU, the type of the transformer's file on CUDA.
        /// </summary>
        public string Dtype { get; set; }

        /// <summary>
        /// What computes on CUDA devices between matrix products: "libtorch", or "fused", the library's
        /// own kernels, where a device takes them; <see cref="Video.Kernels"/> tells. Null (default)
        /// is "libtorch".
        /// </summary>
        public string CudaKernels { get; set; }

        /// <summary>
        /// Where components compute that are not where the pipeline is, by their names:
        /// "text_encoder", "transformer", "vae". Null (default): none.
        /// </summary>
        public IDictionary<string, string> ComponentDevices { get; set; }

        /// <summary>
        /// What components compute in that don't in the pipeline's Dtype. Null (default): none.
        /// </summary>
        public IDictionary<string, string> ComponentDtypes { get; set; }

        /// <summary>
        /// Whether each component is in memory only while it does its part of a run, and is read each
        /// time; frames are decoded in tiles where whole ones do not fit. Default: false.
        /// </summary>
        public bool Offload { get; set; }

        /// <summary>
        /// What memory there is, in bytes: weights are kept in the fastest way that fits (see
        /// <see cref="CogVideoX.Plan"/>), in place of Offload and WeightStreaming. Default: 0, no
        /// budget.
        /// </summary>
        public ulong MemoryBudget { get; set; }

        /// <summary>
        /// In which numbers the matrix products of the blocks are made on the CPU: "float32", or
        /// "bfloat16" or "int8" on processors that multiply it: less time and memory, another video,
        /// and with "int8" more so. Null (default): "float32".
        /// </summary>
        public string CpuMatmulPrecision { get; set; }

        /// <summary>
        /// Keeps the weights in the plan's fastest way that fits, in place of Offload, WeightStreaming
        /// and MemoryBudget; OutOfMemory where none fits. Null (default): none.
        /// </summary>
        public Plan Plan { get; set; }

        /// <summary>
        /// How the matrices of components' blocks are kept in memory: "int8", "fp8" or "int4", for
        /// "text_encoder" and "transformer". Null (default): in their dtypes.
        /// </summary>
        public IDictionary<string, string> ComponentQuantizations { get; set; }

        /// <summary>
        /// How the blocks of components are kept, by their names, "text_encoder" and "transformer":
        /// "resident", or "file" or "host", from where each block is read while the one before
        /// computes: far less memory, the same video. Null (default): all resident.
        /// </summary>
        public IDictionary<string, string> WeightStreaming { get; set; }

        /// <summary>
        /// Files that the weights of components are read from in place of the folder's own,
        /// safetensors or GGUF, for "text_encoder", "transformer" and "vae". Null (default): none.
        /// </summary>
        public IDictionary<string, string> ComponentWeights { get; set; }

        /// <summary>
        /// Which variant of the weight files is read: "fp16" reads model.fp16.safetensors. 1 to 64
        /// letters, digits, '-' or '_'. Null (default): the files without a variant.
        /// </summary>
        public string Variant { get; set; }

        /// <summary>
        /// Threads that the pipeline and its clones compute with on the CPU, from 1 to 1024; the
        /// process's own setting stays as it is. Default: 0, as many as libtorch has it.
        /// </summary>
        public int NumThreads { get; set; }

        /// <summary>
        /// Which scheduler the runs step with: "ddim" or "dpm" in place of the folder's; all else
        /// stays as the folder says. Published folders name DDIM; 5b and the 1.5 family are
        /// recommended with DPM. Null (default): the folder's own.
        /// </summary>
        public string Scheduler { get; set; }

        /// <summary>
        /// Which training timesteps are visited: "leading", "linspace" or "trailing". Null
        /// (default): the folder's own.
        /// </summary>
        public string TimestepSpacing { get; set; }

        /// <summary>
        /// What the schedule's signal-to-noise ratio is divided by, from 1e-6 to 1e6. Null
        /// (default): the folder's own.
        /// </summary>
        public double? SnrShiftScale { get; set; }

        /// <summary>
        /// Whether nothing of the sample is left at the last training timestep. Null (default):
        /// the folder's own.
        /// </summary>
        public bool? RescaleBetasZeroSnr { get; set; }

        /// <summary>
        /// Reads weights when they are needed, and releases the text encoder after a prompt is
        /// encoded, so that it is never in memory together with the rest. The video is the same.
        /// Default: false, everything is read by the load and stays.
        /// </summary>
        public bool TextEncoderOnDemand { get; set; }

        /// <summary>
        /// How many prompts' embeddings are kept for later runs, from 0 to 1024, in 64 MiB at most.
        /// Default: null, the library's own number, 8.
        /// </summary>
        public int? PromptCacheSize { get; set; }

        /// <summary>
        /// The safetensors file of a tiny decoder (taecvx) that <see cref="StepEnd.Preview"/> makes whole
        /// frames with. Default: null, the folder's taecvx.safetensors, or small pictures by a linear
        /// map where it has none.
        /// </summary>
        public string PreviewDecoder { get; set; }

        /// <summary>
        /// The most bytes that libtorch's allocator takes of the device from this load on, in the
        /// whole process; what would be more is <see cref="ErrorCode.OutOfMemory"/>. Default: 0,
        /// which leaves the limit as it is. Without effect on the CPU.
        /// </summary>
        public ulong MaxDeviceMemory { get; set; }

        /// <summary>
        /// Follows the load, in bytes of weights, on the thread that loads. Answers true to go on,
        /// false to stop, which the load ends with OperationCanceledException. An exception
        /// stops the load too, and is the inner one of what the load throws. Default: null.
        /// </summary>
        public Func<ProgressInfo, bool> OnProgress { get; set; }

        /// <summary>
        /// Receives the messages of the load, and of the runs of the pipeline and its clones whose
        /// options have no <see cref="GenerateOptions.OnLog"/>; from several threads at once if
        /// several run. An exception ends the load or the run. Default: null, silence.
        /// </summary>
        public Action<LogMessage> OnLog { get; set; }

        /// <summary>The same settings for the library.</summary>
        /// <param name="errors">Where exceptions of the callbacks are kept.</param>
        /// <param name="progress">Told of progress besides OnProgress, or null.</param>
        /// <param name="token">Stops the load, or null.</param>
        [MethodImpl(MethodImplOptions.NoInlining)]
        internal LoadOptionsHandle ToNative(
            CallbackErrors errors, IProgress<ProgressInfo> progress, CancelTokenHandle token)
        {
            var native = new LoadOptionsHandle(NativeMethods.cvx_load_options_new());
            try
            {
                Apply(native, errors, progress, token);
                return native;
            }
            catch
            {
                native.Dispose();
                throw;
            }
        }

        /// <summary>Device, dtype and variant for the library.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        internal LoadOptionsHandle ToPlaces()
        {
            var native = new LoadOptionsHandle(NativeMethods.cvx_load_options_new());
            try
            {
                ApplyPlaces(native);
                return native;
            }
            catch
            {
                native.Dispose();
                throw;
            }
        }

        private void ApplyPlaces(LoadOptionsHandle native)
        {
            if (Device != null)
            {
                Errors.Check(NativeMethods.cvx_load_options_set_device(native, Utf8.Bytes(Device, "Device")));
            }
            if (Devices != null)
            {
                Errors.Check(NativeMethods.cvx_load_options_set_devices(
                    native, Utf8.Bytes(string.Join(",", Devices), "Devices")));
            }
            if (Communicator != null)
            {
                Errors.Check(NativeMethods.cvx_load_options_set_communicator(native, Communicator.Handle));
            }
            Errors.Check(NativeMethods.cvx_load_options_set_parallel(native, GuidanceDegree, SequenceDegree));
            if (Dtype != null)
            {
                Errors.Check(NativeMethods.cvx_load_options_set_dtype(native, Utf8.Bytes(Dtype, "Dtype")));
            }
            if (CudaKernels != null)
            {
                Errors.Check(NativeMethods.cvx_load_options_set_cuda_kernels(
                    native, Utf8.Bytes(CudaKernels, "CudaKernels")));
            }
            if (Variant != null)
            {
                Errors.Check(NativeMethods.cvx_load_options_set_variant(native, Utf8.Bytes(Variant, "Variant")));
            }
        }

        private void Apply(
            LoadOptionsHandle native, CallbackErrors errors, IProgress<ProgressInfo> progress, CancelTokenHandle token)
        {
            ApplyPlaces(native);
            foreach (KeyValuePair<string, string> one in ComponentDevices ?? new Dictionary<string, string>())
            {
                Errors.Check(NativeMethods.cvx_load_options_set_component_device(
                    native, Utf8.Bytes(one.Key, "ComponentDevices"), Utf8.Bytes(one.Value, "ComponentDevices")));
            }
            foreach (KeyValuePair<string, string> one in ComponentDtypes ?? new Dictionary<string, string>())
            {
                Errors.Check(NativeMethods.cvx_load_options_set_component_dtype(
                    native, Utf8.Bytes(one.Key, "ComponentDtypes"), Utf8.Bytes(one.Value, "ComponentDtypes")));
            }
            foreach (KeyValuePair<string, string> one in
                ComponentQuantizations ?? new Dictionary<string, string>())
            {
                const string name = "ComponentQuantizations";
                Errors.Check(NativeMethods.cvx_load_options_set_component_quantization(
                    native, Utf8.Bytes(one.Key, name), Utf8.Bytes(one.Value, name)));
            }
            foreach (KeyValuePair<string, string> one in WeightStreaming ?? new Dictionary<string, string>())
            {
                Errors.Check(NativeMethods.cvx_load_options_set_weight_streaming(
                    native, Utf8.Bytes(one.Key, "WeightStreaming"), Utf8.Bytes(one.Value, "WeightStreaming")));
            }
            foreach (KeyValuePair<string, string> one in ComponentWeights ?? new Dictionary<string, string>())
            {
                Errors.Check(NativeMethods.cvx_load_options_set_component_weights(
                    native, Utf8.Bytes(one.Key, "ComponentWeights"), Utf8.Bytes(one.Value, "ComponentWeights")));
            }
            Errors.Check(NativeMethods.cvx_load_options_set_num_threads(native, NumThreads));
            if (Scheduler != null)
            {
                Errors.Check(NativeMethods.cvx_load_options_set_scheduler(
                    native, Utf8.Bytes(Scheduler, "Scheduler")));
            }
            if (TimestepSpacing != null)
            {
                Errors.Check(NativeMethods.cvx_load_options_set_timestep_spacing(
                    native, Utf8.Bytes(TimestepSpacing, "TimestepSpacing")));
            }
            if (SnrShiftScale.HasValue)
            {
                Errors.Check(NativeMethods.cvx_load_options_set_snr_shift_scale(native, SnrShiftScale.Value));
            }
            if (RescaleBetasZeroSnr.HasValue)
            {
                Errors.Check(NativeMethods.cvx_load_options_set_rescale_betas_zero_snr(
                    native, RescaleBetasZeroSnr.Value ? 1 : 0));
            }
            if (TextEncoderOnDemand)
            {
                Errors.Check(NativeMethods.cvx_load_options_set_text_encoder_on_demand(native, 1));
            }
            if (Offload) Errors.Check(NativeMethods.cvx_load_options_set_offload(native, 1));
            if (MemoryBudget != 0)
            {
                Errors.Check(NativeMethods.cvx_load_options_set_memory_budget(native, MemoryBudget));
            }
            if (CpuMatmulPrecision != null)
            {
                Errors.Check(NativeMethods.cvx_load_options_set_cpu_matmul_precision(
                    native, Utf8.Bytes(CpuMatmulPrecision, "CpuMatmulPrecision")));
            }
            if (Plan != null) Errors.Check(NativeMethods.cvx_plan_apply(Plan.Handle, native));
            if (PromptCacheSize.HasValue)
            {
                Errors.Check(NativeMethods.cvx_load_options_set_prompt_cache_size(native, PromptCacheSize.Value));
            }
            if (PreviewDecoder != null)
            {
                Errors.Check(NativeMethods.cvx_load_options_set_preview_decoder(
                    native, Utf8.Bytes(PreviewDecoder, "PreviewDecoder")));
            }
            if (MaxDeviceMemory != 0)
            {
                Errors.Check(NativeMethods.cvx_load_options_set_max_device_memory(
                    native, MaxDeviceMemory));
            }
            if (token != null) Errors.Check(NativeMethods.cvx_load_options_set_cancel_token(native, token));
            if (OnLog != null)
            {
                UserData.Give(new LogCallback(errors, OnLog), data =>
                    NativeMethods.cvx_load_options_set_log_callback(native, Thunks.Log, data, Thunks.Free));
            }
            if (OnProgress != null || OnLog != null || progress != null)
            {
                UserData.Give(new ProgressCallback(errors, OnProgress, progress), data =>
                    NativeMethods.cvx_load_options_set_progress_callback(
                        native, Thunks.Progress, data, Thunks.Free));
            }
        }
    }
}
