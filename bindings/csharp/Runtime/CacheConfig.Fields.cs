using System;
using CogVideoX.Native;

namespace CogVideoX
{
    // The fields, under the names that they have in diffusers' configs. A value that a field may
    // not have, and a field that the technique lacks, is InvalidArgument at once.
    public sealed partial class CacheConfig
    {
        /// <summary>
        /// Attention is computed on every n-th step of the run, counted from its first, and outside
        /// its window, and reused on the others; 1 reuses nothing. faster_cache extrapolates it only
        /// on steps whose unconditional half is rebuilt, unless reuse_attention_on_full_guidance_steps.
        /// Defaults: pab 2 (where none of the three skip ranges is set), faster_cache 2.
        /// </summary>
        /// <param name="n">Steps, from 1.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public CacheConfig SetSpatialAttentionBlockSkipRange(int n)
        {
            return Checked(NativeMethods.cvx_cache_config_set_spatial_attention_block_skip_range(Handle, n));
        }

        /// <summary>
        /// The same for temporal attention, which CogVideoX has none of: it selects a layer only if
        /// temporal identifiers of the host's own match one. Default: unset.
        /// </summary>
        /// <param name="n">Steps, from 1.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public CacheConfig SetTemporalAttentionBlockSkipRange(int n)
        {
            return Checked(NativeMethods.cvx_cache_config_set_temporal_attention_block_skip_range(Handle, n));
        }

        /// <summary>
        /// The same for cross-attention, which CogVideoX has none of. Field of pab. Default: unset.
        /// </summary>
        /// <param name="n">Steps, from 1.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public CacheConfig SetCrossAttentionBlockSkipRange(int n)
        {
            return Checked(NativeMethods.cvx_cache_config_set_cross_attention_block_skip_range(Handle, n));
        }

        /// <summary>
        /// Attention may be reused while low &lt; timestep &lt; high. Timesteps fall from 999 to 0 in the
        /// course of a run. Defaults: pab (100, 800), faster_cache (-1, 681).
        /// </summary>
        /// <param name="low">The end of the run's side, not inside.</param>
        /// <param name="high">The beginning's side, not inside.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public CacheConfig SetSpatialAttentionTimestepSkipRange(int low, int high)
        {
            return Checked(NativeMethods.cvx_cache_config_set_spatial_attention_timestep_skip_range(
                Handle, low, high));
        }

        /// <summary>
        /// The same for temporal attention. Defaults as for spatial attention.
        /// </summary>
        /// <param name="low">The end of the run's side, not inside.</param>
        /// <param name="high">The beginning's side, not inside.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public CacheConfig SetTemporalAttentionTimestepSkipRange(int low, int high)
        {
            return Checked(NativeMethods.cvx_cache_config_set_temporal_attention_timestep_skip_range(
                Handle, low, high));
        }

        /// <summary>
        /// The same for cross-attention. Field of pab. Default: (100, 800).
        /// </summary>
        /// <param name="low">The end of the run's side, not inside.</param>
        /// <param name="high">The beginning's side, not inside.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public CacheConfig SetCrossAttentionTimestepSkipRange(int low, int high)
        {
            return Checked(NativeMethods.cvx_cache_config_set_cross_attention_timestep_skip_range(
                Handle, low, high));
        }

        /// <summary>
        /// Which layers are cached: those in whose name in the checkpoint, such as
        /// "transformer_blocks.0.attn1", one of the regular expressions is found (Python's re.search).
        /// The defaults match all layers; see cogvideox.h for them.
        /// </summary>
        /// <param name="identifiers">Regular expressions.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public CacheConfig SetSpatialAttentionBlockIdentifiers(params string[] identifiers)
        {
            using (var texts = new Utf8Array(identifiers, "identifiers"))
            {
                return Checked(NativeMethods.cvx_cache_config_set_spatial_attention_block_identifiers(
                    Handle, texts.Pointers, (UIntPtr)texts.Pointers.Length));
            }
        }

        /// <summary>
        /// The same for temporal attention. The defaults match no layer of CogVideoX.
        /// </summary>
        /// <param name="identifiers">Regular expressions.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public CacheConfig SetTemporalAttentionBlockIdentifiers(params string[] identifiers)
        {
            using (var texts = new Utf8Array(identifiers, "identifiers"))
            {
                return Checked(NativeMethods.cvx_cache_config_set_temporal_attention_block_identifiers(
                    Handle, texts.Pointers, (UIntPtr)texts.Pointers.Length));
            }
        }

        /// <summary>
        /// The same for cross-attention, which no layer of CogVideoX is. Field of pab.
        /// </summary>
        /// <param name="identifiers">Regular expressions.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public CacheConfig SetCrossAttentionBlockIdentifiers(params string[] identifiers)
        {
            using (var texts = new Utf8Array(identifiers, "identifiers"))
            {
                return Checked(NativeMethods.cvx_cache_config_set_cross_attention_block_identifiers(
                    Handle, texts.Pointers, (UIntPtr)texts.Pointers.Length));
            }
        }

