using System;
using System.Collections.Generic;
using System.Linq;
using CogVideoX.Native;

namespace CogVideoX
{
    public sealed partial class Pipeline
    {
        /// <summary>
        /// Loads a LoRA adapter for the transformer, as diffusers' load_lora_weights does.
        /// Afterwards it is the one active adapter, with the weight 1; those that were loaded
        /// before stay loaded. Runs take the adapters as they are when they start or are submitted,
        /// so that this is allowed while the pipeline generates. Clones take over those that are
        /// there, and have their own from then on.
        /// </summary>
        /// <param name="path">
        /// A safetensors file, or a folder that holds pytorch_lora_weights.safetensors.
        /// </param>
        /// <param name="adapterName">Null: the first of "default_0", "default_1", … that is free.</param>
        /// <exception cref="CogVideoXException">
        /// NotFound; InvalidCheckpoint, for an adapter of another model too; UnsupportedModel for
        /// another layout or kind of adapter; InvalidArgument for a name that is taken, and while
        /// adapters are fused; OutOfMemory, Io. Nothing has changed then.
        /// </exception>
        public void LoadLora(string path, string adapterName = null)
        {
            PipelineHandle pipeline = Handle;
            using (new Lease(pipeline))
            {
                Check(NativeMethods.cvx_pipeline_load_lora(
                    pipeline, Utf8.Required(path, "path"), Utf8.Bytes(adapterName, "adapterName")));
            }
        }

        /// <summary>
        /// Makes these adapters the active ones, all with the weight 1, in place of those that were.
        /// </summary>
        /// <param name="names">Names of loaded adapters, at least one.</param>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument for none, one that is not loaded, one twice, and while adapters are fused.
        /// </exception>
        public void SetAdapters(params string[] names)
        {
            SetAdapters(names, null);
        }

        /// <summary>The same with weights.</summary>
        /// <param name="names">Names of loaded adapters, at least one.</param>
        /// <param name="weights">One for each, from -1e6 to 1e6; null for all 1.</param>
        /// <exception cref="CogVideoXException">InvalidArgument; a weight out of range too.</exception>
        public void SetAdapters(IReadOnlyList<string> names, IReadOnlyList<double> weights)
        {
            PipelineHandle pipeline = Handle;
            if (names == null) throw new ArgumentNullException("names");
            if (weights != null && weights.Count != names.Count)
            {
                throw new ArgumentException(
                    "expected a weight for each of " + names.Count + " adapters, found " + weights.Count, "weights");
            }
            using (var texts = new Utf8Array(names.ToArray(), "names"))
            {
                Check(NativeMethods.cvx_pipeline_set_adapters(
                    pipeline,
                    texts.Pointers,
                    weights == null ? null : weights.ToArray(),
                    (UIntPtr)texts.Pointers.Length));
            }
        }

        /// <summary>
        /// Whether the active adapters are in force. Disabling unfuses them. Without effect where
        /// none is loaded.
        /// </summary>
        /// <param name="enabled">False runs as if none were loaded.</param>
        public void EnableLora(bool enabled)
        {
            Check(NativeMethods.cvx_pipeline_enable_lora(Handle, enabled ? 1 : 0));
        }

        /// <summary>
        /// Adds the active adapters to the weights of this pipeline, so that runs cost what they
        /// cost without; clones don't see it. As in diffusers, their weights are multiplied by
        /// loraScale, and stay so.
        /// </summary>
        /// <param name="loraScale">What their weights are multiplied by.</param>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument if no adapter is active, they are disabled or fused already; OutOfMemory;
        /// Busy if another thread changed the adapters meanwhile.
        /// </exception>
        public void FuseLora(double loraScale = 1)
        {
            using (new Lease(Handle)) Check(NativeMethods.cvx_pipeline_fuse_lora(Handle, loraScale));
        }

        /// <summary>
        /// Takes back what <see cref="FuseLora"/> did, to the byte. Without effect where nothing is
        /// fused.
        /// </summary>
        public void UnfuseLora()
        {
            using (new Lease(Handle)) Check(NativeMethods.cvx_pipeline_unfuse_lora(Handle));
        }

        /// <summary>Unloads every adapter. What is fused stays, as in diffusers.</summary>
        public void UnloadLora()
        {
            Check(NativeMethods.cvx_pipeline_unload_lora(Handle));
        }

        /// <summary>The loaded adapters, active or not, in the order of loading.</summary>
        public IReadOnlyList<LoraAdapter> Adapters
        {
            get
            {
                using (new Lease(Handle))
                {
                    var adapters = new List<LoraAdapter>();
                    int count = NativeMethods.cvx_pipeline_num_adapters(handle);
                    for (int i = 0; i < count; i++)
                    {
                        string name = Utf8.Read(NativeMethods.cvx_pipeline_adapter_name(handle, i));
                        // Unloaded just now by another thread.
                        if (name == null) break;
                        adapters.Add(new LoraAdapter(name, NativeMethods.cvx_pipeline_adapter_weight(handle, i)));
                    }
                    return adapters;
                }
            }
        }
    }
}
