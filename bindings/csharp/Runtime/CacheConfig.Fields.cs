// Written by tests/abi/generate_setters.py from cogvideox.h; do not edit.

using System;
using CogVideoX.Native;

namespace CogVideoX
{
    // The fields, under the names that they have in diffusers' configs. A value that a field may
    // not have, and a field that the technique lacks, is InvalidArgument at once.
    public sealed partial class CacheConfig
    {
        /// <summary>
        /// The most bytes that a run may keep between steps. Layers are given room in their order;
        /// those that do not fit are computed on every step, and the statistics say which
        /// (<see cref="CacheStatistics.IsLayerOverBudget"/>). 0 (default): no limit.
        /// </summary>
        /// <param name="bytes">A number of bytes.</param>
        /// <returns>The config itself.</returns>
        public CacheConfig SetMaxCacheBytes(ulong bytes)
        {
            return Checked(NativeMethods.cvx_cache_config_set_max_cache_bytes(
                Handle, bytes));
        }

        /// <summary>
        /// The type in which kept outputs are: "f32", "f16", "bf16", "fp8" (float8 e4m3 with an f32
        /// scale for each token), or "auto" (default), which is what the pipeline computes in. On
        /// the CPU, which computes in f32, "f16" or "bf16" halves the bytes for a small loss; f16
        /// ends at 65504, bf16 keeps f32's range. "fp8" takes about half of what those take;
        /// docs/memory.md has what it costs. What the unconditional half is rebuilt from is small
        /// and always f32.
        /// </summary>
        /// <param name="value">One of those names.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument for any other text. A technique that keeps its outputs its own way
        /// (TaylorSeer, CFG-Cache alone) is refused together with "fp8" when it is enabled or
        /// previewed.
        /// </exception>
        public CacheConfig SetCacheDtype(string value)
        {
            return Checked(NativeMethods.cvx_cache_config_set_cache_dtype(
                Handle, Utf8.Required(value, "value")));
        }

        /// <summary>
        /// Where kept outputs are: "device" (default), where the model computes, or "host", in host
        /// memory. A CUDA device copies them there and back by itself (pinned memory, which can't
        /// be swapped out), beside what it computes: nothing waits, and where the technique knows
        /// which layer reads next (Pyramid Attention Broadcast and FasterCache) its output is on
        /// its way while the layer before computes. The video is the same to the last bit. On the
        /// device are then the outputs of a layer or two, in place of those of all layers. On the
        /// CPU, whose memory is the host's, nothing changes. The statistics' host bytes are what is
        /// there.
        /// </summary>
        /// <param name="value">One of those names.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument for any other text. A technique that keeps its outputs its own way
        /// (TaylorSeer, CFG-Cache alone) is refused together with "host" when it is enabled or
        /// previewed.
        /// </exception>
        public CacheConfig SetCacheLocation(string value)
        {
            return Checked(NativeMethods.cvx_cache_config_set_cache_location(
                Handle, Utf8.Required(value, "value")));
        }

        /// <summary>
        /// Attention is computed on every n-th step of the run, counted from its first, and outside
        /// its window, and reused on the others; 1 reuses nothing. faster_cache extrapolates it
        /// only on steps whose unconditional half is rebuilt, unless
        /// reuse_attention_on_full_guidance_steps. CogVideoX' attention is what diffusers calls
        /// spatial. Defaults: pab 2 (where none of the three skip ranges is set), faster_cache 2.
        /// </summary>
        /// <param name="n">A whole number from 1.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument if n is not positive, or for a technique without the field.
        /// </exception>
        public CacheConfig SetSpatialAttentionBlockSkipRange(int n)
        {
            return Checked(NativeMethods.cvx_cache_config_set_spatial_attention_block_skip_range(
                Handle, n));
        }

