using System;
using System.Runtime.InteropServices;
using CogVideoX.Native;

namespace CogVideoX
{
    public sealed partial class Pipeline
    {
        /// <summary>What it makes videos from.</summary>
        public PipelineTask PipelineTask
        {
            get { return (PipelineTask)NativeMethods.cvx_pipeline_task(Handle); }
        }

        /// <summary>
        /// What the configs describe, for people: such as "CogVideoX 1.0, rotary positions, 42
        /// layers, DPM scheduler".
        /// </summary>
        public string Family
        {
            get
            {
                using (new Lease(Handle)) return Utf8.Read(NativeMethods.cvx_pipeline_family(handle));
            }
        }

        /// <summary>Where it computes: "cpu" or "cuda:N".</summary>
        public string Device
        {
            get
            {
                using (new Lease(Handle)) return Utf8.Read(NativeMethods.cvx_pipeline_device(handle));
            }
        }

        /// <summary>The floating-point type of the computation: "f32", "f16" or "bf16".</summary>
        public string Dtype
        {
            get
            {
                using (new Lease(Handle)) return Utf8.Read(NativeMethods.cvx_pipeline_dtype(handle));
            }
        }

        /// <summary>The width in pixels of a run that sets no size.</summary>
        public int DefaultWidth
        {
            get { return NativeMethods.cvx_pipeline_default_width(Handle); }
        }

        /// <summary>The height in pixels of a run that sets no size.</summary>
        public int DefaultHeight
        {
            get { return NativeMethods.cvx_pipeline_default_height(Handle); }
        }

        /// <summary>The frames of a run that sets no number of them.</summary>
        public int DefaultNumFrames
        {
            get { return NativeMethods.cvx_pipeline_default_num_frames(Handle); }
        }

        /// <summary>
        /// The frames per second that the family was trained at: 8, or 16 for the 1.5 family.
        /// </summary>
        public double DefaultFps
        {
            get { return NativeMethods.cvx_pipeline_default_fps(Handle); }
        }

        /// <summary>The denoising steps of a run that sets no number of them.</summary>
        public int DefaultNumInferenceSteps
        {
            get { return NativeMethods.cvx_pipeline_default_num_inference_steps(Handle); }
        }

        /// <summary>The guidance scale of a run that sets none.</summary>
        public double DefaultGuidanceScale
        {
            get { return NativeMethods.cvx_pipeline_default_guidance_scale(Handle); }
        }

        /// <summary>The tokens that a prompt is cut or padded to in a run that sets none.</summary>
        public int DefaultMaxSequenceLength
        {
            get { return NativeMethods.cvx_pipeline_default_max_sequence_length(Handle); }
        }

        /// <summary>The width of the text encoder's output.</summary>
        public int TextEmbedDim
        {
            get { return NativeMethods.cvx_pipeline_text_embed_dim(Handle); }
        }

        /// <summary>The number of attention layers, which is how many a cache decides about.</summary>
        public int NumAttentionLayers
        {
            get { return NativeMethods.cvx_pipeline_num_attention_layers(Handle); }
        }

        /// <summary>
        /// How many bytes of weights are in memory now, on the device or the host. Clones share
        /// them, and each returns the same.
        /// </summary>
        public ulong WeightBytes
        {
            get { return NativeMethods.cvx_pipeline_weight_bytes(Handle); }
        }

        /// <summary>
        /// Tells what the pipeline has in memory now. May be called while it generates.
        /// </summary>
        /// <returns>How much, by what it is for.</returns>
        /// <exception cref="CogVideoXException">The device is lost.</exception>
        /// <exception cref="ObjectDisposedException">The pipeline is disposed.</exception>
        public MemoryInfo ReadMemory()
        {
            var native = default(cvx_memory_info);
            native.struct_size = (uint)Marshal.SizeOf(typeof(cvx_memory_info));
            Errors.Check(NativeMethods.cvx_pipeline_memory(Handle, ref native));
            return new MemoryInfo(native);
        }

        /// <summary>
        /// The name of an attention layer in the checkpoint, which a cache's block identifiers are
        /// matched against.
        /// </summary>
        /// <param name="layer">The layer, from 0 to <see cref="NumAttentionLayers"/> less 1.</param>
        /// <returns>Such as "transformer_blocks.0.attn1".</returns>
        /// <exception cref="ArgumentOutOfRangeException">There is no such layer.</exception>
        public string AttentionLayerName(int layer)
        {
            using (new Lease(Handle))
            {
                string name = Utf8.Read(NativeMethods.cvx_pipeline_attention_layer_name(handle, layer));
                if (name != null) return name;
            }
            throw new ArgumentOutOfRangeException(
                "layer", layer, "expected a layer from 0 to " + (NumAttentionLayers - 1));
        }

        /// <summary>
        /// About how many bytes a run takes at its peak, beside the weights, with the cache that is
        /// enabled now.
        /// </summary>
        /// <param name="options">The run; null for every default.</param>
        /// <returns>Bytes on the pipeline's device.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument: what it cannot honour.</exception>
        public ulong EstimateMemory(GenerateOptions options = null)
        {
            PipelineHandle pipeline = Handle;
            using (GenerateOptionsHandle native = (options ?? new GenerateOptions()).ToNative(null, null, null))
            {
                ulong bytes;
                Errors.Check(NativeMethods.cvx_pipeline_estimate_memory(pipeline, native, out bytes));
                return bytes;
            }
        }

        /// <summary>
        /// Writes the pipeline's folder to a path where nothing is, with quantized matrices as the
        /// pipeline has them: it loads again, as quantized as it is. It is there whole or not at all.
        /// </summary>
        /// <param name="folder">The new folder.</param>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument if something is there, or adapters are fused; NotFound, InvalidCheckpoint, Io.
        /// </exception>
        public void Save(string folder)
        {
            using (new Lease(Handle))
            {
                Errors.Check(NativeMethods.cvx_pipeline_save(Handle, Utf8.Required(folder, "folder")));
            }
        }

        /// <summary>The shape of the latents of a run.</summary>
        /// <param name="numVideos">Videos, from 1.</param>
        /// <param name="width">Width in pixels; 0, with height, for the model's own.</param>
        /// <param name="height">Height in pixels; 0, with width, for the model's own.</param>
        /// <param name="numFrames">Frames; 0 for the model's own number.</param>
        /// <returns>The shape, with the padding frames of the 1.5 family.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument: a size it cannot make.</exception>
        public LatentShape LatentShape(int numVideos = 1, int width = 0, int height = 0, int numFrames = 0)
        {
            var sides = new long[5];
            int padding;
            Errors.Check(NativeMethods.cvx_pipeline_latent_shape(
                Handle, numVideos, width, height, numFrames, sides, out padding));
            return new LatentShape(sides, padding);
        }
    }
}