        /// <summary>
        /// Inside its window, the unconditional half of the guidance batch runs on every n-th step of
        /// the run, counted from its first, and is rebuilt on the others; 1 rebuilds nothing. Field of faster_cache. Default: 5.
        /// </summary>
        /// <param name="n">Steps, from 1.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public CacheConfig SetUnconditionalBatchSkipRange(int n)
        {
            return Checked(NativeMethods.cvx_cache_config_set_unconditional_batch_skip_range(Handle, n));
        }

        /// <summary>
        /// The unconditional half may be skipped while low &lt; timestep &lt; high. Field of
        /// faster_cache. Default: (-1, 641).
        /// </summary>
        /// <param name="low">The end of the run's side, not inside.</param>
        /// <param name="high">The beginning's side, not inside.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public CacheConfig SetUnconditionalBatchTimestepSkipRange(int low, int high)
        {
            return Checked(NativeMethods.cvx_cache_config_set_unconditional_batch_timestep_skip_range(
                Handle, low, high));
        }

        /// <summary>
        /// While low &lt; timestep &lt; high, each rebuilt step multiplies what the unconditional half has
        /// of low frequencies by alpha. Field of faster_cache. Default: (99, 901).
        /// </summary>
        /// <param name="low">The end of the run's side, not inside.</param>
        /// <param name="high">The beginning's side, not inside.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public CacheConfig SetLowFrequencyWeightUpdateTimestepRange(int low, int high)
        {
            return Checked(NativeMethods.cvx_cache_config_set_low_frequency_weight_update_timestep_range(
                Handle, low, high));
        }

        /// <summary>
        /// The same for high frequencies. Field of faster_cache. Default: (-1, 301).
        /// </summary>
        /// <param name="low">The end of the run's side, not inside.</param>
        /// <param name="high">The beginning's side, not inside.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public CacheConfig SetHighFrequencyWeightUpdateTimestepRange(int low, int high)
        {
            return Checked(NativeMethods.cvx_cache_config_set_high_frequency_weight_update_timestep_range(
                Handle, low, high));
        }

        /// <summary>
        /// The gain of low frequencies on each rebuilt step inside its window; gains multiply from one
        /// full step to the next. Field of faster_cache. Default: 1.1.
        /// </summary>
        /// <param name="value">Any finite number.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public CacheConfig SetAlphaLowFrequency(double value)
        {
            return Checked(NativeMethods.cvx_cache_config_set_alpha_low_frequency(Handle, value));
        }

        /// <summary>
        /// The gain of high frequencies. Field of faster_cache. Default: 1.1.
        /// </summary>
        /// <param name="value">Any finite number.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public CacheConfig SetAlphaHighFrequency(double value)
        {
            return Checked(NativeMethods.cvx_cache_config_set_alpha_high_frequency(Handle, value));
        }

        /// <summary>
        /// The weight of the extrapolation, newer + (newer - older) * weight, where no attention weight
        /// callback is set: 0 repeats the last output. Field of faster_cache. Default: 0.5.
        /// </summary>
        /// <param name="value">Any finite number.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public CacheConfig SetAttentionWeight(double value)
        {
            return Checked(NativeMethods.cvx_cache_config_set_attention_weight(Handle, value));
        }

        /// <summary>
        /// The order of dimensions that diffusers is told: "BCFHW", "BFCHW" or "BCHW"; all give the
        /// same video. Field of faster_cache. Default: "BCFHW".
        /// </summary>
        /// <param name="value">One of the three.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public CacheConfig SetTensorFormat(string value)
        {
            return Checked(NativeMethods.cvx_cache_config_set_tensor_format(
                Handle, Utf8.Required(value, "value")));
        }

        /// <summary>
        /// The floating-point type in which attention outputs are kept: "f32", "f16", "bf16" or
        /// "auto" (default), which is what the pipeline computes in.
        /// </summary>
        /// <param name="value">One of the four.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public CacheConfig SetCacheDtype(string value)
        {
            return Checked(NativeMethods.cvx_cache_config_set_cache_dtype(Handle, Utf8.Required(value, "value")));
        }

        /// <summary>
        /// Whether guidance was distilled into the model: no unconditional half is skipped. Field of
        /// faster_cache. Default: false.
        /// </summary>
        /// <param name="value">Whether it was.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public CacheConfig SetIsGuidanceDistilled(bool value)
        {
            return Checked(NativeMethods.cvx_cache_config_set_is_guidance_distilled(Handle, value ? 1 : 0));
        }

        /// <summary>
        /// Whether attention is extrapolated also on steps that run both halves, which takes half again
        /// the bytes. Field of faster_cache. Default: false; true in the preset "aggressive".
        /// </summary>
        /// <param name="value">Whether it is.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public CacheConfig SetReuseAttentionOnFullGuidanceSteps(bool value)
        {
            return Checked(NativeMethods.cvx_cache_config_set_reuse_attention_on_full_guidance_steps(
                Handle, value ? 1 : 0));
        }

        /// <summary>
        /// The most bytes that a run may keep between steps; layers that do not fit are computed on
        /// every step. Default: 0, no limit.
        /// </summary>
        /// <param name="bytes">Bytes; 0 for no limit.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">InvalidArgument.</exception>
        public CacheConfig SetMaxCacheBytes(ulong bytes)
        {
            return Checked(NativeMethods.cvx_cache_config_set_max_cache_bytes(Handle, bytes));
        }
    }
}