        /// <summary>
        /// The same for temporal attention, which CogVideoX has none of: it selects a layer only if
        /// temporal identifiers of the host's own match one that the spatial identifiers do not.
        /// Otherwise it is accepted, and the log says that it selects nothing. Default: unset.
        /// </summary>
        /// <param name="n">A whole number from 1.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument if n is not positive, or for a technique without the field.
        /// </exception>
        public CacheConfig SetTemporalAttentionBlockSkipRange(int n)
        {
            return Checked(NativeMethods.cvx_cache_config_set_temporal_attention_block_skip_range(
                Handle, n));
        }

        /// <summary>
        /// The same for cross-attention, which CogVideoX has none of: accepted, and the log says
        /// that it selects nothing. Field of pab. Default: unset. Setting it, or the temporal one,
        /// alone leaves spatial attention computed on every step, as in diffusers.
        /// </summary>
        /// <param name="n">A whole number from 1.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument if n is not positive, or for a technique without the field.
        /// </exception>
        public CacheConfig SetCrossAttentionBlockSkipRange(int n)
        {
            return Checked(NativeMethods.cvx_cache_config_set_cross_attention_block_skip_range(
                Handle, n));
        }

        /// <summary>
        /// Attention may be reused while low &lt; timestep &lt; high, both strictly. Timesteps fall
        /// from 999 to 0 in the course of a run. Defaults: pab (100, 800), faster_cache (-1, 681).
        /// </summary>
        /// <param name="low">The lower end, not inside.</param>
        /// <param name="high">The upper end, not inside.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument if no whole timestep lies strictly between low and high, or for a
        /// technique without the field.
        /// </exception>
        public CacheConfig SetSpatialAttentionTimestepSkipRange(int low, int high)
        {
            return Checked(NativeMethods.cvx_cache_config_set_spatial_attention_timestep_skip_range(
                Handle, low, high));
        }

        /// <summary>
        /// The same for temporal attention; see <see cref="SetTemporalAttentionBlockSkipRange"/>.
        /// Defaults as for spatial attention.
        /// </summary>
        /// <param name="low">The lower end, not inside.</param>
        /// <param name="high">The upper end, not inside.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument if no whole timestep lies strictly between low and high, or for a
        /// technique without the field.
        /// </exception>
        public CacheConfig SetTemporalAttentionTimestepSkipRange(int low, int high)
        {
            return Checked(NativeMethods.cvx_cache_config_set_temporal_attention_timestep_skip_range(
                Handle, low, high));
        }

        /// <summary>
        /// The same for cross-attention; see <see cref="SetCrossAttentionBlockSkipRange"/>. Field
        /// of pab. Default: (100, 800).
        /// </summary>
        /// <param name="low">The lower end, not inside.</param>
        /// <param name="high">The upper end, not inside.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument if no whole timestep lies strictly between low and high, or for a
        /// technique without the field.
        /// </exception>
        public CacheConfig SetCrossAttentionTimestepSkipRange(int low, int high)
        {
            return Checked(NativeMethods.cvx_cache_config_set_cross_attention_timestep_skip_range(
                Handle, low, high));
        }

        /// <summary>
        /// Which layers are cached: those whose name in the checkpoint, such as
        /// "transformer_blocks.0.attn1", one of these regular expressions is found in (Python's
        /// re.search). They replace the defaults, which match all layers: pab "blocks",
        /// "transformer_blocks", "single_transformer_blocks", "layers",
        /// "visual_transformer_blocks"; faster_cache "^blocks.*attn", "^transformer_blocks.*attn",
        /// "^single_transformer_blocks.*attn". The strings are copied. Identifiers that match no
        /// layer are an error of <see cref="Pipeline.EnableCache"/>.
        /// </summary>
        /// <param name="identifiers">Regular expressions.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument naming an identifier that is no regular expression, or for a technique
        /// without the field.
        /// </exception>
        public CacheConfig SetSpatialAttentionBlockIdentifiers(params string[] identifiers)
        {
            using (var texts = new Utf8Array(identifiers, "identifiers"))
            {
                return Checked(NativeMethods.cvx_cache_config_set_spatial_attention_block_identifiers(
                    Handle, texts.Pointers, (UIntPtr)texts.Pointers.Length));
            }
        }

