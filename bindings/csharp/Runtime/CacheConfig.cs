using System;
using System.Runtime.CompilerServices;
using CogVideoX.Native;

namespace CogVideoX
{
    /// <summary>
    /// A caching technique with its settings, such as Pyramid Attention Broadcast (PAB) or
    /// FasterCache, with the fields of diffusers' configs under the same names. One thread at a time may change it.
    /// </summary>
    public sealed partial class CacheConfig : IDisposable
    {
        private readonly CacheConfigHandle handle;

        internal CacheConfig(IntPtr native)
        {
            handle = new CacheConfigHandle(native);
        }

        internal CacheConfigHandle Handle
        {
            get { return NativeHandle.Open(handle, "CacheConfig"); }
        }

        /// <summary>
        /// PAB (arXiv 2408.12588) with diffusers' defaults: an attention module's output is used
        /// again on every second step while 100 &lt; timestep &lt; 800.
        /// </summary>
        /// <returns>The config, to be disposed of.</returns>
        /// <exception cref="CogVideoXLoadException">The native library is not there.</exception>
        public static CacheConfig Pab()
        {
            Loader.Ensure();
            return NewPab();
        }

        /// <summary>
        /// FasterCache (arXiv 2410.19355) with diffusers' defaults: while timestep &lt; 641, the
        /// unconditional half of the guidance batch runs on every fifth step only and is rebuilt
        /// on the others, on which attention is extrapolated every second time.
        /// </summary>
        /// <returns>The config, to be disposed of.</returns>
        /// <exception cref="CogVideoXLoadException">The native library is not there.</exception>
        public static CacheConfig FasterCache()
        {
            Loader.Ensure();
            return NewFasterCache();
        }

        /// <summary>A technique with the settings of a preset.</summary>
        /// <param name="technique">
        /// "pab", "faster_cache", "taylor_seer", "mag_cache", "tea_cache", "first_block_cache",
        /// "cfg_cache" or "schedule".
        /// </param>
        /// <param name="preset">
        /// "diffusers" (all but taylor_seer, tea_cache and schedule), "diffusers-docs", "videosys"
        /// (pab), "official", "aggressive" (faster_cache), "empty" (schedule), "lite", "attention-and-feed-forward" (taylor_seer),
        /// "calibrate" (mag_cache), "authors" or "cogvideox-1.5-5b-i2v" (tea_cache); null for the
        /// first that the technique has.
        /// </param>
        /// <returns>The config, to be disposed of; its fields can be changed further.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument, naming those there are.</exception>
        public static CacheConfig Create(string technique, string preset = null)
        {
            if (technique == null) throw new ArgumentNullException("technique");
            Loader.Ensure();
            return NewPreset(technique, preset);
        }

        /// <summary>
        /// A config from JSON, as <see cref="ToJson"/> writes it: "technique", optionally "preset",
        /// and any of the technique's fields.
        /// </summary>
        /// <param name="json">One JSON object.</param>
        /// <returns>The config, to be disposed of.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument, naming what is wrong.</exception>
        public static CacheConfig FromJson(string json)
        {
            if (json == null) throw new ArgumentNullException("json");
            Loader.Ensure();
            return NewFromJson(json);
        }

        /// <summary>The whole config as JSON, technique and every field.</summary>
        /// <returns>A text that <see cref="FromJson"/> reads.</returns>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument if a callback is set, which a text can't hold.
        /// </exception>
        public string ToJson()
        {
            using (new Lease(Handle))
            {
                IntPtr json;
                Errors.Check(NativeMethods.cvx_cache_config_to_json(handle, out json));
                return Utf8.Read(json);
            }
        }

        /// <summary>
        /// Sets any field of the technique by its name, to a value written as JSON: "2",
        /// "[100, 800]", "true".
        /// </summary>
        /// <param name="field">The field's name in diffusers, or in <see cref="ToJson"/>.</param>
        /// <param name="valueJson">The value.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public CacheConfig SetField(string field, string valueJson)
        {
            return Checked(NativeMethods.cvx_cache_config_set_field(
                Handle, Utf8.Required(field, "field"), Utf8.Required(valueJson, "valueJson")));
        }

        // Apart from their callers; Loader says why.

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static CacheConfig NewFromJson(string json)
        {
            IntPtr config;
            Errors.Check(NativeMethods.cvx_cache_config_from_json(
                Utf8.Bytes(json, "json"), out config));
            return new CacheConfig(config);
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static CacheConfig NewPab()
        {
            return new CacheConfig(NativeMethods.cvx_pab_config_new());
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static CacheConfig NewFasterCache()
        {
            return new CacheConfig(NativeMethods.cvx_faster_cache_config_new());
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private static CacheConfig NewPreset(string technique, string preset)
        {
            IntPtr config;
            Errors.Check(NativeMethods.cvx_cache_config_new(
                Utf8.Bytes(technique, "technique"), Utf8.Bytes(preset, "preset"), out config));
            return new CacheConfig(config);
        }

        /// <summary>
        /// What a run would compute and reuse, told without a model, for the timesteps of the
        /// published CogVideoX models. Callbacks are not called.
        /// </summary>
        /// <param name="numLayers">Attention layers, from 1 to 1000.</param>
        /// <param name="numInferenceSteps">Steps, from 1 to 100000.</param>
        /// <param name="guided">Whether guidance is on.</param>
        /// <returns>Statistics, to be disposed of.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public CacheStatistics Preview(int numLayers, int numInferenceSteps, bool guided = true)
        {
            IntPtr stats;
            Errors.Check(NativeMethods.cvx_cache_config_preview(
                Handle, numLayers, numInferenceSteps, guided ? 1 : 0, out stats));
            return new CacheStatistics(stats);
        }

        /// <summary>Frees it. Pipelines that it was enabled for are not affected.</summary>
        public void Dispose()
        {
            handle.Dispose();
        }

        private CacheConfig Checked(IntPtr error)
        {
            Errors.Check(error);
            return this;
        }
    }
}