        /// <summary>
        /// The same for temporal attention. Defaults: pab "temporal_transformer_blocks",
        /// faster_cache "^temporal_transformer_blocks.*attn", which match no layer of CogVideoX.
        /// </summary>
        /// <param name="identifiers">Regular expressions.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument naming an identifier that is no regular expression, or for a technique
        /// without the field.
        /// </exception>
        public CacheConfig SetTemporalAttentionBlockIdentifiers(params string[] identifiers)
        {
            using (var texts = new Utf8Array(identifiers, "identifiers"))
            {
                return Checked(NativeMethods.cvx_cache_config_set_temporal_attention_block_identifiers(
                    Handle, texts.Pointers, (UIntPtr)texts.Pointers.Length));
            }
        }

        /// <summary>
        /// The same for cross-attention, which no layer of CogVideoX is whatever its name. Field of
        /// pab. Default: "blocks", "transformer_blocks", "layers".
        /// </summary>
        /// <param name="identifiers">Regular expressions.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument naming an identifier that is no regular expression, or for a technique
        /// without the field.
        /// </exception>
        public CacheConfig SetCrossAttentionBlockIdentifiers(params string[] identifiers)
        {
            using (var texts = new Utf8Array(identifiers, "identifiers"))
            {
                return Checked(NativeMethods.cvx_cache_config_set_cross_attention_block_identifiers(
                    Handle, texts.Pointers, (UIntPtr)texts.Pointers.Length));
            }
        }

        /// <summary>
        /// Inside its window, the unconditional half of the guidance batch runs on every n-th step
        /// of the run, counted from its first, and is rebuilt from the conditional half on the
        /// others; 1 rebuilds nothing. Field of faster_cache. Default: 5.
        /// </summary>
        /// <param name="n">A whole number from 1.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument if n is not positive, or for a technique without the field.
        /// </exception>
        public CacheConfig SetUnconditionalBatchSkipRange(int n)
        {
            return Checked(NativeMethods.cvx_cache_config_set_unconditional_batch_skip_range(
                Handle, n));
        }

        /// <summary>
        /// The unconditional half may be skipped while low &lt; timestep &lt; high. Field of
        /// faster_cache. Default: (-1, 641).
        /// </summary>
        /// <param name="low">The lower end, not inside.</param>
        /// <param name="high">The upper end, not inside.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument if no whole timestep lies strictly between low and high, or for a
        /// technique without the field.
        /// </exception>
        public CacheConfig SetUnconditionalBatchTimestepSkipRange(int low, int high)
        {
            return Checked(NativeMethods.cvx_cache_config_set_unconditional_batch_timestep_skip_range(
                Handle, low, high));
        }

        /// <summary>
        /// While low &lt; timestep &lt; high, each rebuilt step multiplies what the unconditional
        /// half has of low frequencies by alpha_low_frequency. Field of faster_cache; not used with
        /// a low frequency weight callback. Default: (99, 901).
        /// </summary>
        /// <param name="low">The lower end, not inside.</param>
        /// <param name="high">The upper end, not inside.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument if no whole timestep lies strictly between low and high, or for a
        /// technique without the field.
        /// </exception>
        public CacheConfig SetLowFrequencyWeightUpdateTimestepRange(int low, int high)
        {
            return Checked(NativeMethods.cvx_cache_config_set_low_frequency_weight_update_timestep_range(
                Handle, low, high));
        }

        /// <summary>
        /// The same for high frequencies and alpha_high_frequency. Field of faster_cache; not used
        /// with a high frequency weight callback. Default: (-1, 301).
        /// </summary>
        /// <param name="low">The lower end, not inside.</param>
        /// <param name="high">The upper end, not inside.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument if no whole timestep lies strictly between low and high, or for a
        /// technique without the field.
        /// </exception>
        public CacheConfig SetHighFrequencyWeightUpdateTimestepRange(int low, int high)
        {
            return Checked(NativeMethods.cvx_cache_config_set_high_frequency_weight_update_timestep_range(
                Handle, low, high));
        }

        /// <summary>
        /// The gain of low frequencies on each rebuilt step inside its window; gains multiply from
        /// one full step to the next. Field of faster_cache. Default: 1.1.
        /// </summary>
        /// <param name="value">Any number that is finite in float32.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument if value is not finite in float32, or for a technique without the field.
        /// </exception>
        public CacheConfig SetAlphaLowFrequency(double value)
        {
            return Checked(NativeMethods.cvx_cache_config_set_alpha_low_frequency(
                Handle, value));
        }

        /// <summary>
        /// The gain of high frequencies on each rebuilt step inside its window. Field of
        /// faster_cache. Default: 1.1.
        /// </summary>
        /// <param name="value">Any number that is finite in float32.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument if value is not finite in float32, or for a technique without the field.
        /// </exception>
        public CacheConfig SetAlphaHighFrequency(double value)
        {
            return Checked(NativeMethods.cvx_cache_config_set_alpha_high_frequency(
                Handle, value));
        }

        /// <summary>
        /// The order of dimensions that diffusers is told: "BCFHW", "BFCHW" or "BCHW". All three
        /// give the same video here and in diffusers: frequencies are split frame by frame and
        /// channel by channel, over height and width alone. Field of faster_cache. Default:
        /// "BCFHW".
        /// </summary>
        /// <param name="value">One of those names.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument for any other text, or for a technique without the field.
        /// </exception>
        public CacheConfig SetTensorFormat(string value)
        {
            return Checked(NativeMethods.cvx_cache_config_set_tensor_format(
                Handle, Utf8.Required(value, "value")));
        }

        /// <summary>
        /// Whether guidance was distilled into the model: then no unconditional half is skipped,
        /// and attention is extrapolated for the whole batch. Without guidance (guidance_scale
        /// &lt;= 1) this is so whatever is set here. Field of faster_cache. Default: false.
        /// </summary>
        /// <param name="value">Whether it is so.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument for a technique without the field.
        /// </exception>
        public CacheConfig SetIsGuidanceDistilled(bool value)
        {
            return Checked(NativeMethods.cvx_cache_config_set_is_guidance_distilled(
                Handle, value ? 1 : 0));
        }

        /// <summary>
        /// The weight of the extrapolation, newer + (newer - older) * weight, where no attention
        /// weight callback is set: 0 repeats the last output. Field of faster_cache, and not one of
        /// diffusers, where only a callback can change it. Default: 0.5.
        /// </summary>
        /// <param name="value">Any number that is finite in float32.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument if value is not finite in float32, or for a technique without the field.
        /// </exception>
        public CacheConfig SetAttentionWeight(double value)
        {
            return Checked(NativeMethods.cvx_cache_config_set_attention_weight(
                Handle, value));
        }

        /// <summary>
        /// Whether attention is extrapolated also on steps that run both halves: the unconditional
        /// half is then the conditional one plus what it was more on the last step that computed
        /// both, which takes half again the bytes. Field of faster_cache, and not one of diffusers.
        /// Default: false; true in the preset "aggressive".
        /// </summary>
        /// <param name="value">Whether it is so.</param>
        /// <returns>The config itself.</returns>
        /// <exception cref="CogVideoXException">
        /// InvalidArgument for a technique without the field.
        /// </exception>
        public CacheConfig SetReuseAttentionOnFullGuidanceSteps(bool value)
        {
            return Checked(NativeMethods.cvx_cache_config_set_reuse_attention_on_full_guidance_steps(
                Handle, value ? 1 : 0));
        }
    }
}
